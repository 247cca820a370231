#!/usr/bin/env bash
# Installs the Debian packages of the programs that tests and demo need, unless the programs are already there.
# usage: prerequisites.sh program=package[,package...] ...
set -euo pipefail

missing=()
for pair in "$@"; do
    # Debian keeps servers in /usr/sbin, which is not in everybody's PATH.
    if ! PATH=$PATH:/usr/sbin command -v "${pair%%=*}" >/dev/null; then
        IFS=, read -ra packages <<<"${pair#*=}"
        missing+=("${packages[@]}")
    fi
done
[ ${#missing[@]} -gt 0 ] || exit 0

root=()
[ "$(id -u)" -eq 0 ] || root=(sudo)
if ! command -v apt-get >/dev/null || ! command -v "${root[@]:-true}" >/dev/null; then
    echo "Please install ${missing[*]} (names of Debian packages), then try again." >&2
    exit 1
fi

exec 9<"$0" # apt-get does not wait for another one
flock 9
echo "Installing ${missing[*]} with apt-get (about a minute)."
# Debian starts a server after its installation, unless this file forbids it.
policy=/usr/sbin/policy-rc.d
if [ ! -e "$policy" ]; then
    printf '#!/bin/sh\nexit 101\n' | "${root[@]}" tee "$policy" >/dev/null
    trap '"${root[@]}" rm -f "$policy"' EXIT
    "${root[@]}" chmod +x "$policy"
fi
"${root[@]}" apt-get update -qq
"${root[@]}" env DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends "${missing[@]}"
