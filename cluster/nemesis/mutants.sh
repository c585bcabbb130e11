#!/bin/sh
# Plants bugs, one at a time, and expects `dinomo check` to find each by its histories.
#   cluster/nemesis/mutants.sh BINARY [BUG...]
# BINARY is built with the tag "planted" (make mutants does it). Each bug has ROUNDS runs of SECONDS_EACH seconds, of seeds 1, 2,
# and so on, to be found in. A run without a bug has to pass.
# late-removal is not among those of a run without names: it needs a message that is late by chance, which the simulation
# draws often (make sim-mutants) and real processes hardly ever do.
set -eu
binary=$1
shift
rounds=${ROUNDS:-5}
seconds=${SECONDS_EACH:-20}
out=$(mktemp)
trap 'rm -f "$out"' EXIT

# check BUG SEED FAULTS [ARGUMENT...]: prints the verdict: LINEARIZABLE, VIOLATED, or what else happened.
check() {
	bug=$1 seed=$2 faults=$3
	shift 3
	directory=$(mktemp -d)
	status=0
	DINOMO_PLANTED=$bug "$binary" check --seed "$seed" --seconds "$seconds" --faults "$faults" --keep "$directory/run" "$@" >"$out" 2>&1 || status=$?
	rm -rf "$directory"
	if grep -q '^[0-9].*: VIOLATED$' "$out"; then
		echo VIOLATED
	elif [ "$status" = 0 ]; then
		echo LINEARIZABLE
	else
		echo FAILED
	fi
}

# faults BUG: those under which it shows.
faults() {
	case $1 in
	lease-ignored) echo pause-kn,cut-kn-dpm ;;
	old-owner-not-merged) echo join,leave ;;
	cache-not-dropped) echo join,leave,kill-kn ;;
	*) echo replicate ;;
	esac
}

[ $# -gt 0 ] || set -- lease-ignored old-owner-not-merged cache-not-dropped cas-replaced-by-store
bad=0
verdict=$(check "" 1 pause-kn,join,leave,replicate)
echo "no bug: $verdict"
[ "$verdict" = LINEARIZABLE ] || { cat "$out"; bad=1; }
for bug in "$@"; do
	found=no
	for seed in $(seq "$rounds"); do
		verdict=$(check "$bug" "$seed" "$(faults "$bug")")
		if [ "$verdict" = VIOLATED ]; then
			found=yes
			break
		elif [ "$verdict" = FAILED ]; then
			cat "$out"
		fi
	done
	if [ $found = yes ]; then
		echo "$bug: found with --seed $seed --faults $(faults "$bug")"
	else
		echo "$bug: NOT FOUND in $rounds runs of $seconds s"
		bad=1
	fi
done
exit $bad
