package gateways_test

import (
	"fmt"
	"maps"
	"os"
	"slices"
	"strings"
	"sync"
	"testing"
)

// counts are the cases passed and failed, by the names of gateways.
var counts = struct {
	sync.Mutex
	passed, failed map[string]int
}{passed: map[string]int{}, failed: map[string]int{}}

// TestMain prints how many cases each gateway passed and failed, as the last line.
func TestMain(m *testing.M) {
	code := env.Main(m)
	var all []string
	for _, name := range slices.Sorted(maps.Keys(counts.passed)) {
		all = append(all, fmt.Sprintf("%s %d passed, %d failed", name, counts.passed[name], counts.failed[name]))
	}
	if len(all) > 0 {
		fmt.Println("cases: " + strings.Join(all, "; "))
	}
	os.Exit(code)
}

// through runs a test through each of the gateways.
func through(t *testing.T, all []program, test func(t *testing.T, p program)) {
	t.Helper()
	for _, p := range all {
		t.Run(p.name, func(t *testing.T) {
			t.Parallel()
			test(t, p)
		})
	}
}

// judge runs one case, and counts whether it passed.
func (p program) judge(t *testing.T, name string, try func(fail func(format string, a ...any))) {
	t.Helper()
	failed := 0
	try(func(format string, a ...any) {
		t.Helper()
		failed = 1
		t.Errorf("%s: %s", name, fmt.Sprintf(format, a...))
	})
	counts.Lock()
	defer counts.Unlock()
	counts.passed[p.name] += 1 - failed
	counts.failed[p.name] += failed
}
