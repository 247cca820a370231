package site_test

import (
	"fmt"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"

	tokensv1alpha1 "apitokens.dev/operator/api/v1alpha1"
	"apitokens.dev/operator/hack/lib/fakeproduct"
)

// dropped closes the connection without an answer.
func dropped(http.ResponseWriter, *http.Request) { panic(http.ErrAbortHandler) }

func answer(status int, body string) http.HandlerFunc {
	return func(w http.ResponseWriter, _ *http.Request) {
		w.WriteHeader(status)
		_, _ = w.Write([]byte(body))
	}
}

// onlyAnonymous answers requests without a credential as Jira does, and the others with h.
func onlyAnonymous(h http.Handler) http.Handler {
	jira := fakeproduct.NewJira(fakeproduct.Options{ContextPath: "/jira"})
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.Header.Get("Authorization") == "" {
			jira.ServeHTTP(w, r)
			return
		}
		h.ServeHTTP(w, r)
	})
}

func TestUpstreamReachable(t *testing.T) {
	const nothing, other = "Nothing answers at ", "is not Jira. Correct `upstreamURL`: it may lack the context path."
	for name, tc := range map[string]struct {
		product http.Handler // nil for nobody
		reason  string
		says    string
	}{
		"Jira":                        {fakeproduct.NewJira(fakeproduct.Options{ContextPath: "/jira"}), tokensv1alpha1.ReasonAnswered, "Jira answers at "},
		"nobody there":                {nil, tokensv1alpha1.ReasonNoAnswer, "Nothing listens at "},
		"connection dropped":          {http.HandlerFunc(dropped), tokensv1alpha1.ReasonNoAnswer, nothing},
		"Jira at another path":        {fakeproduct.NewJira(fakeproduct.Options{}), tokensv1alpha1.ReasonNoAnswer, other},
		"redirect":                    {http.RedirectHandler("/login", http.StatusFound), tokensv1alpha1.ReasonNoAnswer, other},
		"unavailable":                 {answer(http.StatusServiceUnavailable, ""), tokensv1alpha1.ReasonNoAnswer, "The server at "},
		"a page for whatever address": {answer(http.StatusOK, "<html>Welcome</html>"), tokensv1alpha1.ReasonNoAnswer, other},
	} {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t)
			if delete(w.network.servers, w.origin("jira")); tc.product != nil {
				w.serve("jira", tc.product)
			}
			s := w.site("main")
			w.reconcile(s)
			w.expectServed(s)
			c := w.expect(s, tokensv1alpha1.ConditionUpstreamReachable, tc.reason)
			if !strings.Contains(c.Message, tc.says) || !strings.Contains(c.Message, s.Spec.UpstreamURL) || strings.Contains(c.Message, "127.0.0.1") {
				t.Errorf("message %q", c.Message)
			}
			w.expectIdle(s)
		})
	}
}

// While the product is down, verified copies stay, new entries wait, and no credential is sent.
func TestProductDown(t *testing.T) {
	for name, down := range map[string]http.Handler{
		"nobody there":       nil,
		"connection dropped": http.HandlerFunc(dropped),
		"unavailable":        answer(http.StatusServiceUnavailable, ""),
		"sign-on page":       http.RedirectHandler("/sso", http.StatusFound),
	} {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t)
			jira := w.jira("jira", "alice", "bob", "carol", "dan")
			for _, user := range []string{"alice", "carol", "dan"} {
				w.give(user, pat(user, 1))
			}
			s := w.site("main", users("alice", "carol", "dan"))
			w.reconcile(s)
			w.expectCredentials(s, tokensv1alpha1.ReasonVerified)

			delete(w.network.servers, w.origin("jira"))
			var received sync.Map // connections that are dropped are not waited for
			if down != nil {
				w.serve("jira", http.HandlerFunc(func(rw http.ResponseWriter, r *http.Request) {
					for _, authorization := range r.Header.Values("Authorization") {
						received.Store(authorization, true)
					}
					down.ServeHTTP(rw, r)
				}))
			}
			w.expectStale(s, "alice", "carol", "dan")
			w.give("bob", pat("bob", 1))
			w.give("carol", pat("carol", 2))
			w.change(s, users("alice", "bob", "carol")) // what is withdrawn does not wait
			w.reconcile(s)
			w.expectServed(s)
			w.expect(s, tokensv1alpha1.ConditionUpstreamReachable, tokensv1alpha1.ReasonNoAnswer)
			c := w.expectCredentials(s, tokensv1alpha1.ReasonCredentialUnusable)
			for text, want := range map[string]bool{
				"'bob': ": true, "Secret 'bob-pat'": true, "'carol': ": true, "Secret 'carol-pat'": true,
				"could not be asked": true, "alice": false, "dan": false,
			} {
				if strings.Contains(c.Message, text) != want {
					t.Errorf("the message has %q: %v: %q", text, !want, c.Message)
				}
			}
			w.expectHeld(s, map[string]string{"alice": pat("alice", 1), "bob": "", "carol": pat("carol", 1), "dan": ""})
			w.expectIdle(s)
			received.Range(func(authorization, _ any) bool {
				t.Errorf("what is no product received %q", authorization)
				return true
			})

			w.serve("jira", jira)
			w.reconcile(s)
			w.expect(s, tokensv1alpha1.ConditionUpstreamReachable, tokensv1alpha1.ReasonAnswered)
			w.expectCredentials(s, tokensv1alpha1.ReasonVerified)
			w.expectHeld(s, map[string]string{"alice": pat("alice", 1), "bob": pat("bob", 1), "carol": pat("carol", 2), "dan": ""})
		})
	}
}

// expectStale expects that an outage takes no copy away.
func (w *world) expectStale(s *tokensv1alpha1.AtlassianSite, users ...string) {
	w.Helper()
	w.reconcile(s)
	w.expect(s, tokensv1alpha1.ConditionUpstreamReachable, tokensv1alpha1.ReasonNoAnswer)
	w.expectCredentials(s, tokensv1alpha1.ReasonVerified)
	for _, user := range users {
		w.expectHeld(s, map[string]string{user: pat(user, 1)})
	}
}

func (w *world) expectHeld(s *tokensv1alpha1.AtlassianSite, want map[string]string) {
	w.Helper()
	for user, token := range want {
		if got := w.held(s, user); got != token {
			w.Errorf("of %s %q is in use, want %q", user, got, token)
		}
	}
}

// A product that answers anonymous requests only leaves copies as they are. A person has to see that, so it is a condition and
// not an error.
func TestProductDoesNotSayWho(t *testing.T) {
	for name, h := range map[string]http.Handler{
		"too many requests":  answer(http.StatusTooManyRequests, ""),
		"unavailable":        answer(http.StatusServiceUnavailable, ""),
		"connection dropped": http.HandlerFunc(dropped),
		"a page":             answer(http.StatusOK, "<html>"),
		"nobody's name":      answer(http.StatusOK, `{"name":""}`),
		"redirect":           http.RedirectHandler("/login", http.StatusFound),
	} {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t)
			w.jira("jira", "alice")
			w.give("alice", pat("alice", 1))
			s := w.site("main", users("alice", "bob"))
			w.reconcile(s)
			w.serve("jira", onlyAnonymous(h))
			w.give("alice", pat("alice", 2))

			result, err := w.pass(w.reconciler, s)
			w.expectReady(s, tokensv1alpha1.ReasonCredentialUnusable)
			w.expectHeld(s, map[string]string{"alice": pat("alice", 1)})
			if err != nil || result.RequeueAfter == 0 {
				t.Errorf("the pass ended with %+v, %v", result, err)
			}
			c := w.expectCredentials(s, tokensv1alpha1.ReasonCredentialUnusable)
			for _, want := range []string{"'alice': ", "Secret 'alice-pat'", "'bob': there is no Secret 'bob-pat'"} {
				if !strings.Contains(c.Message, want) {
					t.Errorf("the message does not have %s: %q", want, c.Message)
				}
			}
		})
	}
}

// A personal access token never goes to the target of a redirect, nor into an error, which the harness checks after each pass.
func TestPersonalAccessTokenStaysWithItsUpstream(t *testing.T) {
	for name, location := range map[string]func(thief, authorization string) string{
		"another host": func(thief, _ string) string { return thief + "/jira/rest/api/2/myself" },
		"another path": func(string, string) string { return "/elsewhere" },
		"the token in the address": func(thief, authorization string) string {
			return thief + "/?" + strings.TrimPrefix(authorization, "Bearer ")
		},
		"no address at all": func(_, authorization string) string { return "http://[" + strings.TrimPrefix(authorization, "Bearer ") },
	} {
		for _, always := range []bool{true, false} {
			t.Run(fmt.Sprintf("%s, also without a token: %v", name, always), func(t *testing.T) {
				w := newWorld(t)
				var stolen, followed []string
				thief := httptest.NewServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) { stolen = append(stolen, r.URL.String()) }))
				t.Cleanup(thief.Close)
				var redirect http.Handler = http.HandlerFunc(func(rw http.ResponseWriter, r *http.Request) {
					if r.URL.Path != "/jira/rest/api/2/myself" {
						followed = append(followed, r.URL.Path)
					}
					rw.Header().Set("Location", location(thief.URL, r.Header.Get("Authorization")))
					rw.WriteHeader(http.StatusTemporaryRedirect)
				})
				if !always {
					redirect = onlyAnonymous(redirect)
				}
				w.serve("jira", redirect)
				w.give("alice", pat("alice", 1))
				s := w.site("main", users("alice"))
				for range 2 {
					_, _ = w.pass(w.reconciler, s) // whether that is an error is another test's business
				}
				if len(stolen) != 0 || len(followed) != 0 {
					t.Errorf("the redirect was followed to %q and %q", stolen, followed)
				}
				if w.copySecret(s, "alice") != nil {
					t.Error("a redirect passed for a confirmation")
				}
			})
		}
	}
}
