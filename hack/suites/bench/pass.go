package main

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"os"
	"reflect"
	"strings"
	"sync"
	"time"

	"github.com/go-logr/logr"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/tools/events"
	"k8s.io/utils/clock"
	ctrl "sigs.k8s.io/controller-runtime"
	kube "sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/reconcile"

	tokensv1alpha1 "apitokens.dev/operator/api/v1alpha1"
	"apitokens.dev/operator/controllers"
	"apitokens.dev/operator/controllers/admission"
	"apitokens.dev/operator/controllers/apitoken"
	"apitokens.dev/operator/controllers/index"
	"apitokens.dev/operator/controllers/site"
	"apitokens.dev/operator/controllers/site/credential"
	"apitokens.dev/operator/hack/lib/bulk"
	"apitokens.dev/operator/internal/atlassian"
	"apitokens.dev/operator/internal/manager"
	"apitokens.dev/operator/internal/upstream"
)

// passes measures passes over one object that a tenant can cause, in this process: the cache is the controller's, filled by a real API
// server. Requests are answered at once, with what the first pass was answered, and writes do nothing, so the time is that of the pass
// alone.
var passes = group{
	name: "passes", measure: measurePasses,
	figures: []figure{
		{"pass_us_100k", atMost(1000), "the dearest of the next ones, in microseconds of CPU time, among 100,000 tokens"},
		{"pass_site_us_100k", goal{}, "a pass over the site, as the deletion of a user's last token causes"},
		{"pass_site_whole_us_100k", goal{}, "a pass over the site and all its working copies, once an hour and when the site changes"},
		{"pass_by_kubectl_us_100k", goal{}, "a pass over a portal token that was written by kubectl"},
		{"pass_above_quota_us_100k", goal{}, "a pass over a token above the quota of its user"},
	},
}

func measurePasses(b *bench) (figures map[string]float64, err error) {
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	c, err := startCluster(ctx, b.stored, nil)
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, c.stop()) }()
	portal, above, err := c.declareOdd(ctx)
	if err != nil {
		return nil, err
	}
	tokens, sites, err := c.reconcilers(ctx)
	if err != nil {
		return nil, err
	}
	first, err := bulk.NewToken(0)
	if err != nil {
		return nil, err
	}
	main := types.NamespacedName{Namespace: bulk.Namespace, Name: bulk.Site}
	lastToken := func() { sites.Memory.Changed(main, upstream.SecretName(main.Namespace, main.Name, first.User)) }
	figures = map[string]float64{}
	for _, kind := range []struct {
		figure  string
		by      reconcile.Reconciler
		over    types.NamespacedName
		changes func()
	}{
		{"pass_site_us_100k", sites, main, lastToken},
		{"pass_by_kubectl_us_100k", reconcile.AsReconciler(tokens.Client, tokens), portal, func() {}},
		{"pass_above_quota_us_100k", reconcile.AsReconciler(tokens.Client, tokens), above, func() {}},
		{"pass_site_whole_us_100k", sites, main, func() { sites.Memory.Changed(main, "") }},
	} {
		if figures[kind.figure], err = microseconds(ctx, kind.by, kind.over, kind.changes); err != nil {
			return nil, fmt.Errorf("measuring %s: %w", kind.figure, err)
		}
	}
	figures["pass_us_100k"] = max(figures["pass_site_us_100k"], figures["pass_by_kubectl_us_100k"], figures["pass_above_quota_us_100k"])
	return figures, nil
}

// microseconds returns the CPU time of a pass that is not the first one, after changes.
func microseconds(ctx context.Context, by reconcile.Reconciler, over types.NamespacedName, changes func()) (float64, error) {
	const least, during = 5, 2 * time.Second
	pass := func() error {
		changes()
		_, err := by.Reconcile(ctx, reconcile.Request{NamespacedName: over})
		return err
	}
	if err := errors.Join(pass(), pass()); err != nil {
		return 0, err
	}
	made, begun, before := 0, time.Now(), used()
	for ; made < least || time.Since(begun) < during; made++ {
		if err := pass(); err != nil {
			return 0, err
		}
	}
	return float64((used() - before).Microseconds()) / float64(made), nil
}

// declareOdd declares a portal token that the portal did not make, and one more token of a user who has as many as the site allows.
func (c *cluster) declareOdd(ctx context.Context) (portal, above types.NamespacedName, err error) {
	admin, err := c.Client()
	if err != nil {
		return portal, above, err
	}
	first, err := bulk.NewToken(0)
	if err != nil {
		return portal, above, err
	}
	var s tokensv1alpha1.AtlassianSite
	if err := admin.Get(ctx, kube.ObjectKey{Namespace: bulk.Namespace, Name: bulk.Site}, &s); err != nil {
		return portal, above, fmt.Errorf("reading the site: %w", err)
	}
	s.Spec.TokenPolicy.MaxTokensPerUser = new(int32(bulk.OfFirst))
	if err := admin.Update(ctx, &s); err != nil {
		return portal, above, fmt.Errorf("limiting the tokens of a user: %w", err)
	}
	declare := func(name string, as tokensv1alpha1.Credential) types.NamespacedName {
		t := &tokensv1alpha1.APIToken{ObjectMeta: metav1.ObjectMeta{Namespace: bulk.Namespace, Name: name}, Spec: tokensv1alpha1.APITokenSpec{
			SiteRef: tokensv1alpha1.SiteReference{Name: bulk.Site}, User: first.User, Label: "measured", Credential: as,
		}}
		if as.Type == tokensv1alpha1.CredentialGenerated {
			t.Spec.Delivery.SecretName = name
		}
		err = errors.Join(err, admin.Create(ctx, t))
		return kube.ObjectKeyFromObject(t)
	}
	portal = declare("by-kubectl", tokensv1alpha1.Credential{Type: tokensv1alpha1.CredentialPortal})
	above = declare("above-quota", tokensv1alpha1.Credential{Type: tokensv1alpha1.CredentialGenerated})
	return portal, above, err
}

// reconcilers returns those of APITokens and of sites, with a full cache.
func (c *cluster) reconcilers(ctx context.Context) (*apitoken.Reconciler, *site.Reconciler, error) {
	const system, credentials, intake = "apitoken-system", "apitoken-credentials", "apitoken-intake"
	o := controllers.Options{Namespace: system, CredentialsNamespace: credentials, IntakeNamespace: intake}
	mgr, err := manager.New(c.Admin(), manager.Telemetry{Health: "0", Metrics: "0"}, ctrl.Options{Logger: logr.Discard(), Cache: controllers.CacheOptions(o)})
	if err != nil {
		return nil, nil, err
	}
	if err := index.AddTo(ctx, mgr.GetCache()); err != nil {
		return nil, nil, err
	}
	for _, kind := range []kube.Object{&corev1.Secret{}, &tokensv1alpha1.APIToken{}, &tokensv1alpha1.AtlassianSite{}, &corev1.Namespace{}} {
		if _, err := mgr.GetCache().GetInformer(ctx, kind); err != nil && !errors.Is(err, context.Canceled) {
			return nil, nil, fmt.Errorf("filling a cache: %w", err)
		}
	}
	go func() { _ = mgr.GetCache().Start(ctx) }() // it ends with ctx
	if !mgr.GetCache().WaitForCacheSync(ctx) {
		return nil, nil, errors.New("filling a cache: it did not get full")
	}
	manager.SettleMemory()
	fmt.Fprintln(os.Stderr, "  the cache is full")
	reads := kube.Reader(&remembered{Reader: mgr.GetAPIReader(), known: map[string]answered{}})
	written, recorder, memory := silent{mgr.GetClient()}, &events.FakeRecorder{}, credential.NewMemory()
	_ = memory.Source() // it is told of changes
	guard := &admission.Guard{Client: written, Live: reads, Namespace: system}
	return &apitoken.Reconciler{
			Client: written, Live: reads, Events: recorder, Clock: clock.RealClock{}, Random: rand.Reader, Guard: guard, Ask: memory.Ask,
			Namespace: system, CredentialsNamespace: credentials,
		}, &site.Reconciler{
			Client: written, Live: reads, Events: recorder, Clock: clock.RealClock{}, Product: product{}, Memory: memory, Guard: guard,
			Namespace: system, CredentialsNamespace: credentials, IntakeNamespace: intake, WebhookURL: "https://webhook", PortalURL: "https://portal",
			AllowExternalUpstreams: true,
		}, nil
}

// remembered answers a question as it was answered the first time.
type remembered struct {
	kube.Reader

	mu    sync.Mutex
	known map[string]answered
}

type answered struct {
	with runtime.Object
	err  error
}

func (r *remembered) Get(ctx context.Context, key kube.ObjectKey, into kube.Object, opts ...kube.GetOption) error {
	return r.once(fmt.Sprintf("%T %s %s", into, into.GetObjectKind().GroupVersionKind(), key), into, func() error { return r.Reader.Get(ctx, key, into, opts...) })
}

func (r *remembered) List(ctx context.Context, into kube.ObjectList, opts ...kube.ListOption) error {
	var o kube.ListOptions
	o.ApplyOptions(opts)
	question := fmt.Sprintf("%T %s %s %v %v", into, into.GetObjectKind().GroupVersionKind(), o.Namespace, o.LabelSelector, o.FieldSelector)
	return r.once(question, into, func() error { return r.Reader.List(ctx, into, opts...) })
}

func (r *remembered) once(question string, into runtime.Object, ask func() error) error {
	r.mu.Lock()
	defer r.mu.Unlock()
	known, ok := r.known[question]
	if !ok {
		known.err = ask()
		if known.with = into.DeepCopyObject(); known.err == nil || apierrors.IsNotFound(known.err) {
			r.known[question] = known
		}
	}
	reflect.ValueOf(into).Elem().Set(reflect.ValueOf(known.with.DeepCopyObject()).Elem())
	return known.err
}

// silent reads from a cache, and writes nothing.
type silent struct{ kube.Client }

func (silent) Create(context.Context, kube.Object, ...kube.CreateOption) error { return nil }
func (silent) Update(context.Context, kube.Object, ...kube.UpdateOption) error { return nil }
func (silent) Delete(context.Context, kube.Object, ...kube.DeleteOption) error { return nil }
func (silent) Status() kube.SubResourceWriter                                  { return silentStatus{} }
func (silent) Patch(context.Context, kube.Object, kube.Patch, ...kube.PatchOption) error {
	return nil
}
func (silent) Apply(context.Context, runtime.ApplyConfiguration, ...kube.ApplyOption) error {
	return nil
}

type silentStatus struct{ kube.SubResourceWriter }

func (silentStatus) Apply(context.Context, runtime.ApplyConfiguration, ...kube.SubResourceApplyOption) error {
	return nil
}

// product answers as the product of the world does, without a network.
type product struct{ site.Product }

func (product) Probe(context.Context, atlassian.Upstream) error { return nil }

func (product) WhoAmI(_ context.Context, _ atlassian.Upstream, as atlassian.Credential) (atlassian.User, error) {
	name := strings.TrimPrefix(as.Authorization, "Bearer "+bulk.PersonalAccessToken(""))
	return atlassian.User{Name: name, Key: "JIRAUSER" + strings.TrimPrefix(name, "user-")}, nil
}

func (product) ListPATs(context.Context, atlassian.Upstream, atlassian.Credential) ([]atlassian.PAT, error) {
	return nil, nil
}
