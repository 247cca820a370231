package authn

import (
	"crypto/rand"
	"encoding/base64"
	"testing"
	"time"

	"apitokens.dev/operator/internal/authurl"
	"apitokens.dev/operator/internal/record"
	"apitokens.dev/operator/internal/token"
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

func someToken(t *testing.T) (id, text string) {
	t.Helper()
	id, err := token.NewID(rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	if text, err = token.New(id, rand.Reader); err != nil {
		t.Fatal(err)
	}
	return id, text
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

// Invariant 6: how the token stands is found out of every one that is refused, the unknown ones too, and not only of those
// whose secret is right: it is read from memory that would otherwise tell by its slowness that the secret is.
func TestStandingIsAlwaysFoundOut(t *testing.T) {
	ix, r := askForUnknown()
	asked := 0
	ix.PutSite(Site{Name: r.Site, TokenPaths: []string{"/rest/"}, AllowsNamespace: func(map[string]string) bool { asked++; return false }})
	ix.PutNamespace("ci", nil)
	id, text := someToken(t)
	hash, err := record.NewHash(text, rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	wrongSecret, err := token.New(id, rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	_, unknown := someToken(t)
	ix.PutToken(Token{UID: "1", Namespace: "ci", Name: "ci", User: "alice", Site: r.Site})
	ix.PutRecord("1", &record.Record{
		TokenID: id, User: "alice", Site: record.Ref(r.Site), APIToken: record.Ref{Namespace: "ci", Name: "ci"},
		Entries: []record.Entry{{Hash: hash}},
	})
	for credential, reason := range map[string]Reason{
		"alice:" + unknown: ReasonUnknownToken, "alice:" + wrongSecret: ReasonWrongSecret, "carol:" + text: ReasonWrongUser,
		"alice:" + text: ReasonNamespaceNotAllowed,
	} {
		asked = 0
		r.Authorization = []string{"Basic " + base64.StdEncoding.EncodeToString([]byte(credential))}
		if d := ix.Decide(r); d.Reason != reason || asked != 1 {
			t.Errorf("refused as %s after the standing was asked for %d times, want %s after once", d.Reason, asked, reason)
		}
	}
}

// What verified is remembered under a key that no other process has, nor this one after a restart.
func TestWhatIsRememberedIsKeyed(t *testing.T) {
	one, other := newImports(), newImports()
	if string(one.mac([]byte("secret"))) == string(other.mac([]byte("secret"))) {
		t.Error("two indexes remember the same of a secret")
	}
}
