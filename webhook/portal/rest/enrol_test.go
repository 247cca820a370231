package rest_test

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"net/http/httputil"
	"net/url"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	kube "sigs.k8s.io/controller-runtime/pkg/client"

	tokensv1alpha1 "apitokens.dev/operator/api/v1alpha1"
	"apitokens.dev/operator/hack/lib/kubetest"
	"apitokens.dev/operator/hack/lib/portaltest"
	"apitokens.dev/operator/internal/record"
	"apitokens.dev/operator/internal/upstream"
)

// workingCopy returns the stored personal access token of alice, or nil.
func workingCopy(t *testing.T, w *portaltest.World) *upstream.Credential {
	t.Helper()
	var stored corev1.Secret
	name := types.NamespacedName{Namespace: kubetest.CredentialsNamespace, Name: upstream.SecretName(w.Site.Namespace, w.Site.Name, "alice")}
	err := env.Admin.Get(t.Context(), name, &stored)
	if apierrors.IsNotFound(err) {
		return nil
	}
	if err != nil {
		t.Fatal(err)
	}
	c, err := upstream.Decode(stored.Data[upstream.DataKey])
	if err != nil {
		t.Fatal(err)
	}
	return &c
}

// accepted reports whether the product accepts a personal access token.
func accepted(t *testing.T, w *portaltest.World, token string) bool {
	t.Helper()
	path := map[tokensv1alpha1.Product]string{tokensv1alpha1.ProductJira: "/rest/api/2/myself", tokensv1alpha1.ProductConfluence: "/rest/api/user/current"}[w.Site.Spec.Product]
	request, err := http.NewRequestWithContext(t.Context(), http.MethodGet, w.Site.Spec.UpstreamURL+path, nil)
	if err != nil {
		t.Fatal(err)
	}
	request.Header.Set("Authorization", "Bearer "+token)
	a, err := roundTrip(request)
	if err != nil {
		t.Fatal(err)
	}
	return a.status == http.StatusOK
}

// apiTokens returns all APITokens in the namespace of a site.
func apiTokens(t *testing.T, w *portaltest.World) []tokensv1alpha1.APIToken {
	t.Helper()
	var list tokensv1alpha1.APITokenList
	if err := env.Admin.List(t.Context(), &list, kube.InNamespace(w.Site.Namespace)); err != nil {
		t.Fatal(err)
	}
	return list.Items
}

// The first token of a user creates a personal access token, and the second does not.
func TestEnrolment(t *testing.T) {
	for name, as := range map[string]func(*testing.T, *portaltest.World) client{
		"with a session": func(t *testing.T, w *portaltest.World) client { return session(t, w, "alice") },
		"with a personal access token": func(t *testing.T, w *portaltest.World) client {
			return client{World: w, t: t}.with("Authorization", "Bearer "+pat(t, w, "alice"))
		},
		"with a password": func(t *testing.T, w *portaltest.World) client {
			w.Product.SetBasicAuth(true)
			return client{World: w, t: t}.with("Authorization", basic("alice", "alices password"))
		},
	} {
		t.Run(name, func(t *testing.T) {
			eachProduct(t, func(t *testing.T, w *portaltest.World) {
				alice := as(t, w)
				before := len(w.Product.PersonalAccessTokens("alice"))
				alice.expect(http.StatusOK, "GET", "/", "")
				if workingCopy(t, w) != nil {
					t.Fatal("users who only look are not enrolled")
				}
				_, text := alice.create(`{"label":"first"}`)
				made := w.Product.PersonalAccessTokens("alice")[before:]
				if len(made) != 1 || !upstream.IsPATName(made[0].Name, string(w.Site.UID), "alice") || time.Until(made[0].ExpiresAt).Round(24*time.Hour) != 90*24*time.Hour {
					t.Fatalf("the product made %+v", made)
				}
				c := workingCopy(t, w)
				if c == nil || c.ID != made[0].ID || c.Source != upstream.Enrolled || c.UserKey != "JIRAUSER10001" || c.Stored.IsZero() ||
					c.Expires.Sub(made[0].ExpiresAt).Abs() > time.Second || !strings.HasPrefix(w.Site.Spec.UpstreamURL, c.Origin+"/") || !accepted(t, w, c.Token) {
					t.Fatalf("the working copy is of user %+v", c)
				}
				alice.create(`{"label":"second"}`)
				alice.withToken("alice", text).create(`{"label":"third"}`)
				if now := w.Product.PersonalAccessTokens("alice"); len(now) != before+1 {
					t.Errorf("now there are %+v", now)
				}
				if strings.Contains(env.Audit(), c.Token) {
					t.Error("it is in the log")
				}
			})
		})
	}
}

// At a site that hands users over in a header, nobody enrols, and a personal access token is not needed to create or rotate.
func TestNoEnrolmentByHeader(t *testing.T) {
	eachProduct(t, func(t *testing.T, w *portaltest.World) {
		alice := session(t, w, "alice")
		before := len(w.Product.PersonalAccessTokens("alice"))
		_, text := alice.create(`{"label":"first"}`)
		alice.withToken("alice", text).create(`{"label":"second"}`)
		if made := w.Product.PersonalAccessTokens("alice"); len(made) != before || workingCopy(t, w) != nil {
			t.Errorf("the product made %+v", made[before:])
		}
	}, func(s *tokensv1alpha1.AtlassianSite) { s.Spec.Handoff.Type = tokensv1alpha1.HandoffIdentityHeader })
}

// What a site says of passwords and other credentials also counts for its API tokens, which they could create. Sessions manage them.
func TestRefusedCredentialsCreateNothing(t *testing.T) {
	eachProduct(t, func(t *testing.T, w *portaltest.World) {
		w.Product.SetBasicAuth(true)
		password := client{World: w, t: t}.with("Authorization", basic("alice", "alices password"))
		token := client{World: w, t: t}.with("Authorization", "Bearer "+pat(t, w, "alice"))
		password.expect(http.StatusOK, "GET", "/", "")
		token.expect(http.StatusOK, "GET", "/", "")
		policy(t, w, func(s *tokensv1alpha1.AtlassianSite) {
			o := &s.Spec.OtherCredentials
			o.Password.Action, o.Bearer.Action, o.Session.Action, o.Anonymous.Action = "Refuse", "Refuse", "Refuse", "Refuse"
		})
		for reason, as := range map[string]client{"PasswordRefused": password, "BearerRefused": token} {
			a := eventually(t, as, http.StatusForbidden)
			if a.header.Get("X-Api-Token-Reason") != reason || !strings.Contains(a.body, "Sign in") {
				t.Errorf("%s: %v %s", reason, a.header, a.body)
			}
		}
		session(t, w, "alice").create(`{"label":"first"}`)
	})
}

// Concurrent requests enrol once. Additional personal access tokens are revoked at the product.
func TestEnrolmentInARace(t *testing.T) {
	eachProduct(t, func(t *testing.T, w *portaltest.World) {
		alice := session(t, w, "alice")
		var group sync.WaitGroup
		for range 6 {
			group.Go(func() {
				if a, err := alice.try("POST", "/", `{"label":"x"}`); err != nil || a.status != http.StatusCreated {
					t.Errorf("%d %s %v", a.status, a.body, err)
				}
			})
		}
		group.Wait()
		kubetest.Eventually(t, func() error {
			c, made := workingCopy(t, w), w.Product.PersonalAccessTokens("alice")
			if c == nil || len(made) != 1 || made[0].ID != c.ID || !accepted(t, w, c.Token) {
				return fmt.Errorf("%+v, and at the product %+v", c, made)
			}
			return nil
		})
	})
}

// A user who has reached the product's limit of personal access tokens learns what to do. Nothing is left behind.
func TestPersonalAccessTokenLimit(t *testing.T) {
	eachProduct(t, func(t *testing.T, w *portaltest.World) {
		alice := session(t, w, "alice")
		var last string
		for range 10 {
			last = pat(t, w, "alice")
		}
		if refused := alice.expect(http.StatusConflict, "POST", "/", `{"label":"x"}`); !refused.says(t, w, "", "Delete one in your profile") ||
			!strings.Contains(refused.body, w.URL+"/plugins/servlet/api-tokens") {
			t.Errorf("not said what to do: %s", refused.body)
		}
		if left := apiTokens(t, w); len(left) != 0 {
			t.Errorf("%d APITokens are left", len(left))
		}
		if workingCopy(t, w) != nil {
			t.Error("there is a working copy")
		}
		w.Product.RevokePAT(last)
		alice.create(`{"label":"x"}`)
	})
}

// No personal access token is created if the administrator provides one in upstreamCredentials.
func TestProvidedPersonalAccessToken(t *testing.T) {
	w := env.Jira(t, func(s *tokensv1alpha1.AtlassianSite) {
		s.Spec.UpstreamCredentials = []tokensv1alpha1.UpstreamCredential{{User: "alice", SecretName: "alice-pat"}}
	})
	session(t, w, "alice").create(`{"label":"x"}`)
	if made := w.Product.PersonalAccessTokens("alice"); len(made) != 0 || workingCopy(t, w) != nil {
		t.Errorf("%+v", made)
	}
}

// A token cannot create another one if its owner has no personal access token. The error names the page.
func TestTokenWithoutPersonalAccessToken(t *testing.T) {
	eachProduct(t, func(t *testing.T, w *portaltest.World) {
		alice := session(t, w, "alice")
		of := declare(t, w, kubetest.Token(w.Site.Namespace, "ci"))
		script := alice.withToken("alice", of.text)
		eventually(t, script, http.StatusOK)
		refused := script.expect(http.StatusForbidden, "POST", "/", `{"label":"child"}`)
		if refused.header.Get("X-Api-Token-Reason") != "UpstreamCredentialMissing" || !refused.says(t, w, "", w.URL+"/plugins/servlet/api-tokens") {
			t.Errorf("%v %s", refused.header, refused.body)
		}
		if left := apiTokens(t, w); len(left) != 1 {
			t.Errorf("%d APITokens are left", len(left))
		}
		alice.create(`{"label":"signed in"}`)
		script.create(`{"label":"child"}`)
		notEnrolled(t, w, "ci")
		kubetest.Eventually(t, func() error {
			if state := script.expect(http.StatusOK, "GET", "/"+of.id, "").text(t, "state"); state != "NotEnrolled" {
				return fmt.Errorf("state is %s", state)
			}
			return nil
		})
	})
}

// notEnrolled sets the condition of an APIToken whose owner has no personal access token, as the controller does.
func notEnrolled(t *testing.T, w *portaltest.World, name string) {
	t.Helper()
	var object tokensv1alpha1.APIToken
	if err := env.Admin.Get(t.Context(), types.NamespacedName{Namespace: w.Site.Namespace, Name: name}, &object); err != nil {
		t.Fatal(err)
	}
	before := object.DeepCopy()
	object.Status.Conditions = []metav1.Condition{{
		Type: tokensv1alpha1.ConditionReady, Status: metav1.ConditionFalse, Reason: tokensv1alpha1.ReasonUpstreamCredentialMissing,
		Message: "for a test", LastTransitionTime: metav1.Now(),
	}}
	if err := w.Controller.Status().Patch(t.Context(), &object, kube.MergeFrom(before)); err != nil {
		t.Fatal(err)
	}
}

// intercept puts a proxy in front of a product. It answers some requests itself.
func intercept(t *testing.T, s *tokensv1alpha1.AtlassianSite, answers func(w http.ResponseWriter, r *http.Request) bool) {
	t.Helper()
	product, err := url.Parse(strings.TrimSuffix(s.Spec.UpstreamURL, "/jira"))
	if err != nil {
		t.Fatal(err)
	}
	pass := httputil.NewSingleHostReverseProxy(product)
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if !answers(w, r) {
			pass.ServeHTTP(w, r)
		}
	}))
	t.Cleanup(server.Close)
	s.Spec.UpstreamURL = server.URL + "/jira"
}

// A personal access token of another user is neither stored nor left at the product. While the product does not say whose it is,
// it waits for the controller, and no other is made.
func TestPersonalAccessTokenOfAnotherUser(t *testing.T) {
	for name, tc := range map[string]struct {
		answer string
		status int
		waits  bool
	}{
		"another user": {`{"name":"mallory","key":"x","type":"known","username":"mallory"}`, http.StatusConflict, false},
		"another key":  {`{"name":"alice","key":"x","type":"known","username":"alice","userKey":"x"}`, http.StatusConflict, false},
		"no answer":    {`<html>`, http.StatusServiceUnavailable, true},
	} {
		t.Run(name, func(t *testing.T) {
			eachProduct(t, func(t *testing.T, w *portaltest.World) {
				alice := session(t, w, "alice")
				for range 2 {
					if got := alice.send("POST", "/", `{"label":"x"}`); got.status != tc.status {
						t.Errorf("%d %s, want %d", got.status, got.body, tc.status)
					}
				}
				kubetest.Eventually(t, func() error {
					left, made, waiting := apiTokens(t, w), w.Product.PersonalAccessTokens("alice"), intakes(t, w)
					if len(left) != 0 || workingCopy(t, w) != nil || (waiting == 1) != tc.waits || len(made) != waiting {
						return fmt.Errorf("%d APITokens are left, %d intakes, and at the product %+v", len(left), waiting, made)
					}
					return nil
				})
			}, func(s *tokensv1alpha1.AtlassianSite) {
				intercept(t, s, func(w http.ResponseWriter, r *http.Request) bool {
					if !strings.HasPrefix(r.Header.Get("Authorization"), "Bearer ") || r.Method != http.MethodGet {
						return false
					}
					w.Header().Set("Content-Type", "application/json")
					_, _ = w.Write([]byte(tc.answer))
					return true
				})
			})
		})
	}
}

// intakes returns how many personal access tokens of a site wait for the controller.
func intakes(t *testing.T, w *portaltest.World) (n int) {
	t.Helper()
	var list corev1.SecretList
	if err := env.Admin.List(t.Context(), &list, kube.InNamespace(kubetest.IntakeNamespace)); err != nil {
		t.Fatal(err)
	}
	for _, s := range list.Items {
		if s.Labels[record.LabelSiteNamespace] == w.Site.Namespace {
			n++
		}
	}
	return n
}

// A product that allows at most a month is asked for a shorter lifetime.
func TestShorterPersonalAccessToken(t *testing.T) {
	w := env.Jira(t, func(s *tokensv1alpha1.AtlassianSite) {
		intercept(t, s, func(w http.ResponseWriter, r *http.Request) bool {
			if r.Method != http.MethodPost {
				return false
			}
			var request struct{ ExpirationDuration int }
			body, err := io.ReadAll(r.Body)
			if err != nil || json.Unmarshal(body, &request) != nil || request.ExpirationDuration > 30 {
				w.WriteHeader(http.StatusBadRequest)
				return true
			}
			r.Body = io.NopCloser(bytes.NewReader(body))
			return false
		})
	})
	session(t, w, "alice").create(`{"label":"x"}`)
	made := w.Product.PersonalAccessTokens("alice")
	if len(made) != 1 || time.Until(made[0].ExpiresAt).Round(24*time.Hour) != 30*24*time.Hour {
		t.Errorf("%+v", made)
	}
}

// A client may disconnect at any moment. Every APIToken without the pending mark has a record, there is at most one personal access
// token at the product, and every token that was shown works.
func TestClientDisconnects(t *testing.T) {
	eachProduct(t, func(t *testing.T, w *portaltest.World) {
		alice := session(t, w, "alice")
		begun := time.Now()
		alice.create(`{"label":"how long it takes"}`)
		takes := time.Since(begun)
		answered := make(chan string, 200)
		for i := range cap(answered) {
			ctx, cancel := context.WithTimeout(t.Context(), takes*time.Duration(i)/100)
			a, err := alice.tryUntil(ctx, "POST", "/", fmt.Sprintf(`{"label":"%d"}`, i))
			cancel()
			if err == nil && a.status == http.StatusCreated {
				answered <- a.text(t, "token")
			}
		}
		close(answered)
		n := len(answered)
		for text := range answered {
			alice.withToken("alice", text).expect(http.StatusOK, "GET", "/", "")
		}
		if n == 0 || n == cap(answered) {
			t.Errorf("%d of %d were answered", n, cap(answered))
		}
		kubetest.Eventually(t, func() error { return checkFinished(t, w) })
		kubetest.Eventually(t, func() error {
			if made := w.Product.PersonalAccessTokens("alice"); len(made) != 1 || made[0].ID != workingCopy(t, w).ID {
				return fmt.Errorf("at the product are %+v", made)
			}
			return nil
		})
	})
}

// checkFinished returns an error for an APIToken that has neither a record nor the pending mark.
func checkFinished(t *testing.T, w *portaltest.World) error {
	t.Helper()
	recorded := map[string]bool{}
	for _, r := range records(t, w) {
		recorded[r.APIToken.Name] = true
	}
	for _, of := range apiTokens(t, w) {
		if !recorded[of.Name] && of.Annotations[tokensv1alpha1.AnnotationPending] == "" {
			return fmt.Errorf("%s has no record", of.Name)
		}
	}
	return nil
}

// A product may make a personal access token and answer with an error. It is found by its name, and revoked. Those that were left
// over earlier are revoked before another one is made: otherwise a user had ten, and then none was made any more.
func TestNoPersonalAccessTokenIsLeftOver(t *testing.T) {
	failing := sync.Map{}
	eachProduct(t, func(t *testing.T, w *portaltest.World) {
		alice := session(t, w, "alice")
		failing.Store(w.Site.Namespace, true)
		for range 3 {
			if got := alice.send("POST", "/", `{"label":"x"}`); got.status != http.StatusServiceUnavailable {
				t.Errorf("%d %s", got.status, got.body)
			}
		}
		failing.Delete(w.Site.Namespace)
		kubetest.Eventually(t, func() error {
			if made := w.Product.PersonalAccessTokens("alice"); len(made) != 0 || len(apiTokens(t, w)) != 0 {
				return fmt.Errorf("at the product is left %+v", made)
			}
			return nil
		})

		uid, other := string(w.Site.UID), upstream.PATName("00000000-0000", "alice", "")
		former := upstream.PATName(uid, "alicia", "") // she had this name, and has tokens under it
		w.SetProductAhead(-3 * time.Minute)
		for _, name := range []string{upstream.PATName(uid, "alice", ""), upstream.PATName(uid, "Alice", "older"), "my own", other, former} {
			makePAT(t, w, "alice", name)
		}
		w.SetProductAhead(0)
		makePAT(t, w, "alice", upstream.PATName(uid, "alice", "recen"))
		alice.create(`{"label":"y"}`)
		var names []string
		for _, made := range w.Product.PersonalAccessTokens("alice") {
			names = append(names, made.Name)
		}
		if len(names) != 5 || !slices.Equal(names[:3], []string{"my own", other, former}) || !strings.HasSuffix(names[3], "-recen") {
			t.Errorf("at the product are %q", names)
		}
	}, func(s *tokensv1alpha1.AtlassianSite) {
		namespace := s.Namespace
		interceptAnswers(t, s, func(r *http.Response) {
			if _, fails := failing.Load(namespace); fails && r.Request.Method == http.MethodPost {
				r.StatusCode, r.Status = http.StatusBadGateway, "502 Bad Gateway"
			}
		})
	})
}

// interceptAnswers puts a proxy in front of a product. It changes answers.
func interceptAnswers(t *testing.T, s *tokensv1alpha1.AtlassianSite, change func(*http.Response)) {
	t.Helper()
	product, err := url.Parse(strings.TrimSuffix(s.Spec.UpstreamURL, "/jira"))
	if err != nil {
		t.Fatal(err)
	}
	pass := httputil.NewSingleHostReverseProxy(product)
	pass.ModifyResponse = func(r *http.Response) error {
		change(r)
		return nil
	}
	server := httptest.NewServer(pass)
	t.Cleanup(server.Close)
	s.Spec.UpstreamURL = server.URL + "/jira"
}

// Without a controller, nobody would store a personal access token: none is made, nor anything else.
func TestNoControllerToEnrolWith(t *testing.T) {
	w := env.Jira(t)
	alice, bob := session(t, w, "alice"), session(t, w, "bob")
	bob.create(`{"label":"before"}`)
	portaltest.Renew(t, &env.Env, time.Now().Add(-time.Minute))
	t.Cleanup(func() { portaltest.Renew(t, &env.Env, time.Now().AddDate(100, 0, 0)) })
	refused := alice.expect(http.StatusServiceUnavailable, "POST", "/", `{"label":"x"}`)
	if refused.header.Get("Retry-After") == "" || !refused.says(t, w, "", "the controller of API tokens does not run") {
		t.Errorf("%v %s", refused.header, refused.body)
	}
	if made := w.Product.PersonalAccessTokens("alice"); len(made) != 0 || len(apiTokens(t, w)) != 1 || intakes(t, w) != 0 {
		t.Errorf("at the product are %+v, and %d APITokens", made, len(apiTokens(t, w)))
	}
	bob.create(`{"label":"enrolled before"}`)
}

// Whether a user has to enrol is said by what the controller holds, and not by the conditions of their tokens, which are written
// later: once it holds one, no new token makes another.
func TestConditionsDoNotEnrol(t *testing.T) {
	eachProduct(t, func(t *testing.T, w *portaltest.World) {
		alice := session(t, w, "alice")
		alice.create(`{"label":"first"}`)
		for _, object := range apiTokens(t, w) {
			notEnrolled(t, w, object.Name)
		}
		for range 3 {
			alice.create(`{"label":"more"}`)
		}
		// One that is made and then revoked, because another one is held, counts too.
		if n := patsMade(w); n != 1 {
			t.Errorf("the product was asked for %d personal access tokens", n)
		}
		w.End(t, "alice")
		for range 3 {
			alice.create(`{"label":"enrolled again"}`)
		}
		if made := w.Product.PersonalAccessTokens("alice"); len(made) != 2 {
			t.Errorf("at the product are %+v", made)
		}
	})
}

// patsMade returns how often the product was asked to make a personal access token.
func patsMade(w *portaltest.World) (n int) {
	for _, seen := range w.Product.Requests() {
		if seen.Method == http.MethodPost && strings.HasSuffix(seen.Path, "/rest/pat/latest/tokens") {
			n++
		}
	}
	return n
}

// The name alice changed hands: what the operator holds belongs to the key of the first alice. The second one enrols for themselves.
func TestNameThatChangedHandsEnrolsAnew(t *testing.T) {
	eachProduct(t, func(t *testing.T, w *portaltest.World) {
		session(t, w, "alice").create(`{"label":"of the first"}`)
		first := workingCopy(t, w)
		if !w.Product.Rename("alice", "alicia") || !w.Product.Rename("bob", "alice") {
			t.Fatal("the users were not renamed")
		}
		session(t, w, "alice").create(`{"label":"of the second"}`)
		now := workingCopy(t, w)
		if now.UserKey != "JIRAUSER10002" || now.ID == first.ID || accepted(t, w, first.Token) {
			t.Errorf("held is one of %s, and the first one is accepted: %t", now.UserKey, accepted(t, w, first.Token))
		}
	})
}
