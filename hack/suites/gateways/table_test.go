package gateways_test

import (
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"

	"apitokens.dev/operator/hack/lib/controlplane"
)

// pageRows are the rows of the page's table whose cells follow from one request, by their first cell. Each returns the words for what
// happens.
var pageRows = map[string]func(t *testing.T, p program, w *world, send sender) string{
	"a wrong token": func(t *testing.T, _ program, w *world, send sender) string {
		return outcome(send(t, "GET", myself, "Authorization: "+basic("alice", w.wrong)))
	},
	"the webhook is not ready": func(_ *testing.T, p program, _ *world, _ sender) string { return strconv.Itoa(p.unready) }, // by TestNoVerdict
	"nothing listens there":    func(_ *testing.T, p program, _ *world, _ sender) string { return strconv.Itoa(p.away) },
	"12 KiB of Kerberos": func(t *testing.T, _ program, _ *world, send sender) string {
		return outcome(send(t, "GET", myself, "Authorization: Negotiate "+strings.Repeat("YIIJ", 3<<10)))
	},
	"OPTIONS without a credential": func(t *testing.T, _ program, _ *world, send sender) string {
		return outcome(send(t, "OPTIONS", myself))
	},
	"`OPTIONS *`": func(t *testing.T, _ program, _ *world, send sender) string {
		return outcome(send(t, "OPTIONS", "*"))
	},
	"`X-Forwarded-User`": func(t *testing.T, _ program, _ *world, send sender) string {
		for _, path := range []string{myself, "/secure/Dashboard.jspa"} {
			if seen := send(t, "GET", path, "X-Forwarded-User: root").seen; len(seen) != 1 || seen[0].Header.Get("X-Forwarded-User") != "" {
				return map[bool]string{true: "dropped in `/rest/`", false: "passes"}[path != myself]
			}
		}
		return "dropped"
	},
	"two lines `Authorization`": func(t *testing.T, _ program, w *world, send sender) string {
		return outcome(send(t, "GET", myself, "Authorization: "+basic("alice", w.token), "Authorization: Bearer "+pat))
	},
	"`Connection: X-Forwarded-User`": func(t *testing.T, _ program, w *world, send sender) string {
		seen := send(t, "GET", myself, "Authorization: "+basic("alice", w.token), "Connection: X-Forwarded-User").seen
		return map[bool]string{true: "ignored", false: "drops it"}[len(seen) == 1 && seen[0].Header.Get("X-Forwarded-User") == "alice"]
	},
	"`Connection: Authorization`": func(t *testing.T, _ program, w *world, send sender) string {
		seen := send(t, "GET", myself, "Authorization: "+basic("alice", w.token), "Connection: Authorization").seen
		return map[bool]string{true: "ignored", false: "anonymous"}[len(seen) == 1 && seen[0].User == "alice"]
	},
	"a target of another host": func(t *testing.T, _ program, w *world, send sender) string {
		got := send(t, "GET", "http://other.example"+myself, "Authorization: "+basic("alice", w.token))
		if len(got.seen) == 1 && got.seen[0].User == "alice" && got.seen[0].Path == myself {
			return "its path"
		}
		return outcome(got)
	},
	"CONNECT": func(t *testing.T, _ program, w *world, send sender) string {
		if got := send(t, "CONNECT", w.productAt); got.status == 405 && len(got.seen) == 0 {
			return "405"
		} else if got.status < 400 || len(got.seen) > 0 {
			return "passes"
		}
		return "refused"
	},
}

// outcome returns the words for an answer.
func outcome(got received) string {
	switch {
	case len(got.seen) > 0:
		return "passes"
	case got.status == 200:
		return "200 of its own"
	}
	return strconv.Itoa(got.status)
}

// The cells of the page's table are true. The others are in the tests that it names.
func TestTableOfThePage(t *testing.T) {
	text, err := os.ReadFile(filepath.Join(controlplane.RepositoryRoot(), "docs/how-to/gateways/README.md"))
	if err != nil {
		t.Fatal(err)
	}
	columns, cells := []string{"nginx", "haproxy", "caddy", "traefik", "ingress-nginx"}, map[string][]string{}
	for line := range strings.Lines(string(text)) {
		if row := strings.Split(strings.Trim(strings.TrimSpace(line), "|"), " | "); len(row) == len(columns)+2 {
			cells[strings.TrimSpace(row[0])] = row[1 : 1+len(columns)]
		}
	}
	for name := range pageRows {
		if cells[name] == nil {
			t.Fatalf("the table has no row %q", name)
		}
	}
	all := slices.DeleteFunc(programs(), func(p program) bool { return !slices.Contains(columns, p.name) })
	through(t, all, func(t *testing.T, p program) {
		w := newWorld(t)
		send := w.over(p.start(t, w))
		for name, try := range pageRows {
			p.judge(t, name, func(fail func(format string, a ...any)) {
				cell := cells[name][slices.Index(columns, p.name)]
				if got := try(t, p, w, send); got != cell {
					fail("the page says %q, and it is %q", cell, got)
				}
			})
		}
	})
}
