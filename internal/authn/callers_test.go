package authn

import (
	"crypto/x509"
	"testing"
)

// A site may change after its callers were read, and before the lock is held. Then nothing is known about the certificate.
func TestCertificateVerifiedForOtherCallersIsNone(t *testing.T) {
	at, callers := SiteName{Namespace: "jira", Name: "main"}, &certifiedCallers{}
	c := NewCallerCertificate([]*x509.Certificate{{}})
	c.verdicts[at] = certificateVerdict{callers: callers}
	for name, tc := range map[string]struct {
		certificate *CallerCertificate
		at          SiteName
		callers     *certifiedCallers
		want        Reason
	}{
		"verified":     {c, at, callers, ""},
		"changed":      {c, at, &certifiedCallers{names: []string{"other"}}, ReasonCallerCertificateMissing},
		"another site": {c, SiteName{Namespace: "jira", Name: "other"}, callers, ReasonCallerCertificateMissing},
		"none":         {nil, at, callers, ReasonCallerCertificateMissing},
	} {
		if got := tc.certificate.refusal(tc.at, tc.callers); got != tc.want {
			t.Errorf("%s: %q, want %q", name, got, tc.want)
		}
	}
}
