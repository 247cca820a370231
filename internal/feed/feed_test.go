package feed_test

import (
	"context"
	"encoding/base64"
	"errors"
	"fmt"
	"os"
	"testing"
	"time"

	"github.com/go-logr/logr/testr"
	"github.com/prometheus/client_golang/prometheus"
	coordinationv1 "k8s.io/api/coordination/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	tokensv1alpha1 "apitokens.dev/operator/api/v1alpha1"
	"apitokens.dev/operator/hack/lib/kubetest"
	"apitokens.dev/operator/internal/authn"
	"apitokens.dev/operator/internal/authurl"
	"apitokens.dev/operator/internal/feed"
	"apitokens.dev/operator/internal/license"
	"apitokens.dev/operator/internal/probe"
	"apitokens.dev/operator/internal/projection"
	"apitokens.dev/operator/internal/record"
	"apitokens.dev/operator/internal/upstream"
)

var env kubetest.Env

func TestMain(m *testing.M) { os.Exit(env.Main(m)) }

// fixture is a token that authenticates, in its own namespace, and an index with a feed.
type fixture struct {
	*testing.T
	*kubetest.ReadySite

	token    *kubetest.IssuedToken
	index    *authn.Index
	registry *prometheus.Registry
}

func newFixture(t *testing.T) *fixture {
	f := &fixture{T: t, ReadySite: env.ReadySite(t)}
	f.token = f.Issue(t, "ci", func(t *tokensv1alpha1.APIToken) { t.Spec.User = "Alice" })
	return f
}

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func (f *fixture) put(c client.Client, objects ...client.Object) {
	f.Helper()
	for _, o := range objects {
		o.SetResourceVersion("")
		must(f.T, c.Create(f.Context(), o))
	}
}

// start starts a feed with the rights of the webhook's account.
func (f *fixture) start() *feed.Feed {
	f.Helper()
	return f.startWith(nil)
}

// startWith is start with a verifier. With one that is not nil, the index requires licences.
func (f *fixture) startWith(licenses *license.Verifier) *feed.Feed {
	f.Helper()
	config := env.User(f.T, kubetest.Webhook)
	f.index, f.registry = authn.NewIndex(time.Now), prometheus.NewRegistry()
	fed, err := feed.New(config, feed.Config{
		Namespace: kubetest.SystemNamespace, CredentialsNamespace: kubetest.CredentialsNamespace, Lease: "leader", Licenses: licenses,
	}, f.index, testr.New(f.T), f.registry)
	must(f.T, err)
	ctx, cancel := context.WithCancel(f.Context())
	done := make(chan error)
	go func() { done <- fed.Start(ctx) }()
	f.Cleanup(func() {
		cancel()
		must(f.T, <-done)
	})
	return fed
}

func (f *fixture) decide() authn.Decision {
	return f.index.Decide(&authn.Request{
		Contract: authurl.Nginx, CallerKey: f.Keys.Keys[authurl.Nginx][0], Site: authn.SiteName{Namespace: f.Site.Namespace, Name: "main"},
		Authorization: []string{"Basic " + base64.StdEncoding.EncodeToString([]byte("alice:"+f.token.Text))}, Target: "/jira/rest/api",
	})
}

func (f *fixture) eventually(want authn.Reason) {
	f.Helper()
	kubetest.Eventually(f.T, func() error {
		if d := f.decide(); d.Reason != want {
			return fmt.Errorf("decided %v %s, want %s", d.Verdict, d.Reason, want)
		}
		return nil
	})
}

// damagedResources returns the number of resources of which damaged objects were counted.
func (f *fixture) damagedResources() (n int) {
	metrics, err := f.registry.Gather()
	must(f.T, err)
	for _, family := range metrics {
		for _, m := range family.GetMetric() {
			if family.GetName() == "apitoken_feed_damaged_objects_total" && m.GetCounter().GetValue() > 0 {
				n++
			}
		}
	}
	return n
}

// damaged returns an error until this number of damaged objects of a resource was counted.
func (f *fixture) damaged(resource string, want float64) error {
	metrics, err := f.registry.Gather()
	must(f.T, err)
	for _, family := range metrics {
		for _, m := range family.GetMetric() {
			if family.GetName() == "apitoken_feed_damaged_objects_total" && m.GetLabel()[0].GetValue() == resource && m.GetCounter().GetValue() >= want {
				return nil
			}
		}
	}
	return fmt.Errorf("%s were not counted as damaged %v times", resource, want)
}

func TestReadyOnlyAfterTheInitialList(t *testing.T) {
	f := newFixture(t)
	fed := f.start()
	kubetest.Eventually(t, func() error {
		err := fed.Ready(nil)
		if d := f.decide(); err != nil && d.Verdict == authn.Allow {
			t.Fatal("authenticated before it was ready")
		}
		return err
	})
	if d := f.decide(); d.Verdict != authn.Allow || d.User != "alice" || d.Authorization != "Bearer pat" {
		t.Errorf("once it is ready: %+v", d)
	}
}

// No controller runs here: the index knows only what the API server sends.
func TestEveryChangeIsSeen(t *testing.T) {
	f := newFixture(t)
	f.start()
	f.eventually(authn.ReasonAuthenticated)
	for name, part := range map[string]struct {
		object  client.Object
		writer  client.Client
		without authn.Reason
	}{
		"record":              {f.token.Record, f.Operator, authn.ReasonUnknownToken},
		"site":                {f.Site, env.Admin, authn.ReasonUnknownSite},
		"caller keys":         {f.CallerKeys, f.Operator, authn.ReasonCallerKeyMismatch},
		"upstream credential": {f.Credential, f.Operator, authn.ReasonUpstreamCredentialMissing},
	} {
		must(t, part.writer.Delete(t.Context(), part.object))
		f.eventually(part.without)
		f.put(part.writer, part.object)
		if part.object == f.Site { // it has a new UID
			f.Projection.Data = f.Project(t, projection.Projection{}).Data
			must(t, f.Operator.Update(t.Context(), f.Projection))
		}
		f.eventually(authn.ReasonAuthenticated)
		t.Logf("%s: seen to go and to come", name)
	}
	must(t, env.Admin.Delete(t.Context(), f.token.APIToken))
	f.eventually(authn.ReasonDeleted)
	f.put(env.Admin, f.token.APIToken) // another token: it has a new UID
	if d := f.decide(); d.Reason != authn.ReasonDeleted {
		t.Errorf("an APIToken of the same name revived the record: %+v", d)
	}
}

// The key of a probe counts while its Secret is there, under its own name.
func TestProbeKeysAreFollowed(t *testing.T) {
	f := newFixture(t)
	f.start()
	f.eventually(authn.ReasonAuthenticated)
	key := probe.NewKey(f.Site.Namespace, f.Site.Name)
	f.token.Text = key.Credential(time.Now(), "")
	f.eventually(authn.ReasonProbeRefused)
	encoded, err := key.Encode()
	must(t, err)
	stored := func(name string, data []byte) *corev1.Secret {
		return &corev1.Secret{
			ObjectMeta: metav1.ObjectMeta{Namespace: kubetest.CredentialsNamespace, Name: name}, Type: probe.SecretType,
			Data: map[string][]byte{probe.DataKey: data},
		}
	}
	other, damaged := stored("probe-key."+f.Site.Namespace+".other", encoded), stored("probe-key."+f.Site.Namespace+".damaged", []byte("{"))
	f.put(f.Operator, other, damaged)
	defer func() {
		must(t, errors.Join(f.Operator.Delete(t.Context(), other), f.Operator.Delete(t.Context(), damaged)))
	}()
	kubetest.Eventually(t, func() error { return f.damaged("probekeys", 2) })
	f.eventually(authn.ReasonProbeRefused)
	s := stored(key.SecretName(), encoded)
	f.put(f.Operator, s)
	f.eventually(authn.ReasonProbe)
	must(t, f.Operator.Delete(t.Context(), s))
	f.eventually(authn.ReasonProbeRefused)
}

// The limits of a token are followed at watch speed, without the controller and without a new record.
func TestLimitsAreFollowed(t *testing.T) {
	f := newFixture(t)
	f.start()
	f.eventually(authn.ReasonAuthenticated)
	token, site := f.token.APIToken, f.Site
	for name, tc := range map[string]struct {
		object  client.Object
		set     func()
		reset   func()
		without authn.Reason
	}{
		"suspended": {
			token, func() { token.Spec.State = tokensv1alpha1.StateSuspended }, func() { token.Spec.State = tokensv1alpha1.StateActive }, authn.ReasonSuspended,
		},
		"expirationTime": {
			token, func() { token.Spec.ExpirationTime = metav1.Unix(1, 0) }, func() { token.Spec.ExpirationTime = metav1.Time{} }, authn.ReasonExpired,
		},
		"paths": {
			token, func() { token.Spec.AllowedPaths = []string{"/rest/other"} }, func() { token.Spec.AllowedPaths = nil }, authn.ReasonPathNotAllowed,
		},
		"sources": {
			token, func() { token.Spec.AllowedSources = []string{"10.0.0.0/8"} }, func() { token.Spec.AllowedSources = nil }, authn.ReasonSourceNotAllowed,
		},
		"read-only": {
			token, func() { token.Spec.Access = tokensv1alpha1.AccessReadOnly }, func() { token.Spec.Access = tokensv1alpha1.AccessReadWrite }, authn.ReasonReadOnly,
		},
		"sources of the site": {
			site, func() { site.Spec.AllowedSources = []string{"10.0.0.0/8"} }, func() { site.Spec.AllowedSources = nil }, authn.ReasonSourceNotAllowed,
		},
		"a blocked name": {
			site, func() { site.Spec.BlockedUsers = []tokensv1alpha1.BlockedUser{{Key: "k"}, {Name: "ALICE"}} },
			func() { site.Spec.BlockedUsers = nil }, authn.ReasonUserBlocked,
		},
		"a site that is read-only": {
			site, func() { site.Spec.TokenPolicy.Access = tokensv1alpha1.AccessReadOnly },
			func() { site.Spec.TokenPolicy = tokensv1alpha1.TokenPolicy{} }, authn.ReasonReadOnly,
		},
	} {
		tc.set()
		must(t, env.Admin.Update(t.Context(), tc.object))
		f.eventually(tc.without)
		tc.reset()
		must(t, env.Admin.Update(t.Context(), tc.object))
		f.eventually(authn.ReasonAuthenticated)
		t.Logf("%s: seen to come and to go", name)
	}
	site.Spec.IssuedAfter = metav1.NewTime(time.Now().Add(time.Hour))
	must(t, env.Admin.Update(t.Context(), site))
	f.eventually(authn.ReasonRevokedByEpoch)
}

// A token belongs to a user key, and a user is blocked by key too.
func TestUserKeysAreFollowed(t *testing.T) {
	f := newFixture(t)
	f.start()
	f.eventually(authn.ReasonAuthenticated)
	c, err := upstream.Decode(f.Credential.Data[upstream.DataKey])
	must(t, err)
	r, err := record.Decode(f.token.Record.Data[record.DataKey])
	must(t, err)
	c.UserKey, r.UserKey = "JIRAUSER2", "JIRAUSER1"
	f.Credential.Data[upstream.DataKey], err = c.Encode()
	must(t, err)
	must(t, f.Operator.Update(t.Context(), f.Credential))
	block := func(key string) {
		f.Site.Spec.BlockedUsers = []tokensv1alpha1.BlockedUser{{Key: key}}
		must(t, env.Admin.Update(t.Context(), f.Site))
	}
	block("JIRAUSER2")
	f.eventually(authn.ReasonUserBlocked)
	block("JIRAUSER3")
	f.eventually(authn.ReasonUpstreamCredentialMissing) // nobody knows whose the token is
	f.token.Record.Data[record.DataKey], err = r.Encode()
	must(t, err)
	must(t, f.Operator.Update(t.Context(), f.token.Record))
	f.eventually(authn.ReasonOwnerChanged)
	block("JIRAUSER1")
	f.eventually(authn.ReasonUserBlocked)
}

// A token that was made with a token of another namespace ends when that namespace is closed.
func TestNamespaceOfTheParentIsFollowed(t *testing.T) {
	f := newFixture(t)
	elsewhere := env.Namespace(t)
	f.Site.Spec.AllowedNamespaces = tokensv1alpha1.AllowedNamespaces{From: tokensv1alpha1.NamespacesFromAll}
	must(t, env.Admin.Update(t.Context(), f.Site))
	child := kubetest.Token(f.Site.Namespace, "child", func(t *tokensv1alpha1.APIToken) {
		t.Spec.Credential.Type, t.Spec.Delivery = tokensv1alpha1.CredentialPortal, tokensv1alpha1.Delivery{}
		t.Spec.CreatedBy = tokensv1alpha1.CreatedBy{UID: "7c9e6679", TokenID: "asp_DquJoZLwlsNJm6gU", Namespace: elsewhere}
	})
	must(t, env.Client(t, kubetest.Portal).Create(t.Context(), child))
	r, err := record.Decode(f.token.Record.Data[record.DataKey])
	must(t, err)
	r.APIToken.Name, r.DeliverySecret, r.Portal = child.Name, "", true
	must(t, f.Operator.Delete(t.Context(), f.token.Record))
	f.token.Record.Name = string(child.UID)
	f.token.Record.Data[record.DataKey], err = r.Encode()
	must(t, err)
	f.put(f.Operator, f.token.Record)
	f.start()
	f.eventually(authn.ReasonAuthenticated)
	f.Site.Spec.AllowedNamespaces.From = tokensv1alpha1.NamespacesFromSame
	must(t, env.Admin.Update(t.Context(), f.Site))
	f.eventually(authn.ReasonNamespaceNotAllowed)
}

// The latency is measured with the lease that the leading controller renews, not with other leases.
func TestLatencyIsMeasured(t *testing.T) {
	f := newFixture(t)
	l := &coordinationv1.Lease{
		ObjectMeta: metav1.ObjectMeta{Namespace: kubetest.SystemNamespace, Name: "leader"},
		Spec:       coordinationv1.LeaseSpec{RenewTime: new(metav1.NowMicro())},
	}
	f.put(env.Admin, l)
	t.Cleanup(func() { _ = env.Admin.Delete(context.Background(), l) })
	f.start()
	f.eventually(authn.ReasonAuthenticated)
	kubetest.Eventually(t, func() error {
		l.Spec.RenewTime = new(metav1.NowMicro())
		must(t, env.Admin.Update(t.Context(), l))
		metrics, err := f.registry.Gather()
		must(t, err)
		for _, m := range metrics {
			if m.GetName() == "apitoken_feed_latency_seconds" && m.GetMetric()[0].GetHistogram().GetSampleCount() > 0 {
				return nil
			}
		}
		return errors.New("nothing was measured")
	})
}

// A token counts until its deletion begins, even if a finalizer keeps the object.
func TestBeingDeletedIsDeleted(t *testing.T) {
	f := newFixture(t)
	f.start()
	f.eventually(authn.ReasonAuthenticated)
	f.token.Finalizers = []string{"example.com/wait"}
	must(t, env.Admin.Update(t.Context(), f.token.APIToken))
	f.eventually(authn.ReasonAuthenticated)
	must(t, env.Admin.Delete(t.Context(), f.token.APIToken))
	f.eventually(authn.ReasonDeleted)
	must(t, client.IgnoreNotFound(env.Admin.Patch(t.Context(), f.token.APIToken, client.RawPatch("application/merge-patch+json", []byte(`{"metadata":{"finalizers":null}}`)))))
}

func TestDamagedObjectsAuthenticateNothing(t *testing.T) {
	f := newFixture(t)
	f.start()
	for name, part := range map[string]struct {
		object  *corev1.Secret
		key     string
		damage  []byte
		without authn.Reason
	}{
		"record":              {f.token.Record, record.DataKey, []byte(`{"version":1}`), authn.ReasonUnknownToken},
		"caller keys":         {f.CallerKeys, authurl.KeysDataKey, nil, authn.ReasonCallerKeyMismatch},
		"upstream credential": {f.Credential, upstream.DataKey, []byte("x"), authn.ReasonUpstreamCredentialMissing},
	} {
		f.eventually(authn.ReasonAuthenticated)
		good := part.object.Data[part.key]
		part.object.Data[part.key] = part.damage
		must(t, f.Operator.Update(t.Context(), part.object))
		f.eventually(part.without)
		part.object.Data[part.key] = good
		must(t, f.Operator.Update(t.Context(), part.object))
		f.eventually(authn.ReasonAuthenticated)
		t.Logf("%s: damage was seen, and repair", name)
	}
	if n := f.damagedResources(); n != 3 {
		t.Errorf("damage was counted for %d resources", n)
	}
}

// A credential that the product does not accept any more stays stored and does not count. That is no damage.
func TestRefusedCredentialDoesNotCount(t *testing.T) {
	f := newFixture(t)
	f.start()
	f.eventually(authn.ReasonAuthenticated)
	c, err := upstream.Decode(f.Credential.Data[upstream.DataKey])
	must(t, err)
	set := func(refused time.Time, want authn.Reason) {
		t.Helper()
		c.Refused = refused
		f.Credential.Data[upstream.DataKey], err = c.Encode()
		must(t, err)
		must(t, f.Operator.Update(t.Context(), f.Credential))
		f.eventually(want)
	}
	set(time.Now().UTC(), authn.ReasonUpstreamCredentialMissing)
	set(time.Time{}, authn.ReasonAuthenticated)
	if n := f.damagedResources(); n != 0 {
		t.Errorf("damage was counted for %d resources", n)
	}
}

// The caller keys of a site that is not served are kept and do not count. That is no damage.
func TestUnusedCallerKeysDoNotCount(t *testing.T) {
	f := newFixture(t)
	f.start()
	f.eventually(authn.ReasonAuthenticated)
	for _, served := range []bool{false, true} {
		edited, err := authurl.Edit(f.CallerKeys.Data[authurl.KeysDataKey], func(k *authurl.Keys) { k.Served = served })
		must(t, err)
		f.CallerKeys.Data[authurl.KeysDataKey] = edited
		must(t, f.Operator.Update(t.Context(), f.CallerKeys))
		f.eventually(map[bool]authn.Reason{false: authn.ReasonCallerKeyMismatch, true: authn.ReasonAuthenticated}[served])
	}
	if n := f.damagedResources(); n != 0 {
		t.Errorf("damage was counted for %d resources", n)
	}
}

// Secrets do not count under another name than their content requires, or in another namespace.
func TestMisplacedSecretsDoNotCount(t *testing.T) {
	f := newFixture(t)
	f.start()
	f.eventually(authn.ReasonAuthenticated)
	for _, s := range []*corev1.Secret{f.CallerKeys, f.Credential, f.token.Record} {
		must(t, f.Operator.Delete(t.Context(), s))
		misplaced := s.DeepCopy()
		misplaced.Name += "-copy"
		f.put(f.Operator, misplaced)
		elsewhere := s.DeepCopy()
		elsewhere.Namespace = f.Site.Namespace
		f.put(f.Operator, elsewhere)
	}
	// Objects are seen in order. When the last one is seen, all others were seen before.
	kubetest.Eventually(t, func() error {
		if n := f.damagedResources(); n < 2 {
			return errors.New("the misplaced Secrets have not been seen")
		}
		return nil
	})
	f.eventually(authn.ReasonCallerKeyMismatch)
	f.put(f.Operator, f.CallerKeys)
	f.eventually(authn.ReasonDeleted) // a copy of the record is there
	f.put(f.Operator, f.token.Record)
	f.eventually(authn.ReasonUpstreamCredentialMissing)
}
