// Package secretref says which Secrets the controller reads for a spec that names them. The controller can read every Secret
// of a namespace, and the author of the spec may not: so only Secrets for this purpose count.
package secretref

import (
	"fmt"
	"slices"
	"strings"

	corev1 "k8s.io/api/core/v1"

	"apitokens.dev/operator/internal/record"
)

// Import returns why a Secret is not read for `credential.imported`, or nil. The errors of this package follow the name of
// the Secret in a message, and say what to do.
func Import(s *corev1.Secret) error {
	return ofType(s, corev1.SecretTypeOpaque, corev1.SecretTypeBasicAuth)
}

// License returns why a Secret is not read for `licenseSecretRef`, or nil.
func License(s *corev1.Secret) error {
	return ofType(s, corev1.SecretTypeOpaque, corev1.SecretTypeBasicAuth)
}

// Authorities returns why a key of a Secret is not read for `upstreamCARef`, or nil. A private key never is.
func Authorities(s *corev1.Secret, key string) error {
	if s.Type == corev1.SecretTypeTLS && key == corev1.TLSPrivateKeyKey {
		return fmt.Errorf("has a private key under '%s', which is not read: name the key of the certificates, such as 'ca.crt' or '%s'",
			corev1.TLSPrivateKeyKey, corev1.TLSCertKey)
	}
	return ofType(s, corev1.SecretTypeOpaque, corev1.SecretTypeBasicAuth, corev1.SecretTypeTLS)
}

// UpstreamCredential returns why a Secret is not read for `upstreamCredentials` of a site, or nil. Its content is sent to the
// site's upstream, so its owner has to label it for that site.
func UpstreamCredential(s *corev1.Secret, site string) error {
	if err := ofType(s, corev1.SecretTypeOpaque); err != nil {
		return err
	}
	switch label, found := s.Labels[record.LabelSite]; {
	case !found:
		return fmt.Errorf("has no label '%s', and is not sent to the product without it: set '%s: %s'", record.LabelSite, record.LabelSite, site)
	case label != site:
		return fmt.Errorf("has the label '%s: %s', and is for that site: set '%s: %s', or name another Secret",
			record.LabelSite, label, record.LabelSite, site)
	}
	return nil
}

func ofType(s *corev1.Secret, types ...corev1.SecretType) error {
	if slices.Contains(types, s.Type) {
		return nil
	}
	names := make([]string, len(types))
	for i, t := range types {
		names[i] = string(t)
	}
	return fmt.Errorf("has the type '%s', which is not read: put the value into a Secret of type %s", s.Type, strings.Join(names, " or "))
}
