package stops_test

import (
	"context"
	crand "crypto/rand"
	"sync/atomic"
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/tools/events"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/client/interceptor"

	tokensv1alpha1 "apitokens.dev/operator/api/v1alpha1"
	"apitokens.dev/operator/controllers/admission"
	"apitokens.dev/operator/controllers/apitoken"
	"apitokens.dev/operator/controllers/site"
	"apitokens.dev/operator/controllers/site/credential"
	"apitokens.dev/operator/hack/lib/kubetest"
	"apitokens.dev/operator/internal/atlassian"
	"apitokens.dev/operator/internal/record"
)

// controller is the controller of one history. A round passes over everything once.
type controller struct {
	*history

	client  client.WithWatch
	sites   *site.Reconciler
	tokens  *apitoken.Reconciler
	cleaner *apitoken.Cleaner
	orphans *apitoken.Orphans
	writes  atomic.Int64
	// unfinished says that something failed, or met another writer, since the round began.
	unfinished atomic.Bool
}

func newController(h *history) *controller {
	c := &controller{history: h}
	c.client = c.counting(kubetest.Indexed(h.operator))
	sink := &events.FakeRecorder{}
	guard := &admission.Guard{Client: h.operator, Live: h.operator, Namespace: kubetest.SystemNamespace}
	c.sites = &site.Reconciler{
		Client: c.client, Live: c.client, Events: sink, Clock: h.clock, Product: atlassian.NewClient(), Memory: credential.NewMemory(),
		Namespace: kubetest.SystemNamespace, CredentialsNamespace: kubetest.CredentialsNamespace, IntakeNamespace: kubetest.IntakeNamespace,
		WebhookURL: "http://gateway.example", PortalURL: "http://portal.example", AllowExternalUpstreams: true,
	}
	c.tokens = &apitoken.Reconciler{
		Client: c.client, Live: c.client, Events: sink, Clock: h.clock, Random: crand.Reader, Guard: guard,
		Namespace: kubetest.SystemNamespace, CredentialsNamespace: kubetest.CredentialsNamespace, Ask: c.ask,
	}
	c.cleaner = &apitoken.Cleaner{Client: c.client, Live: c.client, Events: sink, Clock: h.clock, Namespace: kubetest.SystemNamespace}
	c.orphans = &apitoken.Orphans{Client: c.client, Live: c.client, Events: sink, Clock: h.clock, Namespace: kubetest.SystemNamespace}
	return c
}

// ask has the product asked in the next round.
func (c *controller) ask(site types.NamespacedName, copyName string, since time.Time) {
	c.sites.Memory.Ask(site, copyName, since)
	c.unfinished.Store(true)
}

// counting returns a client that counts writes.
func (c *controller) counting(to client.WithWatch) client.WithWatch {
	count := func(err error) error {
		if err == nil {
			c.writes.Add(1)
		}
		return err
	}
	return interceptor.NewClient(to, interceptor.Funcs{
		Create: func(ctx context.Context, to client.WithWatch, o client.Object, opts ...client.CreateOption) error {
			return count(to.Create(ctx, o, opts...))
		},
		Update: func(ctx context.Context, to client.WithWatch, o client.Object, opts ...client.UpdateOption) error {
			return count(to.Update(ctx, o, opts...))
		},
		Patch: func(ctx context.Context, to client.WithWatch, o client.Object, patch client.Patch, opts ...client.PatchOption) error {
			return count(to.Patch(ctx, o, patch, opts...))
		},
		Delete: func(ctx context.Context, to client.WithWatch, o client.Object, opts ...client.DeleteOption) error {
			return count(to.Delete(ctx, o, opts...))
		},
		SubResourceApply: func(ctx context.Context, to client.Client, sub string, o runtime.ApplyConfiguration, opts ...client.SubResourceApplyOption) error {
			return count(to.SubResource(sub).Apply(ctx, o, opts...))
		},
	})
}

// round passes over the site, its tokens and their records. It notes errors: a later round repeats what failed.
func (c *controller) round(ctx context.Context) {
	c.note(c.sites.Reconcile(ctx, ctrl.Request{NamespacedName: client.ObjectKeyFromObject(c.site)}))
	exists := map[string]bool{}
	for _, ns := range []string{c.home, c.away} {
		var list tokensv1alpha1.APITokenList
		if err := env.Admin.List(ctx, &list, client.InNamespace(ns)); err != nil {
			c.note(ctrl.Result{}, err)
			return
		}
		for i := range list.Items {
			exists[string(list.Items[i].UID)] = true
			c.note(c.tokens.Reconcile(ctx, &list.Items[i]))
		}
	}
	var records corev1.SecretList
	err := env.Admin.List(ctx, &records, client.InNamespace(kubetest.SystemNamespace), client.MatchingLabels(c.labels()))
	c.note(ctrl.Result{}, err)
	for i := range records.Items {
		if s := &records.Items[i]; s.Type == record.SecretType && !exists[s.Name] {
			c.clean(ctx, s)
		}
	}
}

// clean handles a record without an APIToken. Every other deletion is observed, and all are found by the sweep.
func (c *controller) clean(ctx context.Context, s *corev1.Secret) {
	r, err := record.Decode(s.Data[record.DataKey])
	if err != nil {
		c.note(ctrl.Result{}, err)
		return
	}
	if s.Name[0]%2 == 0 {
		gone := apitoken.Gone{NamespacedName: types.NamespacedName{Namespace: r.APIToken.Namespace, Name: r.APIToken.Name}, UID: types.UID(s.Name)}
		c.note(c.cleaner.Reconcile(ctx, gone))
	}
	c.note(c.orphans.Reconcile(ctx, s))
}

// note notes what a pass returned. A pass that met another writer comes again after a second, and says no more than that.
func (c *controller) note(result ctrl.Result, err error) {
	if err == nil && result.RequeueAfter != time.Second {
		return
	}
	c.unfinished.Store(true)
	c.did("controller: again, after %v", err)
}

// maxRounds is more than any state needs until nothing is left to write.
const maxRounds = 8

// reconcile runs rounds until nothing is left to write or to repeat, and reads what was delivered. The clock steps to a moment at which
// everything exists that the API server has: only what the product says from then on tells the owner of a new token.
func (h *history) reconcile() {
	h.Helper()
	if exists := time.Now().Truncate(time.Second).Add(2 * time.Second); h.clock.Now().Before(exists) {
		h.clock.SetTime(exists)
	}
	for range maxRounds {
		before := h.keeper.writes.Load()
		h.keeper.unfinished.Store(false)
		h.keeper.round(h.Context())
		if h.keeper.writes.Load() == before && !h.keeper.unfinished.Load() {
			h.tidied()
			h.readDelivered()
			return
		}
	}
	h.wrong("the controller always has something left to write")
}
