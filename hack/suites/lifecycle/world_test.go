package lifecycle_test

import (
	"context"
	crand "crypto/rand"
	"encoding/json"
	"errors"
	"fmt"
	"math"
	"math/rand/v2"
	"strings"
	"sync"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	apimeta "k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/tools/events"
	testclock "k8s.io/utils/clock/testing"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/client"

	tokensv1alpha1 "apitokens.dev/operator/api/v1alpha1"
	"apitokens.dev/operator/controllers/admission"
	"apitokens.dev/operator/controllers/apitoken"
	"apitokens.dev/operator/hack/lib/kubetest"
	"apitokens.dev/operator/internal/authurl"
	"apitokens.dev/operator/internal/projection"
	"apitokens.dev/operator/internal/record"
	"apitokens.dev/operator/internal/upstream"
)

// world is a site with its namespace, a second namespace, and their objects.
type world struct {
	*testing.T
	*tally

	random   *rand.Rand
	clock    *testclock.FakePassiveClock
	model    *model
	operator client.WithWatch
	home     string // where the site is
	away     string
	keys     authurl.Keys
	// all are the APITokens so far, deleted ones included, in the order of their creation.
	all       []*life
	favourite *life
	// unseen are deleted APITokens whose deletion no controller observed.
	unseen map[types.UID]bool
	// before has each APIToken before its last change, seen has Secrets in former states.
	before map[types.UID]*tokensv1alpha1.APIToken
	seen   map[client.ObjectKey]*corev1.Secret
	writes int
	log    []string
	// lastSite is the site that was deleted.
	lastSite *tokensv1alpha1.AtlassianSite
}

// homes are pairs of namespaces that sequences reuse, since nothing here deletes namespaces.
var homes = struct {
	sync.Mutex
	free [][2]string
}{}

func newWorld(t *testing.T, seed uint64, happened *tally) *world {
	w := &world{
		T: t, tally: happened, random: rand.New(rand.NewPCG(seed, 2)), clock: testclock.NewFakePassiveClock(time.Now()), operator: operator(t),
		unseen: map[types.UID]bool{}, before: map[types.UID]*tokensv1alpha1.APIToken{}, seen: map[client.ObjectKey]*corev1.Secret{},
		model: &model{held: map[string]bool{}, lives: map[types.UID]*life{}, secrets: map[place]string{}, records: map[string]string{}},
	}
	env.AwaitGuarded(t)
	w.Cleanup(w.free) // last, since the namespaces that enter makes are emptied at the end of the test too
	w.enter()
	w.Cleanup(w.leave)
	w.step(0)
	w.createSite(kubetest.Site(w.home, "main"))
	w.keys = authurl.NewKeys(w.home, "main", w.clock.Now())
	w.put(kubetest.CredentialsNamespace, w.keys.SecretName(), authurl.KeysSecretType, authurl.KeysDataKey, w.keys.Encode)
	w.hold("alice")
	w.hold("bob")
	return w
}

// enter takes a free pair of namespaces.
func (w *world) enter() {
	homes.Lock()
	defer homes.Unlock()
	if n := len(homes.free); n > 0 {
		w.home, w.away, homes.free = homes.free[n-1][0], homes.free[n-1][1], homes.free[:n-1]
		return
	}
	w.home, w.away = env.Namespace(w.T), env.Namespace(w.T)
}

// free lets other sequences take the namespaces.
func (w *world) free() {
	if w.home == "" {
		return
	}
	homes.Lock()
	defer homes.Unlock()
	homes.free = append(homes.free, [2]string{w.home, w.away})
}

// leave empties the namespaces.
func (w *world) leave() {
	ctx := context.Background()
	must := func(err error) {
		if err != nil {
			w.Error(err)
		}
	}
	for _, ns := range []string{w.home, w.away} {
		must(env.Admin.DeleteAllOf(ctx, &tokensv1alpha1.APIToken{}, client.InNamespace(ns)))
		must(env.Admin.DeleteAllOf(ctx, &tokensv1alpha1.AtlassianSite{}, client.InNamespace(ns)))
		must(env.Admin.DeleteAllOf(ctx, &corev1.Secret{}, client.InNamespace(ns)))
	}
	must(env.Admin.DeleteAllOf(ctx, &corev1.Secret{}, client.InNamespace(kubetest.SystemNamespace), client.MatchingLabels{record.LabelSiteNamespace: w.home}))
	for user := range w.model.held {
		s := secret(kubetest.CredentialsNamespace, upstream.SecretName(w.home, "main", user))
		must(client.IgnoreNotFound(env.Admin.Delete(ctx, s)))
	}
	must(env.Admin.Delete(ctx, secret(kubetest.CredentialsNamespace, w.keys.SecretName())))
	must(env.Admin.Delete(ctx, secret(kubetest.SystemNamespace, projection.SecretName(w.home, "main"))))
	w.label("no")
}

func secret(namespace, name string) *corev1.Secret {
	return &corev1.Secret{ObjectMeta: metav1.ObjectMeta{Namespace: namespace, Name: name}}
}

func (w *world) fail(format string, args ...any) {
	w.Helper()
	w.log = append(w.log, "WRONG: "+fmt.Sprintf(format, args...))
	w.Fatalf("the world is %s and %s\n%s", w.home, w.away, strings.Join(w.log, "\n"))
}

func (w *world) must(err error) {
	w.Helper()
	if err != nil {
		w.fail("%v", err)
	}
}

func (w *world) did(format string, args ...any) {
	w.log = append(w.log, w.clock.Now().UTC().Format("01-02 15:04:05.000 ")+fmt.Sprintf(format, args...))
}

// spelled returns a spec as users write it.
func spelled(spec any) string {
	b, err := json.Marshal(spec)
	if err != nil {
		return err.Error()
	}
	return string(b)
}

func (w *world) step(d time.Duration) {
	w.clock.SetTime(w.clock.Now().Add(d))
	w.model.now = w.clock.Now()
}

func (w *world) put(namespace, name, secretType, key string, encode func() ([]byte, error)) {
	w.Helper()
	data, err := encode()
	w.must(err)
	s := secret(namespace, name)
	s.Type, s.Data = corev1.SecretType(secretType), map[string][]byte{key: data}
	w.must(env.Admin.Create(context.Background(), s))
}

func (w *world) hold(user string) {
	c := upstream.Credential{Namespace: w.home, Site: "main", User: user, Origin: "http://jira." + w.home + ".svc:8080", Token: "pat"}
	w.put(kubetest.CredentialsNamespace, c.SecretName(), upstream.SecretType, upstream.DataKey, c.Encode)
	w.model.held[user] = true
}

// createSite creates the site, and projects it as its controller does.
func (w *world) createSite(s *tokensv1alpha1.AtlassianSite) {
	s.ResourceVersion, s.UID = "", ""
	w.must(env.Admin.Create(w.Context(), s))
	w.model.site = s
	p := projection.Projection{Namespace: s.Namespace, Site: s.Name, UID: string(s.UID), UpstreamURL: s.Spec.UpstreamURL}
	w.must(client.IgnoreNotFound(env.Admin.Delete(w.Context(), secret(kubetest.SystemNamespace, p.SecretName()))))
	w.put(kubetest.SystemNamespace, p.SecretName(), projection.SecretType, projection.DataKey, p.Encode)
}

func (w *world) label(value string) {
	ns := &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: w.away}}
	patch := client.RawPatch(types.MergePatchType, []byte(`{"metadata":{"labels":{"jira":"`+value+`"}}}`))
	if err := env.Admin.Patch(context.Background(), ns, patch); err != nil {
		w.Error(err)
	}
	w.model.labelled = value == "yes"
}

// healthy is a path without faults.
func (w *world) healthy(t *tokensv1alpha1.APIToken) *way {
	return &way{world: w, random: rand.New(rand.NewPCG(0, 0)), token: t, left: math.MaxInt}
}

// pass runs one pass of a freshly started controller over an APIToken, on this path.
func (w *world) pass(on *way) {
	w.Helper()
	live := *on
	live.stale = false
	r := &apitoken.Reconciler{
		Client: on.client(), Live: live.client(), Events: &events.FakeRecorder{}, Clock: w.clock, Random: crand.Reader,
		Namespace: kubetest.SystemNamespace, CredentialsNamespace: kubetest.CredentialsNamespace,
		Guard: &admission.Guard{Client: w.operator, Live: w.operator, Namespace: kubetest.SystemNamespace},
	}
	result, err := r.Reconcile(w.Context(), on.token.DeepCopy())
	if err != nil && !harmless(err) {
		w.fail("a pass over %s: %v", on.token.Name, err)
	}
	ready := w.refresh(on.token)
	w.did("  pass over %s/%s: %s, %v, err %v", on.token.Namespace, on.token.Name, ready, result.RequeueAfter, err)
	raced := result == ctrl.Result{RequeueAfter: time.Second}
	w.model.passed(on.token, err == nil && !on.stale && !raced && isDelivered(ready))
}

// isDelivered reports whether a reason means that nothing is left to write.
func isDelivered(ready string) bool {
	return ready == tokensv1alpha1.ReasonIssued || ready == tokensv1alpha1.ReasonUpstreamCredentialMissing
}

// harmless errors are the injected ones, and conflicts of a pass whose APIToken changes meanwhile.
func harmless(err error) bool {
	return errors.Is(err, errKilled) || errors.Is(err, errInjected) || apierrors.IsConflict(err) || apierrors.IsTimeout(err) ||
		apierrors.IsInternalError(err) || strings.Contains(err.Error(), "did not settle")
}

// refresh reads an APIToken from the API server, and returns the reason of its Ready condition.
func (w *world) refresh(t *tokensv1alpha1.APIToken) string {
	w.Helper()
	var current tokensv1alpha1.APIToken
	err := env.Admin.Get(w.Context(), client.ObjectKeyFromObject(t), &current)
	if apierrors.IsNotFound(err) || err == nil && current.UID != t.UID {
		return "gone"
	}
	w.must(err)
	w.model.lives[t.UID].token = &current
	if ready := apimeta.FindStatusCondition(current.Status.Conditions, tokensv1alpha1.ConditionReady); ready != nil {
		return ready.Reason
	}
	return ""
}

// clean runs the clean-up of a deletion.
func (w *world) clean(t *tokensv1alpha1.APIToken, on *way) {
	c := on.client()
	cleaner := &apitoken.Cleaner{Client: c, Live: c, Events: &events.FakeRecorder{}, Clock: w.clock, Namespace: kubetest.SystemNamespace}
	_, err := cleaner.Reconcile(w.Context(), apitoken.Gone{NamespacedName: client.ObjectKeyFromObject(t), UID: t.UID})
	w.did("  clean up after %s/%s: %v", t.Namespace, t.Name, err)
}

// care runs the sweep over all records.
func (w *world) care() {
	w.Helper()
	c := w.healthy(nil).client()
	orphans := &apitoken.Orphans{Client: c, Live: c, Events: &events.FakeRecorder{}, Clock: w.clock, Namespace: kubetest.SystemNamespace}
	for _, s := range w.records() {
		_, err := orphans.Reconcile(w.Context(), &s)
		w.must(err)
	}
}

func (w *world) records() []corev1.Secret {
	w.Helper()
	var list corev1.SecretList
	w.must(env.Admin.List(w.Context(), &list, client.InNamespace(kubetest.SystemNamespace), client.MatchingLabels{record.LabelSiteNamespace: w.home}))
	return list.Items
}
