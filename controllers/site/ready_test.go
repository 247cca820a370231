package site_test

import (
	"net/http"
	"strings"
	"testing"
	"time"

	apimeta "k8s.io/apimachinery/pkg/api/meta"

	tokensv1alpha1 "apitokens.dev/operator/api/v1alpha1"
	"apitokens.dev/operator/hack/lib/fakeproduct"
)

// A deployment waits for Ready, so it is False with the cause while the site does not work, and True again afterwards.
func TestReadyIsTheAggregate(t *testing.T) {
	for name, tc := range map[string]struct {
		spoil  func(w *world, s *tokensv1alpha1.AtlassianSite)
		mend   func(w *world, s *tokensv1alpha1.AtlassianSite, j *fakeproduct.Jira)
		reason string
	}{
		"the product is away": {
			func(w *world, _ *tokensv1alpha1.AtlassianSite) { delete(w.network.servers, w.origin("jira")) },
			func(w *world, _ *tokensv1alpha1.AtlassianSite, j *fakeproduct.Jira) { w.serve("jira", j) },
			tokensv1alpha1.ReasonNoAnswer,
		},
		"something else answers": {
			func(w *world, _ *tokensv1alpha1.AtlassianSite) { w.serve("jira", answer(http.StatusOK, "<html>")) },
			func(w *world, _ *tokensv1alpha1.AtlassianSite, j *fakeproduct.Jira) { w.serve("jira", j) },
			tokensv1alpha1.ReasonNoAnswer,
		},
		"a wrong product": {
			func(w *world, _ *tokensv1alpha1.AtlassianSite) {
				w.serve("jira", fakeproduct.NewConfluence(fakeproduct.Options{ContextPath: "/jira"}))
			},
			func(w *world, _ *tokensv1alpha1.AtlassianSite, j *fakeproduct.Jira) { w.serve("jira", j) },
			tokensv1alpha1.ReasonWrongProduct,
		},
		"an entry is rejected": {
			func(w *world, _ *tokensv1alpha1.AtlassianSite) { w.give("alice", canary+".wrong") },
			func(w *world, _ *tokensv1alpha1.AtlassianSite, _ *fakeproduct.Jira) { w.give("alice", pat("alice", 1)) },
			tokensv1alpha1.ReasonCredentialUnusable,
		},
		"the upstream moved": {
			func(w *world, s *tokensv1alpha1.AtlassianSite) {
				w.jira("moved", "alice")
				w.change(s, upstreamURL(w.origin("moved")+"/jira"))
			},
			func(w *world, s *tokensv1alpha1.AtlassianSite, _ *fakeproduct.Jira) {
				w.change(s, upstreamURL(w.origin("jira")+"/jira"))
			},
			tokensv1alpha1.ReasonUpstreamChanged,
		},
	} {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t)
			j := w.jira("jira", "alice")
			w.give("alice", pat("alice", 1))
			s := w.site("main", users("alice"))
			w.reconcile(s)
			w.expectReady(s, tokensv1alpha1.ReasonServing)
			tc.spoil(w, s)
			w.reconcile(s)
			w.expectReady(s, tc.reason)
			passing := tc.reason == tokensv1alpha1.ReasonNoAnswer || tc.reason == tokensv1alpha1.ReasonCredentialUnusable
			if apimeta.IsStatusConditionTrue(s.Status.Conditions, tokensv1alpha1.ConditionStalled) == passing {
				t.Errorf("Stalled: %t, with the conditions %+v", !passing, s.Status.Conditions)
			}
			w.expectAuthURLs(s) // the webhook answers all the same
			w.expectIdle(s)
			tc.mend(w, s, j)
			w.reconcile(s)
			w.expectReady(s, tokensv1alpha1.ReasonServing)
			if apimeta.FindStatusCondition(s.Status.Conditions, tokensv1alpha1.ConditionStalled) != nil {
				t.Errorf("Stalled is left in %+v", s.Status.Conditions)
			}
		})
	}
}

// A site without any personal access token does not say that they are verified.
func TestNoneConfigured(t *testing.T) {
	w, _, s := enrolledWorld(t, fakeproduct.Options{})
	w.later(time.Hour)
	w.remove(w.tokenOf("alice"))
	w.reconcile(s)
	w.expectCredentials(s, tokensv1alpha1.ReasonNoneConfigured)
	w.expectReady(s, tokensv1alpha1.ReasonServing)
	w.expectIdle(s)
	w.give("bob", canary+".wrong")
	w.change(s, users("bob"))
	w.reconcile(s)
	w.expectCredentials(s, tokensv1alpha1.ReasonCredentialUnusable)
}

// A site that hands users over in a header waits for no personal access token, and tells of none that is unusable. Back again, it does.
func TestHeaderNeedsNoCredentials(t *testing.T) {
	w, _, s := enrolledWorld(t, fakeproduct.Options{})
	handoff := func(to tokensv1alpha1.HandoffType) func(*tokensv1alpha1.AtlassianSite) {
		return func(s *tokensv1alpha1.AtlassianSite) { s.Spec.Handoff.Type = to }
	}
	w.give("bob", canary+".wrong")
	w.change(s, users("bob"))
	w.reconcile(s)
	w.expectReady(s, tokensv1alpha1.ReasonCredentialUnusable)
	w.change(s, handoff(tokensv1alpha1.HandoffIdentityHeader))
	w.reconcile(s)
	w.expectCredentials(s, tokensv1alpha1.ReasonNotNeeded)
	w.expectReady(s, tokensv1alpha1.ReasonServing)
	w.expectIdle(s)
	w.change(s, handoff(tokensv1alpha1.HandoffPersonalAccessToken))
	w.reconcile(s)
	w.expectReady(s, tokensv1alpha1.ReasonCredentialUnusable)
}

// A user who enrolled and left does not make the site look broken, but their personal access token is reported.
func TestLeaverDoesNotMakeASiteUnready(t *testing.T) {
	w, j, s := enrolledWorld(t, fakeproduct.Options{})
	j.Deactivate("alice")
	w.wait(s, 100*time.Minute)
	w.expectCredentials(s, tokensv1alpha1.ReasonCredentialUnusable)
	w.expectReady(s, tokensv1alpha1.ReasonServing)
}

// Each change of reachability is logged once, with its cause.
func TestReachabilityIsLoggedOncePerChange(t *testing.T) {
	w := newWorld(t)
	s := w.site("main")
	lines := func() (all []string) {
		for _, line := range w.logged {
			if strings.Contains(line, `"A condition changed" "type"="UpstreamReachable"`) {
				all = append(all, line)
			}
		}
		w.logged = nil
		return all
	}
	for _, step := range []struct {
		what   string
		change func()
		says   string
	}{
		{"answers", func() {}, "Jira answers at"},
		{"nobody listens", func() { delete(w.network.servers, w.origin("jira")) }, "the connection was refused"},
		{"drops connections", func() { w.serve("jira", http.HandlerFunc(dropped)) }, "Nothing answers at"},
		{"something else", func() { w.serve("jira", answer(http.StatusNotFound, "")) }, "is not Jira"},
		{"answers again", func() { w.jira("jira") }, "Jira answers at"},
	} {
		step.change()
		w.reconcile(s)
		if got := lines(); len(got) != 1 || !strings.Contains(got[0], step.says) {
			t.Errorf("%s: logged %q", step.what, got)
		}
		for range 2 {
			w.reconcile(s)
		}
		if got := lines(); len(got) != 0 {
			t.Errorf("%s: logged again: %q", step.what, got)
		}
	}
}
