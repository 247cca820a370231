package stops_test

import (
	"encoding/json"
	"net/http"
	"net/url"
	"slices"
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/client"

	tokensv1alpha1 "apitokens.dev/operator/api/v1alpha1"
	"apitokens.dev/operator/hack/lib/fakeproduct"
	"apitokens.dev/operator/hack/lib/kubetest"
	"apitokens.dev/operator/internal/record"
	"apitokens.dev/operator/internal/upstream"
)

// check asks every gateway and portal about every secret.
func (h *history) check() {
	h.Helper()
	address := h.address()
	for _, s := range h.secrets {
		must, may := h.lives(s, h.clock.Now())
		for i, g := range h.gateways {
			status, header := askGateway(g, address, h.site.Spec.BaseURL, s.of.user, s.text)
			h.judge(g, s, status, must && h.enrolled[s.of.user] == yes && !h.changedHands(s.of), may && h.enrolled[s.of.user] != no && !h.changedHands(s.of))
			if status == http.StatusOK && i == s.n%len(h.gateways) {
				h.checkIdentity(g, s, header.Get("Authorization"))
			}
		}
		for _, p := range h.portals {
			h.judge(p, s, askPortal(p, h.home, h.site.Name, s.of.user, s.text), must && !h.changedHands(s.of), may)
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
	var is struct{ Key string }
	a := send(r)
	if json.Unmarshal([]byte(a.body), &is) != nil || is.Key != s.of.key {
		h.wrong("%s: secret %d of %s, who is %s, acts as %q (%d)", g.name, s.n, s.of.user, s.of.key, is.Key, a.status)
	}
}

// remains checks that nothing is left over: no APIToken that its owner cannot see, no personal access token that no working copy
// holds, no working copy that nobody needs, and after 30 days no record without an APIToken.
func (h *history) remains() {
	h.Helper()
	h.step(11 * time.Minute)
	h.reconcile()
	h.step(2 * time.Hour)
	h.reconcile()
	records, owners := map[string]bool{}, map[string]bool{}
	for _, s := range h.secretsIn(kubetest.SystemNamespace, record.SecretType) {
		records[s.Name] = true
	}
	for _, t := range h.objects() {
		owners[t.Spec.User] = true
		if t.Annotations[tokensv1alpha1.AnnotationPending] != "" && !records[string(t.UID)] {
			h.wrong("the APIToken %s of %s is hidden", t.Name, t.Spec.User)
		}
	}
	h.checkCopies(owners)
	h.step(31 * 24 * time.Hour)
	h.reconcile()
	exists := map[string]bool{}
	for _, t := range h.objects() {
		exists[string(t.UID)] = true
	}
	for _, s := range h.secretsIn(kubetest.SystemNamespace, record.SecretType) {
		if !exists[s.Name] {
			h.wrong("the record %s is left", s.Name)
		}
	}
}

// checkCopies compares the working copies with their owners, and with the personal access tokens at the product.
func (h *history) checkCopies(owners map[string]bool) {
	h.Helper()
	held := map[int64]bool{}
	for _, s := range h.secretsIn(kubetest.CredentialsNamespace, upstream.SecretType) {
		c, err := upstream.Decode(s.Data[upstream.DataKey])
		must(h.T, err)
		held[c.ID] = true
		if !owners[c.User] {
			h.wrong("the working copy of %s is left: stored %s, ending %s, refused %s", c.User, c.Stored, c.Ending, c.Refused)
		}
	}
	for _, u := range append(users, fakeproduct.User{Name: formerAlice}) {
		for _, pat := range h.product.PersonalAccessTokens(u.Name) {
			if !held[pat.ID] && !h.abandoned[pat.ID] {
				h.wrong("the personal access token %d of %s is left at the product", pat.ID, u.Name)
			}
		}
	}
}

// objects returns the APITokens of the site.
func (h *history) objects() (all []tokensv1alpha1.APIToken) {
	h.Helper()
	for _, ns := range []string{h.home, h.away} {
		var list tokensv1alpha1.APITokenList
		must(h.T, env.Admin.List(h.Context(), &list, client.InNamespace(ns)))
		all = append(all, list.Items...)
	}
	return all
}

// secretsIn returns the Secrets of a type that the operator keeps for the site.
func (h *history) secretsIn(namespace string, secretType corev1.SecretType) []corev1.Secret {
	h.Helper()
	var list corev1.SecretList
	must(h.T, env.Admin.List(h.Context(), &list, client.InNamespace(namespace), client.MatchingLabels(h.labels())))
	return slices.DeleteFunc(list.Items, func(s corev1.Secret) bool { return s.Type != secretType })
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
