package portal_test

import (
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"strings"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/client"

	tokensv1alpha1 "apitokens.dev/operator/api/v1alpha1"
	"apitokens.dev/operator/hack/lib/kubetest"
	"apitokens.dev/operator/hack/lib/portaltest"
	"apitokens.dev/operator/internal/record"
	"apitokens.dev/operator/internal/recordstore"
	"apitokens.dev/operator/internal/upstream"
	"apitokens.dev/operator/webhook/portal/selfservice"
)

// apiTokens returns the APITokens of the site's namespace, as the API server has them.
func apiTokens(t *testing.T, w *portaltest.World) []tokensv1alpha1.APIToken {
	t.Helper()
	var list tokensv1alpha1.APITokenList
	must(t, env.Admin.List(t.Context(), &list, client.InNamespace(w.Site.Namespace)))
	return list.Items
}

// newest returns the issue time of the newest secret of an APIToken, and how many others it has.
func newest(t *testing.T, of *tokensv1alpha1.APIToken) (issued time.Time, older int) {
	t.Helper()
	r := recordOf(t, of)
	return r.Entries[len(r.Entries)-1].Issued, len(r.Entries) - 1
}

// accepted returns an error unless alice's token authenticates at the portal.
func accepted(t *testing.T, w *portaltest.World, text string) error {
	t.Helper()
	if got := status(t, w, "GET", "/", basic(text)); got != http.StatusOK {
		return fmt.Errorf("the token is answered %d", got)
	}
	return nil
}

// change changes the site at the API server.
func change(t *testing.T, w *portaltest.World, spec string) {
	t.Helper()
	must(t, env.Admin.Patch(t.Context(), w.Site, client.RawPatch(types.MergePatchType, []byte(`{"spec":`+spec+`}`))))
}

// A stop that the portal has not seen yet stops what it makes all the same: that is taken back.
func TestStopsAreReadLive(t *testing.T) {
	ahead := time.Now().Add(time.Minute).UTC().Format(time.RFC3339)
	for name, tc := range map[string]struct {
		spec   string
		status int
		says   string
	}{
		"an epoch ahead":  {`{"issuedAfter":"` + ahead + `"}`, http.StatusConflict, "before " + ahead},
		"blocked by name": {`{"blockedUsers":[{"name":"Alice"}]}`, http.StatusForbidden, "You are blocked"},
		"blocked by key":  {`{"blockedUsers":[{"key":"JIRAUSER10001"}]}`, http.StatusForbidden, "You are blocked"},
	} {
		t.Run(name, func(t *testing.T) {
			w := env.Jira(t)
			id, text := create(t, w, "alice")
			before, _ := newest(t, &apiTokens(t, w)[0])
			api.hold(t, "atlassiansites")
			change(t, w, tc.spec)
			for by, header := range map[string]http.Header{"session": session(w, "alice"), "token": basic(text)} {
				for request, body := range map[string]string{"/": `{"label":"late"}`, "/" + id + "/rotate": `{"overlapHours":0}`} {
					kubetest.Eventually(t, func() error { return accepted(t, w, text) }) // what was taken back has been seen
					x := exchange{method: "POST", target: "/rest/api-tokens/latest" + request, header: header, body: body, media: "application/json"}
					if status, said := x.answer(t, w); status != tc.status || !strings.Contains(said, tc.says) {
						t.Errorf("POST %s by %s: %d %s, want %d", request, by, status, said, tc.status)
					}
				}
			}
			all := apiTokens(t, w)
			if len(all) != 1 {
				t.Fatalf("there are %d APITokens", len(all))
			}
			if after, older := newest(t, &all[0]); !after.Equal(before) || older != 0 {
				t.Errorf("the secret of %s became one of %s, beside %d others", before, after, older)
			}
		})
	}
}

// There is no enrolment before an epoch that lies ahead, whether the portal has seen it or not: a pasted personal access token is refused as a new
// token is, and nothing is stored.
func TestNoEnrolmentBeforeTheEpoch(t *testing.T) {
	for name, seen := range map[string]bool{"seen": true, "not seen": false} {
		t.Run(name, func(t *testing.T) {
			w := env.Jira(t)
			var made struct{ RawToken string }
			header := session(w, "alice")
			header.Set("Content-Type", "application/json")
			must(t, json.Unmarshal([]byte(call(t, w, "POST", "/rest/pat/latest/tokens", `{"name":"own","expirationDuration":30}`, header)), &made))
			paste := exchange{
				method: "POST", target: selfservice.PagePath + "/paste", header: session(w, "alice"), media: "application/x-www-form-urlencoded",
				body: url.Values{"user": {"alice"}, "personalAccessToken": {made.RawToken}}.Encode(),
			}
			ahead := time.Now().Add(time.Minute).UTC().Format(time.RFC3339)
			if !seen {
				api.hold(t, "atlassiansites")
			}
			change(t, w, `{"issuedAfter":"`+ahead+`"}`)
			first := exchange{method: "POST", target: "/rest/api-tokens/latest/", header: session(w, "alice"), body: `{"label":"x"}`, media: "application/json"}
			for what, x := range map[string]exchange{"paste": paste, "first token": first} {
				if status, said := x.answer(t, w); status != http.StatusConflict || !strings.Contains(said, "issues no API tokens before "+ahead) {
					t.Errorf("%s: %d %s", what, status, said)
				}
			}
			kubetest.Eventually(t, func() error { // a portal that has seen it asks nobody
				w.Product.Reset()
				paste.answer(t, w)
				for _, r := range w.Product.Requests() {
					if seen && r.Header.Get("Authorization") == "Bearer "+made.RawToken {
						return errors.New("the product was asked about what was pasted")
					}
				}
				return nil
			})
			key := client.ObjectKey{Namespace: kubetest.CredentialsNamespace, Name: upstream.SecretName(w.Site.Namespace, w.Site.Name, "alice")}
			if err := env.Admin.Get(t.Context(), key, &corev1.Secret{}); !apierrors.IsNotFound(err) {
				t.Errorf("there is a working copy, %v", err)
			}
		})
	}
}

// A token that the epoch killed makes nothing, although the portal has not seen the epoch and what it makes is younger.
func TestDeadParentMakesNothing(t *testing.T) {
	w := env.Jira(t)
	id, text := create(t, w, "alice")
	before, _ := newest(t, &apiTokens(t, w)[0])
	api.hold(t, "atlassiansites")
	epoch := time.Now().Add(time.Second).Truncate(time.Second)
	change(t, w, `{"issuedAfter":"`+epoch.UTC().Format(time.RFC3339)+`"}`)
	kubetest.Eventually(t, func() error {
		if left := time.Until(epoch); left > 0 {
			return fmt.Errorf("the epoch comes in %s", left)
		}
		return nil
	})
	for request, body := range map[string]string{"/": `{"label":"late"}`, "/" + id + "/rotate": `{"overlapHours":0}`} {
		kubetest.Eventually(t, func() error { return accepted(t, w, text) }) // the portal has not seen the epoch
		x := exchange{method: "POST", target: "/rest/api-tokens/latest" + request, header: basic(text), body: body, media: "application/json"}
		if status, said := x.answer(t, w); status != http.StatusConflict || !strings.Contains(said, "changed or revoked") {
			t.Errorf("POST %s: %d %s", request, status, said)
		}
	}
	all := apiTokens(t, w)
	if len(all) != 1 {
		t.Fatalf("there are %d APITokens", len(all))
	}
	if after, older := newest(t, &all[0]); !after.Equal(before) || older != 0 {
		t.Errorf("the secret of %s became one of %s, beside %d others", before, after, older)
	}
}

// Nothing is issued before the epoch has come, and the answer says when that is.
func TestNothingIsIssuedBeforeTheEpoch(t *testing.T) {
	w := env.Jira(t)
	id, _ := create(t, w, "alice")
	ahead := time.Now().Add(4 * time.Second).Truncate(time.Second)
	change(t, w, `{"issuedAfter":"`+ahead.UTC().Format(time.RFC3339)+`"}`)
	refused := 0
	for request, body := range map[string]string{"/": `{"label":"late"}`, "/" + id + "/rotate": ``} {
		x := exchange{method: "POST", target: "/rest/api-tokens/latest" + request, header: session(w, "alice"), body: body, media: "application/json"}
		for {
			status, said := x.answer(t, w)
			if status < 300 {
				if now := time.Now(); now.Before(ahead) {
					t.Errorf("POST %s was done %s before the epoch", request, ahead.Sub(now))
				}
				break
			}
			if refused++; status != http.StatusConflict || !strings.Contains(said, ahead.UTC().Format(time.RFC3339)) {
				t.Fatalf("POST %s: %d %s", request, status, said)
			}
		}
	}
	if refused == 0 {
		t.Error("nothing was refused")
	}
}

// An epoch that comes while the portal makes a secret kills it: the secret is taken back, and nobody is shown a dead one.
func TestEpochComesMeanwhile(t *testing.T) {
	for name, tc := range map[string]struct{ request, body string }{
		"creation": {"/", `{"label":"late"}`},
		"rotation": {"/{id}/rotate", `{"overlapHours":0}`},
	} {
		t.Run(name, func(t *testing.T) {
			w := env.Jira(t)
			id, _ := create(t, w, "alice")
			before, _ := newest(t, &apiTokens(t, w)[0])
			x := exchange{
				method: "POST", target: "/rest/api-tokens/latest" + strings.Replace(tc.request, "{id}", id, 1), header: session(w, "alice"), body: tc.body,
				media: "application/json",
			}
			found := api.before(t, "GET", "/atlassiansites", func() { // the secret was issued already
				epoch := time.Now().Add(time.Second).Truncate(time.Second)
				if err := env.Admin.Patch(t.Context(), w.Site, client.RawPatch(types.MergePatchType,
					[]byte(`{"spec":{"issuedAfter":"`+epoch.UTC().Format(time.RFC3339)+`"}}`))); err != nil {
					t.Error(err)
				}
				<-time.After(time.Until(epoch))
			})
			status, said := x.answer(t, w)
			found()
			if status != http.StatusConflict || !strings.Contains(said, "revoked in the meantime") {
				t.Errorf("%d %s", status, said)
			}
			all := apiTokens(t, w)
			if len(all) != 1 {
				t.Fatalf("there are %d APITokens", len(all))
			}
			if after, older := newest(t, &all[0]); !after.Equal(before) || older != 0 {
				t.Errorf("the secret of %s became one of %s, beside %d others", before, after, older)
			}
		})
	}
}

// The epoch of an earlier site of the same name counts, and nothing is decided before it is known.
func TestEpochOfAnEarlierSite(t *testing.T) {
	w := env.Jira(t)
	p := w.Projection()
	p.IssuedAfter = time.Now().Add(time.Hour)
	w.Project(t, p)
	x := exchange{method: "POST", target: "/rest/api-tokens/latest/", header: session(w, "alice"), body: `{"label":"x"}`, media: "application/json"}
	eventually := func(want int, part string) {
		t.Helper()
		kubetest.Eventually(t, func() error {
			if status, said := x.answer(t, w); status != want || !strings.Contains(said, part) {
				return fmt.Errorf("%d %s", status, said)
			}
			return nil
		})
	}
	eventually(http.StatusConflict, "issues no API tokens before")
	p.UID = "another"
	w.ProjectAs(t, p)
	eventually(http.StatusServiceUnavailable, "earlier site of this name")
}

// A child of a token of another namespace is not made once the site has closed that namespace.
func TestClosedNamespaceMakesNoChildren(t *testing.T) {
	w := env.Jira(t)
	team := env.Namespace(t)
	must(t, env.Admin.Patch(t.Context(), &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: team}},
		client.RawPatch(types.MergePatchType, []byte(`{"metadata":{"labels":{"open":"yes"}}}`))))
	change(t, w, `{"allowedNamespaces":{"from":"Selector","selector":{"matchLabels":{"open":"yes"}}}}`)
	create(t, w, "alice") // enrols
	_, _, text := issue(t, w, "ci", func(of *tokensv1alpha1.APIToken) {
		of.Namespace, of.Spec.SiteRef.Namespace = team, w.Site.Namespace
	})
	kubetest.Eventually(t, func() error { return accepted(t, w, text) })
	child := text
	for range 2 { // the second one is a child of the first one
		x := exchange{method: "POST", target: "/rest/api-tokens/latest/", header: basic(child), body: `{"label":"child"}`, media: "application/json"}
		got, said := x.answer(t, w)
		var made struct{ Token string }
		must(t, json.Unmarshal([]byte(said), &made))
		if child = made.Token; got != http.StatusCreated {
			t.Fatalf("creating a child: %d %s", got, said)
		}
	}
	before := len(apiTokens(t, w))
	children := 0
	for _, child := range apiTokens(t, w) {
		switch by := child.Spec.CreatedBy; by.Namespace {
		case "":
		case team:
			children++
		default:
			t.Errorf("a child was created by %+v", by)
		}
	}
	if children != 2 {
		t.Errorf("%d tokens came from namespace %s", children, team)
	}
	api.hold(t, "namespaces")
	must(t, env.Admin.Patch(t.Context(), &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: team}},
		client.RawPatch(types.MergePatchType, []byte(`{"metadata":{"labels":{"open":null}}}`))))
	if got := status(t, w, "POST", "/", basic(text)); got != http.StatusConflict {
		t.Errorf("creating a child of a closed namespace: %d", got)
	}
	if after := len(apiTokens(t, w)); after != before {
		t.Errorf("%d APITokens became %d", before, after)
	}
}

// A secret that was replaced on another replica makes nothing, also if this portal has not seen that yet.
func TestSecretReplacedElsewhere(t *testing.T) {
	for overlap, mod := range map[string]func(record.Entry) record.Entry{
		"ended":  func(e record.Entry) record.Entry { return e.EndingBy(time.Now()) },
		"ending": func(e record.Entry) record.Entry { return e.EndingBy(time.Now().Add(time.Hour)) },
	} {
		t.Run(overlap, func(t *testing.T) {
			w := env.Jira(t)
			id, text := create(t, w, "alice")
			api.hold(t, record.SecretType)
			object := &apiTokens(t, w)[0]
			var stored corev1.Secret
			must(t, env.Admin.Get(t.Context(), client.ObjectKey{Namespace: kubetest.SystemNamespace, Name: string(object.UID)}, &stored))
			r, err := recordstore.Decode(&stored)
			must(t, err)
			_, entry, err := record.Mint(id, record.Delivered, time.Now(), zeros{})
			must(t, err)
			r.Entries = []record.Entry{mod(r.Entries[0]), entry}
			must(t, recordstore.Store{Client: w.Controller, Namespace: kubetest.SystemNamespace}.Update(t.Context(), &stored, r))
			for request, body := range map[string]string{"/": `{"label":"late"}`, "/" + id + "/rotate": `{"overlapHours":0}`} {
				x := exchange{method: "POST", target: "/rest/api-tokens/latest" + request, header: basic(text), body: body, media: "application/json"}
				if status, said := x.answer(t, w); status != http.StatusForbidden || !strings.Contains(said, "replaced this secret") {
					t.Errorf("POST %s: %d %s", request, status, said)
				}
			}
			if all := apiTokens(t, w); len(all) != 1 {
				t.Errorf("there are %d APITokens", len(all))
			}
			if issued, _ := newest(t, object); !issued.Equal(entry.Issued) {
				t.Error("the newest secret is another one")
			}
		})
	}
}

// zeros is a source of bytes that need not be random.
type zeros struct{}

func (zeros) Read(b []byte) (int, error) {
	clear(b)
	return len(b), nil
}
