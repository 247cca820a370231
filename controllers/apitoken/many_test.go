package apitoken

import (
	"context"
	"crypto/rand"
	"fmt"
	"reflect"
	"strconv"
	"testing"
	"testing/synctest"
	"time"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	apimeta "k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/tools/cache"
	"k8s.io/client-go/tools/events"
	testclock "k8s.io/utils/clock/testing"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/controller/priorityqueue"

	tokensv1alpha1 "apitokens.dev/operator/api/v1alpha1"
	"apitokens.dev/operator/controllers/admission"
	"apitokens.dev/operator/controllers/index"
	"apitokens.dev/operator/controllers/internal/recheck"
	"apitokens.dev/operator/internal/record"
	"apitokens.dev/operator/internal/token"
	"apitokens.dev/operator/internal/upstream"
)

const systemNamespace, credentialsNamespace = "apitoken-system", "apitoken-credentials"

// memory has objects with the indexes of the controllers' cache, and counts the objects that it hands out. It panics at a write.
type memory struct {
	client.Client

	kinds map[reflect.Type]cache.Indexer
	// touched counts the objects that were handed out. read is called with the name of each that was asked for by name.
	touched int
	read    func(client.ObjectKey)
}

func newMemory() *memory {
	m := &memory{kinds: map[reflect.Type]cache.Indexer{}, read: func(client.ObjectKey) {}}
	for _, kind := range []client.Object{&tokensv1alpha1.APIToken{}, &tokensv1alpha1.AtlassianSite{}, &corev1.Secret{}} {
		indexers := cache.Indexers{cache.NamespaceIndex: cache.MetaNamespaceIndexFunc}
		for name, key := range index.Keys {
			indexers[name] = func(o any) ([]string, error) { return index.Of(key)(o.(client.Object)), nil }
		}
		m.kinds[reflect.TypeOf(kind)] = cache.NewIndexer(cache.MetaNamespaceKeyFunc, indexers)
	}
	return m
}

func (m *memory) put(objects ...client.Object) {
	for _, o := range objects {
		_ = m.kinds[reflect.TypeOf(o)].Add(o) // each has a name
	}
}

func (m *memory) remove(o client.Object) {
	_ = m.kinds[reflect.TypeOf(o)].Delete(o) // it has a name
}

// Get implements client.Reader.
func (m *memory) Get(_ context.Context, key client.ObjectKey, into client.Object, _ ...client.GetOption) error {
	m.read(key)
	found, exists, _ := m.kinds[reflect.TypeOf(into)].GetByKey(key.String())
	if !exists {
		return apierrors.NewNotFound(schema.GroupResource{}, key.String())
	}
	m.touched++
	reflect.ValueOf(into).Elem().Set(reflect.ValueOf(found.(runtime.Object).DeepCopyObject()).Elem())
	return nil
}

// List implements client.Reader. It refuses to select by labels: a cache goes through all objects for that.
func (m *memory) List(_ context.Context, list client.ObjectList, opts ...client.ListOption) error {
	var o client.ListOptions
	o.ApplyOptions(opts)
	if o.LabelSelector != nil {
		return fmt.Errorf("a cache has no index for the labels %s", o.LabelSelector)
	}
	var kind client.Object = &corev1.Secret{}
	if _, ok := list.(*tokensv1alpha1.APITokenList); ok {
		kind = &tokensv1alpha1.APIToken{}
	}
	all := m.kinds[reflect.TypeOf(kind)]
	found := all.List()
	switch {
	case o.FieldSelector != nil:
		by := o.FieldSelector.Requirements()[0]
		found, _ = all.ByIndex(by.Field, by.Value)
	case o.Namespace != "":
		found, _ = all.ByIndex(cache.NamespaceIndex, o.Namespace)
	}
	var objects []runtime.Object
	for _, one := range found {
		if o.Namespace == "" || one.(client.Object).GetNamespace() == o.Namespace {
			objects = append(objects, one.(runtime.Object))
		}
	}
	m.touched += len(found)
	return apimeta.SetList(list, objects)
}

// inForce says that the admission policies are in force.
type inForce struct{}

func (inForce) Stored(context.Context) (admission.State, error) {
	return admission.State{GuardedSince: guarded}, nil
}
func (inForce) Observe(context.Context) (admission.State, error) {
	return admission.State{GuardedSince: guarded}, nil
}
func (inForce) Check(context.Context, *tokensv1alpha1.APIToken) (admission.State, error) {
	return admission.State{GuardedSince: guarded}, nil
}

// crowd is a site with many settled APITokens, a third of each kind, ten for each user, and the reconciler of them.
type crowd struct {
	*testing.T

	clock       *testclock.FakeClock
	cache, live *memory
	reconciler  *Reconciler
	names       []types.NamespacedName
}

func newCrowd(t *testing.T, n int) *crowd {
	t.Helper()
	c := &crowd{T: t, clock: testclock.NewFakeClock(now), cache: newMemory(), live: newMemory()}
	c.reconciler = &Reconciler{
		Client: c.cache, Live: c.live, Events: &events.FakeRecorder{}, Clock: c.clock, Random: rand.Reader, Guard: inForce{},
		Namespace: systemNamespace, CredentialsNamespace: credentialsNamespace,
		settled: recheck.New(c.clock, settledPace), waiting: recheck.New(c.clock, waitingPace),
	}
	site := &tokensv1alpha1.AtlassianSite{ObjectMeta: metav1.ObjectMeta{Namespace: "jira", Name: "main"}}
	site.Spec.BaseURL, site.Spec.UpstreamURL, site.Spec.TokenPaths = "https://jira.example", "http://jira.jira.svc:8080", []string{"/rest/"}
	site.Spec.TokenPolicy.MaxTokensPerUser = new(int32(20))
	c.put(site)
	for i := range n {
		c.add(i)
	}
	return c
}

// put puts objects into the API server and into the cache.
func (c *crowd) put(objects ...client.Object) {
	c.live.put(objects...)
	c.cache.put(objects...)
}

// add adds an APIToken, and everything that belongs to it.
func (c *crowd) add(i int) {
	c.Helper()
	user := fmt.Sprintf("u%d", i/10)
	t := &tokensv1alpha1.APIToken{ObjectMeta: metav1.ObjectMeta{
		Namespace: "jira", Name: fmt.Sprintf("t%d", i), UID: types.UID(fmt.Sprintf("uid-%d", i)), Generation: 1, CreationTimestamp: metav1.NewTime(now.Add(-day)),
	}}
	t.Spec.SiteRef.Name, t.Spec.User, t.Spec.Label = "main", user, "for a test"
	id, err := token.NewID(rand.Reader)
	c.must(err)
	text, entry, err := record.Mint(id, record.Delivered, now.Add(-day), rand.Reader)
	c.must(err)
	r := &record.Record{
		TokenID: id, User: user, UserKey: "K" + user, Site: record.Ref{Namespace: "jira", Name: "main"}, APIToken: record.Ref{Namespace: "jira", Name: t.Name},
	}
	secret := &corev1.Secret{ObjectMeta: metav1.ObjectMeta{Namespace: "jira", Name: t.Name + "-secret"}, Type: corev1.SecretTypeBasicAuth}
	switch i % 3 {
	case 0:
		t.Spec.Credential.Type, t.Spec.Delivery.SecretName, r.DeliverySecret = tokensv1alpha1.CredentialGenerated, secret.Name, secret.Name
		secret.Data = map[string][]byte{"username": []byte(user), "password": []byte(text), "url": []byte("https://jira.example")}
		c.live.put(secret)
	case 1:
		t.Spec.Credential.Type = tokensv1alpha1.CredentialImported
		t.Spec.Credential.Imported = &tokensv1alpha1.ImportedCredential{SecretName: secret.Name, Key: "password", Mode: tokensv1alpha1.ImportFollow}
		r.Imported, text = true, rand.Text()+rand.Text()
		entry.Hash, err = record.NewImportedHash(text, rand.Reader)
		c.must(err)
		secret.Data = map[string][]byte{"password": []byte(text)}
		c.live.put(secret)
	default:
		t.Spec.Credential.Type, r.Portal = tokensv1alpha1.CredentialPortal, true
	}
	r.Entries = []record.Entry{entry}
	c.put(t, c.recordOf(t, r), c.credentialOf(user))
	c.settle(t)
	c.names = append(c.names, client.ObjectKeyFromObject(t))
}

func (c *crowd) recordOf(t *tokensv1alpha1.APIToken, r *record.Record) *corev1.Secret {
	data, err := r.Encode()
	c.must(err)
	return &corev1.Secret{
		ObjectMeta: metav1.ObjectMeta{Namespace: systemNamespace, Name: string(t.UID), CreationTimestamp: t.CreationTimestamp},
		Type:       record.SecretType, Data: map[string][]byte{record.DataKey: data},
	}
}

func (c *crowd) credentialOf(user string) *corev1.Secret {
	held := upstream.Credential{Namespace: "jira", Site: "main", User: user, UserKey: "K" + user, Origin: "http://jira.jira.svc:8080", Token: "pat"}
	data, err := held.Encode()
	c.must(err)
	return &corev1.Secret{
		ObjectMeta: metav1.ObjectMeta{Namespace: credentialsNamespace, Name: held.SecretName()}, Type: upstream.SecretType,
		Data: map[string][]byte{upstream.DataKey: data},
	}
}

// settle gives an APIToken the status that a pass would write, so that the next pass writes nothing.
func (c *crowd) settle(t *tokensv1alpha1.APIToken) {
	c.Helper()
	o, err := c.reconciler.pass(c.Context(), t)
	c.must(err)
	t.Status = c.reconciler.status(t, o)
	c.put(t)
}

// reconcile makes a pass as the manager does.
func (c *crowd) reconcile(name types.NamespacedName) ctrl.Result {
	c.Helper()
	var t tokensv1alpha1.APIToken
	c.must(c.cache.Get(c.Context(), name, &t))
	result, err := c.reconciler.Reconcile(c.Context(), &t)
	c.must(err)
	return result
}

func (c *crowd) must(err error) {
	c.Helper()
	if err != nil {
		c.Fatal(err)
	}
}

// In an hour in which nothing changes, the reconciler asks the API server at most 20 times a second, whatever the number of
// APITokens, and reads each delivered and followed Secret every max(60 s, number / 20 s). It writes nothing.
func TestSteadyHour(t *testing.T) {
	for _, n := range []int{10, 1_000, 10_000} {
		t.Run(strconv.Itoa(n), func(t *testing.T) {
			c := newCrowd(t, n)
			for _, name := range c.names {
				if result := c.reconcile(name); result.RequeueAfter != 0 {
					t.Fatalf("%s comes again by itself, after %s", name, result.RequeueAfter)
				}
			}
			c.steadyHour(n)
		})
	}
}

// A start of the controller reads nothing live about APITokens that are as their status says: it cannot burden the API server. Each
// Secret is read when its turn in the round comes. One that is not as its status says is looked at whole, at once.
func TestStartReadsNothingLive(t *testing.T) {
	for _, n := range []int{10, 1_000} {
		t.Run(strconv.Itoa(n), func(t *testing.T) {
			c := newCrowd(t, n)
			c.reconciler.found = &found{names: map[types.NamespacedName]struct{}{}}
			for _, name := range c.names {
				c.reconciler.found.add(name)
			}
			changed := c.names[0]
			c.expireStatus(changed)
			asked := map[client.ObjectKey]int{}
			c.live.read = func(key client.ObjectKey) { asked[key]++ }
			for _, name := range c.names[1:] {
				if result := c.reconcile(name); result.RequeueAfter != 0 {
					t.Errorf("%s comes again by itself, after %s", name, result.RequeueAfter)
				}
			}
			if len(asked) != 0 {
				t.Errorf("the first looks read %v", asked)
			}
			var token tokensv1alpha1.APIToken
			c.must(c.cache.Get(t.Context(), changed, &token))
			if _, as, err := c.reconciler.asFound(t.Context(), &token); as || err != nil {
				t.Errorf("an APIToken with another status is taken for settled, %v", err)
			}
			c.settle(&token)
			c.reconcile(changed)
			c.steadyHour(n)
		})
	}
}

// expireStatus changes the status of an APIToken to one that a pass would not write.
func (c *crowd) expireStatus(name types.NamespacedName) {
	var t tokensv1alpha1.APIToken
	c.must(c.cache.Get(c.Context(), name, &t))
	t.Status.Conditions[0].Reason = tokensv1alpha1.ReasonExpired
	c.put(&t)
}

// The first look assumes that the Secret of a token is there. It does not for a token that waits for one.
func TestFirstLookAtWaitingTokens(t *testing.T) {
	c := newCrowd(t, 3)
	for kind, mod := range map[string]func(*tokensv1alpha1.APIToken){
		"generated": func(t *tokensv1alpha1.APIToken) { t.Spec.Delivery.SecretName = "none" },
		"imported": func(t *tokensv1alpha1.APIToken) {
			t.Spec.Credential.Type = tokensv1alpha1.CredentialImported
			t.Spec.Credential.Imported = &tokensv1alpha1.ImportedCredential{SecretName: "none", Key: "password"}
		},
		"portal": func(t *tokensv1alpha1.APIToken) { t.Spec.Credential.Type = tokensv1alpha1.CredentialPortal },
	} {
		var token tokensv1alpha1.APIToken
		c.must(c.cache.Get(t.Context(), c.declared("jira", kind, "u0", mod), &token))
		if _, as, err := c.reconciler.asFound(t.Context(), &token); as || err != nil {
			t.Errorf("%s without a record is taken for settled, %v", kind, err)
		}
	}
}

// Each name is taken once, and the last one ends the start.
func TestFoundAtStart(t *testing.T) {
	var none *found
	if none.take(types.NamespacedName{Name: "a"}) {
		t.Error("there is a name in nil")
	}
	over := make(chan bool, 2)
	f := &found{names: map[types.NamespacedName]struct{}{}, done: func() { over <- true }}
	a, b := types.NamespacedName{Name: "a"}, types.NamespacedName{Name: "b"}
	f.add(a)
	f.add(b)
	if !f.take(a) || f.take(a) || len(over) != 0 || !f.take(b) || f.take(b) {
		t.Error("a name is taken twice or not at all")
	}
	<-over
	if f.take(a); len(over) != 0 {
		t.Error("the start is over twice")
	}
}

func (c *crowd) steadyHour(n int) {
	longest := max(time.Minute, time.Duration(n)*time.Second/20)
	asked, last := 0, map[client.ObjectKey]time.Time{}
	c.live.read = func(key client.ObjectKey) {
		asked++
		before, known := last[key]
		if !known {
			before = now
		}
		if waited := c.clock.Since(before); waited > longest {
			c.Errorf("%s was read after %s, want at most %s", key, waited, longest)
		}
		last[key] = c.clock.Now()
	}
	for range 3600 {
		c.clock.Step(time.Second)
		before := asked
		for _, name := range append(c.reconciler.settled.Next(), c.reconciler.waiting.Next()...) {
			c.reconcile(name)
		}
		if asked-before > 20 {
			c.Fatalf("%d requests in a second", asked-before)
		}
	}
	if want := n - n/3; len(last) != want {
		c.Errorf("%d Secrets were read, want %d", len(last), want)
	}
	for key, when := range last {
		if waited := c.clock.Since(when); waited > longest {
			c.Errorf("%s was not read for %s", key, waited)
		}
	}
}

// touches returns how many objects a call gets from the cache and the API server.
func (c *crowd) touches(call func()) int {
	before := c.cache.touched + c.live.touched
	call()
	return c.cache.touched + c.live.touched - before
}

// secretOf returns the name of the Secret with the token of a generated APIToken.
func secretOf(name types.NamespacedName) types.NamespacedName {
	return types.NamespacedName{Namespace: name.Namespace, Name: name.Name + "-secret"}
}

// declared puts an APIToken that has no record, and has nothing written for it.
func (c *crowd) declared(namespace, name, user string, mods ...func(*tokensv1alpha1.APIToken)) types.NamespacedName {
	t := &tokensv1alpha1.APIToken{ObjectMeta: metav1.ObjectMeta{
		Namespace: namespace, Name: name, UID: types.UID(name), Generation: 1, CreationTimestamp: metav1.NewTime(now),
	}}
	t.Spec.SiteRef, t.Spec.User = tokensv1alpha1.SiteReference{Name: "main", Namespace: "jira"}, user
	for _, mod := range mods {
		mod(t)
	}
	c.put(t)
	return client.ObjectKeyFromObject(t)
}

// touched returns how many objects each kind of pass and of event touches.
func (c *crowd) touched() map[string]int {
	r, ctx := c.reconciler, c.Context()
	pass := func(name types.NamespacedName) func() {
		return func() {
			var t tokensv1alpha1.APIToken
			c.must(c.cache.Get(ctx, name, &t))
			c.settle(&t)
		}
	}
	ofPortal := c.declared("jira", "by-kubectl", "u0", func(t *tokensv1alpha1.APIToken) { t.Spec.Credential.Type = tokensv1alpha1.CredentialPortal })
	for i := range 25 {
		c.declared("jira", fmt.Sprint("quota-", i), "many", func(t *tokensv1alpha1.APIToken) { t.Spec.Credential.Type = tokensv1alpha1.CredentialGenerated })
	}
	importing := c.declared("jira", "t1", "u0", func(t *tokensv1alpha1.APIToken) {
		t.UID, t.Spec.Credential.Type = "uid-1", tokensv1alpha1.CredentialImported
		t.Spec.Credential.Imported = &tokensv1alpha1.ImportedCredential{SecretName: "other", Key: "password", Mode: tokensv1alpha1.ImportFollow}
	})
	c.live.put(&corev1.Secret{ObjectMeta: metav1.ObjectMeta{Namespace: "jira", Name: "other"}, Type: corev1.SecretTypeOpaque, Data: map[string][]byte{"password": []byte(rand.Text() + rand.Text())}})
	c.declared("small", "alone", "u0", func(t *tokensv1alpha1.APIToken) { t.Spec.SiteRef.Namespace = "small" })
	stored := func(namespace, name string) *corev1.Secret {
		var s corev1.Secret
		c.must(c.cache.Get(ctx, client.ObjectKey{Namespace: namespace, Name: name}, &s))
		return &s
	}
	small := &tokensv1alpha1.AtlassianSite{ObjectMeta: metav1.ObjectMeta{Namespace: "small", Name: "main"}}
	touched := map[string]int{}
	for what, call := range map[string]func(){
		"a settled generated token":         pass(c.names[0]),
		"a settled portal token":            pass(c.names[2]),
		"a portal token written by kubectl": pass(ofPortal),
		"one above quota":                   pass(types.NamespacedName{Namespace: "jira", Name: "quota-9"}),
		"an import of another secret": func() { // a whole pass would write
			var t tokensv1alpha1.APIToken
			c.must(c.cache.Get(ctx, importing, &t))
			_, err := r.observe(ctx, &t, r.Client, written{})
			c.must(err)
		},
		"event of a record":                   func() { r.tokensOfSecret(ctx, stored(systemNamespace, "uid-0")) },
		"event of a working copy":             func() { r.tokensOfSecret(ctx, c.credentialOf("u0")) },
		"event of a site of the same name":    func() { r.tokensOfSite(ctx, small) },
		"event of a Secret with a token":      func() { r.tokensWithSecret(ctx, secretOf(c.names[0])) },
		"event of a namespace with one token": func() { r.tokensOfNamespace(ctx, &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: "small"}}) },
	} {
		touched[what] = c.touches(call)
	}
	return touched
}

// A pass and an event touch the objects that they are about, whatever the number of APITokens: those of one owner, or of one name.
func TestNothingGoesThroughAll(t *testing.T) {
	few, many := newCrowd(t, 1_000).touched(), newCrowd(t, 10_000).touched()
	for what, want := range few {
		if got := many[what]; got != want || got > 40 {
			t.Errorf("%s: touches %d objects among 1,000 APITokens, and %d among 10,000", what, want, got)
		}
	}
	t.Log(few)
}

// Of many tokens that rotate in the same second, none comes before what changes then.
func TestRotationsHoldUpNoChange(t *testing.T) {
	c := newCrowd(t, 1)
	var rotating tokensv1alpha1.APIToken
	c.must(c.cache.Get(t.Context(), c.names[0], &rotating))
	rotating.Spec.Rotation.IntervalDays = new(int32(2))
	c.settle(&rotating)
	result := c.reconcile(c.names[0])
	if result.RequeueAfter != day {
		t.Fatalf("the token comes again after %s", result.RequeueAfter)
	}
	synctest.Test(t, func(t *testing.T) {
		queue := priorityqueue.New[int]("rotations")
		defer queue.ShutDown()
		const many = 100
		for i := range many {
			queue.AddWithOpts(priorityqueue.AddOpts{After: result.RequeueAfter, Priority: result.Priority}, i)
		}
		<-time.After(result.RequeueAfter + time.Second)
		queue.Add(many)
		synctest.Wait()
		for _, want := range []int{many, 0} {
			if got, _ := queue.Get(); got != want {
				t.Errorf("%d comes first, want %d", got, want)
			}
		}
	})
}
