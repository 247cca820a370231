// Package admission watches over the admission policies without which the operator issues nothing, and remembers since when
// they are in force without a gap.
package admission

import (
	"context"
	"fmt"
	"sync"
	"sync/atomic"
	"time"

	"golang.org/x/sync/errgroup"
	admissionv1 "k8s.io/api/admissionregistration/v1"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/client"

	tokensv1alpha1 "apitokens.dev/operator/api/v1alpha1"
	"apitokens.dev/operator/controllers/internal/shared"
)

// observationTimeout limits an observation and a probe, because others wait for their end.
const observationTimeout = 10 * time.Second

// observationRest is how long nothing is observed after an observation, in times of its own length: it reads all policies at once, and
// those who wait share the next one.
const observationRest = 3

// Guard knows whether the admission policies are in force, and since when.
type Guard struct {
	// Client reads the memory from the cache, and writes. Live reads from the API server.
	Client client.Client
	Live   client.Reader
	// Namespace holds the memory, Secret SecretName.
	Namespace string

	observed shared.Observations[observedState]
	// probed has what the API server answered to probes, by namespace.
	probed sync.Map // from string to *shared.Observations[probed]
	// stored is what Stored read last. Each pass over an APIToken reads it, and it hardly ever changes.
	stored atomic.Pointer[storedState]
}

// storedState is the state by a version of the memory.
type storedState struct {
	State

	uid     types.UID
	version string
}

// observedState is the result of an observation.
type observedState struct {
	State
	err error
}

// probed is the result of a probe.
type probed struct {
	answer answer
	err    error
}

// Stored returns the state that was observed last, from the cache.
func (g *Guard) Stored(ctx context.Context) (State, error) {
	s, err := g.read(ctx, g.Client)
	if err != nil || s == nil {
		return memory{}.state(), err
	}
	last := g.stored.Load()
	if last == nil || last.uid != s.UID || last.version != s.ResourceVersion {
		last = &storedState{decode(s).state(), s.UID, s.ResourceVersion}
		g.stored.Store(last)
	}
	return last.State, nil
}

// Observe reads the policies from the API server, updates the memory, and returns the state. Calls at the same time share an
// observation that began after each of them.
func (g *Guard) Observe(ctx context.Context) (State, error) {
	o := g.observed.Do(observationRest, func() (observedState, bool) {
		ctx, cancel := context.WithTimeout(ctx, observationTimeout)
		defer cancel()
		m, err := g.update(ctx, func(memory) (time.Time, error) { return time.Time{}, nil })
		return observedState{m.state(), err}, err == nil
	})
	return o.State, o.err
}

// Check observes, and asks the API server in the namespace of t whether the issue policy refuses what the operator may not do.
// It is called before each issuing. Calls for the same namespace share a refusal that was asked for after each of them.
func (g *Guard) Check(ctx context.Context, t *tokensv1alpha1.APIToken) (State, error) {
	state, err := g.Observe(ctx)
	if err != nil || !state.InForce() {
		return state, err
	}
	switch p := g.probe(ctx, t); p.answer {
	case refused:
		return state, nil
	case admitted:
		return missing(IssuePolicy, "the API server does not enforce it in this namespace"), g.distrust(ctx)
	case unclear:
		return notVerified(p.err), nil
	default:
		return State{}, fmt.Errorf("asking whether the admission policy is in force: %w", p.err)
	}
}

// probe asks the API server in the namespace of t. Every other answer than a refusal may be due to t itself, so it is not shared.
func (g *Guard) probe(ctx context.Context, t *tokensv1alpha1.APIToken) probed {
	in, _ := g.probed.LoadOrStore(t.Namespace, new(shared.Observations[probed]))
	return in.(*shared.Observations[probed]).Do(0, func() (probed, bool) { //nolint:forcetypeassert // there is nothing else
		ctx, cancel := context.WithTimeout(ctx, observationTimeout)
		defer cancel()
		err := probe(ctx, g.Client, t)
		return probed{answerOf(err), err}, answerOf(err) == refused
	})
}

// distrust lets the policies count from now on: the API server let a probe pass although they are installed.
func (g *Guard) distrust(ctx context.Context) error {
	_, err := g.update(ctx, func(memory) (time.Time, error) {
		now, err := g.now(ctx)
		return now.Add(enforcementLag).UTC(), err
	})
	return err
}

// update brings the memory up to date. A zero notBefore keeps the one in the memory.
func (g *Guard) update(ctx context.Context, notBefore func(memory) (time.Time, error)) (memory, error) {
	in, err := g.installed(ctx)
	if err != nil {
		return memory{}, err
	}
	stored, err := g.read(ctx, g.Live)
	if err != nil {
		return memory{}, err
	}
	known := decode(stored)
	m := memory{Problems: judge(in, g.Namespace), NotBefore: known.NotBefore}
	if m.Objects, err = remember(known.Objects, inForce(in), func() (time.Time, error) { return g.now(ctx) }); err != nil {
		return memory{}, err
	}
	later, err := notBefore(known)
	if err != nil {
		return memory{}, err
	}
	if later.After(m.NotBefore) {
		m.NotBefore = later
	}
	if stored != nil && m.equal(known) {
		return m, nil
	}
	return m, g.write(ctx, stored, m)
}

// installed reads all policies and bindings at the same time. New tokens wait for it.
func (g *Guard) installed(ctx context.Context) (installed, error) {
	in := installed{map[string]*admissionv1.ValidatingAdmissionPolicy{}, map[string]*admissionv1.ValidatingAdmissionPolicyBinding{}}
	var mu sync.Mutex
	group, ctx := errgroup.WithContext(ctx)
	read := func(name, what string, into client.Object, found func()) {
		group.Go(func() error {
			switch err := g.Live.Get(ctx, client.ObjectKey{Name: name}, into); {
			case apierrors.IsNotFound(err):
				return nil
			case err != nil:
				return fmt.Errorf("reading the %s %s: %w", what, name, err)
			}
			mu.Lock()
			defer mu.Unlock()
			found()
			return nil
		})
	}
	for _, p := range policies {
		policy, binding := &admissionv1.ValidatingAdmissionPolicy{}, &admissionv1.ValidatingAdmissionPolicyBinding{}
		read(p.name, "admission policy", policy, func() { in.policies[p.name] = policy })
		read(p.name, "binding of the admission policy", binding, func() { in.bindings[p.name] = binding })
	}
	return in, group.Wait()
}

// read returns the Secret with the memory, or nil if there is none.
func (g *Guard) read(ctx context.Context, from client.Reader) (*corev1.Secret, error) {
	var s corev1.Secret
	switch err := from.Get(ctx, client.ObjectKey{Namespace: g.Namespace, Name: SecretName}, &s); {
	case err == nil:
		return &s, nil
	case apierrors.IsNotFound(err):
		return nil, nil
	default:
		return nil, fmt.Errorf("reading the memory of the admission policies: %w", err)
	}
}

func (g *Guard) write(ctx context.Context, stored *corev1.Secret, m memory) error {
	data, err := m.encode()
	if err != nil {
		return err
	}
	if stored == nil {
		err = g.Client.Create(ctx, g.secret(data))
	} else {
		stored.Data = data
		err = g.Client.Update(ctx, stored)
	}
	if err != nil {
		return fmt.Errorf("storing since when the admission policies are in force: %w", err)
	}
	return nil
}

func (g *Guard) secret(data map[string][]byte) *corev1.Secret {
	return &corev1.Secret{
		ObjectMeta: metav1.ObjectMeta{
			Namespace: g.Namespace, Name: SecretName, Labels: map[string]string{"app.kubernetes.io/managed-by": "apitoken-operator"},
		},
		Type: SecretType, Data: data,
	}
}

// now returns the API server's time, rounded up to a second. Creation times are by the same clock.
func (g *Guard) now(ctx context.Context) (time.Time, error) {
	s := g.secret(nil)
	s.Name, s.GenerateName = "", SecretName+"-"
	if err := g.Client.Create(ctx, s, client.DryRunAll); err != nil {
		return time.Time{}, fmt.Errorf("asking the API server for the time: %w", err)
	}
	return s.CreationTimestamp.Add(time.Second), nil
}
