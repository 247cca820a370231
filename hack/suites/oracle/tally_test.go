package oracle

import (
	"cmp"
	"fmt"
	"maps"
	"slices"
	"strings"
	"testing"
	"time"
)

// floors are how often each answer has to be reached in 100,000 questions: about a quarter of how often it is. There are no
// others but 503 for being busy, which needs a crowd.
var floors = map[class]int{
	{200, "authenticated"}: 5000, {200, "no_token"}: 1300,

	{200, "password_observed"}: 300, {200, "bearer_observed"}: 30, {200, "session_observed"}: 20, {200, "anonymous_observed"}: 90,
	{403, "PasswordRefused"}: 170, {403, "BearerRefused"}: 30, {403, "SessionRefused"}: 35, {401, "anonymous_refused"}: 90, {401, "challenge"}: 130,
	{403, "IdentityNotRepresentable"}: 450, {allowed, "Bearer"}: 110, {allowed, "identity header"}: 1800,

	{401, "malformed_credential"}: 300, {401, "scheme_not_accepted"}: 400, {401, "ambiguous_path"}: 1300, {401, "path_not_accepted"}: 3000,
	{401, "malformed_token"}: 300, {401, "unknown_token"}: 1200, {401, "wrong_secret"}: 75, {401, "wrong_user"}: 450, {401, "ambiguous_token"}: 250,
	{401, "namespace_not_allowed"}: 350, {401, "suspended"}: 200, {401, "revoked_by_epoch"}: 50, {401, "expired"}: 500, {401, "replaced"}: 200,
	{401, "user_blocked"}: 70, {401, "deleted"}: 200, {200, "deleted"}: 80, {200, "replaced"}: 40, {200, "revoked_by_epoch"}: 3,

	{403, "PathCharacterNotAllowed"}: 400, {403, "CredentialPath"}: 250, {403, "CredentialParameter"}: 450, {403, "InvalidLicenseMissing"}: 800, {403, "InvalidLicenseMalformed"}: 250,
	{403, "InvalidLicenseWrongSignature"}: 100, {403, "InvalidLicenseWrongProduct"}: 250, {403, "InvalidLicenseExpired"}: 250, {403, "SourceNotAllowed"}: 1800,
	{403, "ReadOnly"}: 1100, {403, "PathNotAllowed"}: 1300, {403, "UpstreamCredentialMissing"}: 600, {403, "UpstreamChanged"}: 800,
	{403, "OwnerChanged"}: 350, {403, "Probe"}: 65, {401, "probe_refused"}: 60,

	{503, "not_ready"}: 75, {503, "unknown_contract"}: 250, {503, "unknown_site"}: 200, {503, "caller_key_mismatch"}: 400, {503, "site_not_remembered"}: 550,
	{503, "caller_authorities_missing"}: 150, {503, "caller_certificate_missing"}: 130, {503, "caller_certificate_untrusted"}: 90,
	{503, "caller_certificate_expired"}: 330, {503, "caller_certificate_usage"}: 25, {503, "caller_certificate_name"}: 30, {allowed, "client certificate"}: 1000,

	{allowed, "imported"}: 1400, {allowed, "slow hash"}: 1, {allowed, "Ending"}: 140, {allowed, "Candidate"}: 1000, {allowed, "Portal"}: 1300,
	{allowed, "escaped path"}: 350, {allowed, "source behind proxies"}: 120, {allowed, "other namespace"}: 550, {allowed, "previous caller key"}: 500,
	{allowed, "user in upper case"}: 240, {allowed, "read-only"}: 650, {allowed, "path below allowedPaths"}: 750, {allowed, "expires later"}: 3500,
}

// allowed is the status of those allowed requests that have something special.
const allowed = 0

// class is what questions are counted by: the status and the reason of their answer.
type class struct {
	status int
	reason string
}

// tally counts the questions of each class, and of those with a verified token also by method.
type tally struct {
	classes map[class]int
	methods map[class]map[string]int
}

func newTally() tally { return tally{map[class]int{}, map[class]map[string]int{}} }

func (c tally) add(w *world, q question, a answer) {
	of := class{a.status, a.log.reason}
	c.classes[of]++
	if a.log.user != "" {
		if c.methods[of] == nil {
			c.methods[of] = map[string]int{}
		}
		c.methods[of][only(q.header["X-Original-Method"])]++
	}
	if a.log.apiToken != "" {
		for _, special := range specialities(w, q, a) {
			c.classes[class{allowed, special}]++
		}
	}
}

// merge adds the counts of another one.
func (c tally) merge(other tally) {
	for of, n := range other.classes {
		c.classes[of] += n
	}
	for of, methods := range other.methods {
		if c.methods[of] == nil {
			c.methods[of] = map[string]int{}
		}
		for method, n := range methods {
			c.methods[of][method] += n
		}
	}
}

// specialities say what is special about a request that is allowed.
func specialities(w *world, q question, a answer) (list []string) {
	at, s, target, _ := w.caller(q)
	c := credentialOf(q.header["Authorization"], s.bearer)
	uid := a.log.apiToken[strings.LastIndexByte(a.log.apiToken, '/')+1:]
	t, r := w.apiTokens[uid], w.records[uid]
	of := r.Secrets[slices.IndexFunc(r.Secrets, func(s secret) bool { return s.text == c.password })]
	keys := w.callerKeys[at]["nginx"]
	path, _, _ := strings.Cut(target, "?")
	for special, is := range map[string]bool{
		"imported": t.credential == "Imported", "Portal": t.credential == "Portal", "slow hash": of.weak, of.state: of.state != "Delivered",
		"escaped path": strings.Contains(path, "%"), "source behind proxies": s.trustedHops > 0 && (s.limits.sources != nil || t.limits.sources != nil),
		"other namespace": t.namespace != at.namespace, "user in upper case": !c.alone && c.user != r.user, "Bearer": c.alone, "identity header": s.header != "", "client certificate": s.callers != nil, "read-only": s.limits.readOnly || t.limits.readOnly,
		"previous caller key": len(keys) > 1 && strings.HasPrefix(q.uri, "/nginx/"+keys[1]+"/"), "path below allowedPaths": t.limits.paths != nil || s.limits.paths != nil,
		"expires later": t.lifetimeDays > 0 || s.maxDays > 0 || !t.Expiration.IsZero(),
	} {
		if is {
			list = append(list, special)
		}
	}
	return list
}

// report prints how often each class was reached, and fails if one was too seldom.
func (c tally) report(t *testing.T, questions int, took time.Duration) {
	t.Helper()
	var lines strings.Builder
	byStatus := func(a, b class) int {
		return cmp.Or(cmp.Compare(a.status, b.status), strings.Compare(a.reason, b.reason))
	}
	for _, of := range slices.SortedFunc(maps.Keys(c.classes), byStatus) {
		fmt.Fprintf(&lines, "%10d  %s\n", c.classes[of], of)
		if floors[of] == 0 {
			t.Errorf("%s is not expected", of)
		}
	}
	for of, floor := range floors {
		if n, want := c.classes[of], floor*questions/100_000; n < want {
			t.Errorf("%s was reached %d times, want %d", of, n, want)
		}
		for _, method := range methods {
			n, want := c.methods[of][method], floor/16*questions/100_000
			changes := !slices.Contains([]string{"GET", "HEAD", "OPTIONS"}, method)
			verified := of.status == 403 && of.reason != "Probe" && !strings.HasSuffix(of.reason, "Refused") || of.reason == "authenticated"
			if verified && (of.reason != "ReadOnly" || changes) && n < want {
				t.Errorf("%s was reached %d times by %s, want %d", of, n, method, want)
			}
		}
	}
	t.Logf("%d questions in %.1f s: 0 wrongly accepted, 0 wrongly refused, 0 answered otherwise\n%s", questions, took.Seconds(), lines.String())
}

func (c class) String() string {
	if c.status == allowed {
		return "allowed: " + c.reason
	}
	return fmt.Sprintf("%d %s", c.status, c.reason)
}
