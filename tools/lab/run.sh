# shellcheck shell=bash
# run.sh - one trainer per rank, their output told apart, their end collected.
#
# Every trainer is a session of its own, so that it can be ended with its children and a Ctrl-C at
# the terminal reaches only us.  Its two outputs are pipes, each read by a process that puts the
# rank before every line.  A trainer that fails does not end the others: they may go on without it.

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

start_trainer() { # RANK CMD...
	local rank=$1 node=$(($1 / PER_NODE)) stream
	shift
	for stream in out err; do
		mkfifo "$RUN/.$rank.$stream" || die "cannot make a pipe in $RUN"
	done
	prefix "$rank" <"$RUN/.$rank.out" {SAY}>&- &
	PREFIXES+=($!)
	prefix "$rank" <"$RUN/.$rank.err" >&"$SAY" {SAY}>&- &
	PREFIXES+=($!)
	(
		exec {SAY}>&-
		export RANK=$rank WORLD_SIZE=$((NODES * PER_NODE)) LOCAL_RANK=$((rank % PER_NODE))
		export LOCAL_WORLD_SIZE=$PER_NODE MASTER_PORT=$PORT CARRY_RUN_ID=$RUN_ID
		MASTER_ADDR=$(address 0)
		export MASTER_ADDR
		in_node "$node" setsid env --default-signal=INT,QUIT,PIPE "$@" \
			</dev/null >"$RUN/.$rank.out" 2>"$RUN/.$rank.err"
	) &
	TRAINERS[$!]=$rank
	process_record $! "$RUN/$rank"
}

signal_trainers() { # SIGNAL: to each trainer that still runs, and to its children
	local pid
	for pid in "${!TRAINERS[@]}"; do
		kill "-$1" -- "-$pid" 2>/dev/null || kill "-$1" "$pid" 2>/dev/null
	done
}

# stop_trainers REASON: asks them to end; a timer kills what is left after END_SECONDS
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

ended() { # PID STATUS
	local rank=${TRAINERS[$1]}
	unset "TRAINERS[$1]"
	rm -f "$RUN/$rank"
	[ "$2" -gt 0 ] || return 0
	say "rank $rank $(describe_end "$2")"
	FAILED=1
}

# collect: until no trainer is left.  `wait -n` sleeps; but of two that end together bash 5.2 may
# keep one from it, so all are looked at afterwards, and a ticking child wakes us for that and for
# the limits.
collect() {
	local pid status tick
	while [ ${#TRAINERS[@]} -gt 0 ]; do
		sleep 0.5 &
		tick=$! pid=''
		wait -n -p pid "$tick" "${!TRAINERS[@]}" 2>/dev/null
		status=$?
		[ -z "${TRAINERS[${pid:-0}]:-}" ] || ended "$pid" $status
		kill "$tick" 2>/dev/null
		wait "$tick" 2>/dev/null
		for pid in "${!TRAINERS[@]}"; do
			! kill -0 "$pid" 2>/dev/null || continue
			wait "$pid" 2>/dev/null
			ended "$pid" $?
		done
		[ "$TIMEOUT" -eq 0 ] || [ $SECONDS -lt $((STARTED + TIMEOUT)) ] ||
			stop_trainers "time is up after $TIMEOUT s"
		[ -z "$STOPPED" ] || [ $SECONDS -lt $KILL_AT ] || signal_trainers KILL
	done
}

# What the trainers wrote has been printed when the readers end; a child that lives on and holds
# the pipe may delay us, but not for long.
drain() {
	local limit=$((SECONDS + 3)) pid
	for pid in "${PREFIXES[@]}"; do
		while kill -0 "$pid" 2>/dev/null && [ $SECONDS -lt $limit ]; do
			sleep 0.02
		done
		kill "$pid" 2>/dev/null
		wait "$pid" 2>/dev/null
	done
}

run_trainers() {
	local rank
	declare -A TRAINERS=()
	PREFIXES=() STOPPED='' KILL_AT=0 FAILED=0 STARTED=$SECONDS
	RUN_ID=$NAME-$$-$(date +%s%N)
	# The shell has words of its own for jobs that signals end; ours go past it.
	exec {SAY}>&2 2>/dev/null
	trap 'stop_trainers "interrupted"' INT TERM HUP
	for ((rank = 0; rank < NODES * PER_NODE; rank++)); do
		[ -z "$STOPPED" ] || break
		start_trainer "$rank" "$@"
	done
	collect
	drain
	exec 2>&"$SAY" {SAY}>&-
	SAY=2
	trap - INT TERM HUP
	[ "$FAILED" -eq 0 ] && [ -z "$STOPPED" ]
}
