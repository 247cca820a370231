package layout_test

import (
	"maps"
	"regexp"
	"slices"
	"strings"
	"testing"

	"sigs.k8s.io/yaml"
)

// writes are the rights to write that jobs may have: workflow, job, right. Everything else only reads.
var writes = map[string]bool{
	"codeql analyze security-events":      true,
	"scorecard scorecard security-events": true,
	"scorecard scorecard id-token":        true,
	"release image packages":              true,
	"release image id-token":              true,
	"release image attestations":          true,
	"release files contents":              true,
	"release files id-token":              true,
	"release files attestations":          true,
}

type workflow struct {
	Name        string            `json:"name"`
	On          map[string]any    `json:"on"`
	Permissions map[string]string `json:"permissions"`
	Jobs        map[string]struct {
		Permissions map[string]string `json:"permissions"`
		Timeout     int               `json:"timeout-minutes"`
		Steps       []struct {
			Uses string         `json:"uses"`
			With map[string]any `json:"with"`
			Run  string         `json:"run"`
		} `json:"steps"`
	} `json:"jobs"`
}

// workflows reads the workflows of the repository.
func workflows(t *testing.T) map[string]workflow {
	t.Helper()
	all := map[string]workflow{}
	for path, text := range files(t, ".yaml", ".yml") {
		if !strings.HasPrefix(path, ".github/workflows/") {
			continue
		}
		var w workflow
		// YAML 1.1 reads the key `on` as true.
		if err := yaml.Unmarshal([]byte(regexp.MustCompile(`(?m)^on:`).ReplaceAllString(text, `"on":`)), &w); err != nil {
			t.Fatalf("%s: %v", path, err)
		}
		all[path] = w
	}
	if len(all) < 5 {
		t.Fatalf("found %v", slices.Collect(maps.Keys(all)))
	}
	return all
}

// A tag of an action can be moved to other code, a digest cannot. The comment is for people and for dependabot.
func TestActionsArePinned(t *testing.T) {
	uses := regexp.MustCompile(`(?m)^\s*(?:- )?uses:\s*(.*)$`)
	pinned := regexp.MustCompile(`^([\w.-]+/[\w.-]+(?:/[\w.-]+)*)@([0-9a-f]{40}) # (v\d+\.\d+\.\d+)$`)
	digests := map[string]string{}
	for path, text := range files(t, ".yaml", ".yml") {
		if !strings.HasPrefix(path, ".github/") {
			continue
		}
		for _, found := range uses.FindAllStringSubmatch(text, -1) {
			m := pinned.FindStringSubmatch(found[1])
			if m == nil {
				t.Errorf("%s uses %q, which is not `owner/name@digest # v1.2.3`", path, found[1])
				continue
			}
			owner := strings.Join(strings.Split(m[1], "/")[:2], "/")
			if before := digests[owner]; before != "" && before != m[2]+m[3] {
				t.Errorf("%s uses another version of %s than others do", path, owner)
			}
			digests[owner] = m[2] + m[3]
		}
	}
	if len(digests) < 8 {
		t.Errorf("found only %v", digests)
	}
}

// Workflows may read the repository. A right to write belongs to a job, and is in the table above.
func TestWorkflowsHaveFewRights(t *testing.T) {
	unused := maps.Clone(writes)
	for path, w := range workflows(t) {
		if len(w.Permissions) != 1 || w.Permissions["contents"] != "read" {
			t.Errorf("%s: its jobs have the rights %v, unless they say otherwise", path, w.Permissions)
		}
		if _, dangerous := w.On["pull_request_target"]; dangerous || len(w.On) == 0 {
			t.Errorf("%s runs on %v: code of a stranger must not get secrets", path, w.On)
		}
		for name, job := range w.Jobs {
			if job.Timeout == 0 {
				t.Errorf("%s: the job %s may run for six hours", path, name)
			}
			for right, access := range job.Permissions {
				key := w.Name + " " + name + " " + right
				if access != "read" && !writes[key] {
					t.Errorf("%s: the job %s may %s %s", path, name, access, right)
				}
				delete(unused, key)
			}
		}
	}
	if len(unused) > 0 {
		t.Errorf("no job needs %v", unused)
	}
}

// Scripts get what comes from outside as variables: an expression in a script is code of the one who names a branch. The token of
// the repository does not stay in the work tree.
func TestWorkflowsAreCareful(t *testing.T) {
	steps := 0
	for path, w := range workflows(t) {
		for name, job := range w.Jobs {
			for _, step := range job.Steps {
				steps++
				if strings.Contains(step.Run, "${{") {
					t.Errorf("%s: a script of the job %s has an expression in it", path, name)
				}
				if strings.HasPrefix(step.Uses, "actions/checkout@") && step.With["persist-credentials"] != false {
					t.Errorf("%s: the job %s leaves the token in the work tree", path, name)
				}
			}
		}
	}
	if steps < 15 {
		t.Errorf("found only %d steps", steps)
	}
}
