# shellcheck shell=bash
# vm.sh - what the tests in virtual machines share; they source it.
#
# The words of tests/sys/cluster.sh (a lab of real daemons, expect, says, same ...), and:
#   in_node K CMD...        in namespace nodeK, whose RDMA device is rxeK (inside/bin/vm-nodes)
#   serve PORT CMD...       a server in the background, once it listens on that TCP port
#   gid DEVICE              index of the device's GID of RoCE v2 and IPv4
#   moved DEVICE tx|rx      bytes that a network device has sent or taken
#   netem DEVICE ...        what tc-netem(8) is to do to what the device sends; none: no more
# Nothing outlives a test: servers are ended, netem is taken away.
. "$(dirname "${BASH_SOURCE[0]}")/../sys/cluster.sh"

[ -n "${VM_GUEST:-}" ] || skip "runs in a machine of tests/vm/guest only"

NETEM=() # devices that have it

end_vm() { # then as cluster.sh does, with the test's exit code
	local code=$? device
	for device in "${NETEM[@]}"; do
		tc qdisc del dev "$device" root 2>/dev/null
	done
	for device in /sys/class/net/v[0-9]; do # a failed test may leave them down
		ip link set "${device##*/}" up mtu 9000 2>/dev/null
	done
	(exit $code)
	end_own
}
trap end_vm EXIT

need_nodes() { # N
	[ "${VM_NODES:-0}" -ge "$1" ] || skip "needs a guest with --nodes $1"
}

need_guests() { # N
	[ "${VM_GUESTS:-1}" -ge "$1" ] || skip "needs --guests $1"
}

need_program() { # NAME PACKAGE
	command -v "$1" >/dev/null || skip "$2 is not installed"
}

in_node() {
	local node=$1
	shift
	ip netns exec "node$node" "$@"
}

node_address() { # K: of its eth0
	echo "10.79.0.$(($1 + 1))"
}

listens() { # PORT: in any of the namespaces
	local k
	! ss -Hltn "sport = $1" | grep -q . || return 0
	for ((k = 0; k < VM_NODES; k++)); do
		! ip netns exec "node$k" ss -Hltn "sport = $1" | grep -q . || return 0
	done
	return 1
}

# serve PORT CMD...: sets SERVER to its pid; what it prints is in $PUBLIC/server
serve() {
	local port=$1
	shift
	"$@" >"$PUBLIC/server" 2>&1 &
	SERVER=$!
	PIDS+=("$SERVER")
	wait_until 20 listens "$port" || {
		cat "$PUBLIC/server"
		fail 1 "does not listen on port $port: $*"
	}
}

served() { # the server has ended well
	wait "$SERVER" && return
	cat "$PUBLIC/server"
	fail 1 "the server failed"
}

gid() {
	local port=/sys/class/infiniband/$1/ports/1 file kind value
	for file in "$port"/gid_attrs/types/*; do
		kind='' value=''
		read -r kind 2>/dev/null <"$file"
		read -r value 2>/dev/null <"$port/gids/${file##*/}"
		[ "$kind" = "RoCE v2" ] && [[ $value == 0000:*:ffff:* ]] && echo "${file##*/}"
	done
}

counter() { # DEVICE NAME: of the RDMA device, such as out_of_seq_request
	cat "/sys/class/infiniband/$1/ports/1/hw_counters/$2"
}

moved() {
	cat "/sys/class/net/$1/statistics/$2_bytes"
}

netem() {
	local device=$1
	shift
	if [ $# -eq 0 ]; then
		tc qdisc del dev "$device" root || fail 1 "tc"
		return
	fi
	NETEM+=("$device")
	tc qdisc replace dev "$device" root netem "$@" || fail 1 "tc"
}
