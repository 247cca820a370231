#!/usr/bin/env bash
# Writes the section of CHANGELOG.md (on standard input) about a version: changes.sh VERSION. A release has a section of its own.
# Every other version, such as dev or v1.2.3-rc.1, has that of what is not released.
set -euo pipefail

version=$1
heading=Unreleased
[[ ! $version =~ ^v[0-9]+\.[0-9]+\.[0-9]+$ ]] || heading=$version
awk -v heading="$heading" -v version="$version" '
    /^## / { found = $2 == heading; if (found) { some = 1; print "# Changes in " version; next } }
    found
    END { if (!some) { print "CHANGELOG.md has no section \"## " heading "\". Write it first." >"/dev/stderr"; exit 1 } }'
