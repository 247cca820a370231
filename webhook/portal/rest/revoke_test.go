package rest_test

import (
	"crypto/rand"
	"encoding/json"
	"fmt"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	tokensv1alpha1 "apitokens.dev/operator/api/v1alpha1"
	"apitokens.dev/operator/hack/lib/kubetest"
	"apitokens.dev/operator/hack/lib/portaltest"
	"apitokens.dev/operator/internal/token"
)

// Everybody who holds a token may revoke it. The answer does not tell whether it was one.
func TestRevokePresented(t *testing.T) {
	eachProduct(t, func(t *testing.T, w *portaltest.World) {
		other := env.Confluence(t)
		alice, finder := session(t, w, "alice"), client{World: w, t: t}
		id, text := alice.create(`{"label":"leaked"}`)
		_, foreign := session(t, other, "alice").create(`{"label":"of another site"}`)
		wrong, err := token.New(id, rand.Reader)
		if err != nil {
			t.Fatal(err)
		}
		present := func(text string) answer {
			encoded, _ := json.Marshal(map[string]string{"token": text}) // a string can be encoded
			return finder.expect(http.StatusAccepted, "POST", "/revoke", string(encoded))
		}
		for _, presented := range []string{wrong, foreign, id, text[:66], text + "x", " " + text, "", "x", "\x00", strings.Repeat("asp_", 1000), strings.ToUpper(text)} {
			present(presented)
		}
		alice.withToken("alice", text).expect(http.StatusOK, "GET", "/", "")
		if err := wantIDs(alice, id); err != nil {
			t.Error(err)
		}
		session(t, other, "alice").withToken("alice", foreign).expect(http.StatusOK, "GET", "/", "")
		if got := present(text); got.body != "" {
			t.Errorf("%s", got.body)
		}
		alice.withToken("alice", text).expect(http.StatusUnauthorized, "GET", "/", "")
		if err := wantIDs(alice); err != nil {
			t.Error(err)
		}
		present(text)
		line := auditLine(t, `"action":"revoked"`, `"tokenID":"`+id+`"`)
		for _, part := range []string{"The holder of the token has revoked API Token (" + id + ")", `"actor":""`, `"client":"192.0.2.7"`, `"user":"alice"`} {
			if !strings.Contains(line, part) {
				t.Errorf("%s is not in %s", part, line)
			}
		}
	})
}

// Declared, suspended, limited and replaced tokens can be revoked too.
func TestRevokePresentedOfEveryKind(t *testing.T) {
	w := env.Jira(t)
	alice, finder := session(t, w, "alice"), client{World: w, t: t}
	generated := declare(t, w, kubetest.Token(w.Site.Namespace, "ci", func(tok *tokensv1alpha1.APIToken) { tok.Spec.State = tokensv1alpha1.StateSuspended }))
	kubetest.Eventually(t, func() error { return wantIDs(alice, generated.id) })
	_, limited := alice.create(`{"label":"limited","access":"ReadOnly","allowedSources":["198.51.100.0/24"],"allowedPaths":["/rest/api"]}`)
	id, replaced := alice.create(`{"label":"replaced"}`)
	alice.expect(http.StatusOK, "POST", "/"+id+"/rotate", `{"overlapHours":1}`)
	for _, text := range []string{generated.text, limited, replaced} {
		finder.expect(http.StatusAccepted, "POST", "/revoke", `{"token":"`+text+`"}`)
	}
	if err := wantIDs(alice); err != nil {
		t.Error(err)
	}
}

// auditLine returns the first line with all of these parts. Actions are logged before they are answered.
func auditLine(t *testing.T, parts ...string) string {
	t.Helper()
next:
	for line := range strings.Lines(env.Audit()) {
		for _, part := range parts {
			if !strings.Contains(line, part) {
				continue next
			}
		}
		return line
	}
	t.Errorf("there is no line with %q", parts)
	return ""
}

func TestAdministrators(t *testing.T) {
	eachProduct(t, func(t *testing.T, w *portaltest.World) {
		alice, bob, carol := session(t, w, "alice"), session(t, w, "bob"), session(t, w, "carol")
		one, text := alice.create(`{"label":"CI scripts"}`)
		two, _ := alice.create(`{"label":"Reports"}`)
		three, _ := bob.create(`{"label":"ci of Bob"}`)
		four, carols := carol.create(`{"label":"own"}`)
		newest, _ := search(t, carol, "")             // within a second, in any order that stays
		for query, want := range map[string][]string{ // random ids may contain any two or three letters, but no space
			"": newest, "?": newest, "?user=": newest, "?q=": newest, "?user=alice": {two, one}, "?user=ALICE": {two, one}, "?user=alic": {}, "?q=ci%20": {three, one},
			"?q=REPORTS": {two}, "?q=of%20bob": {three}, "?q=" + one: {one}, "?startAt=0&q=" + one + "&maxResults=9": {one}, "?q=" + one[4:]: {one}, "?user=alice&q=ci%20": {one}, "?q=%25": {}, "?q=" + url.QueryEscape("' or 1=1"): {},
			"?maxResults=1": newest[:1], "?maxResults=1&startAt=1": newest[1:2], "?startAt=4": {}, "?startAt=3&maxResults=1000": newest[3:], "?startAt=9223372036854775807": {},
		} {
			got, total := search(t, carol, query)
			if !slices.Equal(slices.Sorted(slices.Values(got)), slices.Sorted(slices.Values(want))) {
				t.Errorf("%q: %q, want %q", query, got, want)
			}
			if !strings.Contains(query, "startAt") && !strings.Contains(query, "maxResults") && total != len(want) {
				t.Errorf("%q: total is %d, want %d", query, total, len(want))
			}
		}
		for query, field := range map[string]string{
			"?maxResults=0": "maxResults", "?maxResults=1001": "maxResults", "?maxResults=-1": "maxResults", "?maxResults=x": "maxResults", "?maxResults=": "maxResults",
			"?maxResults=1e3": "maxResults", "?maxResults=99999999999999999999": "maxResults", "?startAt=-1": "startAt", "?startAt=1.5": "startAt",
			"?user=alice&user=bob": "user",
		} {
			if refused := carol.expect(http.StatusBadRequest, "GET", "/admin"+query, ""); !refused.says(t, w, field, "") {
				t.Errorf("%q: %s", query, refused.body)
			}
		}
		carol.expect(http.StatusForbidden, "GET", "/admin?q="+carols, "") // a token in a URL is in logs
		for _, as := range []client{alice, bob} {
			for _, request := range [][2]string{{"GET", "/admin"}, {"DELETE", "/admin/" + four}, {"DELETE", "/admin/" + two}, {"DELETE", "/admin/tokens?user=alice"}} {
				if refused := as.expect(http.StatusForbidden, request[0], request[1], ""); !refused.says(t, w, "", "administrators") {
					t.Error(refused.body)
				}
			}
		}
		client{World: w, t: t}.expect(http.StatusUnauthorized, "GET", "/admin", "")
		carol.expect(http.StatusNotFound, "GET", "/"+one, "")
		carol.expect(http.StatusNotFound, "DELETE", "/"+one, "")
		carol.expect(http.StatusNoContent, "DELETE", "/admin/"+one, "")
		alice.withToken("alice", text).expect(http.StatusUnauthorized, "GET", "/", "")
		carol.expect(http.StatusNotFound, "DELETE", "/admin/"+one, "")
		carol.expect(http.StatusNotFound, "DELETE", "/admin/nothing", "")
		for _, query := range []string{"", "?user=", "?user=bob&user=alice", "?user=%zz"} {
			carol.expect(http.StatusBadRequest, "DELETE", "/admin/tokens"+query, "")
		}
		carol.expect(http.StatusNoContent, "DELETE", "/admin/tokens?user=nobody", "")
		carol.expect(http.StatusNoContent, "DELETE", "/admin/tokens?user=BOB", "")
		if left, _ := search(t, carol, ""); !slices.Equal(slices.Sorted(slices.Values(left)), slices.Sorted(slices.Values([]string{four, two}))) {
			t.Errorf("left are %q", left)
		}
		auditLine(t, `"msg":"carol has revoked API Token (`+one+`)"`, `"user":"alice"`, `"actor":"carol"`)
	})
}

// An API token of an administrator does not administer: the product would not be asked whether they are still active.
func TestAPITokenDoesNotAdminister(t *testing.T) {
	eachProduct(t, func(t *testing.T, w *portaltest.World) {
		carol := session(t, w, "carol")
		id, text := carol.create(`{"label":"own"}`)
		for _, request := range [][2]string{{"GET", "/admin"}, {"DELETE", "/admin/" + id}, {"DELETE", "/admin/tokens?user=carol"}} {
			refused := carol.withToken("carol", text).expect(http.StatusForbidden, request[0], request[1], "")
			if refused.header.Get("X-Api-Token-Reason") != "SessionRequired" || !refused.says(t, w, "", "An API token may not do this") {
				t.Errorf("%v %s", refused.header, refused.body)
			}
		}
		carol.with("Authorization", "Bearer "+pat(t, w, "carol")).expect(http.StatusOK, "GET", "/admin", "")
		w.Product.Deactivate("carol")
		carol.expect(http.StatusUnauthorized, "GET", "/admin", "")
	})
}

// Revoking needs no room: it works under a full quota of the namespace.
func TestRevokeAllWithoutRoom(t *testing.T) {
	w := env.Jira(t)
	alice := session(t, w, "alice")
	_, text := alice.create(`{"label":"leaked"}`)
	quota := &corev1.ResourceQuota{ObjectMeta: metav1.ObjectMeta{Namespace: w.Site.Namespace, Name: "full"}}
	quota.Spec.Hard = corev1.ResourceList{"count/apitokens.apitokens.dev": resource.MustParse("1")}
	must(t, env.Admin.Create(t.Context(), quota))
	quota.Status = corev1.ResourceQuotaStatus{Hard: quota.Spec.Hard, Used: quota.Spec.Hard} // as the controller of quotas does
	must(t, env.Admin.Status().Update(t.Context(), quota))
	kubetest.Eventually(t, func() error {
		if a := alice.send("POST", "/", `{"label":"no room"}`); a.status != http.StatusConflict || !a.says(t, w, "", "quota") {
			return fmt.Errorf("under a full quota: %d %s", a.status, a.body)
		}
		return nil
	})
	alice.expect(http.StatusNoContent, "DELETE", "/all", "")
	alice.withToken("alice", text).expect(http.StatusUnauthorized, "GET", "/", "")
	if left := apiTokens(t, w); len(left) != 0 {
		t.Errorf("%d APITokens are left", len(left))
	}
}

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func search(t *testing.T, as client, query string) (ids []string, total int) {
	t.Helper()
	var page struct {
		Total  int
		Values []struct {
			ID        string
			User      string
			CreatedAt int64
		}
	}
	if err := json.Unmarshal([]byte(as.expect(http.StatusOK, "GET", "/admin"+query, "").body), &page); err != nil {
		t.Fatal(err)
	}
	newest := int64(0)
	for i, one := range page.Values {
		if i > 0 && one.CreatedAt > newest {
			t.Errorf("%s comes after an older one", one.ID)
		}
		newest, ids = one.CreatedAt, append(ids, one.ID)
	}
	return ids, page.Total
}

// A former administrator is refused at once.
func TestFormerAdministrator(t *testing.T) {
	w := env.Jira(t)
	carol := session(t, w, "carol")
	carol.expect(http.StatusOK, "GET", "/admin", "")
	policy(t, w, func(s *tokensv1alpha1.AtlassianSite) { s.Spec.Administrators = []string{"carola"} })
	for begun := time.Now(); carol.send("GET", "/admin", "").status != http.StatusForbidden; {
		if time.Since(begun) > 10*time.Second {
			t.Fatal("she still is")
		}
	}
}

// Each of many tokens is revoked and logged.
func TestRevokeAllOfMany(t *testing.T) {
	w := env.Confluence(t)
	alice := session(t, w, "alice")
	var ids []string
	for i := range 30 {
		id, _ := alice.create(`{"label":"` + strconv.Itoa(i) + `"}`)
		ids = append(ids, id)
	}
	alice.expect(http.StatusNoContent, "DELETE", "/all", "")
	if err := wantIDs(alice); err != nil {
		t.Error(err)
	}
	for _, id := range ids {
		auditLine(t, `alice has revoked API Token (`+id+`)`)
	}
}
