package site

import (
	"cmp"
	"crypto/x509"
	"fmt"

	corev1 "k8s.io/api/core/v1"

	tokensv1alpha1 "apitokens.dev/operator/api/v1alpha1"
	"apitokens.dev/operator/controllers/internal/secretref"
	"apitokens.dev/operator/internal/trust"
)

// authoritiesRef is a field of a site that names a Secret with certificates of authorities.
type authoritiesRef struct {
	field, name, key string
	// without says what is not done as long as they cannot be read.
	without string
	// limit bounds the PEM in bytes, so that a projection fits into a Secret.
	limit int
}

const (
	// maxCAs has room for twice the CA bundle of Debian.
	maxCAs = 512 << 10
	// maxCallerCAs has room for some 30 authorities. A site trusts few: everybody with a certificate of theirs may ask for a name.
	maxCallerCAs = 64 << 10
)

func upstreamCARef(s *tokensv1alpha1.AtlassianSite) authoritiesRef {
	return authoritiesRef{"upstreamCARef", s.Spec.UpstreamCARef.Name, caKey(s.Spec.UpstreamCARef), "the product is not asked", maxCAs}
}

func callerCARef(s *tokensv1alpha1.AtlassianSite) authoritiesRef {
	ref := s.Spec.CallerVerification.ClientCertificate.AuthoritiesRef
	key := cmp.Or(ref.Key, tokensv1alpha1.DefaultCallerAuthoritiesKey)
	return authoritiesRef{"authoritiesRef", ref.Name, key, "no ingress of this site is answered", maxCallerCAs}
}

func caKey(ref tokensv1alpha1.UpstreamCAReference) string {
	return cmp.Or(ref.Key, tokensv1alpha1.DefaultUpstreamCAKey)
}

// allowed returns why a Secret is not read for the field, or nil.
func (r authoritiesRef) allowed(source *corev1.Secret) error {
	return secretref.Authorities(source, r.key)
}

// caError says why a field leads to no certificates, in words for a condition.
type caError struct{ message string }

// Error implements error.
func (e *caError) Error() string { return e.message }

// authorities are the CAs that a field names. problem says why they cannot be read.
type authorities struct {
	text    string
	pool    *x509.CertPool
	problem error
}

// read parses the Secret that the field names.
func (r authoritiesRef) read(found entry) authorities {
	if r.name == "" {
		return authorities{}
	}
	if problem := r.missing(found); problem != nil {
		return authorities{problem: problem}
	}
	pool, err := trust.Parse(found.data)
	if err == nil && len(found.data) > r.limit {
		err = fmt.Errorf("there are more than %d KiB of them", r.limit>>10)
	}
	if err != nil {
		return authorities{problem: r.garbled(err)}
	}
	return authorities{text: string(found.data), pool: pool}
}

func (r authoritiesRef) missing(found entry) error {
	then := fmt.Sprintf("put the certificates of the authorities there, in PEM. Until then %s.", r.without)
	switch {
	case found.refused != nil:
		return &caError{fmt.Sprintf("Secret '%s', which `%s` names, %v. Until then %s.", r.name, r.field, found.refused, r.without)}
	case !found.secret:
		return &caError{fmt.Sprintf("There is no Secret '%s', which `%s` names. Create it with the key '%s', and %s", r.name, r.field, r.key, then)}
	case !found.key:
		return &caError{fmt.Sprintf("Secret '%s' has no key '%s', which `%s` names. Create the key, and %s", r.name, r.key, r.field, then)}
	default:
		return nil
	}
}

func (r authoritiesRef) garbled(why error) error {
	return &caError{fmt.Sprintf("The key '%s' of Secret '%s', which `%s` names, does not hold certificates in PEM: %v. "+
		"Put those of the authorities there, and nothing else. Until then %s.", r.key, r.name, r.field, why, r.without)}
}
