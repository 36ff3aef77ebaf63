# shellcheck shell=bash
# build.sh - the programs that measure Open MPI and Gloo, from Debian's packages.

readonly PEER_SOURCES=tests/bench/peer_

# newer PROGRAM SOURCE...: does it have to be made?
outdated() {
	local program=$1 source
	shift
	for source; do
		[ "$program" -nt "$source" ] || return 0
	done
	return 1
}

# build_peers: with the compilers' better options; Gloo's sums are templates, compiled here.
build_peers() {
	local log=$WORK/log flags=(-O3 -march=native -D_GNU_SOURCE -I. -Wall -Wextra -Werror)
	local common=("${PEER_SOURCES}common.c" "${PEER_SOURCES}common.h")
	if ! command -v mpicc mpirun g++ >/dev/null || ! [ -e /usr/include/gloo/allreduce.h ]; then
		broken "Open MPI or Gloo is missing: run tools/setup.sh --bench"
	fi
	if outdated "$OUT/peer_common.o" "${common[@]}"; then
		gcc -std=c11 "${flags[@]}" -c -o "$OUT/peer_common.o" "${common[0]}" 2>"$log" ||
			broken "cannot compile ${common[0]}" "$log"
	fi
	if outdated "$OUT/peer_openmpi" "${PEER_SOURCES}openmpi.c" "${common[@]}"; then
		mpicc -std=c11 "${flags[@]}" -o "$OUT/peer_openmpi" "${PEER_SOURCES}openmpi.c" \
			"$OUT/peer_common.o" 2>"$log" || broken "cannot build peer_openmpi" "$log"
	fi
	if outdated "$OUT/peer_gloo" "${PEER_SOURCES}gloo.cc" "${common[@]}"; then
		# Its headers compare signed with unsigned and leave parameters unused.
		g++ -std=c++14 "${flags[@]}" -Wno-sign-compare -Wno-unused-parameter \
			-o "$OUT/peer_gloo" "${PEER_SOURCES}gloo.cc" "$OUT/peer_common.o" \
			-lgloo -pthread 2>"$log" || broken "cannot build peer_gloo" "$log"
	fi
}
