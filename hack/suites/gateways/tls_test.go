package gateways_test

import (
	"net/http"
	"regexp"
	"strings"
	"testing"

	"apitokens.dev/operator/hack/lib/authority"
)

const portalName = "apitoken-portal.apitoken-system.svc"

// withTLS does with a sample what it says about URLs that begin with https.
func withTLS(sample, ca string) string {
	sample = strings.NewReplacer(
		"#tls ", "", "proxy_pass http://api_token_", "proxy_pass https://api_token_", "API_TOKEN_URL http://", "API_TOKEN_URL https://",
	).Replace(sample)
	return regexp.MustCompile(`/etc/\w+/apitoken-ca\.crt`).ReplaceAllString(sample, ca)
}

// Each gateway verifies webhook and portal with the authority of the Secret. Where another authority signed their certificates, or
// these are for another name, nothing is asked, and no request reaches the product or the portal.
func TestGatewaysVerifyTheWebhook(t *testing.T) {
	for _, p := range programs() {
		if p.filter {
			continue
		}
		for name, test := range map[string]struct {
			foreign bool
			names   []string
			right   bool
		}{
			// HAProxy and Traefik compare the name in the certificate with the host of the URL.
			"right":             {false, []string{webhookName, portalName, "127.0.0.1"}, true},
			"another authority": {true, []string{webhookName, portalName, "127.0.0.1"}, false},
			"another name":      {false, []string{"jira.jira.svc"}, false},
		} {
			t.Run(p.name+"/"+name, func(t *testing.T) {
				w, ours := newWorld(t), must(authority.New("ours"))
				signer := ours
				if test.foreign {
					signer = must(authority.New("ours"))
				}
				reached := w.overTLS(t, ours, signer, test.names...)
				gateway := p.start(t, w)
				w.asked()
				got := w.send(t, gateway, http.MethodGet, myself, "Authorization: "+basic("alice", w.token))
				asked, _ := w.asked()
				if ok := got.status == http.StatusOK && len(got.seen) == 1 && len(asked) == 1; ok != test.right {
					t.Errorf("answered %d, asked %d times, and the product saw %d requests", got.status, len(asked), len(got.seen))
				}
				if !test.right && (len(asked) > 0 || len(got.seen) > 0) {
					t.Errorf("asked %d times, and the product saw %d requests", len(asked), len(got.seen))
				}
				page := w.send(t, gateway, http.MethodGet, "/rest/api-tokens/latest/tokens")
				if ok := page.status == http.StatusOK && *reached == 1; ok != test.right || len(page.seen) > 0 {
					t.Errorf("the portal: answered %d, reached %d times", page.status, *reached)
				}
			})
		}
	}
}
