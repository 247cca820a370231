package credential

import (
	"context"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"apitokens.dev/operator/internal/atlassian"
	"apitokens.dev/operator/internal/upstream"
)

// ticking is a clock that goes on by a second whenever it is read.
type ticking struct{ now time.Time }

func (c *ticking) Now() time.Time {
	c.now = c.now.Add(time.Second)
	return c.now
}

func (c *ticking) Since(t time.Time) time.Duration { return c.Now().Sub(t) }

// watched notes whether a copy was marked as ending.
type watched struct {
	client.Client

	marked bool
}

func (w *watched) Update(ctx context.Context, o client.Object, opts ...client.UpdateOption) error {
	if s, ok := o.(*corev1.Secret); ok {
		if c := decode(s); c != nil && !c.Ending.IsZero() {
			w.marked = true
		}
	}
	return w.Client.Update(ctx, o, opts...)
}

// A copy that somebody needs is never marked as ending, at whichever moment of a pass it comes of age.
func TestNeededCopyIsNeverMarked(t *testing.T) {
	for left := range 20 {
		k, s := slowSite(0, prompt{})
		api := &watched{Client: k.Client}
		clock := &ticking{time.Now()}
		k.Client, k.Live, k.Clock = api, api, clock
		c := upstream.Credential{
			Namespace: "dev", Site: "main", User: "alice", UserKey: "k1", Origin: here, Token: "x", Source: upstream.Enrolled, ID: 7,
			Stored: clock.now.Add(time.Duration(left)*time.Second - settlePeriod).UTC(),
		}
		hold(t, k, s, c)
		k.Memory.of(client.ObjectKeyFromObject(s), c.SecretName(), c.Stored, time.Time{}, clock.now).checkAt = clock.now
		if _, err := k.Reconcile(t.Context(), s, &atlassian.Upstream{Product: atlassian.Jira, URL: here}); err != nil {
			t.Fatal(err)
		}
		if api.marked {
			t.Errorf("%d: marked", left)
		}
	}
}
