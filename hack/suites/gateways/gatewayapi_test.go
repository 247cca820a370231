package gateways_test

import (
	"encoding/json"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	"apitokens.dev/operator/hack/lib/controlplane"
	"apitokens.dev/operator/internal/authn"
	"apitokens.dev/operator/webhook/gateway/contract"
)

// variants are the implementations of Gateway API's filter ExternalAuth that ask in a contract of ours, as their source says:
// Cilium is Envoy, and NGINX Gateway Fabric is nginx.
func variants() []program {
	return []program{
		{name: "cilium", start: startEnvoyHTTP("gateway-api"), filter: true, unready: 403, away: 403, passes: "_.", untold: true, unknown: true},
		{name: "fabric", start: startFabric, unready: 500, away: 500, untold: true, unknown: true},
	}
}

// echoed is the answer of the echo server of Gateway API's conformance tests, as these read it (roundtripper.CapturedRequest).
type echoed struct {
	Path     string      `json:"path"`
	Host     string      `json:"host"`
	Method   string      `json:"method"`
	Protocol string      `json:"proto"`
	Headers  http.Header `json:"headers"`
}

func echoServer(w http.ResponseWriter, r *http.Request) {
	w.Header().Set("Content-Type", "application/json")
	_ = json.NewEncoder(w).Encode(echoed{Path: r.RequestURI, Host: r.Host, Method: r.Method, Protocol: r.Proto, Headers: r.Header})
}

// Each variant passes the cases of the filter, in the types of Gateway API's conformance tests, with their client, and fails closed
// while the webhook cannot decide.
func TestGatewayAPICases(t *testing.T) {
	build := exec.CommandContext(t.Context(), "go", "test", "-c", "-o", filepath.Join(t.TempDir(), "cases"), ".")
	build.Dir = filepath.Join(controlplane.RepositoryRoot(), "hack", "tools", "gateways", "conformance")
	if out, err := build.CombinedOutput(); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	cases := build.Args[4]
	through(t, variants(), func(t *testing.T, p program) {
		w := newWorld(t)
		w.productAt = serve(t, http.HandlerFunc(echoServer), 0)
		w.issue(t, []string{"/rest/"})
		given := map[string]any{
			"Gateway": p.start(t, w), "Token": basic("alice", w.token), "Wrong": basic("alice", w.wrong), "Password": basic("alice", password), "Owner": "Bearer " + pat,
		}
		p.runCases(t, cases, given, 14)
		w.change(func(s *authn.Site) { s.Limits = authn.Limits{ReadOnly: true, Paths: []string{"/rest/api/2"}} })
		given["Narrow"] = true
		p.runCases(t, cases, given, 4)
		w.index = authn.NewIndex(time.Now) // It never hears of anything, as in a replica that starts.
		w.webhookAt = serve(t, contract.NewHandler(w.index, w.observe), 10*time.Second)
		p.runCases(t, cases, map[string]any{"Gateway": p.start(t, w), "Token": basic("alice", w.token), "Undecided": true, "Failed": p.unready}, 3)
	})
}

// runCases runs the cases of hack/tools/gateways/conformance, which is a module of its own, and counts them.
func (p program) runCases(t *testing.T, cases string, given map[string]any, want int) {
	t.Helper()
	text, err := json.Marshal(given)
	if err != nil {
		t.Fatal(err)
	}
	run := exec.CommandContext(t.Context(), cases, "-test.v")
	run.Env = append(os.Environ(), "EXTERNAL_AUTH="+string(text))
	out, _ := run.CombinedOutput() // what failed is read below
	results := regexp.MustCompile(`(?m)^ +--- (PASS|FAIL): TestExternalAuth/(\S+)`).FindAllStringSubmatch(string(out), -1)
	if len(results) != want {
		t.Fatalf("%d cases were run, want %d:\n%s", len(results), want, out)
	}
	for _, result := range results {
		p.judge(t, strings.ReplaceAll(result[2], "_", " "), func(fail func(format string, a ...any)) {
			if result[1] != "PASS" {
				fail("%s", out)
			}
		})
	}
}

// startFabric starts nginx with what NGINX Gateway Fabric renders for the filter of the sample (internal/controller/nginx/config,
// updateLocationExternalAuthFilter and extractExternalAuthInternalLocations in servers.go, servers_template.go, lines 252 to 258,
// e55bfe3): it asks a fixed path, and says path and method in headers of these names.
func startFabric(t *testing.T, w *world, _ ...string) string {
	t.Helper()
	const proxied = `
        proxy_set_header Host "$http_host";
        proxy_set_header X-Forwarded-For "$proxy_add_x_forwarded_for";
        proxy_set_header X-Real-IP "$remote_addr";
        proxy_set_header X-Forwarded-Proto "$scheme";
`
	const asked = `
        auth_request /_ngf-external-auth;
        auth_request_set $ext_auth_authorization $upstream_http_authorization;
        proxy_set_header Authorization $ext_auth_authorization;
        auth_request_set $ext_auth_cookie $upstream_http_cookie;
        proxy_set_header Cookie $ext_auth_cookie;
        auth_request_set $ext_auth_user $upstream_http_x_forwarded_user;
        proxy_set_header X-Forwarded-User $ext_auth_user;
        auth_request_set $ext_auth_id $upstream_http_x_api_token_id;
        proxy_set_header X-Api-Token-Id $ext_auth_id;
`
	return startNginxWith(t, w, `
server {
    listen LISTEN;
    location = /_ngf-external-auth {
        internal;
        proxy_set_header Host "$http_host";
        proxy_set_header Path "$request_uri";
        proxy_set_header Method "$request_method";
        proxy_set_header Authorization "$http_authorization";
        proxy_set_header Cookie "$http_cookie";
        proxy_set_header X-Forwarded-For "$http_x_forwarded_for";
        proxy_set_header X-Request-Id "$http_x_request_id";
        proxy_pass http://WEBHOOK/fabric/`+callerKey+"/"+site.String()+`;
        proxy_pass_request_body off;
        proxy_set_header Content-Length "";
        proxy_pass_request_headers off;
    }
    location /rest/ {`+asked+proxied+`
        proxy_set_header X-Forwarded-User "";
        proxy_set_header X-Api-Token-Id "";
        proxy_pass http://PRODUCT;
    }
    location /rest/api-tokens/ {`+proxied+`
        proxy_set_header X-Real-IP "";
        proxy_pass http://PORTAL/portal/`+site.String()+`/rest/api-tokens/;
    }
    location / {`+proxied+`
        proxy_set_header X-Forwarded-User "";
        proxy_set_header X-Api-Token-Id "";
        proxy_pass http://PRODUCT;
    }
}
`)
}
