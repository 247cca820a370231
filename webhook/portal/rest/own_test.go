package rest_test

import (
	"net/http"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"k8s.io/apimachinery/pkg/types"

	tokensv1alpha1 "apitokens.dev/operator/api/v1alpha1"
	"apitokens.dev/operator/hack/lib/kubetest"
	"apitokens.dev/operator/hack/lib/portaltest"
	"apitokens.dev/operator/internal/token"
)

// Every answer shows every field of a token.
func TestEveryField(t *testing.T) {
	eachProduct(t, func(t *testing.T, w *portaltest.World) {
		alice := session(t, w, "alice")
		ends := time.Now().Add(48 * time.Hour).Truncate(time.Second)
		made := alice.expect(http.StatusCreated, "POST", "", `{"label":"Report «ü» 报告","expiresAt":`+millis(ends.Add(999*time.Millisecond))+
			`,"access":"ReadOnly","allowedSources":["192.0.2.0/24","2001:db8::1/128"],"allowedPaths":["/rest/api","/rest/api-tokens/"]}`)
		id := made.text(t, "id")
		fields := made.fields(t)
		for field, want := range map[string]any{
			"label": "Report «ü» 报告", "expiresAt": float64(ends.UnixMilli()), "access": "ReadOnly", "state": "Active", "credential": "Portal", "lastAccessed": nil,
		} {
			if fields[field] != want {
				t.Errorf("%s is %v, want %v", field, fields[field], want)
			}
		}
		want := strings.Replace(made.body, `,"token":"`+made.text(t, "token")+`"`, "", 1)
		if one := alice.expect(http.StatusOK, "GET", "/"+id, ""); one.body != want {
			t.Errorf("shown is %s, want %s", one.body, want)
		}
		if list := alice.expect(http.StatusOK, "GET", "/", ""); list.body != "["+want+"]" {
			t.Errorf("listed is %s, want [%s]", list.body, want)
		}
		stored := apiToken(t, w, id)
		if stored.Labels["app.kubernetes.io/managed-by"] != "apitoken-portal" || !strings.HasPrefix(stored.Name, "alice-") ||
			stored.Annotations[tokensv1alpha1.AnnotationPending] != "" || stored.Spec.User != "alice" {
			t.Errorf("stored is %v", stored)
		}
	})
}

func millis(at time.Time) string { return strconv.FormatInt(at.UnixMilli(), 10) }

// apiToken returns the APIToken of a token of the portal.
func apiToken(t *testing.T, w *portaltest.World, id string) *tokensv1alpha1.APIToken {
	t.Helper()
	for _, r := range records(t, w) {
		if r.TokenID == id {
			var found tokensv1alpha1.APIToken
			if err := env.Admin.Get(t.Context(), types.NamespacedName{Namespace: r.APIToken.Namespace, Name: r.APIToken.Name}, &found); err != nil {
				t.Fatal(err)
			}
			return &found
		}
	}
	t.Fatalf("there is no record of %s", id)
	return nil
}

// Users see and revoke the tokens that are declared for them in Kubernetes. They cannot rotate them here.
func TestDeclaredTokens(t *testing.T) {
	eachProduct(t, func(t *testing.T, w *portaltest.World) {
		alice, bob := session(t, w, "alice"), session(t, w, "bob")
		generated := declare(t, w, kubetest.Token(w.Site.Namespace, "ci"))
		imported := declare(t, w, kubetest.Token(w.Site.Namespace, "old", func(tok *tokensv1alpha1.APIToken) {
			tok.Spec.User = "Alice"
			tok.Spec.Delivery = tokensv1alpha1.Delivery{}
			tok.Spec.Credential = tokensv1alpha1.Credential{
				Type: tokensv1alpha1.CredentialImported, Imported: &tokensv1alpha1.ImportedCredential{SecretName: "old", Key: "password"},
			}
		}))
		kubetest.Eventually(t, func() error { return wantIDs(alice, generated.id, imported.id) })
		for _, id := range []string{generated.id, imported.id} {
			bob.expect(http.StatusNotFound, "DELETE", "/"+id, "")
			if refused := alice.expect(http.StatusConflict, "POST", "/"+id+"/rotate", ""); !refused.says(t, w, "", "declared in Kubernetes") {
				t.Errorf("not said where it is rotated: %s", refused.body)
			}
		}
		alice.withToken("alice", generated.text).expect(http.StatusOK, "GET", "/", "")
		alice.withToken("alice", imported.text).expect(http.StatusOK, "GET", "/"+imported.id, "")
		alice.expect(http.StatusNoContent, "DELETE", "/"+generated.id, "")
		alice.withToken("alice", generated.text).expect(http.StatusUnauthorized, "GET", "/", "")
		alice.expect(http.StatusNoContent, "DELETE", "/all", "")
		// An imported secret may be a password of the product, so it is the product that refuses it.
		alice.withToken("alice", imported.text).expect(http.StatusUnauthorized, "GET", "/", "")
		if err := wantIDs(alice); err != nil {
			t.Error(err)
		}
	})
}

// The answers for ids of other users, unknown ids and malformed ids are identical.
func TestForeignIDs(t *testing.T) {
	eachProduct(t, func(t *testing.T, w *portaltest.World) {
		alice, bob := session(t, w, "alice"), session(t, w, "bob")
		id, text := alice.create(`{"label":"alice's"}`)
		_, bobs := bob.create(`{"label":"bob's"}`)
		unknown := "asp_0000000000000000"
		for _, as := range []client{bob, bob.withToken("bob", bobs)} {
			for _, request := range [][2]string{{"GET", "/"}, {"DELETE", "/"}, {"POST", "/rotate"}} {
				at := func(id string) string { return "/" + strings.TrimSuffix(id+request[1], "/") }
				want := as.expect(http.StatusNotFound, request[0], at(unknown), "")
				for _, other := range []string{id, strings.ToUpper(id), id[:19], id + "x", "nothing", text, "-1", "%20", strings.Repeat("x", 4000)} {
					got := as.expect(http.StatusNotFound, request[0], at(other), "")
					if got.body != want.body {
						t.Errorf("%s %s: %s, want %s", request[0], other, got.body, want.body)
					}
					got.header.Del("Date")
					want.header.Del("Date")
					if len(got.header) != len(want.header) {
						t.Errorf("%s %s: headers %v, want %v", request[0], other, got.header, want.header)
					}
				}
			}
		}
		alice.withToken("alice", text).expect(http.StatusOK, "GET", "/"+id, "")
	})
}

// Users see only their own tokens of this site.
func TestOwnTokensOnly(t *testing.T) {
	eachProduct(t, func(t *testing.T, w *portaltest.World) {
		other := env.Jira(t)
		alice, bob := session(t, w, "alice"), session(t, w, "bob")
		one, _ := alice.create(`{"label":"one"}`)
		two, _ := alice.create(`{"label":"two"}`)
		bobs, text := bob.create(`{"label":"bob's"}`)
		elsewhere, _ := session(t, other, "alice").create(`{"label":"elsewhere"}`)
		if err := wantIDs(alice, one, two); err != nil {
			t.Error(err)
		}
		alice.expect(http.StatusNotFound, "DELETE", "/"+elsewhere, "")
		alice.expect(http.StatusNoContent, "DELETE", "/all", "")
		alice.expect(http.StatusNoContent, "DELETE", "/all/", "")
		if err := wantIDs(alice); err != nil {
			t.Error(err)
		}
		if err := wantIDs(bob.withToken("bob", text), bobs); err != nil {
			t.Error(err)
		}
		if err := wantIDs(session(t, other, "alice"), elsewhere); err != nil {
			t.Error(err)
		}
	})
}

// wantIDs returns an error if other ids than these are listed.
func wantIDs(c client, want ...string) error {
	c.t.Helper()
	var got []string
	for _, one := range c.list() {
		id, _ := one["id"].(string)
		got = append(got, id)
		if !token.ValidID(id) {
			c.t.Errorf("%q is no id", id)
		}
	}
	slices.Sort(got)
	slices.Sort(want)
	if !slices.Equal(got, want) {
		return &differs{got, want}
	}
	return nil
}

type differs struct{ got, want []string }

func (d *differs) Error() string {
	return "listed are " + strings.Join(d.got, " ") + ", want " + strings.Join(d.want, " ")
}

// Both versions are the same, with or without a trailing slash.
func TestVersions(t *testing.T) {
	w := env.Jira(t)
	for _, version := range []string{"latest", "1.0"} {
		alice := session(t, w, "alice")
		alice.version = version
		made := alice.expect(http.StatusCreated, "POST", "", `{"label":"`+version+`"}`)
		if want := "/jira/rest/api-tokens/" + version + "/" + made.text(t, "id"); made.header.Get("Location") != want {
			t.Errorf("Location is %q, want %q", made.header.Get("Location"), want)
		}
		for _, path := range []string{"", "/", "/" + made.text(t, "id"), "/" + made.text(t, "id") + "/"} {
			get := alice.expect(http.StatusOK, "GET", path, "")
			head := alice.expect(http.StatusOK, "HEAD", path, "")
			if head.body != "" || head.header.Get("Content-Type") != get.header.Get("Content-Type") {
				t.Errorf("HEAD %s: %v %q", path, head.header, head.body)
			}
		}
	}
	for _, version := range []string{"2.0", "1", "LATEST", "latest ", "1.0.0"} {
		alice := session(t, w, "alice")
		alice.version = strings.ReplaceAll(version, " ", "%20")
		if refused := alice.expect(http.StatusNotFound, "GET", "/", ""); !refused.says(t, w, "", "Use latest") {
			t.Errorf("version %q: %s", version, refused.body)
		}
	}
}

// A token belongs to the user key for which it was created: it stays with a user who is renamed, and a user who gets the name has
// nothing of it.
func TestTokensBelongToTheKey(t *testing.T) {
	eachProduct(t, func(t *testing.T, w *portaltest.World) {
		before := session(t, w, "alice")
		id, _ := before.create(`{"label":"of the first alice"}`)
		if !w.Product.Rename("alice", "alicia") || !w.Product.Rename("bob", "alice") {
			t.Fatal("a user was not renamed")
		}
		first, second := session(t, w, "alicia"), session(t, w, "alice")
		if err := wantIDs(first, id); err != nil {
			t.Error(err)
		}
		if err := wantIDs(second); err != nil {
			t.Error(err)
		}
		second.expect(http.StatusNotFound, "GET", "/"+id, "")
		second.expect(http.StatusNotFound, "DELETE", "/"+id, "")
		second.expect(http.StatusNotFound, "POST", "/"+id+"/rotate", "")
		second.expect(http.StatusNoContent, "DELETE", "/all", "")
		first.expect(http.StatusConflict, "POST", "/", `{"label":"one too many"}`)
		if err := wantIDs(first, id); err != nil {
			t.Error(err)
		}
		first.expect(http.StatusNoContent, "DELETE", "/all", "")
		if left := apiTokens(t, w); len(left) != 0 {
			t.Errorf("%d APITokens are left", len(left))
		}
	}, func(s *tokensv1alpha1.AtlassianSite) { s.Spec.TokenPolicy.MaxTokensPerUser = new(int32(1)) })
}
