package apitoken_test

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/client-go/tools/events"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/client/interceptor"

	tokensv1alpha1 "apitokens.dev/operator/api/v1alpha1"
	"apitokens.dev/operator/controllers/apitoken"
	"apitokens.dev/operator/hack/lib/kubetest"
	"apitokens.dev/operator/internal/record"
	"apitokens.dev/operator/internal/token"
)

// Two controllers work at once, each sure that it leads, while Secrets and APITokens go and come, and one API call in
// ten goes wrong.
func TestTwoLeadersUnderFaults(t *testing.T) { twoLeaders(t, 12, 4*time.Second) }

// leaders are two controllers over the same APITokens.
type leaders struct {
	*world

	names []string
	// gone are the deleted APITokens that both cleaners know of.
	mu   sync.Mutex
	gone []apitoken.Gone

	passes, faults, checks, deliveries atomic.Int64
}

func twoLeaders(t *testing.T, tokens int, duration time.Duration) {
	r := &leaders{world: newWorld(t)}
	r.reconciler.Events = &events.FakeRecorder{} // without a channel: the default one blocks when it is full
	for i := range tokens {
		r.names = append(r.names, fmt.Sprintf("t%d", i))
		r.create(kubetest.Token(r.ns, r.names[i]))
	}
	ctx, cancel := context.WithCancel(t.Context())
	var group sync.WaitGroup
	defer group.Wait()
	defer cancel()
	for leader := range uint64(2) {
		random := rand.New(rand.NewPCG(leader, 7))
		faulty := r.faulty(random)
		group.Go(func() { r.lead(ctx, random, faulty) })
	}
	group.Go(func() { r.disturb(ctx) })
	group.Go(func() { r.watch(ctx) })
	<-time.After(duration)
	kubetest.Eventually(t, r.enough)
	cancel()
	group.Wait()
	r.settle()
	t.Logf("%d passes, %d faults, %d checks, %d disturbances", r.passes.Load(), r.faults.Load(), r.checks.Load(), r.deliveries.Load())
}

// enough returns an error until so much has happened that the test proves something. A busy machine needs longer for it.
func (r *leaders) enough() error {
	if r.passes.Load() < int64(len(r.names)) || r.faults.Load() == 0 || r.checks.Load() == 0 || r.deliveries.Load() == 0 {
		return errors.New("too little happened to prove anything")
	}
	return nil
}

// lead passes over the APITokens in random order, with a client that fails.
func (r *leaders) lead(ctx context.Context, random *rand.Rand, faulty client.Client) {
	tokens, cleaner := *r.reconciler, *r.cleaner
	tokens.Client, cleaner.Client = faulty, faulty
	for ctx.Err() == nil {
		var t tokensv1alpha1.APIToken
		name := client.ObjectKey{Namespace: r.ns, Name: r.names[random.IntN(len(r.names))]}
		if err := env.Admin.Get(ctx, name, &t); err == nil {
			_, _ = tokens.Reconcile(ctx, &t)
			r.passes.Add(1)
		}
		if gone, ok := r.someGone(random); ok {
			_, _ = cleaner.Reconcile(ctx, gone)
		}
	}
}

func (r *leaders) someGone(random *rand.Rand) (apitoken.Gone, bool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if len(r.gone) == 0 {
		return apitoken.Gone{}, false
	}
	return r.gone[random.IntN(len(r.gone))], true
}

var errInjected = errors.New("injected")

// faulty fails one call in ten: before the write, after it as a timeout does, or by reading what was there before.
func (r *leaders) faulty(random *rand.Rand) client.Client {
	stale := map[client.ObjectKey]*corev1.Secret{}
	write := func(write func() error) error {
		if random.IntN(10) > 0 {
			return write()
		}
		r.faults.Add(1)
		switch random.IntN(3) {
		case 0:
			return apierrors.NewConflict(schema.GroupResource{Resource: "secrets"}, "injected", errInjected)
		case 1:
			return apierrors.NewInternalError(errInjected)
		default:
			_ = write()
			return apierrors.NewTimeoutError("injected", 0)
		}
	}
	return interceptor.NewClient(env.Client(r.T, kubetest.Controller), interceptor.Funcs{
		Get: func(ctx context.Context, c client.WithWatch, key client.ObjectKey, o client.Object, opts ...client.GetOption) error {
			s, ok := o.(*corev1.Secret)
			if old := stale[key]; ok && old != nil && random.IntN(10) == 0 {
				r.faults.Add(1)
				old.DeepCopyInto(s)
				return nil
			}
			err := c.Get(ctx, key, o, opts...)
			if ok && err == nil && random.IntN(2) == 0 {
				stale[key] = s.DeepCopy()
			}
			return err
		},
		Create: func(ctx context.Context, c client.WithWatch, o client.Object, opts ...client.CreateOption) error {
			return write(func() error { return c.Create(ctx, o, opts...) })
		},
		Update: func(ctx context.Context, c client.WithWatch, o client.Object, opts ...client.UpdateOption) error {
			return write(func() error { return c.Update(ctx, o, opts...) })
		},
		Delete: func(ctx context.Context, c client.WithWatch, o client.Object, opts ...client.DeleteOption) error {
			return write(func() error { return c.Delete(ctx, o, opts...) })
		},
	})
}

// disturb deletes delivered Secrets, and APITokens, which it declares again. What it has begun it finishes: of an APIToken whose
// deletion was cut off nobody would know that it is gone.
func (r *leaders) disturb(until context.Context) {
	ctx := r.Context()
	random := rand.New(rand.NewPCG(9, 9))
	tick := time.NewTicker(20 * time.Millisecond)
	defer tick.Stop()
	for {
		select {
		case <-until.Done():
			return
		case <-tick.C:
		}
		name := r.names[random.IntN(len(r.names))]
		if random.IntN(3) > 0 {
			s := &corev1.Secret{}
			s.Namespace, s.Name = r.ns, name+"-token"
			if env.Admin.Delete(ctx, s) == nil {
				r.deliveries.Add(1)
			}
			continue
		}
		var t tokensv1alpha1.APIToken
		if env.Admin.Get(ctx, client.ObjectKey{Namespace: r.ns, Name: name}, &t) != nil || env.Admin.Delete(ctx, t.DeepCopy()) != nil {
			continue
		}
		r.mu.Lock()
		r.gone = append(r.gone, apitoken.Gone{NamespacedName: client.ObjectKeyFromObject(&t), UID: t.UID})
		r.mu.Unlock()
		_ = env.Admin.Create(ctx, kubetest.Token(r.ns, name))
	}
}

// watch checks all the time that the delivered tokens authenticate.
func (r *leaders) watch(ctx context.Context) {
	random := rand.New(rand.NewPCG(5, 5))
	for ctx.Err() == nil {
		name := client.ObjectKey{Namespace: r.ns, Name: r.names[random.IntN(len(r.names))]}
		secret := client.ObjectKey{Namespace: r.ns, Name: name.Name + "-token"}
		var before, after tokensv1alpha1.APIToken
		var first, second, stored corev1.Secret
		if env.Admin.Get(ctx, name, &before) != nil || env.Admin.Get(ctx, secret, &first) != nil ||
			env.Admin.Get(ctx, client.ObjectKey{Namespace: kubetest.SystemNamespace, Name: string(before.UID)}, &stored) != nil ||
			env.Admin.Get(ctx, secret, &second) != nil || env.Admin.Get(ctx, name, &after) != nil {
			continue
		}
		if first.UID != second.UID || first.ResourceVersion != second.ResourceVersion || before.UID != after.UID {
			continue // replaced while we looked
		}
		decoded, err := record.Decode(stored.Data[record.DataKey])
		if err != nil {
			r.Errorf("%s: %v", name.Name, err)
			continue
		}
		id, ok := token.Parse(first.Data["password"])
		if ok && string(id) != decoded.TokenID {
			continue // it was declared again just now, and the Secret is still its predecessor's
		}
		r.checks.Add(1)
		if decoded.Verify(first.Data["password"]) < 0 {
			r.Errorf("%s: what lies delivered does not authenticate", name.Name)
		}
	}
}

// settle lets one healthy controller finish, and compares the world with what it should be.
func (r *leaders) settle() {
	r.Helper()
	r.clock.SetTime(r.clock.Now().Add(time.Hour)) // no candidate can be delivered any more
	for _, g := range r.gone {
		if _, err := r.cleaner.Reconcile(r.Context(), g); err != nil {
			r.Error(err)
		}
	}
	records := map[string]bool{}
	for _, name := range r.names {
		var t tokensv1alpha1.APIToken
		if err := env.Admin.Get(r.Context(), client.ObjectKey{Namespace: r.ns, Name: name}, &t); err != nil {
			continue
		}
		r.settled(&t)
		records[string(t.UID)] = true
	}
	var stored, delivered corev1.SecretList
	if err := errors.Join(
		env.Admin.List(r.Context(), &stored, client.InNamespace(kubetest.SystemNamespace), client.MatchingLabels{record.LabelSiteNamespace: r.ns}),
		env.Admin.List(r.Context(), &delivered, client.InNamespace(r.ns)),
	); err != nil {
		r.Fatal(err)
	}
	alive := 0
	for _, s := range stored.Items {
		decoded, err := record.Decode(s.Data[record.DataKey])
		if err != nil || decoded.Dead.IsZero() != records[s.Name] {
			r.Errorf("record %s has no APIToken and is not dead, or the other way round: %v", s.Name, err)
		}
		if records[s.Name] {
			alive++
		}
	}
	if alive != len(records) || len(delivered.Items) != len(records) {
		r.Errorf("%d APITokens, %d live records, %d delivered Secrets", len(records), alive, len(delivered.Items))
	}
}
