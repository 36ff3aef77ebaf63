# shellcheck shell=bash
# cluster.sh - what the tests of real daemons share; they source it.
#
# lab.sh's words, but with the real carryd; and trainers (trainer.c) that do what they are told:
#   trainers open join sum:f32:1000    one a rank, in the lab that is up; says and same see $PUBLIC
. "$(dirname "${BASH_SOURCE[0]}")/lab.sh"
unset CARRYD
BUILD=${BUILD:-$(dirname "${BASH_SOURCE[0]}")/../../build}
CARRY_SLOWER=${CARRY_SLOWER:-1}
TRAINER=$BUILD/tests/sys/trainer
PER_NODE=1
PIDS=() # of daemons and trainers that the test started by itself

need_namespaces

end_own() { # those that are still there; then as lab.sh does, with the test's exit code
	local code=$? pid
	for pid in "${PIDS[@]}"; do
		kill -KILL "$pid" 2>/dev/null
	done
	(exit $code)
	cleanup
}
trap end_own EXIT

# up NODES OPTIONS...: tests/vm runs some of the tests over RDMA, by the words in CARRY_TEST_UP;
# what a test says itself comes later and so holds
up() {
	local nodes=$1
	shift
	# shellcheck disable=SC2086
	expect_at 1 0 lab up -n "$nodes" ${CARRY_TEST_UP:-} "$@"
}

down() {
	expect_at 1 0 lab down
	nothing_left "$CARRY_LAB"
}

# expect_at DEPTH STATUS CMD...: as expect, for helpers: names the line that called the helper
expect_at() {
	local depth=$1 want=$2 got
	shift 2
	"$@" >"$PUBLIC/out" 2>"$PUBLIC/err"
	got=$?
	[ $got -eq "$want" ] || fail $((depth + 1)) "$*: ended with status $got, not $want"
}

# trainers STEP...: all of them do well.  trainers_fail: at least one step of one of them fails.
trainers() {
	expect_at 1 0 lab run --per-node "$PER_NODE" --timeout 100 "$TRAINER" "$@"
}

trainers_fail() {
	expect_at 1 1 lab run --per-node "$PER_NODE" --timeout 100 "$TRAINER" "$@"
}

# begin STEP...: trainers in the background, for `finish`
begin() {
	"$CARRY_LAB_PROGRAM" run --per-node "$PER_NODE" --timeout 100 "$TRAINER" "$@" \
		>"$PUBLIC/out" 2>"$PUBLIC/err" &
	RUN=$!
}

finish() { # STATUS
	wait "$RUN"
	same $? "$1"
}

# on NODE STEP...: one trainer there, of which run and rank are the steps' business
on() {
	local node=$1
	shift
	lab exec "$node" "$TRAINER" "$@"
}

# said RANK BEGINNING: what the trainer printed for the step, without the beginning
said() {
	sed -n "s/^\[$1\] $2//p" "$PUBLIC/out"
}

# each TEXT RANK...: each of these ranks printed a line that contains TEXT
each() {
	local text=$1 rank
	shift
	for rank in "$@"; do
		grep -F "[$rank] " "$PUBLIC/out" | grep -qF -- "$text" ||
			fail 1 "rank $rank does not say: $text"
	done
}

# when RANK PATTERN: the time of the first line that matches, in ms
when() {
	sed -n "s/^\[$1\] \($2\).* at \([0-9]*\).*/\2/p" "$PUBLIC/out" | head -n 1
}

now_ms() {
	echo $((${EPOCHREALTIME/[.,]/} / 1000))
}

# bits PATTERN: the hashes that steps printed, each once
bits() {
	sed -n "s/^\[[0-9]*\] $1: ok .*\([0-9a-f]\{16\}\)\$/\1/p" "$PUBLIC/out" | sort -u
}

logged() { # NODE TEXT
	grep -qF -- "$2" "$(field "$1" log)" || {
		sed 's/^/    log: /' "$(field "$1" log)" | tail -n 20
		fail 1 "node $1's carryd does not log: $2"
	}
}

# start_carryd NODE [CMD...]: once more the daemon of a node whose own has ended
start_carryd() {
	local node=$1 dir=$STATE/$CARRY_LAB/node$1
	shift
	(exec "$CARRY_LAB_PROGRAM" exec "$node" setsid env --default-signal "$@" \
		"$BUILD/bin/carryd" -c "$dir/carryd.conf") </dev/null >>"$dir/log" 2>&1 &
	PIDS+=($!)
	STARTED=$!
	wait_until 5 lab exec "$node" carryctl status >/dev/null 2>&1 ||
		fail 1 "node $node's carryd does not start again"
}

# failed RANK STEP CODE TEXT: that step failed so, with a sentence that matches TEXT
failed() {
	said "$1" "$2: $3 at [0-9]*: " | grep -qE -- "$4" ||
		fail 1 "rank $1 does not say: $2: $3: $4"
}

wait_lines() { # COUNT PATTERN [FILE]: until so many lines match
	wait_until 20 lines_match "$1" "$2" "${3:-$PUBLIC/out}" || {
		[ $# -lt 3 ] || cat "$3"
		fail 1 "there are no $1 lines like: $2"
	}
}

lines_match() {
	[ "$(grep -cs -- "$2" "$3" || true)" -ge "$1" ] 2>/dev/null
}

# bystanders NODES MS: another group on the same daemons, which must not notice anything
bystanders() {
	"$CARRY_LAB_PROGRAM" run -n "$1" --timeout 100 "$TRAINER" open:16M join say:ready \
		"loop:$2:f32:100K" >"$PUBLIC/bystanders" 2>&1 &
	BYSTANDERS=$!
	wait_lines "$1" 'ready at' "$PUBLIC/bystanders"
}

bystanders_are_well() {
	local code
	wait "$BYSTANDERS"
	code=$?
	[ $code -eq 0 ] && lines_match 2 'loop:.*: ok' "$PUBLIC/bystanders" && return
	cat "$PUBLIC/bystanders"
	fail 1 "the bystanders noticed"
}
