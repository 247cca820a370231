package credential

import (
	"context"
	"testing"
	"testing/synctest"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/util/workqueue"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"apitokens.dev/operator/internal/atlassian"
	"apitokens.dev/operator/internal/projection"
	"apitokens.dev/operator/internal/upstream"
)

// answers are what an Asker told those who waited: user key and name.
type answers []string

// await asks for the owner of a working copy as so many.
func (t *answers) await(a *Asker, site client.Object, copyName string, times int) {
	for range times {
		a.Ask(client.ObjectKeyFromObject(site), copyName, func(userKey, name string) { *t = append(*t, userKey+" "+name) })
	}
}

// newAsker returns an asker of a site that is served, and what has its product asked.
func newAsker(t *testing.T, product Product, c upstream.Credential) (a *Asker, w *asking, ask func()) {
	t.Helper()
	k, s := slowSite(0, product)
	hold(t, k, s, c)
	p := projection.Projection{Namespace: s.Namespace, Site: s.Name, UpstreamURL: here}
	data, err := p.Encode()
	if err != nil {
		t.Fatal(err)
	}
	projected := &corev1.Secret{
		ObjectMeta: metav1.ObjectMeta{Namespace: "states", Name: p.SecretName()}, Type: projection.SecretType, Data: map[string][]byte{projection.DataKey: data},
	}
	for _, o := range []client.Object{s, projected} {
		if err := k.Client.Create(t.Context(), o); err != nil {
			t.Fatal(err)
		}
	}
	a = NewAsker(k)
	return a, &asking{T: t, keeper: k, site: s, copied: c}, func() {
		if _, err := a.Reconcile(t.Context(), ctrl.Request{NamespacedName: client.ObjectKeyFromObject(s)}); err != nil {
			t.Error(err)
		}
	}
}

// All who wait before a question begins share it. One who comes later is answered by the next one. Nobody is answered from memory.
func TestAskerShares(t *testing.T) {
	product := &naming{user: atlassian.User{Name: "Alice", Key: "K1"}}
	a, w, ask := newAsker(t, product, upstream.Credential{
		Namespace: "dev", Site: "main", User: "alice", UserKey: "K1", Origin: here, Token: "x", Source: upstream.Pasted, Stored: time.Now().UTC(),
	})
	for round := 1; round <= 2; round++ {
		got := &answers{}
		got.await(a, w.site, w.copied.SecretName(), 3)
		if len(*got) != 0 {
			t.Errorf("told %q before the product was asked", *got)
		}
		ask()
		if len(*got) != 3 || (*got)[2] != "K1 alice" || product.asked != round {
			t.Errorf("told %q after %d questions", *got, product.asked)
		}
	}
	if ask(); product.asked != 2 {
		t.Error("the product was asked although nobody waits")
	}
}

// Nothing is told of a working copy that is not in use as it is, and its personal access token is sent nowhere. Nothing is told if the
// product names another user, or none.
func TestAskerTellsNothing(t *testing.T) {
	for what, tc := range map[string]struct {
		change func(*upstream.Credential)
		user   atlassian.User
		err    error
		asked  int
		want   string
	}{
		"as it is":         {func(*upstream.Credential) {}, atlassian.User{Name: "alice", Key: "K1"}, nil, 1, "K1 alice"},
		"renamed":          {func(*upstream.Credential) {}, atlassian.User{Name: "alice.old", Key: "K1"}, nil, 1, "K1 alice.old"},
		"of another user":  {func(*upstream.Credential) {}, atlassian.User{Name: "alice", Key: "K2"}, nil, 1, " "},
		"refused":          {func(*upstream.Credential) {}, atlassian.User{}, atlassian.ErrRefused, 1, " "},
		"no clear answer":  {func(*upstream.Credential) {}, atlassian.User{}, atlassian.ErrUnexpected, 1, " "},
		"without a key":    {func(c *upstream.Credential) { c.UserKey = "" }, atlassian.User{Name: "alice", Key: "K1"}, nil, 0, " "},
		"for another site": {func(c *upstream.Credential) { c.Origin = "https://elsewhere.example" }, atlassian.User{Name: "alice", Key: "K1"}, nil, 0, " "},
		"not accepted":     {func(c *upstream.Credential) { c.Refused = noon }, atlassian.User{Name: "alice", Key: "K1"}, nil, 0, " "},
		"ending":           {func(c *upstream.Credential) { c.Ending = noon }, atlassian.User{Name: "alice", Key: "K1"}, nil, 0, " "},
	} {
		c := upstream.Credential{
			Namespace: "dev", Site: "main", User: "alice", UserKey: "K1", Origin: here, Token: "x", Source: upstream.Pasted, Stored: time.Now().UTC(),
		}
		tc.change(&c)
		product := &naming{user: tc.user, err: tc.err}
		a, w, ask := newAsker(t, product, c)
		got := &answers{}
		got.await(a, w.site, c.SecretName(), 1)
		if ask(); len(*got) != 1 || (*got)[0] != tc.want || product.asked != tc.asked {
			t.Errorf("%s: told %q after %d questions", what, *got, product.asked)
		}
	}
}

// A copy or a site that is gone, or a site that is not served, keeps nobody waiting.
func TestAskerOfWhatIsGone(t *testing.T) {
	for what, remove := range map[string]func(*asking) client.Object{
		"copy": func(w *asking) client.Object {
			return &corev1.Secret{ObjectMeta: metav1.ObjectMeta{Namespace: "copies", Name: w.copied.SecretName()}}
		},
		"site": func(w *asking) client.Object { return w.site },
		"projection": func(*asking) client.Object {
			return &corev1.Secret{ObjectMeta: metav1.ObjectMeta{Namespace: "states", Name: projection.SecretName("dev", "main")}}
		},
	} {
		product := &naming{user: atlassian.User{Name: "alice", Key: "K1"}}
		a, w, ask := newAsker(t, product, upstream.Credential{
			Namespace: "dev", Site: "main", User: "alice", UserKey: "K1", Origin: here, Token: "x", Source: upstream.Pasted, Stored: time.Now().UTC(),
		})
		if err := w.keeper.Client.Delete(t.Context(), remove(w)); err != nil {
			t.Fatal(err)
		}
		got := &answers{}
		got.await(a, w.site, w.copied.SecretName(), 1)
		if ask(); len(*got) != 1 || (*got)[0] != " " || product.asked != 0 {
			t.Errorf("%s: told %q after %d questions", what, *got, product.asked)
		}
	}
}

// Those who wait before the source has started, as at the start of a process, are answered too.
func TestAskerStartsLate(t *testing.T) {
	product := &naming{user: atlassian.User{Name: "alice", Key: "K1"}}
	a, w, _ := newAsker(t, product, upstream.Credential{
		Namespace: "dev", Site: "main", User: "alice", UserKey: "K1", Origin: here, Token: "x", Source: upstream.Pasted, Stored: time.Now().UTC(),
	})
	got := &answers{}
	got.await(a, w.site, w.copied.SecretName(), 1)
	queue := workqueue.NewTypedRateLimitingQueue(workqueue.DefaultTypedControllerRateLimiter[ctrl.Request]())
	defer queue.ShutDown()
	if err := a.calls.Source().Start(t.Context(), queue); err != nil {
		t.Fatal(err)
	}
	if queue.Len() != 1 {
		t.Fatal("nobody asks the product")
	}
	site, _ := queue.Get()
	if _, err := a.Reconcile(t.Context(), site); err != nil || len(*got) != 1 || (*got)[0] != "K1 alice" {
		t.Errorf("told %q, %v", *got, err)
	}
}

// hanging is a product that does not answer before the end of the question.
type hanging struct {
	Product

	asked int
}

func (p *hanging) WhoAmI(ctx context.Context, _ atlassian.Upstream, _ atlassian.Credential) (atlassian.User, error) {
	p.asked++
	<-ctx.Done()
	return atlassian.User{}, ctx.Err()
}

// A product that gives no clear answer is not asked for a minute: nobody waits for it then.
func TestAskerLeavesSilentProductsAlone(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		product := &hanging{}
		a, w, _ := newAsker(t, product, upstream.Credential{
			Namespace: "dev", Site: "main", User: "alice", UserKey: "K1", Origin: here, Token: "x", Source: upstream.Pasted, Stored: time.Now().UTC(),
		})
		got := &answers{}
		round := func() {
			t.Helper()
			got.await(a, w.site, w.copied.SecretName(), 1)
			ctx, cancel := context.WithTimeout(t.Context(), askTimeout) // as the controller has it
			defer cancel()
			if _, err := a.Reconcile(ctx, ctrl.Request{NamespacedName: client.ObjectKeyFromObject(w.site)}); err != nil {
				t.Error(err)
			}
		}
		for range 10 {
			round()
		}
		if product.asked != 1 || len(*got) != 10 {
			t.Errorf("%d questions, told %q", product.asked, *got)
		}
		<-time.After(recheckPeriod)
		if round(); product.asked != 2 || len(*got) != 11 {
			t.Errorf("%d questions after a minute, told %q", product.asked, *got)
		}
	})
}
