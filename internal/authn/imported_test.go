package authn_test

import (
	"crypto/rand"
	"fmt"
	"runtime"
	"slices"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"apitokens.dev/operator/internal/authn"
	"apitokens.dev/operator/internal/authurl"
	"apitokens.dev/operator/internal/record"
)

const (
	weak   = "a-weak-one-hashed-slow"
	strong = "Zm9vYmFyYmF6cXV4MDEyMzQ1Njc4OUFCQ0RFRkdISUpLTE1OT1BRUlNUVVZXWFla"
)

// precomputed has the slow hashes of the weak secrets: making one takes as long as verifying it.
var precomputed = map[string]string{
	weak:              "$argon2id$v=19$m=19456,t=2,p=1$MDEyMzQ1Njc4OWFiY2RlZg$IE9ffwkxOLgteKK0H7s8i+RtFwgh68urDzGEofyBCP0",
	"another-" + weak: "$argon2id$v=19$m=19456,t=2,p=1$MDEyMzQ1Njc4OWFiY2RlZg$rAKpzlXY2xqNMJlkJHBV0hH920kUsi+qJIz7N3RNaD4",
}

// importing returns a fixture with an imported token of alice for each secret.
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
	hash, err := record.ParseHash(precomputed[secret])
	if precomputed[secret] == "" {
		hash, err = record.NewImportedHash(secret, rand.Reader)
	}
	if err != nil {
		t.Fatal(err)
	}
	uid, name := fmt.Sprintf("imported-%d", i), fmt.Sprintf("old-%d", i)
	id, _ := newToken(t)
	r := newRecord(t, name, id, f.token)
	r.Imported, r.DeliverySecret, r.Entries[0].Hash, r.Entries[0].Issued = true, "", hash, time.Unix(int64(i)+1, 0).UTC()
	token := alice(uid, name)
	token.Imported = true
	f.PutToken(token)
	f.PutRecord(uid, r)
}

func TestImported(t *testing.T) {
	f := importing(t, strong, weak)
	for _, secret := range []string{strong, weak} {
		for range 2 { // first computed, then remembered
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

// A secret of ours is never forwarded, even if it does not authenticate.
func TestImportedButNotValid(t *testing.T) {
	f := importing(t, weak)
	token := alice("imported-0", "old-0")
	token.Imported, token.Suspended = true, true
	f.PutToken(token)
	f.want(t, "suspended", request("/jira/rest/x", basic("alice", weak)), authn.Unauthorized, authn.ReasonSuspended)
	f.DeleteToken("imported-0")
	f.want(t, "deleted", request("/jira/rest/x", basic("alice", weak)), authn.Forward, authn.ReasonDeleted)
	token.Suspended, token.Imported = false, false
	f.PutToken(token)
	f.want(t, "declared as generated", request("/jira/rest/x", basic("alice", weak)), authn.Forward, authn.ReasonNoToken)
	token.Imported = true
	f.PutToken(token)
	f.want(t, "as before", request("/jira/rest/x", basic("alice", weak)), authn.Allow, authn.ReasonAuthenticated)
	f.DeleteRecord("imported-0")
	f.want(t, "record gone", request("/jira/rest/x", basic("alice", weak)), authn.Forward, authn.ReasonNoToken)
}

// A refusal of an imported secret names its token, for the log, although there is no id in the secret.
func TestRefusalsNameTheImportedToken(t *testing.T) {
	f := importing(t, strong)
	suspended := alice("imported-0", "old-0")
	suspended.Imported, suspended.Suspended = true, true
	f.PutToken(suspended)
	for target, reason := range map[string]authn.Reason{
		"/jira/login": authn.ReasonPathNotAccepted, "/jira/rest/%2f": authn.ReasonAmbiguousPath, "/jira/rest/x": authn.ReasonSuspended,
	} {
		d := f.Decide(request(target, basic("alice", strong)))
		if want := (authn.Decision{Verdict: authn.Unauthorized, Reason: reason, TokenID: f.Record("imported-0").TokenID}); d != want {
			t.Errorf("%s: decided %+v, want %+v", target, d, want)
		}
	}
}

// A text that verified is remembered only as long as the record is the same.
func TestReplacedSecretIsForgotten(t *testing.T) {
	f := importing(t, weak)
	f.want(t, "first", request("/jira/rest/x", basic("alice", weak)), authn.Allow, authn.ReasonAuthenticated)
	f.importSecret(t, 0, "another-"+weak)
	f.want(t, "replaced", request("/jira/rest/x", basic("alice", weak)), authn.Forward, authn.ReasonNoToken)
	f.want(t, "the new one", request("/jira/rest/x", basic("alice", "another-"+weak)), authn.Allow, authn.ReasonAuthenticated)
}

// Two imported tokens with the same secret cannot be told apart, so neither authenticates.
func TestImportedTwice(t *testing.T) {
	f := importing(t, strong, strong)
	if d := f.Decide(request("/jira/rest/x", basic("alice", strong))); d != (authn.Decision{Verdict: authn.Unauthorized, Reason: authn.ReasonAmbiguousToken}) {
		t.Errorf("both: decided %+v", d)
	}
	f.DeleteToken("imported-0")
	f.want(t, "one", request("/jira/rest/x", basic("alice", strong)), authn.Allow, authn.ReasonAuthenticated)
}

// Each request compares at most MaxImported secrets and computes at most MaxSlow slow hashes.
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

// Requests beyond maxWaiting are refused as busy, and requests without slow hashes pass. Those that waited share the result.
func TestSlowHashesAreBounded(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newFixture(t)
		for range 2 { // the first crowd frees its slots
			f.DeleteRecord("imported-0") // and with it what is remembered of the hash
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
		t.Errorf("%d slow hashes, want at most two", n)
	}
	if len(seen) != 32 {
		t.Errorf("%d of 32 are served", len(seen))
	}
	for range len(seen) {
		if d := <-seen; d.Verdict != authn.Allow {
			t.Errorf("decided %+v for a request that waited", d)
		}
	}
}

// slowHashes returns the number of slow hashes computed during a call. Each needs 19 MiB.
func slowHashes(during func()) uint64 {
	var before, after runtime.MemStats
	runtime.ReadMemStats(&before)
	during()
	runtime.ReadMemStats(&after)
	return (after.TotalAlloc - before.TotalAlloc) / (19 << 20)
}

// A remembered text does not wait for slots. A wrong one is hashed once per secret.
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
			{"none of them", wrong, authn.Forward, 2}, {"none of them again", wrong, authn.Forward, 0}, {"the second again", right, authn.Allow, 0},
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
		f.importSecret(t, 1, "another-"+weak) // a change of status puts it in again
		if d := f.Decide(right); d.Verdict != authn.Allow {
			t.Errorf("while others compute, and the APIToken changed: %+v", d)
		}
	})
}

// A token that changes while slow hashes are computed is tried too, up to the limit of one request.
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
				f.DeleteRecord("imported-0") // and with it what is remembered of the hash
				f.importSecret(t, 0, secret)
			}
			f.PassSlot()
		}
		if d := <-decided; d.Verdict != authn.Allow {
			t.Errorf("decided %+v", d)
		}
	})
}

// A request that has its turn computes all its pending hashes, a slot for each. It cannot be refused between two of them.
func TestAllSlowHashesAreComputedInOneTurn(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := importing(t, weak, "another-"+weak)
		release := f.HoldSlots(2)
		defer release()
		decided := f.decideLater(request("/jira/rest/x", basic("alice", "another-"+weak)))
		f.crowdOf("alice", 100)
		for range 2 {
			synctest.Wait()
			f.PassSlot()
		}
		synctest.Wait()
		if len(decided) == 0 {
			t.Fatal("waits again")
		}
		if d := <-decided; d.Verdict != authn.Allow {
			t.Errorf("decided %+v", d)
		}
	})
}

// decideLater decides in another goroutine.
func (f fixture) decideLater(r *authn.Request) chan authn.Decision {
	decided := make(chan authn.Decision, 1)
	go func() { decided <- f.Decide(r) }()
	synctest.Wait()
	return decided
}

// crowdOf sends n requests of a user with the same wrong password, so that the test ends after one hash.
func (f fixture) crowdOf(user string, n int) {
	for range n {
		go f.Decide(request("/jira/rest/x", basic(user, "wrong")))
	}
	synctest.Wait()
}

// importFor adds an imported token with a slow hash, for a user at a site.
func (f fixture) importFor(t *testing.T, user string, at authn.SiteName) {
	t.Helper()
	hash, err := record.ParseHash(precomputed[weak])
	if err != nil {
		t.Fatal(err)
	}
	uid := at.Name + "-" + user
	id, _ := newToken(t)
	r := newRecord(t, uid, id, f.token)
	r.User, r.Site, r.Imported, r.DeliverySecret, r.Entries[0].Hash = user, record.Ref(at), true, "", hash
	f.PutToken(authn.Token{UID: uid, Namespace: jira.Namespace, Name: uid, User: user, Site: at, Imported: true})
	f.PutRecord(uid, r)
	f.PutSite(site(at))
	f.PutMemory(at, authn.Memory{UID: siteUID})
	f.PutCallerKeys(at, map[authurl.Contract][]string{authurl.Nginx: {key}}, nil)
	f.PutUpstreamCredential(authn.UpstreamCredential{Site: at, User: user, Authorization: bearer, Origin: origin})
}

// A flood of wrong passwords for one user delays another user by one hash, and generated tokens not at all.
func TestFloodDelaysNoOtherUser(t *testing.T) {
	other := authn.SiteName{Namespace: jira.Namespace, Name: "other"}
	for name, victim := range map[string]struct {
		user string
		at   authn.SiteName
	}{
		"another user": {"bob", jira}, "another user at another site": {"bob", other}, "the same user at another site": {"alice", other},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				f := newFixture(t)
				for _, user := range []string{"alice", "carol", "dave", victim.user} {
					f.importFor(t, user, jira)
				}
				f.importFor(t, victim.user, victim.at)
				started, free := f.HoldSlots(1), f.HoldSlots(1)
				var mu sync.Mutex
				var order []string
				decide := func(who string, r *authn.Request) {
					go func() {
						f.Decide(r)
						mu.Lock()
						defer mu.Unlock()
						order = append(order, who) // one slot is free, so requests end one after the other
					}()
					synctest.Wait()
				}
				for _, flooded := range []string{"alice", "carol", "dave"} {
					for i := range 4 {
						decide(flooded, request("/jira/rest/x", basic(flooded, fmt.Sprintf("wrong-%d", i))))
					}
				}
				f.want(t, "a generated token of a flooded user", request("/jira/rest/x"), authn.Allow, authn.ReasonAuthenticated)
				r := request("/jira/rest/x", basic(victim.user, weak))
				r.Site = victim.at
				decide("victim", r)
				started()
				synctest.Wait()
				free()
				if i := slices.Index(order, "victim"); i != 3 {
					t.Errorf("the victim ended after %d requests of others, want one of each: %q", i, order)
				}
				f.want(t, "the victim again", r, authn.Allow, authn.ReasonAuthenticated)
			})
		})
	}
}

// Guesses at many users delay only the first request of another one by the hashes that are being computed.
func TestGuessesAtManyUsersDelayNoOther(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newFixture(t)
		f.importFor(t, "bob", jira)
		guess := func(user string, n int) *authn.Request {
			return request("/jira/rest/x", basic(user, fmt.Sprintf("wrong-%d", n)))
		}
		var owners []string
		for i := range 10 {
			owners = append(owners, fmt.Sprintf("owner-%d", i))
			f.importFor(t, owners[i], jira)
			f.want(t, "the first guess", guess(owners[i], 0), authn.Forward, authn.ReasonNoToken)
		}
		_, free := f.HoldSlots(1), f.HoldSlots(1) // one slot stays taken, so requests end one after the other
		ended := make(chan string, len(owners)+1)
		decide := func(user string, r *authn.Request) {
			go func() {
				f.Decide(r)
				ended <- user
			}()
			synctest.Wait()
		}
		for i := range owners {
			decide(owners[i], guess(owners[i], 1))
		}
		decide("bob", request("/jira/rest/x", basic("bob", weak)))
		free()
		if first := <-ended; first != "bob" {
			t.Errorf("%s is the first, want bob", first)
		}
		for _, want := range owners {
			if next := <-ended; next != want {
				t.Errorf("%s is the next, want %s", next, want)
			}
		}
		f.want(t, "an owner at whom somebody guesses", request("/jira/rest/x", basic(owners[0], weak)), authn.Allow, authn.ReasonAuthenticated)
	})
}

// Gateways give up after five seconds. A request that waits is answered before that, whatever it waits for.
func TestWaitingEnds(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := importing(t, weak)
		release := f.HoldSlots(2)
		begun := time.Now()
		waits := []chan authn.Decision{
			f.decideLater(request("/jira/rest/x", basic("alice", weak))), // for a slot
			f.decideLater(request("/jira/rest/x", basic("alice", weak))), // for its turn
		}
		for _, w := range waits {
			if d := <-w; d != (authn.Decision{Verdict: authn.CannotDecide, Reason: authn.ReasonBusy}) {
				t.Errorf("decided %+v", d)
			}
		}
		if waited := time.Since(begun); waited != 3*time.Second {
			t.Errorf("waited for %v", waited)
		}

		begun = time.Now()
		again := f.decideLater(request("/jira/rest/x", basic("alice", "another-"+weak))) // first for a hash that is gone
		<-time.After(2 * time.Second)                                                    // steps the clock of the test
		f.DeleteRecord("imported-0")
		f.importSecret(t, 0, weak)
		f.PassSlot()
		if d := <-again; d.Reason != authn.ReasonBusy || time.Since(begun) != 3*time.Second {
			t.Errorf("waited twice, for %v: decided %+v", time.Since(begun), d)
		}
		release()
		f.want(t, "afterwards", request("/jira/rest/x", basic("alice", weak)), authn.Allow, authn.ReasonAuthenticated)
	})
}

// A wrong text is remembered for ten seconds, for each hash alone. The memory is bounded, and a right text is never in it.
func TestWrongTextsAreRememberedForAWhile(t *testing.T) {
	now := time.Unix(1_000, 0)
	f := newFixture(t)
	f.Index = newIndex(t, func() time.Time { return now })
	f.PutSite(site(jira))
	f.importSecret(t, 0, weak)
	ask := func(secret string, verdict authn.Verdict, want uint64) {
		t.Helper()
		if n := slowHashes(func() {
			f.want(t, secret, request("/jira/rest/x", basic("alice", secret)), verdict, map[authn.Verdict]authn.Reason{
				authn.Allow: authn.ReasonAuthenticated, authn.Forward: authn.ReasonNoToken,
			}[verdict])
		}); n != want {
			t.Errorf("%s after %v: %d slow hashes, want %d", secret, now.Sub(time.Unix(1_000, 0)), n, want)
		}
	}
	ask("another-"+weak, authn.Forward, 1)
	now = now.Add(10*time.Second - 1)
	ask("another-"+weak, authn.Forward, 0)
	ask("yet-another-"+weak, authn.Forward, 1)
	now = now.Add(1)
	ask("another-"+weak, authn.Forward, 1)
	ask(weak, authn.Allow, 1)
	f.importSecret(t, 0, "another-"+weak) // the same user's other secret: what was wrong is right
	ask("another-"+weak, authn.Allow, 1)
	f.importSecret(t, 0, "another-"+weak) // a change of status puts it in again
	ask("another-"+weak, authn.Allow, 0)
}

// The memory of wrong texts is a ring: the oldest goes first.
func TestMemoryOfWrongTextsIsBounded(t *testing.T) {
	f := importing(t, weak)
	if known, first := f.RejectMany("imported-0", 200); known != 64 || first != 200-64 {
		t.Errorf("%d wrong texts are remembered from %d on, want the last 64 of 200", known, first)
	}
}

// Two APITokens that are imported at the same moment can be one too many. Then it is always the newest one that does not authenticate,
// and not the one that changed last: the status of a token changes with each use.
func TestOneImportTooMany(t *testing.T) {
	f := newFixture(t)
	for i := range record.MaxImported + 1 {
		secret := fmt.Sprintf("%s-%02d", strong, i)
		f.importSecret(t, i, secret)
	}
	for i := range record.MaxImported {
		secret := fmt.Sprintf("%s-%02d", strong, i)
		f.want(t, "used", request("/jira/rest/x", basic("alice", secret)), authn.Allow, authn.ReasonAuthenticated)
		token := alice(fmt.Sprintf("imported-%d", i), fmt.Sprintf("old-%d", i))
		token.Imported = true
		f.PutToken(token)
		f.want(t, "used again", request("/jira/rest/x", basic("alice", secret)), authn.Allow, authn.ReasonAuthenticated)
	}
}
