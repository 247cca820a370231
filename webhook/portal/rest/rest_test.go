package rest_test

import (
	"net/http"
	"regexp"
	"strings"
	"testing"

	"apitokens.dev/operator/internal/token"
)

// Users create, list and revoke tokens as with the plugin.
func TestLifeOfAToken(t *testing.T) {
	alice := session(t, env.Jira(t), "alice")
	if list := alice.expect(http.StatusOK, "GET", "", ""); list.body != "[]" {
		t.Errorf("nobody has made a token, and there is %s", list.body)
	}
	made := alice.expect(http.StatusCreated, "POST", "/", `{"label":"CI scripts"}`)
	id, text := made.text(t, "id"), made.text(t, "token")
	if _, ok := token.Parse([]byte(text)); !ok || !strings.HasPrefix(text, id) {
		t.Errorf("the token of %s is not one: %s", id, made.body)
	}
	if want := "/jira/rest/api-tokens/latest/" + id; made.header.Get("Location") != want {
		t.Errorf("Location is %q, want %q", made.header.Get("Location"), want)
	}
	// The fields have the names and the order of the plugin.
	want := `^\[\{"label":"CI scripts","createdAt":\d{13},"lastAccessed":null,"id":"` + id +
		`","expiresAt":null,"access":"ReadWrite","state":"Active","credential":"Portal"\}\]$`
	script := alice.withToken("alice", text)
	for _, as := range []client{alice, script, alice.withToken("ALICE", text)} {
		if list := as.expect(http.StatusOK, "GET", "/", ""); !regexp.MustCompile(want).MatchString(list.body) {
			t.Errorf("%s, want %s", list.body, want)
		}
	}
	if one := script.expect(http.StatusOK, "GET", "/"+id, ""); one.text(t, "label") != "CI scripts" || strings.Contains(one.body, text) {
		t.Errorf("GET by id: %s", one.body)
	}
	alice.expect(http.StatusNoContent, "DELETE", "/"+id, "")
	script.expect(http.StatusUnauthorized, "GET", "/", "")
	alice.expect(http.StatusNotFound, "DELETE", "/"+id, "")
	for _, line := range []string{`"msg":"alice has created API Token (` + id, `alice has been authenticated via API Token (` + id, `"msg":"alice has revoked API Token (` + id} {
		if !strings.Contains(env.Audit(), line) {
			t.Errorf("not told: %s", line)
		}
	}
}
