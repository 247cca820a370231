package site_test

import (
	"context"
	"encoding/json"
	"errors"
	"slices"
	"strings"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/client/interceptor"

	tokensv1alpha1 "apitokens.dev/operator/api/v1alpha1"
	"apitokens.dev/operator/controllers/site"
	"apitokens.dev/operator/internal/authurl"
	"apitokens.dev/operator/internal/projection"
)

func TestStatusIsWrittenOnce(t *testing.T) {
	w := newWorld(t)
	w.jira("jira", "alice")
	w.give("alice", pat("alice", 1))
	s := w.site("main", users("alice"))
	created := s.ResourceVersion
	w.reconcile(s)
	var writers []string
	for _, f := range s.ManagedFields {
		if f.Subresource == "status" {
			writers = append(writers, f.Manager+" by "+string(f.Operation))
		}
	}
	if s.ResourceVersion == created || !slices.Equal(writers, []string{"apitoken-controller by Apply"}) {
		t.Errorf("the status was written by %q", writers)
	}
	if len(s.Status.Conditions) != 3 || s.Status.AuthURLSecretName == "" {
		t.Errorf("status %+v", s.Status)
	}
	w.expectIdle(s)
}

func TestConditionsSayWhenAndOfWhat(t *testing.T) {
	w := newWorld(t)
	w.jira("jira", "alice")
	s := w.site("main", users("alice"))
	start := w.clock.Now()
	step := func() metav1.Time {
		w.clock.SetTime(w.clock.Now().Add(time.Hour))
		w.reconcile(s)
		return metav1.NewTime(w.clock.Now()).Rfc3339Copy()
	}
	expect := func(what string, since map[string]metav1.Time) {
		t.Helper()
		for _, c := range s.Status.Conditions {
			if want := since[c.Type]; !c.LastTransitionTime.Equal(&want) || c.ObservedGeneration != s.Generation {
				t.Errorf("%s: %s is as of generation %d since %s, want %d since %s",
					what, c.Type, c.ObservedGeneration, c.LastTransitionTime, s.Generation, want)
			}
		}
	}

	first := step()
	since := map[string]metav1.Time{
		tokensv1alpha1.ConditionReady: first, tokensv1alpha1.ConditionUpstreamReachable: first, tokensv1alpha1.ConditionUpstreamCredentialsReady: first,
	}
	expect("new", since)
	w.give("alice", pat("bob", 1))
	step()
	w.expectCredentials(s, tokensv1alpha1.ReasonCredentialUnusable)
	expect("another message", since)
	w.give("alice", pat("alice", 1))
	mended := step()
	since[tokensv1alpha1.ConditionUpstreamCredentialsReady], since[tokensv1alpha1.ConditionReady] = mended, mended
	expect("another status", since)
	w.change(s, func(s *tokensv1alpha1.AtlassianSite) { s.Spec.TokenPaths = []string{"/rest/", "/plugins/"} })
	step()
	if s.Generation != 2 {
		t.Fatalf("generation %d", s.Generation)
	}
	expect("another generation", since)
	w.change(s, upstreamURL("https://jira."+w.ns+".example"))
	stopped := step()
	since[tokensv1alpha1.ConditionReady], since[tokensv1alpha1.ConditionStalled] = stopped, stopped
	expect("not served", since)
	w.change(s, upstreamURL(w.origin("jira")+"/jira"))
	again := step()
	for conditionType := range since {
		since[conditionType] = again
	}
	expect("served again", since)
	if len(s.Status.Conditions) != 3 || !first.After(start.Add(time.Minute)) {
		t.Errorf("conditions %+v", s.Status.Conditions)
	}
}

func TestEventsTellOnce(t *testing.T) {
	w := newWorld(t)
	jira := w.jira("jira", "alice", "bob")
	w.give("alice", pat("alice", 1))
	w.site("a-older")
	s := w.site("main", users("alice"))
	for _, step := range []struct {
		what   string
		change func()
		want   []string
	}{
		{"created", func() {}, []string{"Normal Serving"}},
		{"product down", func() { delete(w.network.servers, w.origin("jira")) }, []string{"Warning NoAnswer"}},
		{"something else there", func() { w.serve("jira", answer(404, "")) }, nil},
		{"product up", func() { w.serve("jira", jira) }, []string{"Normal Serving"}},
		{"another user's", func() { w.give("alice", pat("bob", 1)) }, []string{"Warning CredentialUnusable"}},
		{"one more unusable", func() { w.change(s, users("alice", "bob")) }, nil},
		{"mended", func() { w.give("alice", pat("alice", 1)); w.give("bob", pat("bob", 1)) }, []string{"Normal Serving"}},
		{"moved", func() { w.jira("moved", "alice", "bob"); w.change(s, upstreamURL(w.origin("moved")+"/jira")) }, []string{"Warning UpstreamChanged"}},
		{"one unusable besides", func() { w.remove(w.secret(w.ns, "bob-pat")) }, []string{"Warning CredentialUnusable"}},
		{"conflict", func() { w.change(s, baseURL("https://a-older."+w.ns+".example/jira")) }, []string{"Warning BaseURLConflict"}},
		{"not allowed either", func() { w.change(s, upstreamURL("https://jira."+w.ns+".example")) }, nil},
		{"not allowed", func() { w.change(s, baseURL("https://"+w.ns+".example")) }, []string{"Warning UpstreamNotAllowed"}},
		{"served again", func() { w.change(s, users(), upstreamURL(w.origin("moved")+"/jira")) }, []string{"Normal Serving"}},
	} {
		step.change()
		w.reconcile(s)
		events := w.emitted()
		if !slices.EqualFunc(events, step.want, strings.HasPrefix) {
			t.Errorf("%s: events %q, want %q", step.what, events, step.want)
		}
		w.expectIdle(s)
	}
}

// Every pass of these tests looks for secrets in status, Events and errors. This test proves that it would find them, and also
// looks at the whole site and at the metadata of all kept Secrets.
func TestNoSecretIsTold(t *testing.T) {
	w := newWorld(t)
	w.jira("jira", "alice", "bob")
	w.give("alice", pat("alice", 1))
	w.give("bob", pat("alice", 2))
	w.give("carol", canary+"\n")
	s := w.site("main", users("alice", "bob", "carol", "dan"))
	w.reconcile(s)
	w.expectCredentials(s, tokensv1alpha1.ReasonCredentialUnusable)
	if key := w.expectAuthURLs(s); !slices.Contains(w.keys, key) || !strings.Contains(w.held(s, "alice"), canary) {
		t.Fatal("the secrets to look for are not those that there are")
	}
	whole, err := json.Marshal(s)
	if err != nil {
		t.Fatal(err)
	}
	w.expectNoSecret("the site", string(whole))
	for _, kept := range []*corev1.Secret{w.keysSecret(s), w.authURLs(s), w.projectionSecret(s), w.copySecret(s, "alice")} {
		kept.Data = nil
		// Managed fields and annotations could repeat values.
		metadata, err := json.Marshal(kept)
		if err != nil {
			t.Fatal(err)
		}
		w.expectNoSecret("the metadata of "+kept.Name, string(metadata))
	}
	w.emitted()
}

// A failed read or write is an error without secrets. The status keeps the earlier conditions.
func TestAPIServerFails(t *testing.T) {
	broken := errors.New("the API server is broken")
	secretOf := func(t corev1.SecretType) func(client.Object) bool {
		return func(o client.Object) bool { s, ok := o.(*corev1.Secret); return ok && s.Type == t }
	}
	for name, funcs := range map[string]interceptor.Funcs{
		"sites cannot be listed": {List: func(ctx context.Context, c client.WithWatch, l client.ObjectList, o ...client.ListOption) error {
			if _, ok := l.(*tokensv1alpha1.AtlassianSiteList); ok {
				return broken
			}
			return c.List(ctx, l, o...)
		}},
		"working copies cannot be listed": {List: func(ctx context.Context, c client.WithWatch, l client.ObjectList, o ...client.ListOption) error {
			if _, ok := l.(*corev1.SecretList); ok {
				return broken
			}
			return c.List(ctx, l, o...)
		}},
		"caller keys cannot be read":         {Get: failingGet(broken, func(k client.ObjectKey) bool { return strings.HasPrefix(k.Name, "caller-keys.") })},
		"auth URLs cannot be read":           {Get: failingGet(broken, func(k client.ObjectKey) bool { return strings.HasSuffix(k.Name, "-auth-urls") })},
		"a given Secret cannot be read":      {Get: failingGet(broken, func(k client.ObjectKey) bool { return k.Name == "alice-pat" })},
		"working copies cannot be read":      {Get: failingGet(broken, func(k client.ObjectKey) bool { return strings.HasPrefix(k.Name, "upstream.") })},
		"the site cannot be read":            {Get: failingGet(broken, func(k client.ObjectKey) bool { return k.Name == "main" })},
		"a working copy cannot be written":   {Update: failingUpdate(broken, secretOf("apitokens.dev/upstream-credential"))},
		"the projection cannot be written":   {Update: failingUpdate(broken, secretOf(projection.SecretType))},
		"the auth URLs cannot be written":    {Update: failingUpdate(broken, secretOf(authurl.SecretType))},
		"a working copy cannot be withdrawn": {Delete: func(context.Context, client.WithWatch, client.Object, ...client.DeleteOption) error { return broken }},
	} {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t)
			w.jira("jira", "alice", "bob")
			w.give("alice", pat("alice", 1))
			w.give("bob", pat("bob", 1))
			s := w.site("main", users("alice", "bob"))
			w.reconcile(s)
			w.expectCredentials(s, tokensv1alpha1.ReasonVerified)
			// Something to write for each of them.
			w.give("alice", pat("alice", 2))
			w.setData(w.authURLs(s), nil)
			w.setData(w.projectionSecret(s), nil)
			w.change(s, users("alice"))
			w.emitted()

			failing := *w.reconciler
			c := interceptor.NewClient(w.api, funcs)
			failing.Client, failing.Live = c, c
			result, err := w.pass(&failing, s)
			if !errors.Is(err, broken) || !strings.Contains(err.Error(), "ing ") || result.RequeueAfter != 0 {
				t.Errorf("the pass ended with %+v, %v", result, err)
			}
			w.expectReady(s, tokensv1alpha1.ReasonServing)
			w.expectCredentials(s, tokensv1alpha1.ReasonVerified)
			if events := w.emitted(); len(events) != 0 {
				t.Errorf("events %q", events)
			}
			w.reconcile(s)
			w.expectAuthURLs(s)
			w.expectProjection(s, "", "")
			w.expectHeld(s, map[string]string{"alice": pat("alice", 2), "bob": ""})
		})
	}
}

func failingGet(err error, when func(client.ObjectKey) bool) func(context.Context, client.WithWatch, client.ObjectKey, client.Object, ...client.GetOption) error {
	return func(ctx context.Context, c client.WithWatch, k client.ObjectKey, o client.Object, opts ...client.GetOption) error {
		if when(k) {
			return err
		}
		return c.Get(ctx, k, o, opts...)
	}
}

func failingUpdate(err error, when func(client.Object) bool) func(context.Context, client.WithWatch, client.Object, ...client.UpdateOption) error {
	return func(ctx context.Context, c client.WithWatch, o client.Object, opts ...client.UpdateOption) error {
		if when(o) {
			return err
		}
		return c.Update(ctx, o, opts...)
	}
}

// A missing namespace of the working copies is a refused write, and not a race with another writer.
func TestCredentialsNamespaceMissing(t *testing.T) {
	w := newWorld(t)
	w.jira("jira", "alice")
	w.give("alice", pat("alice", 1))
	s := w.site("main", users("alice"))
	lost := *w.reconciler
	lost.CredentialsNamespace = w.ns + "-missing"
	lost.Client = interceptor.NewClient(w.api, interceptor.Funcs{
		// The cache lists nothing for a missing namespace, without an error.
		List: func(ctx context.Context, c client.WithWatch, l client.ObjectList, o ...client.ListOption) error {
			if options := (&client.ListOptions{}).ApplyOptions(o); options.Namespace == lost.CredentialsNamespace {
				return nil
			}
			return c.List(ctx, l, o...)
		},
	})
	if _, err := w.pass(&lost, s); err != nil {
		t.Fatal(err)
	}
	ready := w.expectReady(s, tokensv1alpha1.ReasonWriteRefused)
	if want := `namespaces "` + lost.CredentialsNamespace + `" not found`; !strings.Contains(ready.Message, want) {
		t.Errorf("message %q, want %s", ready.Message, want)
	}
}

var _ site.Product = (*network)(nil)
