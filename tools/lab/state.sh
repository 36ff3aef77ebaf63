# shellcheck shell=bash
# state.sh - a lab's folder, its lock, the processes it started.
#
# LAB is the lab at hand: the pairs of its file `lab`.  DIR is its folder, STATE the folder of all.
# A lab counts as live while the processes that make it up are there: its builder while it is
# being built, its owner if it belongs to one `run`, else any of its daemons.

declare -gA LAB=() # -g: a function reads this file

# --- parsing -------------------------------------------------------------------------------------

whole_number() { # TEXT MIN MAX: prints it, or fails
	[[ $1 =~ ^[0-9]{1,7}$ ]] && [ $((10#$1)) -ge "$2" ] && [ $((10#$1)) -le "$3" ] || return 1
	echo $((10#$1))
}

parse_rate() { # 1gbit, 2.5gbit, 100mbit, 64kbit -> bit/s
	[[ ${1,,} =~ ^([0-9]{1,6}(\.[0-9]{1,3})?)([kmg]?)bit$ ]] || return 1
	awk -v n="${BASH_REMATCH[1]}" -v unit="${BASH_REMATCH[3]}" 'BEGIN {
		bits = n * (unit == "g" ? 1e9 : unit == "m" ? 1e6 : unit == "k" ? 1e3 : 1)
		if (bits < 1e5 || bits > 4e11)
			exit 1
		printf "%.0f\n", bits
	}'
}

parse_delay() { # 2ms, 0.5ms, 100us, 1s -> microseconds
	[[ ${1,,} =~ ^([0-9]{1,6}(\.[0-9]{1,3})?)(us|ms|s)$ ]] || return 1
	awk -v n="${BASH_REMATCH[1]}" -v unit="${BASH_REMATCH[3]}" 'BEGIN {
		us = n * (unit == "s" ? 1e6 : unit == "ms" ? 1e3 : 1)
		if (us < 1 || us > 1e7)
			exit 1
		printf "%.0f\n", us
	}'
}

parse_percent() { # 10%, 0.5% -> hundredths of a percent
	[[ $1 =~ ^([0-9]{1,3}(\.[0-9]{1,2})?)%$ ]] || return 1
	awk -v n="${BASH_REMATCH[1]}" 'BEGIN {
		if (n < 0.01 || n > 100)
			exit 1
		printf "%.0f\n", n * 100
	}'
}

rate_text() { # bit/s -> 1 gbit, 250 mbit
	awk -v b="$1" 'BEGIN {
		if (b >= 1e9) printf "%.4gGbit", b / 1e9
		else if (b >= 1e6) printf "%.4gMbit", b / 1e6
		else printf "%.4gkbit", b / 1e3
	}'
}

# --- processes -----------------------------------------------------------------------------------

# process_read PID: sets PROCESS_STATE (one letter) and PROCESS_START (ticks), or fails.
process_read() {
	local line fields
	# Not around braces: a trap between its commands would lose what it says.
	read -r line 2>/dev/null <"/proc/$1/stat" || return 1
	read -ra fields <<<"${line##*) }" # the name before may hold blanks and brackets
	PROCESS_STATE=${fields[0]}
	PROCESS_START=${fields[19]}
}

process_record() { # PID FILE
	process_read "$1" || return 1
	echo "$1 $PROCESS_START" >"$2.new" && mv "$2.new" "$2"
}

# process_find FILE: the process that FILE records; sets PID and PROCESS_STATE, fails if it is gone.
process_find() {
	local start
	read -r PID start 2>/dev/null <"$1" || return 1
	process_read "$PID" && [ "$PROCESS_START" = "$start" ] && [ "$PROCESS_STATE" != Z ]
}

process_alive() { # "PID START"
	local pid=${1% *}
	[ -n "$1" ] && process_read "$pid" && [ "$PROCESS_START" = "${1#* }" ] &&
		[ "$PROCESS_STATE" != Z ]
}

self() { # "PID START" of this program
	process_read $$ && echo "$$ $PROCESS_START"
}

# end_processes SECONDS FILE...: TERM, then KILL after so many seconds, with the group that each
# leads if it leads one.  Sets STUBBORN to the files of those that needed it; fails if one is there
# even then.
end_processes() {
	local seconds=$1 file left limit
	shift
	STUBBORN=()
	for file; do
		process_find "$file" || continue
		kill -TERM -- "-$PID" 2>/dev/null || kill -TERM "$PID" 2>/dev/null
		kill -CONT -- "-$PID" 2>/dev/null || kill -CONT "$PID" 2>/dev/null
	done
	limit=$((SECONDS + seconds + 1))
	while :; do
		left=()
		for file; do
			! process_find "$file" || left+=("$file")
		done
		[ ${#left[@]} -gt 0 ] || return 0
		if [ $SECONDS -ge $limit ]; then
			[ ${#STUBBORN[@]} -eq 0 ] || return 1
			STUBBORN=("${left[@]}")
			limit=$((SECONDS + 3))
			for file in "${left[@]}"; do
				process_find "$file" || continue
				kill -KILL -- "-$PID" 2>/dev/null || kill -KILL "$PID" 2>/dev/null
			done
		fi
		sleep 0.02
	done
}

# --- folders and locks ---------------------------------------------------------------------------

find_state() {
	if [ "$EUID" -eq 0 ]; then
		STATE=/run/carry-lab
	elif [ -O "${XDG_RUNTIME_DIR:-}" ] && [ -w "$XDG_RUNTIME_DIR" ]; then
		STATE=$XDG_RUNTIME_DIR/carry-lab
	else
		STATE=/tmp/carry-lab-$EUID
	fi
	DIR=$STATE/$NAME
}

make_state() {
	mkdir -m 755 "$STATE" 2>/dev/null
	# In /tmp anybody may have made it first; a link would lead us elsewhere.
	[ -d "$STATE" ] && [ ! -L "$STATE" ] && [ -O "$STATE" ] && [ -w "$STATE" ] ||
		die "cannot use $STATE: it must be a folder of our own"
}

# lock_file PATH SECONDS: sets LOCK to the descriptor that holds it.  The file may be removed by the
# one who held it last, so a lock counts only on the file that the path still names.
lock_file() {
	local limit=$((SECONDS + $2))
	while :; do
		exec {LOCK}>>"$1" || die "cannot write $1"
		if flock -w "$((limit > SECONDS ? limit - SECONDS : 0))" "$LOCK"; then
			[ "$1" -ef "/proc/$BASHPID/fd/$LOCK" ] && return
			exec {LOCK}>&-
			continue
		fi
		exec {LOCK}>&-
		return 1
	done
}

lock_lab() {
	make_state
	lock_file "$STATE/$NAME.lock" "${1:-60}" || return 1
	LAB_LOCK=$LOCK
}

drop_lock() { # in a child, which may outlive a killed parent
	[ -z "${LAB_LOCK:-}" ] || exec {LAB_LOCK}>&-
}

unlock_lab() {
	[ -n "${LAB_LOCK:-}" ] || return 0
	[ -d "$DIR" ] || rm -f "$STATE/$NAME.lock"
	exec {LAB_LOCK}>&-
	LAB_LOCK=
}

lab_read() { # fails if there is no such lab
	local key value
	LAB=()
	[ -r "$DIR/lab" ] || return 1
	while IFS='=' read -r key value; do
		LAB[$key]=$value
	done <"$DIR/lab"
	[ -n "${LAB[nodes]:-}" ]
}

lab_write() {
	local key
	for key in "${!LAB[@]}"; do
		echo "$key=${LAB[$key]}"
	done >"$DIR/lab.new" && mv "$DIR/lab.new" "$DIR/lab"
}

lab_live() {
	local node
	[ -z "${LAB[owner]:-}" ] || process_alive "${LAB[owner]}" || return 1
	if [ "${LAB[stage]}" = building ]; then
		process_alive "${LAB[builder]}"
		return
	fi
	[ -z "${LAB[owner]:-}" ] || return 0
	for ((node = 0; node < LAB[nodes]; node++)); do
		! process_find "$DIR/node$node/pid" || return 0
	done
	return 1
}

need_lab() {
	local others
	if ! lab_read; then
		others=$(grep -hs '^name=' "$STATE"/*/lab | cut -d= -f2 | paste -sd' ')
		die "no lab '$NAME' is up${others:+ (there are: $others)}"
	fi
	[ "${LAB[stage]}" = up ] || ! lab_live || die "lab '$NAME' is still coming up"
	[ "${LAB[stage]}" = up ] && [ -d "$DIR" ] ||
		die "lab '$NAME' was left unfinished; carry-lab down or up cleans it away"
}

need_node() { # TEXT: prints the number
	whole_number "$1" 0 $((LAB[nodes] - 1)) ||
		bad_usage "node $1: lab '$NAME' has the nodes 0 to $((LAB[nodes] - 1))"
}

# --- names and addresses -------------------------------------------------------------------------

hub_name() { echo "carry-$NAME-hub"; }
node_name() { echo "carry-$NAME-$1"; }

address() {
	if [ "${LAB[mode]}" = namespaces ]; then
		echo "10.77.${LAB[subnet]}.$(($1 + 1))"
	else
		echo "127.0.${LAB[subnet]}.$(($1 + 1))"
	fi
}

address6() { # decimal digits in hexadecimal places: unique, and easy to read
	echo "fd77:${LAB[subnet]}::$(($1 + 1))"
}
