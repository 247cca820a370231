package authn

import (
	"encoding/base64"
	"testing"
	"time"

	"apitokens.dev/operator/internal/authurl"
	"apitokens.dev/operator/internal/record"
)

// askForUnknown returns an index without tokens, and a request with a token that no index knows.
func askForUnknown() (*Index, *Request) {
	ix := NewIndex(time.Now)
	at := SiteName{"jira", "main"}
	ix.PutSite(Site{Name: at, TokenPaths: []string{"/rest/"}})
	ix.PutCallerKeys(at, map[authurl.Contract][]string{authurl.Nginx: {"key"}})
	ix.SetReady()
	const unknown = "alice:asp_DquJoZLwlsNJm6gU_0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcd0HhnJ2"
	return ix, &Request{
		Contract: authurl.Nginx, CallerKey: "key", Site: at, Target: "/rest/",
		Authorization: []string{"Basic " + base64.StdEncoding.EncodeToString([]byte(unknown))},
	}
}

// Invariant 6: an unknown id costs what a wrong secret costs, because it is verified too, against a record that stands in.
// In an empty index that is nobody's; without it there is nothing to verify against, and that shows.
func TestUnknownTokensAreVerified(t *testing.T) {
	ix, r := askForUnknown()
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

// Where there are tokens, they stand in, and not nobody: his record would always be at hand, and theirs are not.
func TestTokensStandInForUnknownOnes(t *testing.T) {
	ix, r := askForUnknown()
	ix.PutToken(Token{UID: "1", Namespace: "jira", Name: "ci", User: "alice", Site: r.Site})
	ix.PutRecord("1", &record.Record{
		TokenID: "asp_another", User: "alice", Site: record.Ref(r.Site), APIToken: record.Ref{Namespace: "jira", Name: "ci"},
		Entries: make([]record.Entry, 1),
	})
	saved := nobody
	defer func() { nobody = saved }()
	nobody = nil
	if d := ix.Decide(r); d.Reason != ReasonUnknownToken {
		t.Errorf("decided %+v", d)
	}
}

// What verified is remembered under a key that no other process has, nor this one after a restart.
func TestWhatIsRememberedIsKeyed(t *testing.T) {
	one, other := newImports(), newImports()
	if string(one.mac([]byte("secret"))) == string(other.mac([]byte("secret"))) {
		t.Error("two indexes remember the same of a secret")
	}
}
