#!/bin/bash
# demo.sh - trains a real model through four daemons, and compares with one process.
#
# `make demo` runs it.  A carry-lab of 4 nodes with 2 trainers each learns handwritten digits
# by data-parallel SGD, once for each of several seeds; then one process does the same without
# Carry.  Both split the 1,797 images alike, so accuracies on the third held out may be compared:
# their means must be within LIMIT points, and all ranks must end with the same weights.
#
# Then the cluster trains with gradients that are encoded, with and without error feedback: those
# with feedback must be as good as the dense ones, but for the points in the table CODED.
#
# The lab is taken down however this ends.  One demo of a user at a time: the lock tells whether
# a lab of that name belongs to a demo that runs or to one that was killed.
set -uo pipefail
export LC_ALL=C

readonly NODES=4 PER_NODE=2
readonly LIMIT=0.2 # points
# codec, feedback, learning rate, momentum of the trainer, points that the mean may be worse
readonly CODED='int4 ef14 0.1 0.9 0.5
int4 none 0.1 0.9 -
sign twosided 0.03 0.9 1.0
sign none 0.03 0.9 -
topk:density=0.01 ef21-sgdm:eta=0.5 1.0 0 1.0
topk:density=0.01 none 1.0 0 -'

usage() {
	cat <<'END'
usage: tools/demo.sh [--seeds N] [--set section.key=value]...
Trains on 4 nodes x 2 trainers with the seeds 1 to N (default 5), then in one process, and
compares; then with codecs, with and without error feedback (limits hold for 5 seeds and more).
--set is as in carry-lab: a line for each node's carryd.conf.
Needs `make` to have run; $BUILD is its folder (default build).
Exit status: 0 done, 1 failed or the results differ, 2 bad usage.
END
}

die() {
	echo "demo: $*" >&2
	exit 1
}

bad_usage() {
	echo "demo: $* (demo.sh --help tells more)" >&2
	exit 2
}

# On a terminal a line of progress replaces the one before; elsewhere few are printed.
progress() { # LABEL
	local line epoch shown=''
	while IFS= read -r line; do
		line=${line#\[0\] }
		[[ $line =~ ^epoch\ +([0-9]+)/([0-9]+) ]] || continue
		epoch=${BASH_REMATCH[1]}
		if [ -t 1 ]; then
			printf '\r  %-22s %s' "$1" "$line"
			shown=yes
		elif [ $((epoch % 20)) -eq 0 ]; then
			printf '  %-22s %s\n' "$1" "$line"
		fi
	done
	[ -z "$shown" ] || printf '\n'
}

field() { # FILE KEY
	sed -n 's/^ *"'"$2"'": "\{0,1\}\([^",]*\)"\{0,1\},\{0,1\}$/\1/p' "$1"
}

lab() {
	"$bin/carry-lab" "$@" 9>&-
}

clean_up() {
	local code=$?
	trap '' INT TERM HUP
	if [ -n "$lab_up" ]; then
		lab down --name "$name" >"$work/down" 2>&1 ||
			{ cat "$work/down" >&2; code=1; }
	fi
	rm -rf "$work"
	exit "$code"
}

train() { # KIND SEED LABEL COMMAND...
	local kind=$1 seed=$2 label=$3
	shift 3
	"$@" --data "$data" --seed "$seed" --json "$work/$kind.$seed" 2>&1 9>&- |
		tee "$work/output" | progress "$label"
	[ "${PIPESTATUS[0]}" -eq 0 ] && return
	echo "demo: training with seed $seed failed; the end of what it said:" >&2
	tail -n 20 "$work/output" >&2
	exit 1
}

# compare: from lines of "SEED, 7 fields of the group, 7 of one process".
compare() {
	awk -v limit=$LIMIT -v seeds="$seeds" -v ranks=$((NODES * PER_NODE)) '
	BEGIN {
		form = "%6s   %9s %7s %8s %11s  %-16s   | %9s %7s %8s\n"
		printf "\n        %-57s   |   one process\n", "4 nodes x 2 trainers"
		printf form, "seed", "accuracy", "loss", "steps/s", "bytes/step", "weights",
			"accuracy", "loss", "steps/s"
	}
	{
		if ($8 != "true")
			differ = 1
		printf form, $1, sprintf("%.2f %%", 100 * $2 / $3), sprintf("%.4f", $4),
			sprintf("%.0f", $5), sprintf("%.0f", $6), $7,
			sprintf("%.2f %%", 100 * $9 / $10), sprintf("%.4f", $11),
			sprintf("%.0f", $12)
		lines++
		right += $2; images += $3; loss += $4; steps += $5; wire += $6
		right1 += $9; images1 += $10; loss1 += $11; steps1 += $12
	}
	END {
		if (lines != seeds) {
			print "demo: " lines " of " seeds " results can be read"
			exit 1
		}
		printf form, "mean", sprintf("%.2f %%", 100 * right / images),
			sprintf("%.4f", loss / lines), sprintf("%.0f", steps / lines),
			sprintf("%.0f", wire / lines), "",
			sprintf("%.2f %%", 100 * right1 / images1), sprintf("%.4f", loss1 / lines),
			sprintf("%.0f", steps1 / lines)
		points = 100 * (right / images - right1 / images1)
		if (points < 0)
			points = -points
		printf "\nAccuracy: on %d held-out images.  ", images / lines
		print "Bytes/step: on the wire, sent by a node."
		printf "All %d ranks ended with the same weights, %s: %s.\n", ranks,
			seeds == 1 ? "with one seed" : "with each of " seeds " seeds",
			differ ? "NO" : "yes"
		printf "Means of the accuracy differ by %.2f points; %s %s.\n", points,
			points <= limit ? "the limit is" : "NOT within", limit
		exit differ || points > limit
	}'
}

on_cluster() { # KIND SEED LABEL OPTIONS OF carry-train...
	local kind=$1 seed=$2 label=$3
	shift 3
	train "$kind" "$seed" "$label" "$bin/carry-lab" run --name "$name" --per-node $PER_NODE \
		"$bin/carry-train" "$@"
}

mean() { # KIND KEY
	local seed
	for ((seed = 1; seed <= seeds; seed++)); do
		field "$work/$1.$seed" "$2"
	done | awk '{ sum += $1 } END { print sum / NR }'
}

# coded_row FEWER_THAN CODEC FEEDBACK ACCURACY BYTES REMARK
coded_row() {
	awk -v dense="$1" -v codec="$2" -v feedback="$3" -v right="$4" -v bytes="$5" -v more="$6" '
	BEGIN {
		printf "%-18s %-18s %7.2f %% %11.0f %8.1f x   %s\n", codec, feedback, right,
			bytes, dense / bytes, more
	}'
}

# Accuracy and bytes of each line of CODED beside those of dense gradients.
coded_table() {
	local codec feedback rate momentum limit row=0 worse=0 remark right
	local dense_right dense_bytes
	dense_right=$(mean group accuracy)
	dense_bytes=$(mean group wire_bytes_per_step)
	printf '\n%-18s %-18s %9s %11s %10s\n' codec feedback accuracy bytes/step fewer
	coded_row "$dense_bytes" none none "$dense_right" "$dense_bytes" ''
	while read -r codec feedback rate momentum limit; do
		right=$(mean coded$row accuracy)
		remark=''
		if [ "$limit" != - ]; then
			remark="may be $limit points worse"
			[ "$seeds" -lt 5 ] || awk -v a="$dense_right" -v b="$right" \
				-v l="$limit" 'BEGIN { exit a - b > l }' ||
				{ remark="$remark: IS MORE"; worse=1; }
		fi
		coded_row "$dense_bytes" "$codec" "$feedback" "$right" \
			"$(mean coded$row wire_bytes_per_step)" "$remark"
		row=$((row + 1))
	done <<<"$CODED"
	[ "$seeds" -eq 1 ] && remark='Of one seed' || remark="Means of $seeds seeds"
	printf '\n%s.  Layers of less than 16 KiB are sent dense.\n' "$remark"
	return $worse
}

# Trains with each line of CODED.
coded() {
	local codec feedback rate momentum limit seed row=0
	echo
	echo "The same cluster with encoded gradients:"
	while read -r codec feedback rate momentum limit; do
		for ((seed = 1; seed <= seeds; seed++)); do
			on_cluster coded$row $seed "${codec%%:*} ${feedback%%:*} $seed" \
				--codec "$codec" --feedback "$feedback" --lr "$rate" \
				--momentum "$momentum" </dev/null
			[ "$(field "$work/coded$row.$seed" same_weights)" = true ] ||
				die "the ranks' weights differ: $codec $feedback"
		done
		row=$((row + 1))
	done <<<"$CODED"
	coded_table
}

# The results of both kinds side by side, then their means; fails if they differ too much.
table() {
	local seed kind key
	for ((seed = 1; seed <= seeds; seed++)); do
		echo "$seed"
		for kind in group one; do
			for key in correct held_out loss steps_per_s wire_bytes_per_step hash \
				same_weights; do
				field "$work/$kind.$seed" $key
			done
		done
	done | paste -sd' ' | xargs -n 15 | compare
}

seeds=5 settings=()
while [ $# -gt 0 ]; do
	case $1 in
	--seeds)
		seeds=${2:-}
		[[ $seeds =~ ^[1-9][0-9]{0,2}$ ]] || bad_usage "--seeds wants a number, 1 to 999"
		shift 2
		;;
	--set)
		[ $# -ge 2 ] || bad_usage "--set wants section.key=value"
		settings+=(--set "$2")
		shift 2
		;;
	-h | --help) usage; exit 0 ;;
	*) bad_usage "unknown option \"$1\"" ;;
	esac
done

root=$(dirname "$(dirname "$(readlink -f "${BASH_SOURCE[0]}")")")
build=${BUILD:-build}
[[ $build = /* ]] || build=$root/$build
bin=$build/bin
data=$root/tests/data/digits.csv.gz
name=demo$(id -u)
lab_up=''
for program in carryd carry-lab carry-train; do
	[ -x "$bin/$program" ] || die "there is no $bin/$program: run make"
done

exec 9>"${TMPDIR:-/tmp}/carry-$name.lock" || die "cannot make a lock in ${TMPDIR:-/tmp}"
flock -n 9 || die "another demo of yours is running"
work=$(mktemp -d) || die "cannot make a folder for the results"
trap clean_up EXIT
trap 'exit 130' INT
trap 'exit 143' TERM HUP
started=$SECONDS

lab down --name "$name" >/dev/null 2>&1 # of a demo that was killed
echo "A cluster of $NODES nodes on this machine:"
lab_up=yes
lab up -n $NODES --name "$name" "${settings[@]}" || die "the cluster did not come up"
echo "Training on it, $PER_NODE trainers a node:"
for ((seed = 1; seed <= seeds; seed++)); do
	on_cluster group $seed "seed $seed"
done
echo "The same in one process:"
for ((seed = 1; seed <= seeds; seed++)); do
	train one $seed "seed $seed" "$bin/carry-train" --local
done
table
code=$?
coded || code=1
echo "Took $((SECONDS - started)) s."
exit $code
