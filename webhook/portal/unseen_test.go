package portal_test

import (
	"crypto/rand"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"net/http"
	"strings"
	"testing"
	"time"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"sigs.k8s.io/controller-runtime/pkg/client"

	tokensv1alpha1 "apitokens.dev/operator/api/v1alpha1"
	"apitokens.dev/operator/hack/lib/kubetest"
	"apitokens.dev/operator/hack/lib/portaltest"
	"apitokens.dev/operator/internal/record"
	"apitokens.dev/operator/internal/recordstore"
	"apitokens.dev/operator/internal/token"
	"apitokens.dev/operator/webhook/portal/leaks"
)

// issue creates a token of alice as another replica of the portal, or the controller, does.
func issue(t *testing.T, w *portaltest.World, name string, mods ...func(*tokensv1alpha1.APIToken)) (of *tokensv1alpha1.APIToken, id, text string) {
	t.Helper()
	of = kubetest.Token(w.Site.Namespace, name, mods...)
	must(t, env.Admin.Create(t.Context(), of))
	id, err := token.NewID(rand.Reader)
	must(t, err)
	text, entry, err := record.Mint(id, record.Delivered, time.Now(), rand.Reader)
	must(t, err)
	must(t, recordstore.Store{Client: w.Controller, Namespace: kubetest.SystemNamespace}.Create(t.Context(), of.UID, &record.Record{
		TokenID: id, User: "alice", DeliverySecret: of.Spec.Delivery.SecretName, Portal: of.Spec.Credential.Type == tokensv1alpha1.CredentialPortal,
		Site: record.Ref{Namespace: w.Site.Namespace, Name: w.Site.Name}, APIToken: record.Ref{Namespace: of.Namespace, Name: of.Name},
		Entries: []record.Entry{entry},
	}))
	return of, id, text
}

// basic authenticates with a token of alice.
func basic(text string) http.Header {
	return http.Header{"Authorization": {"Basic " + base64.StdEncoding.EncodeToString([]byte("alice:"+text))}}
}

func ofPortal(t *tokensv1alpha1.APIToken) {
	t.Spec.Credential.Type, t.Spec.Delivery = tokensv1alpha1.CredentialPortal, tokensv1alpha1.Delivery{}
}

func pending(t *tokensv1alpha1.APIToken) {
	t.Annotations = map[string]string{tokensv1alpha1.AnnotationPending: "true"}
}

// waysToRevoke are all requests that revoke one or more tokens, with the status of success.
var waysToRevoke = map[string]func(t *testing.T, w *portaltest.World, id, text string) (got, want int){
	"one": func(t *testing.T, w *portaltest.World, id, _ string) (int, int) {
		return status(t, w, "DELETE", "/"+id, session(w, "alice")), http.StatusNoContent
	},
	"all": func(t *testing.T, w *portaltest.World, _, _ string) (int, int) {
		return status(t, w, "DELETE", "/all", session(w, "alice")), http.StatusNoContent
	},
	"by presenting it": func(t *testing.T, w *portaltest.World, _, text string) (int, int) {
		body, err := json.Marshal(map[string]string{"token": text})
		must(t, err)
		response, _ := exchange{method: "POST", target: "/rest/api-tokens/latest/revoke", body: string(body), media: "application/json", header: http.Header{}}.send(t, w)
		return response.StatusCode, http.StatusAccepted
	},
	"by a leak scanner": func(t *testing.T, w *portaltest.World, _, text string) (int, int) {
		status, _ := reportToGitLab(t, w, leak{"location": "https://gitlab.example.com/a", "token": text, "type": leaks.TokenType})
		return status, http.StatusNoContent
	},
	"one by an administrator": func(t *testing.T, w *portaltest.World, id, _ string) (int, int) {
		return status(t, w, "DELETE", "/admin/"+id, session(w, "carol")), http.StatusNoContent
	},
	"all by an administrator": func(t *testing.T, w *portaltest.World, _, _ string) (int, int) {
		return status(t, w, "DELETE", "/admin/tokens?user=alice", session(w, "carol")), http.StatusNoContent
	},
}

// Every way to revoke finds a token whose record this portal has not seen yet, whatever its kind. The audit log has its id.
func TestRevokingFindsWhatWasNotSeen(t *testing.T) {
	for way, revoke := range waysToRevoke {
		for kind, mod := range map[string]func(*tokensv1alpha1.APIToken){"Portal": ofPortal, "Generated": func(*tokensv1alpha1.APIToken) {}} {
			t.Run(way+", "+kind, func(t *testing.T) {
				w := env.Jira(t)
				api.hold(t, record.SecretType)
				object, id, text := issue(t, w, "unseen", mod)
				if got, want := revoke(t, w, id, text); got != want {
					t.Errorf("answered %d, want %d", got, want)
				}
				if err := env.Admin.Get(t.Context(), client.ObjectKeyFromObject(object), object); !apierrors.IsNotFound(err) {
					t.Errorf("the APIToken is still there: %v", err)
				}
				if !strings.Contains(env.Audit(), "revoked API Token ("+id+")") {
					t.Error("the audit log does not have it")
				}
			})
		}
	}
}

// An annotation that anybody may write hides no token: what authenticates is listed and can be revoked.
func TestNoMarkHidesAToken(t *testing.T) {
	for way, revoke := range waysToRevoke {
		for kind, mod := range map[string]func(*tokensv1alpha1.APIToken){"Portal": ofPortal, "Generated": func(*tokensv1alpha1.APIToken) {}} {
			t.Run(way+", "+kind, func(t *testing.T) {
				w := env.Jira(t)
				object, id, text := issue(t, w, "hidden", mod, pending)
				for user, path := range map[string]string{"alice": "/", "carol": "/admin"} {
					kubetest.Eventually(t, func() error {
						if all := call(t, w, "GET", "/rest/api-tokens/latest"+path, "", session(w, user)); !strings.Contains(all, id) {
							return fmt.Errorf("%s does not list it: %s", path, all)
						}
						return nil
					})
				}
				if got, want := revoke(t, w, id, text); got != want {
					t.Errorf("answered %d, want %d", got, want)
				}
				if err := env.Admin.Get(t.Context(), client.ObjectKeyFromObject(object), object); !apierrors.IsNotFound(err) {
					t.Errorf("the APIToken is still there: %v", err)
				}
			})
		}
	}
}

// An APIToken that cannot be decoded is listed and can be revoked: corrected, it would authenticate.
func TestMalformedTokensAreRevoked(t *testing.T) {
	for way, revoke := range waysToRevoke {
		t.Run(way, func(t *testing.T) {
			w := env.Jira(t)
			id, text := create(t, w, "alice")
			var list tokensv1alpha1.APITokenList
			must(t, env.Admin.List(t.Context(), &list, client.InNamespace(w.Site.Namespace)))
			env.MalformToken(t, w, &list.Items[0], "expirationTime", malformedTime)
			kubetest.Eventually(t, func() error {
				all := call(t, w, "GET", "/rest/api-tokens/latest/", "", session(w, "alice"))
				if !strings.Contains(all, id) || !strings.Contains(all, `"state":"Damaged"`) {
					return fmt.Errorf("it is listed as %s", all)
				}
				return nil
			})
			if got, want := revoke(t, w, id, text); got != want {
				t.Errorf("answered %d, want %d", got, want)
			}
			if err := env.Admin.Get(t.Context(), client.ObjectKeyFromObject(&list.Items[0]), &list.Items[0]); !apierrors.IsNotFound(err) {
				t.Errorf("the APIToken is still there: %v", err)
			}
		})
	}
}
