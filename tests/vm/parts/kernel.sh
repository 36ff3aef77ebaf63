# shellcheck shell=bash
# kernel.sh - the guest's kernel and initramfs, made once and kept in a cache.
#
#   CACHE/PACKAGE/                 the kernel package, unpacked (never installed), and
#   CACHE/PACKAGE/vmlinux          its kernel, uncompressed: without KVM, decompressing
#                                  itself costs it some 6 seconds of each start
#   CACHE/PACKAGE/initrd-SUM.img   busybox, the modules that find the root, inside/init;
#                                  SUM is that of what it is made from, so that two
#                                  versions of this file can share a cache
#   CACHE/package                  the package that is used unless another is asked for
#
# Everything appears under its name when it is complete, and CACHE/lock is held meanwhile.
# Debian's "cloud" kernels won't do: they have neither rdma_rxe nor 9p.

CACHE=${CARRY_VM_CACHE:-${XDG_CACHE_HOME:-${HOME:-/root}/.cache}/carry-vm}

# Modules in the order that the guest loads them in; what they depend on comes before them.
# The first row finds the root.  rdma_rxe asks for crc32 by name, so no dependency tells.
root_modules='virtio_pci 9pnet_virtio 9p overlay'
net_modules='virtio_net'
rdma_modules='ib_uverbs rdma_ucm crc32_generic rdma_rxe veth bridge'

# check_tools - what is needed is here, or say which package brings it.
check_tools()
{
	local tool package
	[ "$(uname -m)" = x86_64 ] || unable "only x86-64 hosts can run it, not $(uname -m)"
	for tool in qemu-system-x86_64:qemu-system-x86 busybox:busybox-static depmod:kmod \
		cpio:cpio xz:xz-utils zstd:zstd dpkg:dpkg rdma:iproute2; do
		PATH=$PATH:/usr/sbin:/sbin command -v "${tool%:*}" >/dev/null ||
			unable "${tool#*:} is not installed (tools/setup.sh --vm)"
	done
	[ $init = plain ] || [ -x /lib/systemd/systemd ] ||
		unable "systemd is not installed (tools/setup.sh --vm)"
	! ldd "$(command -v busybox)" >/dev/null 2>&1 ||
		unable "busybox is not a static program (tools/setup.sh --vm)"
}

# choose_package - sets package: as asked for, as before, or what Debian's newest is.
choose_package()
{
	[ -z "$package" ] || return 0
	if [ -s "$CACHE/package" ]; then
		package=$(cat "$CACHE/package")
		return
	fi
	package=$(newest_package)
	[ -n "$package" ] || { update_lists && package=$(newest_package); }
	[ -n "$package" ] || unable "apt-get knows no linux-image-amd64 (apt-get update?)"
}

newest_package()
{
	apt-cache depends linux-image-amd64 2>/dev/null |
		sed -n 's/^ *Depends: \(linux-image-[0-9].*\)/\1/p' | head -n 1
}

update_lists()
{
	[ "$(id -u)" -eq 0 ] && timeout 120 apt-get -qq -o Acquire::Retries=2 \
		-o Acquire::http::Timeout=30 update </dev/null >/dev/null 2>&1
}

# download - the package file, in the current folder.
download()
{
	timeout 300 apt-get -qq -o Acquire::Retries=2 -o Acquire::http::Timeout=30 \
		download "$package" </dev/null >download.log 2>&1
}

# unpack_kernel - makes KERNEL, or fails with the reason in WHY.
unpack_kernel()
{
	local new=$CACHE/new.$$
	rm -rf "$CACHE"/new.* # of those that were killed: we have the lock
	mkdir -p "$new/deb" "$new/all"
	if ! (cd "$new/deb" && { download || { update_lists && download; }; }); then
		WHY="apt-get cannot download $package: $(tail -n 1 "$new/deb/download.log")"
	elif ! dpkg -x "$new"/deb/*.deb "$new/all"; then
		WHY="dpkg cannot unpack $package"
	elif [ ! -e "$new/all/boot/vmlinuz-$version" ]; then
		WHY="$package has no boot/vmlinuz-$version"
	elif ! PATH=$PATH:/usr/sbin:/sbin depmod -b "$new/all" "$version"; then
		WHY="depmod fails on $package"
	else
		extract_kernel "$new/all/boot/vmlinuz-$version" "$new/all/vmlinux"
		rm -rf "$KERNEL" && mv "$new/all" "$KERNEL" && rm -rf "$new"
		return
	fi
	rm -rf "$new"
	return 1
}

# extract_kernel IMAGE OUT - the ELF file in a bzImage (Linux's x86/boot.rst: the number of
# set-up sectors is at 0x1f1, the payload's offset at 0x248, its length at 0x24c, 4 of it the
# size at its end).  If that fails, the image does, only slower.
extract_kernel()
{
	local offset length unpack
	field() { od -An -t "u$2" -j "$(($1))" -N "$2" "$image" | tr -d ' '; }
	local image=$1
	offset=$((($(field 0x1f1 1) + 1) * 512 + $(field 0x248 4)))
	length=$(($(field 0x24c 4) - 4))
	case $(od -An -t x1 -j "$offset" -N 4 "$1" | tr -d ' ') in
	fd377a58) unpack='xz -dc' ;;
	28b52ffd) unpack='zstd -dcq' ;;
	1f8b*) unpack='gzip -dc' ;;
	*) unpack=false ;;
	esac
	tail -c "+$((offset + 1))" "$1" | head -c "$length" | $unpack >"$2" 2>/dev/null &&
		[ "$(head -c 4 "$2")" = $'\177ELF' ] || cp "$1" "$2"
}

# with_dependencies MODULE - its files below KERNEL/lib/modules/VERSION, in loading order.
with_dependencies()
{
	awk -F: -v module="$1" '{
		name = $1
		sub(".*/", "", name)
		sub("[.]ko.*", "", name)
		gsub("-", "_", name)
		if (name != module)
			next
		found = 1
		for (i = split($2, before, " "); i > 0; i--)
			print before[i]
		print $1
	} END { exit !found }' "$KERNEL/lib/modules/$version/modules.dep"
}

# module_list - files to load, once each, by what they are for: root, net or rdma.
module_list()
{
	local module purpose=root
	for module in $root_modules net: $net_modules rdma: $rdma_modules; do
		case $module in
		*:) purpose=${module%:} ;;
		*) with_dependencies "$module" | sed "s/^/$purpose /" ;;
		esac
	done | awk '!seen[$2]++'
}

# build_initrd FILE
build_initrd()
{
	local root=$CACHE/initrd.$$ purpose file name
	rm -rf "$CACHE"/initrd.*
	mkdir -p "$root"/{bin,modules,proc,sys,dev,low,memory,new}
	cp "$(command -v busybox)" "$root/bin/busybox"
	cp "$here/inside/init" "$root/init"
	chmod 755 "$root/init"
	while read -r purpose file; do
		name=${file##*/}
		name=${name%%.ko*}.ko
		case $file in
		*.xz) xz -dc "$KERNEL/lib/modules/$version/$file" ;;
		*.zst) zstd -dcq "$KERNEL/lib/modules/$version/$file" ;;
		*) cat "$KERNEL/lib/modules/$version/$file" ;;
		esac >"$root/modules/$name" || return 1
		echo "$purpose $name" >>"$root/modules/list"
	done < <(module_list)
	(cd "$root" && find . | cpio -o -H newc --quiet) >"$1.$$" && mv "$1.$$" "$1"
	rm -rf "$root"
}

# prepare_kernel - sets KERNEL (folder), version and INITRD; makes what is missing.
prepare_kernel()
{
	local sum lock
	check_tools
	mkdir -p "$CACHE" && [ -w "$CACHE" ] || unable "cannot write to $CACHE (CARRY_VM_CACHE)"
	exec {lock}>>"$CACHE/lock"
	flock -w 600 "$lock" || unable "another has held $CACHE/lock for 10 minutes"
	choose_package
	KERNEL=$CACHE/$package version=${package#linux-image-}
	version=${version%-unsigned}
	[ -e "$KERNEL/vmlinux" ] || unpack_kernel || unable "$WHY"
	sum=$(cat "$here/inside/init" "$here/parts/kernel.sh" "$(command -v busybox)" | cksum)
	INITRD=$KERNEL/initrd-${sum%% *}.img
	[ -e "$INITRD" ] || build_initrd "$INITRD" || unable "cannot make $INITRD"
	touch "$INITRD"
	find "$KERNEL" -maxdepth 1 -name 'initrd-*' -mtime +7 -delete
	[ -s "$CACHE/package" ] || echo "$package" >"$CACHE/package"
	exec {lock}>&-
}
