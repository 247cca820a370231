package door

import (
	"context"
	"crypto/x509"
	"errors"
	"net"
	"net/http"
	"net/url"
	"strings"
	"testing"

	tokensv1alpha1 "apitokens.dev/operator/api/v1alpha1"
	"apitokens.dev/operator/internal/authurl"
	"apitokens.dev/operator/internal/httpheader"
	"apitokens.dev/operator/internal/probe"
)

func status(code int, headers ...string) answer {
	h := http.Header{}
	for i := 0; i < len(headers); i += 2 {
		h.Add(headers[i], headers[i+1])
	}
	return answer{status: code, header: h}
}

// protected are the answers of a gateway without a fault.
func protected() answers {
	refused := status(401, "WWW-Authenticate", httpheader.Challenge)
	return answers{
		path: "/rest/x", anonymous: status(401), beside: status(404), madeUp: refused, early: refused, due: status(403), bound: status(403), late: status(403),
		claims: map[authurl.Contract]answer{authurl.Nginx: status(403), authurl.Forward: status(403), authurl.Fabric: status(403)},
	}
}

// all sets the answers with a token.
func (a *answers) all(to answer) { a.madeUp, a.early, a.due, a.bound, a.late = to, to, to, to, to }

// Each finding follows from the answers alone. The cases beside those of real gateways are here.
func TestJudge(t *testing.T) {
	site := Site{BaseURL: "https://jira.example.com", AuthURLSecret: "main-auth-urls", ProductAnswers: true, Key: probe.NewKey("jira", "main")}
	challenge := status(401, "WWW-Authenticate", httpheader.Challenge)
	for name, tc := range map[string]struct {
		change func(*answers)
		down   bool
		want   string
	}{
		"no fault":                     {func(*answers) {}, false, tokensv1alpha1.ReasonProtected},
		"the product is down":          {func(a *answers) { a.anonymous, a.beside = status(502), status(502) }, true, tokensv1alpha1.ReasonProtected},
		"anonymous users are served":   {func(a *answers) { a.anonymous = status(200) }, false, tokensv1alpha1.ReasonProtected},
		"the webhook's clock is ahead": {func(a *answers) { a.early = status(403) }, false, tokensv1alpha1.ReasonProtected},
		"a challenge more":             {func(a *answers) { a.madeUp.header.Add("WWW-Authenticate", "Negotiate") }, false, tokensv1alpha1.ReasonProtected},
		"served as a user":             {func(a *answers) { a.anonymous.user = "bob" }, false, tokensv1alpha1.ReasonOpenDoor},
		"served as a user beside":      {func(a *answers) { a.beside.user = "bob" }, false, tokensv1alpha1.ReasonOpenDoor},
		"a token is served as a user":  {func(a *answers) { a.all(status(200)); a.madeUp.user = "bob" }, false, tokensv1alpha1.ReasonOpenDoor},
		"a header names the user": {func(a *answers) {
			a.forged = []forgedAnswer{{answer{status: 401, namesMadeUp: true}, "X-Forwarded-User", "/", a.anonymous}}
		}, false, tokensv1alpha1.ReasonIdentityHeaderNotCleared},
		"a header opens": {func(a *answers) {
			a.forged = []forgedAnswer{{status(200), "X-Forwarded-User", "/", a.anonymous}}
		}, false, tokensv1alpha1.ReasonIdentityHeaderNotCleared},
		"a header changes nothing": {func(a *answers) {
			a.anonymous = status(200)
			a.forged = []forgedAnswer{{status(200), "X-Forwarded-User", "/", a.anonymous}}
		}, false, tokensv1alpha1.ReasonProtected},
		"it does not ask": {func(a *answers) { a.all(status(401)) }, false, tokensv1alpha1.ReasonGatewayDoesNotAsk},
		"it does not ask, and anonymous are served": {func(a *answers) { a.all(status(200)); a.anonymous = status(200) }, false, tokensv1alpha1.ReasonGatewayDoesNotAsk},
		"it does not ask, and the product says 403": {func(a *answers) { a.all(status(403)) }, false, tokensv1alpha1.ReasonGatewayDoesNotAsk},
		"no webhook":                           {func(a *answers) { a.all(status(500)) }, false, tokensv1alpha1.ReasonWebhookNotReached},
		"no webhook, and all is asked about":   {func(a *answers) { a.all(status(503)); a.anonymous, a.beside = status(503), status(503) }, false, tokensv1alpha1.ReasonWebhookNotReached},
		"no webhook, and 403 for that":         {func(a *answers) { a.all(status(403)); a.anonymous = status(403) }, false, tokensv1alpha1.ReasonWebhookNotReached},
		"all is down":                          {func(a *answers) { a.all(status(503)); a.anonymous, a.beside = status(503), status(503) }, true, tokensv1alpha1.ReasonInconclusive},
		"the client says which path":           {func(a *answers) { a.claims[authurl.Forward] = challenge }, false, tokensv1alpha1.ReasonWrongContract},
		"only the client says the path":        {func(a *answers) { a.all(status(500)); a.claims[authurl.Nginx] = challenge }, false, tokensv1alpha1.ReasonWrongContract},
		"another site":                         {func(a *answers) { a.all(challenge) }, false, tokensv1alpha1.ReasonOtherSite},
		"another path":                         {func(a *answers) { a.bound = challenge }, false, tokensv1alpha1.ReasonPathAltered},
		"cached":                               {func(a *answers) { a.late = challenge }, false, tokensv1alpha1.ReasonVerdictCached},
		"no challenge":                         {func(a *answers) { a.madeUp = status(401) }, false, tokensv1alpha1.ReasonAnswerAltered},
		"another challenge":                    {func(a *answers) { a.madeUp = status(401, "WWW-Authenticate", "Negotiate") }, false, tokensv1alpha1.ReasonAnswerAltered},
		"a sign-in page":                       {func(a *answers) { a.madeUp, a.early = status(302), status(302) }, false, tokensv1alpha1.ReasonAnswerAltered},
		"a page in place of 403":               {func(a *answers) { a.due, a.bound, a.late = status(200), status(200), status(200) }, false, tokensv1alpha1.ReasonAnswerAltered},
		"the product's headers for the client": {func(a *answers) { a.anonymous = status(401, "X-Api-Token-Target", "/rest/x") }, false, tokensv1alpha1.ReasonAnswerAltered},
		"limited":                              {func(a *answers) { a.due = status(429) }, false, tokensv1alpha1.ReasonInconclusive},
		"redirected":                           {func(a *answers) { a.all(status(302)); a.anonymous = status(302, "Location", "/login") }, false, tokensv1alpha1.ReasonBaseURLRedirects},
		"no answer":                            {func(a *answers) { *a = answers{anonymous: answer{err: errors.New("gone")}} }, false, tokensv1alpha1.ReasonBaseURLUnreachable},
		"no answer in between":                 {func(a *answers) { a.late = answer{err: errors.New("gone")} }, false, tokensv1alpha1.ReasonBaseURLUnreachable},
		"open, and no answer in between": {func(a *answers) {
			a.anonymous.user, a.late = "bob", answer{err: errors.New("gone")}
		}, false, tokensv1alpha1.ReasonOpenDoor},
	} {
		a := protected()
		tc.change(&a)
		site.ProductAnswers = !tc.down
		if got := judge(site, a); got.Reason != tc.want || !strings.Contains(got.Message, site.BaseURL) {
			t.Errorf("%s: %s: %s\nwant %s", name, got.Reason, got.Message, tc.want)
		}
	}

	site.Everything = true
	for name, tc := range map[string]struct {
		everywhere answer
		want       string
	}{
		"it asks about everything":      {status(403), tokensv1alpha1.ReasonProtected},
		"it does not":                   {status(404), tokensv1alpha1.ReasonGatewayDoesNotAsk},
		"a sign-in page":                {status(302), tokensv1alpha1.ReasonGatewayDoesNotAsk},
		"the product serves it":         {status(200), tokensv1alpha1.ReasonGatewayDoesNotAsk},
		"the product is down":           {status(502), tokensv1alpha1.ReasonProtected},
		"limited":                       {status(429), tokensv1alpha1.ReasonProtected},
		"there is no answer everywhere": {answer{err: errors.New("gone")}, tokensv1alpha1.ReasonProtected},
	} {
		a := protected()
		a.everywhere = tc.everywhere
		if got := judge(site, a); got.Reason != tc.want || tc.want != tokensv1alpha1.ReasonProtected && !strings.Contains(got.Message, "about every request") {
			t.Errorf("everything, %s: %s: %s\nwant %s", name, got.Reason, got.Message, tc.want)
		}
	}

	a := protected()
	a.anonymous.user, a.bound, a.late = "bob", challenge, challenge
	if got := judge(site, a); got.Reason != tokensv1alpha1.ReasonOpenDoor || !strings.Contains(got.Message, "another path") || !strings.Contains(got.Message, "cache") {
		t.Errorf("several faults: %+v", got)
	}
}

// Without the key of the site, the refusal of a token that does not exist has to do.
func TestJudgeWithoutKey(t *testing.T) {
	site := Site{BaseURL: "https://jira.example.com", AuthURLSecret: "main-auth-urls", ProductAnswers: true}
	challenge := status(401, "WWW-Authenticate", httpheader.Challenge)
	for name, tc := range map[string]struct {
		anonymous, beside, madeUp answer
		want                      string
	}{
		"no fault":                  {status(200), status(404), challenge, tokensv1alpha1.ReasonProtected},
		"served as a user":          {answer{status: 200, user: "bob"}, status(404), challenge, tokensv1alpha1.ReasonOpenDoor},
		"it does not ask":           {status(200), status(404), status(401), tokensv1alpha1.ReasonGatewayDoesNotAsk},
		"no webhook":                {status(200), status(404), status(500), tokensv1alpha1.ReasonWebhookNotReached},
		"limited":                   {status(200), status(404), status(429), tokensv1alpha1.ReasonInconclusive},
		"redirected":                {status(302), status(302), status(302), tokensv1alpha1.ReasonBaseURLRedirects},
		"no answer in between":      {status(200), status(404), answer{err: errors.New("gone")}, tokensv1alpha1.ReasonBaseURLUnreachable},
		"the product's headers":     {status(200, "X-Api-Token-Target", "/rest/x"), status(404), challenge, tokensv1alpha1.ReasonAnswerAltered},
		"the webhook's 401 and 403": {status(401), status(403), challenge, tokensv1alpha1.ReasonProtected},
	} {
		if got := judge(site, answers{path: "/rest/x", anonymous: tc.anonymous, beside: tc.beside, madeUp: tc.madeUp}); got.Reason != tc.want {
			t.Errorf("%s: %s: %s\nwant %s", name, got.Reason, got.Message, tc.want)
		}
	}
}

// The same error always has the same words, without addresses that differ each time.
func TestErrorsInWords(t *testing.T) {
	from := &net.TCPAddr{IP: net.IPv4(10, 0, 0, 1), Port: 40001}
	for want, err := range map[string]error{
		"read: connection reset by peer":                   &net.OpError{Op: "read", Source: from, Addr: from, Err: errors.New("connection reset by peer")},
		"lookup jira.invalid: no such host":                &net.DNSError{Name: "jira.invalid", Server: "10.96.0.10:53", Err: "no such host", IsNotFound: true},
		"no answer in time":                                context.DeadlineExceeded,
		"the certificate has expired, or is not valid yet": x509.CertificateInvalidError{Cert: &x509.Certificate{}, Reason: x509.Expired},
		"EOF":                          errors.New("EOF"),
		"a?b":                          errors.New("a\nb"),
		strings.Repeat("x", maxQuoted): errors.New(strings.Repeat("x", 1000)),
	} {
		if got := inWords(&url.Error{Op: "Get", URL: "https://jira.example.com", Err: err}); got != want {
			t.Errorf("%q, want %q", got, want)
		}
	}
}
