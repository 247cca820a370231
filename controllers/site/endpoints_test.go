package site_test

import (
	"maps"
	"strings"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	apimeta "k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	tokensv1alpha1 "apitokens.dev/operator/api/v1alpha1"
	"apitokens.dev/operator/hack/lib/kubetest"
)

// secured is a world whose webhook and portal serve TLS with a Secret of the operator's namespace.
func (w *world) secured() {
	w.reconciler.WebhookURL = strings.Replace(webhookURL, "http://", "https://", 1)
	w.reconciler.PortalURL = strings.Replace(portalURL, "http://", "https://", 1)
	w.reconciler.TLSSecret = w.ns + "-tls"
}

// bundle writes the Secret with the certificate of webhook and portal. Clients need only the authorities.
func (w *world) bundle(authorities string) {
	w.Helper()
	data := map[string][]byte{"tls.crt": nil, "tls.key": nil, "ca.crt": []byte(authorities)}
	if s := w.secret(kubetest.SystemNamespace, w.reconciler.TLSSecret); s != nil {
		w.setData(s, data)
		return
	}
	s := &corev1.Secret{ObjectMeta: metav1.ObjectMeta{Namespace: kubetest.SystemNamespace, Name: w.reconciler.TLSSecret}, Type: corev1.SecretTypeTLS, Data: data}
	w.create(s)
	w.Cleanup(func() { _ = env.Admin.Delete(w.Context(), s) })
}

// A site gets https URLs, and beside them the authorities with which its gateway verifies webhook and portal.
func TestAuthoritiesAreBesideTheAuthURLs(t *testing.T) {
	w := newWorld(t)
	w.secured()
	s := w.site("main")
	w.reconcile(s)
	urls := w.secret(w.ns, "main-auth-urls").Data
	for key, url := range urls {
		if !strings.HasPrefix(key, "grpc-") && !strings.HasPrefix(string(url), "https://") {
			t.Errorf("the URL %s begins with %.10s", key, url)
		}
	}
	if _, found := urls["ca.crt"]; found {
		t.Error("authorities before there is a certificate")
	}
	first, second := string(w.authority("first").PEM), string(w.authority("second").PEM)
	for _, step := range []struct {
		what string
		do   func()
		want string
	}{
		{"made", func() { w.bundle(first) }, first},
		{"rotated", func() { w.bundle(first + second) }, first + second},
		{"deleted, and made again in a moment", func() { w.remove(w.secret(kubetest.SystemNamespace, w.reconciler.TLSSecret)) }, first + second},
		{"one's own, with authorities that everybody trusts", func() { w.bundle("") }, ""},
		{"back", func() { w.bundle(second) }, second},
		{"with a private key in it", func() { w.bundle(second + "-----BEGIN PRIVATE KEY-----\nAAAA\n-----END PRIVATE KEY-----\n") }, ""},
	} {
		step.do()
		w.reconcile(s)
		now := maps.Clone(w.secret(w.ns, "main-auth-urls").Data)
		if got := string(now["ca.crt"]); got != step.want {
			t.Errorf("%s: the authorities are %q, want %q", step.what, got, step.want)
		}
		delete(now, "ca.crt")
		if !maps.EqualFunc(now, urls, func(a, b []byte) bool { return string(a) == string(b) }) {
			t.Errorf("%s: the URLs changed", step.what)
		}
	}
}

// A site that has HTTP URLs keeps them, also with new caller keys, until the Secret with them is deleted. A new site beside it has
// https URLs.
func TestHTTPURLsAreKeptUntilDeleted(t *testing.T) {
	w := newWorld(t)
	s := w.site("main")
	w.reconcile(s)
	w.secured()
	w.bundle(string(w.authority("ours").PEM))
	scheme := func(site string) string {
		w.Helper()
		data := w.secret(w.ns, site+"-auth-urls").Data
		found := map[string]bool{}
		for _, key := range []string{"nginx", "forward", "envoy", "fabric", "portal"} {
			scheme, rest, _ := strings.Cut(string(data[key]), "://")
			if host := "apitoken-"; !strings.HasPrefix(rest, host) {
				t.Errorf("%s of %s is %q", key, site, data[key])
			}
			found[scheme] = true
		}
		if _, bundled := data["ca.crt"]; len(found) != 1 || bundled != found["https"] {
			t.Errorf("%s has URLs of %v, and authorities: %t", site, found, bundled)
		}
		if found["https"] {
			return "https"
		}
		return "http"
	}
	plain := func() bool {
		w.Helper()
		c := apimeta.FindStatusCondition(s.Status.Conditions, tokensv1alpha1.ConditionReady)
		return c != nil && strings.Contains(c.Message, "plain HTTP")
	}
	for range 2 {
		before := string(w.secret(w.ns, "main-auth-urls").Data["nginx"])
		w.later(time.Minute)
		w.change(s, func(s *tokensv1alpha1.AtlassianSite) {
			s.Spec.CallerVerification.RotationRequestedTime = metav1.NewTime(w.clock.Now())
		})
		w.reconcile(s)
		if after := string(w.secret(w.ns, "main-auth-urls").Data["nginx"]); scheme("main") != "http" || after == before {
			t.Error("the URLs changed to https, or the key stayed")
		}
		if !plain() {
			t.Error("the site does not say that its URLs are those of plain HTTP")
		}
	}
	other := w.site("other", baseURL("https://other."+w.ns+".example/jira"))
	w.reconcile(other)
	if scheme("other") != "https" {
		t.Error("a new site has HTTP URLs")
	}
	w.remove(w.secret(w.ns, "main-auth-urls"))
	w.reconcile(s)
	if scheme("main") != "https" || plain() {
		t.Error("the URLs are those before the Secret was deleted")
	}
	// Back to an operator without TLS, which could answer nobody at https URLs.
	w.reconciler.WebhookURL, w.reconciler.PortalURL = webhookURL, portalURL
	w.reconcile(s)
	if scheme("main") != "http" || plain() {
		t.Error("https URLs without TLS, or advice that nobody can follow")
	}
}
