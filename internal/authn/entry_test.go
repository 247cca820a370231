package authn

import (
	"crypto/rand"
	"fmt"
	mathrand "math/rand/v2"
	"net/netip"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"apitokens.dev/operator/internal/lifetime"
	"apitokens.dev/operator/internal/record"
)

// An entry keeps every part of what it is made of, whatever its APIToken and record say.
func TestEntryKeepsItsParts(t *testing.T) {
	random := mathrand.New(mathrand.NewPCG(1, 2))
	for range 20_000 {
		p := parts{record: randomRecord(t, random)}
		if random.IntN(4) > 0 {
			p.token = randomToken(random, p.record)
		}
		if p.record.Dead = (time.Time{}); random.IntN(4) == 0 {
			p.record.Dead = randomTime(random)
		}
		want := parts{p.token, p.record}
		if diff := cmp.Diff(want, newEntry("uid", p).parts(), cmp.AllowUnexported(parts{}, record.Hash{}), cmpopts.EquateComparable(netip.Prefix{})); diff != "" {
			t.Fatal(diff)
		}
	}
}

func randomRecord(t *testing.T, random *mathrand.Rand) *record.Record {
	t.Helper()
	r := &record.Record{
		TokenID: some(random, "asp_DquJoZLwlsNJm6gU"), User: some(random, "alice"), UserKey: some(random, "JIRAUSER1"), Site: record.Ref{Namespace: some(random, "jira"), Name: some(random, "main")},
		APIToken: record.Ref{Namespace: some(random, "team"), Name: some(random, "ci")}, DeliverySecret: some(random, "ci-token"),
		Imported: random.IntN(3) == 0, Portal: random.IntN(3) == 0,
	}
	if random.IntN(3) == 0 {
		r.Ancestors = []string{"one", "two"}
	}
	states := [...]record.State{record.Candidate, record.Delivered, record.Delivered, record.Ending, record.Dead, ""}
	entries := func(n int) (all []record.Entry) {
		for range n {
			e := record.Entry{State: states[random.IntN(len(states))], Issued: randomTime(random)}
			if random.IntN(3) == 0 {
				e.Ends = randomTime(random)
			}
			var err error
			if e.Hash, err = record.NewImportedHash(fmt.Sprint(rand.Text(), rand.Text()), rand.Reader); err != nil {
				t.Fatal(err)
			}
			all = append(all, e)
		}
		return all
	}
	r.Entries, r.DeadEntries = entries(1+random.IntN(2)*random.IntN(3)), entries(random.IntN(2))
	return r
}

// randomToken returns an APIToken that agrees with a record.
func randomToken(random *mathrand.Rand, r *record.Record) *Token {
	token := &Token{
		UID: "uid", Namespace: r.APIToken.Namespace, Name: r.APIToken.Name, User: r.User, Site: SiteName(r.Site), Imported: r.Imported, Portal: r.Portal,
		Suspended: random.IntN(2) == 0, ParentNamespace: some(random, "parent"),
		Lifetime: lifetime.Requested{Days: random.Int32N(2) * 90},
	}
	switch random.IntN(4) {
	case 0:
		token.Lifetime.Until = randomTime(random)
	case 1:
		token.Limits.ReadOnly = true
	case 2:
		token.Limits.Sources = []netip.Prefix{netip.MustParsePrefix("192.0.2.0/24")}
	case 3:
		token.Limits.Paths = []string{"/rest/api"}
	}
	return token
}

func some(random *mathrand.Rand, text string) string { return text[:random.IntN(len(text)+1)] }

func randomTime(random *mathrand.Rand) time.Time {
	years := [...]int{1, 1600, 1970, 2026, 2300, 9999}
	return time.Date(years[random.IntN(len(years))], 1, 2, 3, 4, 5, random.IntN(2)*678, time.UTC)
}
