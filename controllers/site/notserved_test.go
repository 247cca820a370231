package site_test

import (
	"fmt"
	"strings"
	"testing"
	"time"

	apimeta "k8s.io/apimachinery/pkg/api/meta"
	"sigs.k8s.io/controller-runtime/pkg/client"

	tokensv1alpha1 "apitokens.dev/operator/api/v1alpha1"
	"apitokens.dev/operator/hack/lib/kubetest"
)

// expectNotServed expects that nobody can ask for a site, that nothing may be sent to its upstream, and that the status has only
// the reason, and that it needs a person.
func (w *world) expectNotServed(s *tokensv1alpha1.AtlassianSite, reason string) {
	w.Helper()
	w.expectReady(s, reason)
	if w.keysSecret(s) != nil {
		w.expectUnused(s)
	}
	if p := w.projected(s); p.UpstreamURL != "" || p.UpstreamCAs != "" {
		w.Errorf("projected is %+v", p)
	}
	stalled := apimeta.IsStatusConditionTrue(s.Status.Conditions, tokensv1alpha1.ConditionStalled)
	if len(s.Status.Conditions) != 2 || !stalled {
		w.Errorf("the status of a site that is not served is %+v", s.Status)
	}
}

func TestBaseURLConflict(t *testing.T) {
	for name, tc := range map[string]struct {
		older, newer string
		conflict     bool
	}{
		"the same":             {"https://%s.example/jira", "https://%s.example/jira", true},
		"case of the host":     {"https://%s.example/jira", "https://%s.EXAMPLE/jira", true},
		"default port":         {"https://%s.example:443/jira", "https://%s.example/jira", true},
		"default port of http": {"http://%s.example", "http://%s.example:80", true},
		"another host":         {"https://%s.example/jira", "https://www.%s.example/jira", false},
		"another path":         {"https://%s.example/jira", "https://%s.example/jira2", false},
		"case of the path":     {"https://%s.example/jira", "https://%s.example/Jira", false},
		"another port":         {"https://%s.example/jira", "https://%s.example:8443/jira", false},
		"another scheme":       {"https://%s.example/jira", "http://%s.example/jira", false},
	} {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t)
			// Sites of the same second are ordered by name.
			older := w.site("a-older", baseURL(fmt.Sprintf(tc.older, w.ns)))
			newer := w.site("b-newer", baseURL(fmt.Sprintf(tc.newer, w.ns)))
			w.reconcile(newer)
			w.reconcile(older)
			w.expectReady(older, tokensv1alpha1.ReasonServing)
			w.expectAuthURLs(older)
			if !tc.conflict {
				w.expectReady(newer, tokensv1alpha1.ReasonServing)
				return
			}
			w.expectNotServed(newer, tokensv1alpha1.ReasonBaseURLConflict)
			ready := w.expectReady(newer, tokensv1alpha1.ReasonBaseURLConflict)
			if !strings.Contains(ready.Message, "'a-older' in namespace '"+w.ns+"'") || !strings.Contains(ready.Message, "Delete one of them") {
				t.Errorf("message %q", ready.Message)
			}
			w.expectIdle(newer)
		})
	}
}

func TestBaseURLConflictEnds(t *testing.T) {
	for name, end := range map[string]func(w *world, older, newer *tokensv1alpha1.AtlassianSite){
		"the older goes": func(w *world, older, _ *tokensv1alpha1.AtlassianSite) { w.remove(older) },
		"the older changes": func(w *world, older, _ *tokensv1alpha1.AtlassianSite) {
			w.change(older, baseURL("https://old."+w.ns+".example"))
		},
		"the newer changes": func(w *world, _, newer *tokensv1alpha1.AtlassianSite) {
			w.change(newer, baseURL("https://new."+w.ns+".example"))
		},
	} {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t)
			w.jira("jira", "alice")
			w.giveTo("b-newer", "alice", pat("alice", 1))
			same := baseURL("https://" + w.ns + ".example")
			older, newer := w.site("a-older", same), w.site("b-newer", same, users("alice"))
			w.reconcile(older)
			w.reconcile(newer)
			w.expectNotServed(newer, tokensv1alpha1.ReasonBaseURLConflict)
			end(w, older, newer)
			w.reconcile(newer)
			w.expectReady(newer, tokensv1alpha1.ReasonServing)
			w.expectAuthURLs(newer)
			w.expectCredentials(newer, tokensv1alpha1.ReasonVerified)
		})
	}
}

// Age decides, not the name or the namespace.
func TestBaseURLConflictAcrossNamespaces(t *testing.T) {
	w, other := newWorld(t), newWorld(t)
	same := baseURL("https://" + w.ns + ".example")
	older := other.site("z", same)
	// Creation times are in seconds: the newer site has to come in a later second.
	kubetest.Eventually(t, func() error {
		if time.Since(older.CreationTimestamp.Time) < time.Second {
			return fmt.Errorf("it is the second of %s still", older.CreationTimestamp)
		}
		return nil
	})
	newer := w.site("a", same)
	w.reconcile(newer)
	other.reconcile(older)
	w.expectNotServed(newer, tokensv1alpha1.ReasonBaseURLConflict)
	other.expectReady(older, tokensv1alpha1.ReasonServing)
}

func TestUpstreamNotAllowed(t *testing.T) {
	for name, tc := range map[string]struct {
		url           string // with %s for the namespace
		allowExternal bool
		want          string
	}{
		"Service":                     {"http://jira.%s.svc:8080/jira", false, tokensv1alpha1.ReasonServing},
		"Service, whole name":         {"https://jira.%s.svc.cluster.local/jira", false, tokensv1alpha1.ReasonServing},
		"Service, in upper case":      {"http://JIRA.%s.SVC:8080", false, tokensv1alpha1.ReasonServing},
		"Service of another":          {"http://jira.x%s.svc:8080/jira", false, tokensv1alpha1.ReasonUpstreamNotAllowed},
		"Service of another, allowed": {"http://jira.x%s.svc:8080/jira", true, tokensv1alpha1.ReasonServing},
		"external":                    {"https://jira.%s.example", false, tokensv1alpha1.ReasonUpstreamNotAllowed},
		"external, allowed":           {"https://jira.%s.example", true, tokensv1alpha1.ReasonServing},
		"external, disguised":         {"http://jira.%s.svc.evil.example", false, tokensv1alpha1.ReasonUpstreamNotAllowed},
	} {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t)
			w.reconciler.AllowExternalUpstreams = tc.allowExternal
			s := w.site("main", upstreamURL(fmt.Sprintf(tc.url, w.ns)))
			w.reconcile(s)
			if tc.want == tokensv1alpha1.ReasonServing {
				w.expectServed(s)
				return
			}
			ready := w.expectReady(s, tc.want)
			w.expectNotServed(s, tc.want)
			for _, want := range []string{"http://jira." + w.ns + ".svc:8080", "--allow-external-upstreams"} {
				if !strings.Contains(ready.Message, want) {
					t.Errorf("the message does not name %s: %q", want, ready.Message)
				}
			}
			w.expectIdle(s)
		})
	}
}

// A site that must not be served any longer keeps its caller keys, unused, and nothing is sent to its upstream.
func TestNoLongerServed(t *testing.T) {
	for reason, tc := range map[string]struct {
		change, back func(w *world, s *tokensv1alpha1.AtlassianSite)
	}{
		tokensv1alpha1.ReasonUpstreamNotAllowed: {
			func(w *world, s *tokensv1alpha1.AtlassianSite) {
				w.change(s, upstreamURL("https://evil."+w.ns+".example/jira"))
			},
			func(w *world, s *tokensv1alpha1.AtlassianSite) { w.change(s, upstreamURL(w.origin("jira")+"/jira")) },
		},
		tokensv1alpha1.ReasonBaseURLConflict: {
			func(w *world, s *tokensv1alpha1.AtlassianSite) {
				w.change(s, baseURL(kubetest.Site(w.ns, "a-older").Spec.BaseURL))
			},
			func(w *world, s *tokensv1alpha1.AtlassianSite) { w.change(s, baseURL("https://"+w.ns+".example")) },
		},
	} {
		t.Run(reason, func(t *testing.T) {
			w := newWorld(t)
			evil := w.jira("evil", "alice")
			w.network.servers["https://evil."+w.ns+".example"] = w.network.servers[w.origin("evil")]
			w.jira("jira", "alice")
			w.give("alice", pat("alice", 1))
			w.site("a-older")
			s := w.site("main", users("alice"))
			w.reconcile(s)
			key := w.expectAuthURLs(s)
			if w.held(s, "alice") == "" {
				t.Fatal("nothing to lose")
			}

			tc.change(w, s)
			w.reconcile(s)
			w.expectNotServed(s, reason)
			if w.authURLs(s) == nil || w.held(s, "alice") != pat("alice", 1) {
				t.Error("what the site needs when it is served again was removed")
			}
			w.expectIdle(s)
			if requests := evil.Requests(); len(requests) != 0 {
				t.Errorf("an upstream that is not allowed was asked: %v", requests)
			}

			tc.back(w, s)
			w.reconcile(s)
			w.expectReady(s, tokensv1alpha1.ReasonServing)
			if w.expectAuthURLs(s) != key || w.held(s, "alice") != pat("alice", 1) {
				t.Error("served again, the gateway's key is another, or the personal access token is not held")
			}
		})
	}
}

// A site with a deletionTimestamp and a foreign finalizer is neither reconciled nor removed.
func TestSiteBeingDeleted(t *testing.T) {
	w := newWorld(t)
	s := w.site("main", func(s *tokensv1alpha1.AtlassianSite) { s.Finalizers = []string{"example.com/kept"} })
	w.reconcile(s)
	key := w.expectAuthURLs(s)
	w.remove(s.DeepCopy())
	w.remove(w.authURLs(s))
	result, err := w.pass(w.reconciler, s)
	if err != nil || result.RequeueAfter != 0 || w.authURLs(s) != nil {
		t.Errorf("the pass ended with %+v, %v", result, err)
	}
	if keys, err := w.storedKeys(s); err != nil || keys.Address("nginx").Key != key || !apimeta.IsStatusConditionTrue(s.Status.Conditions, "Ready") {
		t.Errorf("the site is not as it was: %v", err)
	}
	if err := env.Admin.Patch(t.Context(), s, client.RawPatch("application/merge-patch+json", []byte(`{"metadata":{"finalizers":null}}`))); err != nil {
		t.Fatal(err)
	}
	if _, err := w.pass(w.reconciler, s); err != nil {
		t.Fatal(err)
	}
	w.expectNothingKept(s)
}
