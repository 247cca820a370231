package page_test

import (
	"maps"
	"net/http"
	"net/url"
	"testing"
)

// A page that is still open when somebody else signs in acts for nobody: no form of it does anything, whichever it is.
func TestFormsOfAnotherUser(t *testing.T) {
	w := env.Jira(t)
	alice, bob := signedIn(t, w, "alice"), signedIn(t, w, "bob")
	id := alice.create("of alice")
	bobs := bob.create("of bob")
	pat := alice.pat("bob")
	issued := bob.get(http.StatusOK, "?dialog=rotate&id="+bobs).field("issued")
	// later is the page of Alice after Bob signed in, in another tab of the same browser.
	later := alice.with("Cookie", bob.as.Get("Cookie"))
	forms := map[string]url.Values{
		"/create":     alice.filled("as bob"),
		"/rotate":     {"id": {bobs}, "issued": {issued}, "overlapHours": {"0"}},
		"/revoke":     {"id": {bobs}},
		"/revoke-all": {"count": {"1"}},
		"/paste":      {"personalAccessToken": {pat}},
	}
	for below, form := range forms {
		later.post(http.StatusConflict, below, form).shows("Signed in as Bob Example", "You are signed in as bob now, and this page was made for another user.",
			"Nothing was done.", "!of alice", "!of bob")
		later.user = "" // nobody's page
		later.post(http.StatusConflict, below, form).shows("Nothing was done.")
		later.user = alice.user
	}
	bob.get(http.StatusOK, "").shows("of bob", "!as bob")
	if now := bob.get(http.StatusOK, "?dialog=rotate&id="+bobs).field("issued"); now != issued {
		t.Error("the token of bob was rotated")
	}
	alice.get(http.StatusOK, "?dialog=revoke&id="+id).shows("of alice")
	// Every form says whose it is, and names are alike in any case.
	bob.user = "BOB"
	for _, below := range []string{"/create", "/rotate", "/paste", "/revoke", "/revoke-all"} {
		query := "?dialog=" + below[1:] + "&id=" + bobs
		if shown := bob.get(http.StatusOK, query).field("user"); shown != "bob" {
			t.Errorf("%s is a form of %q", below, shown)
		}
		if a := bob.from(bob.origin()).sendForm(below, maps.Clone(forms[below])); a.status == http.StatusConflict {
			a.shows("!another user")
		}
	}
}
