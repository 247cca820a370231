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

# The plugin as krew installs it: the archive has the checksum of the manifest, and in it are the program and the licences.
(
    cd "$work/one/dist"
    archive=$(grep -o 'kubectl-apitoken-[^/]*-linux-amd64.tar.gz' krew-apitoken.yaml)
    grep -A1 "$archive" krew-apitoken.yaml | grep -q "sha256: $(sha256sum "$archive" | cut -d ' ' -f 1)$"
    mkdir "$work/plugin"
    tar -C "$work/plugin" -xzf "$archive"
    test -s "$work/plugin/LICENSE" -a -s "$work/plugin/THIRD-PARTY-LICENSES"
    PATH="$work/plugin:$PATH" kubectl-apitoken version --client
)
diff "$work/one/sums" "$work/a/longer/path/two/sums" || { echo "Two builds of one commit differ."; exit 1; }
echo "Two builds of one commit are the same $(wc -l <"$work/one/sums") files."
