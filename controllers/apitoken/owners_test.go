package apitoken_test

import (
	"maps"
	"testing"
	"time"

	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/event"

	tokensv1alpha1 "apitokens.dev/operator/api/v1alpha1"
	"apitokens.dev/operator/controllers/apitoken"
	"apitokens.dev/operator/hack/lib/kubetest"
	"apitokens.dev/operator/internal/upstream"
)

// questions are what the reconciler of a world has asked a product.
type questions struct {
	copies  []string
	answers []func(userKey, name string)
	// published is how often an answer was wanted that is published.
	published int
}

// questioned has the reconciler ask before it issues. The operator holds a personal access token of alice.
func (w *world) questioned() (*questions, upstream.Credential) {
	w.Helper()
	c := upstream.Credential{Namespace: w.ns, Site: "main", User: "alice", UserKey: "K1", Origin: "http://jira." + w.ns + ".svc:8080", Token: "pat"}
	w.hold(c)
	q := &questions{}
	w.reconciler.Owners = apitoken.NewOwners(func(site types.NamespacedName, copyName string, answer func(userKey, name string)) {
		if site != (types.NamespacedName{Namespace: w.ns, Name: "main"}) {
			w.Errorf("asked about %s", site)
		}
		q.copies, q.answers = append(q.copies, copyName), append(q.answers, answer)
	})
	w.reconciler.Ask = func(types.NamespacedName, string, time.Time) { q.published++ }
	return q, c
}

// asked makes a pass over a token that has the product asked, and nothing else.
func (w *world) asked(q *questions, t *tokensv1alpha1.APIToken) {
	w.Helper()
	before := len(q.answers)
	result, err := w.pass(w.reconciler, t)
	if err != nil || result.RequeueAfter != apitoken.OwnerWait || len(q.answers) != before+1 || w.secret(kubetest.SystemNamespace, string(t.UID)) != nil {
		w.Fatalf("after %d questions the pass returned %+v, %v", len(q.answers), result, err)
	}
}

// The product is asked for the owner of a new token before that is issued: the record and the status are written once. Until then
// nothing is written or read live.
func TestRequestsOfANewTokenOfAnOwner(t *testing.T) {
	w := newWorld(t)
	q, c := w.questioned()
	tok := kubetest.Token(w.ns, "ci")
	w.create(tok)
	counted := w.counted()
	if w.asked(q, tok); len(counted.all) != 0 || q.copies[0] != c.SecretName() {
		t.Errorf("asked about %q, after requests %v", q.copies, counted.all)
	}
	q.answers[0]("K1", "alice")
	if _, err := w.pass(w.reconciler, tok); err != nil {
		t.Fatal(err)
	}
	want := map[string]int{
		"POST secrets": 2, "PATCH apitokens/status": 1, "POST apitokens as a dry run": 1,
		"GET atlassiansites": 2, "GET secrets": 2*1 + 1,
		"GET validatingadmissionpolicies": 3, "GET validatingadmissionpolicybindings": 3,
	}
	if !maps.Equal(counted.all, want) || w.record(tok).UserKey != "K1" || len(q.answers) != 1 || q.published != 0 {
		t.Errorf("requests %v, want %v; the owner is %q after %d and %d questions", counted.all, want, w.record(tok).UserKey, len(q.answers), q.published)
	}
	w.settled(tok)
}

// A new token waits for its owner as long as the product has not answered, and at most for a moment. Without the answer that its user is
// still the one of the personal access token, it is issued to nobody, and the product is asked again until it says so.
func TestNewTokensDoNotWaitInVain(t *testing.T) {
	for what, tc := range map[string]struct {
		then  func(*world, *questions)
		owner string
	}{
		"its user":             {func(_ *world, q *questions) { q.answers[0]("K1", "alice") }, "K1"},
		"no clear answer":      {func(_ *world, q *questions) { q.answers[0]("", "") }, ""},
		"renamed":              {func(_ *world, q *questions) { q.answers[0]("K1", "alice.old") }, ""},
		"another key":          {func(_ *world, q *questions) { q.answers[0]("K2", "alice") }, ""},
		"no answer":            {func(w *world, _ *questions) { w.clock.SetTime(w.clock.Now().Add(apitoken.OwnerWait)) }, ""},
		"the clock steps back": {func(w *world, _ *questions) { w.clock.SetTime(w.clock.Now().Add(-time.Second)) }, ""},
	} {
		t.Run(what, func(t *testing.T) {
			w := newWorld(t)
			q, _ := w.questioned()
			for kind, tok := range map[string]*tokensv1alpha1.APIToken{
				tokensv1alpha1.ReasonIssued: kubetest.Token(w.ns, "ci"), tokensv1alpha1.ReasonImported: w.importing("old", tokensv1alpha1.ImportOnce),
			} {
				w.clock.SetTime(time.Now().Add(time.Minute)) // later than the API server's, also after a step back: the token exists by then
				w.create(tok)
				if kind == tokensv1alpha1.ReasonImported {
					w.source("old", firstImport)
				}
				q.answers, q.published = nil, 0
				if w.asked(q, tok); what != "its user" {
					if result, err := w.pass(w.reconciler, tok); err != nil || result.RequeueAfter != apitoken.OwnerWait || len(q.answers) != 1 {
						t.Errorf("%s: the next pass returned %+v, %v, after %d questions", kind, result, err, len(q.answers))
					}
				}
				if tc.then(w, q); tc.owner == "" {
					kind = tokensv1alpha1.ReasonIssuePending
				}
				w.reconcile(tok, kind)
				if r := w.record(tok); r.UserKey != tc.owner || len(q.answers) != 1 || (q.published > 0) != (tc.owner == "") {
					t.Errorf("%s: the owner is %q after %d and %d questions", kind, r.UserKey, len(q.answers), q.published)
				}
			}
		})
	}
}

// An answer about the one personal access token says nothing about the next one under the same name.
func TestAnswerAboutAnotherOwner(t *testing.T) {
	w := newWorld(t)
	q, c := w.questioned()
	tok := kubetest.Token(w.ns, "ci")
	w.create(tok)
	w.asked(q, tok)
	q.answers[0]("K1", "alice")
	c.UserKey = "K2"
	w.hold(c)
	if w.reconcile(tok, tokensv1alpha1.ReasonIssuePending); w.record(tok).UserKey != "" {
		t.Errorf("the owner is %q", w.record(tok).UserKey)
	}
}

// Nothing is asked for a token that is not issued now, or that has its owner from elsewhere.
func TestNothingIsAskedBeforeOtherSteps(t *testing.T) {
	w := newWorld(t)
	q, c := w.questioned()
	recorded := kubetest.Token(w.ns, "recorded")
	w.create(recorded)
	owners := w.reconciler.Owners
	w.reconciler.Owners = nil
	w.reconcile(recorded, tokensv1alpha1.ReasonIssuePending)
	w.reconciler.Owners = owners
	w.reconcile(recorded, tokensv1alpha1.ReasonIssuePending)
	late := kubetest.Token(w.ns, "late", func(t *tokensv1alpha1.APIToken) { t.Spec.AllowedPaths = []string{"/elsewhere/"} })
	w.create(late)
	w.reconcile(late, tokensv1alpha1.ReasonPolicyViolation)
	named := kubetest.Token(w.ns, "named")
	w.create(named)
	w.say(c, "alice")
	w.settled(named)
	keyless := kubetest.Token(w.ns, "keyless")
	w.create(keyless)
	c.UserKey = ""
	w.hold(c)
	if w.settled(keyless); len(q.answers) != 0 {
		t.Errorf("asked about %q", q.copies)
	}
}

// The creation of a record is an event for everybody but the process that created it.
func TestOwnRecordsAreNoEvents(t *testing.T) {
	w := newWorld(t)
	byOthers := apitoken.CreatedByOthers(w.reconciler)
	shown := func(tok *tokensv1alpha1.APIToken) bool {
		return byOthers.Create(event.CreateEvent{Object: w.secret(kubetest.SystemNamespace, string(tok.UID))})
	}
	own := kubetest.Token(w.ns, "ci")
	w.create(own)
	if w.settled(own); shown(own) {
		t.Error("the own record is an event")
	}
	if !shown(own) {
		t.Error("a record that is created once more is no event")
	}
	others := w.shown("page", false)
	if w.recorded(others); !shown(others) {
		t.Error("a record of the portal is no event")
	}
	failed := kubetest.Token(w.ns, "failed")
	w.create(failed)
	cut := w.cut(0)
	if _, err := w.pass(cut, failed); err == nil {
		t.Fatal("the record was stored")
	}
	w.reconciler.Owners = nil
	other := *w.reconciler
	apitoken.CreatedByOthers(&other)
	if _, err := w.pass(&other, failed); err != nil {
		t.Fatal(err)
	}
	if !shown(failed) {
		t.Error("a record that another process created is no event")
	}
}
