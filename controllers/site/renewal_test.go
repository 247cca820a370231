package site_test

import (
	"bytes"
	"encoding/json"
	"io"
	"net/http"
	"slices"
	"strings"
	"testing"
	"time"

	tokensv1alpha1 "apitokens.dev/operator/api/v1alpha1"
	"apitokens.dev/operator/controllers/site/credential"
	"apitokens.dev/operator/hack/lib/fakeproduct"
	"apitokens.dev/operator/internal/atlassian"
	"apitokens.dev/operator/internal/upstream"
)

// accepts reports whether the product accepts a personal access token.
func (w *world) accepts(s *tokensv1alpha1.AtlassianSite, token string) bool {
	w.Helper()
	_, err := w.network.WhoAmI(w.Context(), atlassian.Upstream{Product: atlassian.Jira, URL: s.Spec.UpstreamURL}, atlassian.Bearer(token))
	return err == nil
}

// In every step of a year the product accepts the held personal access token of alice and the one before it. With a lifetime of
// 90 days it is renewed every 60, with 30 every 20.
func TestRenewalOverAYear(t *testing.T) {
	for name, tc := range map[string]struct {
		maxDays, days int
		step          time.Duration
		renewals      int
	}{"90 days": {0, 365, 5 * day, 6}, "no more than 30 days": {30, 90, 2 * day, 4}} {
		t.Run(name, func(t *testing.T) {
			w, j, s := enrolledWorld(t, fakeproduct.Options{MaxPATDays: tc.maxDays})
			held := map[string]bool{}
			before := w.held(s, "alice")
			for end := w.clock.Now().Add(time.Duration(tc.days) * day); w.clock.Now().Before(end); {
				w.later(tc.step)
				w.reconcile(s)
				now := w.credential(s, "alice")
				if !w.accepts(s, now.Token) || !w.accepts(s, before) {
					t.Fatalf("on %s what is held is accepted: %t, what was held before: %t", w.clock.Now(), w.accepts(s, now.Token), w.accepts(s, before))
				}
				if ids := ours(j, s, "alice"); len(ids) > 2 {
					t.Fatalf("on %s the product has %v", w.clock.Now(), ids)
				}
				held[now.Token], before = true, now.Token
			}
			if n := len(held) - 1; n != tc.renewals {
				t.Errorf("it was renewed %d times, want %d", n, tc.renewals)
			}
			w.wait(s, 20*time.Minute)
			w.expectSound(j, s, "alice")
			w.expectCredentials(s, tokensv1alpha1.ReasonVerified)
			w.expectLogged(s, "Renewed a personal access token", "Revoked the personal access token that was replaced")
			if events := w.emitted(); len(events) != 0 {
				t.Errorf("events %q", events)
			}
		})
	}
}

// The replaced personal access token is revoked after ten minutes, and not sooner.
func TestReplacedIsRevokedLater(t *testing.T) {
	w, j, s := enrolledWorld(t, fakeproduct.Options{})
	before := w.credential(s, "alice")
	w.later(61 * day)
	w.reconcile(s)
	now := w.credential(s, "alice")
	if now.ID == before.ID || now.Replaced != before.ID || now.UserKey != "K1" || !now.Stored.Equal(w.clock.Now()) ||
		now.Expires.Sub(now.Stored).Round(time.Second) != 90*day {
		t.Fatalf("held is %+v after %+v", now, before)
	}
	w.wait(s, 9*time.Minute)
	if !w.accepts(s, before.Token) || w.credential(s, "alice").Replaced != before.ID {
		t.Error("replicas that have not switched lost theirs")
	}
	w.wait(s, time.Minute)
	if w.accepts(s, before.Token) {
		t.Error("what was replaced is alive")
	}
	if got := w.expectSound(j, s, "alice"); got.Token != now.Token || !got.Stored.Equal(now.Stored) {
		t.Errorf("held is %+v", got)
	}
}

// While the product makes no new personal access token, the old one stays in use, the condition says what to do, and each hour
// has another attempt.
func TestRenewalRefused(t *testing.T) {
	for name, tc := range map[string]struct {
		obstruct, clear func(w *world, j *fakeproduct.Jira, s *tokensv1alpha1.AtlassianSite)
	}{
		"as many as a user may have": {
			func(w *world, j *fakeproduct.Jira, s *tokensv1alpha1.AtlassianSite) {
				for len(j.PersonalAccessTokens("alice")) < 10 {
					w.makePAT(s, pat("alice", 1), "a script of hers")
				}
			},
			func(w *world, j *fakeproduct.Jira, s *tokensv1alpha1.AtlassianSite) {
				mine := j.PersonalAccessTokens("alice")
				w.deletePAT(s, pat("alice", 1), mine[len(mine)-1].ID)
			},
		},
		"30 days are too long": {
			func(w *world, j *fakeproduct.Jira, _ *tokensv1alpha1.AtlassianSite) {
				w.serve("jira", noLongerThan(j, 29))
			},
			func(w *world, j *fakeproduct.Jira, _ *tokensv1alpha1.AtlassianSite) {
				w.serve("jira", noLongerThan(j, 30))
			},
		},
		"the resource is closed": {
			func(w *world, j *fakeproduct.Jira, _ *tokensv1alpha1.AtlassianSite) {
				w.serve("jira", failing(j, http.MethodPost, http.StatusForbidden))
			},
			func(w *world, j *fakeproduct.Jira, _ *tokensv1alpha1.AtlassianSite) { w.serve("jira", j) },
		},
	} {
		t.Run(name, func(t *testing.T) {
			w, j, s := enrolledWorld(t, fakeproduct.Options{})
			before := w.credential(s, "alice")
			tc.obstruct(w, j, s)
			w.later(61 * day)
			w.reconcile(s)
			c := w.expectCredentials(s, tokensv1alpha1.ReasonRenewalRefused)
			for _, want := range []string{"Not renewed: 'alice': ", "delete some of the user's there", "until " + before.Expires.Format(time.DateOnly)} {
				if !strings.Contains(c.Message, want) {
					t.Errorf("the message does not have %q: %q", want, c.Message)
				}
			}
			w.expectEvent(tokensv1alpha1.ReasonRenewalRefused)
			w.expectIdle(s)
			w.wait(s, 3*time.Hour)
			if got := w.credential(s, "alice"); got != before || !w.accepts(s, before.Token) {
				t.Errorf("held is %+v", got)
			}
			w.reconciler.Memory = credential.NewMemory() // a restart does not change the condition
			w.expectSame(s)

			tc.clear(w, j, s)
			w.wait(s, 80*time.Minute)
			w.expectCredentials(s, tokensv1alpha1.ReasonVerified)
			if now := w.expectSound(j, s, "alice"); now.ID == before.ID {
				t.Error("it was not renewed")
			}
		})
	}
}

// noLongerThan is a Jira that makes personal access tokens for at most so many days.
func noLongerThan(j *fakeproduct.Jira, days int) http.Handler {
	return http.HandlerFunc(func(rw http.ResponseWriter, r *http.Request) {
		body, err := io.ReadAll(r.Body)
		var asked struct{ ExpirationDuration int }
		if err == nil && json.Unmarshal(body, &asked) == nil && asked.ExpirationDuration > days {
			rw.WriteHeader(http.StatusBadRequest)
			return
		}
		r.Body = io.NopCloser(bytes.NewReader(body))
		j.ServeHTTP(rw, r)
	})
}

func (w *world) expectSame(s *tokensv1alpha1.AtlassianSite) {
	w.Helper()
	before := s.ResourceVersion
	w.reconcile(s)
	if s.ResourceVersion != before {
		w.Errorf("the status became %+v", s.Status)
	}
}

func (w *world) makePAT(s *tokensv1alpha1.AtlassianSite, as, name string) atlassian.PAT {
	w.Helper()
	made, err := w.network.CreatePAT(w.Context(), atlassian.Upstream{Product: atlassian.Jira, URL: s.Spec.UpstreamURL}, atlassian.Bearer(as), name, 30)
	if err != nil {
		w.Fatal(err)
	}
	return made
}

func (w *world) deletePAT(s *tokensv1alpha1.AtlassianSite, as string, id int64) {
	w.Helper()
	if err := w.network.DeletePAT(w.Context(), atlassian.Upstream{Product: atlassian.Jira, URL: s.Spec.UpstreamURL}, atlassian.Bearer(as), id); err != nil {
		w.Fatal(err)
	}
}

// An unfinished renewal leaves at most one stray an hour, and a later check revokes it.
func TestRenewalThatIsNeverConfirmed(t *testing.T) {
	w, j, s := enrolledWorld(t, fakeproduct.Options{})
	before := w.credential(s, "alice")
	w.later(61 * day)
	w.serve("jira", http.HandlerFunc(func(rw http.ResponseWriter, r *http.Request) {
		// Requests with the new personal access token fail.
		if a := r.Header.Get("Authorization"); strings.HasSuffix(r.URL.Path, "/myself") && a != "" && a != "Bearer "+before.Token {
			rw.WriteHeader(http.StatusBadGateway)
			return
		}
		j.ServeHTTP(rw, r)
	}))
	for range 12 * 6 {
		w.wait(s, 10*time.Minute)
		if ids := ours(j, s, "alice"); len(ids) > 3 {
			t.Fatalf("the product has %v", ids)
		}
	}
	if got := w.credential(s, "alice"); got != before {
		t.Errorf("held is %+v", got)
	}
	w.serve("jira", j)
	w.wait(s, 4*time.Hour)
	if now := w.expectSound(j, s, "alice"); now.ID == before.ID {
		t.Error("it was not renewed")
	}
}

// A stray under our name is revoked within about an hour. Nothing else is revoked.
func TestStraysAreSweptUp(t *testing.T) {
	w, j, s := enrolledWorld(t, fakeproduct.Options{})
	name := upstream.PATName(string(s.UID), "alice", "")
	w.makePAT(s, pat("alice", 1), name)
	for _, hers := range []string{"a script of hers", name + " 2", "API tokens at the ingress 00000000", strings.ToLower(name)} {
		w.makePAT(s, pat("alice", 1), hers)
	}
	w.wait(s, 100*time.Minute)
	w.expectSound(j, s, "alice")
	w.expectLogged(s, "Revoked a personal access token that was left over")
	if n := len(j.PersonalAccessTokens("alice")); n != 6 {
		t.Errorf("she has %d: some of her own were revoked", n)
	}
	// A recent one may be about to be stored, and stays.
	fresh := w.makePAT(s, pat("alice", 1), name)
	for range 9 {
		w.wait(s, time.Minute)
		if !slices.Contains(ours(j, s, "alice"), fresh.ID) {
			t.Fatal("it was revoked before anybody could store it")
		}
	}
}

// After the product renamed a user, the tokens of both names go on: neither copy takes the personal access token of the other for
// a stray.
func TestRenamedUserEnrolsAgain(t *testing.T) {
	w, j, s := enrolledWorld(t, fakeproduct.Options{})
	if !j.Rename("alice", "alicia") {
		t.Fatal("the product refuses")
	}
	w.token("alicia")
	w.enroll(j, s, "alicia")
	w.wait(s, 25*time.Hour)
	for _, user := range []string{"alice", "alicia"} {
		c := w.credential(s, user)
		if held := slices.ContainsFunc(j.PersonalAccessTokens("alicia"), func(p fakeproduct.PAT) bool { return p.ID == c.ID }); !held || !c.Usable() {
			t.Errorf("the copy of %s has no personal access token at the product: %+v", user, c.Refused)
		}
	}
}

// The user enrols again after a renewal: the new copy stays, and the others are revoked.
func TestEnrolledAnew(t *testing.T) {
	w, j, s := enrolledWorld(t, fakeproduct.Options{})
	w.later(61 * day)
	w.reconcile(s)
	w.wait(s, 5*time.Minute)
	now := w.enroll(j, s, "alice")
	w.wait(s, 110*time.Minute)
	if got := w.expectSound(j, s, "alice"); got != now {
		t.Errorf("held is %+v, want %+v", got, now)
	}
}

// The owner pastes a personal access token over an enrolled one: the pasted one is held, the other one is revoked.
func TestPastedOverEnrolled(t *testing.T) {
	w, j, s := enrolledWorld(t, fakeproduct.Options{})
	w.paste(s, "alice", pat("alice", 1))
	w.wait(s, 100*time.Minute)
	if ids := ours(j, s, "alice"); len(ids) != 0 || w.held(s, "alice") != pat("alice", 1) || !w.accepts(s, pat("alice", 1)) {
		t.Errorf("the product has %v, held is %+v", ids, w.credential(s, "alice"))
	}
	w.expectCredentials(s, tokensv1alpha1.ReasonVerified)
}
