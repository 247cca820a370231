#!/usr/bin/env bash
# Writes a release to a folder: release.sh VERSION FOLDER [ARCHITECTURE...]. It needs no network once the modules are there.
# Images, the chart, the bundle for the Operator Lifecycle Manager, manifests with their digest, CRDs, bills of materials, licences,
# the plugin of kubectl with its manifest for krew, the changes of the version, and checksums.
# IMAGE is where the image will be published, and DOWNLOAD is the URL below which the files will be.
set -euo pipefail

version=$1
out=$(mkdir -p "$2" && cd "$2" && pwd)
shift 2
cd "$(dirname "$0")/../.."
kubectl=bin/kube/kubectl
image=${IMAGE:-apitokens.dev/apitoken-operator}
[ -z "$(ls -A "$out")" ] || { echo "$out is not empty: a release would mix with what is there."; exit 1; }
[ -z "$(git status --porcelain --untracked-files=no)" ] || { echo "Commit first: a release is what a commit says."; exit 1; }

# pack prints an archive of a folder in a folder. The same files make the same bytes.
pack() {
    tar -C "$1" --sort=name --mtime=@0 --owner=0 --group=0 --numeric-owner --mode=u=rw,go=r,a+X -cf - "$2" | gzip -9n
}

changes=$(hack/release/changes.sh "$version" <CHANGELOG.md) # before the images, which take minutes
hack/release/image.sh "$version" "$out" "$@"

# The digest of the index, which names the images of all platforms.
digest=$(tar -xOf "$out/apitoken-operator-$version.oci.tar" index.json | grep -o 'sha256:[0-9a-f]*' | head -1)
for kind in default high-availability namespaced single; do
    name=install-$kind.yaml
    [ "$kind" != default ] || name=install.yaml
    "$kubectl" kustomize "config/$kind" |
        sed "s|apitokens.dev/apitoken-operator:dev|$image:$version@$digest|" >"$out/$name"
    grep -q "@$digest" "$out/$name"
done
"$kubectl" kustomize config/crd >"$out/crds.yaml"
"$kubectl" kustomize config/access >"$out/access.yaml"
"$kubectl" kustomize config/components/monitoring >"$out/monitoring.yaml"
cp config/components/monitoring/rules.yaml "$out/prometheus-rules.yaml"
cp config/components/monitoring/dashboard.json "$out/grafana-dashboard.json"

mkdir "$out/chart"
hack/release/chart.sh "$version" "$out/chart/apitoken-operator"
sed -i -e "s|^  digest: \"\"|  digest: $digest|" -e "s|apitokens.dev/apitoken-operator|$image|" "$out/chart/apitoken-operator/values.yaml"
pack "$out/chart" apitoken-operator >"$out/apitoken-operator-$version.chart.tgz"
rm -r "$out/chart"

go run -C hack/tools/bundle . "$version" "$out/olm" <"$out/install.yaml"
mv "$out/olm/olm-prerequisites.yaml" "$out"
pack "$out/olm" bundle >"$out/apitoken-operator-$version.bundle.tgz"
rm -r "$out/olm"

hack/release/plugin.sh "$version" "$out" "${@/#/linux/}"

printf '%s\n' "$changes" >"$out/CHANGELOG.md"
cp SECURITY-INSIGHTS.yml "$out"

(cd "$out" && sha256sum -- * >SHA256SUMS)
echo "The release $version is in $out."
