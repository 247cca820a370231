#!/usr/bin/env bash
# Builds etcd, kube-apiserver and kubectl from Go modules into one binary, with a link for each name, in the folder $1. Another
# file than go.mod, $2, names other versions.
set -euo pipefail

out=$(mkdir -p "$1" && cd "$1" && pwd)
cd "$(dirname "$0")"
export GOFLAGS="${GOFLAGS:-} -modfile=${2:-go.mod}"

version=$(go list -m -f '{{.Version}}' k8s.io/kubernetes)
minor=${version#v1.}
stamp=k8s.io/component-base/version
total=$(go list -deps . | wc -l)

echo "Building etcd, kube-apiserver and kubectl $version from Go modules."
echo "The first time this downloads 100 MB and takes 5 to 20 minutes; the result is kept in $out."

# -v prints each package when it is compiled: their number is the progress.
CGO_ENABLED=0 go build -v -trimpath -o "$out/kube.new" \
    -ldflags "-s -w -X $stamp.gitVersion=$version -X $stamp.gitMajor=1 -X $stamp.gitMinor=${minor%%.*} -X $stamp.gitTreeState=clean" \
    . 2>&1 | awk -v total="$total" '
        /^[A-Za-z0-9.\/_~-]+$/ { n++; if (n % 100 == 0) { printf "  %d of about %d packages\n", n, total; fflush() }; next }
        { print }'

mv "$out/kube.new" "$out/kube"
for name in etcd kube-apiserver kubectl; do
    ln -sf kube "$out/$name"
done
"$out/kube-apiserver" --version
