//go:build e2e

package e2e_test

import (
	"os/exec"
	"path/filepath"
	"testing"

	"apitokens.dev/operator/hack/controlplane"
)

// browsing is what the programs that drive a browser are told.
func (s *site) browsing(t *testing.T) map[string]any {
	t.Helper()
	chromium, err := exec.LookPath("chromium")
	if err != nil {
		t.Fatal(err)
	}
	product, login := "Jira", "/login.jsp"
	if s == world.wiki {
		product, login = "Confluence", "/login.action"
	}
	return map[string]any{
		"url": s.url, "page": s.page(), "myself": s.myself, "product": product, "login": login, "chromium": chromium,
		"screenshots": filepath.Join(controlplane.RepositoryRoot(), "bin", "screenshots"),
	}
}

// The page in a real browser: what people do on it, how it looks, and what other pages cannot do to it.
func TestPage(t *testing.T) {
	if steps := node(t, "page.mjs", world.jira.browsing(t)); steps < 40 {
		t.Errorf("only %d steps", steps)
	}
}
