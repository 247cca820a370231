// Command mutate changes packages in many small ways, one at a time, and runs their tests on each change. A change that
// no test notices is a survivor. docs/explanation/mutants.md lists the survivors that are allowed, with the reasons.
//
// The source files are never changed: each mutant is compiled from an overlay.
package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"io"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"sync"
	"time"

	"golang.org/x/sync/errgroup"
)

// fuzzers are files that are not compiled: their corpus differs from machine to machine, and linking their packages takes
// as long as all the rest.
const fuzzers = "fuzz_test.go"

// memory is the limit of a mutant's memory in KiB: some append without end.
const memory = 8 << 20

type outcome int

const (
	survived outcome = iota
	killed
	timedOut
	notCompiled
)

func (o outcome) String() string {
	return [...]string{"survived", "killed", "timed out", "does not compile"}[o]
}

func main() {
	list := flag.String("allow", "docs/explanation/mutants.md", "file that lists the survivors that are allowed, with reasons")
	workers := flag.Int("workers", 2, "mutants that are tried at once")
	only := flag.String("only", "", "try only the mutants whose name matches this regular expression")
	verbose := flag.Bool("v", false, "tell of each mutant what became of it, not only of survivors")
	flag.Parse()
	text, err := os.ReadFile(*list)
	if err == nil {
		err = run(context.Background(), os.Stdout, config{
			packages: flag.Args(), allowed: string(text), only: *only, workers: *workers, patience: 5 * time.Second, verbose: *verbose,
		})
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, "mutate:", err)
		os.Exit(1)
	}
}

type config struct {
	packages []string
	allowed  string
	only     string
	workers  int
	// patience is added to ten times the normal duration of the tests to get the time limit of a mutant.
	patience time.Duration
	verbose  bool
}

// pkg is a package to mutate.
type pkg struct {
	Dir, ImportPath string
	Module          struct{ Dir string }
	GoFiles         []string
	timeout         time.Duration
}

// experiment is a mutant, the package it belongs to, and the outcome.
type experiment struct {
	mutant

	pkg     *pkg
	src     []byte // as it was when the run began
	outcome outcome
}

func run(ctx context.Context, out io.Writer, c config) error {
	only, err := regexp.Compile(c.only)
	if err != nil {
		return err
	}
	allowed, err := parseAllowed(c.allowed)
	if err != nil {
		return err
	}
	maps.DeleteFunc(allowed, func(name string, _ bool) bool { return !only.MatchString(name) })
	temp, err := os.MkdirTemp("", "mutate-")
	if err != nil {
		return err
	}
	defer func() { _ = os.RemoveAll(temp) }()
	packages, err := load(ctx, c.packages)
	if err != nil {
		return err
	}
	var experiments []*experiment
	for _, p := range packages {
		if err := p.measure(ctx, temp, c.patience); err != nil {
			return err
		}
		found, err := p.mutants(only)
		if err != nil {
			return err
		}
		experiments = append(experiments, found...)
	}
	if err := try(ctx, out, temp, c, experiments); err != nil {
		return err
	}
	return report(out, experiments, allowed)
}

func load(ctx context.Context, patterns []string) ([]*pkg, error) {
	args := append([]string{"list", "-json=Dir,ImportPath,Module,GoFiles", "--"}, patterns...)
	b, err := exec.CommandContext(ctx, "go", args...).Output()
	if err != nil {
		return nil, fmt.Errorf("listing the packages: %w", err)
	}
	var packages []*pkg
	for d := json.NewDecoder(bytes.NewReader(b)); ; {
		p := &pkg{}
		if err := d.Decode(p); errors.Is(err, io.EOF) {
			return packages, nil
		} else if err != nil {
			return nil, fmt.Errorf("listing the packages: %w", err)
		}
		packages = append(packages, p)
	}
}

// measure runs the tests without a mutant, and takes the time. They must pass.
func (p *pkg) measure(ctx context.Context, dir string, patience time.Duration) error {
	binary, output, err := p.build(ctx, dir, map[string]string{})
	if err != nil {
		return fmt.Errorf("compiling the tests of %s: %w\n%s", p.ImportPath, err, output)
	}
	started := time.Now()
	p.timeout = time.Minute
	if got, output := p.test(ctx, binary); got != survived {
		return fmt.Errorf("the tests of %s have to pass without a mutant: %s\n%s", p.ImportPath, got, output)
	}
	p.timeout = 10*time.Since(started) + patience
	return nil
}

func (p *pkg) mutants(only *regexp.Regexp) ([]*experiment, error) {
	var experiments []*experiment
	for _, file := range p.GoFiles {
		path := filepath.Join(p.Dir, file)
		src, err := os.ReadFile(path)
		if err != nil {
			return nil, err
		}
		name, err := filepath.Rel(p.Module.Dir, path)
		if err != nil {
			return nil, err
		}
		found, err := mutate(name, src)
		if err != nil {
			return nil, err
		}
		for _, m := range found {
			if only.MatchString(m.name) {
				experiments = append(experiments, &experiment{mutant: m, pkg: p, src: src})
			}
		}
	}
	return experiments, nil
}

// try runs the tests on each mutant.
func try(ctx context.Context, out io.Writer, temp string, c config, experiments []*experiment) error {
	group, ctx := errgroup.WithContext(ctx)
	group.SetLimit(c.workers)
	var telling sync.Mutex
	done := 0
	for _, t := range experiments {
		group.Go(func() error {
			if err := t.try(ctx, temp); err != nil {
				return err
			}
			telling.Lock()
			defer telling.Unlock()
			if c.verbose || t.outcome == survived {
				fmt.Fprintf(out, "%s:%d: %s\n    %s\n", t.file, t.line, t.outcome, t.name)
			}
			if done++; done%50 == 0 {
				fmt.Fprintf(out, "%d of %d mutants tried\n", done, len(experiments))
			}
			return nil
		})
	}
	return group.Wait()
}

func (t *experiment) try(ctx context.Context, temp string) error {
	dir, err := os.MkdirTemp(temp, "")
	if err != nil {
		return err
	}
	defer func() { _ = os.RemoveAll(dir) }()
	changed := filepath.Join(dir, "mutant.go")
	if err := os.WriteFile(changed, []byte(string(t.src[:t.start])+t.text+string(t.src[t.end:])), 0o600); err != nil {
		return err
	}
	binary, _, err := t.pkg.build(ctx, dir, map[string]string{filepath.Join(t.pkg.Module.Dir, t.file): changed})
	if exit := (*exec.ExitError)(nil); errors.As(err, &exit) {
		t.outcome = notCompiled
		return ctx.Err()
	}
	if err != nil {
		return err
	}
	t.outcome, _ = t.pkg.test(ctx, binary)
	return ctx.Err()
}

// build compiles the tests of a package with some files replaced. It returns the binary and the compiler's output.
func (p *pkg) build(ctx context.Context, dir string, replace map[string]string) (binary string, output []byte, err error) {
	replace[filepath.Join(p.Dir, fuzzers)] = ""
	b, err := json.Marshal(map[string]any{"Replace": replace})
	if err != nil {
		return "", nil, err
	}
	overlay := filepath.Join(dir, "overlay.json")
	if err := os.WriteFile(overlay, b, 0o600); err != nil {
		return "", nil, err
	}
	binary = filepath.Join(dir, "mutant.test")
	build := exec.CommandContext(ctx, "go", "test", "-c", "-ldflags=-s -w", "-overlay="+overlay, "-o="+binary, p.ImportPath)
	build.Dir, build.Env = p.Dir, append(os.Environ(), "GOMAXPROCS=1")
	output, err = build.CombinedOutput()
	return binary, output, err
}

// test runs a binary that build compiled.
func (p *pkg) test(ctx context.Context, binary string) (outcome, []byte) {
	ctx, cancel := context.WithTimeout(ctx, p.timeout)
	defer cancel()
	limited := fmt.Sprintf(`ulimit -v %d && exec "$0" "$@"`, memory)
	test := exec.CommandContext(ctx, "sh", "-c", limited, binary, "-test.failfast")
	test.Dir, test.Env = p.Dir, append(os.Environ(), "GOMAXPROCS=1")
	output, err := test.CombinedOutput()
	switch {
	case ctx.Err() != nil:
		return timedOut, output
	case err != nil:
		return killed, output
	}
	return survived, output
}

// report prints the counts and the survivors. It returns an error unless exactly the allowed ones survived.
func report(out io.Writer, experiments []*experiment, allowed map[string]bool) error {
	var count [notCompiled + 1]int
	unexpected := 0
	for _, t := range experiments {
		count[t.outcome]++
		if t.outcome != survived {
			continue
		}
		note := "survived, as allowed"
		if !allowed[t.name] {
			note = "SURVIVED"
			unexpected++
		}
		delete(allowed, t.name)
		fmt.Fprintf(out, "%s:%d: %s\n    %s\n", t.file, t.line, note, t.name)
	}
	for _, name := range slices.Sorted(maps.Keys(allowed)) {
		fmt.Fprintf(out, "allowed, but no survivor any more\n    %s\n", name)
	}
	fmt.Fprintf(out, "%d mutants: %d killed, %d of them by the clock; %d survived; %d more do not compile\n", len(experiments)-count[notCompiled],
		count[killed]+count[timedOut], count[timedOut], count[survived], count[notCompiled])
	if unexpected+len(allowed) > 0 {
		return fmt.Errorf("%d survivors are not allowed, %d of those allowed are none", unexpected, len(allowed))
	}
	return nil
}

// parseAllowed reads the names of the allowed survivors from the fenced blocks of a Markdown file. Each block is followed
// by the reason why its survivors are harmless.
func parseAllowed(text string) (map[string]bool, error) {
	allowed := map[string]bool{}
	for i, part := range strings.Split(text, "\n```") {
		if i%2 == 0 {
			if reason, _, _ := strings.Cut(strings.TrimSpace(part), "\n"); i > 0 && (reason == "" || strings.HasPrefix(reason, "#")) {
				return nil, errors.New("a list of survivors has no reason behind it")
			}
			continue
		}
		language, names, _ := strings.Cut(part, "\n")
		if language != "survivors" {
			continue
		}
		for name := range strings.Lines(names) {
			allowed[strings.TrimSpace(name)] = true
		}
	}
	return allowed, nil
}
