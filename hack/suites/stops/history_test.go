package stops_test

import (
	"context"
	crand "crypto/rand"
	"encoding/json"
	"fmt"
	"html"
	"io"
	"maps"
	"math/rand/v2"
	"net/http"
	"net/http/httptest"
	"net/url"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/client"

	tokensv1alpha1 "apitokens.dev/operator/api/v1alpha1"
	"apitokens.dev/operator/hack/lib/fakeproduct"
	"apitokens.dev/operator/hack/lib/kubetest"
	"apitokens.dev/operator/internal/record"
)

// history is one sequence of operations at one site, and its stop.
type history struct {
	*testing.T
	*lane
	*tally
	*model

	seed    int
	random  *rand.Rand
	product *fakeproduct.Jira
	server  *httptest.Server
	site    *tokensv1alpha1.AtlassianSite
	keeper  *controller
	// at is the portal that carries out a stop. It has not seen the token of unseen, which is nil if it has seen all.
	at     *process
	unseen *secret
	// renamed says that alice has another name.
	renamed bool
	// stepped says that the clock is ahead of the API server's.
	stepped bool
	// abandoned are the personal access tokens of a site that was deleted. They end at the product by themselves.
	abandoned map[int64]bool
	// declared counts the declared APITokens.
	declared int

	mu      sync.Mutex
	log     []string
	cookies map[string]*http.Cookie
}

var users = []fakeproduct.User{{Name: "alice", Key: "KEY1"}, {Name: "bob", Key: "KEY2"}, {Name: "carol", Key: "KEY3"}}

// newHistory makes a site with a product of its own.
func newHistory(t *testing.T, l *lane, seed int, happened *tally) *history {
	t.Helper()
	h := &history{T: t, lane: l, tally: happened, seed: seed, model: &model{keys: map[string]string{}, enrolled: map[string]fate{}}, random: rand.New(rand.NewPCG(uint64(seed), 13)), cookies: map[string]*http.Cookie{},
		abandoned: map[int64]bool{},
	}
	l.clock.SetTime(time.Now())
	h.product = fakeproduct.NewJira(fakeproduct.Options{ContextPath: "/jira", Users: users, Now: l.clock.Now})
	h.server = httptest.NewServer(h.product)
	t.Cleanup(h.server.Close)
	name := fmt.Sprintf("s%d-%s", seed, strings.ToLower(crand.Text()[:4]))
	h.createSite(name, name+".example")
	h.keeper = newController(h)
	t.Cleanup(h.leave)
	for _, u := range users {
		h.cookies[u.Name], h.keys[u.Name] = h.product.SignIn(u.Name), u.Key
	}
	h.reconcile()
	h.catchUp(t)
	return h
}

func (h *history) createSite(name, host string) {
	h.Helper()
	h.site = kubetest.Site(h.home, name, func(s *tokensv1alpha1.AtlassianSite) {
		s.Spec.BaseURL, s.Spec.UpstreamURL, s.Spec.Administrators = "https://"+host+"/jira", h.server.URL+"/jira", []string{"carol"}
		s.Spec.AllowedNamespaces.From = tokensv1alpha1.NamespacesFromAll
		s.Spec.TokenPolicy.MaxTokensPerUser = new(int32(20))
	})
	must(h.T, env.Admin.Create(h.Context(), h.site))
}

// leave removes everything of the history.
func (h *history) leave() {
	h.mend()
	ctx := context.Background()
	for _, ns := range []string{h.home, h.away} {
		for _, kind := range []client.Object{&tokensv1alpha1.APIToken{}, &tokensv1alpha1.AtlassianSite{}, &corev1.Secret{}} {
			must(h.T, env.Admin.DeleteAllOf(ctx, kind, client.InNamespace(ns)))
		}
	}
	for _, ns := range []string{kubetest.SystemNamespace, kubetest.CredentialsNamespace} {
		must(h.T, env.Admin.DeleteAllOf(ctx, &corev1.Secret{}, client.InNamespace(ns), client.MatchingLabels(h.labels())))
	}
}

func (h *history) labels() map[string]string {
	return map[string]string{record.LabelSiteNamespace: h.home, record.LabelSite: h.site.Name}
}

// did notes a line of the history.
func (h *history) did(format string, args ...any) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.log = append(h.log, h.clock.Now().UTC().Format("02 15:04:05 ")+fmt.Sprintf(format, args...))
}

// wrong fails with the history as a list.
func (h *history) wrong(format string, args ...any) {
	h.Helper()
	h.did("WRONG: "+format, args...)
	h.mu.Lock()
	defer h.mu.Unlock()
	h.Fatalf("to run it again: go test -tags long ./hack/suites/stops -run '%s$'\n%s", h.Name(), strings.Join(h.log, "\n"))
}

// pick returns one of the choices.
func pick[T any](h *history, from ...T) T { return from[h.random.IntN(len(from))] }

func (h *history) chance(percent int) bool { return h.random.IntN(100) < percent }

// request is one to a portal.
type request struct {
	what   string
	portal *process
	user   string
	// by is the secret that is sent. Without it the user is signed in, unless user is empty.
	by                   *secret
	method, target, body string
	form                 url.Values
	// dialog is the page with the form, whose hidden fields are sent too.
	dialog string
}

// token returns the token whose secret is sent, or nil.
func (r request) token() *apiToken {
	if r.by == nil {
		return nil
	}
	return r.by.of
}

const pagePath = "/plugins/servlet/api-tokens"

var hidden = regexp.MustCompile(`<input type="hidden" name="([^"]*)" value="([^"]*)">`)

func (r request) String() string {
	as := r.user
	switch {
	case r.by != nil:
		as = fmt.Sprintf("secret %d of %s", r.by.n, r.user)
	case r.user == "":
		as = "anybody"
	}
	return r.portal.name + ": " + as + " " + r.what
}

// send sends a request as the ingress does.
func (h *history) send(r request) answer {
	body := io.Reader(strings.NewReader(r.body))
	if r.dialog != "" {
		r.form = maps.Clone(r.form)
		for _, field := range hidden.FindAllStringSubmatch(h.send(request{portal: r.portal, user: r.user, method: http.MethodGet, target: r.dialog}).body, -1) {
			r.form.Set(field[1], html.UnescapeString(field[2]))
		}
	}
	if r.form != nil {
		body = strings.NewReader(r.form.Encode())
	}
	q, err := http.NewRequest(r.method, r.portal.url+"/portal/"+h.home+"/"+h.site.Name+r.target, body)
	if err != nil {
		return answer{body: err.Error()}
	}
	q.Host = strings.TrimSuffix(strings.TrimPrefix(h.site.Spec.BaseURL, "https://"), "/jira")
	q.Header.Set("X-Real-Ip", "192.0.2.7")
	q.Header.Set("Content-Type", "application/json")
	if r.form != nil {
		q.Header.Set("Content-Type", "application/x-www-form-urlencoded")
		q.Header.Set("Origin", "https://"+q.Host)
	}
	switch {
	case r.by != nil:
		q.SetBasicAuth(r.user, r.by.text)
	case r.user != "":
		q.AddCookie(h.cookies[r.user])
	}
	return send(q)
}

// patience is how long a request waits before the lag at its portal ends.
const patience = 100 * time.Millisecond

// try sends a request and waits for its answer. A portal may wait for what its watch brings: a lag ends after a while.
func (h *history) try(r request) answer {
	a := h.await(h.begin(r), r.portal)
	h.did("%s: %s", r, a)
	return a
}

func (h *history) begin(r request) chan answer {
	answered := make(chan answer, 1)
	go func() { answered <- h.send(r) }()
	return answered
}

func (h *history) await(answered chan answer, p *process) answer {
	select {
	case a := <-answered:
		return a
	case <-time.After(patience):
		p.catchUp()
	}
	return <-answered
}

var plaintext = regexp.MustCompile(`asp_[0-9A-Za-z]{16}_[0-9A-Za-z]{46}`)

func (a answer) String() string {
	text := strconv.Itoa(a.status)
	if a.status >= 400 || a.status == 0 {
		var said struct{ ErrorMessages []string }
		_ = json.Unmarshal([]byte(a.body), &said)
		text += fmt.Sprintf(" %.90q", strings.Join(said.ErrorMessages, " "))
	}
	return text
}

// expires returns the end of a new secret, as the answer says it.
func (a answer) expires() time.Time {
	var said struct{ ExpiresAt int64 }
	if json.Unmarshal([]byte(a.body), &said) != nil || said.ExpiresAt == 0 {
		return time.Time{}
	}
	return time.UnixMilli(said.ExpiresAt)
}

// clear reports whether the answer says what happened.
func (a answer) clear() bool { return a.status != 0 && a.status < 500 }

func (a answer) ok() bool { return a.status >= 200 && a.status < 400 }

// creation returns a request for a new token.
func (h *history) creation(user string, by *secret) request {
	r := request{portal: pick(h, h.portals...), user: user, by: by}
	days := pick(h, 0, 0, 0, 1, 30)
	if by == nil && h.chance(25) {
		r.what, r.method, r.target = "creates a token on the page", http.MethodPost, pagePath+"/create"
		r.dialog = pagePath + "?dialog=create"
		r.form = url.Values{"label": {"x"}, "access": {"ReadWrite"}, "consent": {"yes"}, "lifetimeDays": {"30"}}
		return r
	}
	r.what, r.method, r.target, r.body = fmt.Sprintf("creates a token for %d days", days), http.MethodPost, restPath+"/", `{"label":"x"}`
	if days > 0 {
		r.body = fmt.Sprintf(`{"label":"x","lifetimeDays":%d}`, days)
	}
	return r
}

// created notes the outcome of a creation, and returns the new token.
func (h *history) created(r request, a answer) *apiToken {
	text := plaintext.FindString(a.body)
	if !a.ok() || text == "" {
		if r.by == nil && !a.clear() {
			h.enrolled[r.user] = max(h.enrolled[r.user], maybe)
		}
		return nil
	}
	t := &apiToken{user: r.user, key: h.keys[r.user], id: text[:20]}
	ends := a.expires()
	if r.form != nil {
		ends = h.clock.Now().AddDate(0, 0, 30)
	}
	if r.by != nil {
		t.by, t.key = r.by.of, r.by.of.key
		if outlives(ends, t.by.newest().ends) {
			h.wrong("it outlives the token that made it")
		}
	}
	if r.by == nil {
		if h.renamed && r.user == "alice" {
			t.user = formerAlice
		}
		h.enrolled[t.user] = yes
	}
	s := h.addSecret(h.addToken(t), text, h.clock.Now(), ends)
	h.did("  that is token %d with secret %d", t.n, s.n)
	h.count("creation")
	return t
}

// rotation returns a request for a new secret of a token, and the overlap.
func (h *history) rotation(t *apiToken, by *secret) (request, time.Duration) {
	hours := pick(h, 0, 0, 1, 24)
	return request{
		what: fmt.Sprintf("rotates token %d with an overlap of %d hours", t.n, hours), portal: pick(h, h.portals...), user: t.user, by: by,
		method: http.MethodPost, target: restPath + "/" + t.id + "/rotate", body: fmt.Sprintf(`{"overlapHours":%d}`, hours),
	}, time.Duration(hours) * time.Hour
}

func (h *history) rotated(t *apiToken, overlap time.Duration, a answer) {
	now := h.clock.Now()
	text := plaintext.FindString(a.body)
	if a.ok() && text != "" {
		t.replace(now.Add(overlap), true)
		h.did("  that is secret %d", h.addSecret(t, text, now, a.expires()).n)
		h.count("rotation")
	} else if !a.clear() {
		t.replace(now.Add(overlap), false)
	}
}

// declare creates an APIToken with kubectl. The controller delivers its token.
func (h *history) declare() {
	h.declareFor(pick(h, "alice", "bob"))
}

func (h *history) declareFor(user string) *apiToken {
	h.Helper()
	h.declared++
	name := fmt.Sprintf("d%d", h.declared)
	t := h.addToken(&apiToken{user: user, key: h.keys[user], name: name, away: h.chance(50)})
	ns := h.namespaceOf(t)
	object := kubetest.Token(ns, name, func(o *tokensv1alpha1.APIToken) {
		o.Spec.SiteRef = tokensv1alpha1.SiteReference{Name: h.site.Name, Namespace: h.home}
		o.Spec.User = t.user
	})
	must(h.T, env.Admin.Create(h.Context(), object))
	h.did("kubectl: token %d of %s is declared, away: %t", t.n, t.user, t.away)
	h.keeper.note(h.keeper.tokens.Reconcile(h.Context(), object))
	h.readDelivered()
	return t
}

func (h *history) namespaceOf(t *apiToken) string {
	if t.away {
		return h.away
	}
	return h.home
}

// reads reads the delivered Secrets. A new text is a secret.
func (h *history) readDelivered() {
	h.Helper()
	for _, t := range h.tokens {
		if t.name == "" {
			continue
		}
		var s corev1.Secret
		err := env.Admin.Get(h.Context(), types.NamespacedName{Namespace: h.namespaceOf(t), Name: t.name + "-token"}, &s)
		if client.IgnoreNotFound(err) != nil {
			must(h.T, err)
		}
		text := string(s.Data[corev1.BasicAuthPasswordKey])
		if err != nil || slices.ContainsFunc(t.secrets, func(s *secret) bool { return s.text == text }) {
			continue
		}
		t.id = text[:20]
		h.did("  token %d is delivered: secret %d", t.n, h.addSecret(t, text, h.clock.Now(), time.Time{}).n)
		h.count("delivery")
	}
}

// objectOf returns the APIToken of a token.
func (h *history) objectOf(t *apiToken) *tokensv1alpha1.APIToken {
	h.Helper()
	if t.name != "" {
		return &tokensv1alpha1.APIToken{ObjectMeta: metav1.ObjectMeta{Namespace: h.namespaceOf(t), Name: t.name}}
	}
	var records corev1.SecretList
	must(h.T, env.Admin.List(h.Context(), &records, client.InNamespace(kubetest.SystemNamespace), client.MatchingLabels{record.LabelTokenID: t.id}))
	var all tokensv1alpha1.APITokenList
	must(h.T, env.Admin.List(h.Context(), &all, client.InNamespace(h.home)))
	for i := range all.Items {
		if len(records.Items) == 1 && string(all.Items[i].UID) == records.Items[0].Name {
			return &all.Items[i]
		}
	}
	return nil
}

// step lets time pass.
func (h *history) step(d time.Duration) {
	h.clock.SetTime(h.clock.Now().Add(d))
	h.stepped = true
	h.did("%s pass", d)
}
