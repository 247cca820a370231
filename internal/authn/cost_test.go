package authn

import (
	"encoding/base64"
	"testing"
	"time"

	"apitokens.dev/operator/internal/authurl"
	"apitokens.dev/operator/internal/record"
)

// requestWithUnknownToken returns an index without tokens, and a request with a token that no index knows.
func requestWithUnknownToken() (*Index, *Request) {
	ix := NewIndex(time.Now)
	at := SiteName{"jira", "main"}
	ix.PutSite(Site{Name: at, TokenPaths: []string{"/rest/"}})
	ix.PutMemory(at, Memory{})
	ix.PutCallerKeys(at, map[authurl.Contract][]string{authurl.Nginx: {"key"}}, nil)
	ix.SetReady()
	const unknown = "alice:asp_DquJoZLwlsNJm6gU_0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcd0HhnJ2"
	return ix, &Request{
		Contract: authurl.Nginx, CallerKey: "key", Site: at, Target: "/rest/",
		Authorization: []string{"Basic " + base64.StdEncoding.EncodeToString([]byte(unknown))},
	}
}

// Invariant 6: an unknown id costs what a wrong secret costs, because it is verified too, against a decoy. In an empty index
// that is emptyIndexDecoy. The test takes it away, so that the verification panics.
func TestUnknownTokensAreVerified(t *testing.T) {
	ix, r := requestWithUnknownToken()
	if d := ix.Decide(r); d.Reason != ReasonUnknownToken {
		t.Fatalf("decided %+v", d)
	}
	saved := emptyIndexDecoy
	defer func() {
		emptyIndexDecoy = saved
		if recover() == nil {
			t.Error("an unknown id was refused without a verification")
		}
	}()
	emptyIndexDecoy = nil
	ix.Decide(r)
}

// In an index with tokens, these are the decoys. The record of emptyIndexDecoy would always be in the processor's cache.
func TestTokensAreDecoysForUnknownOnes(t *testing.T) {
	ix, r := requestWithUnknownToken()
	ix.PutToken(Token{UID: "1", Namespace: "jira", Name: "ci", User: "alice", Site: r.Site})
	ix.PutRecord("1", &record.Record{
		TokenID: "asp_another", User: "alice", Site: record.Ref(r.Site), APIToken: record.Ref{Namespace: "jira", Name: "ci"},
		Entries: make([]record.Entry, 1),
	})
	saved := emptyIndexDecoy
	defer func() { emptyIndexDecoy = saved }()
	emptyIndexDecoy = nil
	if d := ix.Decide(r); d.Reason != ReasonUnknownToken {
		t.Errorf("decided %+v", d)
	}
}

// The key of the remembered hashes differs between processes.
func TestRememberedHashesAreKeyed(t *testing.T) {
	one, other := newSlowHashes(), newSlowHashes()
	if one.hash([]byte("secret")) == other.hash([]byte("secret")) {
		t.Error("two indexes remember the same hash of a secret")
	}
}
