# shellcheck shell=bash
# windows.sh - a part of bench: 64 MiB over RDMA beside perftest, in windows in turn.
#
# The speed of a guest without KVM changes by a factor of two within minutes, so what is compared
# must be measured within seconds.  All contestants are started at once, and all but one are
# stopped (SIGSTOP): trainers and daemons of a lab, or both ends of an ib_write_bw -b.
#
#   SIGCONT | settle 0.2 s | window 0.9 s: counted | SIGSTOP | until the devices are quiet | next
#
# Soft-RoCE is in the kernel and sends what was posted though the process is stopped: only when
# the devices are quiet does the next begin.  For the same reason ib_write_bw has 8 MiB under way
# each way, whatever its size of messages (its 128 messages of 1 MiB would take seconds to leave).
#
# The bytes of a window are those that both RDMA devices' interfaces sent, for all contestants
# alike.  They contain headers (all use packets of 4096 bytes), acknowledgements and Carry's
# credits: 1.029 to 1.031 bytes for each of a tensor of 64 MiB, about 1.015 for each of perftest's
# messages, so that ours looks a percent and a half better than it is.  CPU time is that of both
# processors: nothing else runs in the guest.  What ours does between two ops is in its windows.

readonly CONTESTANTS='65536 262144 1048576 f32 i32' # ib_write_bw by its messages, ours by type
readonly WINDOW=0.9 SETTLE=0.2                       # seconds

declare -A MEMBERS=() # pids of each contestant
CHILDREN=()           # those of them that are ours to wait for
LABS=()

# nap SECONDS - without starting a process, which is dear under QEMU.
nap()
{
	read -rt "$1" -u "$NEVER"
}

# look - sets MOVED (bytes), BUSY (jiffies) and NOW (microseconds).
look()
{
	local user nice system idle wait irq soft a b
	read -r a </sys/class/net/v0/statistics/tx_bytes
	read -r b </sys/class/net/v1/statistics/tx_bytes
	read -r _ user nice system idle wait irq soft _ </proc/stat
	NOW=${EPOCHREALTIME/./}
	MOVED=$((a + b)) BUSY=$((user + nice + system + irq + soft))
}

signal() # SIGNAL CONTESTANT
{
	local pid
	for pid in ${MEMBERS[$2]}; do # each: kill is content if one of them is there
		kill "-$1" "$pid" 2>/dev/null || broken "$2 has ended" "/run/window-$2"
	done
}

# stop CONTESTANT - and wait until nothing of it is under way.
stop()
{
	local try before
	signal STOP "$1"
	look
	for ((try = 0; try < 100; try++)); do
		before=$MOVED
		nap 0.05
		look
		[ $((MOVED - before)) -gt 20000 ] || return 0
	done
	broken "the devices do not become quiet"
}

# begun CONTESTANT - once it moves data it is stopped.
begun()
{
	local try before
	look
	before=$MOVED
	for ((try = 0; try < 300; try++)); do
		nap 0.2
		look
		[ $((MOVED - before)) -lt 50000000 ] || break
		signal 0 "$1"
	done
	[ $try -lt 300 ] || broken "$1 moves no data" "/run/window-$1"
	stop "$1"
}

# Runs far longer than all windows do.
start_perftest() # BYTES
{
	local node port=$((18600 + ${#CHILDREN[@]})) server=''
	for node in 0 1; do
		ip netns exec node$node ib_write_bw -d rxe$node -x 1 -F -b -s "$1" \
			-t $(((8 << 20) / $1)) -D 3600 -p $port $server >>"/run/window-$1" 2>&1 &
		CHILDREN+=($!)
		MEMBERS[$1]+="$! "
		[ $node -eq 1 ] || sleep 1.5
		server=10.79.0.1
	done
	begun "$1"
}

# A lab of its own for each type, so that its daemons can be stopped with it.  Stopped, they are
# silent for as long as the others' windows take.  Only out of place, which comes first:
# in place sums would grow beyond all numbers.
start_ours() # TYPE
{
	local node lab=bench-$1 status
	LABS+=("$lab")
	carry-lab up -n 2 --name "$lab" --set engine.transport=verbs --set engine.lanes=1 \
		--set 'verbs.devices=rxe{node}' --set network.dead_ms=60000 \
		>"/run/window-$1" 2>&1 || broken "carry-lab up failed" "/run/window-$1"
	# QEMU adds floats with the host's instructions only where the guest's thread has seen a sum
	# that had to be rounded (x86's sticky flag).  Those of gradients have to, carry-perf's are
	# exact, so that they can be compared: lanes see some of a codec's first.
	carry-lab run --name "$lab" carry-perf -b 64K -e 64K -n 2 -w 0 --codec int8 \
		>>"/run/window-$1" 2>&1 || broken "carry-perf failed" "/run/window-$1"
	status=$(carry-lab status --json --name "$lab")
	MEMBERS[$1]=$(jq -j '.node[] | "\(.pid) "' <<<"$status")
	for node in 0 1; do
		carry-lab exec --name "$lab" $node carry-perf -t "$1" -b 64M -e 64M -n 100000 -w 0 \
			--rank $node --ranks 2 --root "$(jq -r '.node[0].address' <<<"$status")" \
			--timeout 600 >>"/run/window-$1" 2>&1 &
		CHILDREN+=($!)
		MEMBERS[$1]+="$! "
	done
	begun "$1"
}

window() # CONTESTANT
{
	local bytes busy us
	signal CONT "$1"
	nap $SETTLE
	look
	bytes=$MOVED busy=$BUSY us=$NOW
	nap $WINDOW
	look
	bytes=$((MOVED - bytes)) busy=$((BUSY - busy)) us=$((NOW - us))
	stop "$1"
	[ $bytes -gt 0 ] || broken "$1 moved nothing in its window" "/run/window-$1"
	note "window/$1/bytes" $bytes
	note "window/$1/jiffies" $busy
	note "window/$1/us" $us
}

# end_windows - whoever is stopped must go on to end.
end_windows()
{
	local lab pids
	[ ${#CHILDREN[@]} -gt 0 ] || return 0
	read -ra pids <<<"${MEMBERS[*]}"
	kill "${CHILDREN[@]}" 2>/dev/null
	kill -CONT "${pids[@]}" 2>/dev/null
	wait "${CHILDREN[@]}" 2>/dev/null
	MEMBERS=() CHILDREN=()
	for lab in "${LABS[@]}"; do
		carry-lab down --name "$lab" >/run/down 2>&1
	done
	LABS=()
}

# windows TURNS - notes window/CONTESTANT/(bytes|jiffies|us) of each turn.  Each turn begins with
# another one, so that nobody always follows the same.
windows()
{
	local name turn i all
	read -ra all <<<"$CONTESTANTS"
	exec {NEVER}<> <(:)
	for name in "${all[@]}"; do
		case $name in
		[0-9]*) start_perftest "$name" ;;
		*) start_ours "$name" ;;
		esac
	done
	for ((turn = 0; turn < $1; turn++)); do
		for ((i = 0; i < ${#all[@]}; i++)); do
			window "${all[(turn + i) % ${#all[@]}]}"
		done
	done
	end_windows
	exec {NEVER}>&-
}
