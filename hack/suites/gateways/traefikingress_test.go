package gateways_test

import (
	"context"
	"maps"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	corev1 "k8s.io/api/core/v1"
	networkingv1 "k8s.io/api/networking/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"

	"apitokens.dev/operator/hack/lib/gatewaytest"
	"apitokens.dev/operator/internal/authurl"
)

// startTraefikForIngresses starts Traefik with its provider for Ingresses of ingress-nginx, which reads the Ingresses of the sample for
// that from the real API server. The auth URL is that of the contract.
func startTraefikForIngresses(contract authurl.Contract) func(t *testing.T, w *world, edits ...string) string {
	return func(t *testing.T, w *world, edits ...string) string {
		t.Helper()
		env.Required(t)
		listen, dir := free(t), t.TempDir()
		put(t, &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: site.Namespace}})
		put(t, &networkingv1.IngressClass{ObjectMeta: metav1.ObjectMeta{Name: "nginx"}, Spec: networkingv1.IngressClassSpec{Controller: "k8s.io/ingress-nginx"}})
		lead(t, site.Namespace, "jira", w.productAt)
		lead(t, site.Namespace, "apitokens-main", w.portalAt)
		file := write(t, dir, "jira.yaml", edited(t, sample(t, "gateways/ingress-nginx/jira.yaml"), edits))
		for _, o := range gatewaytest.Read(t, file, ": AUTH_URL", ": http://"+w.webhookAt+"/"+string(contract)+"/"+callerKey+"/"+site.String()) {
			if o.GetKind() != "Ingress" {
				continue
			}
			ingress := &networkingv1.Ingress{}
			if err := runtime.DefaultUnstructuredConverter.FromUnstructured(o.Object, ingress); err != nil {
				t.Fatal(err)
			}
			ingress.Spec.TLS, ingress.Spec.Rules[0].Host = nil, "" // no Ingress has an address as its host
			maps.DeleteFunc(ingress.Annotations, func(name, _ string) bool {
				return strings.Contains(name, "/proxy-ssl-") || strings.HasSuffix(name, "/backend-protocol")
			})
			put(t, ingress)
			t.Cleanup(func() { _ = env.Admin.Delete(context.WithoutCancel(t.Context()), ingress) })
		}
		kubeconfig := filepath.Join(dir, "kubeconfig")
		if err := env.WriteKubeconfig(kubeconfig, "traefik", "system:masters"); err != nil {
			t.Fatal(err)
		}
		runWith(t, []string{"KUBECONFIG=" + kubeconfig}, listen, "traefik", "--entryPoints.web.address="+listen, "--entryPoints.web.http.aliasHeadersStrategy=delete",
			"--log.level=ERROR", "--global.checkNewVersion=false", "--global.sendAnonymousUsage=false",
			"--providers.kubernetesIngressNGINX=true", "--providers.kubernetesIngressNGINX.httpEntryPoint=web")
		waitForRoutes(t, w, listen)
		return listen
	}
}

// Traefik takes over the Ingresses of ingress-nginx, once their auth URL is that of its own contract.
func TestTraefikTakesOverIngresses(t *testing.T) {
	p := program{
		name: "traefik-ingresses", start: startTraefikForIngresses(authurl.Forward), believes: true, restAlone: true, untold: true, unready: 503, away: 500,
	}
	w := newWorld(t)
	gateway := p.start(t, w)
	send := w.over(gateway)
	for _, c := range w.credentials() {
		for _, method := range []string{"GET", "POST", "OPTIONS"} {
			w.check(t, p, send, c, method, myself+"?expand=groups")
		}
		for _, header := range slices.Concat(forged, []string{"X-Forwarded-For: 192.0.2.1"}) {
			if !strings.HasPrefix(header, "X-Api-Token-Target") { // It is not listed, and nothing reads it.
				w.check(t, p, send, c.with(header), "GET", myself)
			}
		}
	}
	exchanges, _ := w.asked()
	for _, x := range exchanges {
		if !x.Decision.Client.IsLoopback() && x.Decision.Client.IsValid() {
			t.Errorf("the client is at %s", x.Decision.Client)
		}
	}
	for _, target := range targets {
		w.checkPath(t, p, send, "GET", target)
	}
	w.checkPortal(t, p, gateway)
	w.webhookAt = free(t)
	w.checkNoVerdict(t, p, p.start(t, w), "away", p.away)
}

// With the old auth URL, that of ingress-nginx, no token passes: the webhook is told no path. A client that tells one itself chooses the
// one that is judged, which is why the URL has to change with the gateway.
func TestTraefikWithTheOldAuthURL(t *testing.T) {
	w := newWorld(t)
	gateway := startTraefikForIngresses(authurl.Nginx)(t, w)
	token := "Authorization: " + basic("alice", w.token)
	if got := w.send(t, gateway, "GET", myself, token); got.status != 503 || len(got.seen) != 0 {
		t.Errorf("%d, and the product saw %d requests", got.status, len(got.seen))
	}
	got := w.send(t, gateway, "GET", "/rest/pat/latest/tokens", token, "X-Original-URL: http://h"+myself, "X-Original-Method: GET")
	if len(got.seen) != 1 || got.seen[0].User != "alice" {
		t.Errorf("%d, and the product saw %+v: then the page may say less", got.status, got.seen)
	}
}
