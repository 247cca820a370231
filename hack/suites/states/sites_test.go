package states_test

import (
	"crypto/tls"
	"io"
	"log"
	"net/http"
	"net/http/httptest"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	tokensv1alpha1 "apitokens.dev/operator/api/v1alpha1"
	"apitokens.dev/operator/controllers/admission"
	"apitokens.dev/operator/hack/lib/authority"
	"apitokens.dev/operator/hack/lib/fakeproduct"
	"apitokens.dev/operator/hack/lib/kubetest"
	"apitokens.dev/operator/internal/authurl"
)

// products serves a Jira and a Confluence under the names of Services. Both have the users alice and bob.
func (w *world) products() {
	users := []fakeproduct.User{{Name: "alice", PATs: []string{"pat-of-alice"}}, {Name: "bob", PATs: []string{"pat-of-bob"}}}
	jira := fakeproduct.NewJira(fakeproduct.Options{ContextPath: "/jira", Users: users})
	w.serveHTTP("jira", jira)
	w.serveHTTP("jira-new", jira)
	w.serveHTTP("wiki", fakeproduct.NewConfluence(fakeproduct.Options{ContextPath: "/jira", Users: users}))
}

func (w *world) upstream(url string) siteMod {
	return func(s *tokensv1alpha1.AtlassianSite) { s.Spec.UpstreamURL = url }
}

func pats(entries ...tokensv1alpha1.UpstreamCredential) siteMod {
	return func(s *tokensv1alpha1.AtlassianSite) { s.Spec.UpstreamCredentials = entries }
}

func ca(secret string) siteMod {
	return func(s *tokensv1alpha1.AtlassianSite) { s.Spec.UpstreamCARef.Name = secret }
}

var siteExamples = []example{
	{"main", 0, func(w *world, name string) { w.site(name, baseURL("https://jira.example.com/jira")) }},
	{"nobody-yet", 0, func(w *world, name string) { w.site(name, pats()) }},
	{"by-header", 0, func(w *world, name string) {
		w.site(name, pats(), func(s *tokensv1alpha1.AtlassianSite) { s.Spec.Handoff.Type = tokensv1alpha1.HandoffIdentityHeader })
	}},
	{"second", 0, func(w *world, name string) { w.site(name, baseURL("https://jira.example.com/jira")) }},
	{"outside", 0, func(w *world, name string) { w.site(name, w.upstream("https://jira.example.net/jira")) }},
	{"auth-urls-taken", 0, func(w *world, name string) {
		w.put(name+"-auth-urls", "note", "somebody else's")
		w.site(name)
	}},
	{"policies-in-force", 0, func(w *world, name string) { w.guardedSite(name, admission.State{GuardedSince: noon.Add(-day)}) }},
	{"policies-missing", 0, func(w *world, name string) { w.guardedSite(name, w.unguarded()) }},
	{"malformed", 0, func(w *world, name string) {
		s := w.site(name)
		env.Malform(w.T, s, "issuedAfter", lowerCase)
		w.lookAtSite(s)
	}},
	{"keys-damaged", 0, func(w *world, name string) {
		s := w.site(name)
		keys := w.secret(kubetest.CredentialsNamespace, authurl.KeysSecretName(w.jira, name))
		keys.Data = map[string][]byte{authurl.KeysDataKey: []byte("{")}
		w.must(w.api.Update(w.Context(), keys))
		w.lookAtSite(s)
	}},
	{"keys-rotated", hour, func(w *world, name string) {
		s := w.site(name)
		w.later(hour)
		change(w, s, func(s *tokensv1alpha1.AtlassianSite) {
			s.Spec.CallerVerification.RotationRequestedTime = metav1.NewTime(noon)
		})
		w.lookAtSite(s)
	}},
	{"gateway-ca-missing", 0, func(w *world, name string) {
		w.webhook = "https://apitoken-webhook.apitoken-system.svc:8080"
		defer func() { w.webhook = "" }()
		w.site(name, clientCertificates)
	}},
	{"webhook-without-tls", 0, func(w *world, name string) { w.site(name, clientCertificates) }},
	{"memory-damaged", 0, func(w *world, name string) {
		s := w.site(name)
		memory := w.secret(kubetest.SystemNamespace, "memory."+w.jira+"."+name)
		memory.Data = map[string][]byte{"memory.json": []byte("{")}
		w.must(w.api.Update(w.Context(), memory))
		w.lookAtSite(s)
	}},
	{"epoch-far-ahead", 0, func(w *world, name string) {
		w.site(name, func(s *tokensv1alpha1.AtlassianSite) { s.Spec.IssuedAfter = metav1.NewTime(noon.Add(365 * day)) })
	}},
	{"down", hour, func(w *world, name string) {
		s := w.site(name)
		w.later(hour)
		up := w.network.servers
		w.network.servers = nil
		w.lookAtSite(s)
		w.network.servers = up
	}},
	{"no-context-path", 0, func(w *world, name string) { w.site(name, w.upstream(w.origin("jira"))) }},
	{"no-tls", 0, func(w *world, name string) {
		origin := "https://jira." + w.jira + ".svc:8080"
		w.network.servers[origin] = "https" + w.network.servers[w.origin("jira")][len("http"):]
		w.site(name, w.upstream(origin+"/jira"))
	}},
	{"a-wiki", 0, func(w *world, name string) { w.site(name, w.upstream(w.origin("wiki")+"/jira")) }},
	{"no-ca", 0, func(w *world, name string) {
		w.site(name, w.upstream("https://jira."+w.jira+".svc:8443/jira"), ca("product-ca"))
	}},
	{"ca-without-key", 0, func(w *world, name string) {
		w.put("other-ca", "tls.crt", "in another key")
		w.site(name, w.upstream("https://jira."+w.jira+".svc:8443/jira"), ca("other-ca"))
	}},
	{"ca-garbled", 0, func(w *world, name string) {
		w.put("garbled-ca", "ca.crt", "not PEM")
		w.site(name, w.upstream("https://jira."+w.jira+".svc:8443/jira"), ca("garbled-ca"))
	}},
	{"ca-of-another-type", 0, func(w *world, name string) {
		w.create(&corev1.Secret{
			ObjectMeta: metav1.ObjectMeta{Namespace: w.jira, Name: "tls-ca"}, Type: corev1.SecretTypeTLS,
			StringData: map[string]string{"tls.crt": "of-the-ingress", "tls.key": "of-the-ingress-too"},
		})
		w.site(name, w.upstream("https://jira."+w.jira+".svc:8443/jira"), ca("tls-ca"),
			func(s *tokensv1alpha1.AtlassianSite) { s.Spec.UpstreamCARef.Key = "tls.key" })
	}},
	{"certificate-of-nobody", 0, func(w *world, name string) { w.site(name, w.upstream(w.secure("jira", "127.0.0.1")+"/jira")) }},
	{"certificate-of-others", 0, func(w *world, name string) {
		other, err := authority.New("other")
		w.must(err)
		w.putCA("ca-of-others", other)
		w.site(name, w.upstream(w.secure("jira", "127.0.0.1")+"/jira"), ca("ca-of-others"))
	}},
	{"certificate-host", 0, func(w *world, name string) {
		w.site(name, w.upstream(w.secure("other-host", "jira.example.com")+"/jira"), ca("other-host-ca"))
	}},
	{"certificate-expired", 0, func(w *world, name string) {
		w.site(name, w.upstream(w.secure("expired", "127.0.0.1")+"/jira"), ca("expired-ca"))
	}},
	{"moved", day, func(w *world, name string) {
		s := w.site(name)
		w.later(day)
		change(w, s, w.upstream(w.origin("jira-new")+"/jira"))
		w.lookAtSite(s)
	}},
	{"pats-unusable", 0, func(w *world, name string) {
		w.putPAT(name, "bob-pat", "pat-of-bob")
		w.putPAT(name, "carol-pat", "the pat of carol")
		w.putPAT(name, "dan-pat", "pat-of-dan")
		w.put("erin-pat", "token", "pat-of-erin")
		w.site(name, pats(
			tokensv1alpha1.UpstreamCredential{User: "alice", SecretName: "bob-pat"},
			tokensv1alpha1.UpstreamCredential{User: "bob", SecretName: "bobs-pat"},
			tokensv1alpha1.UpstreamCredential{User: "carol", SecretName: "carol-pat"},
			tokensv1alpha1.UpstreamCredential{User: "dan", SecretName: "dan-pat"},
			tokensv1alpha1.UpstreamCredential{User: "erin", SecretName: "erin-pat"},
		))
	}},
}

// clientCertificates makes a site want client certificates of its ingress.
func clientCertificates(s *tokensv1alpha1.AtlassianSite) {
	s.Spec.CallerVerification = tokensv1alpha1.CallerVerification{
		Type: tokensv1alpha1.CallerVerificationClientCertificate,
		ClientCertificate: tokensv1alpha1.ClientCertificateVerification{
			AuthoritiesRef: tokensv1alpha1.CallerAuthoritiesReference{Name: "gateway-ca"}, Names: []string{"traefik.ingress.svc"},
		},
	}
}

// guardedSite creates a site while the admission policies are in this state.
func (w *world) guardedSite(name string, state admission.State) {
	w.siteGuard = guard{state}
	defer func() { w.siteGuard = nil }()
	w.site(name)
}

// unguarded is the state of admission policies that the operator never saw.
func (w *world) unguarded() admission.State {
	state, err := (&admission.Guard{Client: w.api, Live: w.api, Namespace: w.jira}).Stored(w.Context())
	w.must(err)
	return state
}

func baseURL(url string) siteMod {
	return func(s *tokensv1alpha1.AtlassianSite) { s.Spec.BaseURL = url }
}

func (w *world) putCA(name string, a *authority.Authority) {
	w.create(&corev1.Secret{ObjectMeta: metav1.ObjectMeta{Namespace: w.jira, Name: name}, Data: map[string][]byte{"ca.crt": a.PEM}})
}

// secure serves a certificate for a host under the https name of a Service, once, and puts its authority into a Secret
// named after the Service with the suffix "-ca". The right host is an IP address, to which the test's network leads.
func (w *world) secure(service, host string) string {
	origin := "https://" + service + "." + w.jira + ".svc:8443"
	if w.network.servers[origin] != "" {
		return origin
	}
	a, err := authority.New(service)
	w.must(err)
	w.putCA(service+"-ca", a)
	until := time.Now().Add(hour)
	if service == "expired" {
		until = time.Now().Add(-hour)
	}
	certificate, err := a.Server(until, host)
	w.must(err)
	server := httptest.NewUnstartedServer(http.NotFoundHandler())
	server.Config.ErrorLog = log.New(io.Discard, "", 0) // handshakes fail on purpose
	server.TLS = &tls.Config{Certificates: []tls.Certificate{certificate}}
	server.StartTLS()
	w.serve(origin, server)
	return origin
}
