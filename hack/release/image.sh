#!/usr/bin/env bash
# Builds the operator for each platform and packs it into images: image.sh VERSION FOLDER [ARCHITECTURE...].
# The same commit makes the same bytes, in every folder and at every time.
set -euo pipefail

version=$1
out=$(mkdir -p "$2" && cd "$2" && pwd)
shift 2
cd "$(dirname "$0")/../.."
(($#)) || set -- amd64 arm64

# What Go builds depends on these, so they do not come from the environment.
unset GOFLAGS GOEXPERIMENT GOAMD64 GOARM64
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
binaries=()
for arch; do
    echo "Building the operator for linux/$arch."
    CGO_ENABLED=0 GOOS=linux GOARCH=$arch hack/release/build.sh -trimpath -buildvcs=true -ldflags '-s -w' -o "$work/$arch"
    binaries+=("$work/$arch")
done
go build -C hack/tools/image -trimpath -o "$work/image" .
"$work/image" -out "$out" -name apitokens.dev/apitoken-operator -version "$version" \
    -revision "$(git rev-parse HEAD)" -created "$(git log -1 --format=%cI)" "${binaries[@]}"
ls -l "$out"/apitoken-operator-"$version"*.oci.tar
