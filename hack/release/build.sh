#!/usr/bin/env bash
# Builds the operator: build.sh [FLAG OF go build...]. Without the tag, gRPC brings the pages of golang.org/x/net/trace and their
# templates. Then the linker keeps every method of everything in the program, and each process takes 8 MiB more.
set -euo pipefail
cd "$(dirname "$0")/../.."
exec go build -tags grpcnotrace "$@" ./cmd/apitoken-operator
