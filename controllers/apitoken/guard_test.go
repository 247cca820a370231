package apitoken_test

import (
	"context"
	"errors"
	"strings"
	"testing"
	"time"

	admissionv1 "k8s.io/api/admissionregistration/v1"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	apimeta "k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/client/interceptor"

	tokensv1alpha1 "apitokens.dev/operator/api/v1alpha1"
	"apitokens.dev/operator/controllers/admission"
	"apitokens.dev/operator/controllers/apitoken"
	"apitokens.dev/operator/hack/lib/kubetest"
	"apitokens.dev/operator/internal/record"
)

const issuePolicy = "issue.apitokens.dev"

// unbind removes the binding of a policy, waits until the API server has noticed, and returns a function that restores it.
func (w *world) unbind(policy string) (restore func()) {
	w.Helper()
	binding := &admissionv1.ValidatingAdmissionPolicyBinding{}
	if err := env.Admin.Get(w.Context(), client.ObjectKey{Name: policy}, binding); err != nil {
		w.Fatal(err)
	}
	if err := env.Admin.Delete(w.Context(), binding.DeepCopy()); err != nil {
		w.Fatal(err)
	}
	restored := false
	restore = func() {
		if restored {
			return
		}
		restored = true
		binding.ResourceVersion = ""
		if err := env.Admin.Create(context.Background(), binding); err != nil {
			w.Fatal(err)
		}
	}
	w.Cleanup(restore)
	return restore
}

// awaitIssuePolicy waits until the API server refuses the operator's dry run, or does not.
func (w *world) awaitIssuePolicy(refuses bool) {
	w.Helper()
	kubetest.Eventually(w.T, func() error {
		err := w.as().Create(w.Context(), kubetest.Token(w.ns, "probe"), client.DryRunAll)
		if apierrors.IsForbidden(err) == refuses {
			return nil
		}
		return errors.New("the API server has not noticed yet")
	})
}

// While one of the policies is away, nothing is issued. An APIToken that is declared then is not issued later either, and one
// whose spec is changed then stops authenticating. The others still authenticate.
func TestGapInTheAdmissionPolicies(t *testing.T) {
	w := newWorld(t)
	kept, changed, noted := kubetest.Token(w.ns, "kept"), kubetest.Token(w.ns, "changed"), kubetest.Token(w.ns, "noted")
	w.create(kept, changed, noted)
	readOnly := func(t *tokensv1alpha1.APIToken) { t.Spec.Access = tokensv1alpha1.AccessReadOnly }
	w.change(noted, readOnly)
	for _, tok := range []*tokensv1alpha1.APIToken{kept, changed, noted} {
		w.settled(tok)
	}

	declared := kubetest.Token(w.ns, "declared")
	restore := w.unbind(issuePolicy)
	w.awaitIssuePolicy(false)
	w.create(declared)
	w.wantReady(declared, w.reconciler, tokensv1alpha1.ReasonAdmissionPolicyMissing, issuePolicy)
	w.change(changed, readOnly)
	w.wantReady(changed, w.reconciler, tokensv1alpha1.ReasonDeclaredUnguarded, "changed while the admission policies were not in force")
	w.settled(kept)
	w.settled(noted)
	w.change(noted, func(t *tokensv1alpha1.APIToken) { t.Spec.Access = tokensv1alpha1.AccessReadWrite })
	restore()
	w.awaitIssuePolicy(true)
	env.AwaitGuarded(t)

	w.wantReady(declared, w.reconciler, tokensv1alpha1.ReasonDeclaredUnguarded, "Delete it and create it again.")
	if w.secret(w.ns, "declared-token") != nil || w.secret(kubetest.SystemNamespace, string(declared.UID)) != nil {
		t.Error("a token was issued for an APIToken that anyone may have declared")
	}
	for _, tok := range []*tokensv1alpha1.APIToken{changed, noted} {
		w.wantReady(tok, w.reconciler, tokensv1alpha1.ReasonDeclaredUnguarded, "Its token is dead.")
		for _, e := range w.record(tok).Entries {
			if e.State != record.Ending || e.Ends.After(w.clock.Now()) {
				t.Errorf("%s goes on: %+v", tok.Name, e)
			}
		}
	}
	w.settled(kept)
	w.change(kept, readOnly)
	w.settled(kept)
	if err := env.Admin.Delete(t.Context(), declared); err != nil {
		t.Fatal(err)
	}
	again := kubetest.Token(w.ns, "declared")
	w.create(again)
	w.settled(again)
}

// Each of the three policies is asked for.
func TestEachAdmissionPolicyIsAskedFor(t *testing.T) {
	w := newWorld(t)
	tok := kubetest.Token(w.ns, "ci")
	w.create(tok)
	for _, policy := range []string{issuePolicy, "secrets.apitokens.dev", "status.apitokens.dev"} {
		restore := w.unbind(policy)
		w.wantReady(tok, w.reconciler, tokensv1alpha1.ReasonAdmissionPolicyMissing, "'"+policy+"' is not in force (its binding is missing)")
		restore()
	}
	w.awaitIssuePolicy(true)
	env.AwaitGuarded(t)
	w.wantReady(tok, w.reconciler, tokensv1alpha1.ReasonDeclaredUnguarded, "Delete it")
	if w.secret(w.ns, "ci-token") != nil {
		t.Error("a token was issued")
	}
}

// The time since which the policies are in force survives a restart and changes of metadata. A change of a spec moves it, and
// so does a loss of the memory.
func TestGuardRemembers(t *testing.T) {
	w := newWorld(t)
	observe := func() time.Time {
		t.Helper()
		state, err := (&admission.Guard{Client: w.as(), Live: w.as(), Namespace: kubetest.SystemNamespace}).Observe(t.Context())
		if err != nil || !state.InForce() {
			t.Fatalf("state %+v: %v", state, err)
		}
		return state.GuardedSince
	}
	editBinding := func(edit func(*admissionv1.ValidatingAdmissionPolicyBinding)) {
		t.Helper()
		binding := &admissionv1.ValidatingAdmissionPolicyBinding{}
		if err := env.Admin.Get(t.Context(), client.ObjectKey{Name: issuePolicy}, binding); err != nil {
			t.Fatal(err)
		}
		edit(binding)
		if err := env.Admin.Update(t.Context(), binding); err != nil {
			t.Fatal(err)
		}
	}
	actions := func(all ...admissionv1.ValidationAction) func(*admissionv1.ValidatingAdmissionPolicyBinding) {
		return func(b *admissionv1.ValidatingAdmissionPolicyBinding) { b.Spec.ValidationActions = all }
	}
	first := observe()
	editBinding(func(b *admissionv1.ValidatingAdmissionPolicyBinding) { b.Labels = map[string]string{"a": w.ns} })
	if again := observe(); !again.Equal(first) {
		t.Errorf("a label moved it from %s to %s", first, again)
	}
	editBinding(actions(admissionv1.Deny, admissionv1.Audit))
	second := observe()
	if age := time.Since(second); !second.After(first) || age < -7*time.Second || age > time.Minute {
		t.Errorf("a change of spec moved it from %s to %s", first, second)
	}
	if again := observe(); !again.Equal(second) {
		t.Errorf("it moved from %s to %s by itself", second, again)
	}
	editBinding(actions(admissionv1.Deny))
	observe()
	if err := env.Admin.Delete(t.Context(), w.secret(kubetest.SystemNamespace, admission.SecretName)); err != nil {
		t.Fatal(err)
	}
	if lost := observe(); lost.Before(second) {
		t.Errorf("without a memory it is %s, after %s", lost, second)
	}
	w.unbind(issuePolicy)() // a new binding, which has an age that later tests can wait for
}

// The API server may not enforce what is installed. Then APITokens that are declared meanwhile do not count later either.
func TestPolicyThatIsNotEnforced(t *testing.T) {
	w := newWorld(t)
	tok := kubetest.Token(w.ns, "ci")
	w.create(tok)
	lenient := w.probing(func() error { return nil })
	w.wantReady(tok, lenient, tokensv1alpha1.ReasonAdmissionPolicyMissing, "does not enforce it in this namespace")
	w.wantReady(tok, w.reconciler, tokensv1alpha1.ReasonDeclaredUnguarded, "Delete it")
	if err := env.Admin.Delete(t.Context(), w.secret(kubetest.SystemNamespace, admission.SecretName)); err != nil {
		t.Fatal(err)
	}
}

// The probe carries the labels and annotations of the APIToken: a policy of the cluster that accepted one accepts the other.
func TestHouseRuleAcceptsTheProbe(t *testing.T) {
	w := newWorld(t)
	w.houseRule("a-team-label.example.com", "apitokens.dev", "apitokens", "the label `team` is missing")
	tok := kubetest.Token(w.ns, "labelled-ci", func(t *tokensv1alpha1.APIToken) { t.Labels = map[string]string{"team": "blue"} })
	w.create(tok)
	w.settled(tok)
}

// While another policy refuses the probe, the condition has the message of that policy.
func TestHouseRuleRefusesTheProbe(t *testing.T) {
	w := newWorld(t)
	tok := kubetest.Token(w.ns, "ci")
	w.create(tok)
	words := "ValidatingAdmissionPolicy 'house.example.com' with binding 'house.example.com' denied request: not by " + issuePolicy
	refused := w.probing(func() error {
		return apierrors.NewForbidden(tokensv1alpha1.GroupVersion.WithResource("apitokens").GroupResource(), "ci", errors.New(words))
	})
	for range 3 {
		w.wantReady(tok, refused, tokensv1alpha1.ReasonAdmissionNotVerified, words)
	}
	w.expectEvents(tokensv1alpha1.ReasonAdmissionNotVerified)
	if w.secret(w.ns, "ci-token") != nil {
		t.Error("a token was issued")
	}
	w.settled(tok)
}

// probing is a reconciler whose probe gets this answer.
func (w *world) probing(answer func() error) *apitoken.Reconciler {
	r := *w.reconciler
	r.Guard = &admission.Guard{Live: w.as(), Namespace: kubetest.SystemNamespace, Client: interceptor.NewClient(env.Client(w.T, kubetest.Controller), interceptor.Funcs{
		Create: func(ctx context.Context, c client.WithWatch, o client.Object, opts ...client.CreateOption) error {
			if _, probe := o.(*tokensv1alpha1.APIToken); probe {
				return answer()
			}
			return c.Create(ctx, o, opts...)
		},
	})}
	return &r
}

// In a namespace that is being deleted, nothing can be created. The condition says so.
func TestProbeInATerminatingNamespace(t *testing.T) {
	w := newWorld(t)
	tok := kubetest.Token(w.ns, "ci")
	w.create(tok)
	if err := env.Admin.Delete(t.Context(), &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: w.ns}}); err != nil {
		t.Fatal(err)
	}
	kubetest.Eventually(t, func() error {
		return refusedBy(env.Admin.Create(t.Context(), kubetest.Token(w.ns, "x"), client.DryRunAll))
	})
	w.wantReady(tok, w.reconciler, tokensv1alpha1.ReasonAdmissionNotVerified, "because it is being terminated")
	if ready := apimeta.FindStatusCondition(tok.Status.Conditions, tokensv1alpha1.ConditionReady); strings.Contains(ready.Message, "\n") {
		t.Errorf("message %q", ready.Message)
	}
}
