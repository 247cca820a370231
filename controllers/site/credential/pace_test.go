package credential

import (
	"context"
	"fmt"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/client"

	tokensv1alpha1 "apitokens.dev/operator/api/v1alpha1"
	"apitokens.dev/operator/controllers/internal/owned"
	"apitokens.dev/operator/internal/atlassian"
	"apitokens.dev/operator/internal/upstream"
)

// busyProduct takes a while for each answer, and counts.
type busyProduct struct {
	Product

	takes time.Duration

	mu             sync.Mutex
	asked          map[string][]time.Time
	atOnce, mostly int
}

func (p *busyProduct) WhoAmI(ctx context.Context, _ atlassian.Upstream, as atlassian.Credential) (atlassian.User, error) {
	user := strings.TrimPrefix(as.Authorization, "Bearer ")
	p.mu.Lock()
	p.asked[user] = append(p.asked[user], time.Now())
	p.atOnce++
	p.mostly = max(p.mostly, p.atOnce)
	p.mu.Unlock()
	defer func() {
		p.mu.Lock()
		p.atOnce--
		p.mu.Unlock()
	}()
	select {
	case <-time.After(p.takes):
		return atlassian.User{Name: user, Key: "K-" + user}, nil
	case <-ctx.Done():
		return atlassian.User{}, ctx.Err()
	}
}

func (p *busyProduct) ListPATs(context.Context, atlassian.Upstream, atlassian.Credential) ([]atlassian.PAT, error) {
	<-time.After(p.takes)
	return nil, nil
}

// passes makes a pass over a site each minute.
func passes(t *testing.T, k *Keeper, s *tokensv1alpha1.AtlassianSite, d time.Duration) {
	t.Helper()
	up := &atlassian.Upstream{Product: atlassian.Jira, URL: here}
	for end := time.Now().Add(d); time.Now().Before(end); <-time.After(time.Minute) {
		if _, err := k.Reconcile(t.Context(), s, up); err != nil {
			t.Fatal(err)
		}
	}
}

// However many copies there are, each is checked about once an hour, by as many requests at once as the product has connections. So
// it is after a restart, and after hours without the product: those that waited longest come first.
func TestEveryCopyIsCheckedWithinAnHour(t *testing.T) {
	for _, tc := range []struct {
		copies int
		takes  time.Duration
	}{{100, 8 * time.Second}, {110, 10 * time.Millisecond}} {
		t.Run(fmt.Sprintf("%d copies, %s", tc.copies, tc.takes), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				product := &busyProduct{takes: tc.takes, asked: map[string][]time.Time{}}
				k, s := slowSite(0, product)
				for i := range tc.copies {
					c := upstream.Credential{Namespace: s.Namespace, Site: s.Name, User: fmt.Sprintf("u%d", i), Origin: here, Token: fmt.Sprintf("u%d", i)}
					c.Source, c.Stored = upstream.Pasted, time.Now().UTC()
					encoded, err := c.Encode()
					if err != nil {
						t.Fatal(err)
					}
					err = k.Client.Create(t.Context(), &corev1.Secret{
						ObjectMeta: metav1.ObjectMeta{
							Namespace: "copies", Name: c.SecretName(), Labels: owned.Labels(types.NamespacedName{Namespace: s.Namespace, Name: s.Name}),
						},
						Type: upstream.SecretType, Data: map[string][]byte{upstream.DataKey: encoded},
					})
					if err != nil {
						t.Fatal(err)
					}
				}
				passes(t, k, s, 100*time.Minute)
				if len(product.asked) != tc.copies || product.mostly != atOnce {
					t.Fatalf("asked was about %d of %d copies, about %d at once", len(product.asked), tc.copies, product.mostly)
				}
				<-time.After(5 * time.Hour)
				k.Memory = NewMemory() // a restart
				back := time.Now()
				passes(t, k, s, 75*time.Minute)
				for user, asked := range product.asked {
					if last := asked[len(asked)-1]; last.Before(back) {
						t.Fatalf("%s was not checked in the 75 minutes after the product came back", user)
					}
				}
			})
		})
	}
}

// One pass a minute, of which an hour has at least 36, works on every copy: the more there are, the more at once.
func TestPaceFollowsTheNumber(t *testing.T) {
	for _, copies := range []int{1, 400, 6_000, 12_000, 100_000} {
		if most := 36 * copiesAtOnce(copies); most < copies {
			t.Errorf("of %d copies %d come within an hour", copies, most)
		}
	}
}

// counting counts the requests that reach the API server.
type counting struct {
	client.Client

	requests atomic.Int64
}

func (c *counting) Get(ctx context.Context, key client.ObjectKey, into client.Object, opts ...client.GetOption) error {
	c.requests.Add(1)
	return c.Client.Get(ctx, key, into, opts...)
}

// countingWrites counts the updates.
type countingWrites struct {
	client.Client

	requests atomic.Int64
}

func (c *countingWrites) Update(ctx context.Context, o client.Object, opts ...client.UpdateOption) error {
	c.requests.Add(1)
	return c.Client.Update(ctx, o, opts...)
}

// A copy that the product goes on accepting is checked each hour, and costs the API server one write in about six hours, and no read.
func TestAcceptedCopiesCostLittle(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		const copies, hours = 5, 12
		product := &busyProduct{takes: time.Millisecond, asked: map[string][]time.Time{}}
		k, s := slowSite(0, product)
		live, writes := &counting{Client: k.Client}, &countingWrites{Client: k.Client}
		k.Live, k.Client = live, writes
		for i := range copies {
			user := fmt.Sprintf("u%d", i)
			c := upstream.Credential{
				Namespace: s.Namespace, Site: s.Name, User: user, UserKey: "K-" + user, Origin: here, Token: user, Source: upstream.Pasted, Stored: time.Now().UTC(),
			}
			hold(t, k, s, c)
		}
		passes(t, k, s, 2*time.Hour)
		live.requests.Store(0)
		writes.requests.Store(0)
		passes(t, k, s, hours*time.Hour)
		if read, written := live.requests.Load(), writes.requests.Load(); read > 0 || written < copies || written > copies*hours/6 {
			t.Errorf("%d reads and %d writes in %d hours for %d copies", read, written, hours, copies)
		}
		for user, asked := range product.asked {
			if len(asked) < hours {
				t.Errorf("the product was asked %d times about %s in more than %d hours", len(asked), user, hours)
			}
		}
	})
}
