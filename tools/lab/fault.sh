# shellcheck shell=bash
# fault.sh - faults: made, checked to have taken hold, taken away again.
#
# The file `faults` says what is wanted, one fault a line; settings of tc and nft follow from it.
# A new fault is written there first, then everything that depends on it is set and read back; if
# that fails, the line goes again.
#
#   link rate, delay  a class of A's port for B's addresses, and the other way round
#   link loss, down   nftables at the receiver, so that the sender sees what a wire would show him:
#                     nothing.  Loss is by packet as the kernel moves it, that is up to 64 KiB.
#   node tx, rx       the rate of the port, at eth0 or at the bridge
#   node cpu          a cgroup with a quota, version 1 or 2, for the daemon
# A link without --rate has a percentage of what iperf3 gets through it when that is first needed.

readonly LEAST_RATE=100000

# --- the list ------------------------------------------------------------------------------------

fault_find() { # "link 0 1" --rate: prints the value, or fails
	local line
	line=$(grep -m 1 "^$1 $2\( \|\$\)" "$DIR/faults") || return 1
	line=${line#"$1 $2"}
	echo "${line# }"
}

fault_forget() { # "link 0 1" --rate
	sed -i "/^$1 $2\( \|\$\)/d" "$DIR/faults"
}

fault_note() { # "link 0 1" --rate [VALUE]
	fault_forget "$1" "$2"
	echo "$1 $2${3:+ $3}" >>"$DIR/faults"
}

pair() { # A B: the same name whichever comes first
	echo "link $(($1 < $2 ? $1 : $2)) $(($1 < $2 ? $2 : $1))"
}

# --- rates ---------------------------------------------------------------------------------------

# base_rate FROM TO: sets BASE, what a percentage is of
base_rate() {
	BASE=${LAB[rate]}
	[ "$BASE" -eq 0 ] || return 0
	if [ -z "${LAB[capacity]:-}" ]; then
		[ "$1" -ne "$2" ] || { say "a lab of one node has no link to measure"; return 1; }
		command -v iperf3 >/dev/null || {
			say "the lab has no --rate, and there is no iperf3 to tell what 100 % are"
			return 1
		}
		LAB[capacity]=$(measure "$1" "$2")
		[ "${LAB[capacity]:-0}" -gt 0 ] || {
			LAB[capacity]=
			say "cannot measure what node $1 to node $2 carries"
			return 1
		}
		lab_write
		echo "the lab has no --rate; measured $(rate_text "${LAB[capacity]}"): 100 %"
	fi
	BASE=${LAB[capacity]}
}

# rate_of VALUE FROM TO: sets WANTED to what 10% or 100mbit is in bit/s
rate_of() {
	local hundredths
	WANTED=$(parse_rate "$1") && return
	hundredths=$(parse_percent "$1") && base_rate "$2" "$3" || return 1
	WANTED=$((BASE * hundredths / 10000))
}

# --- links ---------------------------------------------------------------------------------------

link_class() { printf '1:%x' $((0x100 + $1)); }

# link_shape FROM TO: the class that the list asks for, at FROM's port
link_shape() {
	local name class rate delay=0 value base=${LAB[rate]} prio=$(($2 * 2 + 2))
	name=$(node_name "$1") class=$(link_class "$2")
	[ "$base" -gt 0 ] || base=$UNLIMITED
	rate=$base
	if value=$(fault_find "$(pair "$1" "$2")" --rate); then
		rate_of "$value" "$1" "$2" || return 1
		rate=$WANTED
	fi
	! value=$(fault_find "$(pair "$1" "$2")" --delay) || delay=$(parse_delay "$value")
	port_base "$name" eth0 && port_class "$name" eth0 1:1 "$class" "$rate" &&
		port_leaf "$name" eth0 "$class" $((LAB[delay] + delay)) || return 1
	tc -n "$name" filter del dev eth0 parent 1: prio $prio 2>/dev/null
	tc -n "$name" filter del dev eth0 parent 1: prio $((prio + 1)) 2>/dev/null
	tc -n "$name" filter add dev eth0 parent 1: protocol ip prio $prio u32 \
		match ip dst "$(address "$2")/32" flowid "$class" &&
		tc -n "$name" filter add dev eth0 parent 1: protocol ipv6 prio $((prio + 1)) u32 \
			match ip6 dst "$(address6 "$2")/128" flowid "$class" || return 1
	port_has_rate "$name" eth0 "$class" "$rate" && link_class_used "$1" "$2" || return 1
	value=$(tc -n "$name" qdisc show dev eth0)
	[ "$delay" -eq 0 ] || [[ $value =~ netem\ [^$'\n']*"parent $class " ]]
}

class_packets() { # NODE CLASS
	tc -n "$(node_name "$1")" -s class show dev eth0 classid "$2" 2>/dev/null |
		awk -v c="$2" '$1 == "class" { hit = $3 == c } hit && $1 == "Sent" { print $4 }'
}

# Do packets to that node really go through its class?
link_class_used() { # FROM TO
	local before
	before=$(class_packets "$1" "$(link_class "$2")")
	probe "$1" "$2" 10
	reaches_count $((before + 5)) class_packets "$1" "$(link_class "$2")"
}

# reaches_count COUNT CMD...: does the number that CMD prints get there?  Packets may have to queue.
reaches_count() {
	local want=$1 try count
	shift
	for ((try = 0; try < 60; try++)); do
		count=$("$@")
		[ "${count:-0}" -lt "$want" ] || return 0
		sleep 0.05
	done
	return 1
}

# probe FROM TO COUNT: so many small UDP packets to a port where nobody listens
probe() {
	# shellcheck disable=SC2016
	in_net "$(node_name "$1")" timeout 5 bash -c 'exec 3>"/dev/udp/$0/9" || exit 1
		for ((i = 0; i < $1; i++)); do echo >&3; done' "$(address "$2")" "$3" 2>/dev/null
}

# --- packet rules --------------------------------------------------------------------------------

# rules_of NODE: nftables' text for the faults that the list has for it
rules_of() {
	local kind a b option value peer
	while read -r kind a b option value; do
		[ "$kind" = link ] || continue
		case $1 in
		"$a") peer=$b ;;
		"$b") peer=$a ;;
		*) continue ;;
		esac
		case $option in
		--loss)
			echo "ip saddr $(address "$peer") counter comment \"seen $peer\""
			value="numgen random mod 10000 < $(parse_percent "$value") counter drop"
			echo "ip saddr $(address "$peer") $value comment \"loss $peer\""
			echo "ip6 saddr $(address6 "$peer") $value comment \"loss6 $peer\""
			;;
		--down)
			echo "ip saddr $(address "$peer") counter drop comment \"down $peer\""
			echo "ip6 saddr $(address6 "$peer") counter drop comment \"down6 $peer\""
			;;
		esac
	# Cut off comes first, so that its counter sees all.
	done < <(sort -k 4 "$DIR/faults")
}

rules_set() { # NODE: in one transaction, so that no packet sees half of it
	local rules name
	name=$(node_name "$1") rules=$(rules_of "$1")
	if [ -z "$rules" ]; then
		rules_there "$1" || return 0
		in_net "$name" nft delete table inet carry_lab
		return
	fi
	in_net "$name" nft -f - <<-END
		table inet carry_lab { }
		delete table inet carry_lab
		table inet carry_lab {
			chain arriving {
				type filter hook prerouting priority raw; policy accept;
				$rules
			}
		}
	END
}

rules_there() { # NODE
	[[ $(in_net "$(node_name "$1")" nft list tables 2>/dev/null) == *carry_lab* ]]
}

rule_packets() { # NODE COMMENT
	in_net "$(node_name "$1")" nft list table inet carry_lab 2>/dev/null |
		sed -n "s/.* counter packets \([0-9]*\) .*comment \"$2\".*/\1/p"
}

# rules_hold FROM TO OPTION VALUE: do packets from FROM meet the rule at TO?
rules_hold() {
	local count=20 expect seen lost hundredths
	if [ "$3" = --down ]; then
		probe "$1" "$2" $count
		reaches_count $((count / 2)) rule_packets "$2" "down $1"
		return
	fi
	hundredths=$(parse_percent "$4")
	count=$((400000 / hundredths)) # 40 lost ones
	[ $count -gt 200 ] || count=200
	[ $count -lt 8000 ] || count=8000
	probe "$1" "$2" $count
	reaches_count $((count * 9 / 10)) rule_packets "$2" "seen $1" || return 1
	seen=$(rule_packets "$2" "seen $1")
	lost=$(rule_packets "$2" "loss $1")
	expect=$((seen * hundredths / 10000))
	# Too rare to be seen: then the rule, read back, must do.
	[ $expect -ge 20 ] || { [ -n "$lost" ]; return; }
	[ "$lost" -ge $((expect / 3)) ] && [ "$lost" -le $((expect * 3)) ]
}

# --- processor share -----------------------------------------------------------------------------

# cpu_controller: sets CPU_ROOT and CPU_VERSION to where this machine's cpu controller is
cpu_controller() {
	local path type options
	while read -r _ path type options _; do
		if [ "$type" = cgroup ] && [[ ,$options, == *,cpu,* ]]; then
			CPU_ROOT=$path CPU_VERSION=1
			return
		elif [ "$type" = cgroup2 ] && grep -qsw cpu "$path/cgroup.controllers"; then
			CPU_ROOT=$path CPU_VERSION=2
			return
		fi
	done </proc/mounts
	return 1
}

cpu_group() { echo "$CPU_ROOT/carry-lab-$NAME-node$1"; }

cpu_limit() { # NODE PERCENT: of one core, in slices that are short beside the detectors' windows
	local group quota period=20000 pid
	cpu_controller || { say "no cpu controller is mounted under /sys/fs/cgroup"; return 1; }
	group=$(cpu_group "$1")
	quota=$(($(parse_percent "$2") * period / 10000))
	[ $quota -ge 1000 ] || { quota=$((quota * 5)); period=100000; }
	[ $quota -ge 1000 ] || { say "--cpu $2: the kernel's least share is 1 %"; return 1; }
	process_find "$DIR/node$1/pid" || return 1
	pid=$PID
	[ $CPU_VERSION -eq 1 ] || echo +cpu >"$CPU_ROOT/cgroup.subtree_control" || return 1
	mkdir -p "$group" || return 1
	cpu_home "$pid" "$DIR/node$1/cgroup"
	if [ $CPU_VERSION -eq 1 ]; then
		echo -1 >"$group/cpu.cfs_quota_us" && echo $period >"$group/cpu.cfs_period_us" &&
			echo $quota >"$group/cpu.cfs_quota_us" || return 1
		[ "$(<"$group/cpu.cfs_quota_us")" = $quota ] || return 1
	else
		echo "$quota $period" >"$group/cpu.max" &&
			[ "$(<"$group/cpu.max")" = "$quota $period" ] || return 1
	fi
	echo "$pid" >"$group/cgroup.procs" && grep -qx "$pid" "$group/cgroup.procs"
}

# cpu_home PID FILE: notes the group it comes from, once
cpu_home() {
	local path
	[ ! -e "$2" ] || return 0
	if [ $CPU_VERSION -eq 1 ]; then
		path=$(awk -F: '("," $2 ",") ~ /,cpu,/ { print $3 }' "/proc/$1/cgroup")
	else
		path=$(sed -n 's/^0:://p' "/proc/$1/cgroup")
	fi
	echo "$CPU_ROOT$path" >"$2"
}

cpu_clear() { # NODE: back to where it came from, and see that it is there
	local home group
	[ -e "$DIR/node$1/cgroup" ] && cpu_controller || return 0
	group=$(cpu_group "$1") home=$(<"$DIR/node$1/cgroup")
	if [ $CPU_VERSION -eq 1 ]; then
		echo -1 >"$group/cpu.cfs_quota_us"
	else
		echo max >"$group/cpu.max"
	fi
	if process_find "$DIR/node$1/pid"; then
		echo "$PID" >"$home/cgroup.procs" || return 1
		! grep -qx "$PID" "$group/cgroup.procs" || return 1
	fi
	cpu_remove "$1"
}

cpu_remove() { # NODE: a group that has emptied
	local try
	[ -e "$DIR/node$1/cgroup" ] && cpu_controller || return 0
	for ((try = 0; try < 20; try++)); do
		rmdir "$(cpu_group "$1")" 2>/dev/null || [ ! -d "$(cpu_group "$1")" ] && break
		sleep 0.05
	done
	rm -f "$DIR/node$1/cgroup"
	[ ! -d "$(cpu_group "$1")" ]
}

# --- daemons -------------------------------------------------------------------------------------

# daemon_becomes NODE SIGNAL STATE: sends it and waits until the daemon is so
daemon_becomes() {
	local try
	process_find "$DIR/node$1/pid" && kill "-$2" "$PID" || return 1
	for ((try = 0; try < 100; try++)); do
		[ "$(daemon_state "$1")" != "$3" ] || return 0
		sleep 0.02
	done
	return 1
}

nic_is_up() {
	[ -n "$(ip -n "$(node_name "$1")" -o link show dev eth0 up 2>/dev/null)" ]
}

node_port_set() { # NODE --tx|--rx: the rate that the list says, at the end of the link that sends
	local value rate=0 name dev=eth0
	name=$(node_name "$1")
	[ "$2" = --tx ] || { name=$(hub_name); dev=p$1; }
	if value=$(fault_find "node $1" "$2"); then
		rate_of "$value" "$1" $((($1 + 1) % LAB[nodes])) || return 1
		rate=$WANTED
	fi
	port_rate "$name" "$dev" "$rate"
}

# --- commands ------------------------------------------------------------------------------------

command_fault() {
	local kind=${1:-}
	[ $# -gt 0 ] || bad_usage "fault needs link, node or clear"
	shift
	need_lab
	lock_lab 30 || die "another carry-lab is busy with lab '$NAME'"
	need_lab
	case $kind in
	link) fault_link "$@" ;;
	node) fault_node "$@" ;;
	clear)
		[ $# -eq 0 ] || bad_usage "fault clear takes no argument: $1"
		fault_clear
		;;
	*) bad_usage "unknown fault: $kind" ;;
	esac
}

# fault_value OPTION VALUE...: bad usage if it does not fit; sets VALUE
fault_value() {
	local option=$1
	shift
	VALUE=${1:-}
	case $option in
	--down | --kill | --stop | --cont | --nic-down)
		[ $# -eq 0 ] || bad_usage "$option takes no value: $1"
		return
		;;
	esac
	[ $# -eq 1 ] || bad_usage "$option needs one value"
	case $option in
	--rate | --tx | --rx) parse_percent "$VALUE" || parse_rate "$VALUE" ;;
	--loss | --cpu) parse_percent "$VALUE" ;;
	--delay) parse_delay "$VALUE" ;;
	*) bad_usage "unknown fault: $option" ;;
	esac >/dev/null ||
		bad_usage "$option $VALUE: not a value such as --help shows, or out of range"
}

need_namespaces() {
	[ "${LAB[mode]}" = namespaces ] ||
		die "this fault needs network namespaces, but this lab's nodes are on" \
			"$(address 0) and so on"
}

need_nic() {
	nic_is_up "$1" || die "node $1's NIC is down: nothing about its links can be checked"
}

# Percentages are looked at again here, when it is known of what.
need_rate() { # OPTION FROM TO
	rate_of "$VALUE" "$2" "$3" || exit 1
	[ "$WANTED" -ge $LEAST_RATE ] || die "$1 $VALUE: less than $(rate_text $LEAST_RATE)"
}

fault_link() {
	local a b option link
	[ $# -ge 3 ] || bad_usage "fault link needs two nodes and what is wrong between them"
	a=$(need_node "$1") && b=$(need_node "$2") || exit $?
	option=${3%%=*} link=$(pair "$a" "$b")
	[ "$a" -ne "$b" ] || bad_usage "fault link needs two different nodes"
	[[ $3 != *=* ]] || set -- "$1" "$2" "$option" "${3#*=}" "${@:4}"
	case $option in
	--rate | --delay | --loss | --down) ;;
	*) bad_usage "unknown link fault: $option" ;;
	esac
	fault_value "${@:3}"
	need_namespaces
	need_nic "$a"
	need_nic "$b"
	[ "$option" != --delay ] || netem_there || die "$NO_NETEM"
	[ "$option" != --loss ] || ! fault_find "$link" --down >/dev/null ||
		die "the link is down: nothing else about it can be checked"
	[ "$option" != --rate ] || need_rate --rate "$a" "$b"
	fault_note "$link" "$option" "$VALUE"
	case $option in
	--rate | --delay) link_shape "$a" "$b" && link_shape "$b" "$a" ;;
	*) rules_set "$a" && rules_set "$b" && rules_hold "$a" "$b" "$option" "$VALUE" &&
		rules_hold "$b" "$a" "$option" "$VALUE" ;;
	esac || fault_failed "$link" "$option"
}

fault_failed() { # "link 0 1" --rate
	fault_forget "$1" "$2"
	die "fault $1 $2 did not take hold; carry-lab fault clear removes what there may be of it"
}

fault_node() {
	local node option
	[ $# -ge 2 ] || bad_usage "fault node needs a node and what is wrong with it"
	node=$(need_node "$1") || exit $?
	option=${2%%=*}
	[[ $2 != *=* ]] || set -- "$1" "$option" "${2#*=}" "${@:3}"
	case $option in
	--tx | --rx | --kill | --stop | --cont | --cpu | --nic-down) ;;
	*) bad_usage "unknown node fault: $option" ;;
	esac
	fault_value "${@:2}"
	case $option in
	--tx | --rx)
		need_namespaces
		need_nic "$node"
		need_rate "$option" "$node" $(((node + 1) % LAB[nodes]))
		;;
	--nic-down) need_namespaces ;;
	*) process_find "$DIR/node$node/pid" || die "node $node's carryd has gone already" ;;
	esac
	case $option in
	--cont)
		daemon_becomes "$node" CONT running || die "node $node's carryd did not go on"
		fault_forget "node $node" --stop
		return
		;;
	--kill) fault_forget "node $node" --stop ;;
	esac
	fault_note "node $node" "$option" "$VALUE"
	case $option in
	--tx | --rx) node_port_set "$node" "$option" ;;
	--kill) daemon_becomes "$node" KILL dead ;;
	--stop) daemon_becomes "$node" STOP stopped ;;
	--cpu) cpu_limit "$node" "$VALUE" ;;
	--nic-down) ip -n "$(node_name "$node")" link set eth0 down && ! nic_is_up "$node" ;;
	esac || fault_failed "node $node" "$option"
}

# port_clear NAMESPACE DEV: as `up` left it, read back
port_clear() {
	local class classes full=${LAB[rate]} delay=${LAB[delay]}
	port_shaped "$1" "$2" || return 0
	[ "$2" = eth0 ] || delay=0
	if [ "$full" -eq 0 ] && [ "$delay" -eq 0 ]; then
		tc -n "$1" qdisc del dev "$2" root
		! port_shaped "$1" "$2"
		return
	fi
	[ "$full" -gt 0 ] || full=$UNLIMITED
	port_rate "$1" "$2" 0 || return 1
	tc -n "$1" filter del dev "$2" parent 1: 2>/dev/null
	classes=$(tc -n "$1" class show dev "$2")
	for class in $(sed -n 's/^class htb \(1:1[0-9a-f][0-9a-f]\) .*/\1/p' <<<"$classes"); do
		# What waits there has a moment to leave at full rate.
		port_class "$1" "$2" 1:1 "$class" "$full" && sleep 0.02
		tc -n "$1" class del dev "$2" classid "$class" || return 1
	done
	[ -z "$(tc -n "$1" filter show dev "$2" parent 1:)" ]
}

fault_clear() {
	local node rc=0 killed
	killed=$(sed -n 's/^node \([0-9]*\) --kill$/\1/p' "$DIR/faults" | paste -sd' ')
	: >"$DIR/faults"
	for ((node = 0; node < LAB[nodes]; node++)); do
		if [ "${LAB[mode]}" = namespaces ] && ! network_clear "$node"; then
			say "a fault of node $node's network is still there"
			rc=1
		fi
		if ! cpu_clear "$node"; then
			say "node $node's carryd still has too little of the processor"
			rc=1
		fi
		[ "$(daemon_state "$node")" != stopped ] || daemon_becomes "$node" CONT running || {
			say "node $node's carryd is still stopped"
			rc=1
		}
	done
	[ -z "$killed" ] || say "killed, and staying dead: carryd of node $killed"
	return $rc
}

network_clear() { # NODE
	local rc=0
	nic_is_up "$1" || ip -n "$(node_name "$1")" link set eth0 up || rc=1
	rules_set "$1" || rc=1
	port_clear "$(node_name "$1")" eth0 || rc=1
	port_clear "$(hub_name)" "p$1" || rc=1
	nic_is_up "$1" && ! rules_there "$1" && return $rc
	return 1
}
