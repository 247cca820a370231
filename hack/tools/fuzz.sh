#!/usr/bin/env bash
# Runs every fuzz target of the module, one after the other, each for the given duration. It stops at the first failure.
# Seeds are in the code and in testdata/fuzz. New inputs stay in Go's build cache, and the next run continues from there.
#
#   hack/tools/fuzz.sh [duration] [package...]
#
# FUZZ_PARALLEL is the number of workers; by default one for each processor.
set -euo pipefail
cd "$(dirname "$0")/../.."

duration=${1:-60s}
shift || true
output=$(mktemp)
trap 'rm -f "$output"' EXIT

# Prints "folder package target" for each target. Only packages with a target are built, to save time.
targets() {
  local dir package
  while read -r dir package; do
    if ! grep -qs '^func Fuzz' "$dir"/*_test.go; then continue; fi
    { go test -list '^Fuzz' "$package" || { echo "listing the targets of $package" >&2; exit 1; }; } |
      awk -v dir="$dir" -v package="$package" '/^Fuzz/ {print dir, package, $1}'
  done < <(go list -f '{{.Dir}} {{.ImportPath}}' "${@:-./...}")
}

# Runs one target and prints the progress. -fuzzminimizetime is set because Go would spend up to a minute on shortening each
# new input.
run() {
  go test -run '^$' -fuzz "^$2\$" -fuzztime "$duration" -fuzzminimizetime 100x ${FUZZ_PARALLEL:+-parallel "$FUZZ_PARALLEL"} "$1" 2>&1 |
    tee "$output" | { grep --line-buffered '^fuzz: elapsed' || true; } | sed -u 's/^/    /'
}

list=$(targets "$@")
[ -n "$list" ] || { echo "There are no fuzz targets." >&2; exit 1; }
count=$(wc -l <<<"$list") number=0 summary=
while read -r dir package target; do
  number=$((number + 1))
  name="${package#apitokens.dev/operator/} $target"
  echo "[$number/$count] $name"
  if ! run "$package" "$target"; then
    input=$(sed -n 's/^ *Failing input written to //p' "$output" | tail -n 1)
    # At the end of its time Go now and then takes its own deadline for a failure: https://go.dev/issue/75804
    if [ -n "$input" ] || ! grep -q '^ *context deadline exceeded$' "$output"; then
      cat "$output" >&2
      echo "FAIL $name${input:+: $dir/$input}" >&2
      exit 1
    fi
  fi
  line=$(grep '^fuzz: elapsed: .* execs: ' "$output" | tail -n 1)
  execs=$(sed -E 's/.*execs: ([0-9]+) .*/\1/' <<<"$line")
  interesting=$(sed -nE 's/.*new interesting: ([0-9]+).*/\1/p' <<<"$line")
  printf -v line '%-48s %12s execs %6s new interesting' "$name" "$execs" "${interesting:-0}"
  echo "  $line"
  summary+="$line"$'\n'
done <<<"$list"
printf '\n%s' "$summary"
