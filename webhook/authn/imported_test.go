package authn_test

import (
	"bytes"
	"crypto/rand"
	"fmt"
	"strings"
	"sync"
	"testing"

	"apitokens.dev/operator/internal/record"
	"apitokens.dev/operator/webhook/authn"
)

const (
	weak   = "a-weak-one-hashed-slow"
	strong = "Zm9vYmFyYmF6cXV4MDEyMzQ1Njc4OUFCQ0RFRkdISUpLTE1OT1BRUlNUVVZXWFla"
)

// importing puts imported tokens of alice, one for each secret, into an index.
func importing(t testing.TB, secrets ...string) fixture {
	t.Helper()
	f := newFixture(t)
	for i, secret := range secrets {
		f.importSecret(t, i, secret)
	}
	return f
}

func (f fixture) importSecret(t testing.TB, i int, secret string) {
	t.Helper()
	hash, err := record.NewImportedHash(secret, rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	uid, name := fmt.Sprintf("imported-%d", i), fmt.Sprintf("old-%d", i)
	id, _ := newToken(t)
	r := newRecord(t, name, id, f.token)
	r.Imported, r.DeliverySecret, r.Entries[0].Hash = true, "", hash
	token := alice(uid, name)
	token.Imported = true
	f.PutToken(token)
	f.PutRecord(uid, r)
}

func TestImported(t *testing.T) {
	f := importing(t, strong, weak)
	for _, secret := range []string{strong, weak} {
		for range 2 { // computed, and remembered
			f.want(t, secret, request("/jira/rest/x", basic("alice", secret)), authn.Allow, authn.ReasonAuthenticated)
		}
		f.want(t, "folded", request("/jira/rest/x", basic("ALICE", secret)), authn.Allow, authn.ReasonAuthenticated)
		f.want(t, "another's", request("/jira/rest/x", basic("bob", secret)), authn.Forward, authn.ReasonNoToken)
		f.want(t, "elsewhere", request("/jira/login", basic("alice", secret)), authn.Unauthorized, authn.ReasonPathNotAccepted)
		f.want(t, "ambiguous", request("/jira/rest/%2f", basic("alice", secret)), authn.Unauthorized, authn.ReasonAmbiguousPath)
		f.want(t, "credentials", request("/jira/rest/pat/latest", basic("alice", secret)), authn.Forbidden, authn.ReasonCredentialPath)
		f.want(t, "as bearer", request("/jira/rest/x", "Bearer "+secret), authn.Forward, authn.ReasonNoToken)
	}
	f.want(t, "not one of them", request("/jira/rest/x", basic("alice", weak+"!")), authn.Forward, authn.ReasonNoToken)
	f.want(t, "not one of them, and again", request("/jira/rest/x", basic("alice", weak+"!")), authn.Forward, authn.ReasonNoToken)
	f.want(t, "the generated one", request("/jira/rest/x"), authn.Allow, authn.ReasonAuthenticated)
	if f.Size() != 3 {
		t.Errorf("size %d", f.Size())
	}
}

// What is ours is never forwarded, whatever is wrong with it.
func TestImportedButNotValid(t *testing.T) {
	f := importing(t, weak)
	token := alice("imported-0", "old-0")
	token.Imported, token.Suspended = true, true
	f.PutToken(token)
	f.want(t, "suspended", request("/jira/rest/x", basic("alice", weak)), authn.Unauthorized, authn.ReasonSuspended)
	f.DeleteToken("imported-0")
	f.want(t, "deleted", request("/jira/rest/x", basic("alice", weak)), authn.Forward, authn.ReasonNoToken)
	token.Suspended, token.Imported = false, false
	f.PutToken(token)
	f.want(t, "declared as generated", request("/jira/rest/x", basic("alice", weak)), authn.Forward, authn.ReasonNoToken)
	token.Imported = true
	f.PutToken(token)
	f.want(t, "as before", request("/jira/rest/x", basic("alice", weak)), authn.Allow, authn.ReasonAuthenticated)
	f.DeleteRecord("imported-0")
	f.want(t, "record gone", request("/jira/rest/x", basic("alice", weak)), authn.Forward, authn.ReasonNoToken)
}

// Remembered is only what verified, and only as long as the record is the same.
func TestReplacedSecretIsForgotten(t *testing.T) {
	f := importing(t, weak)
	f.want(t, "first", request("/jira/rest/x", basic("alice", weak)), authn.Allow, authn.ReasonAuthenticated)
	f.importSecret(t, 0, "another-"+weak)
	f.want(t, "replaced", request("/jira/rest/x", basic("alice", weak)), authn.Forward, authn.ReasonNoToken)
	f.want(t, "the new one", request("/jira/rest/x", basic("alice", "another-"+weak)), authn.Allow, authn.ReasonAuthenticated)
}

// Two that have the same secret cannot be told apart: which of them was meant nobody knows.
func TestImportedTwice(t *testing.T) {
	f := importing(t, strong, strong)
	f.want(t, "both", request("/jira/rest/x", basic("alice", strong)), authn.Unauthorized, authn.ReasonAmbiguousToken)
	f.DeleteToken("imported-0")
	f.want(t, "one", request("/jira/rest/x", basic("alice", strong)), authn.Allow, authn.ReasonAuthenticated)
}

// However many a user has, each request tries no more than the limits say.
func TestImportedLimits(t *testing.T) {
	secret := func(i int) string { return fmt.Sprintf("%s-%02d", strong, i) }
	f := newFixture(t)
	for i := range record.MaxImported + 1 {
		f.importSecret(t, i, secret(i))
	}
	f.want(t, "the last", request("/jira/rest/x", basic("alice", secret(record.MaxImported-1))), authn.Allow, authn.ReasonAuthenticated)
	f.want(t, "one too many", request("/jira/rest/x", basic("alice", secret(record.MaxImported))), authn.Forward, authn.ReasonNoToken)

	f = newFixture(t)
	for i := range record.MaxSlow + 1 {
		f.importSecret(t, i, fmt.Sprintf("%s-%d", weak, i))
	}
	f.want(t, "the last slow one", request("/jira/rest/x", basic("alice", fmt.Sprintf("%s-%d", weak, record.MaxSlow-1))), authn.Allow, authn.ReasonAuthenticated)
	f.want(t, "one slow too many", request("/jira/rest/x", basic("alice", fmt.Sprintf("%s-%d", weak, record.MaxSlow))), authn.Forward, authn.ReasonNoToken)
}

// A crowd that waits for slow hashes is turned away, and lets everybody else pass.
func TestSlowHashesAreBounded(t *testing.T) {
	f := importing(t, weak)
	var group sync.WaitGroup
	var mu sync.Mutex
	seen := map[authn.Reason]int{}
	for i := range 100 {
		group.Go(func() {
			d := f.Decide(request("/jira/rest/x", basic("alice", fmt.Sprintf("%s-%d", weak, i))))
			mu.Lock()
			defer mu.Unlock()
			seen[d.Reason]++
		})
	}
	for range 100 {
		f.want(t, "everybody else", request("/jira/rest/x"), authn.Allow, authn.ReasonAuthenticated)
	}
	group.Wait()
	if seen[authn.ReasonBusy] == 0 || seen[authn.ReasonNoToken] == 0 || seen[authn.ReasonBusy]+seen[authn.ReasonNoToken] != 100 {
		t.Errorf("decided %v", seen)
	}
	f.want(t, "afterwards", request("/jira/rest/x", basic("alice", weak)), authn.Allow, authn.ReasonAuthenticated)
}

func TestImportedHashes(t *testing.T) {
	for name, tc := range map[string]struct {
		secret string
		slow   bool
		why    string
	}{
		"19 bytes":            {strings.Repeat("x", 19), false, "at least 20"},
		"257 bytes":           {strings.Repeat("Ab3", 85) + "xy", false, "at most 256"},
		"a line break":        {strong + "\n", false, "line break"},
		"a space in front":    {" " + strong, false, "white space"},
		"a control character": {strong + "\x00" + strong, false, "control characters"},
		"like one of ours":    {"asp_" + strong, false, "begins with asp_"},
		"one letter":          {strings.Repeat("x", 100), true, ""},
		"20 random letters":   {"q8Vn2LxR0bT7wKc5ZyHd", true, ""},
		"words":               {"correct horse battery staple", true, ""},
		"32 hex digits":       {"d41d8cd98f00b204e9800998ecf8427e", true, ""},
		"48 hex digits":       {"d41d8cd98f00b204e9800998ecf8427e8f00b204e9800998", false, ""},
		"44 base64 digits":    {"c2NhbGUgdGhlIG1vdW50YWluIG9mIGhhcHBpbmVzcw==", false, ""},
		"random":              {strong, false, ""},
	} {
		h, err := record.NewImportedHash(tc.secret, rand.Reader)
		if (err == nil) != (tc.why == "") || err != nil && !strings.Contains(err.Error(), tc.why) {
			t.Errorf("%s: %v, want %q", name, err, tc.why)
			continue
		}
		if err != nil {
			continue
		}
		if h.Slow() != tc.slow {
			t.Errorf("%s: slow is %t", name, h.Slow())
		}
		again, err := record.ParseHash(h.String())
		if err != nil || again != h || !again.Verify([]byte(tc.secret)) || again.Verify([]byte(tc.secret+"x")) || again.Verify(bytes.Repeat([]byte("x"), 300)) {
			t.Errorf("%s: %s is read as %+v (%v)", name, h.String(), again, err)
		}
	}
}
