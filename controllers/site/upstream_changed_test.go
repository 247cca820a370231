package site_test

import (
	"net/http"
	"slices"
	"strings"
	"testing"

	tokensv1alpha1 "apitokens.dev/operator/api/v1alpha1"
	"apitokens.dev/operator/hack/lib/fakeproduct"
)

func TestUpstreamChanged(t *testing.T) {
	for name, tc := range map[string]struct {
		then       func(w *world, s *tokensv1alpha1.AtlassianSite)
		wantHeld   string
		wantOrigin string // the Service
		wantMoved  []string
	}{
		"the personal access token is replaced": {
			func(w *world, _ *tokensv1alpha1.AtlassianSite) { w.give("alice", pat("alice", 2)) },
			pat("alice", 2), "moved", []string{"Bearer " + pat("alice", 2)},
		},
		"the entry is taken out and put in again": {
			func(w *world, s *tokensv1alpha1.AtlassianSite) {
				w.change(s, users())
				w.reconcile(s)
				w.change(s, users("alice"))
			},
			pat("alice", 1), "moved", []string{"Bearer " + pat("alice", 1)},
		},
		"the upstream goes back": {
			func(w *world, s *tokensv1alpha1.AtlassianSite) { w.change(s, upstreamURL(w.origin("jira")+"/jira")) },
			pat("alice", 1), "jira", nil,
		},
		"the upstream goes back, spelled differently": {
			func(w *world, s *tokensv1alpha1.AtlassianSite) {
				w.change(s, upstreamURL(strings.Replace(w.origin("jira"), "jira", "JIRA", 1)+"/jira"))
			},
			pat("alice", 1), "jira", nil,
		},
	} {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t)
			jira, moved := w.jira("jira", "alice"), w.jira("moved", "alice")
			w.give("alice", pat("alice", 1))
			s := w.site("main", users("alice"))
			w.reconcile(s)
			version := w.copySecret(s, "alice").ResourceVersion

			w.change(s, upstreamURL(w.origin("moved")+"/jira"))
			w.reconcile(s)
			w.expectServed(s)
			w.expectReady(s, tokensv1alpha1.ReasonUpstreamChanged)
			c := w.expectCredentials(s, tokensv1alpha1.ReasonUpstreamChanged)
			for _, want := range []string{"'alice'", "Secret 'alice-pat'", w.origin("jira"), w.origin("moved"), "a new one is put into"} {
				if !strings.Contains(c.Message, want) {
					t.Errorf("the message does not have %s: %q", want, c.Message)
				}
			}
			w.expectIdle(s)
			if w.copySecret(s, "alice").ResourceVersion != version || w.credential(s, "alice").Origin != w.origin("jira") {
				t.Error("the working copy was touched")
			}
			if len(moved.Requests()) == 0 || len(sent(moved)) != 0 {
				t.Errorf("the new upstream was asked %d times, and received %q", len(moved.Requests()), sent(moved))
			}

			jira.Reset()
			tc.then(w, s)
			w.reconcile(s)
			w.expectCredentials(s, tokensv1alpha1.ReasonVerified)
			if got := w.credential(s, "alice"); got.Token != tc.wantHeld || got.Origin != w.origin(tc.wantOrigin) {
				t.Errorf("in use is %+v", got)
			}
			if !slices.Equal(sent(moved), tc.wantMoved) || len(sent(jira)) != 0 {
				t.Errorf("the new upstream received %q, the old one %q", sent(moved), sent(jira))
			}
		})
	}
}

// A new context path at the same origin is the same product.
func TestUpstreamPathChanged(t *testing.T) {
	w := newWorld(t)
	jira := fakeproduct.NewJira(fakeproduct.Options{Users: []fakeproduct.User{{Name: "alice", PATs: []string{pat("alice", 1)}}}})
	w.serve("jira", http.StripPrefix("/jira", jira))
	w.give("alice", pat("alice", 1))
	s := w.site("main", users("alice"))
	w.reconcile(s)
	w.change(s, upstreamURL(w.origin("jira")))
	w.serve("jira", jira)
	w.reconcile(s)
	w.expectCredentials(s, tokensv1alpha1.ReasonVerified)
}
