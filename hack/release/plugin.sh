#!/usr/bin/env bash
# Builds the plugin of kubectl for each platform, packs it, and writes its manifest for krew: plugin.sh VERSION FOLDER [PLATFORM...].
# The same commit makes the same bytes, in every folder and at every time. DOWNLOAD is the URL below which the archives will be.
set -euo pipefail

version=$1
out=$(mkdir -p "$2" && cd "$2" && pwd)
shift 2
cd "$(dirname "$0")/../.."
(($#)) || set -- linux/amd64 linux/arm64 darwin/amd64 darwin/arm64 windows/amd64
download=${DOWNLOAD:-https://apitokens.dev/releases/$version}

# What Go builds depends on these, so they do not come from the environment.
unset GOFLAGS GOEXPERIMENT GOAMD64 GOARM64
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
go build -C hack/tools/image -trimpath -o "$work/image" .
manifest=$out/krew-apitoken.yaml
sed -e '/^#/d' -e "s|VERSION|$version|" hack/release/krew.yaml >"$manifest"
for platform; do
    os=${platform%/*} arch=${platform#*/}
    echo "Building the plugin of kubectl for $platform."
    folder=$work/$os-$arch
    program=kubectl-apitoken
    [ "$os" != windows ] || program=kubectl-apitoken.exe
    CGO_ENABLED=0 GOOS=$os GOARCH=$arch go build -trimpath -buildvcs=true -ldflags '-s -w' -o "$folder/$program" ./cmd/kubectl-apitoken
    cp LICENSE "$folder"
    "$work/image" -licenses "$folder/$program" >"$folder/THIRD-PARTY-LICENSES"
    archive=kubectl-apitoken-$version-$os-$arch.tar.gz
    tar -C "$folder" --sort=name --mtime=@0 --owner=0 --group=0 --numeric-owner --mode=u=rwx,go=rx -cf - "$program" LICENSE THIRD-PARTY-LICENSES |
        gzip -9n >"$out/$archive"
    cat >>"$manifest" <<END
  - uri: $download/$archive
    sha256: $(sha256sum "$out/$archive" | cut -d ' ' -f 1)
    bin: $program
    selector: {matchLabels: {os: $os, arch: $arch}}
END
done
