# Prints how many tests passed and failed, from the counts of gotestsum. Before that it prints what .ci/run left out.
[ -z "${NOT_RUN:-}" ] || echo "not run: $NOT_RUN"
echo "tests: $((TESTS_TOTAL - TESTS_FAILED - TESTS_SKIPPED)) passed, $TESTS_FAILED failed, $TESTS_SKIPPED skipped"
