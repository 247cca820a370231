#!/usr/bin/env bash
# Runs every test once, and prints what happens as JSON, for gotestsum. `make lint` has vetted the code. `make e2e` sends requests
# through every gateway, so that suite is left out.
set -euo pipefail
cd "$(dirname "$0")/../.."

# Tests, their API servers and the compiler spend a sixth of their time on collecting garbage, on a machine with memory to spare.
export GOGC=400

# Each of these tests is one goroutine that works through thousands of cases. The race detector has nothing to see in them, and
# takes ten times as long. They run without it.
alone='^(TestScenes|TestSteadyHour|TestStartReadsNothingLive|TestNothingGoesThroughAll|TestEachMixOfOtherCredentials|TestEntryKeepsItsParts|TestCoversIsWhatTheExpressionSays|TestPhrasesThatReadersStumbledOver|TestProseUsesPlainWords|TestNamesUseTheFieldsWords|TestEachAssumptionIsNoticed|TestReportIsFitToPublish|TestRestoreInRandomHistories|TestDamagedArchive|TestEveryCopyIsCheckedWithinAnHour|TestAgeAfterRestart|TestRequestsInAWorldOfAnyAge)$'
of=(./controllers/apitoken ./internal/authn ./internal/pathprefix ./internal/layout ./internal/plugin/product ./internal/plugin/archive ./internal/plugin/backup ./controllers/site/credential)

# The longest tests of the longest package run beside its others: one after the other they would take longer than -timeout.
apart='^(TestKilledBetweenOperations|TestTwoLeadersOfWhatIsEnrolled|TestEnrolledMeanwhile|TestRenewalOverAYear|TestRenamedUserEnrolsAgain|TestEpochOutlivesTheSite|TestOneSiteHangs)$'
from=(./controllers/site)

# All other tests run with the race detector. What takes minutes begins first: otherwise a core waits for it in the end. Tests wait as much as they
# compute, so there are more packages at a time than cores.
mapfile -t longest < <(go list ./controllers/site/... ./controllers/apitoken ./hack/suites/... ./webhook/portal/... ./config | grep -v hack/suites/gateways)
mapfile -t others < <(go list ./... | grep -v hack/suites/gateways)
packages=$(($(getconf _NPROCESSORS_ONLN) + 2))

printed=$(mktemp)
trap 'rm -f "$printed"' EXIT
beside() {
    local status=0
    go test -json -vet=off -short -run "$alone" "${of[@]}" || status=1
    go test -json -vet=off -race -timeout 15m -run "$apart" "${from[@]}" || status=1
    return $status
}
beside >"$printed" &
status=0
go test -json -vet=off -race -p "$packages" -timeout 15m -skip "$alone|$apart" "${longest[@]}" "${others[@]}" || status=1
wait $! || status=1
cat "$printed"
exit $status
