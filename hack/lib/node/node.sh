#!/usr/bin/env bash
# The node's PID 1, in mount, network, PID, UTS and IPC namespaces of its own: node.sh TOOLS RUN CONTROL-PLANE.
# It joins the node's cgroups, makes the mounts and the network, then starts the programs. Its end ends them all, and nothing
# that it does is seen outside.
set -euo pipefail

tools=$1 run=$2 kube=$3
here=$(cd "$(dirname "$0")" && pwd)
config=$here/config pki=$run/pki
if [ "${4:-}" != inside ]; then
    while read -r folder; do echo 0 >"$folder/cgroup.procs"; done <"$run/cgroups"
    exec unshare --cgroup "$0" "$@" inside
fi
cd /
hostname node1

# Mounts. The root of the machine is below them, and is never written.
mount --make-rprivate /
mount -t proc proc /proc
mount -t overlay overlay -o "lowerdir=$tools/debian/node/usr:/usr" /usr
mount -t sysfs sysfs /sys
mount -t tmpfs -o mode=755 cgroup /sys/fs/cgroup
while IFS=: read -r _ names _; do
    [ -n "$names" ] || continue
    mkdir "/sys/fs/cgroup/${names#name=}"
    mount -t cgroup -o "$names" cgroup "/sys/fs/cgroup/${names#name=}"
done </proc/self/cgroup
mount -t tmpfs -o mode=755 tmpfs /run
for folder in /etc /opt /var; do
    mkdir -p "$run/overlay$folder/upper" "$run/overlay$folder/work"
    mount -t overlay overlay -o "lowerdir=$folder,upperdir=$run/overlay$folder/upper,workdir=$run/overlay$folder/work" "$folder"
done
# Overlays do not lie on overlays, so what containerd and kubelet write is a real folder.
for folder in /var/lib/containerd /var/lib/kubelet /var/log/containers; do
    mkdir -p "$run/files$folder" "$folder"
    mount --bind "$run/files$folder" "$folder"
done
# A small disk for what grows while pods run: their logs. A test fills it.
mkdir "$run/disk"
mount -t tmpfs -o mode=755,size=256m tmpfs "$run/disk"
mkdir "$run/disk/pods"
mkdir -p /var/log/pods
mount --bind "$run/disk/pods" /var/log/pods
mkdir -p /opt/cni/bin /etc/cni/net.d /etc/containerd/certs.d/_default
mount --bind "$tools/cni" /opt/cni/bin
cp "$config/pods.conflist" /etc/cni/net.d/
cp "$config/hosts.toml" /etc/containerd/certs.d/_default/
rm -rf /etc/node && ln -s "$run" /etc/node
echo 'nameserver 10.89.0.1' >"$run/resolv.conf"

# Sysctls of the whole machine that kubelet would set. It finds the values that it wants, and writes none.
while read -r name value; do
    mkdir -p "$run/sysctl"
    echo "$value" >"$run/sysctl/$name"
    mount --bind "$run/sysctl/$name" "/proc/sys/${name//.//}"
done <<'EOF'
vm.overcommit_memory 1
vm.panic_on_oom 0
kernel.panic 10
kernel.panic_on_oops 1
kernel.keys.root_maxkeys 1000000
kernel.keys.root_maxbytes 25000000
EOF
mount --make-rshared /

# Network: a bridge without ports holds the node's address.
ip link set lo up
ip link add node0 type bridge
ip addr add 10.89.0.1/24 dev node0
ip link set node0 up
ip route add default dev node0
echo 1 >/proc/sys/net/ipv4/ip_forward

# start NAME PROGRAM [ARGUMENT...]: runs a program, and starts it again when it ends.
start() {
    local name=$1
    shift
    while :; do
        "$@" || true
        echo "$name ended; it starts again."
        sleep 1
    done >"$run/log/$name.log" 2>&1 &
}
mkdir -p "$run/log" "$run/tmp"
export TMPDIR=$run/tmp

start etcd "$kube/etcd" --data-dir "$run/etcd" --unsafe-no-fsync \
    --listen-client-urls http://127.0.0.1:2379 --advertise-client-urls http://127.0.0.1:2379 --listen-peer-urls http://127.0.0.1:2380
start containerd containerd --config "$config/containerd.toml"
start kube-apiserver "$kube/kube-apiserver" --etcd-servers http://127.0.0.1:2379 --advertise-address 10.89.0.1 --secure-port 6443 \
    --service-cluster-ip-range 10.96.0.0/16 --authorization-mode Node,RBAC --enable-admission-plugins NodeRestriction --allow-privileged \
    --tls-cert-file "$pki/apiserver.crt" --tls-private-key-file "$pki/apiserver.key" --client-ca-file "$pki/ca.crt" \
    --kubelet-client-certificate "$pki/apiserver-client.crt" --kubelet-client-key "$pki/apiserver-client.key" \
    --kubelet-preferred-address-types InternalIP --shutdown-watch-termination-grace-period 1s \
    --service-account-issuer https://kubernetes.default.svc.cluster.local \
    --service-account-key-file "$pki/accounts.crt" --service-account-signing-key-file "$pki/accounts.key"
start forward "$tools/forward" "$run/forward"
# The rest would end without an API server.
until "$kube/kubectl" --kubeconfig "$pki/admin.node" get --raw /readyz >/dev/null 2>&1; do sleep 0.2; done
start kube-controller-manager "$tools/kube-controller-manager" --kubeconfig "$pki/controller-manager.node" \
    --authentication-kubeconfig "$pki/controller-manager.node" --authorization-kubeconfig "$pki/controller-manager.node" \
    --service-account-private-key-file "$pki/accounts.key" --root-ca-file "$pki/ca.crt" \
    --leader-elect=false --bind-address 127.0.0.1 --cert-dir "$run/controller-manager"
start kube-scheduler "$tools/kube-scheduler" --kubeconfig "$pki/scheduler.node" --authentication-kubeconfig "$pki/scheduler.node" \
    --authorization-kubeconfig "$pki/scheduler.node" --leader-elect=false --bind-address 127.0.0.1 --cert-dir "$run/scheduler"
start kubelet "$tools/kubelet" --config "$config/kubelet.yaml" --kubeconfig "$pki/kubelet.node" --hostname-override node1 --node-ip 10.89.0.1
start kube-proxy "$tools/kube-proxy" --config "$config/kube-proxy.yaml"
start netpol "$here/netpol.sh" "$tools/netpol" "$pki/netpol.node"
echo started
wait
