#!/usr/bin/env bash
# Copies the ACME library of Traefik from the module cache into the folder $1, without its DNS providers: the tests need none,
# and modules of some of them can no longer be downloaded.
set -euo pipefail

mkdir -p "$1"
out=$(cd "$1" && pwd)
cd "$(dirname "$0")"
module=github.com/go-acme/lego/v5
sum=h1:Jt6xAP9xQrJ3SLLGgxejfDDd3pzdrmuLCWe4oTqHHQc=

version=$(awk -v module="$module" '$1 == module && $2 ~ /^v/ {print $2}' go.mod)
# Outside of this module, whose go.mod replaces the library.
found=$(cd / && go mod download -json "$module@$version")
member() { sed -n "s/^\t\"$1\": \"\(.*\)\",\{0,1\}$/\1/p" <<<"$found"; }
[ "$(member Sum)" = "$sum" ] || { echo "$module $version has the checksum $(member Sum), want $sum: correct lego.sh." >&2; exit 1; }

rm -rf "$out"
mkdir -p "$out"
cp -R "$(member Dir)/." "$out"
chmod -R u+w "$out"
cat >"$out/providers/dns/zz_gen_dns_providers.go" <<'GO'
package dns

import (
	"fmt"

	"github.com/go-acme/lego/v5/challenge"
)

// NewDNSChallengeProviderByName knows no provider.
func NewDNSChallengeProviderByName(name string) (challenge.Provider, error) {
	return nil, fmt.Errorf("unrecognized DNS provider: %s", name)
}
GO
touch "$out/go.mod"
