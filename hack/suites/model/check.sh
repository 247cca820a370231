#!/usr/bin/env bash
# Checks stops.pml with spin: every stop in every interleaving, then that each mutation of the protocol breaks it.
# usage: check.sh outDir
set -euo pipefail
model=$(cd "$(dirname "$0")" && pwd)/stops.pml
out=${1:?the folder to build in}
mkdir -p "$out"
out=$(cd "$out" && pwd)

stops=(DELETE SUSPEND ROTATE DELETE_TREE DELETE_ALL EPOCH BLOCK CLOSE SAME_SITE OTHER_SITE)
# A mutation, a stop that it breaks, and what it changes.
mutations=(
    "READ_FIRST DELETE_ALL the parent and the stops are read before the child is written"
    "READ_FIRST EPOCH the epoch is read before the record is written"
    "NO_REREAD DELETE nothing is read after the child is written"
    "NO_REREAD BLOCK nothing is read after the child is written"
    "NO_RECORD ROTATE the record of the parent is not read again"
    "OWN_EPOCH EPOCH the epoch is compared with the child only, and not with its parent"
    "ANY_UID OTHER_SITE the site may be another one by now"
    "NO_ORIGIN CLOSE a child does not record the namespace of its parent"
    "NEAREST_ORIGIN CLOSE a grandchild records the namespace of its parent, and not the recorded one"
    "LIST_CACHE DELETE_ALL the stopper lists from a cache"
    "LIST_ONCE DELETE_TREE the stopper does not list again"
    "MARK_HIDES DELETE_ALL the annotation of an unfinished token hides it from the list"
    "MARK_COUNTS DELETE the annotation counts on a token with a record"
    "NO_PRECONDITION DELETE the controller deletes an APIToken that was finished since it looked"
    "EPOCH_NOW EPOCH the epoch is set to now, without the fraction of the second"
    "TIME_CUT OTHER_SITE the time of the new site is cut to the second"
    "FORGETFUL SAME_SITE the epoch of the earlier site is forgotten"
    "ANY_MEMORY SAME_SITE the gateway decides before it has the controller's memory of this site"
)

# run checks one stop, without a mutation if there is none, and writes the number of states to a file. It fails if spin says
# neither that there is a violation nor that there is none.
run() { # stop mutation
    local stop=$1 mutation=${2:-} dir="$out/$1-${2:-}"
    mkdir -p "$dir"
    cd "$dir"
    spin -a "-DSTOP=$stop" ${mutation:+"-D$mutation"} "$model" >spin.out
    gcc -O1 -w -DSAFETY -DMEMLIM=4000 -o pan pan.c
    ./pan -m10000 -w22 -n >pan.out
    grep -qE 'errors: [01]$' pan.out || { cat pan.out >&2; exit 1; }
    ! grep -q 'max search depth too small\|out of memory' pan.out || { cat pan.out >&2; exit 1; }
}
export -f run
export model out

begun=$SECONDS
{
    printf '%s\n' "${stops[@]}"
    for each in "${mutations[@]}"; do read -r mutation stop _ <<<"$each" && echo "$stop $mutation"; done
} | xargs -P "$(nproc)" -I{} bash -euo pipefail -c 'run {}'

failed=0 total=0
states() { awk '/states, stored/ {print $1}' "$1/pan.out"; }
for stop in "${stops[@]}"; do
    n=$(states "$out/$stop-")
    total=$((total + n))
    if grep -q 'errors: 0$' "$out/$stop-/pan.out"; then
        printf '%-12s %9d states, no violation\n' "$stop" "$n"
    else
        printf '%-12s VIOLATION: spin -k %s -t -p -g -l -DSTOP=%s %s\n' "$stop" "$out/$stop-/stops.pml.trail" "$stop" "$model"
        failed=1
    fi
done
for each in "${mutations[@]}"; do
    read -r mutation stop what <<<"$each"
    if grep -q '^pan:1: assertion violated' "$out/$stop-$mutation/pan.out"; then
        printf '%-12s found with %s: %s\n' "$stop" "$mutation" "$what"
    else
        printf '%-12s NOT FOUND with %s: %s\n' "$stop" "$mutation" "$what"
        failed=1
    fi
done
echo "$total states in $((SECONDS - begun)) s; ${#mutations[@]} mutations of the protocol"
exit $failed
