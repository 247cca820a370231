package site_test

import (
	"context"
	"fmt"
	"net/http"
	"net/http/httptest"
	"os"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/tools/events"
	testclock "k8s.io/utils/clock/testing"
	"sigs.k8s.io/controller-runtime/pkg/client"

	tokensv1alpha1 "apitokens.dev/operator/api/v1alpha1"
	"apitokens.dev/operator/controllers/site"
	"apitokens.dev/operator/controllers/site/credential"
	"apitokens.dev/operator/hack/lib/fakeproduct"
	"apitokens.dev/operator/hack/lib/kubetest"
	"apitokens.dev/operator/internal/atlassian"
	"apitokens.dev/operator/internal/authurl"
	"apitokens.dev/operator/internal/record"
	"apitokens.dev/operator/internal/siteurl"
	"apitokens.dev/operator/internal/upstream"
)

const (
	webhookURL = "http://apitoken-webhook.apitoken-system.svc:8080"
	portalURL  = "http://apitoken-portal.apitoken-system.svc:8080"
	// canary is part of every personal access token of these tests, so that a leak is found.
	canary = "CANARY"
	// nowhere is an address where nobody listens.
	nowhere = "http://127.0.0.1:1"
)

var env kubetest.Env

func TestMain(m *testing.M) { os.Exit(env.Main(m)) }

// network resolves names of Services to servers of the test, as the cluster's DNS would.
type network struct {
	*atlassian.Client

	servers map[string]string // by origin
	made    []string          // every personal access token that a product made
}

func (n *network) WhoAmI(ctx context.Context, u atlassian.Upstream, as atlassian.Credential) (atlassian.User, error) {
	return n.Client.WhoAmI(ctx, n.resolve(u), as)
}

func (n *network) Probe(ctx context.Context, u atlassian.Upstream) error {
	return n.Client.Probe(ctx, n.resolve(u))
}

func (n *network) CreatePAT(ctx context.Context, u atlassian.Upstream, as atlassian.Credential, name string, days int) (atlassian.PAT, error) {
	made, err := n.Client.CreatePAT(ctx, n.resolve(u), as, name, days)
	if made.Token != "" {
		n.made = append(n.made, made.Token)
	}
	return made, err
}

func (n *network) ListPATs(ctx context.Context, u atlassian.Upstream, as atlassian.Credential) ([]atlassian.PAT, error) {
	return n.Client.ListPATs(ctx, n.resolve(u), as)
}

func (n *network) DeletePAT(ctx context.Context, u atlassian.Upstream, as atlassian.Credential, id int64) error {
	return n.Client.DeletePAT(ctx, n.resolve(u), as, id)
}

func (n *network) resolve(u atlassian.Upstream) atlassian.Upstream {
	parsed, err := siteurl.Parse(u.URL)
	server, ok := n.servers[parsed.Origin]
	if u.URL = server + parsed.Path; err != nil || !ok {
		u.URL = nowhere
	}
	return u
}

// world is a namespace, and a reconciler with the rights of the controller's account.
type world struct {
	*testing.T

	ns         string
	api        client.WithWatch // with the controller's own rights
	reconciler *site.Reconciler
	network    *network
	clock      *testclock.FakePassiveClock
	events     *events.FakeRecorder
	keys       []string // every caller key there was
	logged     []string
	asked      int // passes that causePass caused
}

func newWorld(t *testing.T) *world {
	t.Helper()
	w := &world{
		T: t, ns: env.Namespace(t), network: &network{Client: atlassian.NewClient(), servers: map[string]string{}},
		clock: testclock.NewFakePassiveClock(time.Now()), events: events.NewFakeRecorder(100),
	}
	w.api = env.Client(t, kubetest.Controller, "system:serviceaccounts", "system:serviceaccounts:"+kubetest.SystemNamespace)
	w.jira("jira")
	w.reconciler = &site.Reconciler{
		Client: w.api, Live: w.api, Events: w.events, Clock: w.clock, Product: w.network, Memory: credential.NewMemory(),
		Namespace: kubetest.SystemNamespace, CredentialsNamespace: kubetest.CredentialsNamespace, IntakeNamespace: kubetest.IntakeNamespace,
		WebhookURL: webhookURL, WebhookGRPCPort: 9001, PortalURL: portalURL,
	}
	return w
}

// serve puts a server behind the name of a Service of the namespace.
func (w *world) serve(service string, h http.Handler) {
	server := httptest.NewServer(h)
	w.Cleanup(server.Close)
	w.network.servers[w.origin(service)] = server.URL
}

func (w *world) origin(service string) string { return "http://" + service + "." + w.ns + ".svc:8080" }

// jira puts a Jira behind the name of a Service. Every user has two personal access tokens, pat(name, 1) and pat(name, 2).
func (w *world) jira(service string, users ...string) *fakeproduct.Jira {
	o := fakeproduct.Options{ContextPath: "/jira", Now: w.clock.Now}
	for _, name := range users {
		o.Users = append(o.Users, fakeproduct.User{Name: name, PATs: []string{pat(name, 1), pat(name, 2)}})
	}
	j := fakeproduct.NewJira(o)
	w.serve(service, j)
	return j
}

func pat(user string, n int) string { return fmt.Sprintf("%s.%s.%d", canary, user, n) }

// sent returns the credentials that a product received.
func sent(j *fakeproduct.Jira) (all []string) {
	for _, r := range j.Requests() {
		all = append(all, r.Header.Values("Authorization")...)
	}
	return all
}

// site creates a site of the Jira behind the Service "jira".
func (w *world) site(name string, mods ...func(*tokensv1alpha1.AtlassianSite)) *tokensv1alpha1.AtlassianSite {
	w.Helper()
	s := kubetest.Site(w.ns, name, mods...)
	w.create(s)
	return s
}

// users lists users in a site, the personal access token of each in a Secret "<user>-pat".
func users(names ...string) func(*tokensv1alpha1.AtlassianSite) {
	return func(s *tokensv1alpha1.AtlassianSite) {
		s.Spec.UpstreamCredentials = nil
		for _, name := range names {
			s.Spec.UpstreamCredentials = append(s.Spec.UpstreamCredentials, tokensv1alpha1.UpstreamCredential{User: name, SecretName: name + "-pat"})
		}
	}
}

func (w *world) create(o client.Object) {
	w.Helper()
	if err := env.Admin.Create(w.Context(), o); err != nil {
		w.Fatal(err)
	}
}

func (w *world) remove(o client.Object) {
	w.Helper()
	if err := env.Admin.Delete(w.Context(), o); err != nil {
		w.Fatal(err)
	}
}

// give puts a personal access token into the Secret that the entry of a user at the site "main" names.
func (w *world) give(user, token string) {
	w.Helper()
	w.giveData(user, map[string][]byte{tokensv1alpha1.UpstreamCredentialKey: []byte(token)})
}

func (w *world) giveData(user string, data map[string][]byte) {
	w.Helper()
	s := w.secret(w.ns, user+"-pat")
	if s == nil {
		w.create(&corev1.Secret{
			ObjectMeta: metav1.ObjectMeta{Namespace: w.ns, Name: user + "-pat", Labels: map[string]string{record.LabelSite: "main"}}, Data: data,
		})
		return
	}
	w.setData(s, data)
}

// giveTo is give for another site. A Secret serves one site, so that the user has it for this one alone.
func (w *world) giveTo(site, user, token string) {
	w.Helper()
	w.create(&corev1.Secret{
		ObjectMeta: metav1.ObjectMeta{Namespace: w.ns, Name: user + "-pat", Labels: map[string]string{record.LabelSite: site}},
		Data:       map[string][]byte{tokensv1alpha1.UpstreamCredentialKey: []byte(token)},
	})
}

func (w *world) setData(s *corev1.Secret, data map[string][]byte) {
	w.Helper()
	s.Data = data
	if err := env.Admin.Update(w.Context(), s); err != nil {
		w.Fatal(err)
	}
}

func (w *world) change(s *tokensv1alpha1.AtlassianSite, mods ...func(*tokensv1alpha1.AtlassianSite)) {
	w.Helper()
	for _, mod := range mods {
		mod(s)
	}
	if err := env.Admin.Update(w.Context(), s); err != nil {
		w.Fatal(err)
	}
}

func upstreamURL(url string) func(*tokensv1alpha1.AtlassianSite) {
	return func(s *tokensv1alpha1.AtlassianSite) { s.Spec.UpstreamURL = url }
}

func baseURL(url string) func(*tokensv1alpha1.AtlassianSite) {
	return func(s *tokensv1alpha1.AtlassianSite) { s.Spec.BaseURL = url }
}

// secret reads a Secret, nil if there is none.
func (w *world) secret(namespace, name string) *corev1.Secret {
	w.Helper()
	var s corev1.Secret
	switch err := env.Admin.Get(w.Context(), client.ObjectKey{Namespace: namespace, Name: name}, &s); {
	case apierrors.IsNotFound(err):
		return nil
	case err != nil:
		w.Fatal(err)
	}
	return &s
}

func (w *world) keysSecret(s *tokensv1alpha1.AtlassianSite) *corev1.Secret {
	w.Helper()
	return w.secret(kubetest.CredentialsNamespace, authurl.KeysSecretName(s.Namespace, s.Name))
}

func (w *world) authURLs(s *tokensv1alpha1.AtlassianSite) *corev1.Secret {
	w.Helper()
	return w.secret(s.Namespace, s.Name+"-auth-urls")
}

func (w *world) copySecret(s *tokensv1alpha1.AtlassianSite, user string) *corev1.Secret {
	w.Helper()
	return w.secret(kubetest.CredentialsNamespace, upstream.SecretName(s.Namespace, s.Name, user))
}

// held returns the personal access token in the working copy of a user, "" without a copy.
func (w *world) held(s *tokensv1alpha1.AtlassianSite, user string) string {
	w.Helper()
	return w.credential(s, user).Token
}

func (w *world) credential(s *tokensv1alpha1.AtlassianSite, user string) upstream.Credential {
	w.Helper()
	stored := w.copySecret(s, user)
	if stored == nil {
		return upstream.Credential{}
	}
	c, err := upstream.Decode(stored.Data[upstream.DataKey])
	if err != nil {
		w.Fatal(err)
	}
	return c
}
