package main

import (
	"bufio"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

// The linker leaves out methods that nobody calls. Something that calls methods by names it finds at run time, as templates do, would
// have it keep all of them, and each process would take 8 MiB more.
func TestUnusedMethodsAreLeftOut(t *testing.T) {
	build := exec.CommandContext(t.Context(), "../../hack/release/build.sh", "-ldflags=-dumpdep", "-o", filepath.Join(t.TempDir(), "operator"))
	reached, err := build.StderrPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := build.Start(); err != nil {
		t.Fatal(err)
	}
	lines, read := bufio.NewScanner(reached), 0
	lines.Buffer(nil, 1<<20)
	for lines.Scan() {
		if from, to, _ := strings.Cut(lines.Text(), " -> "); strings.Contains(to, "<ReflectMethod>") {
			t.Errorf("%s calls methods by their names, because of %s", to, from)
		}
		read++
	}
	if err := build.Wait(); err != nil || lines.Err() != nil || read < 10_000 {
		t.Fatalf("build.sh: %v, %v, %d lines", err, lines.Err(), read)
	}
}
