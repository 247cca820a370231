package authn

import (
	"crypto/x509"
	"testing"
	"time"

	"apitokens.dev/operator/hack/lib/authority"
)

// A site may change after its callers were read, and before the lock is held. Then what is known about the certificate is of others.
func TestCertificateVerifiedForOtherCallers(t *testing.T) {
	now, ours, at := time.Now(), authority.ForTest(t, "ours"), SiteName{Namespace: "jira", Name: "main"}
	presented, err := ours.Client(now.Add(time.Hour), "ingress")
	if err != nil {
		t.Fatal(err)
	}
	callers := &certifiedCallers{authorities: ours.Pool(), names: []string{"ingress"}}
	c := NewCallerCertificate([]*x509.Certificate{presented.Leaf})
	c.verify(at, callers, now)
	for name, tc := range map[string]struct {
		certificate *CallerCertificate
		at          SiteName
		callers     *certifiedCallers
		want        Reason
	}{
		"verified":          {c, at, callers, ""},
		"still right":       {c, at, &certifiedCallers{authorities: ours.Pool(), names: []string{"ingress"}}, ""},
		"another name":      {c, at, &certifiedCallers{authorities: ours.Pool(), names: []string{"other"}}, ReasonCallerCertificateName},
		"another authority": {c, at, &certifiedCallers{authorities: authority.ForTest(t, "other").Pool(), names: []string{"ingress"}}, ReasonCallerCertificateUntrusted},
		"authorities gone":  {c, at, &certifiedCallers{names: []string{"ingress"}}, ReasonCallerCertificateUntrusted},
		"another site":      {c, SiteName{Namespace: "jira", Name: "other"}, &certifiedCallers{authorities: ours.Pool()}, ReasonCallerCertificateName},
		"none":              {nil, at, callers, ReasonCallerCertificateMissing},
	} {
		if got := tc.certificate.refusal(tc.at, tc.callers, now); got != tc.want {
			t.Errorf("%s: %q, want %q", name, got, tc.want)
		}
	}
}
