package authn

import (
	"crypto/x509"
	"errors"
	"slices"
	"strings"
	"sync"
	"time"
)

// maxPresented is how many certificates a caller may present. A chain has rarely more than three, and each one costs time.
const maxPresented = 5

// refusalPeriod is how long a refusal of a certificate is remembered, so that a caller cannot have it verified with each request.
const refusalPeriod = time.Second

// certifiedCallers says whom a site accepts by client certificate. It does not change.
type certifiedCallers struct {
	// authorities may sign the certificates. It is nil if they are not known.
	authorities *x509.CertPool
	// names are the DNS names of which a certificate must have one.
	names []string
}

// CallerCertificate is the client certificate of one connection from a gateway. It remembers for each site whether the site
// accepts it, because verifying it takes much longer than a decision. All requests of the connection share it.
type CallerCertificate struct {
	presented []*x509.Certificate
	mu        sync.Mutex
	verdicts  map[SiteName]certificateVerdict
}

// certificateVerdict is why the callers of a site do not include the holder of a certificate, or empty if they do. It is right
// from one time until another.
type certificateVerdict struct {
	callers     *certifiedCallers
	refusal     Reason
	from, until time.Time
}

// NewCallerCertificate returns the certificate that a caller presented in the handshake of a connection, with its intermediate
// authorities after it. Without any it returns nil: the caller presented none.
func NewCallerCertificate(presented []*x509.Certificate) *CallerCertificate {
	if len(presented) == 0 {
		return nil
	}
	return &CallerCertificate{presented: presented, verdicts: map[SiteName]certificateVerdict{}}
}

// verify finds out whether a site accepts the certificate now, unless that is known. It takes long: no lock of the index may be
// held.
func (c *CallerCertificate) verify(at SiteName, callers *certifiedCallers, now time.Time) {
	c.mu.Lock()
	defer c.mu.Unlock()
	known := c.verdicts[at]
	if known.callers != callers || now.Before(known.from) || !now.Before(known.until) {
		c.verdicts[at] = callers.judge(c.presented, now)
	}
}

// refusal returns what verify found out about these callers of a site: a reason, or empty. A nil certificate is none. If the site
// changed after verify, the certificate is judged now.
func (c *CallerCertificate) refusal(at SiteName, callers *certifiedCallers, now time.Time) Reason {
	if c == nil {
		return ReasonCallerCertificateMissing
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	verdict := c.verdicts[at]
	if verdict.callers != callers {
		verdict = callers.judge(c.presented, now)
	}
	return verdict.refusal
}

// judge verifies a certificate: its chain to one of the authorities, all validity periods, its usage and its name.
func (a *certifiedCallers) judge(presented []*x509.Certificate, now time.Time) certificateVerdict {
	refused := certificateVerdict{callers: a, refusal: ReasonCallerCertificateUntrusted, from: now, until: now.Add(refusalPeriod)}
	if a.authorities == nil || len(presented) > maxPresented {
		return refused
	}
	leaf, intermediates := presented[0], x509.NewCertPool()
	for _, certificate := range presented[1:] {
		intermediates.AddCert(certificate)
	}
	chains, err := leaf.Verify(x509.VerifyOptions{
		Roots: a.authorities, Intermediates: intermediates, CurrentTime: now, KeyUsages: []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth},
	})
	switch invalid, _ := errors.AsType[x509.CertificateInvalidError](err); {
	case invalid.Reason == x509.Expired:
		refused.refusal = ReasonCallerCertificateExpired
	case invalid.Reason == x509.IncompatibleUsage, err == nil && !slices.Contains(leaf.ExtKeyUsage, x509.ExtKeyUsageClientAuth):
		// A certificate without any usage is good for each one, says RFC 5280. Such ones are made for servers, by default.
		refused.refusal = ReasonCallerCertificateUsage
	case err != nil:
	case !slices.ContainsFunc(leaf.DNSNames, a.named):
		refused.refusal = ReasonCallerCertificateName
	default:
		from, until := validity(chains[0])
		return certificateVerdict{callers: a, from: from, until: until}
	}
	return refused
}

// validity returns when all certificates of a chain are valid.
func validity(chain []*x509.Certificate) (from, until time.Time) {
	for i, certificate := range chain {
		if certificate.NotBefore.After(from) {
			from = certificate.NotBefore
		}
		if i == 0 || certificate.NotAfter.Before(until) {
			until = certificate.NotAfter
		}
	}
	return from, until
}

// named reports whether a DNS name is one of the site's. A name with a wildcard stands for itself only.
func (a *certifiedCallers) named(name string) bool {
	return slices.ContainsFunc(a.names, func(want string) bool { return strings.EqualFold(want, name) })
}

// certify has the client certificate of a gateway verified before the lock of the index is held, if the site asks for one.
func (ix *Index) certify(r *Request, now time.Time) {
	if r.Certificate == nil {
		return
	}
	if callers := ix.certifiedCallers(r.Site); callers != nil {
		r.Certificate.verify(r.Site, callers, now)
	}
}

func (ix *Index) certifiedCallers(of SiteName) *certifiedCallers {
	w := workspaces.Get().(*workspace)
	defer workspaces.Put(w)
	defer ix.mu.read(w.part).RUnlock()
	if s := ix.sites[of]; s != nil {
		return s.callers
	}
	return nil
}

// refuseCaller returns why a caller is not the site's own ingress, or empty. The caller holds the lock.
func (s *site) refuseCaller(r *Request, now time.Time) Reason {
	switch {
	case s.callers == nil:
		if !s.callerKeys.know(r, now) {
			return ReasonCallerKeyMismatch
		}
		return ""
	case s.callers.authorities == nil:
		return ReasonCallerAuthoritiesMissing
	}
	return r.Certificate.refusal(r.Site, s.callers, now)
}

// PutCallerAuthorities replaces the authorities that may sign the client certificates of a site's gateways. Nil means that they
// cannot be read. Then nobody may call for a site that asks for a certificate.
func (ix *Index) PutCallerAuthorities(name SiteName, authorities *x509.CertPool) {
	ix.mu.Lock()
	defer ix.mu.Unlock()
	ix.callerAuthorities[name] = authorities
	ix.joinCallers(name)
}

// DeleteCallerAuthorities forgets the authorities of a site.
func (ix *Index) DeleteCallerAuthorities(name SiteName) {
	ix.mu.Lock()
	defer ix.mu.Unlock()
	delete(ix.callerAuthorities, name)
	ix.joinCallers(name)
}

// joinCallers gives a site the authorities that are known for it. The caller holds the lock.
func (ix *Index) joinCallers(name SiteName) {
	if s := ix.sites[name]; s != nil && s.callers != nil {
		s.callers = &certifiedCallers{authorities: ix.callerAuthorities[name], names: s.callers.names}
	}
}
