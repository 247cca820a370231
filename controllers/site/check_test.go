package site_test

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/client/interceptor"

	tokensv1alpha1 "apitokens.dev/operator/api/v1alpha1"
	"apitokens.dev/operator/hack/lib/fakeproduct"
	"apitokens.dev/operator/internal/enrolment"
	"apitokens.dev/operator/internal/upstream"
)

// failing is a Jira that answers requests of one method in another way.
func failing(j *fakeproduct.Jira, method string, status int) http.Handler {
	return http.HandlerFunc(func(rw http.ResponseWriter, r *http.Request) {
		if r.Method == method {
			rw.WriteHeader(status)
			return
		}
		j.ServeHTTP(rw, r)
	})
}

// A revoked personal access token, or a deactivated owner, is found within about an hour. One Event says so, and the copy stays.
func TestRevokedIsFoundOut(t *testing.T) {
	for name, source := range map[string]upstream.Source{"enrolled": upstream.Enrolled, "pasted": upstream.Pasted} {
		t.Run(name, func(t *testing.T) {
			w, j, s := enrolledWorld(t, fakeproduct.Options{})
			if source == upstream.Pasted {
				w.paste(s, "alice", pat("alice", 1))
				w.reconcile(s)
			}
			before := w.credential(s, "alice")
			j.Deactivate("alice")
			w.reconcile(s)
			w.expectCredentials(s, tokensv1alpha1.ReasonVerified)
			w.wait(s, 100*time.Minute)
			c := w.expectCredentials(s, tokensv1alpha1.ReasonCredentialUnusable)
			const page = ".example/jira/plugins/servlet/api-tokens"
			if !strings.Contains(c.Message, "'alice' has to sign in and open https://main."+w.ns+page) {
				t.Errorf("message %q", c.Message)
			}
			w.expectEvent(tokensv1alpha1.ReasonUpstreamCredentialRefused, "it was revoked or has ended, or the user was deactivated", page)
			if got := w.credential(s, "alice"); got.Usable() || got.Token != before.Token || got.ID != before.ID || !got.Stored.Equal(before.Stored) {
				t.Errorf("held is %+v", got)
			}
			j.Reset()
			w.expectIdle(s)
			if asked := sent(j); len(asked) != 1 {
				t.Errorf("a minute later the product was asked %d times", len(asked))
			}
			// The portal stores another one over it.
			w.jira("jira", "alice")
			w.paste(s, "alice", pat("alice", 2))
			w.reconcile(s)
			w.expectCredentials(s, tokensv1alpha1.ReasonVerified)
		})
	}
}

// A personal access token that the product accepts again is in use again within a minute.
func TestAcceptedAgain(t *testing.T) {
	w, j, s := enrolledWorld(t, fakeproduct.Options{})
	down := true
	w.serve("jira", http.HandlerFunc(func(rw http.ResponseWriter, r *http.Request) {
		if down && r.Header.Get("Authorization") != "" {
			rw.WriteHeader(http.StatusUnauthorized)
			return
		}
		j.ServeHTTP(rw, r)
	}))
	w.wait(s, 100*time.Minute)
	w.expectCredentials(s, tokensv1alpha1.ReasonCredentialUnusable)
	w.expectEvent(tokensv1alpha1.ReasonUpstreamCredentialRefused)
	down = false
	w.wait(s, time.Minute)
	w.expectCredentials(s, tokensv1alpha1.ReasonVerified)
	w.expectSound(j, s, "alice")
	w.expectLogged(s, "is not accepted any more", "is accepted again")
	if events := w.emitted(); len(events) != 0 {
		t.Errorf("events %q", events)
	}
}

// A renamed user keeps their key: their personal access token stays in use, and clients go on presenting the old name.
func TestRenamedGoesOn(t *testing.T) {
	w, j, s := enrolledWorld(t, fakeproduct.Options{})
	w.token("bob")
	w.paste(s, "bob", pat("bob", 1))
	w.wait(s, 100*time.Minute)
	j.Rename("alice", "alicia")
	j.Rename("bob", "alice")
	before := w.credential(s, "alice")
	w.wait(s, 100*time.Minute)
	if got := w.credential(s, "alice"); got != before || w.published(s, "alice").State != enrolment.Held {
		t.Errorf("held is %+v", got)
	}
	if w.held(s, "bob") != pat("bob", 1) || w.credential(s, "bob").UserKey != "bob" {
		t.Errorf("held of bob is %+v", w.credential(s, "bob"))
	}
	w.later(61 * day) // to be renewed
	w.reconcile(s)
	if c := w.credential(s, "alice"); c.ID == before.ID || c.UserKey != "K1" {
		t.Errorf("it was not renewed: %+v", c)
	}
	w.expectAllVerified(s)
	if events := w.emitted(); len(events) != 0 {
		t.Errorf("events %q", events)
	}
}

// keyless stores the copy of alice without the user key, as if the product had not said it.
func (w *world) keyless(s *tokensv1alpha1.AtlassianSite) {
	w.Helper()
	c := w.credential(s, "alice")
	c.UserKey = ""
	w.keep(s, c)
}

// Where the key is not known, the name decides: the copy is withdrawn, and an enrolled personal access token is revoked.
func TestAnothersIsWithdrawn(t *testing.T) {
	w, j, s := enrolledWorld(t, fakeproduct.Options{})
	w.token("bob")
	w.paste(s, "bob", pat("bob", 1))
	w.reconcile(s)
	w.keyless(s)
	j.Rename("alice", "alicia")
	j.Rename("bob", "alice")
	w.wait(s, 100*time.Minute)
	w.expectWithdrawn(j, s, "alice", "alicia")
	w.expectWithdrawn(j, s, "bob", "alice")
	events := w.emitted()
	for _, user := range []string{"alice", "bob"} {
		if n := len(slices.DeleteFunc(slices.Clone(events), func(e string) bool {
			return !strings.HasPrefix(e, "Warning UpstreamCredentialWithdrawn ") || !strings.Contains(e, "token of '"+user+"' is that of a user with another name")
		})); n != 1 {
			t.Errorf("there are %d Events about %s: %q", n, user, events)
		}
	}
	w.expectLogged(s, "Withdrew a personal access token", "Revoked a personal access token at the product")
	w.expectAllVerified(s)
	if len(j.PersonalAccessTokens("alice")) != 1 {
		t.Error("the personal access token that bob pasted was revoked: it is their own")
	}
	w.expectIdle(s)
}

// The personal access token of another user goes out of use at once, even if the product does not revoke it yet.
func TestAnothersIsNotUsedBeforeItIsRevoked(t *testing.T) {
	w, j, s := enrolledWorld(t, fakeproduct.Options{})
	w.keyless(s)
	j.Rename("alice", "alicia")
	w.serve("jira", failing(j, http.MethodDelete, http.StatusBadGateway))
	w.wait(s, 100*time.Minute)
	if c := w.credential(s, "alice"); c.Token == "" || c.Usable() {
		t.Errorf("held is %+v", c)
	}
	c := w.expectCredentials(s, tokensv1alpha1.ReasonCredentialUnusable)
	if !strings.Contains(c.Message, "is that of a user with another name") {
		t.Errorf("message %q", c.Message)
	}
	w.expectIdle(s)
	w.serve("jira", j)
	w.wait(s, time.Minute)
	w.expectWithdrawn(j, s, "alice", "alicia")
	w.expectEvent(tokensv1alpha1.ReasonUpstreamCredentialWithdrawn)
}

// Personal access tokens of `upstreamCredentials` are checked too, and go out of use when the product revokes them.
func TestGivenIsCheckedAgain(t *testing.T) {
	for name, tc := range map[string]struct {
		then   func(j *fakeproduct.Jira)
		event  string
		says   string
		remedy string
	}{
		"revoked": {
			func(j *fakeproduct.Jira) { j.RevokePAT(pat("alice", 1)) }, tokensv1alpha1.ReasonUpstreamCredentialRefused,
			"the product does not accept the personal access token in Secret 'alice-pat'", "put a valid one into Secret 'alice-pat'",
		},
	} {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t)
			j := w.jira("jira", "alice", "bob")
			w.give("alice", pat("alice", 1))
			w.give("bob", pat("bob", 1))
			s := w.site("main", users("alice", "bob"))
			w.reconcile(s)
			w.emitted()
			j.Reset()
			w.wait(s, 100*time.Minute)
			if asked := sent(j); len(asked) < 2 || len(asked) > 4 || !slices.Contains(asked, "Bearer "+pat("bob", 1)) {
				t.Errorf("in 100 minutes the product was asked with %q", asked)
			}
			tc.then(j)
			w.wait(s, 70*time.Minute)
			c := w.expectCredentials(s, tokensv1alpha1.ReasonCredentialUnusable)
			if !strings.Contains(c.Message, tc.says) || strings.Contains(c.Message, "bob") {
				t.Errorf("message %q", c.Message)
			}
			w.expectEvent(tc.event, tc.remedy)
			w.expectHeld(s, map[string]string{"alice": "", "bob": pat("bob", 1)})
			for range 60 { // bob is checked in one of these minutes
				w.expectIdle(s)
			}
		})
	}
}

// An unclear answer changes nothing. The pass asks about no more than those that are in work already, and the next pass begins
// with others.
func TestNothingFoundOut(t *testing.T) {
	w := newWorld(t)
	var names []string
	held := map[string]string{}
	for i := range 12 {
		names = append(names, fmt.Sprintf("u%02d", i))
		held[names[i]] = pat(names[i], 1)
	}
	j := w.jira("jira", names...)
	for _, name := range names {
		w.give(name, pat(name, 1))
	}
	s := w.site("main", users(names...))
	w.reconcile(s)
	var mu sync.Mutex
	asked := map[string]int{}
	w.serve("jira", onlyAnonymous(http.HandlerFunc(func(rw http.ResponseWriter, r *http.Request) {
		mu.Lock()
		defer mu.Unlock()
		asked[r.Header.Get("Authorization")]++
		rw.WriteHeader(http.StatusServiceUnavailable)
	})))
	w.later(100 * time.Minute)
	for n := 0; len(asked) < len(names); n++ {
		before := len(asked)
		if w.wait(s, time.Minute); len(asked) == before || len(asked) > before+4 || n > len(names) {
			t.Fatalf("after %d passes the product was asked with %v", n+1, asked)
		}
	}
	w.expectCredentials(s, tokensv1alpha1.ReasonVerified)
	w.serve("jira", j)
	j.Reset()
	w.wait(s, time.Minute)
	if n := len(sent(j)); n != len(names) {
		t.Errorf("the product was asked about %d", n)
	}
	w.expectHeld(s, held)
}

// The first check comes half an hour after the verification at the earliest, then one an hour.
func TestChecksComeOnceAnHour(t *testing.T) {
	w := newWorld(t)
	var names []string
	for i := range 6 {
		names = append(names, fmt.Sprintf("u%02d", i))
	}
	j := w.jira("jira", names...)
	for _, name := range names {
		w.give(name, pat(name, 1))
	}
	s := w.site("main", users(names...))
	w.reconcile(s)
	for _, tc := range []struct {
		wait        time.Duration
		least, most int
	}{{27 * time.Minute, 0, 0}, {63 * time.Minute, 6, 12}, {120 * time.Minute, 12, 12}} {
		j.Reset()
		for end := w.clock.Now().Add(tc.wait); w.clock.Now().Before(end); {
			w.later(3 * time.Minute)
			w.reconcile(s)
		}
		if n := len(sent(j)); n < tc.least || n > tc.most {
			t.Errorf("in %s the product was asked %d times, want %d to %d", tc.wait, n, tc.least, tc.most)
		}
	}
}

// The condition lists a user once, also if both entry and copy are rejected.
func TestOneRejectionForEachUser(t *testing.T) {
	w, j, s := enrolledWorld(t, fakeproduct.Options{})
	w.change(s, users("alice"))
	j.Deactivate("alice")
	w.wait(s, 100*time.Minute)
	c := w.expectCredentials(s, tokensv1alpha1.ReasonCredentialUnusable)
	if c.Message != "Not in use: 'alice': there is no Secret 'alice-pat': create it." || w.credential(s, "alice").Usable() {
		t.Errorf("message %q", c.Message)
	}
}

// A pass checks at most 100 copies. Those that waited longest come first.
func TestChecksAreBounded(t *testing.T) {
	w := newWorld(t)
	var names []string
	for i := range 130 {
		names = append(names, fmt.Sprintf("u%03d", i))
	}
	j := w.jira("jira", names...)
	s := w.site("main")
	for _, name := range names {
		w.paste(s, name, pat(name, 1))
	}
	w.reconcile(s)
	w.later(100 * time.Minute)
	asked := func() []string {
		j.Reset()
		w.reconcile(s)
		return slices.Compact(slices.Sorted(slices.Values(sent(j)))) // for each copy the owner, then the list of strays
	}
	first := asked()
	w.later(time.Minute)
	second := asked()
	if len(first) != 100 || len(second) < 30 || len(second) > 60 {
		t.Fatalf("asked were %d, then %d", len(first), len(second))
	}
	all := map[string]bool{}
	for _, token := range slices.Concat(first, second) {
		all[token] = true
	}
	if len(all) != len(names) {
		t.Errorf("of %d only %d were asked about", len(names), len(all))
	}
}

// The Event about a finding is emitted even if writing the status conflicts: the next pass does not find it again.
func TestFindingOutlivesAConflict(t *testing.T) {
	w, j, s := enrolledWorld(t, fakeproduct.Options{})
	j.Deactivate("alice")
	w.emitted()
	w.later(100 * time.Minute)
	conflicting := *w.reconciler
	conflicting.Client = interceptor.NewClient(w.api, interceptor.Funcs{
		SubResourceApply: func(context.Context, client.Client, string, runtime.ApplyConfiguration, ...client.SubResourceApplyOption) error {
			return apierrors.NewConflict(schema.GroupResource{}, s.Name, errors.New("somebody else was first"))
		},
	})
	if _, err := w.pass(&conflicting, s); err != nil {
		t.Fatal(err)
	}
	w.expectEvent(tokensv1alpha1.ReasonUpstreamCredentialRefused, "it was revoked or has ended, or the user was deactivated")
	w.reconcile(s)
	w.expectCredentials(s, tokensv1alpha1.ReasonCredentialUnusable)
}
