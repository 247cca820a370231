// Command bench measures the decision about a request as a webhook makes it, in one process. It prints a table and writes
// bin/bench.json.
//
// Rounds of all measurements alternate, and the median counts. Times are CPU times, so that other programs disturb them little.
package main

import (
	"encoding/json"
	"flag"
	"fmt"
	"io"
	"maps"
	"os"
	"runtime"
	"slices"
	"time"
)

const resultFile = "bin/bench.json"

// goal is what a figure must be: at most, or at least, this.
type goal struct {
	value float64
	least bool
}

// goals are those of the figures. docs/reference/performance.md explains them.
var goals = map[string]goal{
	"decide_ns": {value: 900}, "decide_allocs": {value: 1}, "decide_garbage_ns": {value: 300}, "decide_garbage_allocs": {value: 0},
	"decide_garbage_vs_valid": {value: 0.4}, "decide_1m_vs_1k": {value: 1.5}, "parallel_scaling": {value: 1.8, least: true},
	"index_bytes_per_token": {value: 400},
}

func (g goal) met(value float64) bool {
	if g.least {
		return value >= g.value
	}
	return value <= g.value
}

func (g goal) String() string {
	if g.least {
		return fmt.Sprintf("at least %g", g.value)
	}
	return fmt.Sprintf("at most %g", g.value)
}

func main() {
	quick := flag.Bool("quick", false, "measure fewer rounds, and leave out the index with 1,000,000 tokens")
	flag.Parse()
	if err := run(*quick, os.Stdout); err != nil {
		fmt.Fprintln(os.Stderr, "bench:", err)
		os.Exit(1)
	}
}

func run(quick bool, out io.Writer) error {
	settings := settings{rounds: 7, duration: 300 * time.Millisecond, large: 1_000_000}
	if quick {
		settings.rounds, settings.large = 3, 0
	}
	begun := time.Now()
	figures, err := measure(settings)
	if err != nil {
		return err
	}
	printTable(out, figures)
	fmt.Fprintf(out, "\n%s, %d cores, %d rounds, %s\n", runtime.Version(), runtime.NumCPU(), settings.rounds, time.Since(begun).Round(time.Second))
	return write(figures)
}

func printTable(out io.Writer, figures map[string]float64) {
	for _, name := range slices.Sorted(maps.Keys(figures)) {
		verdict := "met"
		if !goals[name].met(figures[name]) {
			verdict = "MISSED"
		}
		fmt.Fprintf(out, "%-26s %10.4g   %-16s %s\n", name, figures[name], goals[name], verdict)
	}
}

func write(figures map[string]float64) error {
	data, err := json.MarshalIndent(map[string]any{
		"figures":  figures,
		"versions": map[string]string{"go": runtime.Version()},
		"machine":  map[string]any{"cores": runtime.NumCPU(), "arch": runtime.GOARCH, "when": time.Now().UTC().Format(time.RFC3339)},
	}, "", "  ")
	if err != nil {
		return fmt.Errorf("encoding the figures: %w", err)
	}
	if err := os.MkdirAll("bin", 0o755); err != nil {
		return fmt.Errorf("writing the figures: %w", err)
	}
	if err := os.WriteFile(resultFile, append(data, '\n'), 0o644); err != nil {
		return fmt.Errorf("writing the figures: %w", err)
	}
	return nil
}
