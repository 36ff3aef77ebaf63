# shellcheck shell=bash
# lab.sh - what the tests of carry-lab share; they source it.
#
# They run over a stand-in for carryd, so that they test the lab and nothing else: it opens the
# socket and the port its configuration names, and ends on SIGTERM.  STAND_IN in its environment
# makes it misbehave: die, deaf (never ready), stubborn (ignores SIGTERM), spin (uses a whole core).
set -u
export LC_ALL=C

PUBLIC=$(mktemp -d /tmp/carry-lab-test.XXXXXX) # where other users can read, too
chmod 755 "$PUBLIC"
export CARRY_LAB=t$$
LABS=("$CARRY_LAB") # what cleanup takes down
if command -v carry-lab >/dev/null; then
	CARRY_LAB_PROGRAM=$(command -v carry-lab)
else
	CARRY_LAB_PROGRAM=$(dirname "${BASH_SOURCE[0]}")/../../tools/carry-lab
fi
STATE=/run/carry-lab

lab() {
	"$CARRY_LAB_PROGRAM" "$@"
}

cleanup() {
	local code=$? name
	trap - EXIT
	for name in "${LABS[@]}"; do
		lab down --name "$name" >/dev/null 2>&1
	done
	rm -rf "$PUBLIC"
	exit $code
}
trap cleanup EXIT
trap 'exit 1' INT TERM

fail() {
	echo "$0: line ${BASH_LINENO[${1:-0}]}: $2"
	[ ! -s "$PUBLIC/err" ] || sed 's/^/    stderr: /' "$PUBLIC/err"
	[ ! -s "$PUBLIC/out" ] || sed 's/^/    stdout: /' "$PUBLIC/out"
	exit 1
}

skip() {
	echo "$*"
	exit 77
}

# expect STATUS CMD...: runs it; leaves its output in $PUBLIC/out and $PUBLIC/err
expect() {
	local want=$1 got
	shift
	"$@" >"$PUBLIC/out" 2>"$PUBLIC/err"
	got=$?
	[ $got -eq "$want" ] || fail 1 "$*: ended with status $got, not $want"
}

says() { # out|err TEXT: the last command printed it
	grep -qF -- "$2" "$PUBLIC/$1" || fail 1 "std$1 does not say: $2"
}

same() { # GOT WANT
	[ "$1" = "$2" ] || fail 1 "got '$1', not '$2'"
}

within() { # GOT LEAST MOST
	[ "$1" -ge "$2" ] && [ "$1" -le "$3" ] || fail 1 "got $1, not $2 to $3"
}

need_namespaces() {
	[ "$(id -u)" -eq 0 ] || skip "only root can make network namespaces"
	ip netns add "$CARRY_LAB-try" 2>/dev/null || skip "no network namespaces here"
	ip netns del "$CARRY_LAB-try"
}

need_iperf3() {
	command -v iperf3 >/dev/null || skip "iperf3 is not installed"
}

field() { # NODE KEY [LAB]: from status --json
	lab status --json --name "${3:-$CARRY_LAB}" 2>/dev/null | jq -r ".node[$1].$2"
}

nothing_left() { # LAB: no folder, no namespace
	local names
	[ ! -e "$STATE/$1" ] || fail 1 "$STATE/$1 is still there"
	[ ! -e "$STATE/$1.lock" ] || fail 1 "$STATE/$1.lock is still there"
	names=$(ip netns list | grep -E "^carry-$1-(hub|[0-9]+)( |\$)")
	[ -z "$names" ] || fail 1 "namespaces of $1 are still there: $names"
}

gone() { # PID: it ended, or has only not been collected
	local stat
	stat=$(cat "/proc/$1/stat" 2>/dev/null) || return 0
	stat=${stat##*) }
	[ "${stat%% *}" = Z ]
}

wait_until() { # SECONDS CMD...
	local limit=$((SECONDS + $1))
	shift
	until "$@"; do
		[ $SECONDS -lt $limit ] || return 1
		sleep 0.05
	done
}

# mbit FROM TO [ABOUT]: TCP goodput from node to node over some 0.4 s, if it is about ABOUT Mbit/s
mbit() {
	local address server try text bytes=$((${3:-400} * 50000))
	address=$(field "$2" address)
	lab exec "$2" timeout 8 iperf3 -s -1 -B "$address" >/dev/null 2>&1 &
	server=$!
	for ((try = 0; try < 40; try++)); do
		text=$(lab exec "$1" timeout 8 iperf3 -c "$address" -n $bytes -f k 2>/dev/null) &&
			break
		sleep 0.05
	done
	wait $server
	sed -n 's/.* \([0-9]*\) Kbits\/sec .*receiver.*/\1/p' <<<"$text" |
		awk '{ print int($1 / 1000) }'
}

# reaches FROM TO: can a TCP connection be made to that node's daemon?
reaches() {
	lab exec "$1" timeout 0.7 bash -c ": <>/dev/tcp/$(field "$2" address)/7117" 2>/dev/null
}

cat >"$PUBLIC/carryd" <<'END'
#!/usr/bin/perl
use strict;
use IO::Socket::IP;
use IO::Socket::UNIX;
my %value = map { /^(\w+) = (.*)/ ? ($1, $2) : () } do { open my $f, '<', $ARGV[1] or die; <$f> };
my $mode = $ENV{STAND_IN} || '';
print STDERR "<6>stand-in reads $ARGV[1]\n";
die "<3>stand-in dies\n" if $mode eq 'die';
sleep 1 while $mode eq 'deaf';
$SIG{TERM} = $mode eq 'stubborn' ? 'IGNORE' : sub { exit 0 };
my $tcp = IO::Socket::IP->new(LocalHost => $value{listen} || '::', LocalPort => $value{port},
	Listen => 16, ReuseAddr => 1, V6Only => 0) or die "<3>no port: $@\n";
my $unix = IO::Socket::UNIX->new(Local => $value{socket}, Listen => 16) or die "<3>no socket: $!\n";
1 while $mode eq 'spin';
sleep 1 while 1;
END
chmod 755 "$PUBLIC/carryd"
export CARRYD=$PUBLIC/carryd
