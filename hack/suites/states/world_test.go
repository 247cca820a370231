package states_test

import (
	"cmp"
	"context"
	"crypto/sha256"
	"fmt"
	"math/rand/v2"
	"net/http"
	"net/http/httptest"
	"os"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	eventsv1 "k8s.io/api/events/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/tools/reference"
	testclock "k8s.io/utils/clock/testing"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/client"

	tokensv1alpha1 "apitokens.dev/operator/api/v1alpha1"
	"apitokens.dev/operator/controllers/admission"
	"apitokens.dev/operator/controllers/apitoken"
	"apitokens.dev/operator/controllers/site"
	"apitokens.dev/operator/controllers/site/credential"
	"apitokens.dev/operator/hack/lib/kubetest"
	"apitokens.dev/operator/internal/atlassian"
	"apitokens.dev/operator/internal/license"
	"apitokens.dev/operator/internal/record"
	"apitokens.dev/operator/internal/siteurl"
)

const (
	hour = time.Hour
	day  = 24 * hour
	// nowhere is an address where no process listens.
	nowhere = "http://127.0.0.1:1"
)

// noon is the time at which every example ends, since the tables show them together.
var noon = time.Date(2026, 11, 23, 12, 0, 0, 0, time.UTC)

var env kubetest.Env

func TestMain(m *testing.M) { os.Exit(env.Main(m)) }

// world is two namespaces, which the page shows under other names, and the dependencies of the reconcilers.
type world struct {
	*testing.T

	jira, team string
	api        client.WithWatch // with the controller's own rights
	clock      *testclock.FakePassiveClock
	network    *network
	guard      apitoken.Guard
	siteGuard  site.Guard // nil: the examples are not about the admission policies
	memory     *credential.Memory
	webhook    string   // where gateways reach the webhook
	made       []string // personal access tokens that a product made
	// licenses verifies the licences of sites; nil if none are needed.
	licenses *license.Verifier
	// created has the creation times of objects, and told the times of their Events, by the clock of the test.
	created map[string]time.Time
	told    map[types.UID][]time.Time
	events  int
}

func newWorld(t *testing.T) *world {
	t.Helper()
	return &world{
		T: t, jira: env.Namespace(t), team: env.Namespace(t),
		api:     env.Client(t, kubetest.Controller, "system:serviceaccounts", "system:serviceaccounts:"+kubetest.SystemNamespace),
		clock:   testclock.NewFakePassiveClock(noon),
		guard:   guard{admission.State{GuardedSince: noon.Add(-365 * day)}},
		network: &network{atlassian.NewClient(), map[string]string{}}, memory: credential.NewMemory(),
		created: map[string]time.Time{}, told: map[types.UID][]time.Time{},
	}
}

// tokens returns the reconciler of APITokens. Its randomness is the same in each run, for each name.
func (w *world) tokens(name string) *apitoken.Reconciler {
	return &apitoken.Reconciler{
		Client: w.api, Live: w.api, Events: w, Clock: w.clock, Random: rand.NewChaCha8(sha256.Sum256([]byte(name))),
		Namespace: kubetest.SystemNamespace, CredentialsNamespace: kubetest.CredentialsNamespace,
		ExpiryNotices: []time.Duration{14 * day, 7 * day, day}, Guard: w.guard,
	}
}

// guard answers that the admission policies are in this state.
type guard struct{ admission.State }

func (g guard) Stored(context.Context) (admission.State, error)  { return g.State, nil }
func (g guard) Observe(context.Context) (admission.State, error) { return g.State, nil }
func (g guard) Check(context.Context, *tokensv1alpha1.APIToken) (admission.State, error) {
	return g.State, nil
}

func (w *world) sites() *site.Reconciler {
	return &site.Reconciler{
		Client: w.api, Live: w.api, Events: w, Clock: w.clock, Product: w.network, Memory: w.memory,
		Namespace: kubetest.SystemNamespace, CredentialsNamespace: kubetest.CredentialsNamespace, IntakeNamespace: kubetest.IntakeNamespace,
		WebhookURL: cmp.Or(w.webhook, "http://apitoken-webhook.apitoken-system.svc:8080"), WebhookGRPCPort: 9001, PortalURL: "http://apitoken-portal.apitoken-system.svc:8080",
		Licenses: w.licenses, Guard: w.siteGuard, Door: ingressesOf,
	}
}

// Eventf records Events synchronously.
func (w *world) Eventf(regarding, _ runtime.Object, eventType, reason, action, note string, args ...any) {
	w.Helper()
	ref, err := reference.GetReference(w.api.Scheme(), regarding)
	w.must(err)
	w.told[ref.UID] = append(w.told[ref.UID], w.clock.Now())
	w.events++ // they are shown in the order of their names
	w.must(w.api.Create(w.Context(), &eventsv1.Event{
		ObjectMeta: metav1.ObjectMeta{Namespace: ref.Namespace, Name: fmt.Sprintf("%s.%04d", ref.Name, w.events)},
		EventTime:  metav1.NewMicroTime(w.clock.Now()), ReportingController: "apitoken-controller", ReportingInstance: "apitoken-controller-test",
		Type: eventType, Reason: reason, Action: action, Note: fmt.Sprintf(note, args...), Regarding: *ref,
	}))
}

func (w *world) must(err error) {
	w.Helper()
	if err != nil {
		w.Fatal(err)
	}
}

func (w *world) create(objects ...client.Object) {
	w.Helper()
	for _, o := range objects {
		w.must(env.Admin.Create(w.Context(), o))
		w.created[o.GetName()] = w.clock.Now()
	}
}

func (w *world) remove(objects ...client.Object) {
	w.Helper()
	for _, o := range objects {
		w.must(env.Admin.Delete(w.Context(), o))
	}
}

func (w *world) secret(namespace, name string) *corev1.Secret {
	w.Helper()
	var s corev1.Secret
	w.must(env.Admin.Get(w.Context(), client.ObjectKey{Namespace: namespace, Name: name}, &s))
	return &s
}

// put creates a Secret with one key in the namespace of the sites.
func (w *world) put(name, key, value string) {
	w.Helper()
	w.create(&corev1.Secret{ObjectMeta: metav1.ObjectMeta{Namespace: w.jira, Name: name}, StringData: map[string]string{key: value}})
}

// putPAT creates a Secret with a personal access token for one site.
func (w *world) putPAT(site, name, value string) {
	w.Helper()
	w.create(&corev1.Secret{
		ObjectMeta: metav1.ObjectMeta{Namespace: w.jira, Name: name, Labels: map[string]string{record.LabelSite: site}},
		StringData: map[string]string{tokensv1alpha1.UpstreamCredentialKey: value},
	})
}

func (w *world) later(d time.Duration) { w.clock.SetTime(w.clock.Now().Add(d)) }

// change edits an object as an administrator.
func change[O client.Object](w *world, o O, edit func(O)) {
	w.Helper()
	w.must(env.Admin.Get(w.Context(), client.ObjectKeyFromObject(o), o))
	edit(o)
	w.must(env.Admin.Update(w.Context(), o))
}

// site creates a site of the Jira behind the Service "jira", and reconciles it.
func (w *world) site(name string, mods ...func(*tokensv1alpha1.AtlassianSite)) *tokensv1alpha1.AtlassianSite {
	w.Helper()
	s := kubetest.Site(w.jira, name, func(s *tokensv1alpha1.AtlassianSite) {
		s.Spec.BaseURL = "https://" + name + ".example.com/jira"
		s.Spec.UpstreamCredentials = []tokensv1alpha1.UpstreamCredential{{User: "alice", SecretName: name + "-alice-pat"}}
	})
	w.putPAT(name, name+"-alice-pat", "pat-of-alice")
	for _, mod := range mods {
		mod(s)
	}
	w.create(s)
	// Two sites must not have the same base URL in any namespace, and the next run uses these again.
	w.Cleanup(func() { w.must(env.Admin.Delete(context.Background(), s)) })
	w.lookAtSite(s)
	return s
}

func (w *world) lookAtSite(s *tokensv1alpha1.AtlassianSite) {
	w.Helper()
	_, err := w.sites().Reconcile(w.Context(), ctrl.Request{NamespacedName: client.ObjectKeyFromObject(s)})
	w.must(err)
}

// token creates an APIToken, and reconciles it.
func (w *world) token(name string, mods ...func(*tokensv1alpha1.APIToken)) *tokensv1alpha1.APIToken {
	w.Helper()
	t := kubetest.Token(w.jira, name, nightly)
	for _, mod := range mods {
		mod(t)
	}
	w.create(t)
	w.look(t)
	return t
}

// look reconciles an APIToken that was created by the clock of the test, and its site if the product has to name somebody for it.
func (w *world) look(t *tokensv1alpha1.APIToken) {
	w.Helper()
	r, asks := w.tokens(fmt.Sprint(t.Name, w.clock.Now())), false
	r.Ask = func(site types.NamespacedName, copyName string, since time.Time) {
		asks = true
		w.memory.Ask(site, copyName, since)
	}
	created := metav1.NewTime(w.created[t.Name].Add(-time.Second))
	w.lookWith(r, t, created)
	if asks {
		w.lookAtSite(&tokensv1alpha1.AtlassianSite{ObjectMeta: metav1.ObjectMeta{Namespace: t.SiteNamespace(), Name: t.Spec.SiteRef.Name}})
		w.lookWith(r, t, created)
	}
}

// lookWith reconciles an APIToken once.
func (w *world) lookWith(r *apitoken.Reconciler, t *tokensv1alpha1.APIToken, created metav1.Time) {
	w.Helper()
	now := &tokensv1alpha1.APIToken{}
	w.must(env.Admin.Get(w.Context(), client.ObjectKeyFromObject(t), now))
	now.CreationTimestamp = created
	_, err := r.Reconcile(w.Context(), now)
	w.must(err)
	w.must(env.Admin.Get(w.Context(), client.ObjectKeyFromObject(t), t))
}

// network resolves the names of Services to servers of the test, as the cluster's DNS would.
type network struct {
	*atlassian.Client

	servers map[string]string // by origin
}

func (n *network) WhoAmI(ctx context.Context, u atlassian.Upstream, as atlassian.Credential) (atlassian.User, error) {
	return n.Client.WhoAmI(ctx, n.resolve(u), as)
}

func (n *network) Probe(ctx context.Context, u atlassian.Upstream) error {
	return n.Client.Probe(ctx, n.resolve(u))
}

func (n *network) CreatePAT(ctx context.Context, u atlassian.Upstream, as atlassian.Credential, name string, days int) (atlassian.PAT, error) {
	return n.Client.CreatePAT(ctx, n.resolve(u), as, name, days)
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

// serve serves a handler under the name of a Service.
func (w *world) serve(origin string, server *httptest.Server) {
	w.Cleanup(server.Close)
	w.network.servers[origin] = server.URL
}

func (w *world) origin(service string) string {
	return "http://" + service + "." + w.jira + ".svc:8080"
}

func (w *world) serveHTTP(service string, h http.Handler) {
	w.serve(w.origin(service), httptest.NewServer(h))
}
