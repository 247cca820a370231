// Command bench measures how fast, how small and how quiet the operator is, next to programs that do the least that is possible. It
// prints a table and writes bin/bench.json.
//
// Rounds of the measurements of a group alternate, and the median counts. Only parallel_scaling has more rounds, after the others.
package main

import (
	"flag"
	"fmt"
	"io"
	"maps"
	"os"
	"slices"
	"strings"
	"time"

	"github.com/go-logr/logr"
	ctrl "sigs.k8s.io/controller-runtime"
)

const resultFile = "bin/bench.json"

// groups are measured in this order.
var groups = []group{decision, growth, web, through, changes, scale, passes}

// roles are what this program does as another process: its first argument names one, and the rest is for the role.
var roles = map[string]func(arguments []string) error{"floor": serveFloor, "webhook": serveWebhook, "reflectors": runReflectors}

func main() {
	if err := start(os.Args[1:]); err != nil {
		fmt.Fprintln(os.Stderr, "bench:", err)
		os.Exit(1)
	}
}

func start(arguments []string) error {
	ctrl.SetLogger(logr.Discard()) // the libraries say nothing that belongs to the table
	if len(arguments) > 0 && roles[arguments[0]] != nil {
		return roles[arguments[0]](arguments[1:])
	}
	flags := flag.NewFlagSet("bench", flag.ExitOnError)
	stored := flags.Int("stored", 100_000, "number of tokens in the API server of the group scale; its figures are called after 100,000")
	age := flags.Duration("age", 0, "how old the world of the group scale is; without it ten minutes and 26 hours, and the worse counts")
	quick := flags.Bool("quick", false, "measure fewer rounds, and only what needs no other process")
	only := flags.String("only", "", "names of the groups to measure, separated by commas; all if empty")
	pprof := flags.String("pprof", "", "file for what pprof shows of the CPU time of a webhook")
	_ = flags.Parse(arguments) // it exits
	chosen, err := choose(*quick, *only)
	if err != nil {
		return err
	}
	b := newBench(*quick, *pprof)
	b.stored = *stored
	if *age != 0 {
		b.ages = []time.Duration{*age}
	}
	return run(b, chosen, os.Stdout)
}

// choose returns the groups to measure.
func choose(quick bool, only string) ([]group, error) {
	names := strings.FieldsFunc(only, func(c rune) bool { return c == ',' })
	var chosen []group
	for _, g := range groups {
		if (!quick || g.quick) && (only == "" || slices.Contains(names, g.name)) {
			chosen = append(chosen, g)
		}
	}
	if len(chosen) == 0 {
		return nil, fmt.Errorf("there is no group %q to measure", only)
	}
	return chosen, nil
}

func run(b *bench, chosen []group, out io.Writer) error {
	begun := time.Now()
	for _, g := range chosen {
		values, err := g.measured(b)
		if err != nil {
			return err
		}
		g.print(out, values)
		maps.Copy(b.Figures, values)
	}
	b.Machine["seconds"] = int(time.Since(begun).Seconds())
	fmt.Fprintf(out, "\n%s, %d cores, %s, %d rounds, %s\n",
		b.Machine["cpu"], b.Machine["cores"], b.Versions["go"], b.rounds, time.Since(begun).Round(time.Second))
	return b.write(resultFile)
}
