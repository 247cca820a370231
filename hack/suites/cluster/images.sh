#!/usr/bin/env bash
# Makes the images of the test node as OCI archives in the folder $1, from what hack/tools/node built into $2: the operator's
# as `make image` does, and those of everything around it.
set -euo pipefail

out=$(mkdir -p "$1" && cd "$1" && pwd)
tools=$(cd "$2" && pwd)
cd "$(dirname "$0")/../../.."

hack/release/image.sh dev "$out" "$(go env GOARCH)" >/dev/null

work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
go build -C hack/tools/image -trimpath -o "$out/../" . ./registry
# pack NAME FOLDER COMMAND...: makes localhost/NAME:test from a folder.
pack() { "$out/../image" -out "$out" -name "localhost/$1" -version test -folder "$2" "${@:3}"; }

mkdir "$work/pod" "$work/pause" "$work/coredns"
CGO_ENABLED=0 go build -trimpath -ldflags '-s -w' -o "$work/pod/" ./hack/suites/cluster/pod
CGO_ENABLED=0 go build -trimpath -ldflags '-s -w' -o "$work/pause/" ./hack/tools/node/pause
cp "$tools/coredns" "$work/coredns/"
pack pause "$work/pause" /pause
pack pod "$work/pod" /pod
pack coredns "$work/coredns" /coredns
pack nginx "$tools/debian/nginx" /usr/sbin/nginx -e stderr -c /conf/nginx.conf
