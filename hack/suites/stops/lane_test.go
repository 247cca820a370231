package stops_test

import (
	"context"
	crand "crypto/rand"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/go-logr/logr"
	"github.com/prometheus/client_golang/prometheus"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/rest"
	testclock "k8s.io/utils/clock/testing"
	"sigs.k8s.io/controller-runtime/pkg/client"

	tokensv1alpha1 "apitokens.dev/operator/api/v1alpha1"
	"apitokens.dev/operator/hack/lib/kubetest"
	"apitokens.dev/operator/hack/lib/portaltest"
	"apitokens.dev/operator/hack/lib/ports"
	"apitokens.dev/operator/internal/authurl"
	"apitokens.dev/operator/internal/feed"
	"apitokens.dev/operator/internal/manager"
	"apitokens.dev/operator/internal/projection"
	"apitokens.dev/operator/internal/record"
	"apitokens.dev/operator/internal/serving"
	"apitokens.dev/operator/internal/token"
	"apitokens.dev/operator/internal/upstream"
	"apitokens.dev/operator/webhook/gateway"
	"apitokens.dev/operator/webhook/portal"
)

// lane has two portals, three gateways and a clock. One history after the other runs in it.
type lane struct {
	clock             *testclock.FakeClock
	portals, gateways []*process
	// operator has the rights of the controller, over a line of its own.
	operator client.WithWatch
	control  *line
	// home has the site of a history, away has declared APITokens.
	home, away string
	beacon     beacon
}

// process is a running portal or gateway.
type process struct {
	*line

	name, url string
	// watches are the resources that it watches.
	watches []string
}

var everything = serving.Options{
	TLS:       serving.TLSFiles{PlainHTTP: true},
	Telemetry: manager.Telemetry{Health: "0", Metrics: "0"}, ShutdownTimeout: time.Second, Audit: io.Discard,
	Feed: feed.Config{Namespace: kubetest.SystemNamespace, CredentialsNamespace: kubetest.CredentialsNamespace, Lease: portaltest.Lease},
}

// accounts are the operator's accounts.
type accounts struct{ operator, portal, webhook *rest.Config }

func newAccounts(t *testing.T) accounts {
	t.Helper()
	user := func(name string) *rest.Config {
		return env.User(t, name, "system:serviceaccounts", "system:serviceaccounts:"+kubetest.SystemNamespace)
	}
	return accounts{user(kubetest.Controller), user(kubetest.Portal), user(kubetest.Webhook)}
}

func newLane(t *testing.T, a accounts) *lane {
	t.Helper()
	l := &lane{clock: testclock.NewFakeClock(time.Now()), home: env.Namespace(t), away: env.Namespace(t)}
	var err error
	l.control, err = newLine(a.operator)
	must(t, err)
	t.Cleanup(l.control.Close)
	l.operator, err = client.NewWithWatch(&rest.Config{Host: l.control.URL(), QPS: -1}, client.Options{Scheme: env.Admin.Scheme(), FieldOwner: "apitoken-controller"})
	must(t, err)
	portaltest.Keep(t.Context(), t, &env, l.clock, labels.Set{record.LabelSiteNamespace: l.home})
	for i := range 2 {
		p := l.start(t, fmt.Sprintf("portal %d", i+1), a.portal,
			func(ctx context.Context, config *rest.Config, o serving.Options, log logr.Logger) error {
				return portal.Run(ctx, config, portal.Options{Options: o, IntakeNamespace: kubetest.IntakeNamespace}, log)
			})
		p.watches = []string{"apitokens", "atlassiansites", "namespaces", "hash"}
		l.portals = append(l.portals, p)
	}
	for i := range 3 {
		p := l.start(t, fmt.Sprintf("gateway %d", i+1), a.webhook,
			func(ctx context.Context, config *rest.Config, o serving.Options, log logr.Logger) error {
				return gateway.Run(ctx, config, gateway.Options{Options: o, FlushTimeout: time.Second}, log)
			})
		p.watches = []string{"apitokens", "atlassiansites", "namespaces", "hash", "upstream-credential"}
		l.gateways = append(l.gateways, p)
	}
	l.beacon.create(t, l.operator)
	return l
}

type run func(context.Context, *rest.Config, serving.Options, logr.Logger) error

// start runs a process until the test ends.
func (l *lane) start(t *testing.T, name string, account *rest.Config, run run) *process {
	t.Helper()
	way, err := newLine(account)
	must(t, err)
	free, err := ports.Free(1)
	must(t, err)
	o := everything
	o.BindAddress, o.Clock, o.Registry = free[0], l.clock, prometheus.NewRegistry()
	ctx, stop := context.WithCancel(context.Background()) //nolint:usetesting // it must not end before the histories
	ended := make(chan error, 1)
	go func() { ended <- run(ctx, &rest.Config{Host: way.URL()}, o, logr.Discard()) }()
	t.Cleanup(func() {
		way.mend()
		stop()
		way.Cut()
		must(t, <-ended)
		way.Close()
	})
	return &process{line: way, name: name, url: "http://" + free[0]}
}

func (l *lane) processes() []*process {
	return append(append([]*process{}, l.portals...), l.gateways...)
}

// mend ends all faults.
func (l *lane) mend() {
	for _, p := range l.processes() {
		p.mend()
	}
	l.control.mend()
}

// beacon is a site with one token that shows how much every process has seen: it needs an object of each kind.
type beacon struct {
	home, away string
	site       *tokensv1alpha1.AtlassianSite
	token      *tokensv1alpha1.APIToken
	keys       authurl.Keys
	text       string
	round      int
}

func (b *beacon) create(t *testing.T, operator client.Client) {
	t.Helper()
	b.home, b.away = env.Namespace(t), env.Namespace(t)
	b.site = kubetest.Site(b.home, "beacon")
	must(t, env.Admin.Create(t.Context(), b.site))
	b.keys = authurl.NewKeys(b.home, "beacon", time.Now())
	p := projection.Projection{Namespace: b.home, Site: "beacon", UID: string(b.site.UID), UpstreamURL: b.site.Spec.UpstreamURL}
	put(t, operator, secretOf(t, kubetest.SystemNamespace, p.SecretName(), projection.SecretType, projection.DataKey, p.Encode))
}

// light changes an object of each kind. A process that accepts the new token has seen everything before.
func (b *beacon) light(t *testing.T, operator client.Client) {
	t.Helper()
	b.round++
	round := fmt.Sprintf("r%d", b.round)
	must(t, env.Admin.Patch(t.Context(), &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: b.away}},
		client.RawPatch(types.MergePatchType, []byte(`{"metadata":{"labels":{"round":"`+round+`"}}}`))))
	b.site.Spec.AllowedNamespaces = tokensv1alpha1.AllowedNamespaces{
		From: tokensv1alpha1.NamespacesFromSelector, Selector: &metav1.LabelSelector{MatchLabels: map[string]string{"round": round}},
	}
	must(t, env.Admin.Update(t.Context(), b.site))
	b.keys = authurl.NewKeys(b.home, "beacon", time.Now())
	c := upstream.Credential{Namespace: b.home, Site: "beacon", User: "alice", Origin: strings.TrimSuffix(b.site.Spec.UpstreamURL, "/jira"), Token: round}
	put(t, operator, secretOf(t, kubetest.CredentialsNamespace, b.keys.SecretName(), authurl.KeysSecretType, authurl.KeysDataKey, b.keys.Encode))
	put(t, operator, secretOf(t, kubetest.CredentialsNamespace, c.SecretName(), upstream.SecretType, upstream.DataKey, c.Encode))
	b.replaceToken(t, operator, round)
}

func (b *beacon) replaceToken(t *testing.T, operator client.Client, name string) {
	t.Helper()
	if b.token != nil {
		must(t, env.Admin.Delete(t.Context(), b.token))
		must(t, operator.Delete(t.Context(), &corev1.Secret{ObjectMeta: metav1.ObjectMeta{Namespace: kubetest.SystemNamespace, Name: string(b.token.UID)}}))
	}
	b.token = kubetest.Token(b.away, name, func(a *tokensv1alpha1.APIToken) {
		a.Spec.SiteRef = tokensv1alpha1.SiteReference{Name: "beacon", Namespace: b.home}
	})
	must(t, env.Admin.Create(t.Context(), b.token))
	id, err := token.NewID(crand.Reader)
	must(t, err)
	text, entry, err := record.Mint(id, record.Delivered, time.Now().Add(-time.Hour), crand.Reader)
	must(t, err)
	b.text = text
	r := &record.Record{
		TokenID: id, User: "alice", DeliverySecret: name + "-token", Entries: []record.Entry{entry},
		Site: record.Ref{Namespace: b.home, Name: "beacon"}, APIToken: record.Ref{Namespace: b.away, Name: name},
	}
	put(t, operator, secretOf(t, kubetest.SystemNamespace, string(b.token.UID), record.SecretType, record.DataKey, r.Encode))
}

// catchUp ends all faults, and waits until every process has seen everything that was written so far.
func (l *lane) catchUp(t *testing.T) {
	t.Helper()
	l.mend()
	l.beacon.light(t, l.operator)
	kubetest.Eventually(t, func() error {
		var errs []error
		for _, g := range l.gateways {
			status, header := askGateway(g, l.beacon.keys.Address(authurl.Nginx).String(), l.beacon.site.Spec.BaseURL, "alice", l.beacon.text)
			if want := fmt.Sprintf("Bearer r%d", l.beacon.round); status != http.StatusOK || header.Get("Authorization") != want {
				errs = append(errs, fmt.Errorf("%s answers %d to the beacon", g.name, status))
			}
		}
		for _, p := range l.portals {
			if status := askPortal(p, l.beacon.home, "beacon", "alice", l.beacon.text); status != http.StatusOK {
				errs = append(errs, fmt.Errorf("%s answers %d to the beacon", p.name, status))
			}
		}
		return errors.Join(errs...)
	})
}

// web sends requests to portals and gateways.
var web = &http.Client{
	Transport: &http.Transport{MaxIdleConnsPerHost: 16}, Timeout: 10 * time.Second,
	CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
}

// askGateway asks about a request with a token, as nginx does. The status is 0 without an answer.
func askGateway(g *process, address, baseURL, user, text string) (int, http.Header) {
	r, err := http.NewRequest(http.MethodGet, g.url+address, http.NoBody)
	if err != nil {
		return 0, nil
	}
	r.Header.Set("X-Original-URL", baseURL+"/rest/api/2/myself")
	r.Header.Set("X-Original-Method", http.MethodGet)
	r.SetBasicAuth(user, text)
	a := send(r)
	return a.status, a.header
}

// askPortal lists the tokens of a user with a token.
func askPortal(p *process, namespace, site, user, text string) int {
	r, err := http.NewRequest(http.MethodGet, p.url+"/portal/"+namespace+"/"+site+restPath+"/", http.NoBody)
	if err != nil {
		return 0
	}
	r.SetBasicAuth(user, text)
	return send(r).status
}

const restPath = "/rest/api-tokens/latest"

// answer is the response to a request. Its status is 0 if there was none.
type answer struct {
	status int
	header http.Header
	body   string
}

func send(r *http.Request) answer {
	response, err := web.Do(r)
	if err != nil {
		return answer{body: err.Error()}
	}
	defer func() { _ = response.Body.Close() }()
	body, err := io.ReadAll(response.Body)
	if err != nil {
		return answer{body: err.Error()}
	}
	return answer{response.StatusCode, response.Header, string(body)}
}

func secretOf(t *testing.T, namespace, name, secretType, key string, encode func() ([]byte, error)) *corev1.Secret {
	t.Helper()
	data, err := encode()
	must(t, err)
	return &corev1.Secret{
		ObjectMeta: metav1.ObjectMeta{Namespace: namespace, Name: name}, Type: corev1.SecretType(secretType), Data: map[string][]byte{key: data},
	}
}

// put creates or replaces a Secret.
func put(t *testing.T, c client.Client, s *corev1.Secret) {
	t.Helper()
	err := c.Create(t.Context(), s)
	if err != nil && client.IgnoreAlreadyExists(err) == nil {
		err = c.Update(t.Context(), s)
	}
	must(t, err)
}

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}
