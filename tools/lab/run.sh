# shellcheck shell=bash
# run.sh - one trainer per rank, their output told apart, their end collected.
#
# Every trainer is a session of its own, so that it can be ended with its children and a Ctrl-C at
# the terminal reaches only us.  A keeper waits for it, leaves its status as a file and rings a
# bell, a pipe that we listen to: bash's own `wait` forgets children when a trap interrupts it.  The
# two outputs are pipes, each read by a process that puts the rank before every line.  A trainer
# that fails does not end the others: they may go on without it.

readonly END_SECONDS=3

command_run() {
	local temporary='' rc
	[ $# -gt 0 ] || bad_usage "run needs a command"
	if lab_read && lab_live && [ "${LAB[stage]}" = up ]; then
		[ ${#LINK_OPTIONS[@]} -eq 0 ] || die "${LINK_OPTIONS[0]}: lab '$NAME' is up already"
		NODES=${NODES:-${LAB[nodes]}}
		[ "$NODES" -le "${LAB[nodes]}" ] ||
			die "lab '$NAME' has ${LAB[nodes]} nodes, not $NODES"
	else
		[ -n "$NODES" ] ||
			die "no lab '$NAME' is up, and without -n NODES run cannot make one"
		# Two such runs at once are two labs.
		[ -n "$NAMED" ] || { NAME=$NAME-run$$; DIR=$STATE/$NAME; }
		OWNER=$(self) lab_up
		temporary=yes
	fi
	RUN=$DIR/runs/$$
	mkdir -p "$RUN" || die "cannot write $RUN"
	run_trainers "$@"
	rc=$?
	rm -rf "$RUN"
	[ -z "$temporary" ] || command_down >/dev/null || rc=1
	exit $rc
}

# The rank before every line, each written at once; a last line without its end gets one.
prefix() {
	exec perl -e '$| = 1; while (<STDIN>) { chomp; print "[$ARGV[0]] $_\n" }' "$1"
}

# keeper RANK CMD...: starts a trainer and stays until it has ended
keeper() {
	local rank=$1 pid
	shift
	trap '' INT HUP TERM # only the trainer's end ends it
	(
		export RANK=$rank WORLD_SIZE=$((NODES * PER_NODE)) LOCAL_RANK=$((rank % PER_NODE))
		export LOCAL_WORLD_SIZE=$PER_NODE MASTER_PORT=$PORT CARRY_RUN_ID=$RUN_ID
		MASTER_ADDR=$(address 0)
		export MASTER_ADDR
		exec {BELL}>&-
		in_node $((rank / PER_NODE)) setsid env --default-signal "$@" \
			</dev/null >"$RUN/.$rank.out" 2>"$RUN/.$rank.err"
	) &
	pid=$!
	process_record $pid "$RUN/$rank"
	wait $pid
	echo $? >"$RUN/.$rank.status"
	rm -f "$RUN/$rank"
	echo >&"$BELL"
}

start_trainer() { # RANK CMD...
	local rank=$1 stream
	for stream in out err; do
		mkfifo "$RUN/.$rank.$stream" || die "cannot make a pipe in $RUN"
	done
	prefix "$rank" <"$RUN/.$rank.out" {BELL}>&- &
	PREFIXES+=($!)
	prefix "$rank" <"$RUN/.$rank.err" >&2 {BELL}>&- &
	PREFIXES+=($!)
	keeper "$@" >/dev/null 2>&1 & # the shell's own words about signals are not wanted
	KEEPERS[rank]=$!
}

signal_trainers() { # SIGNAL: to each trainer that still runs, and to its children
	local rank
	for rank in "${!KEEPERS[@]}"; do
		process_find "$RUN/$rank" || continue
		kill "-$1" -- "-$PID" 2>/dev/null || kill "-$1" "$PID" 2>/dev/null
	done
}

# stop_trainers REASON: asks them to end; after END_SECONDS they have to
stop_trainers() {
	[ -z "$STOPPED" ] || return 0
	STOPPED=$1
	say "$1: ending all trainers"
	signal_trainers TERM
	signal_trainers CONT
	KILL_AT=$((SECONDS + END_SECONDS + 1))
}

describe_end() { # STATUS
	if [ "$1" -gt 128 ] && kill -l "$1" >/dev/null 2>&1; then
		echo "was ended by signal $(($1 - 128)) (SIG$(kill -l "$1"))"
	else
		echo "ended with status $1"
	fi
}

process_ended() { # PID of a child of ours
	! process_read "$1" || [ "$PROCESS_STATE" = Z ]
}

# collect: until no trainer is left
collect() {
	local rank status
	while [ ${#KEEPERS[@]} -gt 0 ]; do
		read -r -t 0.5 -u "$BELL"
		for rank in "${!KEEPERS[@]}"; do
			process_ended "${KEEPERS[rank]}" || [ -s "$RUN/.$rank.status" ] || continue
			unset "KEEPERS[rank]"
			status=''
			read -r status 2>/dev/null <"$RUN/.$rank.status"
			[ "$status" != 0 ] || continue
			say "rank $rank $(describe_end "${status:-1}")"
			FAILED=1
		done
		[ "$TIMEOUT" -eq 0 ] || [ $SECONDS -lt $((STARTED + TIMEOUT)) ] ||
			stop_trainers "time is up after $TIMEOUT s"
		# One that was just starting may have missed the first signal.
		[ -z "$STOPPED" ] || [ $SECONDS -lt $KILL_AT ] || signal_trainers KILL
	done
}

# What the trainers wrote has been printed when the readers end; a child that lives on and holds
# the pipe may delay us, but not for long.
drain() {
	local limit=$((SECONDS + 3)) pid
	for pid in "${PREFIXES[@]}"; do
		until process_ended "$pid"; do
			[ $SECONDS -lt $limit ] || { kill "$pid" 2>/dev/null; break; }
			read -r -t 0.02 -u "$BELL"
		done
	done
}

run_trainers() {
	local rank
	PREFIXES=() KEEPERS=() STOPPED='' KILL_AT=0 FAILED=0 STARTED=$SECONDS
	RUN_ID=$NAME-$$-$(date +%s%N)
	mkfifo "$RUN/.bell" && exec {BELL}<>"$RUN/.bell" || die "cannot make a pipe in $RUN"
	trap 'stop_trainers "interrupted"' INT TERM HUP
	for ((rank = 0; rank < NODES * PER_NODE; rank++)); do
		[ -z "$STOPPED" ] || break
		start_trainer "$rank" "$@"
	done
	collect
	drain
	trap - INT TERM HUP
	exec {BELL}>&-
	[ "$FAILED" -eq 0 ] && [ -z "$STOPPED" ]
}
