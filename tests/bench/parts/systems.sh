# shellcheck shell=bash
# systems.sh - one measurement each of carry, Open MPI, Gloo and iperf3.
#
# Each measures NODES nodes of LAB with tensors of BYTES and leaves a sample.  Times are medians
# of the iterations, in place (but for chosen): what a training loop does with its gradients, and
# what costs Open MPI and Gloo no copy before they start.  Out of place is measured too and kept in
# the JSON.
# CPU seconds per GB are of all ranks, and of the daemons, per GB of tensor (not times ranks).

readonly GLOO_ALGORITHMS="ring bcube ring-chunked halving-doubling"
readonly LIMIT_S=120
readonly IPERF_PORT=5300

# counts: iterations N and warm-ups W for this size, so that a run takes a second or so
counts() {
	case $BYTES in
	8) N=2000 W=200 ;;
	1048576) N=60 W=10 ;;
	16777216) N=10 W=2 ;;
	*) N=4 W=1 ;;
	esac
}

# perf PER_NODE ITERATIONS WARMUPS OPTION...: leaves its JSON in WORK/perf, and in SPENT what the
# daemons used, nanoseconds
perf() {
	local per_node=$1 n=$2 w=$3 log=$WORK/log before
	shift 3
	rm -f "$WORK/perf"
	before=$(daemons_ns)
	lab_tool run --name "$LAB" -n "$NODES" --per-node "$per_node" --timeout $LIMIT_S \
		"$BIN/carry-perf" -b "$BYTES" -e "$BYTES" -n "$n" -w "$w" "$@" \
		--json "$WORK/perf" >"$log" 2>&1 || broken "carry-perf failed: $(where)" "$log"
	SPENT=$(($(daemons_ns) - before))
}

# carry_sample VARIANT SECONDS [US]: what perf left; the daemons' seconds are per GB, and US an
# op's time where these were taken
carry_sample() {
	sample carry "$1" "$(jq --argjson daemons "$2" --argjson us "${3:-null}" '.results[0] | {
		amid_us: $us,
		time_us: .in_place.time_us_median, p99_us: .in_place.time_us_p99,
		out_of_place_us: .time_us_median, wire_bytes: .in_place.wire_bytes,
		daemon_cpu_s_per_gb: $daemons,
		trainer_cpu_s_per_gb: .in_place.trainer_cpu_s_per_gb,
		cpu_s_per_gb: ($daemons + .in_place.trainer_cpu_s_per_gb)}' "$WORK/perf")"
}

# per_gb NANOSECONDS OPS: seconds per GB
per_gb() {
	awk -v ns="$1" -v bytes=$(($2 * BYTES)) 'BEGIN { printf "%.9f\n", ns / bytes }'
}

# carry [VARIANT [PER_NODE [OPTION OF carry-perf...]]].  What the ops of a long run use beyond those
# of a short one is what ops cost the daemons, without start and end.
carry() {
	local variant=${1:-auto} per_node=${2:-1} short=0 short_ops=0
	shift $(($# < 2 ? $# : 2))
	counts
	if [ "$BYTES" -ge $((16 << 20)) ]; then
		perf "$per_node" 1 0 "$@"
		short=$SPENT short_ops=2 # out of place, in place
	fi
	perf "$per_node" $N $W --check "$@"
	carry_sample "$variant" \
		"$(per_gb $((SPENT - short)) $((2 * (N + W + 1) - short_ops)))"
}

ops_done() { # of node 0's group, up to now
	lab_tool exec --name "$LAB" 0 "$BIN/carryctl" --json groups 2>/dev/null |
		jq '[.[].ops_done] | add // 0'
}

# next_op COUNT: until more than so many are done; sets OPS, NS of the daemons and US, now
next_op() {
	local end=$((SECONDS + 30))
	until OPS=$(ops_done) && [ "$OPS" -gt "$1" ]; do
		[ $SECONDS -lt $end ] || broken "no op after the ${1}th: $(where)" "$WORK/log"
	done
	US=${EPOCHREALTIME/./} NS=$(daemons_ns)
}

# amid OPTION...: from 2 s and more of a run that is too long to end, among the ops out of place,
# which follow one another: sets COST, the daemons' seconds per GB, and OP_US
amid() {
	local run ns us ops
	"$BIN/carry-lab" run --name "$LAB" -n "$NODES" --timeout $LIMIT_S "$BIN/carry-perf" \
		-b "$BYTES" -e "$BYTES" -n 100000 -w 0 "$@" >"$WORK/log" 2>&1 {LOCK}>&- &
	run=$!
	next_op 4
	sleep 1
	next_op "$(ops_done)"
	ops=$OPS ns=$NS us=$US
	sleep 2
	next_op "$(ops_done)"
	COST=$(per_gb $((NS - ns)) $((OPS - ops))) OP_US=$(((US - us) / (OPS - ops)))
	kill $run
	wait $run 2>/dev/null
}

# coded VARIANT OPTION...: as carry, but for what ops cost the daemons.  State of feedback takes
# memory when a run begins, which costs the kernel 0.2 to 4 s of a core: more than all ops do.  How
# long ops take amid a run is noted for comparison with it, as EF21 finds less to do there: what
# carry-perf reduces is always the same.
coded() {
	local variant=$1
	shift
	amid "$@"
	counts
	perf 1 $N $W --check "$@"
	carry_sample "$variant" "$COST" "$OP_US"
}

# chosen RATE CODEC: out of place, that is one op after the other: in place carry-perf fills the
# tensor anew before each and waits for all ranks, while links make up for what a short op
# owes them.  Short ops take up to twice as long from one run to the next, whatever the codec, by
# where threads happen to run: many ops, and many before them for all codecs.
chosen() {
	local n w=10 settled=1000
	# Ops until it has settled: 1,000, and in no less than two seconds.
	case $BYTES in
	4096) n=8000 w=12000 settled=40000 ;;
	65536) n=4000 w=6000 settled=12000 ;;
	1048576) n=60 ;;
	*) n=50 ;;
	esac
	case $1-$BYTES in
	100mbit-65536) n=1000 w=2000 settled=3000 ;;
	# 100 dense ops take ten seconds; codecs are not too close there.
	100mbit-1048576 | 1gbit-16777216) settled=330 ;;
	esac
	[ "$2" != auto ] || w=$settled
	perf 1 $n $w --codec "$2"
	sample carry "$1-$2" "$(jq '.results[0] | {time_us: .time_us_median,
		p99_us: .time_us_p99, wire_bytes}' "$WORK/perf")"
}

# peer_figures: of what a peer's program wrote
peer_figures() {
	jq '.results[0] | {time_us: .in_place.time_us_median, p99_us: .in_place.time_us_p99,
		out_of_place_us: .time_us_median,
		cpu_s_per_gb: .in_place.trainer_cpu_s_per_gb}' "$WORK/perf"
}

# mpi OPTION...: mpirun on node 0 runs the program.  Bound to a core each, as is Open MPI's habit,
# all ranks would share core 0, because each believes to be alone on its machine; for the same
# reason they must be told to yield when there are more of them than cores.
mpi() {
	local log=$WORK/log
	counts
	rm -f "$WORK/perf"
	# shellcheck disable=SC2016
	timeout -k 5 $LIMIT_S "$BIN/carry-lab" exec --name "$LAB" 0 unshare --uts \
		sh -c 'hostname carry-node0; exec "$@"' sh \
		mpirun --allow-run-as-root --mca orte_tmpdir_base "$WORK" --mca pml ob1 "$@" \
		"$OUT/peer_openmpi" -b "$BYTES" -n $N -w $W -j "$WORK/perf" \
		>"$log" 2>&1 {LOCK}>&- </dev/null ||
		broken "Open MPI failed: $(where)" "$log"
}

openmpi() {
	local hosts='' address count=0
	for address in ${ADDRESSES[$LAB]}; do
		[ $((count++)) -lt "$NODES" ] || break
		hosts+=${hosts:+,}$address:1
	done
	mpi -n "$NODES" --host "$hosts" --bind-to none \
		--mca plm_rsh_agent "$PWD/tests/bench/openmpi-agent" \
		--mca plm_rsh_no_tree_spawn 1 --mca oob_tcp_if_include eth0 \
		--mca btl tcp,self --mca btl_tcp_if_include eth0 \
		--mca mpi_yield_when_idle $((NODES > CORES))
	sample openmpi tcp "$(peer_figures)"
}

openmpi_shm() { # RANKS on node 0
	mpi -n "$1" --mca btl vader,self
	sample openmpi shm "$(peer_figures)"
}

gloo() { # ALGORITHM
	local log=$WORK/log store
	counts
	rm -f "$WORK/perf"
	store=$(mktemp -d "$WORK/store-XXXXXX") || broken "cannot make a folder"
	lab_tool run --name "$LAB" -n "$NODES" --timeout $LIMIT_S "$OUT/peer_gloo" -b "$BYTES" \
		-n $N -w $W -a "$1" -s "$store" -i eth0 -j "$WORK/perf" >"$log" 2>&1 ||
		broken "Gloo failed: $1, $(where)" "$log"
	rm -rf "$store"
	sample gloo "$1" "$(peer_figures)"
}

# gloo_choose: which of its algorithms is the fastest here; measured once, before the rounds
gloo_choose() {
	local algorithm
	local ROUND=0
	for algorithm in $GLOO_ALGORITHMS; do
		gloo "$algorithm"
	done
	GLOO=$(jq -rs --arg section "$SECTION" --argjson nodes "$NODES" --argjson bytes "$BYTES" \
		--argjson mtu "$MTU" 'map(select(.system == "gloo" and .round == 0 and
			.section == $section and .nodes == $nodes and .bytes == $bytes and
			.mtu == $mtu)) | min_by(.time_us).variant' "$SAMPLES")
}

# iperf SECONDS: from every node to every other at once.  Both ends of each connection tell their
# CPU time; the first second, when connections are still being made, is left out.
iperf() {
	local log=$WORK/log spaces addresses from to port pids=() files=() servers=() pid
	read -ra spaces <<<"${SPACES[$LAB]}"
	read -ra addresses <<<"${ADDRESSES[$LAB]}"
	: >"$log"
	for ((to = 0; to < NODES; to++)); do
		for ((from = 0; from < NODES; from++)); do
			[ $from -ne $to ] || continue
			ip netns exec "${spaces[to]}" timeout $(($1 + 20)) iperf3 -s -1 \
				-p $((IPERF_PORT + from)) >/dev/null 2>>"$log" {LOCK}>&- &
			servers+=($!)
		done
	done
	iperf_listening "${spaces[@]:0:NODES}" || broken "iperf3's servers do not listen" "$log"
	for ((to = 0; to < NODES; to++)); do
		for ((from = 0; from < NODES; from++)); do
			[ $from -ne $to ] || continue
			port=$((IPERF_PORT + from))
			files+=("$WORK/iperf-$from-$to")
			ip netns exec "${spaces[from]}" timeout $(($1 + 15)) iperf3 -J -O 1 \
				-t "$1" -c "${addresses[to]}" -p $port \
				>"$WORK/iperf-$from-$to" 2>>"$log" {LOCK}>&- &
			pids+=($!)
		done
	done
	for pid in "${pids[@]}"; do
		wait "$pid" || { cat "${files[@]}" >>"$log"; broken "iperf3 failed" "$log"; }
	done
	wait "${servers[@]}"
	sample iperf3 all-to-all "$(jq -s '([.[].end.sum_received.bits_per_second] | add / 8e9)
		as $gbs | {goodput_gbs: $gbs, core_s_per_gb: ([.[].end.cpu_utilization_percent |
		.host_total + .remote_total] | add / 100 / $gbs)}' "${files[@]}")"
}

iperf_listening() { # NAMESPACE...
	local space try ports="sport >= :$IPERF_PORT and sport < :$((IPERF_PORT + NODES))"
	for space; do
		for ((try = 0; try < 200; try++)); do
			[ "$(ss -N "$space" -Hltn "$ports" | wc -l)" -lt $((NODES - 1)) ] || break
			sleep 0.02
		done
		[ $try -lt 200 ] || return 1
	done
}
