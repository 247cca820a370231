#!/usr/bin/env bash
# Builds what the test node runs from Go modules into the folder $1: kubelet and the like, the DNS server, the plugins of the
# pods' network, and the program that enforces NetworkPolicies. What is newer than its go.mod is kept.
set -euo pipefail

out=$(mkdir -p "$1/cni" && cd "$1" && pwd)
cd "$(dirname "$0")"

# build FILE FOLDER [ARGUMENT...]: builds a file from the module in a folder.
build() {
    local file=$out/$1 module=$2
    shift 2
    [ -z "$(find "$module" -newer "$file" 2>&1)" ] && return
    echo "Building $(basename "$file") for the test node ($(date +%T))."
    CGO_ENABLED=0 go build -C "$module" -trimpath -o "$file.new" "$@"
    mv "$file.new" "$file"
}

version=$(go list -C kube -m -f '{{.Version}}' k8s.io/kubernetes)
if [ "$version" != "$(go list -C ../kube -m -f '{{.Version}}' k8s.io/kubernetes)" ]; then
    echo "hack/tools/node/kube and hack/tools/kube require different versions of Kubernetes." >&2
    exit 1
fi
minor=${version#v1.}
stamp=k8s.io/component-base/version
build kube kube -ldflags "-s -w -X $stamp.gitVersion=$version -X $stamp.gitMajor=1 -X $stamp.gitMinor=${minor%%.*} -X $stamp.gitTreeState=clean" .
for name in kube-controller-manager kube-scheduler kubelet kube-proxy; do
    ln -sf kube "$out/$name"
done
for plugin in ipam/host-local main/loopback main/ptp; do
    build "cni/${plugin#*/}" cni -ldflags '-s -w' "github.com/containernetworking/plugins/plugins/$plugin"
done
build coredns coredns -ldflags '-s -w' .
build netpol netpol -ldflags '-s -w' .
go build -C ../../.. -trimpath -o "$out/" ./hack/tools/node/forward
