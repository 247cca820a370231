//go:build e2e

package e2e_test

import (
	"context"
	"maps"
	"net/http"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"k8s.io/apimachinery/pkg/util/wait"

	"apitokens.dev/operator/hack/lib/controlplane"
)

// browsing is the input of the programs that drive a browser.
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

// The page in a real browser: its functions, its look, and its protection against other pages.
func TestPage(t *testing.T) {
	if steps := node(t, "page.mjs", world.jira.browsing(t)); steps < 41 {
		t.Errorf("only %d steps", steps)
	}
}

// inState checks the page of a user in one state, and does there what the user can do.
func (s *site) inState(t *testing.T, state, user string, more map[string]any) {
	t.Helper()
	told := s.browsing(t)
	told["state"], told["user"], told["password"] = state, user, user+"s password"
	maps.Copy(told, more)
	if steps := node(t, "states.mjs", told); steps != 1 {
		t.Errorf("%d steps", steps)
	}
}

func TestPageOfConfluence(t *testing.T) {
	_, enrolled := world.wiki.held(t, "carol")
	world.wiki.inState(t, "of the other product", "carol", map[string]any{"consent": !enrolled})
}

// Without a licence tokens can be managed, but do not authenticate.
func TestPageWithoutLicense(t *testing.T) {
	s := world.jira
	bob := s.session("bob")
	id, text := bob.create(t, `{"label":"licensed"}`)
	s.basic("bob", text).is(t, "bob")
	s.withoutLicense(t, func() {
		refused := s.basic("bob", text).isRefused(t, http.StatusForbidden)
		if reason := refused.header.Get("X-Api-Token-Reason"); !strings.HasPrefix(reason, "InvalidLicense") {
			t.Errorf("refused for %q", reason)
		}
		s.inState(t, "unlicensed", "bob", nil)
	})
	s.basic("bob", text).is(t, "bob")
	bob.tokens(t, http.StatusNoContent, "DELETE", "/"+id, "")
}

// withoutLicense does something while the site has no licence, and the portal knows.
func (s *site) withoutLicense(t *testing.T, do func()) {
	t.Helper()
	licence := func(key string) {
		s.kubectl(t, "patch", "atlassiansite", s.name, "--type=merge", "--patch", `{"spec":{"licenseSecretRef":{"key":"`+key+`"}}}`)
	}
	licence("nothing")
	defer licence("license")
	dave := s.session("dave")
	await(t, "the portal to know that there is no licence", func() (bool, string) {
		reason := dave.tokens(t, http.StatusOK, "GET", "/", "").header.Get("X-Api-Token-Reason")
		return reason == "InvalidLicenseMissing", reason
	})
	do()
}

// Tokens that made others, replaced secrets that still work, and what is asked before the first one is revoked.
func TestPageOfTokensThatMadeTokens(t *testing.T) {
	s := world.jira
	bob := s.session("bob")
	_, parent := bob.create(t, `{"label":"parent"}`)
	id, child := s.basic("bob", parent).create(t, `{"label":"child"}`)
	_, grandchild := s.basic("bob", child).create(t, `{"label":"grandchild"}`)
	for range 2 {
		bob.tokens(t, http.StatusOK, "POST", "/"+id+"/rotate", `{"overlapHours":24}`)
	}
	s.inState(t, "tokens that made tokens", "bob", map[string]any{"tokens": []string{parent, child, grandchild}})
}

// patch changes the site, and returns a function that changes it back.
func (s *site) patch(t *testing.T, spec, back string) (restore func()) {
	t.Helper()
	patch := func(spec string) {
		s.kubectl(t, "patch", "atlassiansite", s.name, "--type=merge", "--patch", `{"spec":`+spec+`}`)
	}
	patch(spec)
	return func() { patch(back) }
}

// A blocked user can only revoke.
func TestPageOfABlockedUser(t *testing.T) {
	s := world.jira
	_, text := s.session("bob").create(t, `{"label":"of a blocked user"}`)
	defer s.patch(t, `{"blockedUsers":[{"name":"bob"}]}`, `{"blockedUsers":null}`)()
	s.inState(t, "blocked", "bob", map[string]any{"token": text})
}

// While the epoch lies ahead, nothing is created. Afterwards tokens can be created again.
func TestPageBeforeAnEpoch(t *testing.T) {
	s := world.wiki
	bob := s.session("bob")
	bob.create(t, `{"label":"before the epoch"}`)
	s.kubectl(t, "patch", "atlassiansite", s.name, "--type=merge", "--patch",
		`{"spec":{"issuedAfter":"`+time.Now().Add(40*time.Second).UTC().Format(time.RFC3339)+`"}}`)
	s.inState(t, "an epoch ahead", "bob", nil)
	var last answer
	err := wait.PollUntilContextTimeout(t.Context(), 200*time.Millisecond, time.Minute, true, func(context.Context) (bool, error) {
		last = bob.curl(t, "POST", tokensPath+"/", `{"label":"after the epoch"}`)
		return last.status == http.StatusCreated, nil
	})
	if err != nil {
		t.Errorf("%v: %d %s", err, last.status, last.body)
	}
}
