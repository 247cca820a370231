package site_test

import (
	"context"
	"errors"
	"net/http"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/client/interceptor"

	tokensv1alpha1 "apitokens.dev/operator/api/v1alpha1"
	"apitokens.dev/operator/controllers/site"
	"apitokens.dev/operator/controllers/site/credential"
	"apitokens.dev/operator/hack/lib/fakeproduct"
	"apitokens.dev/operator/internal/authurl"
)

// irreplaceable is all that the controller keeps for a site and could not make again.
type irreplaceable struct {
	key, authURL              string
	enrolled, pasted, listed  string
	license                   string
	remembered                time.Time
	keysSecret, memorySecret  string // their UIDs: neither was made anew
	enrolledSecret, pastedUID string
}

func (w *world) irreplaceable(s *tokensv1alpha1.AtlassianSite) irreplaceable {
	w.Helper()
	keys, err := w.storedKeys(s)
	if err != nil {
		w.Fatal(err)
	}
	uid := func(secret *corev1.Secret) string {
		if secret == nil {
			return "gone"
		}
		return string(secret.UID)
	}
	p := w.projected(s)
	all := irreplaceable{
		key: keys.Keys[authurl.Nginx][0], enrolled: w.held(s, "alice"), pasted: w.held(s, "bob"), listed: w.held(s, "carol"),
		license: p.License, remembered: p.IssuedAfter,
		keysSecret: uid(w.keysSecret(s)), memorySecret: uid(w.memorySecret(s.Name)),
		enrolledSecret: uid(w.copySecret(s, "alice")), pastedUID: uid(w.copySecret(s, "bob")),
	}
	if urls := w.authURLs(s); urls != nil {
		all.authURL = string(urls.Data["nginx"])
	}
	return all
}

// passing is a state that passes. begin brings it about and returns how it ends.
type passing struct {
	name  string
	begin func(w *world, j *fakeproduct.Jira, s *tokensv1alpha1.AtlassianSite) (end func())
}

// edited is a change of the spec that is taken back.
func edited(name string, mods ...func(*tokensv1alpha1.AtlassianSite)) passing {
	return passing{name, func(w *world, _ *fakeproduct.Jira, s *tokensv1alpha1.AtlassianSite) func() {
		before := s.Spec.DeepCopy()
		w.change(s, mods...)
		return func() { w.change(s, func(s *tokensv1alpha1.AtlassianSite) { s.Spec = *before }) }
	}}
}

// answering is a product that answers something else.
func answering(name string, h http.Handler) passing {
	return passing{name, func(w *world, j *fakeproduct.Jira, _ *tokensv1alpha1.AtlassianSite) func() {
		w.serve("jira", h)
		return func() { w.serve("jira", j) }
	}}
}

// behind is a controller whose requests to the API server go wrong.
func behind(name string, funcs func(w *world, s *tokensv1alpha1.AtlassianSite) interceptor.Funcs) passing {
	return passing{name, func(w *world, _ *fakeproduct.Jira, s *tokensv1alpha1.AtlassianSite) func() {
		whole := *w.reconciler
		w.reconciler.Client = interceptor.NewClient(w.api, funcs(w, s))
		return func() { *w.reconciler = whole }
	}}
}

// configured is a controller that was started with other flags.
func configured(name string, set func(*site.Reconciler)) passing {
	return passing{name, func(w *world, _ *fakeproduct.Jira, _ *tokensv1alpha1.AtlassianSite) func() {
		whole := *w.reconciler
		set(w.reconciler)
		return func() { *w.reconciler = whole }
	}}
}

// damaged is a Secret with something else in it, for a while.
func damaged(name string, of func(w *world, s *tokensv1alpha1.AtlassianSite) *corev1.Secret) passing {
	return passing{name, func(w *world, _ *fakeproduct.Jira, s *tokensv1alpha1.AtlassianSite) func() {
		secret := of(w, s)
		good := secret.Data
		bad := map[string][]byte{}
		for key := range good {
			bad[key] = []byte(`{"version":2}`)
		}
		w.setData(secret, bad)
		return func() {
			now := of(w, s)
			if now == nil {
				w.Fatal("it was removed")
			}
			w.setData(now, good)
		}
	}}
}

var errOutage = errors.New("the API server is away")

func refusedWrites(*world, *tokensv1alpha1.AtlassianSite) interceptor.Funcs {
	refused := apierrors.NewForbidden(schema.GroupResource{Resource: "secrets"}, "any", errors.New(houseRule))
	return interceptor.Funcs{
		Create: func(context.Context, client.WithWatch, client.Object, ...client.CreateOption) error { return refused },
		Update: func(context.Context, client.WithWatch, client.Object, ...client.UpdateOption) error { return refused },
	}
}

// passingStates are all states that pass: mistakes, missing flags, outages, lags, damage.
var passingStates = []passing{
	{"a site that cannot be read", func(w *world, _ *fakeproduct.Jira, s *tokensv1alpha1.AtlassianSite) func() {
		restore := env.Malform(w.T, s, "trustedHops", "many")
		return func() {
			restore()
			if err := env.Admin.Patch(w.Context(), s, client.RawPatch("application/merge-patch+json", []byte(`{"spec":{"trustedHops":1}}`))); err != nil {
				w.Fatal(err)
			}
		}
	}},
	{"an APIToken that cannot be read", func(w *world, _ *fakeproduct.Jira, _ *tokensv1alpha1.AtlassianSite) func() {
		return env.Malform(w.T, w.tokenOf("alice"), "lifetimeDays", "many")
	}},
	edited("an upstream that is not allowed", upstreamURL("https://jira.example/jira")),
	edited("an upstream where nothing is", upstreamURL("http://typo.nowhere.svc:8080/jira")),
	{"an upstream in the same namespace where nothing is", func(w *world, _ *fakeproduct.Jira, s *tokensv1alpha1.AtlassianSite) func() {
		good := s.Spec.UpstreamURL
		w.change(s, upstreamURL("http://typo."+w.ns+".svc:8080/jira"))
		return func() { w.change(s, upstreamURL(good)) }
	}},
	{"another product at the upstream of a typo", func(w *world, _ *fakeproduct.Jira, s *tokensv1alpha1.AtlassianSite) func() {
		good := s.Spec.UpstreamURL
		w.jira("other")
		w.change(s, upstreamURL(w.origin("other")+"/jira"))
		return func() { w.change(s, upstreamURL(good)) }
	}},
	{"the base URL of an older site", func(w *world, _ *fakeproduct.Jira, s *tokensv1alpha1.AtlassianSite) func() {
		good := s.Spec.BaseURL
		older := w.site("a-older")
		w.change(s, baseURL(older.Spec.BaseURL))
		return func() { w.change(s, baseURL(good)) }
	}},
	edited("no entry of upstreamCredentials", users()),
	answering("a product that is away", answer(http.StatusServiceUnavailable, "")),
	answering("a product that knows nobody", answer(http.StatusUnauthorized, "")),
	answering("a product behind a page of its operators", answer(http.StatusOK, "<html>maintenance</html>")),
	{"a product without a Service", func(w *world, j *fakeproduct.Jira, _ *tokensv1alpha1.AtlassianSite) func() {
		delete(w.network.servers, w.origin("jira"))
		return func() { w.serve("jira", j) }
	}},
	behind("an API server that answers no read", func(*world, *tokensv1alpha1.AtlassianSite) interceptor.Funcs {
		return interceptor.Funcs{Get: failingGet(errOutage, func(client.ObjectKey) bool { return true })}
	}),
	behind("an API server that answers no list", func(*world, *tokensv1alpha1.AtlassianSite) interceptor.Funcs {
		return interceptor.Funcs{List: func(context.Context, client.WithWatch, client.ObjectList, ...client.ListOption) error {
			return errOutage
		}}
	}),
	behind("an API server that refuses every write", refusedWrites),
	behind("a cache that does not know the site", func(_ *world, s *tokensv1alpha1.AtlassianSite) interceptor.Funcs {
		notFound := apierrors.NewNotFound(schema.GroupResource{Resource: "atlassiansites"}, s.Name)
		return interceptor.Funcs{Get: failingGet(notFound, func(k client.ObjectKey) bool { return k == client.ObjectKeyFromObject(s) })}
	}),
	behind("a cache that knows no APIToken", func(*world, *tokensv1alpha1.AtlassianSite) interceptor.Funcs {
		return interceptor.Funcs{List: func(ctx context.Context, c client.WithWatch, l client.ObjectList, o ...client.ListOption) error {
			if _, ok := l.(*tokensv1alpha1.APITokenList); ok {
				return nil
			}
			return c.List(ctx, l, o...)
		}}
	}),
	{"a namespace that is emptied", func(w *world, _ *fakeproduct.Jira, s *tokensv1alpha1.AtlassianSite) func() {
		end := behind("", refusedWrites).begin(w, nil, s)
		w.remove(w.authURLs(s))
		w.remove(w.secret(w.ns, "carol-pat"))
		w.remove(w.secret(w.ns, "paper"))
		return func() {
			end()
			w.give("carol", pat("carol", 1))
			w.paper("license", "a.b.c")
		}
	}},
	{"a licence of another type", func(w *world, _ *fakeproduct.Jira, _ *tokensv1alpha1.AtlassianSite) func() {
		w.remove(w.secret(w.ns, "paper"))
		w.create(&corev1.Secret{ObjectMeta: metav1.ObjectMeta{Namespace: w.ns, Name: "paper"}, Type: "example.com/other", Data: map[string][]byte{"license": []byte("x")}})
		return func() { w.remove(w.secret(w.ns, "paper")); w.paper("license", "a.b.c") }
	}},
	configured("a start without the licence keys", func(r *site.Reconciler) { r.Licenses = nil }),
	configured("a start with other URLs", func(r *site.Reconciler) { r.WebhookURL, r.PortalURL = "http://typo", "http://typo" }),
	configured("a start with another namespace of credentials", func(r *site.Reconciler) { r.CredentialsNamespace = "typo" }),
	configured("a start with nothing in memory", func(r *site.Reconciler) { r.Memory = credential.NewMemory() }),
	damaged("the memory", func(w *world, s *tokensv1alpha1.AtlassianSite) *corev1.Secret { return w.memorySecret(s.Name) }),
	damaged("the projection", (*world).projectionSecret),
	damaged("the caller keys", (*world).keysSecret),
	damaged("the auth URLs", (*world).authURLs),
	damaged("an enrolled copy", func(w *world, s *tokensv1alpha1.AtlassianSite) *corev1.Secret { return w.copySecret(s, "alice") }),
	damaged("a pasted copy", func(w *world, s *tokensv1alpha1.AtlassianSite) *corev1.Secret { return w.copySecret(s, "bob") }),
}

// No state that passes destroys what could not be made again, however long it lasts. When it has passed, all is as before.
func TestNoPassingStateDestroys(t *testing.T) {
	for _, state := range passingStates {
		t.Run(state.name, func(t *testing.T) {
			w, j, s := enrolledWorld(t, fakeproduct.Options{Users: []fakeproduct.User{{Name: "carol", PATs: []string{pat("carol", 1)}}}})
			w.wantLicenses()
			w.token("bob")
			w.paste(s, "bob", pat("bob", 1))
			w.give("carol", pat("carol", 1))
			w.paper("license", "a.b.c")
			w.change(s, users("carol"), licenseRef("paper", ""), issuedAfter(w.clock.Now().Add(-time.Hour)))
			w.reconcile(s)
			before := w.irreplaceable(s)
			if before.enrolled == "" || before.pasted == "" || before.listed == "" || before.license == "" || before.authURL == "" {
				t.Fatalf("nothing to lose: %+v", before)
			}

			end := state.begin(w, j, s)
			for _, later := range []time.Duration{0, time.Hour, 25 * time.Hour} {
				w.later(later)
				_, _ = w.pass(w.reconciler, s) // what it returns is for other tests
			}
			end()
			w.reconciler.Memory = credential.NewMemory() // every check is due
			for range 2 {
				if _, err := w.pass(w.reconciler, s); err != nil {
					t.Fatal(err)
				}
				w.later(time.Hour)
			}
			if after := w.irreplaceable(s); after != before {
				t.Errorf("it is %+v, and was %+v", after, before)
			}
			w.expectSound(j, s, "alice")
		})
	}
}

// While `upstreamURL` is a mistake, a personal access token that nobody needs any more is kept: nobody else could revoke it.
func TestMistakeLosesNoPersonalAccessToken(t *testing.T) {
	w, j, s := enrolledWorld(t, fakeproduct.Options{})
	good := s.Spec.UpstreamURL
	w.change(s, upstreamURL("http://typo."+w.ns+".svc:8080/jira"))
	w.remove(w.tokenOf("alice"))
	for range 3 {
		w.later(time.Hour)
		w.reconcile(s)
	}
	w.change(s, upstreamURL(good))
	for range 2 { // the copy is marked, then withdrawn
		w.reconcile(s)
		w.later(time.Minute)
	}
	w.expectWithdrawn(j, s, "alice", "alice")
}
