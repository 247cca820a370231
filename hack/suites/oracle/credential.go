package oracle

import (
	"slices"
	"strings"
	"time"
)

// identity is a token that verified, or that could have.
type identity struct {
	uid    string
	token  *apiToken
	record *tokenRecord
	secret *secret
}

// presented is the credential of a request.
type presented struct {
	kind           string
	user, password string
	// alone says that a token came without a user. class is the class of a foreign Authorization.
	alone bool
	class string
	// imported is the imported token whose secret the password is.
	imported *identity
}

// Kinds of credentials.
const (
	malformed = "malformed"
	foreign   = "foreign"
	misplaced = "misplaced"
	ours      = "ours"
)

// epoch is the later one of a site's own epoch and the one of its name.
func (w *world) epoch(at siteName, s *site) time.Time {
	if of := w.memories[at].IssuedAfter; of.After(s.IssuedAfter) {
		return of
	}
	return s.IssuedAfter
}

// credentialOf says what the Authorization headers present.
func credentialOf(values []string, bearer bool) presented {
	switch {
	case len(values) == 0:
		return presented{kind: foreign}
	case len(values) > 1:
		return presented{kind: malformed}
	}
	scheme, rest := strings.TrimLeft(values[0], " \t"), ""
	if i := strings.IndexAny(scheme, " \t"); i >= 0 {
		scheme, rest = scheme[:i], strings.TrimLeft(scheme[i:], " \t")
	}
	if lower(scheme) != "basic" {
		switch {
		case bearer && lower(scheme) == "bearer" && strings.HasPrefix(rest, "asp_"):
			return presented{kind: ours, password: rest, alone: true}
		case contained(scheme) || contained(rest):
			return presented{kind: misplaced}
		case scheme == "":
			return presented{kind: foreign}
		}
		return presented{kind: foreign, class: "bearer"}
	}
	decoded, ok := decodeBase64(rest)
	user, password, colon := strings.Cut(decoded, ":")
	switch {
	case !ok || !colon || len(rest) > 1024:
		return presented{kind: malformed}
	case strings.HasPrefix(password, "asp_"):
		return presented{kind: ours, user: user, password: password}
	case contained(user) || contained(password):
		return presented{kind: misplaced, user: user, password: password}
	}
	return presented{kind: foreign, class: "password", user: user, password: password}
}

// contained reports whether a text has asp_ in it where a credential can begin (token68, RFC 9110 section 11.2).
func contained(text string) bool {
	for i := range len(text) {
		if strings.HasPrefix(text[i:], "asp_") && (i == 0 || !isAlphanumeric(rune(text[i-1])) && !strings.ContainsRune("-._~+/", rune(text[i-1]))) {
			return true
		}
	}
	return false
}

// complete lists the tokens of this kind whose APIToken and record agree, and that are one in question.
func (w *world) complete(imported bool, one func(*tokenRecord) bool) (found []identity) {
	for uid, r := range w.records {
		if (r.credential == "Imported") != imported || !one(r) {
			continue
		}
		if t := w.apiTokens[uid]; t != nil && r.Deleted.IsZero() && agree(t, r) {
			found = append(found, identity{uid: uid, token: t, record: r})
		}
	}
	return found
}

// deleted lists the records of this kind whose APIToken was deleted, and that are one in question.
func (w *world) deleted(imported bool, one func(*tokenRecord) bool) (found []*tokenRecord) {
	for uid, r := range w.records {
		if (r.credential == "Imported") == imported && (w.apiTokens[uid] == nil || !r.Deleted.IsZero()) && one(r) {
			found = append(found, r)
		}
	}
	return found
}

// deadImports says what the log may get about a password that was an imported secret once. There is more than one line if
// it was that of several tokens, or several times that of one.
func (w *world) deadImports(at siteName, s *site, c presented) (lines []logged) {
	user := lower(c.user)
	ofUser := func(r *tokenRecord) bool { return r.site == at && r.user == user }
	compare := func(r *tokenRecord, secrets []secret, why string) {
		for _, of := range secrets {
			if of.text != c.password {
				continue
			}
			line := logged{reason: why, tokenID: r.tokenID, claimed: user}
			if of.Issued.Before(w.epoch(at, s)) {
				line.reason = "revoked_by_epoch"
			}
			lines = append(lines, line)
		}
	}
	for _, r := range w.deleted(true, ofUser) {
		compare(r, r.Secrets, "deleted")
		compare(r, r.Dead, "replaced")
	}
	for _, i := range w.complete(true, ofUser) {
		compare(i.record, i.record.Dead, "replaced")
	}
	return lines
}

// agree reports whether a record was written for an APIToken as it is now.
func agree(t *apiToken, r *tokenRecord) bool {
	return lower(t.user) == r.user && t.site == r.site && t.credential == r.credential && r.apiToken == siteName{t.namespace, t.name}
}

// importedBy lists the user's imported tokens at a site that have this secret.
func (w *world) importedBy(at siteName, c presented) []identity {
	user := lower(c.user)
	found := w.complete(true, func(r *tokenRecord) bool {
		return r.site == at && r.user == user && r.Secrets[0].text == c.password
	})
	for i := range found {
		found[i].secret = &found[i].record.Secrets[0]
	}
	return found
}

// verify returns the token that was presented, or why there is none. Nothing is returned of a token that is not known.
func (w *world) verify(at siteName, s *site, c presented) (i *identity, wrong string) {
	if c.imported != nil {
		return c.imported, ""
	}
	if !wellFormed(c.password) {
		return nil, "malformed_token"
	}
	hasID := func(r *tokenRecord) bool { return r.tokenID == c.password[:20] }
	found, gone := w.complete(false, hasID), w.deleted(false, hasID)
	switch {
	case len(found) == 1:
		i = &found[0]
	case len(found) == 0 && len(gone) == 1:
		i = &identity{record: gone[0]}
	}
	if i == nil || i.record.site != at {
		return nil, "unknown_token"
	}
	is := func(s secret) bool { return s.text == c.password }
	n, dead := slices.IndexFunc(i.record.Secrets, is), slices.IndexFunc(i.record.Dead, is)
	switch {
	case n < 0 && dead < 0:
		return nil, "wrong_secret"
	case !c.alone && lower(c.user) != i.record.user:
		return nil, "wrong_user"
	case dead >= 0 && i.record.Dead[dead].Issued.Before(w.epoch(at, s)), n >= 0 && i.token == nil && i.record.Secrets[n].Issued.Before(w.epoch(at, s)):
		return nil, "revoked_by_epoch"
	case dead >= 0:
		return nil, "replaced"
	case i.token == nil:
		return nil, "deleted"
	}
	i.secret = &i.record.Secrets[n]
	return i, ""
}

// validity returns why a secret does not authenticate now.
func (w *world) validity(at siteName, s *site, i *identity) string {
	t, of := i.token, i.secret
	closed := func(namespace string) bool {
		labels, known := w.namespaces[namespace]
		return namespace != at.namespace && (!known || s.from == "Same" || s.from == "Selector" && labels["team"] != s.team)
	}
	acts := ""
	if pat := w.credentials[owner{at, i.record.user}]; pat != nil {
		acts = pat.userKey
	}
	blocked := func(key string) bool { return key != "" && slices.Contains(s.blockedKeys, key) }
	switch {
	case slices.Contains(s.blockedNames, i.record.user), blocked(i.record.userKey), blocked(acts):
		return "user_blocked"
	case closed(t.namespace), t.parent != "" && closed(t.parent):
		return "namespace_not_allowed"
	case t.suspended:
		return "suspended"
	case of.Issued.Before(w.epoch(at, s)):
		return "revoked_by_epoch"
	}
	lives := func(days int32) bool { return days == 0 || w.now.Sub(of.Issued) < time.Duration(days)*24*time.Hour }
	days := t.lifetimeDays
	if days == 0 && t.Expiration.IsZero() {
		days = s.defaultDays
	}
	switch {
	case !lives(days) || !lives(s.maxDays) || !t.Expiration.IsZero() && !w.now.Before(t.Expiration):
		return "expired"
	case of.state == "Ending" && !w.now.Before(of.Ends):
		return "replaced"
	}
	return ""
}
