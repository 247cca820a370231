package apitoken_test

import (
	"cmp"
	"context"
	"slices"
	"strings"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/client/fake"
	"sigs.k8s.io/controller-runtime/pkg/client/interceptor"
	"sigs.k8s.io/controller-runtime/pkg/reconcile"

	tokensv1alpha1 "apitokens.dev/operator/api/v1alpha1"
	"apitokens.dev/operator/controllers/apitoken"
	"apitokens.dev/operator/controllers/index"
	"apitokens.dev/operator/hack/lib/kubetest"
	"apitokens.dev/operator/internal/projection"
	"apitokens.dev/operator/internal/upstream"
)

// behind is a reconciler whose cache has the site as it is now, for ever.
func (w *world) behind() *apitoken.Reconciler {
	w.Helper()
	var site tokensv1alpha1.AtlassianSite
	if err := env.Admin.Get(w.Context(), client.ObjectKey{Namespace: w.ns, Name: "main"}, &site); err != nil {
		w.Fatal(err)
	}
	behind := *w.reconciler
	behind.Client = interceptor.NewClient(env.Client(w.T, kubetest.Controller), interceptor.Funcs{
		Get: func(ctx context.Context, c client.WithWatch, key client.ObjectKey, o client.Object, opts ...client.GetOption) error {
			if o, ok := o.(*tokensv1alpha1.AtlassianSite); ok {
				site.DeepCopyInto(o)
				return nil
			}
			return c.Get(ctx, key, o, opts...)
		},
	})
	return &behind
}

// Until an epoch that lies ahead has come, nothing is issued, rotated, imported or delivered anew, also by a controller whose cache
// has not seen it. The condition says until when, and the next pass comes at that moment.
func TestNothingIsIssuedBeforeTheEpoch(t *testing.T) {
	w := newWorld(t)
	stages := map[string]*tokensv1alpha1.APIToken{"import": w.importing("once", tokensv1alpha1.ImportOnce), "follow": w.importing("follow", tokensv1alpha1.ImportFollow)}
	w.source("follow", firstImport)
	w.create(stages["import"], stages["follow"])
	w.reconcile(stages["follow"], tokensv1alpha1.ReasonImported)
	for _, stage := range []string{"issue", "reissue", "rotate"} {
		stages[stage] = w.atStageOf(stage, kubetest.Token(w.ns, stage))
	}
	behind := w.behind()
	epoch := metav1.NewTime(w.clock.Now().Add(time.Minute)).Rfc3339Copy()
	w.changeSite(func(s *tokensv1alpha1.AtlassianSite) { s.Spec.IssuedAfter = epoch })
	w.source("once", secondImport)
	w.source("follow", secondImport+"new")
	for stage, tok := range stages {
		before := w.secret(kubetest.SystemNamespace, string(tok.UID))
		result, err := w.pass(behind, tok)
		if left := epoch.Sub(w.clock.Now()); err != nil || result.RequeueAfter != left {
			t.Errorf("%s: comes back after %s, want %s (%v)", stage, result.RequeueAfter, left, err)
		}
		after := w.secret(kubetest.SystemNamespace, string(tok.UID))
		if (before == nil) != (after == nil) || before != nil && string(before.Data["record.json"]) != string(after.Data["record.json"]) {
			t.Errorf("%s: made a secret that the epoch kills", stage)
		}
		if message := tok.Status.Conditions[0].Message; tok.Status.Conditions[0].Reason != tokensv1alpha1.ReasonEpochPending ||
			!strings.Contains(message, epoch.UTC().Format(time.RFC3339)) {
			t.Errorf("%s: %+v", stage, tok.Status.Conditions[0])
		}
	}
	w.clock.SetTime(epoch.Time)
	for stage, tok := range stages {
		want := tokensv1alpha1.ReasonIssued
		if stage == "import" || stage == "follow" {
			want = tokensv1alpha1.ReasonImported
		}
		w.reconcile(tok, want)
	}
}

// A change of the personal access token of one user reconciles the APITokens of this user, without a look at all others of the site.
func TestCopyOfOneUserReconcilesTheirTokens(t *testing.T) {
	p := makeProps(t)
	build := fake.NewClientBuilder().WithScheme(p.scheme)
	for _, name := range []string{index.BySite, index.ByOwner, index.ByParent} {
		build.WithIndex(&tokensv1alpha1.APIToken{}, name, index.Of(index.Keys[name]))
	}
	for _, user := range []string{"Alice", "bob", "carol"} {
		build.WithObjects(kubetest.Token("jira", strings.ToLower(user), func(t *tokensv1alpha1.APIToken) { t.Spec.User = user }))
		build.WithObjects(kubetest.Token("jira", strings.ToLower(user)+"-elsewhere", func(t *tokensv1alpha1.APIToken) {
			t.Spec.User, t.Spec.SiteRef.Namespace = user, "other"
		}))
	}
	seen := 0
	r := &apitoken.Reconciler{CredentialsNamespace: kubetest.CredentialsNamespace, Client: interceptor.NewClient(build.Build(), interceptor.Funcs{
		List: func(ctx context.Context, c client.WithWatch, list client.ObjectList, opts ...client.ListOption) error {
			err := c.List(ctx, list, opts...)
			seen += len(list.(*tokensv1alpha1.APITokenList).Items)
			return err
		},
	})}
	c := upstream.Credential{Namespace: "jira", Site: "main", User: "alice", Origin: "http://jira.jira.svc:8080", Token: "pat"}
	data, err := c.Encode()
	if err != nil {
		t.Fatal(err)
	}
	requests := apitoken.TokensOfSecret(t.Context(), r, &corev1.Secret{
		ObjectMeta: metav1.ObjectMeta{Namespace: kubetest.CredentialsNamespace, Name: c.SecretName()},
		Type:       upstream.SecretType, Data: map[string][]byte{upstream.DataKey: data},
	})
	if len(requests) != 1 || requests[0].Name != "alice" || seen != 1 {
		t.Errorf("looked at %d APITokens, and reconciles %v", seen, requests)
	}
}

// A user is stopped in one write: their tokens say so, nothing is issued, rotated or delivered anew, also by a controller whose cache
// has not seen it. Removed from the list, everything goes on.
func TestBlockedUser(t *testing.T) {
	w := newWorld(t)
	stages := map[string]*tokensv1alpha1.APIToken{"issue": kubetest.Token(w.ns, "issue", func(t *tokensv1alpha1.APIToken) { t.Spec.User = "Alice" })}
	w.create(stages["issue"])
	for _, stage := range []string{"reissue", "rotate"} {
		stages[stage] = w.atStageOf(stage, kubetest.Token(w.ns, stage))
	}
	bobs := kubetest.Token(w.ns, "bobs", func(t *tokensv1alpha1.APIToken) { t.Spec.User = "bob" })
	w.holdUpstream("bob", "http://jira."+w.ns+".svc:8080")
	w.create(bobs)
	behind := w.behind()
	w.changeSite(func(s *tokensv1alpha1.AtlassianSite) {
		s.Spec.BlockedUsers = []tokensv1alpha1.BlockedUser{{Name: "ALICE"}}
	})
	for stage, tok := range stages {
		before := w.secret(kubetest.SystemNamespace, string(tok.UID))
		if _, err := w.pass(behind, tok); err != nil {
			t.Fatal(err)
		}
		after := w.secret(kubetest.SystemNamespace, string(tok.UID))
		if (before == nil) != (after == nil) || before != nil && string(before.Data["record.json"]) != string(after.Data["record.json"]) {
			t.Errorf("%s: a secret was made for a blocked user", stage)
		}
		ready := w.reconcile(tok, tokensv1alpha1.ReasonUserBlocked)
		if !strings.Contains(ready.Message, "'alice' (`blockedUsers`)") || len(tok.Status.Conditions) != 1 {
			t.Errorf("%s: %+v", stage, tok.Status.Conditions)
		}
	}
	w.settled(bobs)
	w.changeSite(func(s *tokensv1alpha1.AtlassianSite) { s.Spec.BlockedUsers = nil })
	for _, tok := range stages {
		w.settled(tok)
	}
}

// A token that a token made is closed with the namespace of that one, and says so.
func TestNamespaceOfTheParentIsClosed(t *testing.T) {
	w := newWorld(t)
	elsewhere := env.Namespace(t)
	child := kubetest.Token(w.ns, "child", func(t *tokensv1alpha1.APIToken) {
		t.Spec.Delivery, t.Spec.Credential = tokensv1alpha1.Delivery{}, tokensv1alpha1.Credential{Type: tokensv1alpha1.CredentialPortal}
		t.Spec.CreatedBy = tokensv1alpha1.CreatedBy{UID: "parent", TokenID: "asp_0000000000000000", Namespace: elsewhere}
	})
	if err := env.Client(t, kubetest.Portal).Create(t.Context(), child); err != nil {
		t.Fatal(err)
	}
	w.recorded(child)
	ready := w.reconcile(child, tokensv1alpha1.ReasonNamespaceNotAllowed)
	for _, want := range []string{"asp_0000000000000000", "'" + elsewhere + "'", "`allowedNamespaces`"} {
		if !strings.Contains(ready.Message, want) {
			t.Errorf("the message does not name %s: %s", want, ready.Message)
		}
	}
	w.changeSite(func(s *tokensv1alpha1.AtlassianSite) {
		s.Spec.AllowedNamespaces.From = tokensv1alpha1.NamespacesFromAll
	})
	w.reconcile(child, tokensv1alpha1.ReasonIssued)
}

// A change of a namespace, or of the epoch that a name has, reconciles the APITokens that it concerns. Other changes of a projection
// reconcile nothing.
func TestStopsReconcileTheirTokens(t *testing.T) {
	p := makeProps(t)
	build := fake.NewClientBuilder().WithScheme(p.scheme)
	for _, name := range []string{index.BySite, index.ByOwner, index.ByParent} {
		build.WithIndex(&tokensv1alpha1.APIToken{}, name, index.Of(index.Keys[name]))
	}
	build.WithObjects(
		kubetest.Token("jira", "child", func(t *tokensv1alpha1.APIToken) { t.Spec.CreatedBy.Namespace = "team" }),
		kubetest.Token("team", "parent", func(t *tokensv1alpha1.APIToken) { t.Spec.SiteRef.Namespace = "jira" }),
		kubetest.Token("team", "other", func(t *tokensv1alpha1.APIToken) { t.Spec.SiteRef.Name = "other" }))
	r := &apitoken.Reconciler{Namespace: kubetest.SystemNamespace, Client: build.Build()}
	names := func(requests []reconcile.Request) (names []string) {
		for _, r := range requests {
			names = append(names, r.Name)
		}
		slices.Sort(names)
		return names
	}
	namespace := &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: "team"}}
	if got := names(apitoken.TokensOfNamespace(t.Context(), r, namespace)); !slices.Equal(got, []string{"child", "parent"}) {
		t.Errorf("after a change of the namespace: %v", got)
	}
	projected := func(p projection.Projection) *corev1.Secret {
		data, err := p.Encode()
		if err != nil {
			t.Fatal(err)
		}
		return &corev1.Secret{
			ObjectMeta: metav1.ObjectMeta{Namespace: kubetest.SystemNamespace, Name: p.SecretName()},
			Type:       projection.SecretType, Data: map[string][]byte{projection.DataKey: data},
		}
	}
	plain := projection.Projection{Namespace: "jira", Site: "main"}
	licensed, epoch := plain, plain
	licensed.License, epoch.IssuedAfter = "x", time.Now().UTC()
	if got := names(apitoken.TokensOfSecret(t.Context(), r, projected(epoch))); !slices.Equal(got, []string{"child", "parent"}) {
		t.Errorf("after a change of the epoch: %v", got)
	}
	if apitoken.ConcernsTokens(projected(plain), projected(licensed)) || !apitoken.ConcernsTokens(projected(plain), projected(epoch)) {
		t.Error("a licence reconciles all APITokens, or an epoch does not")
	}
	copied := func(c upstream.Credential) *corev1.Secret {
		c.Namespace, c.Site, c.User, c.Token = "jira", "main", "alice", cmp.Or(c.Token, "pat")
		data, err := c.Encode()
		if err != nil {
			t.Fatal(err)
		}
		return &corev1.Secret{Type: upstream.SecretType, Data: map[string][]byte{upstream.DataKey: data}}
	}
	held := upstream.Credential{Origin: "http://jira.jira.svc:8080", UserKey: "JIRAUSER10001", Source: upstream.Enrolled, ID: 7, Stored: time.Now().UTC()}
	for name, tc := range map[string]struct {
		change func(*upstream.Credential)
		want   bool
	}{
		"renewed":          {func(c *upstream.Credential) { c.Token, c.Stored, c.ID = "pat2", time.Now().UTC(), 8 }, false},
		"refused":          {func(c *upstream.Credential) { c.Refused = time.Now().UTC() }, true},
		"of another user":  {func(c *upstream.Credential) { c.UserKey = "JIRAUSER10002" }, true},
		"of other servers": {func(c *upstream.Credential) { c.Origin = "http://other.jira.svc:8080" }, true},
	} {
		now := held
		if tc.change(&now); apitoken.ConcernsTokens(copied(held), copied(now)) != tc.want {
			t.Errorf("a personal access token that is %s: reconciles the user's APITokens: %t", name, !tc.want)
		}
	}
}
