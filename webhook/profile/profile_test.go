package profile_test

import (
	"net/http"
	"net/url"
	"strings"
	"testing"
)

// What people do on the page: create, look, rotate, revoke.
func TestLifeOfAToken(t *testing.T) {
	alice := signedIn(t, env.Jira(t), "alice")
	alice.get(http.StatusOK, "").shows("You have no API tokens yet", "Signed in as Alice Example (alice)", alice.URL)

	made := alice.post(http.StatusOK, "/create", alice.filled("CI scripts"))
	text := made.secret()
	id := text[:20]
	made.shows("CI scripts", "you will not see it again", "curl -s "+alice.URL+"/rest/api/2/myself --user alice:"+text)
	alice.get(http.StatusOK, "").shows("CI scripts", id, "Active", "Read-write", "Never", "!"+text[21:])

	dialog := alice.get(http.StatusOK, "?dialog=rotate&id="+id)
	rotated := alice.post(http.StatusOK, "/rotate", url.Values{"id": {id}, "issued": {dialog.field("issued")}, "overlapHours": {"24"}})
	if again := rotated.secret(); again == text || !strings.HasPrefix(again, id) {
		t.Errorf("rotated %s to %s", text, again)
	}
	rotated.shows("Previous secret works until")

	alice.get(http.StatusOK, "?dialog=revoke&id="+id).shows("CI scripts", "It was never used", "This cannot be undone")
	gone := alice.post(http.StatusSeeOther, "/revoke", url.Values{"id": {id}})
	if to := gone.header.Get("Location"); to != "/jira"+pagePath+"?note=revoked" {
		t.Errorf("leads to %s", to)
	}
	alice.get(http.StatusOK, "?note=revoked").shows("was revoked", "You have no API tokens yet")
	alice.post(http.StatusNotFound, "/revoke", url.Values{"id": {id}})
}
