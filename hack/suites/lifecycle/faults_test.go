package lifecycle_test

import (
	"context"
	"errors"
	"math/rand/v2"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/client/interceptor"

	tokensv1alpha1 "apitokens.dev/operator/api/v1alpha1"
	"apitokens.dev/operator/internal/record"
)

var (
	errInjected = errors.New("injected")
	errKilled   = errors.New("killed")
)

// way is the path of one controller to the API server during one pass, with its faults. It reports every write that
// arrives to the model.
type way struct {
	*world

	random *rand.Rand
	// token is the APIToken that the pass works on, or nil.
	token *tokensv1alpha1.APIToken
	// faults is the percentage of calls that get a fault.
	faults int
	// left is the number of writes before the controller is killed. overtake is called when left is 0. Both happen once.
	left     int
	killed   bool
	overtake func()
	// stale allows reads to return an earlier state, as a cache does.
	stale bool
}

// client returns a client that uses the path.
func (w *way) client() client.Client {
	return interceptor.NewClient(w.operator, interceptor.Funcs{
		Get: func(ctx context.Context, c client.WithWatch, key client.ObjectKey, o client.Object, opts ...client.GetOption) error {
			return w.get(ctx, c, key, o, opts...)
		},
		Create: func(ctx context.Context, c client.WithWatch, o client.Object, opts ...client.CreateOption) error {
			if _, probe := o.(*tokensv1alpha1.APIToken); probe {
				return w.fault(func() error { return c.Create(ctx, o, opts...) })
			}
			return w.write(o, "create", func() error { return c.Create(ctx, o, opts...) })
		},
		Update: func(ctx context.Context, c client.WithWatch, o client.Object, opts ...client.UpdateOption) error {
			return w.write(o, "update", func() error { return c.Update(ctx, o, opts...) })
		},
		Delete: func(ctx context.Context, c client.WithWatch, o client.Object, opts ...client.DeleteOption) error {
			return w.write(o, "delete", func() error { return c.Delete(ctx, o, opts...) })
		},
		SubResourceApply: func(ctx context.Context, c client.Client, sub string, o runtime.ApplyConfiguration, opts ...client.SubResourceApplyOption) error {
			return w.write(nil, "status", func() error { return c.SubResource(sub).Apply(ctx, o, opts...) })
		},
	})
}

func (w *way) get(ctx context.Context, c client.Client, key client.ObjectKey, o client.Object, opts ...client.GetOption) error {
	s, ok := o.(*corev1.Secret)
	if old := w.seen[key]; ok && w.stale && old != nil && w.random.IntN(4) == 0 {
		old.DeepCopyInto(s)
		return nil
	}
	if w.random.IntN(100) < w.faults/2 {
		return apierrors.NewInternalError(errInjected)
	}
	err := c.Get(ctx, key, o, opts...)
	if ok && err == nil && w.random.IntN(2) == 0 {
		w.seen[key] = s.DeepCopy()
	}
	return err
}

// write performs a write, unless the controller was killed before, and reports it to the model.
func (w *way) write(o client.Object, verb string, write func() error) error {
	if w.left--; w.left == -1 && w.overtake != nil {
		w.count("overtaking")
		w.overtake()
	}
	if w.killed && w.left < 0 {
		w.count("kill")
		return errKilled
	}
	return w.fault(func() error {
		err := write()
		if err == nil {
			w.writes++
			w.reportWrite(o, verb)
		}
		return err
	})
}

// fault performs a call, or makes it fail before it happens, or after, as a timeout does.
func (w *way) fault(call func() error) error {
	if w.random.IntN(100) >= w.faults {
		return call()
	}
	w.count("call that failed")
	switch w.random.IntN(3) {
	case 0:
		return apierrors.NewConflict(schema.GroupResource{Resource: "secrets"}, "injected", errInjected)
	case 1:
		return apierrors.NewInternalError(errInjected)
	default:
		_ = call()
		return apierrors.NewTimeoutError("injected", 0)
	}
}

// reportWrite reports a write to the model.
func (w *way) reportWrite(o client.Object, verb string) {
	var err error
	switch o := o.(type) {
	case *tokensv1alpha1.APIToken:
		w.count("removal")
		err = w.model.removed(o.UID)
	case *corev1.Secret:
		here := place{o.Namespace, o.Name}
		switch {
		case o.Type == record.SecretType && w.model.records[o.Name] == string(o.Data[record.DataKey]): // annotated
		case o.Type == record.SecretType && w.token != nil:
			w.model.records[o.Name] = string(o.Data[record.DataKey])
			err = w.model.recorded(types.UID(o.Name), w.token, verb == "create")
		case o.Type == record.SecretType:
		case verb == "delete":
			err = w.model.swept(here)
		default:
			w.countDelivery()
			err = w.model.delivered(w.token, string(o.Data[corev1.BasicAuthPasswordKey]))
		}
	}
	if err != nil {
		w.fail("%s of %s: %v", verb, o.GetName(), err)
	}
}

func (w *way) countDelivery() {
	_, there := w.model.secrets[at(w.token)]
	switch texts := w.model.lives[w.token.UID].texts; {
	case len(texts) == 0:
		w.count("delivery")
	case !there:
		w.count("reissue")
	case overlapOf(w.token) > 0:
		w.count("rotation with an overlap")
	}
}
