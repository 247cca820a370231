package oracle

import (
	"crypto/sha256"
	"fmt"
	"maps"
	"math/rand/v2"
	"slices"
	"strings"
	"time"
)

// dice make every choice of a life. 0 is the ordinary one.
type dice interface{ n(k int) int }

// random are the dice of a seed.
type random struct{ *rand.Rand }

func (r random) n(k int) int { return r.IntN(k) }

// written are dice that fell already: a byte or two for each. A missing byte is the ordinary choice.
type written struct{ bytes []byte }

func (w *written) n(k int) int {
	if len(w.bytes) == 0 {
		return 0
	}
	value := int(w.bytes[0])
	w.bytes = w.bytes[1:]
	if k > 256 && len(w.bytes) > 0 {
		value |= int(w.bytes[0]) << 8
		w.bytes = w.bytes[1:]
	}
	return value % k
}

func choose[T any](d dice, of []T) T { return of[d.n(len(of))] }

// rarely is true once in k times.
func rarely(d dice, k int) bool { return d.n(k) == k-1 }

// life is a world that changes, the core that is told of it, and who asks about it.
type life struct {
	dice
	world *world
	core  *core
	// weak says that there are secrets with slow hashes.
	weak bool
	// made counts tokens and Secrets: each is another.
	made int
	// certificates are those that gateways have.
	certificates []*certificate
	// known are secrets that somebody has, those that are gone too.
	known []known
}

// known is a secret and whose it was.
type known struct {
	text, user string
	site       siteName
}

var (
	epoch = time.Date(2026, 11, 26, 12, 0, 0, 0, time.UTC)

	siteNames  = []siteName{{"jira", "main"}, {"jira", "other"}, {"wiki", "main"}}
	namespaces = []string{"team-a", "team-b", "jira", "wiki"}
	users      = []string{"alice", "bob", "dörte@x", `corp\svc-build`, "carol"}
	uids       = []string{"uid-0", "uid-1", "uid-2", "uid-3", "uid-4", "uid-5", "uid-6", "uid-7", "uid-8", "uid-9", "uid-10", "uid-11"}

	upstreams = []string{"http://jira.jira.svc:8080", "http://jira.jira.svc:8080", "https://jira-2.jira.svc"}
	days      = []int32{0, 0, 365, 0, 30, 365, 1, 90}

	sources  = []string{"10.0.0.0/8", "10.1.0.0/16", "2001:db8::/32", "192.0.2.7/32", "10.1.2.0/24", "0.0.0.0/0", "::/0"}
	subpaths = []string{"/rest/api/2", "/rest/", "/rest/api/latest/search", "/rest/api/2/issue/", "/plugins/servlet/x", "/rest/api/2/user"}

	strongSecrets = []string{"MzQ1Njc4OTAxMjM0OlNYoT8cWQbQK7bcPbyQmKdM4vUe", "5f0aR3nVw9Xk2Lr7TqZpYc8HsJdM4vUeGbN6", "Kx7!mQ2#zW9$rT4%vB8&nY1*cF6(hJ3):p~/+?"}
	weakSecrets   = []string{"correct horse battery", "password-of-the-robot"}
)

// newLife begins with a world in which most things are as they should be.
func newLife(d dice, weak bool) *life {
	l := &life{dice: d, weak: weak, world: newWorld(epoch)}
	l.core = newCore(func() time.Time { return l.world.now })
	if l.world.licensesRequired = d.n(2) == 1; l.world.licensesRequired {
		l.core.index.RequireLicenses()
	}
	for _, name := range namespaces {
		l.putNamespace(name)
	}
	for _, name := range siteNames {
		l.putSite(name)
		l.putMemory(name)
		l.putCallerKeys(name)
		l.putAuthorities(name)
		l.putLicense(name)
		l.world.probeKeys[name] = "PROBEKEYOF" + strings.ToUpper(name.namespace+name.name) + strings.Repeat("2", 26)
		l.core.putProbeKey(name, l.world.probeKeys[name])
		for _, user := range users {
			l.putCredential(owner{name, user})
		}
	}
	for _, uid := range uids {
		l.issue(uid)
	}
	if weak {
		l.importWeak()
	}
	return l
}

// load ends the loading of what there is.
func (l *life) load() {
	l.world.ready = true
	l.core.index.SetReady()
}

func (l *life) putNamespace(name string) {
	labels := map[string]string{"team": string(name[len(name)-1])}
	if rarely(l, 4) {
		labels = nil
	}
	l.world.namespaces[name] = labels
	l.core.index.PutNamespace(name, labels)
}

func (l *life) putSite(name siteName) {
	s := &site{
		uid:         choose(l, []string{"uid-of-a-site", "uid-of-a-site", "uid-of-a-site", "uid-of-a-site", "uid-of-a-later-one"}),
		product:     choose(l, []string{"Jira", "Jira", "Jira", "Confluence"}),
		contextPath: choose(l, []string{"/jira", "", "/jira", "/a/b"}),
		tokenPaths:  choose(l, [][]string{{"/rest/"}, {"/rest/", "/plugins/servlet/x/"}, {"/"}, {"/rest/"}, {"/rest/api/"}, {"/", "/secure/"}}),
		upstream:    choose(l, upstreams),
		defaultDays: choose(l, days), maxDays: choose(l, []int32{0, 0, 365, 0, 90}),
		limits:      l.limits(8),
		from:        choose(l, []string{"All", "Selector", "Same"}),
		team:        choose(l, []string{"a", "b"}),
		trustedHops: choose(l, []int{0, 0, 1, 0, 2}),
		bearer:      choose(l, []bool{false, true, false}),
		header:      choose(l, []string{"", "", otherHeader, "", "X-Forwarded-User"}),
		callers:     choose(l, [][]string{nil, nil, nil, gatewayNames[:1], gatewayNames}),
	}
	if rarely(l, 2) {
		l.setOthers(s)
	}
	if rarely(l, 8) {
		s.IssuedAfter = l.moment()
	}
	l.block(s)
	l.world.sites[name] = s
	l.core.putSite(name, s)
}

// setOthers says what happens to requests without a token.
func (l *life) setOthers(s *site) {
	o := others{actions: map[string]string{}}
	for _, class := range []string{"password", "bearer", "session", "anonymous"} {
		o.actions[class] = choose(l, []string{"", "Forward", "Observe", "Refuse"})
	}
	o.exemptUsers = choose(l, [][]string{nil, {"alice"}, {"bob", "dave"}})
	o.exemptPaths = choose(l, [][]string{nil, {"/rest/api/2/"}, {"/browse", "/rest/agile"}})
	o.challengePaths = choose(l, [][]string{nil, {"/"}, {"/rest/api/2/search"}})
	s.others = o
}

// putMemory remembers the site of a name, or an earlier one.
func (l *life) putMemory(name siteName) {
	m := memory{uid: "uid-of-a-site", IssuedAfter: l.world.memories[name].IssuedAfter}
	if s := l.world.sites[name]; s != nil && !rarely(l, 12) {
		m.uid = s.uid
	}
	if rarely(l, 8) {
		m.IssuedAfter = l.moment()
	}
	l.world.memories[name] = m
	l.core.putMemory(name, m)
}

// block blocks some users, or none.
func (l *life) block(s *site) {
	s.blockedNames, s.blockedKeys = nil, nil
	switch l.n(10) {
	case 7:
		s.blockedNames = []string{"nobody", choose(l, users)}
	case 8:
		s.blockedKeys = []string{choose(l, users), "key-of-nobody"}
	case 9:
		s.blockedKeys = []string{keyOf(choose(l, users))}
	}
}

// keyOf is the user key of a user. Someone else may have the name later.
func keyOf(user string) string { return "key-of-" + user }

// someKey is mostly that of the user.
func (l *life) someKey(user string) string {
	if rarely(l, 24) {
		return "key-of-a-later-one"
	}
	return choose(l, []string{keyOf(user), "", keyOf(user)})
}

// limits narrow one time in so many.
func (l *life) limits(one int) (of limits) {
	of.readOnly = rarely(l, one)
	if rarely(l, one) {
		of.sources = l.some(sources)
	}
	if rarely(l, one) {
		of.paths = l.some(subpaths)
	}
	return of
}

func (l *life) some(of []string) []string {
	texts := []string{choose(l, of)}
	if rarely(l, 2) {
		texts = append(texts, choose(l, of))
	}
	return texts
}

// moment is one of the last year, or of the next days.
func (l *life) moment() time.Time {
	return l.world.now.Add(-time.Duration(l.n(250)) * 37 * time.Hour).Add(time.Duration(l.n(48)) * time.Hour)
}

func (l *life) putCallerKeys(name siteName) {
	l.made++
	keys := map[string][]string{"nginx": {fmt.Sprintf("KEY%dOF%s%s", l.made, name.namespace, name.name)}}
	if old := l.world.callerKeys[name]["nginx"]; rarely(l, 2) && len(old) > 0 {
		keys["nginx"] = append(keys["nginx"], old[0])
	}
	keys["other"] = []string{"KEYOFANOTHERCONTRACT"}
	l.world.callerKeys[name] = keys
	l.core.putCallerKeys(name, keys)
}

func (l *life) putCredential(of owner) {
	l.made++
	pat := &credential{authorization: fmt.Sprintf("Bearer pat-%d", l.made), upstream: upstreams[0], userKey: l.someKey(of.user)}
	if s := l.world.sites[of.site]; s != nil {
		pat.upstream = s.upstream
	}
	if rarely(l, 8) {
		pat.upstream = choose(l, upstreams)
	}
	l.world.credentials[of] = pat
	l.core.putCredential(of, pat)
}

func (l *life) putLicense(name siteName) {
	lic := &license{products: []string{"Jira", "Confluence"}, Expires: l.world.now.AddDate(0, 0, choose(l, []int{365, 10, 4000, 3}))}
	switch l.n(12) {
	case 8:
		lic.products = []string{"Confluence"}
	case 9:
		lic.Expires = l.moment()
	case 10, 11:
		lic = &license{invalid: choose(l, []string{"InvalidLicenseMissing", "InvalidLicenseMalformed", "InvalidLicenseWrongSignature"})}
	}
	l.world.licenses[name] = lic
	l.core.putLicense(name, lic)
}

// issue makes an APIToken and its record. Now and then they do not agree.
func (l *life) issue(uid string) {
	l.made++
	t := &apiToken{
		name: fmt.Sprintf("token-%d", l.made), user: choose(l, users), site: choose(l, siteNames),
		credential: choose(l, []string{"Generated", "Portal", "Generated", "Imported"}), limits: l.limits(6), suspended: rarely(l, 10),
	}
	if t.namespace = t.site.namespace; rarely(l, 3) {
		t.namespace = choose(l, namespaces)
	}
	if rarely(l, 6) {
		t.parent = choose(l, namespaces)
	}
	if rarely(l, 2) {
		t.user = strings.ToUpper(t.user[:1]) + t.user[1:]
	}
	l.setLifetime(t)
	l.putToken(uid, t)
	l.putRecord(uid, l.recordOf(t))
}

func (l *life) setLifetime(t *apiToken) {
	t.lifetimeDays, t.Expiration = choose(l, days), time.Time{}
	if rarely(l, 6) {
		t.lifetimeDays, t.Expiration = 0, l.moment().AddDate(0, 2, 0)
	}
}

func (l *life) putToken(uid string, t *apiToken) {
	l.world.apiTokens[uid] = t
	l.core.putToken(uid, t)
}

func (l *life) putRecord(uid string, r *tokenRecord) {
	for _, s := range slices.Concat(r.Secrets, r.Dead) {
		if s.weak {
			continue // asked for on purpose only: slow hashes are few
		}
		if l.known = append(l.known, known{s.text, r.user, r.site}); len(l.known) > 40 {
			l.known = slices.Clone(l.known[20:])
		}
	}
	l.world.records[uid] = r
	if err := l.core.putRecord(uid, r); err != nil {
		panic(fmt.Sprintf("%+v: %v", r, err))
	}
}

// valid reports whether the newest secret of an APIToken authenticates.
func (l *life) valid(uid string) bool {
	t, r := l.world.apiTokens[uid], l.world.records[uid]
	if t == nil || r == nil || !r.Deleted.IsZero() || !agree(t, r) || l.world.sites[t.site] == nil {
		return false
	}
	newest := &r.Secrets[len(r.Secrets)-1]
	return l.world.validity(t.site, l.world.sites[t.site], &identity{uid, t, r, newest}) == ""
}

// recordOf is the record of an APIToken, with one to four secrets.
func (l *life) recordOf(t *apiToken) *tokenRecord {
	r := &tokenRecord{
		tokenID: l.newID(), user: lower(t.user), credential: t.credential, site: t.site, apiToken: siteName{t.namespace, t.name},
		userKey: l.someKey(lower(t.user)),
	}
	if t.credential == "Imported" {
		r.Secrets = []secret{{text: choose(l, strongSecrets), state: "Delivered", Issued: l.issued()}}
	} else {
		l.addSecret(r)
	}
	for t.credential != "Imported" && len(r.Secrets) < 4 && rarely(l, 3) {
		l.addSecret(r)
	}
	for rarely(l, 3) && len(r.Dead) < 8 {
		text := l.newSecret(r.tokenID)
		if t.credential == "Imported" {
			text = choose(l, strongSecrets)
		}
		issued := l.issued()
		r.Dead = append(r.Dead, secret{text: text, state: "Dead", Issued: issued, Ends: issued.Add(time.Hour)})
	}
	switch l.n(40) {
	case 33:
		r.Deleted = l.world.now
	case 34:
		r.user = choose(l, users)
	case 35:
		r.credential = choose(l, []string{"Generated", "Portal"})
	case 36:
		r.site = choose(l, siteNames)
	case 37:
		r.apiToken.name = "another"
	case 38:
		r.apiToken.namespace = choose(l, namespaces)
	case 39:
		if r.credential != "Imported" && len(l.world.records) > 0 {
			r.tokenID = l.world.records[choose(l, slices.Sorted(maps.Keys(l.world.records)))].tokenID
			l.renew(r)
		}
	}
	return r
}

// issued is a moment of the last year at which a secret was.
func (l *life) issued() time.Time {
	l.made++
	return l.world.now.Add(-time.Duration(choose(l, []int{1, 2, 20, 24, 100, 200, 29 * 24, 30 * 24, 89 * 24, 364 * 24})) * time.Hour).
		Add(time.Duration(l.made) * time.Nanosecond)
}

// addSecret rotates: the secret before ends, now or later.
func (l *life) addSecret(r *tokenRecord) {
	if n := len(r.Secrets); n > 0 {
		last := &r.Secrets[n-1]
		last.state, last.Ends = "Ending", l.world.now.Add(time.Duration(l.n(96)-30)*time.Hour)
	}
	state := choose(l, []string{"Delivered", "Delivered", "Candidate"})
	r.Secrets = append(r.Secrets, secret{text: l.newSecret(r.tokenID), state: state, Issued: l.issued()})
}

// renew replaces the texts of a record by others of its id.
func (l *life) renew(r *tokenRecord) {
	for _, secrets := range [][]secret{r.Secrets, r.Dead} {
		for i := range secrets {
			secrets[i].text = l.newSecret(r.tokenID)
		}
	}
}

func (l *life) newID() string { return "asp_" + l.digits(16) }

func (l *life) newSecret(id string) string {
	body := id + "_" + l.digits(40)
	return body + checksum(body)
}

// digits are other ones each time.
func (l *life) digits(n int) string {
	l.made++
	sum := sha256.Sum256(fmt.Append(nil, l.made))
	digits := make([]byte, n)
	for i := range digits {
		digits[i] = base62[(int(sum[i%32])+i/32*7)%62]
	}
	return string(digits)
}

// weakUser has imported secrets with slow hashes, and nobody else has.
const weakUser = "robot"

func (l *life) importWeak() {
	at := siteNames[0]
	l.putCredential(owner{at, weakUser})
	for i, text := range weakSecrets {
		uid := fmt.Sprintf("weak-%d", i)
		t := &apiToken{namespace: at.namespace, name: uid, user: weakUser, site: at, credential: "Imported", suspended: rarely(l, 4)}
		l.putToken(uid, t)
		l.putRecord(uid, &tokenRecord{
			tokenID: l.newID(), user: weakUser, credential: "Imported", site: at, apiToken: siteName{at.namespace, uid},
			Secrets: []secret{{text: text, weak: true, state: "Delivered", Issued: l.issued()}},
		})
	}
}
