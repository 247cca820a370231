#!/usr/bin/env bash
# Enforces NetworkPolicies: netpol.sh PROGRAM KUBECONFIG. The first packet of each connection from or to a pod goes to the queue
# that the program decides about. Its own rules are for nftables' queues, which not every kernel has; these are the same ones.
set -euo pipefail

rules() { iptables -w -t mangle "$@"; }
if ! rules -L NETPOL >/dev/null 2>&1; then
    rules -N NETPOL
    rules -A NETPOL -m conntrack --ctstate ESTABLISHED,RELATED -j RETURN
    rules -A NETPOL -s 10.88.0.0/24 -j NFQUEUE --queue-num 100
    rules -A NETPOL -d 10.88.0.0/24 -j NFQUEUE --queue-num 100
    rules -A POSTROUTING -m owner --uid-owner 0 -j RETURN # the node itself: probes
    rules -A POSTROUTING -j NETPOL
    rules -A INPUT -s 10.88.0.0/24 -j NETPOL # the API server is on the node
fi
exec "$1" "$2" 100 node1
