#!/bin/sh
# setup.sh - installs the Debian packages that building and testing Carry needs.
#
# One dpkg-query tells what is missing (some 20 ms when nothing is).  As root, or
# with a sudo that asks for no password, it installs that; otherwise it prints the
# one command to run and fails.  `make check` and `make demo` call it.
set -u

# To compile, and to run the demo's virtual cluster.
build="gcc make pkg-config libc6-dev liburing-dev libibverbs-dev libnuma-dev libsystemd-dev
	libinih-dev libjansson-dev zlib1g-dev iproute2 nftables iperf3 procps"
# To run every test, the lints and the second compiler.
check="libcmocka-dev clang clang-format clang-tidy cppcheck libclang-rt-dev jq strace
	scdoc mandoc shellcheck git"
# To run tests in virtual machines (make check-vm).  Their kernel is fetched by tests/vm/guest,
# which only unpacks it.
vm="qemu-system-x86 busybox-static cpio kmod xz-utils zstd rdma-core ibverbs-providers
	ibverbs-utils perftest systemd udev"
# To compare with other systems.
bench="openmpi-bin libopenmpi-dev libgloo-dev g++ valgrind"

usage()
{
	cat <<END
usage: tools/setup.sh [--demo|--vm|--bench] [--print]
Installs the Debian packages that are missing.
  --demo   only what the programs and the demo need
  --vm     in addition, what tests in virtual machines need
  --bench  in addition, the systems that the benchmarks compare with
  --print  list the packages, one a line, and change nothing
Exit codes: 0 nothing is missing any more, 1 failed, 2 bad usage.
END
}

say()
{
	echo "setup.sh: $*" >&2
}

# absent - those of $wanted that dpkg does not have, on one line.
absent()
{
	{
		# shellcheck disable=SC2086
		dpkg-query -W -f '${Package} ${db:Status-Status}\n' $wanted 2>/dev/null
		echo ---
		# shellcheck disable=SC2086
		printf '%s\n' $wanted
	} | awk '$1 == "---" { listed = 1; next }
		!listed { if ($2 == "installed") have[$1] = 1; next }
		!($1 in have) { printf "%s ", $1 }'
}

# as_root - how to become root without a question: nothing, "sudo -n", or failure.
as_root()
{
	[ "$(id -u)" -eq 0 ] && return 0
	command -v sudo >/dev/null 2>&1 && sudo -n true 2>/dev/null && echo "sudo -n"
}

# apt ARG... - apt-get that asks nothing and does not wait for ever.
apt()
{
	# shellcheck disable=SC2086
	$root env DEBIAN_FRONTEND=noninteractive apt-get -y -q -o DPkg::Lock::Timeout=60 \
		-o Acquire::Retries=2 -o Acquire::http::Timeout=30 "$@" </dev/null
}

install_missing()
{
	log=$(mktemp) || return 1
	trap 'rm -f "$log"' EXIT
	for try in 1 2; do
		# shellcheck disable=SC2086
		apt update >"$log" 2>&1 &&
			apt install --no-install-recommends $missing >>"$log" 2>&1 && return 0
		say "apt-get failed (try $try of 2): $(grep -m 1 '^E:' "$log")"
	done
	tail -n 20 "$log" >&2
	return 1
}

wanted="$build $check"
print=no
for arg in "$@"; do
	case $arg in
	--demo) wanted=$build ;;
	--vm) wanted="$build $check $vm" ;;
	--bench) wanted="$build $check $bench" ;;
	--print) print=yes ;;
	-h | --help) usage; exit 0 ;;
	*) say "unknown argument \"$arg\""; usage >&2; exit 2 ;;
	esac
done

if [ $print = yes ]; then
	# shellcheck disable=SC2086
	printf '%s\n' $wanted
	exit 0
fi
if ! command -v dpkg-query >/dev/null 2>&1 || ! command -v apt-get >/dev/null 2>&1; then
	say "this is not Debian, so nothing is installed; needed are what Debian 12 calls"
	# shellcheck disable=SC2086
	say $wanted
	exit 1
fi

missing=$(absent)
missing=${missing% }
[ -z "$missing" ] && exit 0

if ! root=$(as_root); then
	say "packages are missing and this is neither root nor a sudo without password; run"
	echo "sudo apt-get install -y --no-install-recommends $missing"
	exit 1
fi
say "installing $missing"
install_missing || exit 1
missing=$(absent)
[ -z "$missing" ] && exit 0
say "still missing after apt-get install: $missing"
exit 1
