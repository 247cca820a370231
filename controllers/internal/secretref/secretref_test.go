package secretref_test

import (
	"slices"
	"strings"
	"testing"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"apitokens.dev/operator/controllers/internal/secretref"
)

// allTypes are the types of Secrets of Kubernetes, our own, and a foreign one.
var allTypes = []corev1.SecretType{
	corev1.SecretTypeOpaque, corev1.SecretTypeBasicAuth, corev1.SecretTypeTLS, corev1.SecretTypeServiceAccountToken, corev1.SecretTypeBootstrapToken,
	corev1.SecretTypeDockerConfigJson, corev1.SecretTypeDockercfg, corev1.SecretTypeSSHAuth, "helm.sh/release.v1", "",
	"apitokens.dev/hash", "apitokens.dev/caller-keys", "apitokens.dev/upstream-credential", "apitokens.dev/auth-urls", "apitokens.dev/site",
}

func TestTypes(t *testing.T) {
	const opaque, basic, tls = corev1.SecretTypeOpaque, corev1.SecretTypeBasicAuth, corev1.SecretTypeTLS
	for purpose, tc := range map[string]struct {
		check func(*corev1.Secret) error
		types []corev1.SecretType
	}{
		"import":      {secretref.Import, []corev1.SecretType{opaque, basic}},
		"licence":     {secretref.License, []corev1.SecretType{opaque, basic}},
		"authorities": {func(s *corev1.Secret) error { return secretref.Authorities(s, "ca.crt") }, []corev1.SecretType{opaque, basic, tls}},
		"upstream":    {func(s *corev1.Secret) error { return secretref.UpstreamCredential(s, "main") }, []corev1.SecretType{opaque}},
	} {
		for _, secretType := range allTypes {
			s := &corev1.Secret{Type: secretType, ObjectMeta: metav1.ObjectMeta{Labels: map[string]string{"apitokens.dev/site": "main"}}}
			err := tc.check(s)
			if want := slices.Contains(tc.types, secretType); (err == nil) != want {
				t.Errorf("%s: %q: %v, want it read: %t", purpose, secretType, err, want)
			}
			if err != nil && !strings.Contains(err.Error(), "put the value into a Secret of type Opaque") {
				t.Errorf("%s: %q: it does not say what to do: %v", purpose, secretType, err)
			}
		}
	}
}

func TestPrivateKeyIsNeverRead(t *testing.T) {
	s := &corev1.Secret{Type: corev1.SecretTypeTLS}
	if err := secretref.Authorities(s, "tls.key"); err == nil || !strings.Contains(err.Error(), "'tls.crt'") {
		t.Errorf("tls.key: %v", err)
	}
	if err := secretref.Authorities(s, "tls.crt"); err != nil {
		t.Errorf("tls.crt: %v", err)
	}
}

func TestLabel(t *testing.T) {
	for name, tc := range map[string]struct {
		labels map[string]string
		says   string // "" if it is read
	}{
		"its own site": {map[string]string{"apitokens.dev/site": "main", "app": "x"}, ""},
		"no label":     {map[string]string{"app": "x"}, "set 'apitokens.dev/site: main'"},
		"empty":        {map[string]string{"apitokens.dev/site": ""}, "set 'apitokens.dev/site: main'"},
		"another site": {map[string]string{"apitokens.dev/site": "other"}, "'apitokens.dev/site: other'"},
		"another case": {map[string]string{"apitokens.dev/site": "Main"}, "'apitokens.dev/site: Main'"},
	} {
		err := secretref.UpstreamCredential(&corev1.Secret{Type: corev1.SecretTypeOpaque, ObjectMeta: metav1.ObjectMeta{Labels: tc.labels}}, "main")
		if (err == nil) != (tc.says == "") || err != nil && !strings.Contains(err.Error(), tc.says) {
			t.Errorf("%s: %v, want one with %q", name, err, tc.says)
		}
	}
}
