package gateway

import (
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/types"

	tokensv1alpha1 "apitokens.dev/operator/api/v1alpha1"
	"apitokens.dev/operator/hack/lib/controlplane"
	"apitokens.dev/operator/hack/lib/gatewaytest"
	"apitokens.dev/operator/internal/authurl"
	"apitokens.dev/operator/internal/pathprefix"
	"apitokens.dev/operator/internal/siteurl"
)

// siteAt is the site "main" of the namespace "jira", as in the samples.
func siteAt(t *testing.T, baseURL string, mods ...func(*Site)) Site {
	t.Helper()
	base, err := siteurl.Parse(baseURL)
	if err != nil {
		t.Fatal(err)
	}
	s := Site{
		NamespacedName: types.NamespacedName{Namespace: "jira", Name: "main"}, Base: base, TokenPaths: []string{"/rest/"},
		Keys:       authurl.NewKeys("jira", "main", time.Now()),
		WebhookURL: "https://apitoken-webhook.apitoken-system.svc:8080", PortalURL: "https://apitoken-portal.apitoken-system.svc:8080",
		GRPCPort:          9001,
		AuthURLSecretName: "main-auth-urls", Bundle: true, TLSSecretName: "apitoken-tls",
	}
	for _, mod := range mods {
		mod(&s)
	}
	return s
}

var (
	traefikEntry = tokensv1alpha1.Gateway{Type: tokensv1alpha1.GatewayTraefik, Traefik: tokensv1alpha1.TraefikGateway{
		MiddlewareName: "main-apitokens", IngressRouteName: "jira"}}
	envoyEntry = tokensv1alpha1.Gateway{Type: tokensv1alpha1.GatewayEnvoyGateway, EnvoyGateway: tokensv1alpha1.EnvoyGateway{HTTPRouteName: "jira"}}
	istioEntry = tokensv1alpha1.Gateway{Type: tokensv1alpha1.GatewayIstio, Istio: tokensv1alpha1.IstioGateway{
		ProviderName: "apitokens-main", Selector: map[string]tokensv1alpha1.LabelValue{"istio": "ingress"}}}
	// istioRouteEntry is for a product with an HTTPRoute.
	istioRouteEntry = tokensv1alpha1.Gateway{Type: tokensv1alpha1.GatewayIstio, Istio: tokensv1alpha1.IstioGateway{
		ProviderName: "apitokens-main", Selector: map[string]tokensv1alpha1.LabelValue{"istio": "ingress"}, HTTPRouteName: "jira"}}
	nginxEntry   = tokensv1alpha1.Gateway{Type: tokensv1alpha1.GatewayIngressNginx, IngressNginx: tokensv1alpha1.IngressGateway{IngressName: "jira-rest"}}
	haproxyEntry = tokensv1alpha1.Gateway{Type: tokensv1alpha1.GatewayHAProxyIngress, HAProxyIngress: tokensv1alpha1.IngressGateway{IngressName: "jira-rest"}}
)

// route is a person's route with a spec.
func route(spec map[string]any) *unstructured.Unstructured {
	return &unstructured.Unstructured{Object: map[string]any{"spec": spec}}
}

// The objects are those of the samples, which people may paste instead. A sample has more: the product's own routes, for example,
// and annotations of an Ingress that are a person's.
func TestObjectsAreThoseOfTheSamples(t *testing.T) {
	ingress := func(class string) *unstructured.Unstructured {
		return route(map[string]any{"ingressClassName": class, "tls": []any{map[string]any{"hosts": []any{"jira.example.com"}, "secretName": "jira-tls"}}})
	}
	gatewayAPI := route(map[string]any{"parentRefs": []any{map[string]any{"name": "eg", "namespace": "envoy-gateway-system"}}})
	for folder, test := range map[string]struct {
		entry tokensv1alpha1.Gateway
		route *unstructured.Unstructured
		want  int
	}{
		"traefik":         {traefikEntry, route(map[string]any{"entryPoints": []any{"websecure"}, "routes": []any{map[string]any{"match": "Host(`jira.example.com`)"}}}), 5},
		"envoy-gateway":   {envoyEntry, gatewayAPI, 5},
		"istio":           {istioEntry, nil, 1},
		"ingress-nginx":   {nginxEntry, ingress("nginx"), 3},
		"haproxy-ingress": {haproxyEntry, ingress("haproxy"), 5},
	} {
		t.Run(folder, func(t *testing.T) {
			s := siteAt(t, "https://jira.example.com")
			auth := s.authURL(authurl.Forward)
			if strings.Contains(folder, "ingress") {
				auth = s.authURL(authurl.Nginx)
			}
			path := filepath.Join(controlplane.RepositoryRoot(), "config/samples/gateways", folder, "jira.yaml")
			sample := map[string]*unstructured.Unstructured{}
			for _, o := range gatewaytest.Read(t, path, "AUTH_URL", auth, "AUTH_PATH", strings.TrimPrefix(auth, s.WebhookURL), "namespace: istio-ingress", "namespace: jira") {
				sample[refOf(o).in("")] = o
			}
			objects := planFor(s, test.entry).all(test.route)
			if len(objects) != test.want {
				t.Errorf("there are %d objects, want %d", len(objects), test.want)
			}
			for _, o := range objects {
				want := sample[refOf(o).in("")]
				if want == nil {
					t.Fatalf("the sample has no %s", refOf(o).in(""))
				}
				expectAsIn(t, want, o)
			}
		})
	}
}

// expectAsIn compares an object that is written with that of a sample.
func expectAsIn(t *testing.T, want, o *unstructured.Unstructured) {
	t.Helper()
	name := refOf(o).in("")
	if o.GetAPIVersion() != want.GetAPIVersion() {
		t.Errorf("%s is of %s, in the sample of %s", name, o.GetAPIVersion(), want.GetAPIVersion())
	}
	if diff := cmp.Diff(want.Object["spec"], o.Object["spec"]); diff != "" && !refOf(o).annotated() {
		t.Errorf("%s (-sample +written):\n%s", name, diff)
	}
	for key, value := range o.GetAnnotations() {
		if want.GetAnnotations()[key] != value && !strings.HasPrefix(key, sitePrefix) {
			t.Errorf("%s: %s is %q, in the sample %q", name, key, value, want.GetAnnotations()[key])
		}
	}
}

// annotated returns the Ingress of a person that an entry annotates.
func annotated(s Site, entry tokensv1alpha1.Gateway) *unstructured.Unstructured {
	all := planFor(s, entry).objects(route(nil))
	return all[slices.IndexFunc(all, func(o *unstructured.Unstructured) bool { return refOf(o).annotated() })]
}

// The annotations for ingress-nginx are those that its page shows.
func TestAnnotationsAreThoseOfThePage(t *testing.T) {
	s := siteAt(t, "https://jira.example.com")
	for page, entry := range map[string]tokensv1alpha1.Gateway{"ingress-nginx.md": nginxEntry, "gateways/haproxy-ingress.md": haproxyEntry} {
		got := annotated(s, entry).GetAnnotations()
		text := readFile(t, filepath.Join(controlplane.RepositoryRoot(), "docs/how-to", page))
		if len(got) < 3 {
			t.Errorf("only %d annotations", len(got))
		}
		for name, value := range got {
			shown := strings.ReplaceAll(value, s.authURL(authurl.Nginx), "<the key nginx of Secret main-auth-urls>")
			shown = strings.ReplaceAll(shown, strings.TrimPrefix(s.authURL(authurl.Nginx), s.WebhookURL), "<the path of key nginx of Secret main-auth-urls>")
			line := name + `: "` + shown + `"`
			if strings.Contains(value, "\n") {
				line = name + ": |\n      " + strings.ReplaceAll(strings.TrimSpace(shown), "\n", "\n      ")
			}
			if !strings.Contains(text, line) {
				t.Errorf("%s does not show %s", page, line)
			}
		}
	}
}

// A context path stands in front of every path that a gateway compares, and the portal gets its own mount in the place of it.
func TestContextPath(t *testing.T) {
	s := siteAt(t, "https://example.com/jira.2", func(s *Site) { s.TokenPaths = []string{"/rest/", "/secure/attachment/"} })
	rules := planFor(s, istioEntry).objects(nil)[0].Object["spec"].(map[string]any)["rules"].([]any)
	operation := rules[0].(map[string]any)["to"].([]any)[0].(map[string]any)["operation"]
	want := map[string]any{
		"hosts": []any{"example.com", "example.com:*"}, "paths": []any{"/jira.2/rest/*", "/jira.2/secure/attachment/*"},
		"notPaths": []any{"/jira.2/rest/api-tokens/*", "/jira.2/plugins/servlet/api-tokens", "/jira.2/plugins/servlet/api-tokens/*"},
	}
	if diff := cmp.Diff(any(want), operation); diff != "" {
		t.Error(diff)
	}
	var prefixes []string
	for _, rule := range s.portalRoute(service{}, nil)["rules"].([]any) {
		rule := rule.(map[string]any)
		path := rule["matches"].([]any)[0].(map[string]any)["path"].(map[string]any)["value"].(string)
		rewrite := rule["filters"].([]any)[0].(map[string]any)["urlRewrite"].(map[string]any)["path"].(map[string]any)["replacePrefixMatch"].(string)
		prefixes = append(prefixes, path+" "+rewrite)
	}
	if want := []string{
		"/jira.2/rest/api-tokens /portal/jira/main/rest/api-tokens", "/jira.2/plugins/servlet/api-tokens /portal/jira/main/plugins/servlet/api-tokens",
	}; !slices.Equal(prefixes, want) {
		t.Errorf("routes to the portal %q", prefixes)
	}
	nginx := planFor(s, nginxEntry).portal(nil)[1]
	paths := nginx.Object["spec"].(map[string]any)["rules"].([]any)[0].(map[string]any)["http"].(map[string]any)["paths"].([]any)
	path := regexp.MustCompile("^" + paths[0].(map[string]any)["path"].(string))
	target := nginx.GetAnnotations()["nginx.ingress.kubernetes.io/rewrite-target"]
	for from, to := range map[string]string{
		"/jira.2/rest/api-tokens/latest/": "/portal/jira/main/rest/api-tokens/latest/", "/jira.2/plugins/servlet/api-tokens": "/portal/jira/main/plugins/servlet/api-tokens",
		"/jirax2/rest/api-tokens/latest/": "/jirax2/rest/api-tokens/latest/", "/jira.2/rest/api": "/jira.2/rest/api",
	} {
		if got := path.ReplaceAllString(from, target); got != to {
			t.Errorf("ingress-nginx makes %q of %q", got, from)
		}
	}
	replace := s.toPortal()["replacePathRegex"].(map[string]any)
	got := regexp.MustCompile(replace["regex"].(string)).ReplaceAllString("/jira.2/rest/api-tokens/latest/", replace["replacement"].(string))
	if got != "/portal/jira/main/rest/api-tokens/latest/" || regexp.MustCompile(replace["regex"].(string)).MatchString("/jirax2/rest/") {
		t.Errorf("%v makes %q", replace, got)
	}
}

// With an identity header of its own, a site has it replaced and cleared beside the default, and every request is asked about.
func TestIdentityHeader(t *testing.T) {
	s := siteAt(t, "https://jira.example.com", func(s *Site) { s.IdentityHeader, s.Everything = "X-Remote-User", true })
	for _, entry := range []tokensv1alpha1.Gateway{traefikEntry, nginxEntry} {
		asking := planFor(s, entry).objects(nil)
		for _, o := range asking {
			toPortal := o.GetName() == "main-apitokens-portal"
			text, err := o.MarshalJSON()
			both := strings.Contains(string(text), "X-Forwarded-User") && strings.Contains(string(text), "X-Remote-User")
			if err != nil || both == toPortal {
				t.Errorf("%s is %s, %v", refOf(o).in("jira"), text, err)
			}
		}
	}
	rules := planFor(s, istioEntry).objects(nil)[0].Object["spec"].(map[string]any)["rules"].([]any)
	operation := rules[0].(map[string]any)["to"].([]any)[0].(map[string]any)["operation"].(map[string]any)
	if len(rules) != 1 || operation["paths"] != nil || rules[0].(map[string]any)["when"] != nil {
		t.Errorf("the rules are %v", rules)
	}
}

// Whatever Istio does not ask about leads to the portal: at the product, a client would name itself there, and Tomcat cuts path
// parameters off before it resolves `..`.
func TestIstioAsksOrLeadsToThePortal(t *testing.T) {
	for _, base := range []string{"", "/jira"} {
		s := siteAt(t, "https://jira.example.com"+base, func(s *Site) { s.Everything = true })
		objects := planFor(s, istioRouteEntry).objects(route(nil))
		spec := func(kind string) map[string]any {
			i := slices.IndexFunc(objects, func(o *unstructured.Unstructured) bool { return o.GetKind() == kind })
			return objects[i].Object["spec"].(map[string]any)
		}
		rule := spec(authorizationKind)["rules"].([]any)[0].(map[string]any)
		unasked := rule["to"].([]any)[0].(map[string]any)["operation"].(map[string]any)["notPaths"].([]any)
		isAsked := func(path string) bool {
			return !slices.ContainsFunc(unasked, func(pattern any) bool {
				prefix, more := strings.CutSuffix(pattern.(string), "*")
				return path == prefix || more && strings.HasPrefix(path, prefix)
			})
		}
		isPortals := func(path string) bool {
			return slices.ContainsFunc(spec(routeKind)["rules"].([]any), func(rule any) bool {
				match := rule.(map[string]any)["matches"].([]any)[0].(map[string]any)["path"].(map[string]any)
				return pathprefix.Covers(match["value"].(string), path)
			})
		}
		for _, path := range []string{siteurl.APIPath, siteurl.PortalPath} {
			for _, suffix := range []string{"", "/", "/x", "x", "-x", ".jsp", ";x", ";x/..;/..;/..;/rest/api/2/myself", "%2f..", "/..;/..;/..;/rest/api/2/myself"} {
				if at := base + path + suffix; !isAsked(at) && !isPortals(at) {
					t.Errorf("%s reaches the product unasked", at)
				}
			}
			if at := base + path + "/x"; isAsked(at) {
				t.Errorf("%s is asked about", at)
			}
		}
		if isAsked(base + siteurl.PortalPath) {
			t.Error("the page is asked about")
		}
	}
}

// certified returns an entry with the Secret of a client certificate.
func certified(entry tokensv1alpha1.Gateway) tokensv1alpha1.Gateway {
	const name = "apitoken-client"
	switch entry.Type {
	case tokensv1alpha1.GatewayTraefik:
		entry.Traefik.ClientCertificateSecretName = name
	case tokensv1alpha1.GatewayEnvoyGateway:
		entry.EnvoyGateway.ClientCertificateSecretName = name
	case tokensv1alpha1.GatewayIngressNginx:
		entry.IngressNginx.ClientCertificateSecretName = name
	case tokensv1alpha1.GatewayHAProxyIngress:
		entry.HAProxyIngress.ClientCertificateSecretName = name
	}
	return entry
}

// Each gateway presents the certificate that its entry names, or has one from elsewhere, as a note says. One without is a problem
// for a site that wants certificates, and what was written before stays. The same is written before such a site wants them.
func TestClientCertificates(t *testing.T) {
	without := siteAt(t, "https://jira.example.com")
	wants := siteAt(t, "https://jira.example.com", func(s *Site) { s.Keys, s.ClientCertificates = authurl.Keys{}, true })
	for _, test := range []struct {
		entry       tokensv1alpha1.Gateway
		has, unless string // in what is written; a part of the note of an entry without
	}{
		{traefikEntry, `"tls":{"caSecret":"main-auth-urls","certSecret":"apitoken-client"}`, ""},
		{envoyEntry, `"tls":{"caCertificateRefs":[{"group":"","kind":"Secret","name":"main-auth-urls"}],"clientCertificateRef":` +
			`{"group":"","kind":"Secret","name":"apitoken-client"},"sni":"apitoken-webhook.apitoken-system.svc"}`, "`backendTLS.clientCertificateRef`"},
		{nginxEntry, `"nginx.ingress.kubernetes.io/proxy-ssl-secret":"jira/apitoken-client"`, ""},
		{haproxyEntry, `"haproxy-ingress.github.io/secure-crt-secret":"apitoken-client"`, ""},
		{istioEntry, "", "DestinationRule"},
	} {
		plans, known := plansFor(wants, []tokensv1alpha1.Gateway{test.entry})
		problem := plans[0].problem
		if !known || len(plans[0].refs()) == 0 || (problem == nil) != (test.unless != "") || !strings.Contains(plans[0].presents, test.unless) {
			t.Errorf("%s without: %+v, %q", test.entry.Type, problem, plans[0].presents)
		}
		if problem != nil && !strings.Contains(problem.Message, "Set `clientCertificateSecretName` to a Secret of this namespace") {
			t.Errorf("%s without: %s", test.entry.Type, problem.Message)
		}
		for name, s := range map[string]Site{"SharedKey": without, "ClientCertificate": wants} {
			entry := certified(test.entry)
			plans, _ := plansFor(s, []tokensv1alpha1.Gateway{entry})
			text := written(t, plans[0].all(route(nil)))
			if plans[0].problem != nil || !strings.Contains(text, test.has) {
				t.Errorf("%s, %s: %+v, %s", entry.Type, name, plans[0].problem, text)
			}
			if name == "ClientCertificate" && (strings.Contains(text, `"`+authurl.GRPCCallerDataKey+`"`) || strings.Contains(text, "/nginx/") && !strings.Contains(text, "/nginx/-/")) {
				t.Errorf("%s asks with a key: %s", entry.Type, text)
			}
			if entry.Type == tokensv1alpha1.GatewayEnvoyGateway && (strings.Contains(text, `"apitokens.apitoken-webhook"`) ||
				!strings.Contains(text, `"backendRefs":[{"group":"gateway.envoyproxy.io","kind":"Backend","name":"jira-apitokens"}]`)) {
				t.Errorf("Envoy asks elsewhere: %s", text)
			}
		}
	}
	overTLS := route(nil)
	overTLS.SetAnnotations(map[string]string{nginxProtocol: "HTTPS"})
	if p := planFor(wants, certified(nginxEntry)).muteAt(wants, overTLS); p == nil || !strings.Contains(p.Message, "cannot be presented. ingress-nginx asks") {
		t.Errorf("beside a product with TLS: %+v", p)
	}
	if p := planFor(wants, certified(nginxEntry)).muteAt(wants, route(nil)); p != nil {
		t.Errorf("beside a product without TLS: %+v", p)
	}
	byAddress := wants
	byAddress.WebhookURL = "https://192.0.2.7"
	for _, s := range []Site{wants, byAddress} {
		if p := planFor(s, certified(haproxyEntry)).muteAt(s, nil); (p != nil) != (s.WebhookURL == byAddress.WebhookURL) {
			t.Errorf("haproxy-ingress, with %s: %+v", s.WebhookURL, p)
		}
	}
	plain := siteAt(t, "https://jira.example.com", func(s *Site) { s.WebhookURL = strings.Replace(s.WebhookURL, "https", "http", 1) })
	for _, entry := range []tokensv1alpha1.Gateway{traefikEntry, envoyEntry, nginxEntry, haproxyEntry} {
		if text := written(t, planFor(plain, certified(entry)).objects(route(nil))); strings.Contains(text, "apitoken-client") {
			t.Errorf("%s presents a certificate without TLS: %s", entry.Type, text)
		}
	}
}

// written returns objects in one text.
func written(t *testing.T, objects []*unstructured.Unstructured) string {
	t.Helper()
	var all strings.Builder
	for _, o := range objects {
		one, err := o.MarshalJSON()
		if err != nil {
			t.Fatal(err)
		}
		all.Write(one)
	}
	return all.String()
}

// Controllers for Ingresses verify the webhook where they can, and the condition says where not.
func TestIngressControllersVerify(t *testing.T) {
	with := func(annotations map[string]string) *unstructured.Unstructured {
		o := route(nil)
		o.SetName("jira-rest")
		o.SetAnnotations(annotations)
		return o
	}
	const verify, secret = "nginx.ingress.kubernetes.io/proxy-ssl-verify", "nginx.ingress.kubernetes.io/proxy-ssl-secret"
	for name, test := range map[string]struct {
		mod      func(*Site)
		route    *unstructured.Unstructured
		verifies bool
		note     string
	}{
		"a product without TLS":    {func(*Site) {}, with(nil), true, ""},
		"a protocol in lower case": {func(*Site) {}, with(map[string]string{nginxProtocol: "http"}), true, ""},
		"a product with TLS":       {func(*Site) {}, with(map[string]string{nginxProtocol: "https"}), false, "Ingress 'jira-rest' leads to a product with TLS"},
		"gRPC with TLS":            {func(*Site) {}, with(map[string]string{nginxProtocol: "GRPCS"}), false, "leads to a product with TLS"},
		"settings of a person": {func(*Site) {}, with(map[string]string{nginxProtocol: "HTTPS", secret: "jira/both"}), false,
			"with the settings for TLS of Ingress 'jira-rest'"},
		"no authorities": {func(s *Site) { s.Bundle = false }, with(nil), false, "the operator has no authorities for it"},
		"no TLS":         {func(s *Site) { s.WebhookURL = "http://w.ns.svc" }, with(nil), false, ""},
	} {
		s := siteAt(t, "https://jira.example.com", test.mod)
		p := planFor(s, nginxEntry)
		got := p.objects(test.route)[0].GetAnnotations()
		if verifies := got[verify] == "on" && got[secret] == "jira/main-auth-urls" && got[nginxPrefix+"proxy-ssl-protocols"] == "TLSv1.3"; verifies != test.verifies {
			t.Errorf("%s: the annotations are %v", name, got)
		}
		note := p.note(test.route)
		if !strings.Contains(note, test.note) || (note == "") != (test.note == "") || strings.Contains(note, "does not verify") != strings.Contains(note, "NetworkPolicies") {
			t.Errorf("%s: the note is %q", name, note)
		}
	}
	const byAddress = "https://192.0.2.7:8443"
	s := siteAt(t, "https://jira.example.com", func(s *Site) { s.WebhookURL = byAddress })
	if url := annotated(s, haproxyEntry).GetAnnotations()[haproxyPrefix+"auth-url"]; !strings.HasPrefix(url, byAddress) {
		t.Errorf("an address is asked at %s", url)
	}
	if note := planFor(s, haproxyEntry).note(nil); !strings.Contains(note, "haproxy-ingress asks the webhook over TLS and does not verify it") {
		t.Errorf("the note is %q", note)
	}
	if p := planFor(siteAt(t, "https://jira.example.com"), haproxyEntry); p.note(nil) != "" {
		t.Errorf("the note is %q", p.note(nil))
	}
}

// The caller key is in the auth URL only, which Envoy Gateway and Istio do not get.
func TestKeyIsInTheAuthURLOnly(t *testing.T) {
	s := siteAt(t, "https://jira.example.com")
	for _, entry := range []tokensv1alpha1.Gateway{traefikEntry, envoyEntry, istioEntry, nginxEntry, haproxyEntry} {
		for _, o := range planFor(s, entry).all(nil) {
			text, err := o.MarshalJSON()
			if err != nil {
				t.Fatal(err)
			}
			for contract, keys := range s.Keys.Keys {
				rest := strings.ReplaceAll(string(text), strings.TrimPrefix(s.authURL(contract), s.WebhookURL), "")
				if strings.Contains(rest, keys[0]) {
					t.Errorf("%s has the key of %s", refOf(o).in("jira"), contract)
				}
			}
		}
	}
}

// Of two entries that lead to one object, the later has a problem. ReferenceGrants are shared.
func TestEntriesThatCollide(t *testing.T) {
	middleware := func(name string) tokensv1alpha1.Gateway {
		return tokensv1alpha1.Gateway{Type: tokensv1alpha1.GatewayTraefik, Traefik: tokensv1alpha1.TraefikGateway{MiddlewareName: name}}
	}
	route := func(name string) tokensv1alpha1.Gateway {
		return tokensv1alpha1.Gateway{Type: tokensv1alpha1.GatewayEnvoyGateway, EnvoyGateway: tokensv1alpha1.EnvoyGateway{HTTPRouteName: name}}
	}
	ingress := func(name string) tokensv1alpha1.Gateway {
		return tokensv1alpha1.Gateway{Type: tokensv1alpha1.GatewayIngressNginx, IngressNginx: tokensv1alpha1.IngressGateway{IngressName: name}}
	}
	haproxy := func(name, certificate string) tokensv1alpha1.Gateway {
		return tokensv1alpha1.Gateway{Type: tokensv1alpha1.GatewayHAProxyIngress, HAProxyIngress: tokensv1alpha1.IngressGateway{
			IngressName: name, ClientCertificateSecretName: certificate}}
	}
	type entries []tokensv1alpha1.Gateway
	for name, test := range map[string]struct {
		entries entries
		want    string // a part of the message of the last
		known   bool
	}{
		"one of each": {entries{traefikEntry, envoyEntry, istioEntry, nginxEntry}, "", true},
		"Ingresses of two kinds": {entries{ingress("a"), tokensv1alpha1.Gateway{
			Type: tokensv1alpha1.GatewayHAProxyIngress, HAProxyIngress: tokensv1alpha1.IngressGateway{IngressName: "b"}}}, "", true},
		"two Ingresses":             {entries{ingress("a"), ingress("b")}, "", true},
		"the Ingress to the portal": {entries{ingress("a"), ingress("main-apitokens")}, "`gateways[0]` leads to Ingress 'main-apitokens' too.", true},
		"one HTTPRoute":             {entries{envoyEntry, istioRouteEntry}, "`gateways[0]` leads to HTTPRoute 'jira-apitokens' too.", true},
		"one Ingress":               {entries{nginxEntry, haproxyEntry}, "`gateways[0]` leads to Ingress 'jira-rest' too.", true},
		"two Middlewares":           {entries{middleware("a"), middleware("b")}, "", true},
		"names that overlap":        {entries{traefikEntry, middleware("a"), middleware("a-clear")}, "`gateways[1]` leads to Middleware 'a-clear' too.", true},
		"two routes":                {entries{route("a"), route("b")}, "", true},
		"Services with one name":    {entries{haproxy("a.b", "one"), haproxy("a-b", "two")}, "`gateways[0]` leads to Service 'a-b-apitokens' too.", true},
		"Services that are equal":   {entries{haproxy("a.b", "one"), haproxy("a-b", "one")}, "", true},
		"a type of a later time":    {entries{traefikEntry, {Type: "Kong"}}, "this version of the operator does not know the `type`.", false},
	} {
		plans, known := plansFor(siteAt(t, "https://jira.example.com"), test.entries)
		if known != test.known || len(plans) != len(test.entries) {
			t.Errorf("%s: %d plans, known: %t", name, len(plans), known)
		}
		for i, p := range plans {
			switch last := i == len(plans)-1; {
			case last && test.want != "":
				if p.problem == nil || !strings.Contains(p.problem.Message, test.want) {
					t.Errorf("%s: problem %+v", name, p.problem)
				}
			case p.problem != nil:
				t.Errorf("%s: entry %d has the problem %+v", name, i, p.problem)
			}
		}
	}
}

// No two sites write one object, but for those that all sites share and write in the same way.
func TestSitesWriteNoObjectTogether(t *testing.T) {
	named := func(suffix string) []tokensv1alpha1.Gateway {
		traefik, envoy, istio, nginx, haproxy := traefikEntry, envoyEntry, istioRouteEntry, nginxEntry, haproxyEntry
		traefik.Traefik.MiddlewareName += suffix
		envoy.EnvoyGateway.HTTPRouteName += suffix
		istio.Istio.HTTPRouteName += "-i" + suffix
		nginx.IngressNginx.IngressName += suffix
		haproxy.HAProxyIngress.IngressName += "-h" + suffix
		return []tokensv1alpha1.Gateway{traefik, envoy, istio, nginx, haproxy}
	}
	first := siteAt(t, "https://jira.example.com")
	for name, second := range map[string]Site{
		"beside it":            siteAt(t, "https://wiki.example.com", func(s *Site) { s.Name = "second" }),
		"in another namespace": siteAt(t, "https://wiki.example.com", func(s *Site) { s.Namespace = "wiki" }),
	} {
		specs, shared := map[Ref]any{}, 0
		for _, entry := range named("") {
			for _, o := range planFor(first, entry).all(nil) {
				specs[refOf(o)] = o.Object["spec"]
			}
		}
		for _, entry := range named("-2") {
			for _, o := range planFor(second, entry).all(nil) {
				spec, both := specs[refOf(o)]
				if !both {
					continue
				}
				shared++
				if diff := cmp.Diff(spec, o.Object["spec"]); diff != "" || !refOf(o).shared() || first.mark() == second.mark() {
					t.Errorf("%s: both write %s, with the difference %s", name, refOf(o).in("jira"), diff)
				}
			}
		}
		if shared != 2 {
			t.Errorf("%s: they share %d objects, want the policies for webhook and portal", name, shared)
		}
	}
}

// The port for gRPC is the one that the operator was told.
func TestGRPCPort(t *testing.T) {
	s := siteAt(t, "https://jira.example.com", func(s *Site) { s.GRPCPort = 50051 })
	policy := planFor(s, envoyEntry).all(nil)[3].Object["spec"].(map[string]any)["extAuth"].(map[string]any)
	if got := policy["grpc"].(map[string]any)["backendRefs"].([]any)[0].(map[string]any)["port"]; got != int64(50051) {
		t.Errorf("the port is %v", got)
	}
	s.GRPCPort = 0
	if p := planFor(s, envoyEntry).problem; p == nil || !strings.Contains(p.Message, "`--webhook-grpc-port=0`") {
		t.Errorf("problem %+v", p)
	}
}

// Ingresses to the portal are made once for each type, and speak TLS with a portal that does.
func TestIngressesToThePortal(t *testing.T) {
	s := siteAt(t, "https://jira.example.com", func(s *Site) {
		s.Name, s.PortalURL = strings.Repeat("a.", 31)+"b", "https://apitoken-portal.apitoken-system.svc"
	})
	other := nginxEntry
	other.IngressNginx.IngressName = "jira-files"
	plans, _ := plansFor(s, []tokensv1alpha1.Gateway{nginxEntry, other, haproxyEntry})
	for i, want := range []int{3, 3, 5} {
		if refs := plans[i].refs(); len(refs) != want {
			t.Errorf("`gateways[%d]` leads to %v", i, refs)
		}
	}
	if own := missing(plans[1].refs(), plans[0].refs()); len(own) != 1 {
		t.Errorf("the second Ingress has a way to the portal of its own: %v", own)
	}
	old := &unstructured.Unstructured{}
	old.SetAnnotations(map[string]string{"kubernetes.io/ingress.class": "internal", "theirs": "stays theirs"})
	portal := plans[0].portal(old)
	if name := portal[0].GetName(); len(name) > 63 || strings.Contains(name, ".") || !strings.HasPrefix(name, "apitokens-a") {
		t.Errorf("the Service is named %s", name)
	}
	if ports := portal[0].Object["spec"].(map[string]any)["ports"].([]any); ports[0].(map[string]any)["port"] != int64(443) {
		t.Errorf("the ports are %v", ports)
	}
	want := map[string]string{
		"kubernetes.io/ingress.class": "internal", "nginx.ingress.kubernetes.io/backend-protocol": "HTTPS", "nginx.ingress.kubernetes.io/use-regex": "true",
		"nginx.ingress.kubernetes.io/rewrite-target": "/portal/jira/" + s.Name + "/$1",
		// The portal is verified with its own name.
		"nginx.ingress.kubernetes.io/proxy-ssl-secret": "jira/main-auth-urls", "nginx.ingress.kubernetes.io/proxy-ssl-verify": "on",
		"nginx.ingress.kubernetes.io/proxy-ssl-protocols": "TLSv1.3", "nginx.ingress.kubernetes.io/proxy-ssl-server-name": "on",
		"nginx.ingress.kubernetes.io/proxy-ssl-name": "apitoken-portal.apitoken-system.svc",
	}
	if diff := cmp.Diff(want, portal[1].GetAnnotations()); diff != "" {
		t.Errorf("annotations (-want +got): %s", diff)
	}
	toPortal := plans[2].portal(nil)[1].GetAnnotations()
	if toPortal["haproxy-ingress.github.io/secure-backends"] != "true" || toPortal["haproxy-ingress.github.io/secure-verify-ca-secret"] != "main-auth-urls" ||
		toPortal["haproxy-ingress.github.io/secure-sni"] != "apitoken-portal.apitoken-system.svc" {
		t.Errorf("haproxy-ingress leads to the portal with %v", toPortal)
	}
}

// Without TLS, and without authorities of its own, a gateway gets other settings: none, and those that the system trusts.
func TestAuthoritiesOfTheWebhook(t *testing.T) {
	text := func(entry tokensv1alpha1.Gateway, mod func(*Site)) string {
		return written(t, planFor(siteAt(t, "https://jira.example.com", mod), entry).objects(nil))
	}
	unbundled := func(s *Site) { s.Bundle = false }
	// A site that keeps its HTTP URLs has the bundle for its portal.
	plain := func(s *Site) { s.WebhookURL, s.PortalURL = "http://w.ns.svc", "http://p.ns.svc" }
	for _, test := range []struct {
		entry     tokensv1alpha1.Gateway
		mod       func(*Site)
		has, lack string
	}{
		{traefikEntry, func(*Site) {}, `"tls":{"caSecret":"main-auth-urls"}`, "insecureSkipVerify"},
		{traefikEntry, unbundled, "https://apitoken-webhook", "caSecret"},
		{traefikEntry, plain, "http://w.ns.svc", "caSecret"},
		{envoyEntry, func(*Site) {}, `"caCertificateRefs":[{"group":"","kind":"Secret","name":"apitoken-tls"}]`, "wellKnown"},
		{envoyEntry, unbundled, `"wellKnownCACertificates":"System"`, "caCertificateRefs"},
		{envoyEntry, plain, "SecurityPolicy", "BackendTLSPolicy"},
	} {
		if got := text(test.entry, test.mod); !strings.Contains(got, test.has) || strings.Contains(got, test.lack) {
			t.Errorf("want %s and no %s in %s", test.has, test.lack, got)
		}
	}
}

func TestServiceAt(t *testing.T) {
	for raw, want := range map[string]service{
		"http://w.ns.svc:8080":               {"w", "ns", 8080, false},
		"http://w.ns.svc.cluster.local:8080": {"w", "ns", 8080, false},
		"http://w.ns.svc":                    {"w", "ns", 80, false},
		"https://w.ns.svc":                   {"w", "ns", 443, true},
		"http://w.ns:8080":                   {},
		"http://webhook.example.com":         {},
		"http://10.0.0.1:8080":               {},
		"http://a.w.ns.svc:8080":             {},
		"ftp://w.ns.svc":                     {},
	} {
		if got, ok := serviceAt(raw); ok != (want != service{}) || ok && got != want {
			t.Errorf("%s is %+v, %t", raw, got, ok)
		}
	}
	external := siteAt(t, "https://jira.example.com", func(s *Site) { s.WebhookURL = "https://webhook.example.com" })
	if p := planFor(external, envoyEntry); p.problem == nil || p.problem.Reason != tokensv1alpha1.ReasonGatewayUnsupported {
		t.Errorf("problem %+v", p.problem)
	}
	for _, entry := range []tokensv1alpha1.Gateway{nginxEntry, haproxyEntry, istioEntry, {Type: tokensv1alpha1.GatewayTraefik}} {
		if p := planFor(external, entry); p.problem != nil {
			t.Errorf("%s needs no Service: %+v", entry.Type, p.problem)
		}
	}
	elsewhere := siteAt(t, "https://jira.example.com", func(s *Site) { s.PortalURL = "https://192.0.2.1:8443" })
	for _, entry := range []tokensv1alpha1.Gateway{envoyEntry, traefikEntry, istioRouteEntry} {
		if p := planFor(elsewhere, entry); p.problem == nil || p.problem.Reason != tokensv1alpha1.ReasonGatewayUnsupported {
			t.Errorf("%s cannot lead to an address: %+v", entry.Type, p.problem)
		}
	}
	for _, entry := range []tokensv1alpha1.Gateway{nginxEntry, haproxyEntry} {
		if p := planFor(elsewhere, entry); p.problem != nil || p.lacking == nil || p.portal != nil {
			t.Errorf("%s leads to %v with %+v and %+v: the question does not need a name", entry.Type, p.refs(), p.problem, p.lacking)
		}
	}
	inside := siteAt(t, "https://jira.example.com", func(s *Site) {
		s.WebhookURL, s.PortalURL = "http://w.jira.svc:80", "http://p.other.svc:80"
	})
	if refs := planFor(inside, envoyEntry).refs(); len(refs) != 3 || refs[0].Namespace != "other" {
		t.Errorf("there are %v", refs)
	}
}

func readFile(t *testing.T, path string) string {
	t.Helper()
	text, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}
