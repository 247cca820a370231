#!/usr/bin/env bash
# Writes the Helm chart to a folder, with the objects of each kustomization in it: chart.sh VERSION FOLDER.
set -euo pipefail

version=$1
out=$(mkdir -p "$2" && cd "$2" && pwd)
cd "$(dirname "$0")/../.."
kubectl=${KUBEBUILDER_ASSETS:-bin/kube}/kubectl

cp -R config/chart/. "$out"
mkdir -p "$out/files"
for kind in default high-availability namespaced single; do
    "$kubectl" kustomize "config/$kind" >"$out/files/$kind.yaml"
done
"$kubectl" kustomize config/access >"$out/files/access.yaml"
cp config/components/watch-secrets/role.yaml "$out/files/watch-secrets.yaml"
"$kubectl" kustomize config/components/monitoring >"$out/files/monitoring.yaml"
# The version of a chart has three numbers, and no v.
case $version in
    v[0-9]*.[0-9]*.[0-9]*) semantic=${version#v} ;;
    *) semantic=0.0.0-$version ;;
esac
sed -i -e "s/^version: .*/version: $semantic/" -e "s/^appVersion: .*/appVersion: $version/" "$out/Chart.yaml"
