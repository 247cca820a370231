package stops_test

import (
	"encoding/json"
	"net/http"
	"net/url"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/types"
)

// check asks every gateway and portal about every secret.
func (h *history) check() {
	h.Helper()
	address := h.address()
	for _, s := range h.secrets {
		must, may := h.lives(s, h.clock.Now())
		for _, g := range h.gateways {
			status, header := askGateway(g, address, h.site.Spec.BaseURL, s.of.user, s.text)
			h.judge(g, s, status, must && h.enrolled[s.of.user] == yes, may && h.enrolled[s.of.user] != no)
			if status == http.StatusOK {
				h.checkIdentity(g, s, header.Get("Authorization"))
			}
		}
		for _, p := range h.portals {
			h.judge(p, s, askPortal(p, h.home, h.site.Name, s.of.user, s.text), must, may)
		}
	}
}

func (h *history) judge(p *process, s *secret, status int, must, may bool) {
	h.Helper()
	switch {
	case !may && status == http.StatusOK:
		h.wrong("%s: secret %d of token %d is dead, and answers 200", p.name, s.n, s.of.n)
	case must && status != http.StatusOK:
		h.wrong("%s: secret %d of token %d is alive, and answers %d", p.name, s.n, s.of.n, status)
	case !may:
		h.count("dead")
	case must:
		h.count("alive")
	}
}

// checkIdentity asks the product as whom a secret acts.
func (h *history) checkIdentity(g *process, s *secret, authorization string) {
	h.Helper()
	r, err := http.NewRequest(http.MethodGet, h.site.Spec.UpstreamURL+"/rest/api/2/myself", http.NoBody)
	must(h.T, err)
	r.Header.Set("Authorization", authorization)
	var is struct{ Name string }
	a := send(r)
	if json.Unmarshal([]byte(a.body), &is) != nil || is.Name != s.of.user {
		h.wrong("%s: secret %d of %s acts as %q (%d)", g.name, s.n, s.of.user, is.Name, a.status)
	}
}

// address returns the path of the auth URL that the operator gives for nginx.
func (h *history) address() string {
	h.Helper()
	var s corev1.Secret
	must(h.T, env.Admin.Get(h.Context(), types.NamespacedName{Namespace: h.home, Name: h.site.Name + "-auth-urls"}, &s))
	u, err := url.Parse(string(s.Data["nginx"]))
	must(h.T, err)
	return u.Path
}
