package main

import (
	"encoding/json"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"time"
)

// A figure is one number that is measured. docs/reference/performance.md explains each.
type figure struct {
	name string
	goal goal
	what string
}

// goal is what a figure must be: at most, or at least, this. The zero goal is none.
type goal struct {
	bound string
	value float64
}

const most, least = "at most", "at least"

func atMost(value float64) goal { return goal{most, value} }

func atLeast(value float64) goal { return goal{least, value} }

// verdict is empty without a goal.
func (g goal) verdict(value float64) string {
	switch {
	case g.bound == "":
		return ""
	case g.bound == most && value <= g.value, g.bound == least && value >= g.value:
		return "met"
	}
	return "MISSED"
}

func (g goal) String() string {
	if g.bound == "" {
		return ""
	}
	return fmt.Sprintf("%s %g", g.bound, g.value)
}

// A group is figures that are measured together.
type group struct {
	name    string
	figures []figure
	// quick means that `make bench-quick` measures it too: it takes seconds, and needs no other process.
	quick bool
	// measure returns the value of each figure by name.
	measure func(*bench) (map[string]float64, error)
}

// measured measures the group, and fails if a figure has no value, or a value no figure.
func (g group) measured(b *bench) (map[string]float64, error) {
	values, err := g.measure(b)
	if err != nil {
		return nil, fmt.Errorf("measuring %s: %w", g.name, err)
	}
	for _, f := range g.figures {
		if _, ok := values[f.name]; !ok {
			return nil, fmt.Errorf("measuring %s: %s has no value", g.name, f.name)
		}
	}
	for name := range values {
		if !slices.ContainsFunc(g.figures, func(f figure) bool { return f.name == name }) {
			return nil, fmt.Errorf("measuring %s: %s is no figure of it", g.name, name)
		}
	}
	return values, nil
}

func (g group) print(out io.Writer, values map[string]float64) {
	for _, f := range g.figures {
		value := values[f.name]
		fmt.Fprintf(out, "%-28s %10.4g   %-14s %-7s %s\n", f.name, value, f.goal, f.goal.verdict(value), f.what)
	}
}

// bench is one run: how long to measure, and what came out.
type bench struct {
	quick    bool
	rounds   int
	duration time.Duration
	// pprof is a file for what pprof shows of the CPU time of a webhook, or empty.
	pprof string
	// out receives details of what is measured.
	out io.Writer

	// stored is the number of tokens in the API server of the group scale.
	stored int

	// ages are how old the world is in which the controller is measured.
	ages []time.Duration

	// Figures, Steady, Versions and Machine are written to the result. Steady has the requests a second while nothing changes, by the age
	// of the world and by what they are.
	Figures  map[string]float64            `json:"figures"`
	Steady   map[string]map[string]float64 `json:"steady,omitempty"`
	Versions map[string]string             `json:"versions"`
	Machine  map[string]any                `json:"machine"`
}

func newBench(quick bool, pprof string) *bench {
	b := &bench{
		quick: quick, pprof: pprof, out: os.Stdout, rounds: 7, duration: 300 * time.Millisecond, Figures: map[string]float64{},
		Steady: map[string]map[string]float64{}, ages: []time.Duration{10 * time.Minute, 26 * time.Hour},
		Versions: map[string]string{"go": runtime.Version()},
		Machine: map[string]any{
			"cpu": processor(), "cores": runtime.NumCPU(), "arch": runtime.GOARCH, "when": time.Now().UTC().Format(time.RFC3339),
		},
	}
	if quick {
		b.rounds = 3
	}
	return b
}

// processor returns the name of the processor, or "" if the machine does not say it.
func processor() string {
	text, _ := os.ReadFile("/proc/cpuinfo")
	for line := range strings.Lines(string(text)) {
		if name, value, ok := strings.Cut(line, ":"); ok && strings.TrimSpace(name) == "model name" {
			return strings.TrimSpace(value)
		}
	}
	return ""
}

func (b *bench) write(file string) error {
	data, err := json.MarshalIndent(b, "", "  ")
	if err != nil {
		return fmt.Errorf("encoding the figures: %w", err)
	}
	if err := os.MkdirAll(filepath.Dir(file), 0o755); err != nil {
		return fmt.Errorf("writing the figures: %w", err)
	}
	if err := os.WriteFile(file, append(data, '\n'), 0o644); err != nil {
		return fmt.Errorf("writing the figures: %w", err)
	}
	return nil
}

// interleaved measures each in turn, for so many rounds, and returns the medians.
func interleaved(rounds int, tried []func() float64) []float64 {
	results := make([][]float64, len(tried))
	for range rounds {
		for i, try := range tried {
			results[i] = append(results[i], try())
		}
	}
	medians := make([]float64, len(tried))
	for i, r := range results {
		medians[i] = median(r)
	}
	return medians
}

func median(values []float64) float64 {
	sorted := slices.Sorted(slices.Values(values))
	return sorted[len(sorted)/2]
}
