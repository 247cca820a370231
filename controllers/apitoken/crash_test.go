package apitoken_test

import (
	"context"
	"strings"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/client/interceptor"

	tokensv1alpha1 "apitokens.dev/operator/api/v1alpha1"
	"apitokens.dev/operator/controllers/apitoken"
	"apitokens.dev/operator/hack/lib/kubetest"
	"apitokens.dev/operator/internal/record"
)

// After a kill before any of its writes, the next pass ends in a delivered, valid credential.
func TestKilledBetweenWrites(t *testing.T) {
	for stage, writes := range map[string]int{"issue": 2, "reissue": 3, "rotate": 4} {
		for n := range writes + 1 {
			w := newWorld(t)
			tok := w.atStage(stage)
			_, err := w.pass(w.cut(n), tok)
			if wasCut := err != nil; wasCut != (n < writes) {
				t.Errorf("%s, cut after %d writes: %v", stage, n, err)
			}
			// A secret that was delivered so far is valid already, and an earlier one still is.
			if s := w.secret(w.ns, "ci-token"); s != nil && w.record(tok).Verify(s.Data["password"]) < 0 {
				t.Errorf("%s, cut after %d writes: what was delivered does not authenticate", stage, n)
			}
			w.settled(tok)
		}
	}
}

// atStage is an APIToken that has come to this stage.
func (w *world) atStage(stage string) *tokensv1alpha1.APIToken {
	w.Helper()
	return w.atStageOf(stage, kubetest.Token(w.ns, "ci"))
}

func (w *world) atStageOf(stage string, tok *tokensv1alpha1.APIToken) *tokensv1alpha1.APIToken {
	w.Helper()
	w.create(tok)
	if stage == "issue" {
		return tok
	}
	w.settled(tok)
	switch stage {
	case "reissue":
		if err := env.Admin.Delete(w.Context(), w.secret(w.ns, tok.Spec.Delivery.SecretName)); err != nil {
			w.Fatal(err)
		}
	case "rotate":
		w.sleep(time.Second) // times in a spec are whole seconds
		w.change(tok, func(t *tokensv1alpha1.APIToken) {
			t.Spec.Rotation.OverlapHours = new(int32)
			t.Spec.Rotation.RequestedTime = metav1.NewTime(w.clock.Now())
		})
	}
	return tok
}

// Repeated kills just before the delivery fill the record with candidates that may still be delivered.
// The controller waits for candidateGrace, and then drops the oldest.
func TestKilledAgainAndAgain(t *testing.T) {
	w := newWorld(t)
	tok := kubetest.Token(w.ns, "ci")
	w.create(tok)
	for range record.MaxEntries {
		if _, err := w.pass(w.cut(1), tok); err == nil {
			t.Fatal("the pass was not cut")
		}
	}
	w.reconcile(tok, tokensv1alpha1.ReasonIssuePending)
	if n := len(w.record(tok).Entries); n != record.MaxEntries {
		t.Errorf("%d entries", n)
	}
	w.clock.SetTime(w.clock.Now().Add(2 * time.Minute))
	w.settled(tok)
}

// Another leader does all of its work between any two writes of this one: the end is the same.
func TestTwoLeaders(t *testing.T) {
	for _, stage := range []string{"issue", "reissue", "rotate"} {
		for n := range 3 {
			w := newWorld(t)
			tok := w.atStage(stage)
			if _, err := w.pass(w.overtaken(n, tok), tok); err != nil {
				t.Errorf("%s, overtaken before write %d: %v", stage, n, err)
			}
			w.settled(tok)
		}
	}
}

// overtaken is a reconciler that another one overtakes just before its nth write.
func (w *world) overtaken(n int, tok *tokensv1alpha1.APIToken) *apitoken.Reconciler {
	other := *w.reconciler
	slow := *w.reconciler
	overtake := func() {
		if n--; n == -1 {
			if _, err := w.pass(&other, tok.DeepCopy()); err != nil {
				w.Error(err)
			}
		}
	}
	slow.Client = interceptor.NewClient(env.Client(w.T, kubetest.Controller), interceptor.Funcs{
		Create: func(ctx context.Context, c client.WithWatch, o client.Object, opts ...client.CreateOption) error {
			if _, ok := o.(*corev1.Secret); ok {
				overtake()
			}
			return c.Create(ctx, o, opts...)
		},
		Update: func(ctx context.Context, c client.WithWatch, o client.Object, opts ...client.UpdateOption) error {
			overtake()
			return c.Update(ctx, o, opts...)
		},
	})
	return &slow
}

func (w *world) clean(tok *tokensv1alpha1.APIToken) {
	w.Helper()
	if _, err := w.cleaner.Reconcile(w.Context(), apitoken.Gone{NamespacedName: client.ObjectKeyFromObject(tok), UID: tok.UID}); err != nil {
		w.Fatal(err)
	}
}

func TestCleanUp(t *testing.T) {
	w := newWorld(t)
	tok, other := kubetest.Token(w.ns, "ci"), kubetest.Token(w.ns, "other")
	w.create(tok, other)
	w.settled(tok)
	w.settled(other)

	w.clean(tok)
	if w.secret(w.ns, "ci-token") == nil || w.secret(kubetest.SystemNamespace, string(tok.UID)) == nil {
		t.Fatal("the token of an APIToken that is there was removed")
	}
	if err := env.Admin.Delete(t.Context(), tok); err != nil {
		t.Fatal(err)
	}
	w.clean(tok)
	if w.secret(w.ns, "ci-token") != nil || !w.record(tok).Dead.Equal(w.clock.Now()) {
		t.Error("the delivered Secret of a deleted APIToken was left, or its record is not dead")
	}
	if w.secret(w.ns, "other-token") == nil || w.secret(kubetest.SystemNamespace, string(other.UID)) == nil {
		t.Error("something of another APIToken was removed")
	}
	before := w.secret(kubetest.SystemNamespace, string(tok.UID)).ResourceVersion
	w.sleep(time.Hour)
	w.clean(tok)
	if w.secret(kubetest.SystemNamespace, string(tok.UID)).ResourceVersion != before {
		t.Error("a dead record was written again")
	}
}

func TestCleanUpLeavesWhatIsNotOurs(t *testing.T) {
	w := newWorld(t)
	tok := kubetest.Token(w.ns, "ci")
	w.create(tok)
	w.settled(tok)
	s := w.secret(w.ns, "ci-token")
	s.Data["password"] = []byte("another writer put this here")
	if err := env.Admin.Update(t.Context(), s); err != nil {
		t.Fatal(err)
	}
	if err := env.Admin.Delete(t.Context(), tok); err != nil {
		t.Fatal(err)
	}
	w.clean(tok)
	if w.secret(w.ns, "ci-token") == nil {
		t.Error("a Secret was removed that does not hold the token")
	}
	if w.record(tok).Dead.IsZero() {
		t.Error("the record is not dead")
	}
}

// A foreign write just before the delivery is not reported as a delivery.
func TestDeliveryForestalled(t *testing.T) {
	for name, forestall := range map[string]func(w *world, tok *tokensv1alpha1.APIToken) error{
		"by a Secret": func(*world, *tokensv1alpha1.APIToken) error { return nil },
		"by a Secret, and without the record": func(w *world, tok *tokensv1alpha1.APIToken) error {
			return w.as().Delete(w.Context(), w.secret(kubetest.SystemNamespace, string(tok.UID)))
		},
	} {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t)
			tok := kubetest.Token(w.ns, "ci")
			w.create(tok)
			slow := w.beforeDelivery(func(context.Context, client.Client, client.Object) error {
				w.create(&corev1.Secret{ObjectMeta: metav1.ObjectMeta{Namespace: w.ns, Name: "ci-token"}, Type: corev1.SecretTypeOpaque})
				return forestall(w, tok)
			})
			if _, err := w.pass(slow, tok); err != nil {
				t.Fatal(err)
			}
			w.reconcile(tok, tokensv1alpha1.ReasonDeliveryConflict)
			if got := w.eventsSoFar(); len(got) != 1 || !strings.Contains(got[0], "Warning DeliveryConflict") {
				t.Errorf("events %q", got)
			}
			if w.secret(kubetest.SystemNamespace, string(tok.UID)) != nil {
				t.Error("the record of a token that nobody got is left")
			}
		})
	}
}

// beforeDelivery returns a reconciler that acts before it creates the Secret ci-token.
func (w *world) beforeDelivery(act func(context.Context, client.Client, client.Object) error) *apitoken.Reconciler {
	w.Helper()
	slow := *w.reconciler
	slow.Client = interceptor.NewClient(env.Client(w.T, kubetest.Controller), interceptor.Funcs{
		Create: func(ctx context.Context, c client.WithWatch, o client.Object, opts ...client.CreateOption) error {
			if o.GetName() == "ci-token" {
				if err := act(ctx, c, o); err != nil {
					return err
				}
			}
			return c.Create(ctx, o, opts...)
		},
	})
	return &slow
}

// The answer to a delivery may be lost. The client sends it again, and hears that the Secret is there.
func TestAnswerToADeliveryLost(t *testing.T) {
	w := newWorld(t)
	tok := kubetest.Token(w.ns, "ci")
	w.create(tok)
	slow := w.beforeDelivery(func(ctx context.Context, c client.Client, o client.Object) error {
		return c.Create(ctx, o.DeepCopyObject().(client.Object)) //nolint:forcetypeassert // so is o
	})
	if _, err := w.pass(slow, tok); err != nil {
		t.Fatal(err)
	}
	if r := w.record(tok); r == nil || len(r.Entries) != 1 || r.Verify(w.password(tok)) != 0 {
		t.Error("what was delivered does not authenticate")
	}
	w.settled(tok)
}

// A record of another APIToken, copied to the wrong name, names the delivered Secret of that one.
func TestCleanUpLeavesTheSecretOfAnotherAPIToken(t *testing.T) {
	w := newWorld(t)
	tok, other := kubetest.Token(w.ns, "ci"), kubetest.Token(w.ns, "other")
	w.create(tok, other)
	w.settled(tok)
	w.settled(other)
	s := w.secret(kubetest.SystemNamespace, string(tok.UID))
	s.Data = w.secret(kubetest.SystemNamespace, string(other.UID)).Data
	if err := w.as().Update(t.Context(), s); err != nil {
		t.Fatal(err)
	}
	if err := env.Admin.Delete(t.Context(), tok); err != nil {
		t.Fatal(err)
	}
	w.clean(tok)
	if w.secret(kubetest.SystemNamespace, string(tok.UID)) != nil {
		t.Error("the record was left")
	}
	w.settled(other)
	if w.secret(w.ns, "other-token") == nil {
		t.Error("the Secret of another APIToken was removed")
	}
}

// An APIToken that is deleted and declared again is another token, in whichever order the two are reconciled.
func TestSameNameNeverRevives(t *testing.T) {
	w := newWorld(t)
	first := kubetest.Token(w.ns, "ci")
	w.create(first)
	w.settled(first)
	old := w.password(first)
	if err := env.Admin.Delete(t.Context(), first.DeepCopy()); err != nil {
		t.Fatal(err)
	}
	second := kubetest.Token(w.ns, "ci")
	w.create(second)
	w.reconcile(second, tokensv1alpha1.ReasonIssuePending)
	if got := w.eventsSoFar(); len(got) != 0 {
		t.Errorf("events %q: what passes by itself is nothing to tell", got)
	}
	w.clean(first)
	w.settled(second)
	if second.Status.TokenID == first.Status.TokenID || w.record(second).Verify(old) >= 0 || w.record(first).Dead.IsZero() {
		t.Error("the deleted token lives on")
	}
}
