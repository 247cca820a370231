// Package servingcert decides which certificate webhook and portal serve, and which authorities their clients trust.
//
// An authority signs certificates for ten years, and only for the names that webhook and portal have. Its successor stands in
// the bundle for a year before it signs anything. So a client that reads the bundle once a year verifies each certificate.
package servingcert

import (
	"bytes"
	"crypto/sha256"
	"crypto/tls"
	"crypto/x509"
	"encoding/hex"
	"encoding/pem"
	"fmt"
	"slices"
	"strings"
	"time"
)

// BundleKey is the key of Secrets that has the authorities, in PEM, with which clients verify. cert-manager uses it too.
const BundleKey = "ca.crt"

const (
	day = 24 * time.Hour
	// authorityLifetime is how long an authority is trusted. Bundles that people copied by hand should last.
	authorityLifetime = 10 * 365 * day
	// overlap is how long an authority is in the bundle before it signs, and how long before its end another signs in its place.
	overlap = 365 * day
	// certificateLifetime is that of the certificate. It is replaced after two thirds of it.
	certificateLifetime = 90 * day
	// backdate is how far the clock of a client may be behind.
	backdate = time.Hour
)

// State is what is stored. The zero State has nothing.
type State struct {
	// Authorities are those that are trusted, the oldest first.
	Authorities []Authority
	// Serving is what webhook and portal serve.
	Serving Serving
}

// Serving is a certificate with its private key, and the authorities with which clients verify it. All are PEM.
type Serving struct{ Cert, Key, Bundle []byte }

// Plan returns what is to be stored at a time, for webhook and portal to serve under these names. It is the same State as long as
// nothing is to be done. Each part that is missing, damaged, ended or for other names is made again.
func Plan(stored State, names []string, now time.Time) (State, error) {
	all := readable(stored, names, now)
	if latest := slices.IndexFunc(all, func(a authority) bool { return a.signs(names, now) && now.Add(2*overlap).Before(a.cert.NotAfter) }); latest < 0 {
		made, err := newAuthority(names, now)
		if err != nil {
			return State{}, err
		}
		all = append(all, made)
	}
	slices.SortStableFunc(all, func(a, b authority) int { return a.cert.NotBefore.Compare(b.cert.NotBefore) })
	next := State{Serving: stored.Serving}
	var bundle strings.Builder
	for _, a := range all {
		next.Authorities = append(next.Authorities, a.Authority)
		bundle.WriteString(a.Cert)
	}
	next.Serving.Bundle = []byte(bundle.String())
	if next.Serving.check(names, now) == nil {
		return next, nil
	}
	var err error
	next.Serving.Cert, next.Serving.Key, err = signer(all, names, now).issue(names, now)
	return next, err
}

// readable returns the authorities that have not ended. If the stored ones do not verify the certificate that is
// served, because they were lost, the one from its bundle that does is among them: without a key, it only remains trusted.
func readable(stored State, names []string, now time.Time) (all []authority) {
	for _, s := range stored.Authorities {
		if a, err := s.parse(); err == nil && now.Before(a.cert.NotAfter) {
			all = append(all, a)
		}
	}
	for rest := stored.Serving.Bundle; len(rest) > 0; {
		block, after := pem.Decode(rest)
		if block == nil {
			break
		}
		rest = after
		trusted := Authority{Cert: string(pem.EncodeToMemory(block))}
		alone := Serving{stored.Serving.Cert, stored.Serving.Key, []byte(trusted.Cert)}
		a, err := trusted.parse()
		if err != nil || alone.check(names, now) != nil || slices.ContainsFunc(all, func(known authority) bool { return known.cert.Equal(a.cert) }) {
			continue
		}
		all = append(all, a)
	}
	return all
}

// signer returns the authority to sign with: the newest of those that have been in the bundle for overlap, otherwise the oldest
// that can. There is one.
func signer(all []authority, names []string, now time.Time) authority {
	able := slices.DeleteFunc(slices.Clone(all), func(a authority) bool { return !a.signs(names, now) })
	for _, a := range slices.Backward(able) {
		if !now.Before(a.cert.NotBefore.Add(backdate + overlap)) {
			return a
		}
	}
	return able[0]
}

// check returns why the certificate has to be replaced, or nil.
func (s Serving) check(names []string, now time.Time) error {
	pair, err := tls.X509KeyPair(s.Cert, s.Key)
	if err != nil {
		return fmt.Errorf("reading the certificate: %w", err)
	}
	roots := x509.NewCertPool()
	roots.AppendCertsFromPEM(s.Bundle)
	if _, err := pair.Leaf.Verify(x509.VerifyOptions{Roots: roots, CurrentTime: now}); err != nil {
		return fmt.Errorf("verifying the certificate: %w", err)
	}
	for _, name := range names {
		if err := pair.Leaf.VerifyHostname(name); err != nil {
			return fmt.Errorf("verifying the certificate: %w", err)
		}
	}
	if due := pair.Leaf.NotAfter.Add(-certificateLifetime / 3); !now.Before(due) {
		return fmt.Errorf("the certificate is to be replaced since %s", due)
	}
	return nil
}

// Equal reports whether nothing is to be written.
func (s Serving) Equal(other Serving) bool {
	return bytes.Equal(s.Cert, other.Cert) && bytes.Equal(s.Key, other.Key) && bytes.Equal(s.Bundle, other.Bundle)
}

// Digest returns a text that tells a certificate from every other.
func Digest(cert []byte) string {
	sum := sha256.Sum256(cert)
	return hex.EncodeToString(sum[:])
}

// Names returns the names under which clients reach the hosts of URLs, sorted. A Service has two.
func Names(hosts ...string) (names []string) {
	const domain = ".cluster.local"
	for _, host := range hosts {
		host = strings.TrimSuffix(host, domain)
		names = append(names, host)
		if strings.HasSuffix(host, ".svc") {
			names = append(names, host+domain)
		}
	}
	slices.Sort(names)
	return slices.Compact(names)
}
