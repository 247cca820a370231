#!/usr/bin/env bash
# Runs every test once, and prints what happens as JSON, for gotestsum. `make lint` has vetted the code. `make e2e` sends requests
# through every gateway, so that suite is left out.
set -euo pipefail
cd "$(dirname "$0")/../.."

# Each of these tests is one goroutine that works through thousands of cases. The race detector has nothing to see in them, and
# takes ten times as long. They run without it.
alone='^(TestScenes|TestSteadyHour|TestStartReadsNothingLive|TestNothingGoesThroughAll|TestEachMixOfOtherCredentials|TestEntryKeepsItsParts|TestCoversIsWhatTheExpressionSays|TestPhrasesThatReadersStumbledOver|TestProseUsesPlainWords|TestNamesUseTheFieldsWords|TestEachAssumptionIsNoticed|TestReportIsFitToPublish|TestRestoreInRandomHistories|TestDamagedArchive|TestEveryCopyIsCheckedWithinAnHour|TestAgeAfterRestart)$'
of=(./controllers/apitoken ./internal/authn ./internal/pathprefix ./internal/layout ./internal/plugin/product ./internal/plugin/archive ./internal/plugin/backup ./controllers/site/credential)

# All other tests run with it. What takes minutes begins first: otherwise a core waits for it in the end. Tests wait as much as they
# compute, so there are more packages at a time than cores.
mapfile -t longest < <(go list ./controllers/site/... ./controllers/apitoken ./hack/suites/... ./webhook/portal/... ./config | grep -v hack/suites/gateways)
mapfile -t others < <(go list ./... | grep -v hack/suites/gateways)
packages=$(($(getconf _NPROCESSORS_ONLN) + 2))

printed=$(mktemp)
trap 'rm -f "$printed"' EXIT
go test -json -vet=off -short -run "$alone" "${of[@]}" >"$printed" &
status=0
go test -json -vet=off -race -p "$packages" -timeout 15m -skip "$alone" "${longest[@]}" "${others[@]}" || status=1
wait $! || status=1
cat "$printed"
exit $status
