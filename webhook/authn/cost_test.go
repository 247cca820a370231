package authn

import (
	"encoding/base64"
	"testing"
	"time"

	"apitokens.dev/operator/internal/authurl"
)

// Invariant 6: an unknown id costs what a wrong secret costs, because it is verified too, against a record that stands in.
// In an empty index that is nobody's; without it there is nothing to verify against, and that shows.
func TestUnknownTokensAreVerified(t *testing.T) {
	ix := NewIndex(time.Now)
	at := SiteName{"jira", "main"}
	ix.PutSite(Site{Name: at, TokenPaths: []string{"/rest/"}})
	ix.PutCallerKeys(at, map[authurl.Contract][]string{authurl.Nginx: {"key"}})
	ix.SetReady()
	const unknown = "alice:asp_DquJoZLwlsNJm6gU_0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcd0HhnJ2"
	r := &Request{
		Contract: authurl.Nginx, CallerKey: "key", Site: at, Target: "/rest/",
		Authorization: []string{"Basic " + base64.StdEncoding.EncodeToString([]byte(unknown))},
	}
	if d := ix.Decide(r); d.Reason != ReasonUnknownToken {
		t.Fatalf("decided %+v", d)
	}
	saved := nobody
	defer func() {
		nobody = saved
		if recover() == nil {
			t.Error("an unknown id was refused without a verification")
		}
	}()
	nobody = nil
	ix.Decide(r)
}
