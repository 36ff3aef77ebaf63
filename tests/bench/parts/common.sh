# shellcheck shell=bash
# common.sh - labs, samples, CPU time: what all parts of the benchmarks use.
#
# SAMPLES is a file of one JSON object a line.  What was measured when is in SECTION, NODES, MTU,
# BYTES and ROUND; a sample is these and the figures of one system.  LAB is the lab at hand;
# DAEMONS, SPACES and ADDRESSES hold, for each lab, words in the order of its nodes.

BUILD=$(realpath -m "${BUILD:-build}")
readonly BUILD BIN=$BUILD/bin OUT=$BUILD/bench
CORES=$(nproc)
LABS=()
declare -gA DAEMONS=() SPACES=() ADDRESSES=()
SECTION='' NODES=0 MTU=0 BYTES=0 ROUND=0 LAB='' LOCK=''

say() {
	printf '%s: %s\n' "$(basename "$0")" "$*" >&2
}

# broken SENTENCE [LOG]: a run that fails is no figure.  Ends everything.
broken() {
	say "$1"
	[ ! -s "${2:-}" ] || tail -n 15 "$2" | sed 's/^/    /' >&2
	exit 1
}

# begin: what a run needs, or a sentence; a folder for its files; nobody else at the same time
begin() {
	local tool
	[ "$EUID" -eq 0 ] || broken "needs root, for network namespaces"
	for tool in jq iperf3 ip ss unshare timeout; do
		command -v $tool >/dev/null || broken "$tool is missing: run tools/setup.sh --bench"
	done
	mkdir -p "$OUT" || broken "cannot write $OUT"
	exec {LOCK}>>/run/lock/carry-bench.lock || broken "cannot write to /run/lock"
	flock -n "$LOCK" || broken "another benchmark is running on this machine"
	WORK=$(mktemp -d "${TMPDIR:-/tmp}/carry-bench-XXXXXX") || broken "cannot make a folder"
	SAMPLES=$WORK/samples
	: >"$SAMPLES"
	unset CARRY_LAB CARRY_SOCKET CARRY_ROOT CARRY_RUN_ID CARRY_PORT CARRYD
	trap finish EXIT
	trap 'say interrupted; exit 1' INT TERM HUP
}

finish() {
	local code=$? lab job
	trap '' INT TERM HUP
	for job in $(jobs -p); do
		kill "$job" 2>/dev/null
	done
	for lab in "${LABS[@]}"; do
		lab_tool down --name "$lab" >/dev/null || code=1
	done
	rm -rf "$WORK"
	exit $code
}

lab_tool() { # the lock is not for daemons
	"$BIN/carry-lab" "$@" {LOCK}>&-
}

# lab_start KEY NODES OPTION...: a lab of its own name, taken down by finish().  A shaped lab
# measures its links and refuses to come up if they are off, which a machine that was busy for a
# moment can cause: three tries.
lab_start() {
	local key=$1 nodes=$2 log=$WORK/log status try
	shift 2
	LAB=bench-$key
	lab_tool down --name "$LAB" >/dev/null 2>&1 # of a run that was killed
	LABS+=("$LAB")
	for try in 1 2 3; do
		lab_tool up --name "$LAB" -n "$nodes" "$@" >"$log" 2>&1 && break
		[ $try -lt 3 ] || { unset 'LABS[-1]'; broken "the lab does not come up" "$log"; }
	done
	status=$(lab_tool status --name "$LAB" --json) || broken "no status of lab $LAB"
	[ "$(jq -r .mode <<<"$status")" = namespaces ] ||
		broken "the lab has no network namespaces" "$log"
	DAEMONS[$LAB]=$(jq -r '[.node[].pid] | join(" ")' <<<"$status")
	SPACES[$LAB]=$(jq -r '[.node[].namespace] | join(" ")' <<<"$status")
	ADDRESSES[$LAB]=$(jq -r '[.node[].address] | join(" ")' <<<"$status")
}

lab_stop() { # all that are up
	local lab
	for lab in "${LABS[@]}"; do
		lab_tool down --name "$lab" >/dev/null || broken "lab $lab did not end well"
	done
	LABS=()
}

# daemons_ns: CPU time of the lab's daemons up to now, all threads, nanoseconds
daemons_ns() {
	local pid files=()
	for pid in ${DAEMONS[$LAB]}; do
		files+=("/proc/$pid/task/"*/schedstat)
	done
	cat "${files[@]}" 2>/dev/null | awk '{ sum += $1 } END { printf "%.0f\n", sum }'
}

# sample SYSTEM VARIANT JSON
sample() {
	jq -cn --arg section "$SECTION" --argjson nodes "$NODES" --argjson mtu "$MTU" \
		--argjson bytes "$BYTES" --argjson round "$ROUND" --arg system "$1" \
		--arg variant "$2" --argjson figures "$3" \
		'{$section, $nodes, $mtu, $bytes, $round, $system, $variant} + $figures' \
		>>"$SAMPLES" || broken "a measurement of $1 left no figures"
	[ "$ROUND" -eq 0 ] || printf '  %-28s %-8s %-17s %s\n' "$(where)" "$1" "$2" \
		"$(jq -r 'if .time_us then "\(.time_us * 10 | round / 10) us"
			elif .goodput_gbs then "\(.goodput_gbs * 1000 | round / 1000) GB/s"
			else "\(.value * 1000 | round / 1000) \(.unit)" end' <<<"$3")" >&2
}

where() {
	local size=$BYTES
	if [ "$size" -ge 1048576 ]; then
		size="$((size / 1048576)) MiB"
	else
		size="$size B"
	fi
	printf '%s: %d nodes, %s' "$ROUND/$ROUNDS" "$NODES" "$size"
}

ticks() { # of all cores: idle, stolen by the host, all
	awk '$1 == "cpu" { for (i = 2; i <= 9; i++) all += $i; print $5 + $6, $9, all }' /proc/stat
}

# busy: how much of the machine others use, percent, while we do nothing
busy() {
	local before
	before=$(ticks)
	sleep 2
	echo "$before $(ticks)" | awk '{ printf "%.0f\n", 100 - 100 * ($4 - $1) / ($6 - $3) }'
}

# machine MODE: what the figures were taken on, as JSON
machine() {
	jq -n --arg date "$(date -u +%Y-%m-%dT%H:%MZ)" \
		--arg cpu "$(sed -n 's/^model name[^:]*: //p' /proc/cpuinfo | head -n 1)" \
		--argjson cores "$CORES" --arg kernel "$(uname -r)" \
		--argjson memory_gib "$(awk '/^MemTotal/ { printf "%d", $2 / 1048576 }' \
			/proc/meminfo)" \
		--arg commit "$(git rev-parse --short HEAD 2>/dev/null || echo unknown)" \
		--argjson changed "$(git diff --quiet HEAD 2>/dev/null && echo false ||
			echo true)" \
		--argjson busy "$(busy)" --arg mode "$1" --argjson rounds "$ROUNDS" \
		'{$date, machine: {$cpu, $cores, $memory_gib, $kernel, busy_percent_before: $busy},
			commit: ($commit + if $changed then " and changes" else "" end),
			$mode, $rounds}'
}
