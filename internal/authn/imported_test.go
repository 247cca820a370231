package authn_test

import (
	"crypto/rand"
	"fmt"
	"runtime"
	"testing"
	"testing/synctest"

	"apitokens.dev/operator/internal/authn"
	"apitokens.dev/operator/internal/record"
)

const (
	weak   = "a-weak-one-hashed-slow"
	strong = "Zm9vYmFyYmF6cXV4MDEyMzQ1Njc4OUFCQ0RFRkdISUpLTE1OT1BRUlNUVVZXWFla"
)

// writtenDown are written down, because each takes as long to make as to verify.
var writtenDown = map[string]string{
	weak:              "$argon2id$v=19$m=19456,t=2,p=1$MDEyMzQ1Njc4OWFiY2RlZg$IE9ffwkxOLgteKK0H7s8i+RtFwgh68urDzGEofyBCP0",
	"another-" + weak: "$argon2id$v=19$m=19456,t=2,p=1$MDEyMzQ1Njc4OWFiY2RlZg$rAKpzlXY2xqNMJlkJHBV0hH920kUsi+qJIz7N3RNaD4",
}

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
	hash, err := record.ParseHash(writtenDown[secret])
	if writtenDown[secret] == "" {
		hash, err = record.NewImportedHash(secret, rand.Reader)
	}
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
	for i := range 20 + 1 {
		f.importSecret(t, i, secret(i))
	}
	f.want(t, "the last", request("/jira/rest/x", basic("alice", secret(19))), authn.Allow, authn.ReasonAuthenticated)
	f.want(t, "one too many", request("/jira/rest/x", basic("alice", secret(20))), authn.Forward, authn.ReasonNoToken)

	f = newFixture(t)
	for i := range 5 {
		f.importSecret(t, i, weak)
	}
	f.importSecret(t, 5, "another-"+weak)
	f.want(t, "one slow too many", request("/jira/rest/x", basic("alice", "another-"+weak)), authn.Forward, authn.ReasonNoToken)
	f.DeleteToken("imported-0")
	f.want(t, "the last slow one", request("/jira/rest/x", basic("alice", "another-"+weak)), authn.Allow, authn.ReasonAuthenticated)
}

// A crowd that waits for slow hashes is turned away, and lets everybody else pass. Who waited finds what was computed.
func TestSlowHashesAreBounded(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newFixture(t)
		for range 2 { // whoever has left makes place
			f.DeleteToken("imported-0")
			f.importSecret(t, 0, weak)
			f.crowd(t)
		}
	})
}

func (f fixture) crowd(t *testing.T) {
	t.Helper()
	release := f.HoldSlots(2)
	seen := make(chan authn.Decision, 100)
	for range 100 {
		go func() { seen <- f.Decide(request("/jira/rest/x", basic("alice", weak))) }()
	}
	synctest.Wait()
	if len(seen) != 100-32 {
		t.Errorf("%d of 100 wait, want 32", 100-len(seen))
	}
	for range len(seen) {
		if d := <-seen; d != (authn.Decision{Verdict: authn.CannotDecide, Reason: authn.ReasonBusy}) {
			t.Errorf("decided %+v while others wait", d)
		}
	}
	f.want(t, "everybody else", request("/jira/rest/x"), authn.Allow, authn.ReasonAuthenticated)
	if n := slowHashes(func() { release(); synctest.Wait() }); n > 2 {
		t.Errorf("%d computed what two at most have to", n)
	}
	if len(seen) != 32 {
		t.Errorf("%d of 32 are served", len(seen))
	}
	for range len(seen) {
		if d := <-seen; d.Verdict != authn.Allow {
			t.Errorf("decided %+v for who waited", d)
		}
	}
}

// slowHashes counts how many were computed: each takes 19 MiB.
func slowHashes(during func()) uint64 {
	var before, after runtime.MemStats
	runtime.ReadMemStats(&before)
	during()
	runtime.ReadMemStats(&after)
	return (after.TotalAlloc - before.TotalAlloc) / (19 << 20)
}

// What is remembered waits for nobody, and what is wrong is tried once against each.
func TestSlowHashesAreComputedOnce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := importing(t, weak, "another-"+weak)
		right, wrong := request("/jira/rest/x", basic("alice", "another-"+weak)), request("/jira/rest/x", basic("alice", "no-"+weak))
		for _, tc := range []struct {
			name    string
			r       *authn.Request
			verdict authn.Verdict
			want    uint64
		}{
			{"the second, for the first time", right, authn.Allow, 2}, {"the second", right, authn.Allow, 0},
			{"the first, for the first time", request("/jira/rest/x", basic("alice", weak)), authn.Allow, 1},
			{"none of them", wrong, authn.Forward, 2}, {"none of them again", wrong, authn.Forward, 2}, {"the second again", right, authn.Allow, 0},
		} {
			if n := slowHashes(func() {
				if d := f.Decide(tc.r); d.Verdict != tc.verdict {
					t.Errorf("%s: decided %+v", tc.name, d)
				}
			}); n != tc.want {
				t.Errorf("%s: %d slow hashes, want %d", tc.name, n, tc.want)
			}
		}
		release := f.HoldSlots(2)
		defer release()
		f.importSecret(t, 1, "another-"+weak) // as after each change of its status
		if d := f.Decide(right); d.Verdict != authn.Allow {
			t.Errorf("while others compute, and the APIToken changed: %+v", d)
		}
	})
}

// What changes while slow hashes are computed is tried too, as often as there are limits for one request.
func TestTokensChangeWhileSlowHashesAreComputed(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := importing(t, weak)
		release := f.HoldSlots(2)
		defer release()
		decided := make(chan authn.Decision, 1)
		go func() { decided <- f.Decide(request("/jira/rest/x", basic("alice", "another-"+weak))) }()
		for _, secret := range []string{weak, weak, weak, "another-" + weak, ""} {
			synctest.Wait()
			if len(decided) > 0 {
				t.Fatalf("decided %+v before %q was tried", <-decided, secret)
			}
			if secret != "" {
				f.DeleteToken("imported-0")
				f.importSecret(t, 0, secret)
			}
			f.PassSlot()
		}
		if d := <-decided; d.Verdict != authn.Allow {
			t.Errorf("decided %+v", d)
		}
	})
}

// Who had a place computes all that is pending: nobody waits in line for each, and is turned away between two.
func TestAllSlowHashesAreComputedInOnePlace(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := importing(t, weak, "another-"+weak)
		release := f.HoldSlots(2)
		defer release()
		decided := make(chan authn.Decision, 1)
		go func() { decided <- f.Decide(request("/jira/rest/x", basic("alice", "another-"+weak))) }()
		synctest.Wait()
		f.PassSlot()
		synctest.Wait()
		if len(decided) == 0 {
			t.Fatal("waits again")
		}
		if d := <-decided; d.Verdict != authn.Allow {
			t.Errorf("decided %+v", d)
		}
	})
}
