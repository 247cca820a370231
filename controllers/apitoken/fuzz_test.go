package apitoken_test

import (
	"cmp"
	"io"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/go-logr/logr/funcr"
	corev1 "k8s.io/api/core/v1"
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
// people interfere, and holds the promises of docs/reference/apitoken.md and docs/reference/token-format.md all the while. It goes on from a
// sample of what TestScenes tries: from all of it, a minute would be over before it has begun.
func FuzzReconcile(f *testing.F) {
	p := makeProps(f)
	for i, plan := range plans() {
		if i%61 == 0 {
			f.Add("Alice", "asp_0000000000000000", damaged, plan)
		}
	}
	f.Fuzz(func(t *testing.T, user, forgedID, damage string, plan []byte) {
		if user = strings.ToValidUTF8(user, "?"); user == "" || len(user) > 255 {
			user = "Alice"
		}
		newScene(t, p, user, strings.ToValidUTF8(forgedID, "?"), damage, plan).play()
	})
}

// play runs a scene.
func (s *scene) play() {
	for range s.passes {
		step := []time.Duration{0, time.Second, 61 * time.Second, time.Hour}[s.of(4)]
		if step > time.Second {
			s.arrive()
		}
		s.clock.SetTime(s.clock.Now().Add(step))
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
}

// pass runs one pass and checks the invariants that hold after any.
func (s *scene) pass() error {
	s.meddledNow, s.deliveredNow, s.refusedNow, s.writes = false, false, false, 0
	t := s.current()
	if t == nil {
		return nil
	}
	foreign := s.stored(s.deliverKey)
	if s.holdsOurs(foreign) {
		foreign = nil
	}
	if s.calm {
		s.arrive()
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
	s.checkEvents(t, err)
	if !s.meddled && s.policy != policyChanged {
		s.checkPromises()
	}
	// After a race no Event was emitted. After a refusal the status may be an older one.
	if err == nil && result.RequeueAfter > time.Second && !s.meddled && !s.meddledNow && !s.refusedNow {
		s.checkReady(t)
	}
	return err
}

// checkReady checks a pass that came to its end: a token that is called ready is ready, and one of ours is not called foreign.
func (s *scene) checkReady(t *tokensv1alpha1.APIToken) {
	ready := apimeta.FindStatusCondition(t.Status.Conditions, tokensv1alpha1.ConditionReady)
	switch {
	case ready == nil:
		s.Fatal("there is no condition Ready")
	case (ready.Status == "True") != (ready.Reason == s.readyReason()) || ready.Message == "":
		s.Fatalf("Ready is %+v", ready)
	}
	r, delivered := s.ourRecord(s.stored(s.recordKey)), s.stored(s.deliverKey)
	rules, basis := s.rules(), s.basis(r)
	forbidden := rules.forbids(basis)
	switch reason := ready.Reason; {
	case reason == rules.unnamed && reason != "": // the rest is in order
	case ready.Status == "True" && rules.unnamed != "":
		s.Fatalf("Ready is True, although requests are refused: %s", rules.unnamed)
	case ready.Status == "True":
		if !s.isReady(r, delivered) || t.Status.TokenID != r.TokenID || slices.Contains(silences, forbidden) ||
			s.kind == kindGenerated && string(delivered.Data["username"]) != t.Spec.User {
			s.Fatalf("Ready is True with the record %+v and the Secret %v, %s", r, delivered, forbidden)
		}
	case slices.Contains([]string{
		tokensv1alpha1.ReasonExpired, tokensv1alpha1.ReasonSuspended, tokensv1alpha1.ReasonUserBlocked, tokensv1alpha1.ReasonNamespaceNotAllowed,
		tokensv1alpha1.ReasonOwnerChanged,
		tokensv1alpha1.ReasonRevokedByEpoch, tokensv1alpha1.ReasonEpochPending, tokensv1alpha1.ReasonPolicyViolation,
	}, reason):
		if reason != forbidden {
			s.Fatalf("Ready is %+v, but what forbids it is %q", ready, forbidden)
		}
		if reason == tokensv1alpha1.ReasonRevokedByEpoch || reason == tokensv1alpha1.ReasonEpochPending || reason == tokensv1alpha1.ReasonPolicyViolation {
			if s.isReady(r, delivered) {
				s.Fatalf("the token authenticates, and Ready is %+v", ready)
			}
		}
	case reason == tokensv1alpha1.ReasonDeclaredUnguarded:
		if s.policy != policyYounger && s.policy != policyChanged && !s.meddledEver || r != nil && s.isReady(r, delivered) {
			s.Fatalf("the policies admitted it, or it authenticates, and Ready is %+v", ready)
		}
	case reason == tokensv1alpha1.ReasonSiteNotFound: // or the cache has not seen it yet
	case slices.Contains([]string{
		tokensv1alpha1.ReasonDeliveryConflict, tokensv1alpha1.ReasonRecordMissing, tokensv1alpha1.ReasonRecordDamaged, tokensv1alpha1.ReasonRecordOrphaned,
	}, reason):
		if s.holdsOurs(delivered) || s.kind != kindGenerated && r != nil || !rules.open {
			s.Fatalf("the token is there, and Ready is %+v", ready)
		}
	case slices.Contains(silences, forbidden) && reason != tokensv1alpha1.ReasonIssuePending:
		s.Fatalf("it is %s, and Ready is %+v", forbidden, ready)
	}
}

// isReady reports whether a delivered token authenticates by its record, and the record has no entry too many.
// The answer of a cache that is behind counts until it has caught up.
func (s *scene) isReady(r *record.Record, delivered *corev1.Secret) bool {
	held, rules := holds(delivered, r), s.rules()
	if s.kind != kindGenerated {
		return r != nil && !rules.pending && rules.site != nil && !rules.replaced && !rules.dead(*s.basis(r))
	}
	if held == nil || held.State != record.Delivered || rules.site == nil || rules.dead(*held) {
		return false
	}
	for i := range r.Entries {
		e := &r.Entries[i]
		switch {
		case e == held:
		case e.State == record.Delivered, s.calm && (e.State == record.Candidate && s.clock.Since(e.Issued) >= time.Minute || rules.dead(*e)):
			return false
		}
	}
	return true
}

// settle expects that passes without faults come to an end at which nothing is written any more.
func (s *scene) settle() {
	s.calm = true
	s.arrive()
	s.clock.SetTime(s.clock.Now().Add(2 * time.Minute))
	for range 3 {
		if err := s.pass(); err != nil {
			s.Fatalf("fails without a fault: %v", err)
		}
	}
	if s.writes > 0 {
		s.Fatalf("does not settle: %d writes in the last pass", s.writes)
	}
	r, delivered, rules := s.ourRecord(s.stored(s.recordKey)), s.stored(s.deliverKey), s.rules()
	t, basis := s.current(), s.basis(r)
	if !s.plain || s.meddled || t == nil {
		return
	}
	ready := apimeta.FindStatusCondition(t.Status.Conditions, tokensv1alpha1.ConditionReady)
	if want := s.verdict(rules, basis); rules.removes(basis) || ready == nil || ready.Reason != want {
		s.Fatalf("is %+v, want %q", ready, want)
	} else if want != tokensv1alpha1.ReasonIssued || s.kind != kindGenerated {
		return
	}
	if s.owner != ownerUnknown && r.UserKey != keyOfToday {
		s.Fatalf("the owner is not noted: %q", r.UserKey)
	}
	endings := 0
	for _, e := range r.Entries {
		switch {
		case e.State == record.Candidate:
			s.Fatalf("a candidate is left: %+v", r.Entries)
		case s.buried[e.Hash] && !s.buried[holds(delivered, r).Hash]:
			s.Fatal("what was deleted authenticates still")
		case e.State == record.Ending:
			endings++
		}
	}
	if rules.due(*basis) && rules.forbids(basis) == "" && endings < record.MaxEntries-1 {
		s.Fatalf("is not rotated: %+v", r.Entries)
	}
}

// verdict is the final reason of Ready, if only the terms decide it.
func (s *scene) verdict(rules rules, basis *record.Entry) string {
	if s.kind != kindGenerated {
		return s.otherVerdict(rules, basis)
	}
	forbidden := rules.forbids(basis)
	needsNew := basis == nil || s.stored(s.deliverKey) == nil || rules.dead(*basis) || basis.State == record.Ending
	if forbidden != "" && (needsNew || slices.Contains(silences, forbidden)) {
		return forbidden
	}
	return cmp.Or(rules.unnamed, tokensv1alpha1.ReasonIssued)
}

// clean deletes the APIToken, and expects that exactly its own Secrets go, whatever fails at first.
func (s *scene) clean() {
	s.calm, s.meddledNow, s.cleaning = false, false, true
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
	if left := s.stored(s.recordKey); left != nil && left.Type == record.SecretType && (!s.isOurs(left) || decoded(left).Dead.IsZero()) {
		s.Fatal("the record is left, and not dead")
	}
}

// current returns the stored APIToken, or nil.
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
