package authn

import (
	"encoding/base64"
	"fmt"
	"math/rand/v2"
	"strings"
	"testing"
	"time"

	"apitokens.dev/operator/internal/authurl"
	"apitokens.dev/operator/internal/record"
	"apitokens.dev/operator/internal/token"
)

// model is a simple model of the index: a few maps, and no further structure.
type model struct {
	tokens     map[string]Token
	records    map[string]*record.Record
	sites      map[SiteName]Site
	namespaces map[string]map[string]string
	keys       map[SiteName]string
	grants     map[siteUser]UpstreamCredential
}

// meant returns the one complete APIToken that user and text mean at a site, or the reason why there is none.
func (m *model) meant(at SiteName, user, text string) (Token, Reason) {
	generated := strings.HasPrefix(text, token.Prefix)
	var found []string
	for uid, r := range m.records {
		t, ok := m.tokens[uid]
		switch {
		case !ok || r.User != t.User || r.Imported != t.Imported || r.Site != record.Ref(t.Site) ||
			r.APIToken != record.Ref{Namespace: t.Namespace, Name: t.Name}:
		case generated && !r.Imported && r.TokenID == text[:token.IDLength],
			!generated && r.Imported && t.Site == at && r.User == user && r.Verify([]byte(text)) == 0:
			found = append(found, uid)
		}
	}
	switch {
	case !generated && len(found) == 0:
		return Token{}, ReasonNoToken
	case !generated && len(found) > 1:
		return Token{}, ReasonAmbiguousToken
	case len(found) != 1 || m.tokens[found[0]].Site != at:
		return Token{}, ReasonUnknownToken
	case m.records[found[0]].Verify([]byte(text)) < 0:
		return Token{}, ReasonWrongSecret
	case m.records[found[0]].User != user:
		return Token{}, ReasonWrongUser
	}
	return m.tokens[found[0]], ""
}

// authenticates returns the expected outcome for user and text at a site with this caller key, and the APIToken.
func (m *model) authenticates(at SiteName, key, user, text, method string) (Token, Reason) {
	site, ok := m.sites[at]
	switch {
	case !ok:
		return Token{}, ReasonUnknownSite
	case key == "" || m.keys[at] != key:
		return Token{}, ReasonCallerKeyMismatch
	}
	t, reason := m.meant(at, user, text)
	if reason != "" {
		return Token{}, reason
	}
	labels, seen := m.namespaces[t.Namespace]
	switch grant, ok := m.grants[siteUser{at, user}]; {
	case t.Namespace != at.Namespace && (!seen || site.AllowsNamespace == nil || labels["tokens"] != "yes"):
		return t, ReasonNamespaceNotAllowed
	case t.Suspended:
		return t, ReasonSuspended
	case (site.Limits.ReadOnly || t.Limits.ReadOnly) && method != "GET":
		return t, ReasonReadOnly
	case !ok:
		return t, ReasonUpstreamCredentialMissing
	case grant.Origin != site.Origin:
		return t, ReasonUpstreamChanged
	}
	return t, ReasonAuthenticated
}

// seeded is a source of randomness that repeats itself in each run.
type seeded struct{ *rand.Rand }

func (s seeded) Read(p []byte) (int, error) {
	for i := range p {
		p[i] = byte(s.Uint32())
	}
	return len(p), nil
}

func pick[T any](r *rand.Rand, of []T) T { return of[r.IntN(len(of))] }

// Objects arrive, change and leave in random order. There are few names and ids, so that they collide. The index must agree
// with the model after each event, and be empty at the end.
func TestIndexAgainstModel(t *testing.T) {
	seen := map[Reason]int{}
	for seed := range uint64(20) {
		random := seeded{rand.New(rand.NewPCG(seed, 1))}
		texts := []string{"Zm9vYmFyYmF6cXV4MDEyMzQ1Njc4OUFCQ0RFRkdISUpLTE1OT1BRUlNUVVZXWFla", "ODk3NjU0MzIxMGFiY2RlZmdoaWprbG1ub3BxcnN0dXZ3eHl6QUJDREVGR0hJSktM"}
		for range 2 {
			id, err := token.NewID(random)
			if err != nil {
				t.Fatal(err)
			}
			for range 2 { // two secrets of one id: rotated, copied or forged
				text, err := token.New(id, random)
				if err != nil {
					t.Fatal(err)
				}
				texts = append(texts, text)
			}
		}
		j := &joining{
			T: t, random: random, texts: texts, index: NewIndex(time.Now), seen: seen,
			uids: []string{"1", "2", "3"}, users: []string{"alice", "bob"}, names: []string{"a", "b"},
			sites: []SiteName{{"jira", "main"}, {"ci", "main"}}, namespaces: []string{"jira", "jira", "ci"}, origins: []string{"http://one", "http://two"}, keys: []string{"K", "L"},
			model: &model{
				tokens: map[string]Token{}, records: map[string]*record.Record{}, sites: map[SiteName]Site{},
				namespaces: map[string]map[string]string{}, keys: map[SiteName]string{}, grants: map[siteUser]UpstreamCredential{},
			},
		}
		j.index.SetReady()
		for step := range 500 {
			j.event()
			j.check(fmt.Sprintf("seed %d, step %d", seed, step))
		}
		j.empty()
	}
	for _, reason := range []Reason{
		ReasonUnknownSite, ReasonCallerKeyMismatch, ReasonNoToken, ReasonAmbiguousToken, ReasonUnknownToken, ReasonWrongSecret, ReasonWrongUser,
		ReasonNamespaceNotAllowed, ReasonSuspended, ReasonReadOnly, ReasonUpstreamCredentialMissing, ReasonUpstreamChanged, ReasonAuthenticated,
	} {
		if seen[reason] == 0 {
			t.Errorf("nothing was decided because of %s: %v", reason, seen)
		}
	}
}

type joining struct {
	*testing.T

	random                                               seeded
	index                                                *Index
	model                                                *model
	seen                                                 map[Reason]int
	texts, uids, users, namespaces, names, origins, keys []string
	sites                                                []SiteName
}

// event adds, changes or removes one object.
func (j *joining) event() {
	r, uid, user, at := j.random.Rand, pick(j.random.Rand, j.uids), pick(j.random.Rand, j.users), pick(j.random.Rand, j.sites)
	gone := r.IntN(3) == 0
	switch r.IntN(8) {
	case 0, 1:
		v := Token{
			UID: uid, Namespace: pick(r, j.namespaces), Name: pick(r, j.names), User: user, Site: at, Imported: r.IntN(2) == 0,
			Suspended: r.IntN(8) == 0, Limits: Limits{ReadOnly: r.IntN(4) == 0},
		}
		put(gone, j.model.tokens, uid, v, func() { j.index.PutToken(v) }, func() { j.index.DeleteToken(uid) })
	case 2, 3:
		v := j.record(uid, user, at)
		put(gone, j.model.records, uid, v, func() { j.index.PutRecord(uid, v) }, func() { j.index.DeleteRecord(uid) })
	case 4:
		v := Site{Name: at, TokenPaths: []string{"/rest/"}, Origin: pick(r, j.origins), Limits: Limits{ReadOnly: r.IntN(4) == 0}}
		if r.IntN(3) > 0 {
			v.AllowsNamespace = func(labels map[string]string) bool { return labels["tokens"] == "yes" }
		}
		put(gone, j.model.sites, at, v, func() { j.index.PutSite(v) }, func() { j.index.DeleteSite(at) })
	case 5:
		v := pick(r, j.keys)
		keys := map[authurl.Contract][]string{authurl.Nginx: {v}}
		put(gone, j.model.keys, at, v, func() { j.index.PutCallerKeys(at, keys) }, func() { j.index.DeleteCallerKeys(at) })
	case 6:
		v := UpstreamCredential{Site: at, User: user, Authorization: "Bearer " + user, Origin: pick(r, j.origins)}
		put(gone, j.model.grants, siteUser{at, user}, v, func() { j.index.PutUpstreamCredential(v) }, func() { j.index.DeleteUpstreamCredential(at, user) })
	case 7:
		namespace, v := pick(r, j.namespaces), map[string]string{"tokens": pick(r, []string{"yes", "yes", "no"})}
		put(gone, j.model.namespaces, namespace, v, func() { j.index.PutNamespace(namespace, v) }, func() { j.index.DeleteNamespace(namespace) })
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

// record returns a record that mostly agrees with the existing APIToken, if there is one.
func (j *joining) record(uid, user string, at SiteName) *record.Record {
	r := j.random.Rand
	of := Token{Namespace: pick(r, j.namespaces), Name: pick(r, j.names), User: user, Site: at, Imported: r.IntN(2) == 0}
	if t, ok := j.model.tokens[uid]; ok && r.IntN(3) > 0 {
		of = t
	}
	text := pick(r, j.texts)
	for strings.HasPrefix(text, token.Prefix) == of.Imported {
		text = pick(r, j.texts)
	}
	v := &record.Record{
		User: of.User, Site: record.Ref(of.Site), APIToken: record.Ref{Namespace: of.Namespace, Name: of.Name}, Imported: of.Imported,
		Entries: []record.Entry{{State: record.Delivered, Issued: time.Unix(1, 0)}},
	}
	var err error
	if of.Imported {
		// Another token has this id too, so none of them counts.
		v.TokenID = j.texts[len(j.texts)-1][:token.IDLength]
		v.Entries[0].Hash, err = record.NewImportedHash(text, j.random)
	} else {
		v.TokenID, v.DeliverySecret = text[:token.IDLength], "x"
		v.Entries[0].Hash, err = record.NewHash(text, j.random)
	}
	if err != nil {
		j.Fatal(err)
	}
	return v
}

func (j *joining) check(when string) {
	j.Helper()
	for _, at := range j.sites {
		for _, user := range j.users {
			for _, text := range j.texts {
				key, method := pick(j.random.Rand, j.keys), pick(j.random.Rand, []string{"GET", "POST"})
				d := j.index.Decide(&Request{
					Contract: authurl.Nginx, CallerKey: key, Site: at, Target: "/rest/x", Method: method,
					Authorization: []string{"Basic " + base64.StdEncoding.EncodeToString([]byte(user+":"+text))},
				})
				t, want := j.model.authenticates(at, key, user, text, method)
				if d.Reason != want || d.Verdict == Allow && (d.User != user || d.APIToken != APITokenName{t.Namespace, t.Name, t.UID}) {
					j.Fatalf("%s: %s %s at %s: %+v, want %s of %+v", when, method, user, at, d, want, t)
				}
				j.seen[want]++
			}
		}
	}
	complete := 0
	for uid, r := range j.model.records {
		if t, ok := j.model.tokens[uid]; ok && agrees(&t, r) && r.Imported {
			complete++
		}
	}
	if got := j.index.imported.size(); got != complete {
		j.Fatalf("%s: %d imported tokens, want %d", when, got, complete)
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
		j.index.DeleteNamespace(at.Namespace)
		for _, user := range j.users {
			j.index.DeleteUpstreamCredential(at, user)
		}
	}
	ix := j.index
	if n := len(ix.tokens) + len(ix.records) + len(ix.byID) + len(ix.decoys) + len(ix.linked) + len(ix.sites) + len(ix.callerKeys) + len(ix.credentials) +
		len(ix.namespaces) + len(ix.imported); n != 0 {
		j.Errorf("%d things are left in the index", n)
	}
}
