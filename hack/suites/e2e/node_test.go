//go:build e2e

package e2e_test

import (
	"bufio"
	"bytes"
	"crypto/rand"
	"encoding/json"
	"net/http"
	"os/exec"
	"path/filepath"
	"testing"

	"apitokens.dev/operator/hack/lib/controlplane"
	"apitokens.dev/operator/internal/token"
)

// told is the result of one step of a Node program.
type told struct {
	Step    string
	Notes   []string
	Seconds float64
	Failure string
}

// node runs one of the programs beside this file, with a subtest for each step. It returns the number of steps.
func node(t *testing.T, program string, input any) (steps int) {
	t.Helper()
	encoded, err := json.Marshal(input)
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.CommandContext(t.Context(), "node", program)
	cmd.Dir = filepath.Join(controlplane.RepositoryRoot(), "hack", "suites", "e2e")
	cmd.Stdin = bytes.NewReader(encoded)
	var stderr bytes.Buffer
	cmd.Stderr = &stderr
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	lines := bufio.NewScanner(out)
	lines.Buffer(nil, 1<<20)
	for lines.Scan() {
		var one told
		if err := json.Unmarshal(lines.Bytes(), &one); err != nil {
			t.Errorf("%s: %s", program, lines.Bytes())
			continue
		}
		steps++
		t.Run(one.Step, func(t *testing.T) { one.report(t) })
	}
	if err := cmd.Wait(); err != nil {
		t.Errorf("%s: %v: %s", program, err, stderr.String())
	}
	return steps
}

func (o told) report(t *testing.T) {
	for _, note := range o.Notes {
		t.Log(note)
	}
	t.Logf("took %.1f s", o.Seconds)
	if o.Failure != "" {
		t.Error(o.Failure)
	}
}

// jira.js, a widely used client, works with a token in place of the password. The fake Jira accepts no passwords.
func TestJiraClient(t *testing.T) {
	carol := world.jira.session("carol")
	id, text := carol.create(t, `{"label":"jira.js"}`)
	wrong, err := token.New(id, rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	world.jira.basic("carol", text).is(t, "carol")
	steps := node(t, "jira.mjs", map[string]string{"url": world.jira.url, "token": text, "wrong": wrong, "password": "carols password"})
	if steps < 6 {
		t.Errorf("%d steps", steps)
	}
	carol.tokens(t, http.StatusNoContent, "DELETE", "/"+id, "")
}
