package audit_test

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"math/rand/v2"
	"net/url"
	"path"
	"regexp"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/testutil"

	"apitokens.dev/operator/internal/audit"
	"apitokens.dev/operator/internal/authn"
)

func exchange(d authn.Decision) *audit.Exchange {
	return &audit.Exchange{
		Site: authn.SiteName{Namespace: "jira", Name: "main"}, Decision: d, Peer: "10.0.0.1:4711", At: time.Now(), Took: time.Microsecond,
		Claimed: audit.Claimed{Client: "192.0.2.1", Method: "GET", Path: "/rest/api", RequestID: "r1"},
	}
}

func lines(t *testing.T, written string) (parsed []map[string]any) {
	t.Helper()
	for line := range strings.Lines(written) {
		var fields map[string]any
		if err := json.Unmarshal([]byte(line), &fields); err != nil {
			t.Fatalf("%q: %v", line, err)
		}
		parsed = append(parsed, fields)
	}
	return parsed
}

func TestAuthenticationLine(t *testing.T) {
	var out bytes.Buffer
	l := audit.NewLog(&out, prometheus.NewRegistry())
	l.Observe(exchange(authn.Decision{
		Verdict: authn.Allow, Reason: authn.ReasonAuthenticated, User: "alice", TokenID: "asp_DquJoZLwlsNJm6gU", Authorization: "Bearer pat",
	}))
	l.Close()
	got := lines(t, out.String())
	if len(got) != 1 {
		t.Fatalf("%d lines", len(got))
	}
	delete(got[0], "time")
	want := map[string]any{
		"level": "INFO", "msg": "alice has been authenticated via API Token (asp_DquJoZLwlsNJm6gU)",
		"verdict": "allow", "reason": "authenticated", "site": "jira/main", "user": "alice", "claimedUser": "", "tokenID": "asp_DquJoZLwlsNJm6gU",
		"client": "192.0.2.1", "method": "GET", "path": "/rest/api", "requestID": "r1", "peer": "10.0.0.1:4711",
	}
	if diff := cmp.Diff(want, got[0]); diff != "" {
		t.Error(diff)
	}
	if strings.Contains(out.String(), "pat\"") || strings.Contains(out.String(), "Bearer") {
		t.Error("the upstream credential is in the log")
	}
}

func TestHostileFields(t *testing.T) {
	var out bytes.Buffer
	l := audit.NewLog(&out, prometheus.NewRegistry())
	for _, hostile := range []string{
		"\r\n{\"msg\":\"forged\"}", "\x00\x1b[31m", "\u2028", strings.Repeat("x", 100_000), "\xff\xfe", `"}`,
		"/rest/asp_DquJoZLwlsNJm6gU_secret",
	} {
		x := exchange(authn.Decision{Verdict: authn.Unauthorized, Reason: authn.ReasonWrongUser, Claimed: hostile})
		x.Claimed = audit.Claimed{Client: hostile, Method: hostile, Path: hostile, RequestID: hostile}
		l.Observe(x)
	}
	l.Close()
	got := lines(t, out.String())
	if len(got) != 7 {
		t.Errorf("%d lines for 7 refusals", len(got))
	}
	for _, line := range got {
		if line["msg"] != "An API Token has been refused" {
			t.Errorf("message %q", line["msg"])
		}
	}
	if strings.Contains(out.String(), "secret") || out.Len() > 7*5000 {
		t.Errorf("wrote %d bytes, or a token", out.Len())
	}
}

// logged returns the path that is logged for a raw path.
func logged(t *testing.T, raw string) string {
	t.Helper()
	var out bytes.Buffer
	l := audit.NewLog(&out, prometheus.NewRegistry())
	x := exchange(authn.Decision{Verdict: authn.Allow, Reason: authn.ReasonAuthenticated, User: "alice"})
	x.Claimed.Path = raw
	l.Observe(x)
	l.Close()
	got := lines(t, out.String())
	if len(got) != 1 {
		t.Fatalf("%d lines for %q", len(got), raw)
	}
	path, _ := got[0]["path"].(string)
	return path
}

const tokenText = "asp_DquJoZLwlsNJm6gU_0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcd0HhnJ2"

// The canonical path is logged, and only the secrets of tokens are blanked: nobody can hide what they ask for.
func TestLoggedPath(t *testing.T) {
	for raw, want := range map[string]string{
		"/rest/api/2/search":                         "/rest/api/2/search",
		"/rest/;asp_/api/2/search":                   "/rest/api/2/search",
		"/rest/;" + tokenText + "/api":               "/rest/api",
		"/asp_net/asp_":                              "/asp_net/asp_",
		"/rest/" + tokenText + "/x":                  "/rest/asp_DquJoZLwlsNJm6gU_***/x",
		"/rest/%61" + tokenText[1:]:                  "/rest/asp_DquJoZLwlsNJm6gU_***",
		"/rest/%2561" + tokenText[1:]:                "/rest/asp_DquJoZLwlsNJm6gU_***",
		"/rest/" + tokenText + "DELETE":              "/rest/asp_DquJoZLwlsNJm6gU_***DELETE",
		"/a/" + tokenText + "/b/" + tokenText:        "/a/asp_DquJoZLwlsNJm6gU_***/b/asp_DquJoZLwlsNJm6gU_***",
		"/rest" + strings.Repeat("/.", 260) + "/api": "/rest/api",
		strings.Repeat("/x/..", 200) + "/rest/api":   "/rest/api",
		"/../../rest//%61pi/":                        "/rest/api/",
		"/rest/%2e%2e/%2E/secure":                    "/secure",
		"/rest/..;x/secure":                          "/secure",
		"/rest/a%2Fb%5cc%25d%3be%23f%00g%0ah%7fi":    "/rest/a%2Fb%5cc%25d%3be%23f%00g%0ah%7fi",
		"/rest/%E2%80%AEtxt%2Eexe/%61":               "/rest/%E2%80%AEtxt%2Eexe/a",
		"/rest/a%E2%80%8Bb/%C2%85":                   "/rest/a%E2%80%8Bb/%C2%85",
		"/rest/%ff/%fe":                              "/rest/%ff/%fe",
		"/rest/%C3%A4%20%zz%2":                       "/rest/\u00e4 %zz%2",
		"/rest/+1%+1":                                "/rest/+1%+1",
		"//":                                         "/",
		"/":                                          "/",
		"":                                           "",
		"rest/../x":                                  "rest/../x",
	} {
		if got := logged(t, raw); got != want {
			t.Errorf("%q is logged as %q, want %q", raw, got, want)
		}
	}
}

// A long path is cut in the middle, and the line says so. Both ends stay, and so does no half of a token.
func TestLongPathIsCutInTheMiddle(t *testing.T) {
	if exact := "/" + strings.Repeat("x", 511); logged(t, exact) != exact {
		t.Errorf("512 bytes are logged as %q", logged(t, exact))
	}
	raw := "/rest/api/2/issue/" + strings.Repeat("x/", 10_000) + "ABC-1"
	got := logged(t, raw)
	const cut = "…(19511 bytes cut)…"
	if before, after, ok := strings.Cut(got, cut); !ok || len(before) != 256 || len(after) != 256 || !strings.HasPrefix(raw, before) || !strings.HasSuffix(raw, after) {
		t.Errorf("%d bytes are logged as %q", len(raw), got)
	}
	for n := range 80 {
		raw := "/" + strings.Repeat("x", 200+n) + tokenText + strings.Repeat("x", 600)
		if got := logged(t, raw); strings.Contains(got, "0123") || !strings.Contains(got, "bytes cut") {
			t.Errorf("%q is logged as %q", raw, got)
		}
	}
}

// An independent model, made of the standard library's functions, agrees for every path that can be judged.
func TestLoggedPathIsTheJudgedOne(t *testing.T) {
	random := rand.New(rand.NewPCG(1, 2))
	pieces := []string{"/", "/rest", "/api", "//", "/a%20b", "/%C3%A4", "/x.y", "/...", "/%72est", "/;", "/..", "/.", "/b;c=d", "/%2e"}
	var out bytes.Buffer
	l := audit.NewLog(&out, prometheus.NewRegistry())
	raws := make([]string, 10_000)
	for i := range raws {
		raws[i] = "/"
		for range random.IntN(8) {
			raws[i] += pieces[random.IntN(len(pieces))]
		}
		x := exchange(authn.Decision{Verdict: authn.Allow, Reason: authn.ReasonAuthenticated, User: "alice"})
		x.Claimed.Path = raws[i]
		l.Observe(x)
	}
	l.Close()
	for i, line := range lines(t, out.String()) {
		plain, err := url.PathUnescape(regexp.MustCompile(`;[^/]*`).ReplaceAllString(raws[i], ""))
		if err != nil {
			t.Fatal(err)
		}
		want := path.Clean(plain)
		if want != "/" && strings.HasSuffix(raws[i], "/") {
			want += "/"
		}
		if line["path"] != want {
			t.Fatalf("%q is logged as %q, want %q", raws[i], line["path"], want)
		}
	}
}

// A query with a token is refused before anybody is known.
func TestForbiddenWithoutAUser(t *testing.T) {
	var out bytes.Buffer
	l := audit.NewLog(&out, prometheus.NewRegistry())
	l.Observe(exchange(authn.Decision{Verdict: authn.Forbidden, Reason: authn.ReasonCredentialParameter}))
	l.Observe(exchange(authn.Decision{Verdict: authn.Forbidden, Reason: authn.ReasonReadOnly, User: "alice", TokenID: "asp_x"}))
	l.Close()
	got := lines(t, out.String())
	if len(got) != 2 || got[0]["msg"] != "An API Token has been refused" || got[1]["msg"] != "alice has been refused with API Token (asp_x)" {
		t.Errorf("logged %s", out.String())
	}
}

func TestForwardedRequestsAreCountedNotLogged(t *testing.T) {
	var out bytes.Buffer
	registry := prometheus.NewRegistry()
	l := audit.NewLog(&out, registry)
	for range 3 {
		l.Observe(exchange(authn.Decision{Verdict: authn.Forward, Reason: authn.ReasonNoToken}))
	}
	l.Observe(exchange(authn.Decision{Verdict: authn.Unauthorized, Reason: authn.ReasonChallenge}))
	l.Close()
	if out.Len() != 0 {
		t.Errorf("logged %q", out.String())
	}
	want := `
# HELP apitoken_authentications_total Requests that gateways asked about, by site, outcome and reason.
# TYPE apitoken_authentications_total counter
apitoken_authentications_total{outcome="forward",reason="no_token",site="jira/main"} 3
apitoken_authentications_total{outcome="unauthorized",reason="challenge",site="jira/main"} 1
`
	if err := testutil.GatherAndCompare(registry, strings.NewReader(want), "apitoken_authentications_total"); err != nil {
		t.Error(err)
	}
}

// The user who was claimed is logged as text that can be seen, and a secret of a deleted imported token leaves a line.
func TestRefusedNamesAndDeadSecrets(t *testing.T) {
	var out bytes.Buffer
	l := audit.NewLog(&out, prometheus.NewRegistry())
	for _, claimed := range []string{"bob", "J\u00f6rg", "bob\u202e", "bob\xff", strings.Repeat("b", 600)} {
		l.Observe(exchange(authn.Decision{Verdict: authn.Unauthorized, Reason: authn.ReasonWrongUser, TokenID: "asp_x", Claimed: claimed}))
	}
	l.Observe(exchange(authn.Decision{Verdict: authn.Forward, Reason: authn.ReasonDeleted, TokenID: "asp_y", Claimed: "carol", Authorization: "Basic xyz"}))
	l.Close()
	got := lines(t, out.String())
	want := []string{"bob", "J\u00f6rg", `bob\u202e`, `bob\xff`, strings.Repeat("b", 256) + "…(88 bytes cut)…" + strings.Repeat("b", 256), "carol"}
	if len(got) != len(want) || strings.Contains(out.String(), "xyz") {
		t.Fatalf("logged %s", out.String())
	}
	for i, claimed := range want {
		if got[i]["claimedUser"] != claimed || got[i]["user"] != "" {
			t.Errorf("line %d has the user %q and claims %q, want %q", i, got[i]["user"], got[i]["claimedUser"], claimed)
		}
	}
	last := got[len(got)-1]
	if last["msg"] != "A dead imported secret has been forwarded as a password" || last["verdict"] != "forward" || last["reason"] != "deleted" || last["tokenID"] != "asp_y" {
		t.Errorf("the dead secret is logged as %v", last)
	}
}

// refusals returns the number of refusals that a log contains, in lines and in sums, and the number of its lines.
func refusals(t *testing.T, written string) (sum float64, n int) {
	t.Helper()
	for _, line := range lines(t, written) {
		n++
		if count, ok := line["count"].(float64); ok {
			sum += count
		} else {
			sum++
		}
	}
	return sum, n
}

// A flood fills neither the disk nor the metrics, and no refusal is lost, even while the disk hangs.
func TestFloodIsSummedUp(t *testing.T) {
	for name, out := range map[string]*slow{"": {}, "with a disk that hangs": {gate: make(chan struct{})}} {
		registry := prometheus.NewRegistry()
		l := audit.NewLog(out, registry)
		const senders, each = 8, 20_000
		var group sync.WaitGroup
		for i := range senders {
			group.Go(func() {
				for range each {
					l.Observe(exchange(authn.Decision{
						Verdict: authn.Unauthorized,
						Reason:  []authn.Reason{authn.ReasonUnknownToken, authn.ReasonMalformedToken}[i%2],
					}))
				}
			})
		}
		group.Wait()
		if out.gate != nil {
			close(out.gate)
		}
		l.Close()
		if sum, n := refusals(t, out.String()); sum != senders*each || n > 500 {
			t.Errorf("%s: %v refusals in %d lines, want %d", name, sum, n, senders*each)
		}
	}
}

// slow is a disk that hangs until somebody closes its gate.
type slow struct {
	bytes.Buffer

	gate chan struct{}
}

func (s *slow) Write(p []byte) (int, error) {
	if s.gate != nil {
		<-s.gate
	}
	return s.Buffer.Write(p)
}

// Lines about dead imported secrets are limited too, and their sum says what it counts.
func TestDeadSecretsAreSummedUp(t *testing.T) {
	var out bytes.Buffer
	l := audit.NewLog(&out, prometheus.NewRegistry())
	for range 500 {
		l.Observe(exchange(authn.Decision{Verdict: authn.Forward, Reason: authn.ReasonDeleted, Claimed: "alice"}))
	}
	l.Close()
	got := lines(t, out.String())
	last := got[len(got)-1]
	if sum, n := refusals(t, out.String()); sum != 500 || n > 50 || last["msg"] != "Further dead imported secrets have been forwarded as passwords" {
		t.Errorf("%v secrets in %d lines, the last is %v", sum, n, last)
	}
}

// Each class that a site observes or refuses is counted by site and reason. Its line has the user and the path, but no credential.
func TestOtherCredentials(t *testing.T) {
	for reason, tc := range map[authn.Reason]struct {
		verdict   authn.Verdict
		msg, more string
	}{
		authn.ReasonPasswordObserved:  {authn.Forward, "A password has been forwarded", "Further requests have been forwarded"},
		authn.ReasonPasswordRefused:   {authn.Forbidden, "A password has been refused", "Further requests have been refused"},
		authn.ReasonBearerObserved:    {authn.Forward, "A credential of the product has been forwarded", "Further requests have been forwarded"},
		authn.ReasonBearerRefused:     {authn.Forbidden, "A credential of the product has been refused", "Further requests have been refused"},
		authn.ReasonSessionObserved:   {authn.Forward, "A session has been forwarded", "Further requests have been forwarded"},
		authn.ReasonSessionRefused:    {authn.Forbidden, "A session has been refused", "Further requests have been refused"},
		authn.ReasonAnonymousObserved: {authn.Forward, "An anonymous request has been forwarded", "Further requests have been forwarded"},
		authn.ReasonAnonymousRefused:  {authn.Unauthorized, "An anonymous request has been refused", "Further requests have been refused"},
	} {
		var out bytes.Buffer
		registry := prometheus.NewRegistry()
		l := audit.NewLog(&out, registry)
		x := exchange(authn.Decision{Verdict: tc.verdict, Reason: reason, Claimed: "alice", Authorization: "Basic secret", Target: "/rest/x?os_password=secret"})
		x.Claimed.Path = "/rest/x"
		for range 500 {
			l.Observe(x)
		}
		l.Close()
		got := lines(t, out.String())
		first, last := got[0], got[len(got)-1]
		if first["msg"] != tc.msg || first["claimedUser"] != "alice" || first["path"] != "/rest/x" || first["user"] != "" || strings.Contains(out.String(), "secret") {
			t.Errorf("%s: the first line is %v", reason, first)
		}
		if sum, n := refusals(t, out.String()); sum != 500 || n > 50 || last["msg"] != tc.more {
			t.Errorf("%s: %v requests in %d lines, the last is %v", reason, sum, n, last)
		}
		want := fmt.Sprintf(`
# HELP apitoken_authentications_total Requests that gateways asked about, by site, outcome and reason.
# TYPE apitoken_authentications_total counter
apitoken_authentications_total{outcome=%q,reason=%q,site="jira/main"} 500
`, tc.verdict, reason)
		if err := testutil.GatherAndCompare(registry, strings.NewReader(want), "apitoken_authentications_total"); err != nil {
			t.Errorf("%s: %v", reason, err)
		}
	}
}

// A busy user does not hide a rare one, and any number of made-up users cannot fill the disk.
func TestEveryUserGetsALine(t *testing.T) {
	for _, users := range []int{50, 20_000} {
		begun := time.Now()
		var out bytes.Buffer
		l := audit.NewLog(&out, prometheus.NewRegistry())
		seen, sent := map[string]bool{}, 0
		for i := range users {
			for _, user := range []string{"busy", "busy", "busy", "rare-" + strconv.Itoa(i)} {
				l.Observe(exchange(authn.Decision{Verdict: authn.Forward, Reason: authn.ReasonPasswordObserved, Claimed: user}))
				sent++
			}
		}
		l.Close()
		for _, line := range lines(t, out.String()) {
			if name, ok := line["claimedUser"].(string); ok {
				seen[name] = true
			}
		}
		// Each second has its own users and lines, and a sum.
		most := 150 * (2 + int(time.Since(begun).Seconds()))
		sum, n := refusals(t, out.String())
		if sum != float64(sent) || n > most || users == 50 && len(seen) != 51 {
			t.Errorf("%d users: %v of %d requests in %d lines with %d names", users, sum, sent, n, len(seen))
		}
	}
}

// Anybody in the cluster can call with a wrong key and name any number of sites.
func TestUnknownCallersAreLimited(t *testing.T) {
	var out bytes.Buffer
	registry := prometheus.NewRegistry()
	l := audit.NewLog(&out, registry)
	for i := range 5000 {
		x := exchange(authn.Decision{Reason: authn.ReasonCallerKeyMismatch})
		x.Site.Name = strings.Repeat("x", i%100)
		l.Observe(x)
	}
	l.Close()
	if sum, n := refusals(t, out.String()); sum != 5000 || n > 50 {
		t.Errorf("%v refusals in %d lines", sum, n)
	}
	if n := testutil.CollectAndCount(registry, "apitoken_authentications_total"); n != 1 {
		t.Errorf("%d time series for one reason", n)
	}
}

func TestObserveNeverBlocksAndCountsLosses(t *testing.T) {
	out, registry := &slow{gate: make(chan struct{})}, prometheus.NewRegistry()
	l := audit.NewLog(out, registry)
	const n = 40_000
	for range n {
		l.Observe(exchange(authn.Decision{Verdict: authn.Allow, Reason: authn.ReasonAuthenticated}))
	}
	close(out.gate)
	l.Close()
	metrics, err := registry.Gather()
	if err != nil {
		t.Fatal(err)
	}
	_, written := refusals(t, out.String())
	for _, m := range metrics {
		if m.GetName() != "apitoken_audit_dropped_total" {
			continue
		}
		if lost := int(m.GetMetric()[0].GetCounter().GetValue()); lost == 0 || lost+written != n {
			t.Errorf("%d lines written and %d counted as lost, of %d", written, lost, n)
		}
	}
}

type failing struct{}

func (failing) Write([]byte) (int, error) { return 0, errors.New("disk full") }

func TestWriteErrorsAreCounted(t *testing.T) {
	registry := prometheus.NewRegistry()
	l := audit.NewLog(failing{}, registry)
	l.Observe(exchange(authn.Decision{Verdict: authn.Unauthorized, Reason: authn.ReasonUnknownToken}))
	l.Close()
	want := `
# HELP apitoken_audit_write_errors_total Failed writes of audit lines. Must stay 0.
# TYPE apitoken_audit_write_errors_total counter
apitoken_audit_write_errors_total 1
`
	if err := testutil.GatherAndCompare(registry, strings.NewReader(want), "apitoken_audit_write_errors_total"); err != nil {
		t.Error(err)
	}
}
