package config_test

import (
	"os"
	"path/filepath"
	"regexp"
	"testing"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"apitokens.dev/operator/hack/lib/gatewaytest"
)

// withoutDefinition are samples whose CRDs are in no Go module.
var withoutDefinition = map[string]bool{"apisix": true}

// The API server accepts each sample, with the gateway's own CRDs and no unknown field.
func TestSamplesOfGateways(t *testing.T) {
	admin := clients[clusterAdmin]
	gatewaytest.Install(t, admin, gatewaytest.All()...)
	samples, err := filepath.Glob("samples/gateways/*/*.yaml")
	if err != nil || len(samples) < 7 {
		t.Fatalf("%d samples, %v", len(samples), err)
	}
	for _, sample := range samples {
		gateway := filepath.Base(filepath.Dir(sample))
		t.Run(gateway, func(t *testing.T) {
			for _, o := range gatewaytest.Read(t, sample, "AUTH_URL", "http://webhook/forward/KEY/jira/main", ": PATH", ": /envoy/KEY/jira/main", "CALLER_KEY", "KEY") {
				if withoutDefinition[gateway] {
					continue // it is YAML, at least
				}
				createOnce(t, admin, namespace(o.GetNamespace()))
				if err := admin.Create(t.Context(), o, client.FieldValidation("Strict"), client.DryRunAll); err != nil {
					t.Errorf("%s %s: %v", o.GetKind(), o.GetName(), err)
				}
			}
		})
	}
}

// A trap is one into which configurations of gateways fall, and the expression by which a sample shows that it does not. A gateway
// that has the trap and no expression has none of it by itself, for the reason given.
type trap struct {
	handled map[string]string
	// absent are the gateways without the trap.
	absent map[string]string
	// open are the gateways whose sample does not handle it. The page of each says so, in these words.
	open map[string]string
}

// everyHeader matches a list of headers that has Authorization, the identity headers and Cookie, in any order of the samples.
const everyHeader = `(?i)Authorization,? ?Cookie,? ?X-Forwarded-User,? ?X-Api-Token-Id`

// removesAddress matches both routes to the portal without a client's X-Real-IP.
var removesAddress = twice(`remove: \[X-Real-IP\]`)

// twice returns an expression that matches a text in which another matches twice.
func twice(expression string) string { return `(?s)` + expression + `.*` + expression }

// removesCredential is in the route that is not asked about.
const removesCredential = `remove: \[Authorization, `

const overGRPC = "over gRPC the answer names each header to set and to remove"

// traps are the ways in which external authentication fails open, by the samples.
var traps = map[string]trap{
	"headers of the answer are listed": {map[string]string{
		"nginx": `auth_request_set \$api_token_user`, "ingress-nginx": everyHeader, "haproxy-ingress": `auth-headers-succeed: "\*"`, "traefik": everyHeader,
		"apisix": everyHeader, "gateway-api": everyHeader, "caddy": `copy_headers Authorization X-Forwarded-User X-Api-Token-Id`,
		"haproxy": `local identity = \{ "x-forwarded-user", "x-api-token-id", "authorization" \}`, "istio": `headersToUpstreamOnAllow: \[authorization, x-forwarded-user, x-api-token-id\]`,
	}, map[string]string{"envoy-gateway": overGRPC, "contour": overGRPC, "kgateway": overGRPC, "agentgateway": overGRPC}, nil},
	"identity headers of clients are cleared": {map[string]string{
		"nginx": `proxy_set_header X-Forwarded-User "";`, "haproxy": `del-header \^x\[-_\.\]forwarded`, "caddy": `request_header -X-Forwarded-User`,
		"traefik": `X-Forwarded-User: ""`, "envoy-gateway": `remove: \[Authorization, X-Forwarded-User, X-Api-Token-Id\]`, "agentgateway": `remove: \[Authorization, X-Forwarded-User, X-Api-Token-Id\]`, "gateway-api": `remove: \[Authorization, X-Forwarded-User, X-Api-Token-Id\]`,
		"apisix": `remove: \[Authorization, X-Forwarded-User, X-Api-Token-Id\]`, "kgateway": `jira-web are those of \.\./envoy-gateway`,
		"istio": `remove: \[Authorization, X-Forwarded-User, X-Api-Token-Id\]`,
	}, map[string]string{"contour": "it asks about the whole host"}, map[string]string{
		"ingress-nginx": `and a client's .X-Forwarded-User. passes`, "haproxy-ingress": `.X-Forwarded-User. itself reaches it too`,
	}},
	"a credential that the match does not see": {map[string]string{
		"envoy-gateway": removesCredential, "agentgateway": removesCredential, "gateway-api": removesCredential, "istio": removesCredential, "apisix": removesCredential,
		"kgateway": `jira-web are those of \.\./envoy-gateway`,
	}, map[string]string{
		"nginx": "compares bytes", "haproxy": "looks whether there is one", "caddy": "looks whether there is one", "traefik": "matches every byte",
		"contour": "it asks about the whole host", "ingress-nginx": "it asks by path", "haproxy-ingress": "it asks by path",
	}, nil},
	"other spellings of identity headers": {map[string]string{
		"traefik": `aliasHeadersStrategy=delete`, "haproxy": `\[-_\.\]user\$ -m reg`, "envoy-gateway": `withUnderscoresAction: DropHeader`,
		"caddy": "Caddy drops names with `_` and `.` itself",
	}, map[string]string{"nginx": "dropped by default", "ingress-nginx": "dropped by default"}, map[string]string{
		"apisix": `underscores_in_headers: "off"`, "haproxy-ingress": `.X\.Forwarded\.User. of a client reach`, "istio": `.X\.Forwarded\.User. of a client\s+\[reach`,
		"contour": `.X\.Forwarded\.User. of a client\s+\[reach`, "agentgateway": `.X\.Forwarded\.User. of a client\s+\[reach`, "kgateway": `.X\.Forwarded\.User. of a client\s+\[reach`, "gateway-api": `.X\.Forwarded\.User. of a client\s+\[reach`,
	}},
	"the portal is told no address by the client": {map[string]string{
		"nginx": `proxy_set_header X-Real-IP \$remote_addr`, "haproxy": `set-header X-Real-IP %\[src\]`, "caddy": `header_up X-Real-IP \{remote_host\}`,
		"apisix": `headers: \{set: \{X-Real-IP: \$remote_addr\}\}`, "contour": `X-Real-IP, value: "%DOWNSTREAM_REMOTE_ADDRESS_WITHOUT_PORT%"`,
		"envoy-gateway": removesAddress, "agentgateway": removesAddress, "gateway-api": removesAddress, "istio": removesAddress,
	}, map[string]string{
		"traefik": "sets it by itself", "ingress-nginx": "sets it by itself", "haproxy-ingress": "sets it by itself", "kgateway": "the routes are those of envoy-gateway",
	}, nil},
	"cookies beside a token": {map[string]string{
		"nginx": `proxy_set_header Cookie "";`, "ingress-nginx": `Authorization,Cookie`, "haproxy-ingress": `auth-headers-succeed: "\*"`, "haproxy": `req_del_header\("cookie"\)`,
		"caddy": `request_header -Cookie`, "traefik": `authResponseHeaders: \[Authorization, Cookie`, "apisix": `upstream_headers: \[Authorization, Cookie`,
		"gateway-api": `allowedResponseHeaders: \[Authorization, Cookie`, "istio": `includeRequestHeadersInCheck: \[authorization, cookie`,
	}, map[string]string{"envoy-gateway": overGRPC, "contour": overGRPC, "kgateway": overGRPC, "agentgateway": overGRPC}, nil},
	"fails closed": {map[string]string{
		"envoy-gateway": `failOpen: false`, "contour": `failOpen: false`, "kgateway": `failOpen: false`, "istio": `failOpen: false`, "apisix": `allow_degradation: false`,
		"haproxy": `means that there is no verdict: 503`,
	}, map[string]string{
		"nginx": "has no switch", "ingress-nginx": "has no switch", "haproxy-ingress": "has no switch", "caddy": "has no switch", "traefik": "has no switch", "gateway-api": "has no switch", "agentgateway": "denies by default",
	}, nil},
	"a limit of time": {map[string]string{
		"nginx": `proxy_read_timeout 5s`, "haproxy": `local timeout = 4500`, "envoy-gateway": `timeout: 4s`, "contour": `responseTimeout: 4s`, "kgateway": `requestTimeout: 4s`,
		"istio": `timeout: 4s`, "apisix": `timeout: 4000`,
	}, map[string]string{
		"traefik": "30 s, fixed", "caddy": "the webhook answers within milliseconds or with 503", "ingress-nginx": "60 s of nginx", "haproxy-ingress": "its script has none",
		"gateway-api": "the filter has no field", "agentgateway": "the webhook answers within milliseconds or with 503",
	}, nil},
	"the portal is not asked about": {map[string]string{
		"nginx": `PORTAL/portal/SITE`, "haproxy": `!portal rest`, "caddy": `handle @portal`, "traefik": `name: main-apitokens-portal`, "envoy-gateway": `name: jira-apitokens`, "agentgateway": `name: jira-apitokens`,
		"istio": `notPaths: \["/rest/api-tokens/\*", "/plugins/servlet/api-tokens", "/plugins/servlet/api-tokens/\*"\]`, "gateway-api": `value: /rest/api-tokens\}`, "apisix": `name: portal`, "contour": `authPolicy: \{disabled: true\}`,
		"ingress-nginx": `name: main-apitokens`, "haproxy-ingress": `name: main-apitokens-page`,
	}, map[string]string{"kgateway": "the routes are those of envoy-gateway"}, nil},
	"references to the operator's namespace": {map[string]string{
		"envoy-gateway": `kind: ReferenceGrant`, "agentgateway": `kind: ReferenceGrant`, "gateway-api": `kind: ReferenceGrant`, "kgateway": `kind: ReferenceGrant`, "contour": `namespace: apitoken-system`,
		"traefik": `allowCrossNamespace`, "ingress-nginx": `type: ExternalName`, "haproxy-ingress": `type: ExternalName`, "apisix": `type ExternalName`,
	}, map[string]string{"nginx": "names addresses", "haproxy": "names addresses", "caddy": "names addresses", "istio": "names hosts"}, nil},
	"webhook and portal serve TLS": {map[string]string{
		"nginx": twice(`#tls proxy_ssl_name apitoken-(webhook|portal)`), "haproxy": `(?s)#tls httpclient\.ssl\.verify required.*#tls default-server ssl verify required`,
		"caddy": twice(`#tls 	tls_server_name apitoken-(webhook|portal)`), "traefik": `(?s)caSecret: main-auth-urls.*scheme: https`,
		"ingress-nginx": `(?s)proxy-ssl-verify: "on".*backend-protocol: HTTPS`, "haproxy-ingress": twice(`secure-backends: "true"`), "apisix": `scheme: https`,
		"contour": `(?s)protocol: h2\n.*protocol: tls.*protocol: tls`, "istio": twice(`kind: DestinationRule`), "envoy-gateway": twice(`kind: BackendTLSPolicy`),
		"gateway-api": twice(`kind: BackendTLSPolicy`), "agentgateway": twice(`kind: BackendTLSPolicy`), "kgateway": twice(`kind: BackendTLSPolicy`),
	}, nil, nil},
	"the client says nothing about the question": {map[string]string{
		"nginx": `proxy_set_header X-Original-URL`, "haproxy": `\["x-forwarded-uri"\]`, "traefik": `trustForwardHeader: false`, "apisix": `request_headers: \[Authorization, Cookie, X-Request-Id\]`,
		"haproxy-ingress": `X-Original-URL: https`, "istio": `pathPrefix: /envoy/`, "gateway-api": `path: PATH`,
	}, map[string]string{
		"ingress-nginx": "sets its headers by itself", "caddy": "sets its headers by itself", "envoy-gateway": overGRPC, "contour": overGRPC, "kgateway": overGRPC, "agentgateway": overGRPC,
	}, nil},
}

// Each sample handles each trap, or its gateway has none of it. No sample keeps a verdict.
func TestSamplesHandleTraps(t *testing.T) {
	samples := map[string]string{"nginx": readSample(t, "samples/nginx.conf")}
	files, err := filepath.Glob("samples/gateways/*/*")
	if err != nil {
		t.Fatal(err)
	}
	for _, file := range files {
		samples[filepath.Base(filepath.Dir(file))] += readSample(t, file)
	}
	if len(samples) < 12 {
		t.Fatalf("there are samples of %d gateways", len(samples))
	}
	kept := regexp.MustCompile(`(?m)^[^#\n]*(auth-cache-key|proxy_cache |auth-keepalive|failOpen: true|failureMode: FailOpen|allow_degradation: true|trustForwardHeader: true)`)
	for gateway, text := range samples {
		if found := kept.FindString(text); found != "" {
			t.Errorf("%s has %q", gateway, found)
		}
		for name, tc := range traps {
			expression, handled := tc.handled[gateway]
			reason, absent := tc.absent[gateway]
			words, open := tc.open[gateway]
			switch {
			case open && !handled && !absent:
				if page := readSample(t, pageOf(gateway)); !regexp.MustCompile(words).MatchString(page) {
					t.Errorf("%s, %s: the page does not say %s", gateway, name, words)
				}
			case handled == absent || open:
				t.Errorf("%s, %s: said to be handled: %t, to be absent: %t, to be open: %t", gateway, name, handled, absent, open)
			case absent && reason == "":
				t.Errorf("%s, %s: there is no reason", gateway, name)
			case handled && !regexp.MustCompile(expression).MatchString(text):
				t.Errorf("%s, %s: the sample has no %s", gateway, name, expression)
			}
		}
	}
}

// pageOf returns the path of the page of a gateway.
func pageOf(gateway string) string {
	if gateway == "nginx" || gateway == "ingress-nginx" {
		return "../docs/how-to/" + gateway + ".md"
	}
	return "../docs/how-to/gateways/" + gateway + ".md"
}

func readSample(t *testing.T, path string) string {
	t.Helper()
	text, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}

func namespace(name string) *unstructured.Unstructured {
	o := &unstructured.Unstructured{}
	o.SetAPIVersion("v1")
	o.SetKind("Namespace")
	o.SetName(name)
	return o
}

func createOnce(t *testing.T, c client.Client, o *unstructured.Unstructured) {
	t.Helper()
	if err := c.Create(t.Context(), o); err != nil && !apierrors.IsAlreadyExists(err) {
		t.Fatal(err)
	}
}
