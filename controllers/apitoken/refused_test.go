package apitoken_test

import (
	"bytes"
	"context"
	"errors"
	"net/http"
	"slices"
	"strings"
	"testing"
	"time"

	admissionregistrationv1 "k8s.io/api/admissionregistration/v1"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	apimeta "k8s.io/apimachinery/pkg/api/meta"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/client/interceptor"

	tokensv1alpha1 "apitokens.dev/operator/api/v1alpha1"
	"apitokens.dev/operator/controllers/apitoken"
	"apitokens.dev/operator/hack/lib/kubetest"
	"apitokens.dev/operator/internal/record"
)

// wantReady expects this condition, after a pass in which nothing failed.
func (w *world) wantReady(tok *tokensv1alpha1.APIToken, r *apitoken.Reconciler, reason, says string) {
	w.Helper()
	result, err := w.pass(r, tok)
	ready := apimeta.FindStatusCondition(tok.Status.Conditions, tokensv1alpha1.ConditionReady)
	if err != nil || ready == nil || ready.Reason != reason || !strings.Contains(ready.Message, says) {
		w.Fatalf("Ready is %+v (%v), want %s: %s", ready, err, reason, says)
	}
	if result.RequeueAfter > time.Minute || result.RequeueAfter == 0 {
		w.Errorf("looks again after %s", result.RequeueAfter)
	}
}

// A quota that leaves no room for the delivered Secret is a condition for as long as it lasts. Attempts in vain leave one
// candidate, and never another reason.
func TestQuotaRefusesDelivery(t *testing.T) {
	w := newWorld(t)
	quota := &corev1.ResourceQuota{
		ObjectMeta: metav1.ObjectMeta{Namespace: w.ns, Name: "few-secrets"},
		Spec:       corev1.ResourceQuotaSpec{Hard: corev1.ResourceList{"count/secrets": resource.MustParse("0")}},
	}
	w.create(quota)
	// There is no kube-controller-manager to count.
	quota.Status = corev1.ResourceQuotaStatus{Hard: quota.Spec.Hard, Used: corev1.ResourceList{"count/secrets": resource.MustParse("0")}}
	if err := env.Admin.Status().Update(t.Context(), quota); err != nil {
		t.Fatal(err)
	}
	tok := kubetest.Token(w.ns, "quota-ci")
	w.create(tok)
	kubetest.Eventually(t, func() error { // the API server notices the quota
		return refusedBy(env.Admin.Create(t.Context(), &corev1.Secret{ObjectMeta: metav1.ObjectMeta{Namespace: w.ns, Name: "x"}}, client.DryRunAll))
	})
	var message string
	for i := range 2 * record.MaxEntries {
		w.wantReady(tok, w.reconciler, tokensv1alpha1.ReasonWriteRefused, `delivering the token: secrets "quota-ci-token" is forbidden: exceeded quota: few-secrets`)
		ready := apimeta.FindStatusCondition(tok.Status.Conditions, tokensv1alpha1.ConditionReady)
		if i > 0 && ready.Message != message {
			t.Errorf("the message %q became %q", message, ready.Message)
		}
		message = ready.Message
		if n := len(w.record(tok).Entries); n > 2 {
			t.Errorf("%d candidates are left", n)
		}
		w.clock.SetTime(w.clock.Now().Add(time.Duration(i%2) * time.Minute))
	}
	w.expectEvents(tokensv1alpha1.ReasonWriteRefused)
	if err := env.Admin.Delete(t.Context(), quota); err != nil {
		t.Fatal(err)
	}
	kubetest.Eventually(t, func() error {
		return env.Admin.Create(t.Context(), &corev1.Secret{ObjectMeta: metav1.ObjectMeta{Namespace: w.ns, Name: "x"}}, client.DryRunAll)
	})
	w.clock.SetTime(w.clock.Now().Add(time.Minute))
	w.settled(tok)
}

func refusedBy(err error) error {
	if apierrors.IsForbidden(err) || apierrors.IsInvalid(err) {
		return nil
	}
	return errors.New("not refused")
}

// A house rule for Secrets refuses the delivered one.
func TestHouseRuleRefusesDelivery(t *testing.T) {
	w := newWorld(t)
	w.houseRule("secrets-have-a-team.example.com", "", "secrets", "a Secret needs the label `team`")
	tok := kubetest.Token(w.ns, "ci")
	w.create(tok)
	w.wantReady(tok, w.reconciler, tokensv1alpha1.ReasonWriteRefused, "a Secret needs the label `team`")
	if w.secret(w.ns, "ci-token") != nil {
		t.Error("the token was delivered")
	}
}

// houseRule is a foreign policy in the namespace of the test: objects of a resource need the label `team`.
func (w *world) houseRule(name, group, resource, message string) {
	w.Helper()
	everywhere := admissionregistrationv1.MatchResources{
		NamespaceSelector: &metav1.LabelSelector{MatchLabels: map[string]string{corev1.LabelMetadataName: w.ns}},
		ResourceRules: []admissionregistrationv1.NamedRuleWithOperations{{RuleWithOperations: admissionregistrationv1.RuleWithOperations{
			Operations: []admissionregistrationv1.OperationType{admissionregistrationv1.Create},
			Rule:       admissionregistrationv1.Rule{APIGroups: []string{group}, APIVersions: []string{"*"}, Resources: []string{resource}},
		}}},
	}
	policy := &admissionregistrationv1.ValidatingAdmissionPolicy{
		ObjectMeta: metav1.ObjectMeta{Name: name},
		Spec: admissionregistrationv1.ValidatingAdmissionPolicySpec{
			FailurePolicy: new(admissionregistrationv1.Fail), MatchConstraints: &everywhere,
			Validations: []admissionregistrationv1.Validation{{
				Expression: "has(object.metadata.labels) && 'team' in object.metadata.labels", Message: message,
			}},
		},
	}
	binding := &admissionregistrationv1.ValidatingAdmissionPolicyBinding{
		ObjectMeta: metav1.ObjectMeta{Name: name},
		Spec: admissionregistrationv1.ValidatingAdmissionPolicyBindingSpec{
			PolicyName: name, ValidationActions: []admissionregistrationv1.ValidationAction{admissionregistrationv1.Deny},
		},
	}
	w.create(policy, binding)
	w.Cleanup(func() {
		for _, o := range []client.Object{binding, policy} {
			if err := env.Admin.Delete(context.Background(), o); err != nil {
				w.Error(err)
			}
		}
	})
	probe := func() client.Object { return &corev1.Secret{ObjectMeta: metav1.ObjectMeta{Namespace: w.ns, Name: "x"}} }
	if resource == "apitokens" {
		probe = func() client.Object { return kubetest.Token(w.ns, "x") }
	}
	kubetest.Eventually(w.T, func() error { return refusedBy(env.Admin.Create(w.Context(), probe(), client.DryRunAll)) })
}

// A delivered Secret that was made immutable cannot be rotated. The token stays valid, the message says so, and a rotation
// follows once the Secret is deleted.
func TestImmutableDeliveredSecret(t *testing.T) {
	w := newWorld(t)
	tok := w.atStage("rotate")
	s := w.secret(w.ns, "ci-token")
	s.Immutable = new(true)
	if err := env.Admin.Update(t.Context(), s); err != nil {
		t.Fatal(err)
	}
	w.eventsSoFar()
	for range 2 * record.MaxEntries {
		w.wantReady(tok, w.reconciler, tokensv1alpha1.ReasonIssued, "A rotation is due, and cannot be made: ")
		ready := apimeta.FindStatusCondition(tok.Status.Conditions, tokensv1alpha1.ConditionReady)
		for _, want := range []string{"replacing the delivered token: ", "field is immutable when `immutable` is set", "Secret 'ci-token' is `immutable`: delete it"} {
			if !strings.Contains(ready.Message, want) {
				t.Errorf("the message does not have %q: %s", want, ready.Message)
			}
		}
		if r := w.record(tok); len(r.Entries) != 1 || r.Entries[0].State != record.Delivered || r.Verify(s.Data["password"]) != 0 {
			t.Errorf("the record is %+v", r.Entries)
		}
	}
	w.expectEvents(tokensv1alpha1.ReasonWriteRefused)
	if err := env.Admin.Delete(t.Context(), s); err != nil {
		t.Fatal(err)
	}
	w.settled(tok)
	if bytes.Equal(w.password(tok), s.Data["password"]) || w.record(tok).Verify(s.Data["password"]) >= 0 {
		t.Error("the token was not replaced")
	}
}

// refusing is a reconciler whose nth write is refused, and all after it.
func (w *world) refusing(n int, refusal error) (*apitoken.Reconciler, *int) {
	refusals, ofStatus := 0, false
	try := func(do func() error) error {
		if n--; n < 0 {
			refusals++
			return refusal
		}
		return do()
	}
	r := *w.reconciler
	r.Client = interceptor.NewClient(env.Client(w.T, kubetest.Controller), interceptor.Funcs{
		Create: func(ctx context.Context, c client.WithWatch, o client.Object, opts ...client.CreateOption) error {
			if slices.Equal((&client.CreateOptions{}).ApplyOptions(opts).DryRun, []string{metav1.DryRunAll}) {
				return c.Create(ctx, o, opts...)
			}
			return try(func() error { return c.Create(ctx, o, opts...) })
		},
		Update: func(ctx context.Context, c client.WithWatch, o client.Object, opts ...client.UpdateOption) error {
			return try(func() error { return c.Update(ctx, o, opts...) })
		},
		Delete: func(ctx context.Context, c client.WithWatch, o client.Object, opts ...client.DeleteOption) error {
			return try(func() error { return c.Delete(ctx, o, opts...) })
		},
		SubResourceApply: func(ctx context.Context, c client.Client, _ string, o runtime.ApplyConfiguration, opts ...client.SubResourceApplyOption) error {
			// The status of a pass in which another write was refused tells of it.
			if refusals > 0 && !ofStatus {
				return c.Status().Apply(ctx, o, opts...)
			}
			ofStatus = true
			return try(func() error { return c.Status().Apply(ctx, o, opts...) })
		},
	})
	return &r, &refusals
}

// Whichever write is refused, and in whichever way, no pass fails: each refusal is told, and the token settles afterwards.
func TestEveryRefusedWriteIsTold(t *testing.T) {
	webhook := func(code int32, reason metav1.StatusReason) error {
		return &apierrors.StatusError{ErrStatus: metav1.Status{
			Status: metav1.StatusFailure, Code: code, Reason: reason, Message: `admission webhook "house.example.com" denied the request: not today`,
		}}
	}
	for name, refusal := range map[string]error{
		"forbidden": webhook(http.StatusForbidden, metav1.StatusReasonForbidden), "conflict": webhook(http.StatusConflict, metav1.StatusReasonConflict),
		"invalid": webhook(http.StatusUnprocessableEntity, metav1.StatusReasonInvalid),
	} {
		for _, stage := range []string{"issue", "reissue", "rotate"} {
			for n := 0; ; n++ {
				w := newWorld(t)
				tok := w.atStage(stage)
				w.eventsSoFar()
				r, refusals := w.refusing(n, refusal)
				if _, err := w.pass(r, tok); err != nil {
					t.Errorf("%s, %s, write %d: %v", name, stage, n, err)
				}
				if *refusals == 0 {
					if n < 3 {
						t.Errorf("%s needs only %d writes", stage, n)
					}
					break
				}
				told := slices.ContainsFunc(w.eventsSoFar(), func(e string) bool {
					return strings.Contains(e, "Warning WriteRefused") && strings.Contains(e, "not today")
				})
				if ready := apimeta.FindStatusCondition(tok.Status.Conditions, tokensv1alpha1.ConditionReady); !told ||
					ready != nil && ready.Status == metav1.ConditionTrue && stage == "reissue" && n < 2 {
					t.Errorf("%s, %s, write %d: Ready is %+v, told: %t", name, stage, n, ready, told)
				}
				w.clock.SetTime(w.clock.Now().Add(time.Minute))
				w.settledAgain(tok, stage)
			}
		}
	}
}

// settledAgain expects a delivered token, after a rotation maybe with the one before it in its overlap.
func (w *world) settledAgain(tok *tokensv1alpha1.APIToken, stage string) {
	w.Helper()
	w.reconcile(tok, tokensv1alpha1.ReasonIssued)
	r := w.record(tok)
	held := r.Verify(w.password(tok))
	if held < 0 || r.Entries[held].State != record.Delivered || len(r.Entries) != 1 {
		w.Errorf("%s: the delivered token verifies against number %d of %+v", stage, held, r.Entries)
	}
}

// A refused deletion of a delivered Secret, and a refused change of its record, are told too.
func TestRefusedRemovalIsTold(t *testing.T) {
	refusal := apierrors.NewForbidden(corev1.Resource("secrets"), "x", errors.New("not today"))
	w := newWorld(t)
	tok := kubetest.Token(w.ns, "ci")
	w.create(tok)
	w.settled(tok)
	w.eventsSoFar()
	if err := env.Admin.Delete(t.Context(), tok); err != nil {
		t.Fatal(err)
	}
	gone := apitoken.Gone{NamespacedName: client.ObjectKeyFromObject(tok), UID: tok.UID}
	for n := range 2 {
		r, _ := w.refusing(n, refusal)
		refused := *w.cleaner
		refused.Client = r.Client
		if result, err := refused.Reconcile(t.Context(), gone); err != nil || result.RequeueAfter != time.Minute {
			t.Errorf("deletion %d: %v, %v", n, result, err)
		}
		w.expectEvents(tokensv1alpha1.ReasonWriteRefused)
	}
	if _, err := w.cleaner.Reconcile(t.Context(), gone); err != nil || w.record(tok).Dead.IsZero() {
		t.Errorf("the record is not dead: %v", err)
	}
}

func TestRefusedRemovalOfAnExpiredAPIToken(t *testing.T) {
	w := newWorld(t)
	site := kubetest.Site(w.ns, "main")
	if err := env.Admin.Get(t.Context(), client.ObjectKeyFromObject(site), site); err != nil {
		t.Fatal(err)
	}
	site.Spec.TokenPolicy.ExpiredRetentionDays = new(int32(1))
	if err := env.Admin.Update(t.Context(), site); err != nil {
		t.Fatal(err)
	}
	tok := kubetest.Token(w.ns, "ci", func(t *tokensv1alpha1.APIToken) { t.Spec.LifetimeDays = new(int32(1)) })
	w.create(tok)
	w.settled(tok)
	w.clock.SetTime(w.clock.Now().Add(3 * 24 * time.Hour))
	r, _ := w.refusing(0, apierrors.NewForbidden(corev1.Resource("apitokens"), "ci", errors.New("not today")))
	w.wantReady(tok, r, tokensv1alpha1.ReasonExpired, "not today")
}
