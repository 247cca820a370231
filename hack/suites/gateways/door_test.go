package gateways_test

import (
	"encoding/json"
	"io"
	"log"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"testing"
	"time"

	"k8s.io/utils/clock"

	tokensv1alpha1 "apitokens.dev/operator/api/v1alpha1"
	"apitokens.dev/operator/internal/authn"
	"apitokens.dev/operator/internal/authurl"
	"apitokens.dev/operator/internal/door"
	"apitokens.dev/operator/internal/probe"
)

// ingress is a gateway that starts with an edited sample.
type ingress struct {
	name  string
	start func(t *testing.T, w *world, edits ...string) string
}

var realNginx, realCaddy = ingress{"nginx", startNginx}, ingress{"Caddy", startCaddy}

// fault is a fault of a gateway: pairs of what stands in the sample and of what stands there instead.
type fault struct {
	ingress

	fault string
	edits []string
	want  string
	// says is a part of the message.
	says string
}

const forwarding = "location = /.api-token/forward {\n        internal;\n"

var faults = []fault{
	{realNginx, "a credential of its own", []string{
		forwarding, forwarding + "        proxy_set_header Host $host;\n        proxy_set_header Authorization \"BOBS\";\n",
	}, tokensv1alpha1.ReasonOpenDoor, "as the user 'bob'"},
	{realNginx, "it does not ask", []string{"        return 418;\n    }\n\n    location /", "        proxy_pass http://product;\n    }\n\n    location /"},
		tokensv1alpha1.ReasonGatewayDoesNotAsk, "got 401 at /rest/api/2/myself"},
	{realNginx, "the webhook is elsewhere", []string{"server WEBHOOK", "server 127.0.0.1:1"}, tokensv1alpha1.ReasonWebhookNotReached, "answers 500"},
	{realNginx, "another caller key", []string{`"CALLER_KEY"`, `"ANOTHER"`}, tokensv1alpha1.ReasonWebhookNotReached, "answers 500"},
	{realNginx, "the auth URL of another site", []string{"/nginx/-/SITE", "/nginx/-/jira/other"}, tokensv1alpha1.ReasonOtherSite, ""},
	{realNginx, "the auth URL of another contract", []string{"/nginx/-/SITE", "/forward/-/SITE"}, tokensv1alpha1.ReasonWrongContract, "'forward'"},
	{realNginx, "the client says what is asked for", []string{"proxy_set_header X-Original-URL", "# proxy_set_header X-Original-URL"},
		tokensv1alpha1.ReasonWrongContract, "'nginx'"},
	{realNginx, "another path is asked for", []string{"$api_token_host$request_uri", "$api_token_host/app$request_uri"}, tokensv1alpha1.ReasonPathAltered, ""},
	{realNginx, "an identity header is not cleared", []string{"    proxy_set_header X-Forwarded-User \"\";\n", ""},
		tokensv1alpha1.ReasonIdentityHeaderNotCleared, "/rest/api/2/myself, as the user"},
	{realNginx, "an alias of an identity header passes", []string{"server_name HOST;", "server_name HOST;\n    underscores_in_headers on;"},
		tokensv1alpha1.ReasonIdentityHeaderNotCleared, "'X_Forwarded_User'"},
	{realNginx, "verdicts are cached", []string{
		"upstream product {", "proxy_cache_path CACHE keys_zone=verdicts:1m;\nupstream product {",
		"proxy_pass_request_body off;", "proxy_pass_request_body off;\n proxy_cache verdicts;\n proxy_cache_key $http_authorization;\n proxy_cache_valid 200 202 401 5m;",
	}, tokensv1alpha1.ReasonVerdictCached, ""},
	{realNginx, "a sign-in page in place of the 401", []string{
		"error_page 401 @unknown", "error_page 401 = @unknown", `return 401 '{"errorMessages":["This API token is not valid."],"errors":{}}'`, "return 302 /login",
	}, tokensv1alpha1.ReasonAnswerAltered, "302 of a 401"},
	{realNginx, "a 403 in place of the 401", []string{"error_page 401 @unknown", "error_page 401 =403 @refused"}, tokensv1alpha1.ReasonAnswerAltered, "403 of a 401"},
	{realNginx, "a 404 in place of the 403", []string{
		"error_page 403 @refused", "error_page 403 =404 @refused", "return 403 '", "return 404 '",
	}, tokensv1alpha1.ReasonAnswerAltered, "404 of a 403"},
	{realNginx, "the client gets the webhook's headers", []string{forwarding, forwarding + "        add_header X-Api-Token-Target $api_token_target always;\n"},
		tokensv1alpha1.ReasonAnswerAltered, "'X-Api-Token-Target'"},
	{realNginx, "everything is redirected", []string{"server_name HOST;", "server_name HOST;\n    return 301 https://jira.example.com$request_uri;"},
		tokensv1alpha1.ReasonBaseURLRedirects, "to https://jira.example.com,"},
	{realNginx, "the rate is limited", []string{"server_name HOST;", "server_name HOST;\n    return 429;"}, tokensv1alpha1.ReasonInconclusive, "429"},

	{realCaddy, "a credential of its own", []string{
		"\t\t\thandle {\n\t\t\t\treverse_proxy PRODUCT {\n", "\t\t\thandle {\n\t\t\t\treverse_proxy PRODUCT {\n\t\t\t\t\theader_up Authorization \"BOBS\"\n",
	}, tokensv1alpha1.ReasonOpenDoor, "as the user 'bob'"},
	{realCaddy, "it does not ask", []string{"path('/rest/*') || header({'Authorization': '*'})", "path('/soap/*')"}, tokensv1alpha1.ReasonGatewayDoesNotAsk, "got 401"},
	{realCaddy, "the webhook is elsewhere", []string{"forward_auth WEBHOOK", "forward_auth 127.0.0.1:1"}, tokensv1alpha1.ReasonWebhookNotReached, "answers 502"},
	{realCaddy, "another caller key", []string{"Caller CALLER_KEY", "Caller ANOTHER"}, tokensv1alpha1.ReasonWebhookNotReached, "answers 503"},
	{realCaddy, "the auth URL of another site", []string{"/forward/-/SITE", "/forward/-/jira/other"}, tokensv1alpha1.ReasonOtherSite, ""},
	{realCaddy, "the auth URL of another contract", []string{"/forward/-/SITE", "/nginx/-/SITE"}, tokensv1alpha1.ReasonWrongContract, "'nginx'"},
	{realCaddy, "another path is asked for", []string{"\t\t\tforward_auth WEBHOOK", "\t\t\trewrite * /app{uri}\n\t\t\tforward_auth WEBHOOK"},
		tokensv1alpha1.ReasonPathAltered, ""},
	{realCaddy, "an identity header is not cleared", []string{"\trequest_header -X-Forwarded-User\n", ""},
		tokensv1alpha1.ReasonIdentityHeaderNotCleared, "/apitoken-probe, as the user"},
	{realCaddy, "the challenge is taken away", []string{"\t@connect method", "\theader -WWW-Authenticate\n\t@connect method"},
		tokensv1alpha1.ReasonAnswerAltered, "'WWW-Authenticate'"},
	{realCaddy, "the client gets the webhook's headers", []string{
		"\t\t\t@verified", "\t\t\theader >X-Api-Token-Target {http.request.header.X-Api-Token-Target}\n\t\t\t@verified",
	}, tokensv1alpha1.ReasonAnswerAltered, "'X-Api-Token-Target'"},
}

// believing is a product that believes identity headers, in each spelling that some server takes for the same, but for those with the
// characters in but.
type believing struct {
	http.Handler

	but string
}

func (b believing) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	for name, values := range r.Header {
		spelled := strings.EqualFold(strings.NewReplacer("_", "-", ".", "-").Replace(name), "X-Forwarded-User")
		if spelled && !strings.ContainsAny(name, b.but) && values[0] != "" {
			w.Header().Set("X-AUSERNAME", values[0])
			_ = json.NewEncoder(w).Encode(map[string]string{"name": values[0]})
			return
		}
	}
	b.Handler.ServeHTTP(w, r)
}

// door has the index know the probes of the world's site, and another site, and returns what a prober has to know. The product is one
// before which the gateway may stand: it does not believe what passes.
func (w *world) door(t *testing.T, p program) door.Site {
	t.Helper()
	w.productAt = serve(t, believing{w.product, p.passes}, 0)
	key := probe.NewKey(site.Namespace, site.Name)
	w.index.PutProbeKey(site, key)
	other := authn.SiteName{Namespace: "jira", Name: "other"}
	w.index.PutMemory(other, authn.Memory{UID: "other-uid"})
	w.index.PutSite(authn.Site{Name: other, UID: "other-uid", Product: "Jira", TokenPaths: []string{"/rest/"}})
	w.index.PutCallerKeys(other, map[authurl.Contract][]string{authurl.Nginx: {callerKey}, authurl.Forward: {callerKey}}, nil)
	w.index.PutProbeKey(other, probe.NewKey(other.Namespace, other.Name))
	return door.Site{
		Product: tokensv1alpha1.ProductJira, TokenPaths: []string{"/rest/"}, IdentityHeaders: []string{"X-Forwarded-User"},
		Key: key, AuthURLSecret: "main-auth-urls", ProductAnswers: true,
	}
}

func look(t *testing.T, s door.Site, address string) door.Finding {
	t.Helper()
	s.BaseURL = "http://" + address
	return door.Asker{Clock: clock.RealClock{}, Lead: time.Second}.Look(t.Context(), s)
}

// Each prepared fault of a gateway is named, through the real program.
func TestFaultsOfGatewaysAreNamed(t *testing.T) {
	for _, f := range faults {
		t.Run(f.name+", "+f.fault, func(t *testing.T) {
			t.Parallel()
			w := newWorld(t)
			s, edits := w.door(t, program{}), slices.Clone(f.edits)
			for i := range edits {
				edits[i] = strings.NewReplacer("BOBS", basic("bob", "bobs password"), "CACHE", t.TempDir()).Replace(edits[i])
			}
			program{name: strings.ToLower(f.name)}.judge(t, f.fault, func(fail func(format string, a ...any)) {
				got := look(t, s, f.start(t, w, edits...))
				if got.Reason != f.want || !strings.Contains(got.Message, f.says) {
					fail("%s: %s\nwant %s, %q", got.Reason, got.Message, f.want, f.says)
				}
				if strings.Contains(got.Message, s.Key.Key) || strings.Contains(got.Message, probe.Prefix) || strings.Contains(got.Message, callerKey) {
					fail("a secret is in the message")
				}
			})
		})
	}
}

// No fault is seen where there is none, whether the product runs or not.
func TestRightGatewaysAreProtected(t *testing.T) {
	through(t, append(programs(), variants()...), func(t *testing.T, p program) {
		w := newWorld(t)
		s := w.door(t, p)
		if p.restAlone { // so it may only stand before a product that believes no header
			w.productAt = serve(t, w.product, 0)
		}
		gateway := p.start(t, w)
		p.judge(t, "the right one", func(fail func(format string, a ...any)) {
			if got := look(t, s, gateway); got.Reason != tokensv1alpha1.ReasonProtected {
				fail("%s: %s", got.Reason, got.Message)
			}
			for _, seen := range w.product.Requests() {
				if text := strings.Join(seen.Header["Authorization"], ""); text != "" {
					fail("the product got the operator's credential %s at %s", text, seen.Path)
				}
			}
		})
		p.judge(t, "the right one, while the product is down", func(fail func(format string, a ...any)) {
			s.ProductAnswers = false
			w.product.SetUnavailable(true)
			if got := look(t, s, gateway); got.Reason != tokensv1alpha1.ReasonProtected {
				fail("%s: %s", got.Reason, got.Message)
			}
		})
	})
}

// Behind a gateway that passes other spellings of an identity header, a product that believes one of them is a fault that is named.
func TestPassedSpellingsAreNamed(t *testing.T) {
	passing := slices.DeleteFunc(append(programs(), variants()...), func(p program) bool { return p.passes == "" })
	through(t, passing, func(t *testing.T, p program) {
		w := newWorld(t)
		s := w.door(t, program{})
		p.judge(t, "a product that believes them", func(fail func(format string, a ...any)) {
			if got := look(t, s, p.start(t, w)); got.Reason != tokensv1alpha1.ReasonIdentityHeaderNotCleared {
				fail("%s: %s", got.Reason, got.Message)
			}
		})
	})
}

// Where a site needs a question about every request, the samples as they are have a fault: they leave out what has no credential.
// With the change that their pages name, they have none.
func TestEverythingIsAskedAbout(t *testing.T) {
	through(t, programs(), func(t *testing.T, p program) {
		w := newWorld(t)
		s := w.door(t, p)
		s.Everything = true
		for name, edits := range map[string][]string{"the sample": nil, "everything": p.everything} {
			if p.filter && edits == nil && name != "the sample" {
				continue
			}
			p.judge(t, name, func(fail func(format string, a ...any)) {
				got, want, lacks := look(t, s, p.start(t, w, edits...)), tokensv1alpha1.ReasonProtected, edits == nil && !p.asksAlways
				if lacks {
					want = tokensv1alpha1.ReasonGatewayDoesNotAsk
				}
				if p.restAlone && edits == nil {
					want = tokensv1alpha1.ReasonIdentityHeaderNotCleared
				}
				if got.Reason != want || lacks && !strings.Contains(got.Message, "about every request") {
					fail("%s: %s\nwant %s", got.Reason, got.Message, want)
				}
			})
		}
	})
}

// A base URL that cannot be asked says nothing, and the error is in the message.
func TestUnreachableBaseURL(t *testing.T) {
	w := newWorld(t)
	s := w.door(t, program{})
	secure := httptest.NewUnstartedServer(w.product)
	secure.Config.ErrorLog = log.New(io.Discard, "", 0) // handshakes fail on purpose
	secure.StartTLS()
	defer secure.Close()
	for url, says := range map[string]string{
		"http://127.0.0.1:1":      "connection refused",
		"http://apitoken.invalid": "lookup apitoken.invalid",
		secure.URL:                "signed by unknown authority",
		"https://" + w.productAt:  "HTTP response to HTTPS client",
		strings.Replace(secure.URL, "https", "http", 1): "",
	} {
		s.BaseURL = url
		got := door.Asker{Clock: clock.RealClock{}, Lead: time.Millisecond}.Look(t.Context(), s)
		if says != "" && (got.Reason != tokensv1alpha1.ReasonBaseURLUnreachable || !strings.Contains(got.Message, says)) {
			t.Errorf("%s: %s: %s", url, got.Reason, got.Message)
		}
		if got.Reason == tokensv1alpha1.ReasonProtected {
			t.Errorf("%s is protected", url)
		}
	}
}
