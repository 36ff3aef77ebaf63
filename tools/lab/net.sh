# shellcheck shell=bash
# net.sh - the lab's network: namespaces, bridge, shaped ports, measuring.
#
#   node K: eth0 --veth-- pK on br0 in the hub
#
# A shaped port has the same HTB at both ends: at eth0 for what the node sends, at pK for what it
# receives, so that several senders to one node meet a bottleneck.
#   1:1 the port's rate - 1:10 everything else - 1:1xx traffic to one destination (fault.sh)
# The burst is 2 ms of the rate; segmentation offload makes packets smaller than that, so that no
# packet must wait for more than one burst, and HTB, unlike TBF, never cuts a packet in pieces.
# The rate counts Ethernet frames without preamble, checksum and gap (what the kernel counts), so
# TCP with timestamps gets rate * (mtu - 52) / (mtu + 14): 0.956 at 1500, 0.993 at 9000.
# The queue is 100 ms of the rate: TCP, which the kernel tells about its packets in the queue
# (TSQ) across the bridge too, never fills it; others lose packets at its end.

readonly UNLIMITED=400000000000
readonly IPERF_PORT=17117
readonly NO_NETEM="--delay needs netem, which this kernel has not (CONFIG_NET_SCH_NETEM)"

in_net() { # NAMESPACE CMD...: for our own tools; the file system stays as it is
	local name=$1
	shift
	nsenter --net="/run/netns/$name" "$@"
}

# --- building ------------------------------------------------------------------------------------

# net_begin: makes the hub's namespace and bridge; fails with WHY if this machine does not let us.
net_begin() {
	local tool hub
	hub=$(hub_name)
	[ "$EUID" -eq 0 ] || { WHY='not root'; return 1; }
	for tool in ip tc nsenter; do
		command -v "$tool" >/dev/null || { WHY="$tool is missing"; return 1; }
	done
	WHY=$(ip netns add "$hub" 2>&1) || { WHY="no network namespaces: $WHY"; return 1; }
	WHY=$(ip -n "$hub" link add br0 type bridge stp_state 0 mcast_snooping 0 2>&1) || {
		WHY="no bridge device: $WHY"
		ip netns del "$hub"
		return 1
	}
	ip -n "$hub" link set br0 mtu "${LAB[mtu]}" up
}

net_add_node() {
	local node=$1 hub name
	hub=$(hub_name) name=$(node_name "$1")
	ip netns add "$name" &&
		ip -n "$hub" link add name "p$node" mtu "${LAB[mtu]}" type veth \
			peer name eth0 mtu "${LAB[mtu]}" netns "$name" &&
		ip -n "$hub" link set "p$node" master br0 up &&
		ip -n "$name" link set lo up &&
		ip -n "$name" address add "$(address "$node")/24" dev eth0 &&
		ip -n "$name" link set eth0 up || return 1
	# Linux's default, whatever this machine was told to use: the same figures everywhere.
	in_net "$name" bash -c 'echo cubic >/proc/sys/net/ipv4/tcp_congestion_control' 2>/dev/null
	if [ -e /proc/net/if_inet6 ]; then
		# The address must be there at once, and still be there after the link was down.
		in_net "$name" bash -c 'echo 1 >/proc/sys/net/ipv6/conf/eth0/keep_addr_on_down' &&
			ip -n "$name" address add "$(address6 "$node")/64" dev eth0 nodad ||
			return 1
	fi
	port_shape "$name" eth0 && port_shape "$hub" "p$node"
}

net_build() {
	local node
	if [ "${LAB[delay]}" -gt 0 ] && ! netem_there; then
		say "$NO_NETEM"
		return 1
	fi
	for ((node = 0; node < LAB[nodes]; node++)); do
		net_add_node "$node" || { say "cannot build node $node's network"; return 1; }
	done
}

netem_there() {
	local hub
	hub=$(hub_name)
	tc -n "$hub" qdisc replace dev lo root netem delay 1ms 2>/dev/null &&
		tc -n "$hub" qdisc del dev lo root
}

# net_remove: all namespaces of the lab, whether its folder still knows them or not.
net_remove() {
	local name left try rc=0
	[ "$EUID" -eq 0 ] && command -v ip >/dev/null || return 0
	while read -r name _; do
		[[ $name =~ ^carry-"$NAME"-(hub|[0-9]+)$ ]] || continue
		for try in 1 2 3 4 5 6 7 8 9 10; do # what has been ended may need a moment
			left=$(ip netns pids "$name" 2>/dev/null | paste -sd' ')
			[ -n "$left" ] || break
			sleep 0.05
		done
		[ -z "$left" ] || say "still running in $name, and left alone: process $left"
		[[ $name != *-hub ]] || ip -n "$name" link del br0 2>/dev/null
		ip -n "$name" link del eth0 2>/dev/null
		ip netns del "$name" || rc=1
	done < <(ip netns list 2>/dev/null)
	return $rc
}

# --- shaping -------------------------------------------------------------------------------------

burst_of() { # RATE: bytes
	local burst=$(($1 / 4000))
	echo $((burst > LAB[mtu] + 1024 ? burst : LAB[mtu] + 1024))
}

# port_class NAMESPACE DEV PARENT CLASS CEIL: a class with that limit, made or changed
port_class() {
	local burst rate=$5
	burst=$(burst_of "$5")
	# Children are promised next to nothing and borrow all they use: the parent's limit holds.
	[ "$3" = 1: ] || rate=8000
	tc -n "$1" class replace dev "$2" parent "$3" classid "$4" htb rate "${rate}bit" \
		ceil "${5}bit" burst "$burst" cburst "$burst" quantum 100000
}

# port_leaf NAMESPACE DEV CLASS DELAY: the queue of a class
port_leaf() {
	local rate=${LAB[rate]} limit queue
	limit=$((rate / 80 > 1048576 ? rate / 80 : 1048576))
	queue=(bfifo limit "$limit")
	[ "$4" -eq 0 ] || queue=(netem limit 100000 delay "${4}us")
	tc -n "$1" qdisc replace dev "$2" parent "$3" "${queue[@]}"
}

# No `tc | grep -q` here or anywhere: grep would leave first, and pipefail blame tc for it.
port_shaped() { # NAMESPACE DEV
	[[ $(tc -n "$1" qdisc show dev "$2") == *"qdisc htb 1: root"* ]]
}

# port_base NAMESPACE DEV: the two lowest classes, if they are not there yet
port_base() {
	local rate=${LAB[rate]} delay=0
	[ "$rate" -gt 0 ] || rate=$UNLIMITED
	[ "$2" != eth0 ] || delay=${LAB[delay]}
	! port_shaped "$1" "$2" || return 0
	tc -n "$1" qdisc replace dev "$2" root handle 1: htb default 10 &&
		port_class "$1" "$2" 1: 1:1 "$rate" && port_class "$1" "$2" 1:1 1:10 "$rate" &&
		port_leaf "$1" "$2" 1:10 "$delay"
}

# port_rate NAMESPACE DEV RATE: 0 means what the lab was made with
port_rate() {
	local rate=${3}
	[ "$rate" -gt 0 ] || rate=${LAB[rate]}
	[ "$rate" -gt 0 ] || rate=$UNLIMITED
	port_base "$1" "$2" && port_class "$1" "$2" 1: 1:1 "$rate" &&
		port_class "$1" "$2" 1:1 1:10 "$rate" && port_has_rate "$1" "$2" 1:1 "$rate"
}

# port_has_rate NAMESPACE DEV CLASS RATE: is that the limit in force?  (tc prints six digits)
port_has_rate() {
	local text
	text=$(tc -n "$1" class show dev "$2" | sed -n "s/^class htb $3 .* ceil \([^ ]*\) .*/\1/p")
	awk -v want="$4" -v got="$(parse_rate "${text:-none}")" 'BEGIN {
		exit !(got > want * 0.999 && got < want * 1.001)
	}'
}

# port_shape NAMESPACE DEV: as the lab was asked for
port_shape() {
	local gso
	[ "${LAB[rate]}" -gt 0 ] || [ "${LAB[delay]}" -gt 0 ] || return 0
	port_base "$1" "$2" || return 1
	[ "${LAB[rate]}" -gt 0 ] && [ "$2" = eth0 ] || return 0
	gso=$(($(burst_of "${LAB[rate]}") * 3 / 4))
	[ $gso -gt $((LAB[mtu] + 512)) ] || gso=$((LAB[mtu] + 512))
	[ $gso -lt 65536 ] || gso=65536
	ip -n "$1" link set dev "$2" gso_max_size "$gso"
}

# --- measuring -----------------------------------------------------------------------------------

expected_goodput() { # RATE
	echo $(($1 * (LAB[mtu] - 52) / (LAB[mtu] + 14)))
}

# measure A B: TCP goodput from A to B in bit/s as the receiver sees it: the best 0.1 s of one
# second, its start left out.  A machine that is late by more than a burst takes from a link what no
# later moment gives back, and a virtual one often is; but nothing makes 0.1 s more than a burst,
# that is 2 %, better than the link.  So the best piece tells what the link can do, the mean what
# the machine can.  In a subshell.
measure() {
	local server text try
	drop_lock
	mkdir -p "$DIR/runs/measure"
	# -R below: the client receives, and prints each piece.
	nsenter --net="/run/netns/$(node_name "$1")" timeout 15 \
		iperf3 -s -1 -B "$(address "$1")" -p $IPERF_PORT >/dev/null 2>&1 &
	server=$!
	process_record $server "$DIR/runs/measure/$1-$2" # so that an interrupted `up` ends it
	for ((try = 0; try < 40; try++)); do # the server may not be there yet
		text=$(in_net "$(node_name "$2")" timeout 10 iperf3 -c "$(address "$1")" -R \
			-p $IPERF_PORT -f k -t 1 -i 0.1 2>/dev/null) && break
		kill -0 $server 2>/dev/null || break
		sleep 0.05
	done
	kill $server 2>/dev/null
	wait $server 2>/dev/null
	rm -f "$DIR/runs/measure/$1-$2"
	sed -n '/sender\|receiver/d; s/.* \([0-9.]*\) Kbits\/sec.*/\1/p' <<<"$text" |
		sed 1,3d | sort -n | tail -n 1 | awk '{ printf "%.0f\n", $1 * 1000 }'
}

within_3_percent() { # GOT WANT
	[ -n "$1" ] && [ "$1" -ge $(($2 * 97 / 100)) ] && [ "$1" -le $(($2 * 103 / 100)) ]
}

# measure_ports: from every node to the next, several at once if the machine can carry that; then
# what was off again, alone: a shaper loses rate whenever the machine is too busy to serve it
# every 2 ms, so one good measurement says more than five bad ones.
measure_ports() {
	local n=${LAB[nodes]} rate=${LAB[rate]} at_once node want folder=$DIR/measured
	local limit=$((SECONDS + 20 + n))
	at_once=$((8000000000 / rate))
	want=$(expected_goodput "$rate")
	mkdir -p "$folder"
	for ((node = 0; node < n; node++)); do
		measure "$node" $(((node + 1) % n)) >"$folder/$node" &
		[ $(((node + 1) % (at_once > 0 ? at_once : 1))) -ne 0 ] || wait
	done
	wait
	for ((node = 0; node < n; node++)); do
		measure_again "$node" $(((node + 1) % n)) "$(<"$folder/$node")" "$limit" && {
			echo "$GOT" >"$folder/$node"
			continue
		}
		say "the link from node $node to node $(((node + 1) % n)) carries" \
			"$(rate_text "$GOT") of TCP payload, more than 3 % off the" \
			"$(rate_text "$want") that --rate $(rate_text "$rate") must give;" \
			"the machine was $BUSY % busy meanwhile"
		return 1
	done
}

# measure_again FROM TO GOT LIMIT: up to five times, until it fits; sets GOT and BUSY
measure_again() {
	local try want before after
	want=$(expected_goodput "${LAB[rate]}")
	GOT=${3:-0} BUSY=0
	for ((try = 0; try < 5 && SECONDS < $4; try++)); do
		within_3_percent "$GOT" "$want" && break
		before=$(head -n 1 /proc/stat)
		GOT=$(measure "$1" "$2")
		GOT=${GOT:-0}
		after=$(head -n 1 /proc/stat)
		BUSY=$(awk -v a="$before" -v b="$after" 'BEGIN {
			n = split(a, x, " +")
			split(b, y, " +")
			for (i = 2; i <= n; i++)
				all += y[i] - x[i]
			printf "%d", all ? 100 - 100 * (y[5] - x[5] + y[6] - x[6]) / all : 0
		}')
	done
	within_3_percent "$GOT" "$want"
}
