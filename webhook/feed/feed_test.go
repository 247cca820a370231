package feed_test

import (
	"context"
	"crypto/rand"
	"encoding/base64"
	"errors"
	"fmt"
	"os"
	"testing"
	"time"

	"github.com/go-logr/logr/testr"
	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/testutil"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	tokensv1alpha1 "apitokens.dev/operator/api/v1alpha1"
	"apitokens.dev/operator/hack/kubetest"
	"apitokens.dev/operator/internal/authurl"
	"apitokens.dev/operator/internal/record"
	"apitokens.dev/operator/internal/token"
	"apitokens.dev/operator/internal/upstream"
	"apitokens.dev/operator/webhook/authn"
	"apitokens.dev/operator/webhook/feed"
)

var env kubetest.Env

func TestMain(m *testing.M) { os.Exit(env.Main(m)) }

// fixture is all that one token needs to authenticate, in a namespace of its own.
type fixture struct {
	*testing.T

	ns, text                  string
	keys                      authurl.Keys
	token                     *tokensv1alpha1.APIToken
	site                      *tokensv1alpha1.AtlassianSite
	record, callerKeys, grant *corev1.Secret
	operator                  client.Client
	index                     *authn.Index
	registry                  *prometheus.Registry
}

func newFixture(t *testing.T) *fixture {
	f := &fixture{T: t, ns: env.Namespace(t), operator: env.Client(t, kubetest.Controller)}
	f.site = kubetest.Site(f.ns, "main")
	f.token = kubetest.Token(f.ns, "ci", func(t *tokensv1alpha1.APIToken) { t.Spec.User = "Alice" })
	f.put(env.Admin, f.site, f.token)

	id, err := token.NewID(rand.Reader)
	must(t, err)
	f.text, err = token.New(id, rand.Reader)
	must(t, err)
	hash, err := record.NewHash(f.text, rand.Reader)
	must(t, err)
	r := &record.Record{
		TokenID: id, User: "alice", DeliverySecret: "ci-token",
		Site: record.Ref{Namespace: f.ns, Name: "main"}, APIToken: record.Ref{Namespace: f.ns, Name: "ci"},
		Entries: []record.Entry{{Hash: hash, State: record.Delivered, Issued: time.Now().UTC()}},
	}
	f.record = encoded(t, kubetest.SystemNamespace, string(f.token.UID), record.SecretType, record.DataKey, r.Encode)
	f.keys = authurl.NewKeys(f.ns, "main")
	f.callerKeys = encoded(t, kubetest.SystemNamespace, f.keys.SecretName(), authurl.KeysSecretType, authurl.KeysDataKey, f.keys.Encode)
	c := upstream.Credential{Namespace: f.ns, Site: "main", User: "alice", Origin: "http://jira." + f.ns + ".svc:8080", Token: "pat"}
	f.grant = encoded(t, kubetest.CredentialsNamespace, c.SecretName(), upstream.SecretType, upstream.DataKey, c.Encode)
	f.put(f.operator, f.record, f.callerKeys, f.grant)
	return f
}

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func encoded(t *testing.T, namespace, name, secretType, key string, encode func() ([]byte, error)) *corev1.Secret {
	t.Helper()
	data, err := encode()
	must(t, err)
	return &corev1.Secret{
		ObjectMeta: metav1.ObjectMeta{Namespace: namespace, Name: name}, Type: corev1.SecretType(secretType), Data: map[string][]byte{key: data},
	}
}

func (f *fixture) put(c client.Client, objects ...client.Object) {
	f.Helper()
	for _, o := range objects {
		o.SetResourceVersion("")
		must(f.T, c.Create(f.Context(), o))
	}
}

// start feeds an index with the rights of the webhook's own account.
func (f *fixture) start() *feed.Feed {
	f.Helper()
	config, err := env.User(kubetest.Webhook)
	must(f.T, err)
	f.index, f.registry = authn.NewIndex(), prometheus.NewRegistry()
	fed, err := feed.New(config, feed.Config{Namespace: kubetest.SystemNamespace, CredentialsNamespace: kubetest.CredentialsNamespace},
		f.index, testr.New(f.T), f.registry)
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
		Contract: authurl.Nginx, CallerKey: f.keys.Keys[authurl.Nginx][0], Site: authn.SiteName{Namespace: f.ns, Name: "main"},
		Authorization: []string{"Basic " + base64.StdEncoding.EncodeToString([]byte("alice:"+f.text))}, Target: "/jira/rest/api",
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

// No controller runs here: what the index knows it has from the API server alone.
func TestEveryChangeIsSeen(t *testing.T) {
	f := newFixture(t)
	f.start()
	f.eventually(authn.ReasonAuthenticated)
	for name, part := range map[string]struct {
		object  client.Object
		writer  client.Client
		without authn.Reason
	}{
		"record":              {f.record, f.operator, authn.ReasonUnknownToken},
		"site":                {f.site, env.Admin, authn.ReasonUnknownSite},
		"caller keys":         {f.callerKeys, f.operator, authn.ReasonCallerKeyMismatch},
		"upstream credential": {f.grant, f.operator, authn.ReasonUpstreamCredentialMissing},
	} {
		must(t, part.writer.Delete(t.Context(), part.object))
		f.eventually(part.without)
		f.put(part.writer, part.object)
		f.eventually(authn.ReasonAuthenticated)
		t.Logf("%s: seen to go and to come", name)
	}
	must(t, env.Admin.Delete(t.Context(), f.token))
	f.eventually(authn.ReasonUnknownToken)
	f.put(env.Admin, f.token) // a new UID: it is another one
	if d := f.decide(); d.Reason != authn.ReasonUnknownToken {
		t.Errorf("an APIToken of the same name revived the record: %+v", d)
	}
}

// A finalizer keeps the object, not the token: it counts until the deletion begins.
func TestBeingDeletedIsDeleted(t *testing.T) {
	f := newFixture(t)
	f.start()
	f.eventually(authn.ReasonAuthenticated)
	f.token.Finalizers = []string{"example.com/wait"}
	must(t, env.Admin.Update(t.Context(), f.token))
	f.eventually(authn.ReasonAuthenticated)
	must(t, env.Admin.Delete(t.Context(), f.token))
	f.eventually(authn.ReasonUnknownToken)
	must(t, client.IgnoreNotFound(env.Admin.Patch(t.Context(), f.token, client.RawPatch("application/merge-patch+json", []byte(`{"metadata":{"finalizers":null}}`)))))
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
		"record":              {f.record, record.DataKey, []byte(`{"version":1}`), authn.ReasonUnknownToken},
		"caller keys":         {f.callerKeys, authurl.KeysDataKey, nil, authn.ReasonCallerKeyMismatch},
		"upstream credential": {f.grant, upstream.DataKey, []byte("x"), authn.ReasonUpstreamCredentialMissing},
	} {
		f.eventually(authn.ReasonAuthenticated)
		good := part.object.Data[part.key]
		part.object.Data[part.key] = part.damage
		must(t, f.operator.Update(t.Context(), part.object))
		f.eventually(part.without)
		part.object.Data[part.key] = good
		must(t, f.operator.Update(t.Context(), part.object))
		f.eventually(authn.ReasonAuthenticated)
		t.Logf("%s: damage was seen, and repair", name)
	}
	if n := testutil.CollectAndCount(f.registry, "apitoken_feed_damaged_objects_total"); n != 3 {
		t.Errorf("damage was counted for %d resources", n)
	}
}

// Secrets that say they are about something that another name is for, or that lie elsewhere, count for nothing.
func TestMisplacedSecretsCountForNothing(t *testing.T) {
	f := newFixture(t)
	f.start()
	f.eventually(authn.ReasonAuthenticated)
	for _, s := range []*corev1.Secret{f.callerKeys, f.grant, f.record} {
		must(t, f.operator.Delete(t.Context(), s))
		misplaced := s.DeepCopy()
		misplaced.Name += "-copy"
		f.put(f.operator, misplaced)
		elsewhere := s.DeepCopy()
		elsewhere.Namespace = f.ns
		f.put(f.operator, elsewhere)
	}
	// What comes last is seen last: then everything before it was seen too.
	kubetest.Eventually(t, func() error {
		if n := testutil.CollectAndCount(f.registry, "apitoken_feed_damaged_objects_total"); n < 2 {
			return errors.New("the misplaced Secrets have not been seen")
		}
		return nil
	})
	f.eventually(authn.ReasonCallerKeyMismatch)
	f.put(f.operator, f.callerKeys)
	f.eventually(authn.ReasonUnknownToken)
	f.put(f.operator, f.record)
	f.eventually(authn.ReasonUpstreamCredentialMissing)
}
