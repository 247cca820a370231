#!/usr/bin/env bash
# Unpacks Debian packages into folders below $1, and installs nothing: `node` is laid over the /usr of the test node, and
# `nginx` becomes the image of its gateway.
set -euo pipefail

out=$(mkdir -p "$1" && cd "$1" && pwd)
fetched=$out/fetched
mkdir -p "$fetched"

# unpack FOLDER PACKAGE...: downloads packages and unpacks them.
unpack() {
    local root=$out/$1
    shift
    rm -rf "$root" "${fetched:?}"/*
    (cd "$fetched" && apt-get download -qq -o APT::Sandbox::User=root "$@")
    mkdir -p "$root"
    for package in "$fetched"/*.deb; do
        dpkg -x "$package" "$root"
    done
    rm -r "${fetched:?}"/*
}

command -v apt-get dpkg >/dev/null || { echo "The test node needs Debian's packages: apt-get and dpkg are not here." >&2; exit 1; }
echo "Downloading containerd, runc and nginx from Debian (36 MB) into $out; nothing is installed."
apt-cache show containerd >/dev/null 2>&1 || apt-get update -qq

unpack node containerd runc libseccomp2 \
    nftables libnftables1 libjansson4 libedit2 libbsd0 \
    iptables libip4tc2 libip6tc2 libxtables12 libnetfilter-conntrack3 libnfnetlink0 libnftnl11 libmnl0
for name in iptables ip6tables; do
    ln -sf "$name-nft" "$out/node/usr/sbin/$name"
done

unpack nginx nginx libc6 libcrypt1 libpcre2-8-0 libssl3 zlib1g
# The image is only the program and its libraries.
rm -rf "$out"/nginx/usr/share "$out"/nginx/usr/lib/*/gconv "$out"/nginx/etc
rmdir "$fetched"
touch "$out/done"
