package apitoken_test

import (
	"io"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/go-logr/logr/funcr"
	"k8s.io/apimachinery/pkg/api/equality"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	apimeta "k8s.io/apimachinery/pkg/api/meta"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/client"

	tokensv1alpha1 "apitokens.dev/operator/api/v1alpha1"
	"apitokens.dev/operator/controllers/apitoken"
	"apitokens.dev/operator/internal/record"
)

// FuzzReconcile puts an APIToken into any state of the objects around it, lets API calls fail, other leaders overtake and
// people interfere, and holds the promises of docs/resources.md and docs/token-format.md all the while.
func FuzzReconcile(f *testing.F) {
	p := makeProps(f)
	for _, plan := range seeds() {
		f.Add("Alice", "asp_0000000000000000", `{"version":1,"tokenID":"`+canary+`"}`, plan)
	}
	f.Fuzz(func(t *testing.T, user, forgedID, damage string, plan []byte) {
		if user = strings.ToValidUTF8(user, "?"); user == "" || len(user) > 255 {
			user = "Alice"
		}
		s := newScene(t, p, user, strings.ToValidUTF8(forgedID, "?"), damage, plan)
		for range s.passes {
			s.clock.SetTime(s.clock.Now().Add([]time.Duration{0, time.Second, 61 * time.Second, time.Hour}[s.of(4)]))
			lags := s.of(2) == 1
			_ = s.pass()
			if !lags {
				s.catchUp()
			}
		}
		s.settle()
		if s.cleanUp != 0 {
			s.clean()
		}
	})
}

// seeds are every state of the Secret and the record, everything else that a scene can begin with, and each fault at each
// call of the API.
func seeds() (plans [][]byte) {
	for secret := range secretKinds {
		for stored := range recordKinds {
			plans = append(plans, setting{secret: secret, record: stored, cleanUp: 1}.plan())
		}
	}
	for _, base := range []setting{{}, {secret: secretOurs}, {secret: secretOurs, record: recordDelivered, cleanUp: 1}, {secret: secretOurs, record: recordFull}} {
		for i, c := range base.choices() {
			for kind := range c.kinds {
				other := base
				*other.choices()[i].chosen = kind
				plans = append(plans, other.plan())
			}
		}
	}
	const clock, cache, calls = 1, 1, 22 // of a pass that does the most
	for _, base := range []setting{
		{passes: 1},
		{passes: 1, record: recordFullOld},
		{passes: 1, record: recordFull, secret: secretOursUntidy},
		{cleanUp: 1, record: recordCandidate, secret: secretOurs},
	} {
		for call := range clock + cache + calls {
			for fault := range meddles {
				plans = append(plans, base.plan(append(make([]byte, call), fault)...))
			}
			for meddling := range meddlings {
				plans = append(plans, base.plan(append(make([]byte, call), meddles|meddling<<4)...))
			}
		}
	}
	// Of a token that was issued the cache shows no record yet, at the first look and at the second.
	issued := append([]byte{0, 1}, make([]byte, 21)...)
	return append(plans, setting{passes: 2}.plan(append(issued, 0, 0, 0, isStale, 0, 0, 0, isStale)...))
}

// pass is one look at the APIToken, and what holds after any.
func (s *scene) pass() error {
	s.meddledNow, s.deliveredNow, s.writes = false, false, 0
	t := s.current()
	if t == nil {
		return nil
	}
	foreign := s.stored(s.deliverKey)
	if s.holdsOurs(foreign) {
		foreign = nil
	}
	log := funcr.New(func(_, args string) { _, _ = io.WriteString(s.logs, args+"\n") }, funcr.Options{Verbosity: 10})
	result, err := s.reconciler.Reconcile(ctrl.LoggerInto(s.Context(), log), t)

	if now := s.stored(s.deliverKey); foreign != nil && !s.meddledNow && !equality.Semantic.DeepEqual(foreign, now) {
		s.Fatalf("somebody's Secret\n%v became\n%v", foreign, now)
	}
	if s.token.DeletionTimestamp != nil && (s.writes > 0 || err != nil) {
		s.Fatalf("wrote %d times for an APIToken that is being deleted (%v)", s.writes, err)
	}
	if t = s.current(); t == nil {
		return err
	}
	s.checkTold(t, err)
	if err == nil && result.RequeueAfter == time.Minute && !s.meddled {
		s.checkReady(t)
	}
	return err
}

// checkReady holds after a pass that came to its end: what is called ready is, and what is ours is not called somebody's.
func (s *scene) checkReady(t *tokensv1alpha1.APIToken) {
	ready := apimeta.FindStatusCondition(t.Status.Conditions, tokensv1alpha1.ConditionReady)
	switch {
	case ready == nil:
		s.Fatal("there is no condition Ready")
	case (ready.Status == "True") != (ready.Reason == tokensv1alpha1.ReasonIssued) || ready.Message == "":
		s.Fatalf("Ready is %+v", ready)
	}
	r, delivered := s.ourRecord(s.stored(s.recordKey)), s.stored(s.deliverKey)
	if ready.Status != "True" {
		if s.holdsOurs(delivered) && slices.Contains([]string{
			tokensv1alpha1.ReasonDeliveryConflict, tokensv1alpha1.ReasonRecordMissing, tokensv1alpha1.ReasonRecordDamaged, tokensv1alpha1.ReasonRecordOrphaned,
		}, ready.Reason) {
			s.Fatalf("the token is delivered, and Ready is %+v", ready)
		}
		return
	}
	if r == nil || len(r.Entries) != 1 || r.Entries[0].State != record.Delivered || !s.holdsOurs(delivered) ||
		t.Status.TokenID != r.TokenID || string(delivered.Data["username"]) != t.Spec.User {
		s.Fatalf("Ready is True with the record %+v and the Secret %v", r, delivered)
	}
}

// settle expects that what the faults left comes to an end, in which nothing is written any more.
func (s *scene) settle() {
	s.calm = true
	s.clock.SetTime(s.clock.Now().Add(2 * time.Minute))
	for range 3 {
		if err := s.pass(); err != nil && s.policy != policyOther {
			s.Fatalf("fails without a fault: %v", err)
		}
	}
	if s.policy != policyOther && s.writes > 0 {
		s.Fatalf("does not settle: %d writes in the last pass", s.writes)
	}
	t := s.current()
	if !s.issuable || s.meddled || t == nil {
		return
	}
	if ready := apimeta.FindStatusCondition(t.Status.Conditions, tokensv1alpha1.ConditionReady); ready == nil || ready.Status != "True" {
		s.Fatalf("is not issued: %+v", ready)
	}
}

// clean deletes the APIToken, and expects that what was its own goes, whatever fails at first, and nothing else.
func (s *scene) clean() {
	s.calm, s.meddledNow = false, false
	if err := s.store.Delete(s.Context(), s.token.DeepCopy()); client.IgnoreNotFound(err) != nil {
		s.Fatal(err)
	}
	delivered := s.stored(s.deliverKey)
	ours := s.leavesBehind(delivered)
	gone := apitoken.Gone{NamespacedName: client.ObjectKeyFromObject(s.token), UID: s.token.UID}
	_, _ = s.cleaner.Reconcile(s.Context(), gone)
	s.calm = true
	if _, err := s.cleaner.Reconcile(s.Context(), gone); err != nil {
		s.Fatalf("fails without a fault: %v", err)
	}
	if s.meddledNow || s.current() != nil { // if a finalizer holds it, checkDelete has seen to it that nothing was removed
		return
	}
	left := s.stored(s.deliverKey)
	switch {
	case ours && left != nil:
		s.Fatal("the delivered token is left")
	case !ours && s.deliverKey != s.recordKey && !equality.Semantic.DeepEqual(delivered, left):
		s.Fatalf("somebody's Secret\n%v became\n%v", delivered, left)
	}
	if left := s.stored(s.recordKey); left != nil && left.Type == record.SecretType {
		s.Fatal("the record is left")
	}
}

// current is the APIToken as it is, or nil.
func (s *scene) current() *tokensv1alpha1.APIToken {
	var t tokensv1alpha1.APIToken
	switch err := s.store.Get(s.Context(), client.ObjectKeyFromObject(s.token), &t); {
	case apierrors.IsNotFound(err):
		return nil
	case err != nil:
		s.Fatal(err)
	}
	return &t
}
