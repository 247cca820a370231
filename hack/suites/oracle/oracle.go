// Package oracle says what the answer to a gateway's question has to be. It is written from docs/reference, and shares no
// code with the product: it imports nothing but the standard library. Its tests ask the real handler millions of questions
// about worlds that change, and compare each answer.
package oracle

import (
	"fmt"
	"hash/crc32"
	"net/http"
	"slices"
	"strings"
	"time"
)

// question is what a gateway asks, as it comes over the wire.
type question struct {
	uri    string
	header http.Header
	// certificate is what the gateway presents. Nil is none.
	certificate *certificate
}

// otherHeader is the name of a header that hands users over, if a site has one of its own.
const otherHeader = "X-Remote-User"

// absent stands for a header that an answer does not have.
const absent = "(absent)"

// answer is what the gateway gets, header by header, and what the log is told.
type answer struct {
	status                                                  int
	user, tokenID, authorization, target, reason, challenge string
	// identity is otherHeader.
	identity string
	log      logged
	// otherwise lists everything that the log may be told instead, if there is a choice.
	otherwise string
}

// is reports whether an answer is this right one.
func (a answer) is(right answer) bool {
	said, client := a.log, a.log.client
	said.client = ""
	if right.otherwise != "" && strings.Contains(right.otherwise, fmt.Sprint(said)) {
		a.log, a.otherwise = right.log, right.otherwise
		a.log.client = client
	}
	return a == right
}

// logged is what the log line says. The answer names the reason of a 403 alone.
type logged struct{ reason, user, claimed, tokenID, client, apiToken string }

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

// judge says what the answer to a question has to be. The order of its steps is that of docs/reference/requests.md.
func (w *world) judge(q question) answer {
	at, s, target, wrong := w.caller(q)
	if wrong != "" {
		return refusal(503, wrong, "")
	}
	client := clientOf(q.header, s.trustedHops)
	a := w.judgeAsked(q, at, s, target, client)
	if client != nil {
		a.log.client = client.String()
	}
	return a
}

func (w *world) judgeAsked(q question, at siteName, s *site, target string, client clientAddress) answer {
	authorization := q.header["Authorization"]
	_, query, _ := strings.Cut(target, "?")
	c := credentialOf(authorization, s.bearer)
	switch {
	case c.kind == malformed:
		return refusal(401, "malformed_credential", idIn(authorization...))
	case c.kind == misplaced:
		return refusal(401, "scheme_not_accepted", idIn(append([]string{c.user, c.password}, authorization...)...))
	case c.kind == foreign && containsToken(query):
		return refusal(403, "CredentialParameter", idIn(query))
	case c.kind == ours:
		return w.judgeToken(q, at, s, target, client, c)
	}
	switch imported := w.importedBy(at, c); len(imported) {
	case 0:
		return judgeOther(q, s, target, c, w.deadImports(at, s, c))
	case 1:
		c.imported = &imported[0]
		return w.judgeToken(q, at, s, target, client, c)
	default:
		return refusal(401, "ambiguous_token", "")
	}
}

// judgeToken judges a request with a credential of ours.
func (w *world) judgeToken(q question, at siteName, s *site, target string, client clientAddress, c presented) answer {
	rawPath, _, _ := strings.Cut(target, "?")
	if strings.HasPrefix(c.password, probePrefix) {
		return w.judgeProbe(at, c.password, rawPath)
	}
	id := idIn(c.password)
	if c.imported != nil {
		id = c.imported.record.tokenID
	}
	path, special, wrong := judgePath(s, rawPath)
	if wrong != "" {
		return refusal(401, wrong, id)
	}
	i, wrong := w.verify(at, s, c)
	if wrong == "" {
		wrong = w.validity(at, s, i)
	}
	switch {
	case wrong != "":
		a := refusal(401, wrong, id)
		if wrong == "wrong_user" {
			a.log.claimed = c.user
		}
		return a
	case special:
		return forbidden(i, "PathCharacterNotAllowed")
	}
	return w.authorize(q, at, s, i, target, path[len(s.contextPath):], client)
}

// caller finds out which site is asked for, about which target of a client, or why nobody is answered.
func (w *world) caller(q question) (at siteName, s *site, target, wrong string) {
	url, _, _ := strings.Cut(q.uri, "?")
	parts := strings.Split(url, "/")
	if len(parts) != 5 || parts[0] != "" || parts[1] != "nginx" || parts[2] == "" || parts[3] == "" || parts[4] == "" {
		return at, nil, "", "unknown_contract"
	}
	original := q.header["X-Original-Url"]
	if len(original) != 1 {
		return at, nil, "", "unknown_contract"
	}
	_, rest, isURL := strings.Cut(original[0], "://")
	slash := strings.Index(rest, "/")
	if !isURL || slash < 0 || strings.ContainsFunc(rest[:slash], func(c rune) bool { return !isAlphanumeric(c) && !strings.ContainsRune(".-_:[]", c) }) {
		return at, nil, "", "unknown_contract"
	}
	at = siteName{parts[3], parts[4]}
	switch s = w.sites[at]; {
	case !w.ready:
		return at, nil, "", "not_ready"
	case s == nil:
		return at, nil, "", "unknown_site"
	case s.callers != nil && w.refusesCertificate(at, s, q.certificate) != "":
		return at, nil, "", w.refusesCertificate(at, s, q.certificate)
	case s.callers == nil && !slices.Contains(w.callerKeys[at]["nginx"], parts[2]):
		return at, nil, "", "caller_key_mismatch"
	case w.memories[at].uid != s.uid:
		return at, nil, "", "site_not_remembered"
	}
	return at, s, rest[slash:], ""
}

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

// idIn returns the id of the first text in the first of some texts that has the shape of a token, in any percent-encoding.
func idIn(texts ...string) string {
	for _, text := range texts {
		found := tokenShape.FindString(text)
		for strings.Contains(found, "%25") {
			found = strings.ReplaceAll(found, "%25", "%")
		}
		if found != "" {
			return decodePercent(found)[:20]
		}
	}
	return ""
}

// wellFormed reports whether a text has the form of a token: asp_, 16 digits, an underscore, 40 digits, and the checksum.
func wellFormed(text string) bool {
	if len(text) != 67 || text[:4] != "asp_" || text[20] != '_' {
		return false
	}
	for i, c := range text {
		if i >= 4 && i != 20 && !isAlphanumeric(c) {
			return false
		}
	}
	return checksum(text[:61]) == text[61:]
}

const base62 = "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz"

// checksum is the CRC-32 of a text in six digits.
func checksum(text string) string {
	sum := crc32.ChecksumIEEE([]byte(text))
	var digits [6]byte
	for i := range digits {
		digits[len(digits)-1-i] = base62[sum%62]
		sum /= 62
	}
	return string(digits[:])
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

// authorize says what a verified token may do.
func (w *world) authorize(q question, at siteName, s *site, i *identity, target, below string, client clientAddress) answer {
	_, query, _ := strings.Cut(target, "?")
	reason := ""
	pat := w.credentials[owner{at, i.record.user}]
	switch {
	case isCredentialPath(below):
		reason = "CredentialPath"
	case namesSeraphParameter(query), containsToken(query):
		reason = "CredentialParameter"
	default:
		for _, narrows := range []string{
			w.licenseLacks(at, s), narrowed(&s.limits, q, below, client), narrowed(&i.token.limits, q, below, client), lacks(s, i, pat),
		} {
			if reason == "" {
				reason = narrows
			}
		}
	}
	if reason != "" {
		return forbidden(i, reason)
	}
	a := answer{
		status: 200, user: i.record.user, tokenID: i.record.tokenID,
		target: targetOf(target), reason: absent, challenge: absent, identity: absent,
		log: logged{
			reason: "authenticated", user: i.record.user, tokenID: i.record.tokenID,
			apiToken: i.token.namespace + "/" + i.token.name + "/" + i.uid,
		},
	}
	switch s.header {
	case "":
		a.authorization = pat.authorization
	case otherHeader:
		a.identity = i.record.user
	}
	return a
}

// lacks returns why there is nothing that the user could act with at the product.
func lacks(s *site, i *identity, pat *credential) string {
	switch {
	case s.header == "" && (pat == nil || i.record.userKey == "" && pat.userKey != ""):
		return "UpstreamCredentialMissing"
	case pat != nil && i.record.userKey != "" && pat.userKey != "" && pat.userKey != i.record.userKey:
		return "OwnerChanged"
	case s.header == "" && pat.upstream != s.upstream:
		return "UpstreamChanged"
	case s.header != "" && !fitsHeader(i.record.user):
		return "IdentityNotRepresentable"
	}
	return ""
}

func (w *world) licenseLacks(at siteName, s *site) string {
	l := w.licenses[at]
	switch {
	case !w.licensesRequired:
		return ""
	case l == nil:
		return "InvalidLicenseMissing"
	case l.invalid != "":
		return l.invalid
	case !slices.Contains(l.products, s.product):
		return "InvalidLicenseWrongProduct"
	case !w.now.Before(l.Expires):
		return "InvalidLicenseExpired"
	}
	return ""
}

// narrowed returns which limit a request is beyond.
func narrowed(l *limits, q question, below string, client clientAddress) string {
	method := only(q.header["X-Original-Method"])
	switch {
	case l.sources != nil && !slices.ContainsFunc(l.sources, client.isIn):
		return "SourceNotAllowed"
	case l.readOnly && method != "GET" && method != "HEAD" && method != "OPTIONS":
		return "ReadOnly"
	case !isBelow(below, l.paths):
		return "PathNotAllowed"
	}
	return ""
}

func forward(authorization []string, target string) answer {
	return answer{
		status: 200, authorization: only(authorization), target: target, reason: absent, challenge: absent, identity: absent, log: logged{reason: "no_token"},
	}
}

// forbidden is the answer about a token that verified.
func forbidden(i *identity, reason string) answer {
	a := refusal(403, reason, i.record.tokenID)
	a.log.user = i.record.user
	return a
}

func refusal(status int, reason, tokenID string) answer {
	a := answer{
		status: status, user: absent, tokenID: absent, authorization: absent, target: absent, reason: absent, challenge: absent, identity: absent,
		log: logged{reason: reason, tokenID: tokenID},
	}
	switch status {
	case 401:
		a.challenge = `Basic realm="API token", charset="UTF-8"`
	case 403:
		a.reason = reason
	}
	return a
}

func only(values []string) string {
	if len(values) != 1 {
		return ""
	}
	return values[0]
}

func isAlphanumeric(c rune) bool {
	return '0' <= c && c <= '9' || 'A' <= c && c <= 'Z' || 'a' <= c && c <= 'z'
}

// lower folds ASCII.
func lower(text string) string {
	folded := []byte(text)
	for i, c := range folded {
		if 'A' <= c && c <= 'Z' {
			folded[i] = c + 'a' - 'A'
		}
	}
	return string(folded)
}

const base64Digits = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/"

// decodeBase64 reads RFC 4648 section 4: padded, and the bits that are left over are zero.
func decodeBase64(text string) (string, bool) {
	digits := strings.TrimRight(text, "=")
	padding := len(text) - len(digits)
	if len(text)%4 != 0 || padding > 2 {
		return "", false
	}
	decoded := make([]byte, 0, len(text))
	bits, n := 0, 0
	for i := range len(digits) {
		digit := strings.IndexByte(base64Digits, digits[i])
		if digit < 0 {
			return "", false
		}
		bits, n = bits<<6|digit, n+6
		if n >= 8 {
			n -= 8
			decoded = append(decoded, byte(bits>>n))
			bits &= 1<<n - 1
		}
	}
	return string(decoded), bits == 0
}

// isBelow reports whether a path is one of these or below one. Nil means any.
func isBelow(path string, of []string) bool {
	return of == nil || slices.ContainsFunc(of, func(p string) bool { return strings.HasPrefix(path+"/", strings.TrimSuffix(p, "/")+"/") })
}
