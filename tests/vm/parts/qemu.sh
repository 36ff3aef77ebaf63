# shellcheck shell=bash
# qemu.sh - starts QEMU with what guest K needs.

# Fixed addresses (norandmaps): without KVM, QEMU then uses what it has translated of a
# program again the next time the program runs; starting one takes a third.
kernel_parameters='console=ttyS0 quiet panic=-1 mitigations=off tsc=reliable no_timer_check
	nokaslr norandmaps lpj=4000000 cryptomgr.notests net.ifnames=0'

# choose_accelerator - KVM only where the processor has virtualisation and KVM uses it.  Its
# page-table flavour (kvm_pvm) makes machines, too, but interprets an ordinary kernel some 50
# times slower than QEMU's own translator (TCG) runs it.  TCG does not get the instructions
# that it emulates byte by byte.
choose_accelerator()
{
	local kind=${CARRY_VM_ACCEL:-}
	if [ -z "$kind" ]; then
		kind=tcg
		[ ! -w /dev/kvm ] || [ -d /sys/module/kvm_pvm ] ||
			! grep -qwE 'vmx|svm' /proc/cpuinfo || kind=kvm
	fi
	case $kind in
	kvm) accelerator=kvm processor=host slower=1 ;;
	tcg)
		accelerator=tcg,thread=multi slower=4
		processor=max,-la57,-erms,-fsrm,-pclmulqdq,-vpclmulqdq
		;;
	*) bad_usage "CARRY_VM_ACCEL: \"$kind\" is neither kvm nor tcg" ;;
	esac
}

# write_orders K - what inside/start and inside/job read.
write_orders()
{
	local x=$run/$1/x arg
	{
		echo "export VM_INSIDE=$(quote "$here/inside")"
		echo "VM_INIT=$init VM_RDMA=$rdma"
		echo "export VM_NODES=${nodes:-$([ "$guests" -eq 1 ] && echo 1 || echo 0)}"
		echo "VM_MODULES=$(quote "$KERNEL/lib/modules/$version")"
		echo "VM_WRITABLE=$(quote "${writable[*]}")"
		echo "VM_ACTION=$([ "$1" -eq 0 ] && echo $action)"
		echo "export VM_GUEST=$1 VM_GUESTS=$guests VM_SHARED=/run/shared"
		echo "export CARRY_SLOWER=$slower"
	} >"$x/env"
	{
		echo "cd $(quote "$PWD")"
		printf '%s' "$environment"
		if [ "$1" -eq 0 ]; then
			for arg in "${COMMAND[@]}"; do
				printf '%s ' "$(quote "$arg")"
			done
		else
			echo vm-agent
		fi
	} >"$x/command"
}

# share TAG FOLDER [OPTION] - `security_model=none`: as passthrough, but usable by anybody.
share()
{
	ARGS+=(-fsdev "local,id=$1,path=$2,security_model=none,multidevs=remap${3:+,$3}")
	ARGS+=(-device "virtio-9p-pci,fsdev=$1,mount_tag=$1")
}

# wire K - the guests' Ethernet: Unix sockets in $run, which no other machine can see.  Guest 0's
# QEMU holds a hub that each other guest is wired to by a pair of them.
wire()
{
	local j
	[ "$guests" -gt 1 ] || return 0
	if [ "$1" -gt 0 ]; then
		ARGS+=(-netdev "$(link net "$run/guest$1" "$run/hub$1")")
	else
		ARGS+=(-netdev "hubport,id=net,hubid=0")
		for ((j = 1; j < guests; j++)); do
			ARGS+=(-netdev "$(link wire$j "$run/hub$j" "$run/guest$j")"
				-netdev "hubport,id=port$j,hubid=0,netdev=wire$j")
		done
	fi
	ARGS+=(-device "virtio-net-pci,netdev=net,mac=52:54:00:76:00:0$(($1 + 1)),romfile=")
}

link()
{
	echo "dgram,id=$1,local.type=unix,local.path=$2,remote.type=unix,remote.path=$3"
}

# arguments K - sets ARGS.  A byte to port 0xf4 ends QEMU at once, without a shutdown.
arguments()
{
	local j
	write_orders "$1"
	ARGS=(-name "carry-vm$1" -M q35 -nodefaults -no-user-config -display none -no-reboot)
	ARGS+=(-accel "$accelerator" -cpu "$processor" -smp "$cpus" -m "$memory")
	ARGS+=(-kernel "$KERNEL/vmlinux" -initrd "$INITRD")
	ARGS+=(-append "${kernel_parameters//[$'\n\t']/ } vm.rdma=$rdma")
	ARGS+=(-device "isa-debug-exit,iobase=0xf4,iosize=4")
	share root / readonly=on
	share exchange "$run/$1/x"
	share shared "$run/shared"
	for ((j = 0; j < ${#writable[@]}; j++)); do
		share "writable$j" "${writable[j]}"
	done
	wire "$1"
}

# follow FILE PID - prints what comes until the process has ended.
follow()
{
	exec tail -q -c +1 -s 0.1 -f --pid="$2" "$1"
}

# start_guest K - appends to QEMU, and to TAILS who shows what guest 0 writes.  Neither a killed
# script nor a killed timeout leaves QEMU behind.
start_guest()
{
	local x=$run/$1/x
	mkdir -p "$x"
	: >"$x/out"
	: >"$x/err"
	arguments "$1"
	setpriv --pdeathsig KILL timeout -k 5 "$limit" setpriv --pdeathsig KILL \
		qemu-system-x86_64 "${ARGS[@]}" -serial "file:$run/$1/console" \
		</dev/null >"$run/$1/qemu" 2>&1 &
	QEMU[$1]=$!
	[ "$1" -eq 0 ] || return 0
	follow "$x/out" "${QEMU[0]}" &
	TAILS+=($!)
	follow "$x/err" "${QEMU[0]}" >&2 &
	TAILS+=($!)
}

# console_guest - guest 0 in the foreground, with the terminal as its console.
console_guest()
{
	mkdir -p "$run/0/x"
	: >"$run/0/x/out"
	: >"$run/0/x/err"
	: >"$run/0/qemu"
	arguments 0
	echo "(Ctrl-A X ends the machine)" >&2
	setpriv --pdeathsig KILL qemu-system-x86_64 "${ARGS[@]}" \
		-chardev "stdio,mux=on,id=console,logfile=$run/0/console" \
		-serial chardev:console -mon chardev=console
}
