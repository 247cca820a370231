#!/usr/bin/env bash
# Builds the release of the last commit twice, in two folders far apart, and fails if one byte differs. The arguments are
# architectures.
set -euo pipefail
cd "$(dirname "$0")/../.."

work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
for copy in one a/longer/path/two; do
    mkdir -p "$work/$copy"
    git clone --quiet . "$work/$copy/tree"
    ln -s "$PWD/bin" "$work/$copy/tree/bin"
    "$work/$copy/tree/hack/release/release.sh" v0.0.0-check "$work/$copy/dist" "$@" >"$work/log" || { cat "$work/log"; exit 1; }
    (cd "$work/$copy/dist" && sha256sum -- *) >"$work/$copy/sums"
done
cat "$work/one/sums"
diff "$work/one/sums" "$work/a/longer/path/two/sums" || { echo "Two builds of one commit differ."; exit 1; }
echo "Two builds of one commit are the same $(wc -l <"$work/one/sums") files."
