package apitoken_test

import (
	"context"
	"encoding/json"
	"errors"
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/equality"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/client/interceptor"

	tokensv1alpha1 "apitokens.dev/operator/api/v1alpha1"
	"apitokens.dev/operator/controllers/admission"
	"apitokens.dev/operator/internal/record"
)

// The faults that an API call can meet. Every other choice lets it succeed.
const (
	passes byte = iota
	fails
	failsAfterwards
	isStale // a read is of the cache before this pass, a write meets a conflict
	isOvertaken
	isLate    // a write is given up, and comes about when the next one is made
	isRefused // a write is refused for a cause that lasts
	meddles   // the upper half of the choice says how
	faults    = 16
)

// The interference of a person with too many rights.
const (
	deleteSecret byte = iota
	replacePassword
	replaceUsername
	deleteRecord
	damageRecord
	deleteToken
	createSecret
	deleteSite
	createRecord
	suspend
	requestRotation
	revoke
	meddlings
)

// call is an API call, and its fault.
func (s *scene) call(do, stale func() error) error {
	if s.calm {
		return do()
	}
	fault := s.next()
	switch fault % faults {
	case fails:
		return apierrors.NewInternalError(errors.New("injected"))
	case failsAfterwards:
		return errors.Join(do(), apierrors.NewTimeoutError("injected", 1))
	case isStale:
		return stale()
	case isOvertaken:
		s.overtake()
	case meddles:
		s.meddle(fault / faults)
	}
	return do()
}

func (s *scene) write(o client.Object, do func() error) error {
	name := o.GetName()
	s.writes++
	s.arrive()
	if !s.calm && len(s.plan) > 0 && s.plan[0]%faults == isLate {
		s.next()
		s.late = append(s.late, do)
		return apierrors.NewTimeoutError("injected", 1)
	}
	if !s.calm && len(s.plan) > 0 && s.plan[0]%faults == isRefused {
		s.next()
		s.refusedNow = true
		if o, ok := o.(*corev1.Secret); ok && client.ObjectKeyFromObject(o) == s.deliverKey {
			s.refused = append(s.refused, o.Data["password"])
		}
		return apierrors.NewForbidden(corev1.Resource("secrets"), name, errors.New("injected"))
	}
	return s.call(do, func() error { return apierrors.NewConflict(schema.GroupResource{}, name, errors.New("injected")) })
}

// arrive performs the writes that were given up.
func (s *scene) arrive() {
	meddledNow, late := s.meddledNow, s.late
	s.meddledNow, s.late = s.meddledNow || s.meddledEver, nil
	for _, do := range late {
		_ = do()
	}
	s.meddledNow = meddledNow
}

// overtake runs a whole pass of another leader first.
func (s *scene) overtake() {
	t := s.current()
	if t == nil {
		return
	}
	s.calm = true
	_, _ = s.reconciler.Reconcile(s.Context(), t)
	s.calm = false
}

// meddle is the interference of a person with too many rights.
func (s *scene) meddle(kind byte) {
	s.meddled, s.meddledNow, s.meddledEver = s.meddled || kind < suspend, true, true
	drop := func(o client.Object) { _ = s.store.Delete(s.Context(), o) }
	update := func(o client.Object) { _ = s.store.Update(s.Context(), o) }
	delivered, stored := s.stored(s.deliverKey), s.stored(s.recordKey)
	switch {
	case kind == deleteSecret && delivered != nil:
		s.bury()
		drop(delivered)
	case kind == replacePassword && delivered != nil:
		delivered.Data = map[string][]byte{"password": s.another()}
		update(delivered)
	case kind == replaceUsername && delivered != nil && delivered.Data != nil:
		delivered.Data["username"] = []byte("mallory")
		update(delivered)
	case kind == deleteRecord && stored != nil:
		drop(stored)
	case kind == damageRecord && stored != nil:
		stored.Data = map[string][]byte{record.DataKey: []byte(s.damage)}
		update(stored)
	case kind == deleteToken:
		drop(s.token.DeepCopy())
	case kind == createSecret && delivered == nil:
		s.buried = nil
		o := s.deliveredSecret(1 + s.of(secretKinds-1))
		s.deliveredNow = s.deliveredNow || s.holdsOurs(o)
		_ = s.store.Create(s.Context(), o)
	case kind == deleteSite:
		drop(s.newSite())
	case kind == createRecord && stored == nil:
		s.buried = nil
		_ = s.store.Create(s.Context(), s.recordSecret(1+s.of(recordKinds-1)))
	case kind == suspend || kind == requestRotation:
		if t := s.current(); t != nil {
			if kind == suspend {
				t.Spec.State = tokensv1alpha1.StateSuspended
			} else if s.kind == kindGenerated {
				t.Spec.Rotation.RequestedTime = metav1.NewTime(s.clock.Now())
			}
			update(t)
		}
	case kind == revoke:
		if site := s.rules().site; site != nil && site.Spec.IssuedAfter.Time.Before(s.clock.Now()) {
			site.Spec.IssuedAfter = metav1.NewTime(s.clock.Now())
			update(site)
		}
	}
}

// stored returns the Secret from the store, or nil.
func (s *scene) stored(key client.ObjectKey) *corev1.Secret {
	o, err := s.tracker.Get(corev1.SchemeGroupVersion.WithResource("secrets"), key.Namespace, key.Name)
	if err != nil {
		return nil
	}
	found, _ := o.DeepCopyObject().(*corev1.Secret)
	return found
}

// catchUp brings the cache up to date.
func (s *scene) catchUp() {
	s.cached = map[client.ObjectKey]*corev1.Secret{}
	for _, key := range []client.ObjectKey{s.recordKey, s.deliverKey} {
		s.cached[key] = s.stored(key)
	}
	s.cachedSite = s.rules().site
}

// funcs are the API with its faults.
func (s *scene) funcs(live bool) interceptor.Funcs {
	never := func() error {
		s.Fatal("made a call that it has no reason for")
		return nil
	}
	return interceptor.Funcs{
		Get: func(ctx context.Context, c client.WithWatch, key client.ObjectKey, o client.Object, opts ...client.GetOption) error {
			return s.call(func() error { return c.Get(ctx, key, o, opts...) }, func() error { return s.staleGet(key, o, live) })
		},
		List: func(ctx context.Context, c client.WithWatch, list client.ObjectList, opts ...client.ListOption) error {
			return s.call(func() error { return c.List(ctx, list, opts...) }, func() error {
				if _, ok := list.(*corev1.SecretList); ok {
					return nil
				}
				return apierrors.NewTimeoutError("injected", 1)
			})
		},
		Create: func(ctx context.Context, c client.WithWatch, o client.Object, opts ...client.CreateOption) error {
			o.SetCreationTimestamp(metav1.NewTime(s.start)) // as an API server does
			return s.write(o, func() error {
				s.checkCreate(o)
				return c.Create(ctx, o, opts...)
			})
		},
		Update: func(ctx context.Context, c client.WithWatch, o client.Object, opts ...client.UpdateOption) error {
			return s.write(o, func() error {
				s.checkUpdate(o)
				return c.Update(ctx, o, opts...)
			})
		},
		Delete: func(ctx context.Context, c client.WithWatch, o client.Object, opts ...client.DeleteOption) error {
			return s.write(o, func() error {
				s.checkDelete(o, opts)
				return c.Delete(ctx, o, opts...)
			})
		},
		SubResourceApply: func(ctx context.Context, _ client.Client, sub string, o runtime.ApplyConfiguration, opts ...client.SubResourceApplyOption) error {
			if force := new(client.SubResourceApplyOptions).ApplyOpts(opts).Force; sub != "status" || force == nil || !*force {
				s.Fatalf("applied the subresource %s", sub)
			}
			return s.write(s.token, func() error { return s.applyStatus(ctx, o) })
		},
		DeleteAllOf: func(context.Context, client.WithWatch, client.Object, ...client.DeleteAllOfOption) error {
			return never()
		},
		Patch: func(context.Context, client.WithWatch, client.Object, client.Patch, ...client.PatchOption) error {
			return never()
		},
		Apply: func(context.Context, client.WithWatch, runtime.ApplyConfiguration, ...client.ApplyOption) error {
			return never()
		},
		SubResourceUpdate: func(context.Context, client.Client, string, client.Object, ...client.SubResourceUpdateOption) error {
			return never()
		},
		SubResourcePatch: func(context.Context, client.Client, string, client.Object, client.Patch, ...client.SubResourcePatchOption) error {
			return never()
		},
	}
}

func (s *scene) staleGet(key client.ObjectKey, o client.Object, live bool) error {
	if live {
		return apierrors.NewTimeoutError("injected", 1)
	}
	switch into := o.(type) {
	case *corev1.Secret:
		if old := s.cached[key]; old != nil {
			old.DeepCopyInto(into)
			return nil
		}
	case *tokensv1alpha1.AtlassianSite:
		if s.cachedSite != nil {
			s.cachedSite.DeepCopyInto(into)
			return nil
		}
	}
	return apierrors.NewNotFound(schema.GroupResource{}, key.Name)
}

// guard answers for the admission policies.
type guard struct{ *scene }

func (g guard) Stored(context.Context) (admission.State, error) {
	return admission.State{GuardedSince: g.guardedSince()}, nil
}

func (g guard) Observe(context.Context) (state admission.State, err error) {
	err = g.call(func() error {
		if state.GuardedSince = g.guardedSince(); g.policy == policyMissing {
			state = admission.State{Reason: tokensv1alpha1.ReasonAdmissionPolicyMissing, Message: "It is missing."}
		}
		return nil
	}, func() error { return apierrors.NewTimeoutError("injected", 1) })
	return state, err
}

func (g guard) Check(ctx context.Context, t *tokensv1alpha1.APIToken) (admission.State, error) {
	if t.UID != g.token.UID {
		g.Fatalf("asked for %s", t.UID)
	}
	if g.policy == policyOther {
		return admission.State{Reason: tokensv1alpha1.ReasonAdmissionNotVerified, Message: "Another one refuses."}, nil
	}
	return g.Observe(ctx)
}

func (s *scene) guardedSince() time.Time {
	switch s.policy {
	case policyMissing:
		return time.Time{}
	case policyYounger, policyChanged:
		return s.start.Add(time.Hour)
	default:
		return s.start.Add(-time.Hour)
	}
}

// applyStatus is server-side apply of the status by its only writer, with its preconditions.
func (s *scene) applyStatus(ctx context.Context, o runtime.ApplyConfiguration) error {
	var applied, current tokensv1alpha1.APIToken
	text, err := json.Marshal(o)
	if err = errors.Join(err, json.Unmarshal(text, &applied)); err != nil {
		s.Fatal(err)
	}
	if client.ObjectKeyFromObject(&applied) != client.ObjectKeyFromObject(s.token) || applied.UID != s.token.UID || applied.ResourceVersion == "" ||
		!equality.Semantic.DeepEqual(applied.Spec, tokensv1alpha1.APITokenSpec{}) {
		s.Fatalf("applied %s", text)
	}
	if err := s.store.Get(ctx, client.ObjectKeyFromObject(&applied), &current); err != nil {
		return err
	}
	if applied.ResourceVersion != current.ResourceVersion {
		return apierrors.NewConflict(schema.GroupResource{}, s.token.Name, errors.New("changed"))
	}
	current.Status = applied.Status
	return s.store.Status().Update(ctx, &current)
}
