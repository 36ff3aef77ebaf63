# shellcheck shell=bash
# daemon.sh - up, down, exec, status: the life of a lab and of its daemons.

readonly READY_SECONDS=5

# --- starting ------------------------------------------------------------------------------------

find_carryd() {
	if [ -n "${CARRYD:-}" ]; then
		DAEMON=$(command -v "$CARRYD") || die "CARRYD=$CARRYD cannot be run"
	elif [ -x "$HERE/carryd" ]; then
		DAEMON=$HERE/carryd
	else
		DAEMON=$(command -v carryd) || die "no carryd beside carry-lab or in PATH"
	fi
	DAEMON=$(readlink -f "$DAEMON")
}

# write_config NODE: our settings, then --set's, each key once under its section
write_config() {
	local settings dir=$DIR/node$1 listen='' interface=eth0
	[ "${LAB[mode]}" = namespaces ] || { listen=$(address "$1"); interface=lo; }
	settings=("daemon.socket=$dir/carryd.sock" "network.listen=$listen" "network.port=$PORT"
		"network.interfaces=$interface" "${SETTINGS[@]//\{node\}/$1}")
	printf '%s\n' "${settings[@]}" | awk '{
		name = substr($0, 1, index($0, "=") - 1)
		section = substr(name, 1, index(name, ".") - 1)
		if (!(section in keys))
			order[++sections] = section
		if (!(name in value))
			keys[section] = keys[section] " " name
		value[name] = substr($0, index($0, "=") + 1)
	}
	END {
		for (s = 1; s <= sections; s++) {
			print "[" order[s] "]"
			n = split(keys[order[s]], names, " ")
			for (i = 1; i <= n; i++)
				print substr(names[i], length(order[s]) + 2) " = " value[names[i]]
		}
	}' >"$dir/carryd.conf"
}

# in_node NODE CMD...: becomes CMD on the node, with the node's own /sys.  Never returns.
in_node() {
	local node=$1
	shift
	export CARRY_LAB=$NAME CARRY_LAB_NODE=$node CARRY_SOCKET=$DIR/node$node/carryd.sock
	export PATH=$PATH:$HERE
	drop_lock
	[ "${LAB[mode]}" = namespaces ] || exec "$@"
	exec ip netns exec "$(node_name "$node")" "$@"
}

start_daemon() { # NODE
	local dir=$DIR/node$1
	mkdir -p "$dir"
	write_config "$1"
	(
		unset NOTIFY_SOCKET WATCHDOG_USEC WATCHDOG_PID LISTEN_FDS LISTEN_PID LISTEN_FDNAMES
		cd / || exit 1
		in_node "$1" setsid env --default-signal=INT,QUIT,PIPE \
			"$DAEMON" -c "$dir/carryd.conf" </dev/null >"$dir/log" 2>&1
	) &
	process_record $! "$dir/pid"
	disown $! 2>/dev/null
}

log_tail() { # NODE
	sed 's/^/    /' "$DIR/node$1/log" 2>/dev/null | tail -n "${2:-8}" >&2
}

wait_for_daemons() {
	local node limit=$((SECONDS + READY_SECONDS + LAB[nodes] / 8 + 1))
	for ((node = 0; node < LAB[nodes]; node++)); do
		until [ -S "$DIR/node$node/carryd.sock" ]; do
			if ! process_find "$DIR/node$node/pid"; then
				say "node $node's carryd ended before it was ready; its log's end:"
				log_tail "$node"
				return 1
			elif [ $SECONDS -ge $limit ]; then
				say "node $node's carryd is not ready after $READY_SECONDS s;" \
					"its log's end:"
				log_tail "$node"
				return 1
			fi
			sleep 0.02
		done
	done
	for ((node = 0; node < LAB[nodes]; node++)); do
		process_find "$DIR/node$node/pid" && continue
		say "node $node's carryd was ready but ended; its log's end:"
		log_tail "$node"
		return 1
	done
}

# --- up ------------------------------------------------------------------------------------------

# Labs whose builder was killed, or whose `run` was, belong to nobody any more.  The last command
# that a killed one ran may have inherited its lock and hold it for a moment.
sweep() {
	local NAME=$NAME DIR=$DIR file LAB_LOCK=
	local -A LAB=()
	for file in "$STATE"/*/lab; do
		[ -e "$file" ] || continue
		DIR=${file%/lab} NAME=$(basename "${file%/lab}")
		lab_read && { [ "${LAB[stage]}" = building ] || [ -n "${LAB[owner]:-}" ]; } &&
			! lab_live || continue
		lock_lab 2 || {
			say "leaving lab '$NAME', which nobody holds any more: its lock is held"
			continue
		}
		if lab_read && ! lab_live; then
			say "cleaning up lab '$NAME', which nobody holds any more"
			take_down
		fi
		unlock_lab
	done
}

# A free number for the lab's addresses: no other lab's, and on 127.0.x.y nobody's port.
choose_subnet() {
	local subnet other taken=' '
	for other in "$STATE"/*/lab; do
		[ ! -e "$other" ] || taken+="$(sed -n 's/^subnet=//p' "$other") "
	done
	for ((subnet = 0; subnet < 255; subnet++)); do
		[[ $taken != *" $subnet "* ]] || continue
		[ "${LAB[mode]}" != namespaces ] || [ $subnet -gt 0 ] || continue
		if [ "${LAB[mode]}" = namespaces ] || ! loopback_taken $subnet; then
			LAB[subnet]=$subnet
			return
		fi
	done
	return 1
}

loopback_taken() { # /proc/net/tcp shows 127.0.3.1:7117 as 0103007F:1BCD
	local pattern
	pattern=$(printf '^ *[0-9]+: (..%02X007F|00000000):%04X 00000000:0000 0A ' "$1" "$PORT")
	grep -qE "$pattern" /proc/net/tcp 2>/dev/null
}

# lab_create: the folder and the network mode, under the lock that all labs share
lab_create() {
	local lock
	lock_file "$STATE/.lock" 30 || die "another carry-lab holds $STATE/.lock"
	lock=$LOCK
	LAB=([stage]=building [name]=$NAME [nodes]=$NODES [rate]=$RATE [delay]=$DELAY [mtu]=$MTU
		[builder]=$(self) [owner]=${OWNER:-} [mode]=namespaces [carryd]=$DAEMON)
	net_begin || LAB[mode]=loopback
	if ! choose_subnet; then
		net_remove
		die "no free subnet: all of $STATE is in use"
	fi
	if ! { mkdir -p "$DIR" && lab_write && : >"$DIR/faults"; }; then
		net_remove
		die "cannot write $DIR"
	fi
	exec {lock}>&-
	[ "${LAB[mode]}" = loopback ] || return 0
	say "$WHY: the nodes are daemons on 127.0.${LAB[subnet]}.x, without a network of their own"
	if [ "$RATE" -gt 0 ] || [ "$DELAY" -gt 0 ]; then
		say "--rate and --delay need network namespaces"
		return 1
	fi
}

lab_build() {
	local node
	lab_create || return 1
	[ "${LAB[mode]}" = loopback ] || net_build || return 1
	if [ "${LAB[rate]}" -gt 0 ] && [ "${LAB[nodes]}" -gt 1 ]; then
		if command -v iperf3 >/dev/null; then
			measure_ports || return 1
		else
			say "iperf3 is missing: the links are shaped but not measured"
		fi
	fi
	for ((node = 0; node < LAB[nodes]; node++)); do
		start_daemon "$node" || { say "cannot start node $node's carryd"; return 1; }
	done
	wait_for_daemons || return 1
	LAB[stage]=up
	lab_write
}

# lab_up: with OWNER set, the lab goes when that process does
lab_up() {
	[ -n "$NODES" ] || bad_usage "up needs -n NODES"
	find_carryd
	lock_lab || die "another carry-lab is busy with lab '$NAME'"
	if lab_read && lab_live; then
		unlock_lab
		die "lab '$NAME' is up already, with ${LAB[nodes]} nodes"
	elif [ -d "$DIR" ]; then
		say "cleaning up what lab '$NAME' left behind"
		take_down
	else
		net_remove
	fi
	sweep
	LAB=()
	trap 'say "interrupted"; take_down; unlock_lab; exit 1' INT TERM HUP
	if ! lab_build; then
		take_down
		unlock_lab
		die "lab '$NAME' did not come up"
	fi
	trap - INT TERM HUP
	unlock_lab
}

command_up() {
	[ $# -eq 0 ] || bad_usage "up takes no argument: $1"
	lab_up
	echo "lab $NAME: ${LAB[nodes]} nodes, $(address 0) to" \
		"$(address $((LAB[nodes] - 1)))$(link_text)"
}

link_text() {
	[ "${LAB[rate]}" -eq 0 ] || printf ', %s' "$(rate_text "${LAB[rate]}")"
	[ "${LAB[delay]}" -eq 0 ] || printf ', %s us' "${LAB[delay]}"
	[ "${LAB[mode]}" != namespaces ] || printf ', mtu %s' "${LAB[mtu]}"
}

# --- down ----------------------------------------------------------------------------------------

# take_down: everything the folder and the names tell of; the caller holds the lab's lock.  Fails if
# a daemon had to be killed or a sanitizer complained in its log.
take_down() {
	local node rc=0 file files=() log
	lab_read || LAB=()
	for file in "$DIR"/runs/*/* "$DIR"/node*/pid; do
		[ ! -f "$file" ] || files+=("$file")
	done
	for ((node = 0; node < ${LAB[nodes]:-0}; node++)); do
		cpu_clear "$node" 2>/dev/null
	done
	if ! end_processes 5 "${files[@]}"; then
		say "a process of lab '$NAME' cannot be ended: ${STUBBORN[*]}"
		rc=1
	fi
	for file in "${STUBBORN[@]}"; do
		say "$file: did not end within 5 s of SIGTERM and was killed"
		rc=1
	done
	for ((node = 0; node < ${LAB[nodes]:-0}; node++)); do
		log=$DIR/node$node/log
		if grep -qsE '(ERROR|WARNING): [A-Za-z]+Sanitizer|runtime error:' "$log"; then
			say "a sanitizer complained in node $node's carryd; its log ends with"
			log_tail "$node" 40
			rc=1
		fi
		[ -z "$LOGS" ] || cp "$log" "$LOGS/$NAME-node$node.log" 2>/dev/null
		cpu_remove "$node"
	done
	net_remove || rc=1
	rm -rf "${DIR:?}"
	return $rc
}

command_down() {
	[ $# -eq 0 ] || bad_usage "down takes no argument: $1"
	[ -z "$LOGS" ] || mkdir -p "$LOGS" || die "cannot write to $LOGS"
	lock_lab || die "another carry-lab is busy with lab '$NAME'"
	sweep
	if [ -d "$DIR" ]; then
		take_down || { unlock_lab; exit 1; }
		echo "lab $NAME: down"
	else
		net_remove
		say "no lab '$NAME' is up"
	fi
	unlock_lab
}

# --- exec and status -----------------------------------------------------------------------------

command_exec() {
	local node
	[ $# -ge 2 ] || bad_usage "exec needs a node and a command"
	need_lab
	node=$(need_node "$1") || exit $?
	shift
	in_node "$node" "$@"
}

daemon_state() { # NODE: prints running, stopped or dead; sets nothing
	process_find "$DIR/node$1/pid" || { echo dead; return; }
	case $PROCESS_STATE in
	T | t) echo stopped ;;
	*) echo running ;;
	esac
}

# Lab names, our paths and the faults' words hold nothing that JSON would want escaped.
status_json() {
	local node separator='' fault pid dir
	printf '{"lab": "%s", "mode": "%s", "nodes": %d, ' "$NAME" "${LAB[mode]}" "${LAB[nodes]}"
	printf '"subnet": %d, "port": %d, "rate_bits": %d, "delay_us": %d, "mtu": %d, ' \
		"${LAB[subnet]}" "$PORT" "${LAB[rate]}" "${LAB[delay]}" "${LAB[mtu]}"
	printf '"dir": "%s", "faults": [' "$DIR"
	while read -r fault; do
		printf '%s"%s"' "$separator" "$fault"
		separator=', '
	done <"$DIR/faults"
	separator=''
	printf '], "node": ['
	for ((node = 0; node < LAB[nodes]; node++)); do
		dir=$DIR/node$node
		read -r pid _ <"$dir/pid"
		printf '%s{"node": %d, "address": "%s", ' "$separator" "$node" "$(address "$node")"
		[ "${LAB[mode]}" != namespaces ] || printf '"address6": "%s", "namespace": "%s", ' \
			"$(address6 "$node")" "$(node_name "$node")"
		printf '"socket": "%s", "log": "%s", "pid": %d, "state": "%s"}' \
			"$dir/carryd.sock" "$dir/log" "$pid" "$(daemon_state "$node")"
		separator=', '
	done
	printf ']}\n'
}

status_text() {
	local node pid fault
	echo "lab $NAME: ${LAB[nodes]} nodes (${LAB[mode]})$(link_text)"
	printf '%-5s %-15s %-8s %-8s %s\n' node address pid carryd socket
	for ((node = 0; node < LAB[nodes]; node++)); do
		read -r pid _ <"$DIR/node$node/pid"
		printf '%-5s %-15s %-8s %-8s %s\n' "$node" "$(address "$node")" "$pid" \
			"$(daemon_state "$node")" "$DIR/node$node/carryd.sock"
	done
	while read -r fault; do
		echo "fault: $fault"
	done <"$DIR/faults"
}

command_status() {
	[ $# -eq 0 ] || bad_usage "status takes no argument: $1"
	need_lab
	if [ "$JSON" -eq 1 ]; then
		status_json
	else
		status_text
	fi
	lab_live || die "all daemons of lab '$NAME' have gone; carry-lab down or up cleans it away"
}
