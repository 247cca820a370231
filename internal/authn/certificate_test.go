package authn_test

import (
	"crypto/tls"
	"crypto/x509"
	"testing"
	"time"

	"apitokens.dev/operator/hack/lib/authority"
	"apitokens.dev/operator/internal/authn"
)

// must returns the first of two results.
func must[T any](value T, err error) T {
	if err != nil {
		panic(err)
	}
	return value
}

func newAuthority(name string) *authority.Authority {
	return must(authority.New(name))
}

// client returns the client certificate of a gateway.
func client(a *authority.Authority, until time.Time, names ...string) tls.Certificate {
	return must(a.Client(until, names...))
}

// presented returns a certificate as a connection has it.
func presented(c tls.Certificate) *authn.CallerCertificate {
	var chain []*x509.Certificate
	for _, der := range c.Certificate {
		chain = append(chain, must(x509.ParseCertificate(der)))
	}
	return authn.NewCallerCertificate(chain)
}

const ingress = "traefik.ingress.svc"

// certified returns a fixture whose site wants certificates of an authority for the name ingress. now is the clock.
func certified(t testing.TB, now *time.Time, a *authority.Authority) fixture {
	t.Helper()
	f := fixture{Index: newIndex(t, func() time.Time { return *now })}
	id, text := newToken(t)
	f.token = text
	s := site(jira)
	s.CallerNames = []string{"other.ingress.svc", ingress}
	f.PutSite(s)
	f.PutToken(alice(uid, "ci"))
	f.PutRecord(uid, newRecord(t, "ci", id, text))
	f.PutCallerAuthorities(jira, a.Pool())
	return f
}

// asks returns the decision about a request with a valid token, over a connection with this certificate.
func (f fixture) asks(c *authn.CallerCertificate) authn.Decision {
	r := request("/jira/rest/x", basic("alice", f.token))
	r.CallerKey, r.Certificate = "-", c
	return f.Decide(r)
}

func TestCallerCertificates(t *testing.T) {
	now := time.Now()
	ours, other := newAuthority("ours"), newAuthority("ours")
	below := must(ours.Intermediate("below", now.Add(time.Hour)))
	endedBelow := must(ours.Intermediate("ended", now.Add(-time.Minute)))
	soon, past := now.Add(time.Hour), now.Add(-time.Second)
	issue := func(a *authority.Authority, change func(*x509.Certificate)) tls.Certificate {
		c := &x509.Certificate{NotAfter: soon, DNSNames: []string{ingress}, ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth}}
		change(c)
		return must(a.Issue(c))
	}
	deeper := must(below.Intermediate("deeper", now.Add(time.Hour)))
	five := below.Below(deeper.Below(client(deeper, soon, ingress)))
	for len(five.Certificate) < 5 {
		five = below.Below(five)
	}
	for name, tc := range map[string]struct {
		certificate tls.Certificate
		want        authn.Reason
	}{
		"right":                      {client(ours, soon, ingress), authn.ReasonAuthenticated},
		"the other name":             {client(ours, soon, "other.ingress.svc"), authn.ReasonAuthenticated},
		"among other names":          {client(ours, soon, "a.svc", ingress), authn.ReasonAuthenticated},
		"in upper case":              {client(ours, soon, "Traefik.Ingress.SVC"), authn.ReasonAuthenticated},
		"for servers too":            {issue(ours, func(c *x509.Certificate) { c.ExtKeyUsage = append(c.ExtKeyUsage, x509.ExtKeyUsageServerAuth) }), authn.ReasonAuthenticated},
		"by an intermediate":         {below.Below(client(below, soon, ingress)), authn.ReasonAuthenticated},
		"by two intermediates":       {below.Below(deeper.Below(client(deeper, soon, ingress))), authn.ReasonAuthenticated},
		"a chain of five":            {five, authn.ReasonAuthenticated},
		"none":                       {tls.Certificate{}, authn.ReasonCallerCertificateMissing},
		"another authority":          {client(other, soon, ingress), authn.ReasonCallerCertificateUntrusted},
		"another, and for servers":   {issue(other, func(c *x509.Certificate) { c.ExtKeyUsage = []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth} }), authn.ReasonCallerCertificateUntrusted},
		"no intermediate sent":       {client(below, soon, ingress), authn.ReasonCallerCertificateUntrusted},
		"a chain of six":             {below.Below(five), authn.ReasonCallerCertificateUntrusted},
		"ended":                      {client(ours, past, ingress), authn.ReasonCallerCertificateExpired},
		"not valid yet":              {issue(ours, func(c *x509.Certificate) { c.NotBefore = now.Add(time.Minute) }), authn.ReasonCallerCertificateExpired},
		"the intermediate has ended": {endedBelow.Below(client(endedBelow, soon, ingress)), authn.ReasonCallerCertificateExpired},
		"for servers":                {issue(ours, func(c *x509.Certificate) { c.ExtKeyUsage = []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth} }), authn.ReasonCallerCertificateUsage},
		"for nothing":                {issue(ours, func(c *x509.Certificate) { c.ExtKeyUsage = nil }), authn.ReasonCallerCertificateUsage},
		"another name":               {client(ours, soon, "caddy.ingress.svc"), authn.ReasonCallerCertificateName},
		"a name below":               {client(ours, soon, "a."+ingress), authn.ReasonCallerCertificateName},
		"a wildcard":                 {client(ours, soon, "*.ingress.svc"), authn.ReasonCallerCertificateName},
		"no name":                    {client(ours, soon), authn.ReasonCallerCertificateName},
		"the name as common name":    {issue(ours, func(c *x509.Certificate) { c.Subject.CommonName, c.DNSNames = ingress, nil }), authn.ReasonCallerCertificateName},
		"the name as email":          {issue(ours, func(c *x509.Certificate) { c.EmailAddresses, c.DNSNames = []string{ingress}, nil }), authn.ReasonCallerCertificateName},
	} {
		t.Run(name, func(t *testing.T) {
			f := certified(t, &now, ours)
			c := presented(tc.certificate)
			for range 2 { // what is remembered is the same
				d := f.asks(c)
				if d.Reason != tc.want || d.Verdict == authn.CannotDecide != (tc.want != authn.ReasonAuthenticated) {
					t.Errorf("decided %v with reason %q, want %q", d.Verdict, d.Reason, tc.want)
				}
				if d.Verdict == authn.CannotDecide && d != (authn.Decision{Reason: tc.want}) {
					t.Errorf("the refusal says more than its reason: %+v", d)
				}
			}
		})
	}
}

// A site accepts one kind of callers. The other kind's proof does not help, and it follows each change at once.
func TestCallersOfOneKindOnly(t *testing.T) {
	now := time.Now()
	ours, other := newAuthority("ours"), newAuthority("other")
	f := certified(t, &now, ours)
	ours1, ours2 := presented(client(ours, now.Add(time.Hour), ingress)), presented(client(other, now.Add(time.Hour), ingress))
	for _, step := range []struct {
		name          string
		change        func()
		key, one, two authn.Reason
	}{
		{"certificates", func() {}, authn.ReasonCallerCertificateMissing, authn.ReasonAuthenticated, authn.ReasonCallerCertificateUntrusted},
		{"another authority", func() { f.PutCallerAuthorities(jira, other.Pool()) }, authn.ReasonCallerCertificateMissing, authn.ReasonCallerCertificateUntrusted, authn.ReasonAuthenticated},
		{"authorities that cannot be read", func() { f.PutCallerAuthorities(jira, nil) }, authn.ReasonCallerAuthoritiesMissing, authn.ReasonCallerAuthoritiesMissing, authn.ReasonCallerAuthoritiesMissing},
		{"mended", func() { f.PutCallerAuthorities(jira, ours.Pool()) }, authn.ReasonCallerCertificateMissing, authn.ReasonAuthenticated, authn.ReasonCallerCertificateUntrusted},
		{"no authorities", func() { f.DeleteCallerAuthorities(jira) }, authn.ReasonCallerAuthoritiesMissing, authn.ReasonCallerAuthoritiesMissing, authn.ReasonCallerAuthoritiesMissing},
		{"keys", func() { f.PutSite(site(jira)) }, authn.ReasonAuthenticated, authn.ReasonCallerKeyMismatch, authn.ReasonCallerKeyMismatch},
		{"certificates again", func() {
			f.PutCallerAuthorities(jira, ours.Pool())
			s := site(jira)
			s.CallerNames = []string{ingress}
			f.PutSite(s)
		}, authn.ReasonCallerCertificateMissing, authn.ReasonAuthenticated, authn.ReasonCallerCertificateUntrusted},
		{"another name", func() {
			s := site(jira)
			s.CallerNames = []string{"caddy.ingress.svc"}
			f.PutSite(s)
		}, authn.ReasonCallerCertificateMissing, authn.ReasonCallerCertificateName, authn.ReasonCallerCertificateUntrusted},
	} {
		step.change()
		if got := f.Decide(request("/jira/rest/x", basic("alice", f.token))).Reason; got != step.key {
			t.Errorf("%s: with the key %q, want %q", step.name, got, step.key)
		}
		if got := f.asks(ours1).Reason; got != step.one {
			t.Errorf("%s: with one certificate %q, want %q", step.name, got, step.one)
		}
		if got := f.asks(ours2).Reason; got != step.two {
			t.Errorf("%s: with the other %q, want %q", step.name, got, step.two)
		}
	}
}

// A connection outlives its certificate, and may be there before it.
func TestCallerCertificatesEndDuringAConnection(t *testing.T) {
	begin := time.Now().Truncate(time.Second)
	now := begin
	ours := newAuthority("ours")
	f := certified(t, &now, ours)
	c := presented(must(ours.Issue(&x509.Certificate{
		NotBefore: begin.Add(time.Minute), NotAfter: begin.Add(time.Hour), DNSNames: []string{ingress}, ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth},
	})))
	for _, step := range []struct {
		at   time.Duration
		want authn.Reason
	}{
		{0, authn.ReasonCallerCertificateExpired},
		{time.Minute, authn.ReasonAuthenticated},
		{time.Hour, authn.ReasonAuthenticated},
		{time.Hour + time.Second, authn.ReasonCallerCertificateExpired},
		{time.Minute, authn.ReasonAuthenticated}, // the clock was corrected
		{0, authn.ReasonCallerCertificateExpired},
	} {
		now = begin.Add(step.at)
		if got := f.asks(c).Reason; got != step.want {
			t.Errorf("after %s: %q, want %q", step.at, got, step.want)
		}
	}
}

// An intermediate authority may begin after the certificate below it, and end before it.
func TestIntermediateAuthoritiesEndDuringAConnection(t *testing.T) {
	begin := time.Now().Truncate(time.Second)
	const day = 24 * time.Hour
	for name, tc := range map[string]struct {
		until time.Duration
		steps map[time.Duration]authn.Reason
		order []time.Duration
	}{
		"begins": {2*day + time.Minute, map[time.Duration]authn.Reason{
			0: authn.ReasonCallerCertificateExpired, time.Minute: authn.ReasonAuthenticated,
		}, []time.Duration{0, time.Minute, 0}},
		"ends": {time.Minute, map[time.Duration]authn.Reason{
			0: authn.ReasonAuthenticated, time.Minute + time.Second: authn.ReasonCallerCertificateExpired,
		}, []time.Duration{0, time.Minute + time.Second, 0}},
	} {
		now := begin
		ours := newAuthority("ours")
		below := must(ours.Intermediate("below", begin.Add(tc.until)))
		f := certified(t, &now, ours)
		c := presented(below.Below(client(below, begin.Add(time.Hour), ingress)))
		for i, at := range tc.order {
			now = begin.Add(at)
			if got := f.asks(c).Reason; got != tc.steps[at] {
				t.Errorf("the intermediate %s, step %d, after %s: %q, want %q", name, i, at, got, tc.steps[at])
			}
		}
	}
}

// A connection has its certificate verified once. Later requests cost what they cost at a site with keys.
func TestAcceptedCertificatesAreRemembered(t *testing.T) {
	now := time.Now()
	ours := newAuthority("ours")
	below := must(ours.Intermediate("below", now.Add(time.Hour)))
	f := certified(t, &now, ours)
	allocations := func(r *authn.Request) float64 {
		if d := f.Decide(r); d.Reason != authn.ReasonAuthenticated {
			t.Fatalf("decided %q", d.Reason)
		}
		return testing.AllocsPerRun(100, func() { f.Decide(r) })
	}
	r := request("/jira/rest/x", basic("alice", f.token))
	r.CallerKey, r.Certificate = "-", presented(below.Below(client(below, now.Add(time.Hour), ingress)))
	certificate := allocations(r)
	f.PutSite(site(jira))
	if key := allocations(request("/jira/rest/x", basic("alice", f.token))); certificate != key {
		t.Errorf("a later request makes %.0f allocations with a certificate, %.0f with a key", certificate, key)
	}
}

// Verifying takes a thousand times as long as comparing a key, so that a connection has it done once, not with each request. Then a
// refusal of a certificate costs as little as that of a key.
func TestRefusedCertificatesCostLittle(t *testing.T) {
	now := time.Now()
	ours := newAuthority("ours")
	f := certified(t, &now, ours)
	for name, c := range map[string]*authn.CallerCertificate{
		"none":              nil,
		"another authority": presented(client(newAuthority("ours"), now.Add(time.Hour), ingress)),
		"ended":             presented(client(ours, now.Add(-time.Second), ingress)),
		"another name":      presented(client(ours, now.Add(time.Hour), "caddy.ingress.svc")),
	} {
		r := request("/jira/rest/x", basic("alice", f.token))
		r.Certificate = c
		f.Decide(r)
		if allocated := testing.AllocsPerRun(100, func() { f.Decide(r) }); allocated != 0 {
			t.Errorf("%s: a second refusal makes %.0f allocations, so it verifies again", name, allocated)
		}
	}
}

// The authorities of a site may be read before the site is, and go after it.
func TestCallerAuthoritiesBeforeTheirSite(t *testing.T) {
	now := time.Now()
	ours := newAuthority("ours")
	f := certified(t, &now, ours)
	f.DeleteSite(jira)
	f.DeleteCallerAuthorities(jira)
	f.PutCallerAuthorities(jira, ours.Pool())
	s := site(jira)
	s.CallerNames = []string{ingress}
	f.PutSite(s)
	if d := f.asks(presented(client(ours, now.Add(time.Hour), ingress))); d.Reason != authn.ReasonAuthenticated {
		t.Errorf("decided %q", d.Reason)
	}
}

// A site that asks for no certificate has none verified, and a site that is not there neither.
func TestCertificatesOfOthersAreNotVerified(t *testing.T) {
	f := newFixture(t)
	c := presented(client(newAuthority("any"), time.Now().Add(time.Hour), ingress))
	r := request("/jira/rest/x", basic("alice", f.token))
	r.Certificate = c
	if d := f.Decide(r); d.Reason != authn.ReasonAuthenticated {
		t.Errorf("with a key and a certificate: %+v", d)
	}
	r.Site.Name = "nowhere"
	if d := f.Decide(r); d.Reason != authn.ReasonUnknownSite {
		t.Errorf("without a site: %+v", d)
	}
}

// Requests over one connection come at the same time.
func TestOneConnectionManyRequests(t *testing.T) {
	now := time.Now()
	ours := newAuthority("ours")
	f := certified(t, &now, ours)
	c := presented(client(ours, now.Add(time.Hour), ingress))
	results := make(chan authn.Reason, 100)
	for i := range cap(results) {
		go func() {
			if i%10 == 0 {
				f.PutCallerAuthorities(jira, ours.Pool())
			}
			results <- f.asks(c).Reason
		}()
	}
	for range cap(results) {
		if got := <-results; got != authn.ReasonAuthenticated {
			t.Errorf("decided %q", got)
		}
	}
}

func BenchmarkCallerCertificate(b *testing.B) {
	now := time.Now()
	ours := newAuthority("ours")
	f := certified(b, &now, ours)
	certificate := client(ours, now.Add(time.Hour), ingress)
	b.Run("first request of a connection", func(b *testing.B) {
		for b.Loop() {
			f.asks(presented(certificate))
		}
	})
	b.Run("later requests", func(b *testing.B) {
		c := presented(certificate)
		for b.Loop() {
			f.asks(c)
		}
	})
}
