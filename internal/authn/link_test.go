package authn

import (
	"encoding/base64"
	"fmt"
	"math/rand/v2"
	"slices"
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
	memories   map[SiteName]Memory
	grants     map[siteUser]UpstreamCredential
}

// lives reports whether a record belongs to an APIToken, and authenticates with it.
func (m *model) lives(uid string) bool {
	r, t := m.records[uid], m.tokens[uid]
	return t.UID != "" && r.Dead.IsZero() && r.User == t.User && r.Imported == t.Imported && r.Site == record.Ref(t.Site) &&
		r.APIToken == record.Ref{Namespace: t.Namespace, Name: t.Name}
}

// isDead reports whether a record is that of a deleted APIToken.
func (m *model) isDead(uid string) bool {
	return m.tokens[uid].UID == "" || !m.records[uid].Dead.IsZero()
}

// meant returns the one complete APIToken that user and text mean at a site, or the possible reasons why there is none. There
// are several if a text is more than one dead imported secret.
func (m *model) meant(at SiteName, user, text string) (Token, []Reason) {
	if !strings.HasPrefix(text, token.Prefix) {
		return m.meantImported(at, user, text)
	}
	var living, dead []string
	for uid, r := range m.records {
		switch {
		case r.Imported || r.TokenID != text[:token.IDLength]:
		case m.lives(uid):
			living = append(living, uid)
		case m.isDead(uid):
			dead = append(dead, uid)
		}
	}
	switch {
	case len(living) == 0 && len(dead) == 1:
		return Token{}, []Reason{m.refused(at, dead[0], user, text)}
	case len(living) != 1:
		return Token{}, []Reason{ReasonUnknownToken}
	}
	if reason := m.refused(at, living[0], user, text); reason != "" {
		return Token{}, []Reason{reason}
	}
	return m.tokens[living[0]], nil
}

// refused returns why a text is not a secret of a generated token, or "".
func (m *model) refused(at SiteName, uid, user, text string) Reason {
	r := m.records[uid]
	switch live, dead := r.Verify([]byte(text)) >= 0, r.VerifyDead([]byte(text)) >= 0; {
	case r.Site != record.Ref(at):
		return ReasonUnknownToken
	case !live && !dead:
		return ReasonWrongSecret
	case r.User != user:
		return ReasonWrongUser
	case !live:
		return ReasonReplaced
	case m.isDead(uid):
		return ReasonDeleted
	}
	return ""
}

// meantImported is meant for an imported secret.
func (m *model) meantImported(at SiteName, user, text string) (Token, []Reason) {
	var living []string
	var reasons []Reason
	for uid, r := range m.records {
		lives, dead := m.lives(uid), m.isDead(uid)
		if !r.Imported || r.Site != record.Ref(at) || r.User != user || !lives && !dead {
			continue
		}
		switch is := r.Verify([]byte(text)) == 0; {
		case is && lives:
			living = append(living, uid)
		case is:
			reasons = append(reasons, ReasonDeleted)
		}
		if r.VerifyDead([]byte(text)) >= 0 {
			reasons = append(reasons, ReasonReplaced)
		}
	}
	switch {
	case len(living) > 1:
		return Token{}, []Reason{ReasonAmbiguousToken}
	case len(living) == 1:
		return m.tokens[living[0]], nil
	case reasons == nil:
		return Token{}, []Reason{ReasonNoToken}
	}
	return Token{}, reasons
}

// authenticates returns the possible outcomes for user and text at a site with this caller key, and the APIToken.
func (m *model) authenticates(at SiteName, key, user, text, method string) (Token, []Reason) {
	site, ok := m.sites[at]
	switch {
	case !ok:
		return Token{}, []Reason{ReasonUnknownSite}
	case key == "" || m.keys[at] != key:
		return Token{}, []Reason{ReasonCallerKeyMismatch}
	case m.memories[at].UID != site.UID:
		return Token{}, []Reason{ReasonSiteNotRemembered}
	}
	t, reasons := m.meant(at, user, text)
	if reasons != nil {
		return Token{}, reasons
	}
	return t, []Reason{m.judge(at, site, t, user, method)}
}

func (m *model) judge(at SiteName, site Site, t Token, user, method string) Reason {
	allows := func(namespace string) bool {
		labels, seen := m.namespaces[namespace]
		return namespace == at.Namespace || seen && site.AllowsNamespace != nil && labels["tokens"] == "yes"
	}
	belongs := m.records[t.UID].UserKey
	switch grant, ok := m.grants[siteUser{at, user}]; {
	case slices.Contains(site.BlockedNames, user), slices.ContainsFunc(site.BlockedKeys, func(key string) bool { return key == belongs || key == grant.UserKey }):
		return ReasonUserBlocked
	case !allows(t.Namespace), t.ParentNamespace != "" && !allows(t.ParentNamespace):
		return ReasonNamespaceNotAllowed
	case t.Suspended:
		return ReasonSuspended
	case (site.Limits.ReadOnly || t.Limits.ReadOnly) && method != "GET":
		return ReasonReadOnly
	case !ok, belongs == "" && grant.UserKey != "":
		return ReasonUpstreamCredentialMissing
	case belongs != "" && grant.UserKey != "" && belongs != grant.UserKey:
		return ReasonOwnerChanged
	case grant.Origin != site.Origin:
		return ReasonUpstreamChanged
	}
	return ReasonAuthenticated
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
				namespaces: map[string]map[string]string{}, keys: map[SiteName]string{}, memories: map[SiteName]Memory{}, grants: map[siteUser]UpstreamCredential{},
			},
		}
		j.index.SetReady()
		for _, at := range j.sites {
			j.model.memories[at] = Memory{UID: siteUIDs[0]}
			j.index.PutMemory(at, j.model.memories[at])
		}
		for step := range 500 {
			j.event()
			j.check(fmt.Sprintf("seed %d, step %d", seed, step))
		}
		j.empty()
	}
	for _, reason := range []Reason{
		ReasonUnknownSite, ReasonCallerKeyMismatch, ReasonNoToken, ReasonAmbiguousToken, ReasonUnknownToken, ReasonWrongSecret, ReasonWrongUser,
		ReasonNamespaceNotAllowed, ReasonSuspended, ReasonReadOnly, ReasonUpstreamCredentialMissing, ReasonUpstreamChanged, ReasonAuthenticated,
		ReasonSiteNotRemembered, ReasonUserBlocked, ReasonDeleted, ReasonReplaced, ReasonOwnerChanged,
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
	switch r.IntN(9) {
	case 8:
		v := Memory{UID: pick(r, siteUIDs)}
		put(gone && r.IntN(4) == 0, j.model.memories, at, v, func() { j.index.PutMemory(at, v) }, func() { j.index.DeleteMemory(at) })
	case 0, 1:
		v := Token{
			UID: uid, Namespace: pick(r, j.namespaces), Name: pick(r, j.names), User: user, Site: at, Imported: r.IntN(2) == 0,
			ParentNamespace: pick(r, []string{"", "", "", "ci"}), Suspended: r.IntN(8) == 0, Limits: Limits{ReadOnly: r.IntN(4) == 0},
		}
		put(gone, j.model.tokens, uid, v, func() { j.index.PutToken(v) }, func() { j.index.DeleteToken(uid) })
	case 2, 3:
		v := j.record(uid, user, at)
		put(gone, j.model.records, uid, v, func() { j.index.PutRecord(uid, v) }, func() { j.index.DeleteRecord(uid) })
	case 4:
		v := Site{Name: at, UID: pick(r, siteUIDs), TokenPaths: []string{"/rest/"}, Origin: pick(r, j.origins), Limits: Limits{ReadOnly: r.IntN(4) == 0}}
		if r.IntN(4) == 0 {
			v.BlockedNames, v.BlockedKeys = []string{pick(r, []string{"alice", "carol"})}, []string{pick(r, []string{"k1", "k3"})}
		}
		if r.IntN(3) > 0 {
			v.AllowsNamespace = func(labels map[string]string) bool { return labels["tokens"] == "yes" }
		}
		put(gone, j.model.sites, at, v, func() { j.index.PutSite(v) }, func() { j.index.DeleteSite(at) })
	case 5:
		v := pick(r, j.keys)
		keys := map[authurl.Contract][]string{authurl.Nginx: {v}}
		put(gone, j.model.keys, at, v, func() { j.index.PutCallerKeys(at, keys, nil) }, func() { j.index.DeleteCallerKeys(at) })
	case 6:
		v := UpstreamCredential{
			Site: at, User: user, UserKey: pick(r, userKeys), Authorization: fmt.Sprint("Bearer ", user, at, r.Uint32()), Origin: pick(r, j.origins),
		}
		put(gone, j.model.grants, siteUser{at, user}, v, func() { j.index.PutUpstreamCredential(v) }, func() { j.index.DeleteUpstreamCredential(at, user) })
	case 7:
		namespace, v := pick(r, j.namespaces), map[string]string{"tokens": pick(r, []string{"yes", "yes", "no"})}
		put(gone, j.model.namespaces, namespace, v, func() { j.index.PutNamespace(namespace, v) }, func() { j.index.DeleteNamespace(namespace) })
	}
}

// siteUIDs are UIDs of sites, most of them the same.
var siteUIDs = []string{"s1", "s1", "s1", "s1", "s1", "s1", "s1", "s2"}

// userKeys are the keys of users. One of them is not known.
var userKeys = []string{"", "k1", "k2", "k2"}

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
		UserKey: pick(r, userKeys),
		Entries: []record.Entry{{Hash: j.hash(text), State: record.Delivered, Issued: time.Unix(1, 0)}},
	}
	// Another token has the id of an imported one too, so none of them counts.
	if v.TokenID = j.texts[len(j.texts)-1][:token.IDLength]; !of.Imported {
		v.TokenID, v.DeliverySecret = text[:token.IDLength], "x"
	}
	if r.IntN(6) == 0 {
		v.Kill(time.Unix(2, 0))
	}
	if other := pick(r, j.texts); r.IntN(2) == 0 && other != text && strings.HasPrefix(other, token.Prefix) != of.Imported {
		v.DeadEntries = []record.Entry{{Hash: j.hash(other), State: record.Dead, Issued: time.Unix(1, 0), Ends: time.Unix(2, 0)}}
	}
	return v
}

func (j *joining) hash(text string) record.Hash {
	create := record.NewImportedHash
	if strings.HasPrefix(text, token.Prefix) {
		create = record.NewHash
	}
	hash, err := create(text, j.random)
	if err != nil {
		j.Fatal(err)
	}
	return hash
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
				acts := j.model.grants[siteUser{at, user}].Authorization
				if !slices.Contains(want, d.Reason) || d.Verdict == Allow && (d.User != user || d.Authorization != acts || d.APIToken != APITokenName{t.Namespace, t.Name, t.UID}) {
					j.Fatalf("%s: %s %s at %s: %+v, want %s of %+v", when, method, user, at, d, want, t)
				}
				if !strings.HasPrefix(text, token.Prefix) && (d.Reason == ReasonDeleted || d.Reason == ReasonReplaced) && d.Verdict != Forward {
					j.Fatalf("%s: a dead imported secret of %s: %+v", when, user, d)
				}
				j.seen[d.Reason]++
			}
		}
	}
	complete := 0
	for uid := range j.model.records {
		if j.model.lives(uid) {
			complete++
		}
	}
	if got := j.index.Size(); got != complete {
		j.Fatalf("%s: %d tokens, want %d", when, got, complete)
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
		j.index.DeleteMemory(at)
		j.index.DeleteCallerKeys(at)
		j.index.DeleteNamespace(at.Namespace)
		for _, user := range j.users {
			j.index.DeleteUpstreamCredential(at, user)
		}
	}
	ix := j.index
	if n := ix.living + len(ix.loose) + ix.entries.byID.used + len(ix.entries.byUID) + len(ix.entries.duplicates) + int(ix.entries.generated.size) + len(ix.entries.generated.pieces) + ix.entries.generated.used + len(ix.entries.imported) + len(ix.sites) + len(ix.callerKeys) + len(ix.grants) +
		len(ix.namespaces) + len(ix.imported) + len(ix.memories) + len(ix.deadImported); n != 0 {
		j.Errorf("%d things are left in the index", n)
	}
}
