package oracle

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"fmt"
	"math/big"
	"net/http"
	"slices"
	"strings"
	"sync"
	"time"

	"apitokens.dev/operator/webhook/gateway/contract"
)

var (
	authorityNames = []string{"gateway-ca", "gateway-ca", "gateway-ca", "another-ca"}
	gatewayNames   = []string{"gateway.ingress.svc", "gateway-2.ingress.svc"}
)

// signed is a certificate with its key. An authority of a name is the same in all lives.
type signed struct {
	certificate *x509.Certificate
	key         *ecdsa.PrivateKey
}

// issued remembers certificates by what the model says about them.
var issuedCertificates sync.Map

// issueOnce returns the certificate of a name, which make describes, signed by another or by itself.
func issueOnce(name string, by *signed, template func() *x509.Certificate) *signed {
	made, _ := issuedCertificates.LoadOrStore(name, sync.OnceValue(func() *signed {
		key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
		if err != nil {
			panic(err)
		}
		of := template()
		of.SerialNumber, of.KeyUsage = big.NewInt(1), x509.KeyUsageDigitalSignature|x509.KeyUsageCertSign
		signer := by
		if signer == nil {
			signer = &signed{of, key}
		}
		der, err := x509.CreateCertificate(rand.Reader, of, signer.certificate, key.Public(), signer.key)
		if err != nil {
			panic(err)
		}
		parsed, err := x509.ParseCertificate(der)
		if err != nil {
			panic(err)
		}
		return &signed{parsed, key}
	}))
	return made.(func() *signed)()
}

// authorityOf returns the authority of a name. All have the same subject: the key alone tells them apart.
func authorityOf(name string) *signed {
	return issueOnce("authority "+name, nil, func() *x509.Certificate {
		return &x509.Certificate{
			Subject: pkix.Name{CommonName: "gateways"}, NotBefore: epoch.AddDate(-20, 0, 0), NotAfter: epoch.AddDate(20, 0, 0), IsCA: true, BasicConstraintsValid: true,
		}
	})
}

// chainOf returns what a gateway sends that presents a certificate.
func chainOf(c *certificate) (chain []*x509.Certificate) {
	by := authorityOf(c.authority)
	if c.via != "" {
		by = issueOnce("intermediate "+c.authority+c.via, by, func() *x509.Certificate {
			until := epoch.AddDate(20, 0, 0)
			if c.via == "ended" {
				until = epoch.AddDate(-19, 0, 0)
			}
			return &x509.Certificate{
				Subject: pkix.Name{CommonName: "between " + c.authority + c.via}, NotBefore: epoch.AddDate(-20, 0, 0), NotAfter: until,
				IsCA: true, BasicConstraintsValid: true,
			}
		})
		if c.via != "unsent" {
			chain = append(chain, by.certificate)
		}
	}
	leaf := issueOnce(fmt.Sprintf("%+v", *c), by, func() *x509.Certificate {
		of := &x509.Certificate{Subject: pkix.Name{CommonName: gatewayNames[0]}, NotBefore: c.From, NotAfter: c.Ends, DNSNames: c.names}
		switch c.usage {
		case "client":
			of.ExtKeyUsage = []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth, x509.ExtKeyUsageServerAuth}
		case "server":
			of.ExtKeyUsage = []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth}
		}
		return of
	})
	return append([]*x509.Certificate{leaf.certificate}, chain...)
}

// connect gives a request the connection over which a gateway asks. One that was accepted stays open for later questions.
func (c *core) connect(r *http.Request, with *certificate) *http.Request {
	if with == nil {
		return r
	}
	connection := c.connections[with]
	if connection == nil {
		connection = contract.WithConnection(context.Background(), nil)
		c.connections[with] = connection
	}
	r.TLS = &tls.ConnectionState{PeerCertificates: chainOf(with)}
	return r.WithContext(connection)
}

// putAuthorities replaces what a site knows of authorities. Nil is nothing.
func (c *core) putAuthorities(name siteName, names []string) {
	if names == nil {
		c.index.DeleteCallerAuthorities(nameOf(name))
		return
	}
	pool := x509.NewCertPool()
	for _, authority := range names {
		pool.AddCert(authorityOf(authority).certificate)
	}
	c.index.PutCallerAuthorities(nameOf(name), pool)
}

func (l *life) putAuthorities(name siteName) {
	names := choose(l, [][]string{{"gateway-ca"}, {"gateway-ca", "another-ca"}, {"gateway-ca"}, {"another-ca"}})
	l.world.authorities[name] = names
	l.core.putAuthorities(name, names)
}

func (l *life) changeAuthorities(name siteName) {
	if l.world.authorities[name] != nil && rarely(l, 4) {
		delete(l.world.authorities, name)
		l.core.putAuthorities(name, nil)
		return
	}
	l.putAuthorities(name)
}

// newCertificate is one that a gateway could have. Mostly it is good for the site.
func (l *life) newCertificate(at siteName, s *site) *certificate {
	c := &certificate{
		authority: choose(l, authorityNames), names: []string{choose(l, s.callers)}, usage: "client", via: choose(l, []string{"", "sent", ""}),
		From: l.world.now.Add(-time.Hour).Truncate(time.Second), Ends: l.world.now.Add(time.Duration(choose(l, []int{48, 1, 90 * 24})) * time.Hour).Truncate(time.Second),
	}
	if trusted := l.world.authorities[at]; len(trusted) > 0 {
		c.authority = choose(l, trusted)
	}
	switch l.n(24) {
	case 16:
		c.authority = choose(l, []string{"another-ca", "foreign"})
	case 17:
		c.via = choose(l, []string{"unsent", "ended"})
	case 18:
		c.usage = choose(l, []string{"server", "none"})
	case 19:
		c.names = choose(l, [][]string{nil, {"*.ingress.svc"}, {"other.ingress.svc", "gateway.ingress"}, {"xgateway.ingress.svc"}})
	case 20:
		c.names = append([]string{"other.ingress.svc"}, strings.ToUpper(c.names[0]))
	case 21:
		c.From, c.Ends = c.Ends, c.Ends.Add(48*time.Hour)
	case 22:
		c.From, c.Ends = c.From.Add(-48*time.Hour), c.From
	}
	return c
}

// presents is the certificate with which a gateway asks a site: one that is good, mostly, if the site wants one.
func (l *life) presents(at siteName) *certificate {
	s := l.world.sites[at]
	if s == nil || s.callers == nil {
		if len(l.certificates) > 0 && rarely(l, 20) {
			return choose(l, l.certificates)
		}
		return nil
	}
	if rarely(l, 60) {
		return nil
	}
	good := slices.IndexFunc(l.certificates, func(c *certificate) bool { return l.world.refusesCertificate(at, s, c) == "" })
	if good >= 0 && !rarely(l, 8) {
		return l.certificates[good]
	}
	if good < 0 || rarely(l, 4) {
		if l.certificates = append(l.certificates, l.newCertificate(at, s)); len(l.certificates) > 24 {
			l.certificates = slices.Clone(l.certificates[12:])
		}
		return l.certificates[len(l.certificates)-1]
	}
	return choose(l, l.certificates)
}
