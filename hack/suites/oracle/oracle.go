// Package oracle says what the answer to a gateway's question has to be. It is written from docs/reference, and shares no
// code with the product: it imports nothing but the standard library. Its tests ask the real handler millions of questions
// about worlds that change, and compare each answer.
package oracle

import (
	"fmt"
	"net/http"
	"slices"
	"strings"
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
