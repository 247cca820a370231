package authn

import (
	"encoding/base64"
	"fmt"
	"math/rand/v2"
	"testing"
	"time"

	"apitokens.dev/operator/internal/authurl"
	"apitokens.dev/operator/internal/record"
	"apitokens.dev/operator/internal/token"
)

// model is what the index should make of what it was told: a few maps, and no cleverness.
type model struct {
	tokens  map[string]Token
	records map[string]*record.Record
	sites   map[SiteName]Site
	keys    map[SiteName]string
	grants  map[credentialKey]UpstreamCredential
}

// authenticates says what becomes of a text that user presents as his token at a site, called with this key.
func (m *model) authenticates(at SiteName, key, user, text string) Reason {
	site, ok := m.sites[at]
	switch {
	case !ok:
		return ReasonUnknownSite
	case key == "" || m.keys[at] != key:
		return ReasonCallerKeyMismatch
	}
	var found []*record.Record
	for uid, r := range m.records {
		t, ok := m.tokens[uid]
		if ok && r.TokenID == text[:token.IDLength] && r.User == t.User && r.Site == (record.Ref(t.Site)) &&
			r.APIToken == (record.Ref{Namespace: t.Namespace, Name: t.Name}) {
			found = append(found, r)
		}
	}
	switch {
	case len(found) != 1 || found[0].Site != record.Ref(at):
		return ReasonUnknownToken
	case found[0].Verify([]byte(text)) < 0:
		return ReasonWrongSecret
	case found[0].User != user:
		return ReasonWrongUser
	}
	grant, ok := m.grants[credentialKey{at, user}]
	switch {
	case !ok:
		return ReasonUpstreamCredentialMissing
	case grant.Origin != site.Origin:
		return ReasonUpstreamChanged
	}
	return ReasonAuthenticated
}

// seeded is a source of randomness that is the same each time.
type seeded struct{ *rand.Rand }

func (s seeded) Read(p []byte) (int, error) {
	for i := range p {
		p[i] = byte(s.Uint32())
	}
	return len(p), nil
}

func pick[T any](r *rand.Rand, of []T) T { return of[r.IntN(len(of))] }

// Everything arrives, changes and leaves in random order, with few names and ids, so that they meet. The index is right
// after each event, and empty at the end.
func TestJoinAgainstModel(t *testing.T) {
	for seed := range uint64(20) {
		random := seeded{rand.New(rand.NewPCG(seed, 1))}
		var texts []string
		for range 3 {
			id, err := token.NewID(random)
			if err != nil {
				t.Fatal(err)
			}
			for range 2 { // two secrets of one id: rotated, copied, or forged
				text, err := token.New(id, random)
				if err != nil {
					t.Fatal(err)
				}
				texts = append(texts, text)
			}
		}
		j := &joining{
			T: t, random: random, texts: texts, index: NewIndex(time.Now),
			uids: []string{"1", "2", "3"}, users: []string{"alice", "bob"}, names: []string{"a", "b"},
			sites: []SiteName{{"jira", "main"}, {"jira", "other"}}, origins: []string{"http://one", "http://two"}, keys: []string{"K", "L"},
			model: &model{
				tokens: map[string]Token{}, records: map[string]*record.Record{}, sites: map[SiteName]Site{},
				keys: map[SiteName]string{}, grants: map[credentialKey]UpstreamCredential{},
			},
		}
		j.index.SetReady()
		for step := range 500 {
			j.event()
			j.check(fmt.Sprintf("seed %d, step %d", seed, step))
		}
		j.empty()
	}
}

type joining struct {
	*testing.T

	random                                   seeded
	index                                    *Index
	model                                    *model
	texts, uids, users, names, origins, keys []string
	sites                                    []SiteName
}

// event lets one thing come, change or go.
func (j *joining) event() {
	r, uid, user, at := j.random.Rand, pick(j.random.Rand, j.uids), pick(j.random.Rand, j.users), pick(j.random.Rand, j.sites)
	gone := r.IntN(3) == 0
	switch r.IntN(5) {
	case 0:
		v := Token{UID: uid, Namespace: "jira", Name: pick(r, j.names), User: user, Site: at}
		put(gone, j.model.tokens, uid, v, func() { j.index.PutToken(v) }, func() { j.index.DeleteToken(uid) })
	case 1:
		v := j.record(user, at)
		put(gone, j.model.records, uid, v, func() { j.index.PutRecord(uid, v) }, func() { j.index.DeleteRecord(uid) })
	case 2:
		v := Site{Name: at, TokenPaths: []string{"/rest/"}, Origin: pick(r, j.origins)}
		put(gone, j.model.sites, at, v, func() { j.index.PutSite(v) }, func() { j.index.DeleteSite(at) })
	case 3:
		v := pick(r, j.keys)
		keys := map[authurl.Contract][]string{authurl.Nginx: {v}}
		put(gone, j.model.keys, at, v, func() { j.index.PutCallerKeys(at, keys) }, func() { j.index.DeleteCallerKeys(at) })
	case 4:
		v := UpstreamCredential{Site: at, User: user, Authorization: "Bearer " + user, Origin: pick(r, j.origins)}
		put(gone, j.model.grants, credentialKey{at, user}, v, func() { j.index.PutUpstreamCredential(v) }, func() { j.index.DeleteUpstreamCredential(at, user) })
	}
}

func put[K comparable, V any](gone bool, in map[K]V, key K, value V, add, remove func()) {
	if gone {
		delete(in, key)
		remove()
		return
	}
	in[key] = value
	add()
}

func (j *joining) record(user string, at SiteName) *record.Record {
	text := pick(j.random.Rand, j.texts)
	hash, err := record.NewHash(text, j.random)
	if err != nil {
		j.Fatal(err)
	}
	return &record.Record{
		TokenID: text[:token.IDLength], User: user, Site: record.Ref(at), DeliverySecret: "x",
		APIToken: record.Ref{Namespace: "jira", Name: pick(j.random.Rand, j.names)},
		Entries:  []record.Entry{{Hash: hash, State: record.Delivered, Issued: time.Unix(1, 0)}},
	}
}

func (j *joining) check(when string) {
	j.Helper()
	for _, at := range j.sites {
		for _, user := range j.users {
			for _, text := range j.texts {
				key := pick(j.random.Rand, j.keys)
				d := j.index.Decide(&Request{
					Contract: authurl.Nginx, CallerKey: key, Site: at, Target: "/rest/x",
					Authorization: []string{"Basic " + base64.StdEncoding.EncodeToString([]byte(user+":"+text))},
				})
				if want := j.model.authenticates(at, key, user, text); d.Reason != want || d.Verdict == Allow && d.User != user {
					j.Fatalf("%s: %s at %s: %+v, want %s", when, user, at, d, want)
				}
			}
		}
	}
}

func (j *joining) empty() {
	j.Helper()
	for _, uid := range j.uids {
		j.index.DeleteRecord(uid)
		j.index.DeleteToken(uid)
	}
	for _, at := range j.sites {
		j.index.DeleteSite(at)
		j.index.DeleteCallerKeys(at)
		for _, user := range j.users {
			j.index.DeleteUpstreamCredential(at, user)
		}
	}
	ix := j.index
	if n := len(ix.tokens) + len(ix.records) + len(ix.byID) + len(ix.decoys) + len(ix.joined) + len(ix.sites) + len(ix.callerKeys) + len(ix.credentials); n != 0 {
		j.Errorf("%d things are left in the index", n)
	}
}
