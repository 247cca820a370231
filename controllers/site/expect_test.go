package site_test

import (
	"encoding/json"
	"errors"
	"os"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/go-logr/logr/funcr"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	apimeta "k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/client"

	tokensv1alpha1 "apitokens.dev/operator/api/v1alpha1"
	"apitokens.dev/operator/controllers/site"
	"apitokens.dev/operator/hack/lib/kubetest"
	"apitokens.dev/operator/internal/authurl"
	"apitokens.dev/operator/internal/enrolment"
	"apitokens.dev/operator/internal/upstream"
)

// pass makes one pass over a site, and reads the site back.
func (w *world) pass(r *site.Reconciler, s *tokensv1alpha1.AtlassianSite) (ctrl.Result, error) {
	w.Helper()
	var logging sync.Mutex // a pass looks after several users at once
	ctx := ctrl.LoggerInto(w.Context(), funcr.New(func(_, line string) {
		logging.Lock()
		defer logging.Unlock()
		w.expectNoSecret("the log", line)
		w.logged = append(w.logged, line)
	}, funcr.Options{Verbosity: 5}))
	result, err := r.Reconcile(ctx, ctrl.Request{NamespacedName: client.ObjectKeyFromObject(s)})
	// Read into a new object: a field that is absent on the wire would keep its old value.
	var now tokensv1alpha1.AtlassianSite
	if getErr := env.Admin.Get(w.Context(), client.ObjectKeyFromObject(s), &now); getErr == nil {
		*s = now
	} else if !apierrors.IsNotFound(getErr) {
		w.Fatal(getErr)
	}
	if keys, decodeErr := w.storedKeys(s); decodeErr == nil {
		for _, contract := range authurl.Contracts() {
			w.keys = append(w.keys, keys.Keys[contract]...)
		}
	}
	status, jsonErr := json.Marshal(s.Status)
	if jsonErr != nil {
		w.Fatal(jsonErr)
	}
	w.expectNoSecret("the status", string(status))
	if err != nil {
		w.expectNoSecret("the error", err.Error())
	}
	return result, err
}

func (w *world) storedKeys(s *tokensv1alpha1.AtlassianSite) (authurl.Keys, error) {
	w.Helper()
	stored := w.keysSecret(s)
	if stored == nil {
		return authurl.Keys{}, os.ErrNotExist
	}
	return authurl.DecodeKeys(stored.Data[authurl.KeysDataKey])
}

// expectNoSecret expects that a public text has no secret in it.
func (w *world) expectNoSecret(where, text string) {
	w.Helper()
	for _, secret := range slices.Concat(w.keys, w.network.made, []string{canary}) {
		if strings.Contains(text, secret) {
			w.Errorf("%s has a secret in it: %s", where, text)
		}
	}
}

// emitted returns the Events since the last call.
func (w *world) emitted() (all []string) {
	w.Helper()
	for len(w.events.Events) > 0 {
		event := <-w.events.Events
		w.expectNoSecret("an Event", event)
		all = append(all, event)
	}
	return all
}

// reconcile makes one pass over a site, and expects the next one in a minute.
func (w *world) reconcile(s *tokensv1alpha1.AtlassianSite) {
	w.Helper()
	if result, err := w.pass(w.reconciler, s); err != nil || result != (ctrl.Result{RequeueAfter: time.Minute}) {
		w.Fatalf("the pass ended with %+v, %v", result, err)
	}
}

// expect expects a condition with a reason and its status.
func (w *world) expect(s *tokensv1alpha1.AtlassianSite, conditionType, reason string) *metav1.Condition {
	w.Helper()
	good := slices.Contains([]string{
		tokensv1alpha1.ReasonServing, tokensv1alpha1.ReasonAnswered, tokensv1alpha1.ReasonVerified, tokensv1alpha1.ReasonLicenseValid,
		tokensv1alpha1.ReasonNoneConfigured, tokensv1alpha1.ReasonNotNeeded,
		tokensv1alpha1.ReasonPoliciesInForce,
	}, reason)
	c := apimeta.FindStatusCondition(s.Status.Conditions, conditionType)
	if c == nil || c.Reason != reason || (c.Status == metav1.ConditionTrue) != good {
		w.Fatalf("%s of %s is %+v, want reason %s", conditionType, s.Name, c, reason)
	}
	return c
}

func (w *world) expectReady(s *tokensv1alpha1.AtlassianSite, reason string) *metav1.Condition {
	w.Helper()
	return w.expect(s, tokensv1alpha1.ConditionReady, reason)
}

// expectAllVerified expects that no personal access token is rejected: all are verified, or there is none.
func (w *world) expectAllVerified(s *tokensv1alpha1.AtlassianSite) {
	w.Helper()
	var copies corev1.SecretList
	if err := env.Admin.List(w.Context(), &copies, client.InNamespace(kubetest.CredentialsNamespace), client.MatchingLabels(ourLabels(s))); err != nil {
		w.Fatal(err)
	}
	reason := tokensv1alpha1.ReasonVerified
	copies.Items = slices.DeleteFunc(copies.Items, func(s corev1.Secret) bool { return s.Type != upstream.SecretType })
	if len(copies.Items) == 0 && len(s.Spec.UpstreamCredentials) == 0 {
		reason = tokensv1alpha1.ReasonNoneConfigured
	}
	w.expectCredentials(s, reason)
}

// expectServed expects that the webhook answers for a site, whatever its product does.
func (w *world) expectServed(s *tokensv1alpha1.AtlassianSite) {
	w.Helper()
	w.expectAuthURLs(s)
	if c := apimeta.FindStatusCondition(s.Status.Conditions, tokensv1alpha1.ConditionUpstreamReachable); c == nil {
		w.Fatalf("the product of %s was not asked: %+v", s.Name, s.Status.Conditions)
	} else if c.Status == metav1.ConditionFalse {
		w.expectReady(s, c.Reason)
	}
}

func (w *world) expectCredentials(s *tokensv1alpha1.AtlassianSite, reason string) *metav1.Condition {
	w.Helper()
	return w.expect(s, tokensv1alpha1.ConditionUpstreamCredentialsReady, reason)
}

// expectIdle expects that another pass writes nothing but when the product last said whose a personal access token is: the name of each
// working copy gives the minute of the hour in which it is checked, and it is another one in each run.
func (w *world) expectIdle(s *tokensv1alpha1.AtlassianSite) {
	w.Helper()
	w.emitted()
	before := s.DeepCopy()
	w.clock.SetTime(w.clock.Now().Add(time.Minute))
	if _, err := w.pass(w.beforeOf(w.refuseButChecks), s); err != nil {
		w.Error(err)
	}
	if s.ResourceVersion != before.ResourceVersion {
		w.Errorf("an idle pass wrote the status %+v after %+v", s.Status, before.Status)
	}
	if events := w.emitted(); len(events) != 0 {
		w.Errorf("the same Events were emitted again: %q", events)
	}
}

// refuseButChecks returns an error unless the object is an enrolment that differs from the stored one in the time of the last check alone.
func (w *world) refuseButChecks(o client.Object) error {
	if s, ok := o.(*corev1.Secret); ok && s.Type == enrolment.SecretType {
		var before corev1.Secret
		if err := env.Admin.Get(w.Context(), client.ObjectKeyFromObject(s), &before); err != nil {
			return err
		}
		was, errBefore := enrolment.Decode(before.Data[enrolment.DataKey])
		now, errNow := enrolment.Decode(s.Data[enrolment.DataKey])
		if was.Checked = now.Checked; errors.Join(errBefore, errNow) == nil && was == now {
			return nil
		}
	}
	return errors.New("an idle pass writes")
}

// expectUnused expects that the caller keys of a site are kept, and that no caller is answered with them.
func (w *world) expectUnused(s *tokensv1alpha1.AtlassianSite) {
	w.Helper()
	if keys, err := w.storedKeys(s); err != nil || keys.Served || len(keys.Keys[authurl.Nginx]) == 0 {
		w.Errorf("the caller keys of %s are %+v, %v", s.Name, keys, err)
	}
}

// expectNothingKept expects that the operator keeps nothing for a site that is gone but its caller keys, unused.
func (w *world) expectNothingKept(s *tokensv1alpha1.AtlassianSite, users ...string) {
	w.Helper()
	if w.authURLs(s) != nil || w.projectionSecret(s) != nil {
		w.Errorf("the auth URLs or the projection of %s are there", s.Name)
	}
	w.expectUnused(s)
	for _, user := range users {
		if w.copySecret(s, user) != nil {
			w.Errorf("a working copy of the personal access token of %s is there", user)
		}
	}
}
