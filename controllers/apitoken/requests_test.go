package apitoken_test

import (
	"context"
	"fmt"
	"maps"
	"net/http"
	"strings"
	"sync"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	tokensv1alpha1 "apitokens.dev/operator/api/v1alpha1"
	"apitokens.dev/operator/controllers/admission"
	"apitokens.dev/operator/controllers/internal/shared"
	"apitokens.dev/operator/hack/lib/kubetest"
	"apitokens.dev/operator/internal/upstream"
)

// requests counts requests to the API server, by method and resource.
type requests struct {
	next http.RoundTripper
	mu   sync.Mutex
	all  map[string]int
}

// RoundTrip implements http.RoundTripper.
func (c *requests) RoundTrip(r *http.Request) (*http.Response, error) {
	c.mu.Lock()
	c.all[kindOf(r)]++
	c.mu.Unlock()
	return c.next.RoundTrip(r)
}

// kindOf returns the method of a request and its resource, without namespace and name.
func kindOf(r *http.Request) string {
	parts := strings.Split(strings.Trim(r.URL.Path, "/"), "/")
	at := 2 // api/v1
	if parts[0] == "apis" {
		at = 3
	}
	if parts[at] == "namespaces" && len(parts) > at+2 {
		at += 2
	}
	kind := r.Method + " " + parts[at]
	if len(parts) > at+2 {
		kind += "/" + parts[at+2]
	}
	if r.URL.Query().Has("dryRun") {
		kind += " as a dry run"
	}
	return kind
}

// counted returns the reconciler with a client of its own, and the requests that it makes.
func (w *world) counted() *requests {
	w.Helper()
	c := &requests{all: map[string]int{}}
	config := env.User(w.T, kubetest.Controller)
	config.QPS = -1
	config.Wrap(func(next http.RoundTripper) http.RoundTripper {
		c.next = next
		return c
	})
	made, err := client.New(config, client.Options{Scheme: w.reconciler.Client.Scheme(), Mapper: w.reconciler.Client.RESTMapper()})
	if err != nil {
		w.Fatal(err)
	}
	counted := cached{client.WithFieldOwner(made, "apitoken-controller"), w.reconciler.Client}
	w.reconciler.Client, w.reconciler.Live = counted, shared.NewReader(made)
	w.reconciler.Guard = &admission.Guard{Client: counted, Live: made, Namespace: kubetest.SystemNamespace}
	if _, err := w.reconciler.Guard.Observe(w.Context()); err != nil { // the first one writes its memory
		w.Fatal(err)
	}
	clear(c.all)
	return c
}

// cached is a client that reads elsewhere, as if it had a cache.
type cached struct {
	client.Client

	from client.Reader
}

func (c cached) Get(ctx context.Context, name client.ObjectKey, into client.Object, opts ...client.GetOption) error {
	return c.from.Get(ctx, name, into, opts...)
}

func (c cached) List(ctx context.Context, into client.ObjectList, opts ...client.ListOption) error {
	return c.from.List(ctx, into, opts...)
}

// A new token costs three writes: its record, the delivered Secret and its status. Nothing is read live but what stops a token, before and
// after the secret is made, and the admission policies with the memory of them.
func TestRequestsOfANewToken(t *testing.T) {
	w := newWorld(t)
	tok := kubetest.Token(w.ns, "ci")
	w.create(tok)
	counted := w.counted()
	if _, err := w.pass(w.reconciler, tok); err != nil {
		t.Fatal(err)
	}
	want := map[string]int{
		"POST secrets": 2, "PATCH apitokens/status": 1, "POST apitokens as a dry run": 1,
		"GET atlassiansites": 2, "GET secrets": 2*1 + 1,
		"GET validatingadmissionpolicies": 3, "GET validatingadmissionpolicybindings": 3,
	}
	if !maps.Equal(counted.all, want) {
		t.Errorf("requests %v, want %v", counted.all, want)
	}
	if got := w.eventsSoFar(); len(got) != 0 {
		t.Errorf("events %q", got)
	}
	w.settled(tok)
}

// A new token whose Secret is there already leaves no record. If an earlier APIToken of its name may have left the Secret, as after a
// restore, none is made. The next passes only look at the Secret.
func TestRequestsOfATokenThatCannotBeDelivered(t *testing.T) {
	for what, tc := range map[string]struct {
		begin  func(w *world) *tokensv1alpha1.APIToken
		writes map[string]int
	}{
		"somebody's Secret": {func(w *world) *tokensv1alpha1.APIToken {
			tok := kubetest.Token(w.ns, "ci")
			w.create(&corev1.Secret{ObjectMeta: metav1.ObjectMeta{Namespace: w.ns, Name: "ci-token"}}, tok)
			return tok
		}, map[string]int{"POST secrets": 2, "DELETE secrets": 1, "PATCH apitokens/status": 1}},
		"that of an earlier APIToken": {func(w *world) *tokensv1alpha1.APIToken {
			_, restored := w.restored()
			return restored
		}, map[string]int{"PATCH apitokens/status": 1}},
	} {
		t.Run(what, func(t *testing.T) {
			w := newWorld(t)
			tok := tc.begin(w)
			counted := w.counted()
			for i, want := range []map[string]int{tc.writes, {}} {
				clear(counted.all)
				if _, err := w.pass(w.reconciler, tok); err != nil {
					t.Fatal(err)
				}
				reads := counted.all["GET secrets"]
				maps.DeleteFunc(counted.all, func(kind string, _ int) bool {
					return strings.HasPrefix(kind, http.MethodGet) || strings.HasSuffix(kind, "dry run")
				})
				if !maps.Equal(counted.all, want) || i > 0 && reads != 1 || w.secret(kubetest.SystemNamespace, string(tok.UID)) != nil {
					t.Errorf("pass %d: %d reads of Secrets, and writes %v, want %v", i, reads, counted.all, want)
				}
			}
		})
	}
}

// Tokens that are applied at the same time share the looks at the admission policies and at the site, and their dry runs.
func TestRequestsOfManyNewTokens(t *testing.T) {
	const tokens = 48
	w := newWorld(t)
	var all []*tokensv1alpha1.APIToken
	for i := range tokens {
		all = append(all, kubetest.Token(w.ns, fmt.Sprintf("ci-%d", i)))
	}
	for _, tok := range all {
		w.create(tok)
	}
	counted := w.counted()
	var passes sync.WaitGroup
	for _, tok := range all {
		passes.Go(func() {
			if _, err := w.reconciler.Reconcile(t.Context(), tok.DeepCopy()); err != nil {
				t.Error(err)
			}
		})
	}
	passes.Wait()
	for kind, most := range map[string]int{
		"POST apitokens as a dry run": tokens / 4, "GET validatingadmissionpolicies": 3 * tokens / 4, "GET validatingadmissionpolicybindings": 3 * tokens / 4,
		"GET atlassiansites": tokens, "GET secrets": 2 * tokens,
	} {
		if got := counted.all[kind]; got > most {
			t.Errorf("%d tokens cost %d requests %s, want at most %d", tokens, got, kind, most)
		}
	}
	if counted.all["POST secrets"] != 2*tokens || counted.all["PATCH apitokens/status"] != tokens || counted.all["PUT secrets"] != 0 {
		t.Errorf("requests %v", counted.all)
	}
	w.settled(all[0])
}

// The product confirms the owner after the token was made. That costs a write of the record and of the status, and the record and the
// delivered Secret are read live once before.
func TestRequestsOfALearnedOwner(t *testing.T) {
	w := newWorld(t)
	c := upstream.Credential{Namespace: w.ns, Site: "main", User: "alice", UserKey: "K1", Origin: "http://jira." + w.ns + ".svc:8080", Token: "pat"}
	w.hold(c)
	tok := kubetest.Token(w.ns, "ci")
	w.create(tok)
	w.reconcile(tok, tokensv1alpha1.ReasonIssuePending)
	w.say(c, "alice")
	counted := w.counted()
	if _, err := w.pass(w.reconciler, tok); err != nil {
		t.Fatal(err)
	}
	want := map[string]int{
		"PUT secrets": 1, "PATCH apitokens/status": 1, "GET atlassiansites": 2,
		"GET secrets": 1 + 2*1 + 2, // a look at the delivered Secret before all, the projection twice
	}
	if !maps.Equal(counted.all, want) || w.record(tok).UserKey != "K1" {
		t.Errorf("requests %v, want %v; the owner is %q", counted.all, want, w.record(tok).UserKey)
	}
}

// staleCache is a client whose cache has not seen a Secret yet.
type staleCache struct {
	client.Client

	missing string
}

func (c staleCache) Get(ctx context.Context, name client.ObjectKey, into client.Object, opts ...client.GetOption) error {
	if name.Name == c.missing {
		return apierrors.NewNotFound(corev1.Resource("secrets"), name.Name)
	}
	return c.Client.Get(ctx, name, into, opts...)
}

// A record that the cache does not show yet, as that of a leader before, is found by the attempt to create another one, whether its Secret
// is there or not.
func TestRecordThatTheCacheDoesNotShow(t *testing.T) {
	w := newWorld(t)
	tok := kubetest.Token(w.ns, "ci")
	w.create(tok)
	fresh := tok.DeepCopy()
	w.settled(tok)
	before := w.secret(kubetest.SystemNamespace, string(tok.UID)).ResourceVersion
	unseen := *w.reconciler
	unseen.Client = staleCache{w.reconciler.Client, string(tok.UID)}
	delivered := w.secret(w.ns, "ci-token")
	for _, there := range []*corev1.Secret{delivered, nil} {
		if there == nil {
			if err := env.Admin.Delete(t.Context(), delivered); err != nil {
				t.Fatal(err)
			}
		}
		if result, err := unseen.Reconcile(t.Context(), fresh.DeepCopy()); err != nil || result.RequeueAfter != time.Second {
			t.Errorf("the pass returned %+v, %v", result, err)
		}
		if w.secret(kubetest.SystemNamespace, string(tok.UID)).ResourceVersion != before || (w.secret(w.ns, "ci-token") == nil) != (there == nil) {
			t.Error("another token was made")
		}
	}
}
