package config_test

import (
	"math"
	"os"
	"path/filepath"
	"regexp"
	"strconv"
	"testing"

	appsv1 "k8s.io/api/apps/v1"
)

// sizes are the rows of the table of sizes: the process, the memory with 1,000 tokens and the most with 100,000 in MiB, and the memory
// that is requested and allowed.
var sizes = regexp.MustCompile(`(?m)^\| (\w+) \| (\d+) \| \d+ \| (\d+) \| [\d.]+ m?, (\d+) MiB \| \d+ CPU, (\d+) MiB \|$`)

// The memory of each Deployment follows from what was measured, as docs/how-to/install.md says: half as much again, in steps of 16 MiB.
func TestSizesAreMeasured(t *testing.T) {
	text, err := os.ReadFile(filepath.Join("..", "docs", "how-to", "install.md"))
	if err != nil {
		t.Fatal(err)
	}
	type memory struct{ request, limit int64 }
	want := map[string]memory{}
	for _, row := range sizes.FindAllStringSubmatch(string(text), -1) {
		number := func(i int) int64 {
			n, err := strconv.ParseInt(row[i], 10, 64)
			if err != nil {
				t.Fatal(err)
			}
			return n
		}
		margin := func(measured int64) int64 { return 16 * int64(math.Ceil(float64(measured)*1.5/16)) }
		if number(4) != margin(number(2)) || number(5) != margin(number(3)) {
			t.Errorf("%s: %d and %d MiB, want %d and %d", row[1], number(4), number(5), margin(number(2)), margin(number(3)))
		}
		want["apitoken-"+row[1]] = memory{number(4) << 20, number(5) << 20}
	}
	found := map[string]bool{}
	for _, name := range installations {
		_, all := build(t, name)
		for _, d := range objectsOf[appsv1.Deployment](t, all, "Deployment") {
			r := d.Spec.Template.Spec.Containers[0].Resources
			if got := (memory{r.Requests.Memory().Value(), r.Limits.Memory().Value()}); got != want[d.Name] {
				t.Errorf("%s: %s has %v, want %v", name, d.Name, got, want[d.Name])
			}
			found[d.Name] = true
		}
	}
	if len(found) != len(want) || len(found) != 4 {
		t.Errorf("there are Deployments %v, and sizes of %v", found, want)
	}
}
