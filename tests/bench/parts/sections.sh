# shellcheck shell=bash
# sections.sh - what is measured: each section brings up its labs and takes its samples in rounds,
# the systems in turn within each, so that what the machine does meanwhile hits all of them.

readonly KIB=1024 MIB=1048576

# Links of 1 Gbit/s: how much of them is used?
section_shaped() {
	SECTION=shaped MTU=9000 BYTES=$((64 * MIB))
	lab_start shaped 4 --rate 1gbit
	for ((ROUND = 1; ROUND <= ROUNDS; ROUND++)); do
		for NODES in 2 4; do
			iperf "$IPERF_SECONDS"
			carry
		done
	done
	lab_stop
}

# Codecs on slow links, beside our own dense time and Gloo's.
section_coded() {
	local rate
	SECTION=coded
	for rate in 1000 100; do
		# What tells the two apart in the samples is the size.
		MTU=9000 BYTES=$(((rate == 1000 ? 64 : 16) * MIB))
		lab_start "coded$rate" 4 --rate ${rate}mbit
		for ((ROUND = 1; ROUND <= ROUNDS; ROUND++)); do
			for NODES in 2 4; do
				iperf "$IPERF_SECONDS"
				gloo ring
				carry dense 1
				coded int8 --codec int8
				coded int4 --codec int4
				coded sign --codec sign --feedback twosided
				coded top1 --codec topk:density=0.01 --feedback ef21
			done
		done
		lab_stop
	done
}

# Is what the group chooses as fast as the best that could be?  Two nodes; none, int8, int4.
section_auto() {
	local rate codec
	SECTION=auto MTU=9000 NODES=2
	for rate in 100mbit 1gbit unshaped; do
		if [ $rate = unshaped ]; then
			lab_start "auto-$rate" 2
		else
			lab_start "auto-$rate" 2 --rate $rate
		fi
		for ((ROUND = 1; ROUND <= ROUNDS; ROUND++)); do
			for BYTES in $((4 * KIB)) $((64 * KIB)) $MIB $((16 * MIB)); do
				# 100 dense ops of that size would take five minutes.
				[ "$rate-$BYTES" != 100mbit-$((16 * MIB)) ] || continue
				for codec in none int8 int4 auto; do
					chosen "$rate" $codec
				done
			done
		done
		lab_stop
	done
}

# As fast as the machine goes: the kernel's TCP and two cores are the limit.
section_unshaped() { # MTU
	local -A chosen=()
	SECTION=unshaped MTU=$1
	lab_start "$MTU" 4 --mtu "$MTU"
	for NODES in 2 4; do
		for BYTES in $MIB $((16 * MIB)) $((64 * MIB)); do
			gloo_choose
			chosen[$NODES-$BYTES]=$GLOO
		done
	done
	for ((ROUND = 1; ROUND <= ROUNDS; ROUND++)); do
		for NODES in 2 4; do
			for BYTES in $MIB $((16 * MIB)) $((64 * MIB)); do
				iperf "$IPERF_SECONDS"
				carry
				openmpi
				gloo "${chosen[$NODES-$BYTES]}"
			done
		done
	done
	lab_stop
}

# Zero-copy send: always, never, and as the daemon finds it worth.
section_zerocopy() { # MTU
	local setting
	SECTION=zerocopy MTU=$1 NODES=2 BYTES=$((64 * MIB))
	for setting in auto on off; do
		lab_start "zc-$setting" 2 --mtu "$MTU" --set uring.zerocopy=$setting
	done
	for ((ROUND = 1; ROUND <= ROUNDS; ROUND++)); do
		for setting in auto on off; do
			LAB=bench-zc-$setting
			carry $setting
		done
	done
	ROUND=$ROUNDS
	for setting in auto on off; do
		LAB=bench-zc-$setting
		zerocopy_use $setting
	done
	lab_stop
}

# zerocopy_use SETTING: what node 0's daemon says of zero-copy in the end
zerocopy_use() {
	local status
	status=$(lab_tool exec --name "$LAB" 0 "$BIN/carryctl" --json status) ||
		broken "carryctl cannot ask node 0"
	sample status "$1" "$(jq '.lanes | {value: map(.zerocopy_sends) | add,
		unit: "zero-copy sends", copied: map(.zerocopy_copied) | add,
		frames: map(.frames_sent) | add,
		says: (.[0].transport | capture("(?<z>zero-copy [a-z]+( \\([^)]*\\))?)").z)}' \
		<<<"$status")"
}

# What one small operation takes, and two trainers without a network.
section_small_and_local() {
	MTU=9000
	lab_start small 2
	for ((ROUND = 1; ROUND <= ROUNDS; ROUND++)); do
		SECTION=small NODES=2 BYTES=8
		carry
		openmpi
		gloo ring
		SECTION=local NODES=1 BYTES=$((64 * MIB))
		carry auto 2
		openmpi_shm 2
	done
	lab_stop
}

# Two nodes, two trainers each, a group, and nothing to do: the daemon that uses most of a core.
section_idle() {
	local log=$WORK/log job try before after
	SECTION=idle MTU=9000 NODES=2 BYTES=$((64 * KIB))
	lab_start idle 2
	ROUND=1
	# That long the trainers idle: more than all rounds take.
	lab_tool run --name "$LAB" --per-node 2 --timeout $((ROUNDS * 3 + 60)) \
		"$BUILD/tests/bench/bench_idle" $((ROUNDS * 3 + 5)) >"$log" 2>&1 &
	job=$!
	for ((try = 0; try < 300; try++)); do
		[ "$(grep -c ' idle$' "$log")" -lt 4 ] || break
		kill -0 $job 2>/dev/null || break
		sleep 0.1
	done
	[ "$(grep -c ' idle$' "$log")" -eq 4 ] || broken "the trainers did not come to idle" "$log"
	sleep 1
	for ((ROUND = 1; ROUND <= ROUNDS; ROUND++)); do
		before=$(idle_ns)
		sleep 3
		after=$(idle_ns)
		sample carry auto "$(jq -n --argjson before "[$before]" --argjson after "[$after]" \
			'{value: ([range(2) as $i | $after[$i] - $before[$i]] | max / 3e7),
				unit: "% of a core"}')"
	done
	wait $job || broken "a trainer failed after it had been idle" "$log"
	lab_stop
}

idle_ns() { # of each daemon
	local all=${DAEMONS[$LAB]} pid list=''
	for pid in $all; do
		DAEMONS[$LAB]=$pid
		list+=${list:+,}$(daemons_ns)
	done
	DAEMONS[$LAB]=$all
	echo "$list"
}

section_ready() {
	local ms log=$WORK/log
	SECTION=ready MTU=0 NODES=1 BYTES=0 ROUND=0
	"$BUILD/tests/bench/bench_ready" $((ROUNDS * 5)) "$BIN/carryd" >"$WORK/ready" 2>"$log" ||
		broken "carryd does not start as it should" "$log"
	while read -r ms; do
		ROUND=$((ROUND + 1))
		sample carry auto "{\"value\": $ms, \"unit\": \"ms\"}" 2>/dev/null
	done <"$WORK/ready"
	say "start to ready: $(sort -n "$WORK/ready" | awk '{ t[NR] = $1 }
		END { print t[int((NR + 1) / 2)] }') ms"
}
