package site_test

import (
	"strings"
	"testing"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	tokensv1alpha1 "apitokens.dev/operator/api/v1alpha1"
	"apitokens.dev/operator/internal/record"
)

// secretOf is a Secret of the world with a value under a key, and with what its type needs besides.
func (w *world) secretOf(secretType corev1.SecretType, name, key, value string, labels map[string]string) *corev1.Secret {
	s := &corev1.Secret{ObjectMeta: metav1.ObjectMeta{Namespace: w.ns, Name: name, Labels: labels}, Type: secretType, Data: map[string][]byte{}}
	switch secretType {
	case corev1.SecretTypeServiceAccountToken:
		s.Annotations = map[string]string{corev1.ServiceAccountNameKey: "default"}
	case corev1.SecretTypeBasicAuth:
		s.Data[corev1.BasicAuthUsernameKey] = []byte("alice")
	case corev1.SecretTypeTLS:
		s.Data[corev1.TLSCertKey], s.Data[corev1.TLSPrivateKeyKey] = []byte("x"), []byte("x")
	}
	s.Data[key] = []byte(value)
	return s
}

// An AtlassianSite must not send just any Secret of its namespace to a server of its author's.
func TestOnlyLabelledOpaqueSecretsAreSent(t *testing.T) {
	mine := map[string]string{record.LabelSite: "main"}
	for name, tc := range map[string]struct {
		secretType corev1.SecretType
		labels     map[string]string
		says       string // "" if it is sent
	}{
		"labelled":                       {corev1.SecretTypeOpaque, mine, ""},
		"without a label":                {corev1.SecretTypeOpaque, nil, "Secret 'alice-pat' has no label 'apitokens.dev/site', and is not sent to the product without it: set 'apitokens.dev/site: main'"},
		"for another site":               {corev1.SecretTypeOpaque, map[string]string{record.LabelSite: "other"}, "has the label 'apitokens.dev/site: other'"},
		"a service account, labelled":    {corev1.SecretTypeServiceAccountToken, mine, "has the type 'kubernetes.io/service-account-token', which is not read"},
		"a login, labelled":              {corev1.SecretTypeBasicAuth, mine, "put the value into a Secret of type Opaque"},
		"a certificate, labelled":        {corev1.SecretTypeTLS, mine, "has the type 'kubernetes.io/tls'"},
		"somebody else's type, labelled": {"helm.sh/release.v1", mine, "has the type 'helm.sh/release.v1'"},
	} {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t)
			jira := w.jira("jira", "alice")
			w.create(w.secretOf(tc.secretType, "alice-pat", tokensv1alpha1.UpstreamCredentialKey, pat("alice", 1), tc.labels))
			s := w.site("main", users("alice"))
			w.reconcile(s)
			if tc.says == "" {
				w.expectCredentials(s, tokensv1alpha1.ReasonVerified)
				w.expectLosesLabel(s)
				return
			}
			if c := w.expectCredentials(s, tokensv1alpha1.ReasonCredentialUnusable); !strings.Contains(c.Message, tc.says) {
				t.Errorf("message %q", c.Message)
			}
			if received := sent(jira); len(received) != 0 {
				t.Errorf("the upstream received %q", received)
			}
			w.expectIdle(s)
		})
	}
}

// expectLosesLabel expects that the working copy goes with the label.
func (w *world) expectLosesLabel(s *tokensv1alpha1.AtlassianSite) {
	w.Helper()
	w.expectHeld(s, map[string]string{"alice": pat("alice", 1)})
	source := w.secret(w.ns, "alice-pat")
	source.Labels = nil
	w.setData(source, source.Data)
	w.reconcile(s)
	w.expectCredentials(s, tokensv1alpha1.ReasonCredentialUnusable)
	w.expectHeld(s, map[string]string{"alice": ""})
}

// Of a licence and of authorities only the intended types are read, and never a private key.
func TestTypesOfNamedSecrets(t *testing.T) {
	const ca, lic = tokensv1alpha1.ConditionUpstreamReachable, tokensv1alpha1.ConditionLicensed
	for name, tc := range map[string]struct {
		secretType corev1.SecretType
		key        string
		condition  string
		read       bool
	}{
		"licence, Opaque":                  {corev1.SecretTypeOpaque, "license", lic, true},
		"licence, a login":                 {corev1.SecretTypeBasicAuth, "password", lic, true},
		"licence, a service account":       {corev1.SecretTypeServiceAccountToken, "token", lic, false},
		"licence, a certificate":           {corev1.SecretTypeTLS, "tls.crt", lic, false},
		"authorities, Opaque":              {corev1.SecretTypeOpaque, "ca.crt", ca, true},
		"authorities, a login":             {corev1.SecretTypeBasicAuth, "password", ca, true},
		"authorities, of a certificate":    {corev1.SecretTypeTLS, "ca.crt", ca, true},
		"authorities, the certificate":     {corev1.SecretTypeTLS, "tls.crt", ca, true},
		"authorities, its private key":     {corev1.SecretTypeTLS, "tls.key", ca, false},
		"authorities, a service account's": {corev1.SecretTypeServiceAccountToken, "ca.crt", ca, false},
	} {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t)
			w.wantLicenses()
			w.create(w.secretOf(tc.secretType, "named", tc.key, "what is named", nil))
			s := w.site("main", upstreamURL(w.secure("jira")+"/jira"))
			if tc.condition == lic {
				w.change(s, licenseRef("named", tc.key))
			} else {
				w.change(s, func(s *tokensv1alpha1.AtlassianSite) {
					s.Spec.UpstreamCARef = tokensv1alpha1.UpstreamCAReference{Name: "named", Key: tc.key}
				})
			}
			w.reconcile(s)
			reason := map[string]string{lic: tokensv1alpha1.ReasonLicenseMalformed, ca: tokensv1alpha1.ReasonCAUnusable}[tc.condition]
			if !tc.read && tc.condition == lic {
				reason = tokensv1alpha1.ReasonLicenseMissing
			}
			c := w.expect(s, tc.condition, reason)
			if notRead := strings.Contains(c.Message, "not read"); notRead == tc.read || !strings.Contains(c.Message, "Secret 'named'") {
				t.Errorf("message %q", c.Message)
			}
			if stored := string(w.projectionSecret(s).Data["site.json"]); !tc.read && strings.Contains(stored, "what is named") {
				t.Errorf("projected is %s", stored)
			}
			w.expectIdle(s)
		})
	}
}
