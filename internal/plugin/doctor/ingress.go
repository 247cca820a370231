package doctor

import (
	"cmp"
	"context"
	"crypto/tls"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"net"
	"net/http"
	"net/http/httptrace"
	"net/url"
	"slices"
	"strings"
	"sync"
	"time"

	apimeta "k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/utils/clock"

	tokensv1alpha1 "apitokens.dev/operator/api/v1alpha1"
	"apitokens.dev/operator/internal/atlassian"
	"apitokens.dev/operator/internal/door"
	"apitokens.dev/operator/internal/httpheader"
	"apitokens.dev/operator/internal/plugin/output"
)

const (
	// requestTimeout bounds each request, and maxAnswer what is read of an answer, in bytes.
	requestTimeout, maxAnswer = 10 * time.Second, 64 << 10
	// bodySize is the size of a body that an ingress shall let through, in bytes: attachments of the products are larger.
	bodySize = 10 << 20
	// jiraTime is the format of times in Jira's answers.
	jiraTime = "2006-01-02T15:04:05.000-0700"
)

// visit is a look at the ingress of one site, through baseURL.
type visit struct {
	*exam

	site *tokensv1alpha1.AtlassianSite
	door door.Site
	http *http.Client
	// mu guards what the visits of several sites note at the same time.
	mu *sync.Mutex
}

// checkIngresses looks at the ingress of each site, all at the same time.
func (e *exam) checkIngresses(ctx context.Context) error {
	if e.noIngress {
		e.missed(checkIngress, "You gave --no-ingress.", "leave it out, on a machine that reaches baseURL")
		return nil
	}
	if len(e.sites) > 0 {
		fmt.Fprintf(e.ErrOut, "Asking the ingress of %s ...\n", amount(len(e.sites), "site"))
	}
	found := make([][]finding, len(e.sites))
	var mu sync.Mutex
	var all sync.WaitGroup
	for i := range e.sites {
		all.Go(func() { found[i] = e.visit(ctx, &e.sites[i], &mu) })
	}
	all.Wait()
	for _, one := range found {
		e.made(checkIngress, one...)
	}
	return e.checkWithToken(ctx)
}

// newVisit returns a visit with connections of its own.
func (e *exam) newVisit(s *tokensv1alpha1.AtlassianSite, mu *sync.Mutex) (*visit, error) {
	asked, err := door.SiteOf(s)
	if err != nil {
		return nil, err
	}
	asked.AuthURLSecret = cmp.Or(s.Status.AuthURLSecretName, s.Name+"-auth-urls")
	asked.ProductAnswers = apimeta.IsStatusConditionTrue(s.Status.Conditions, tokensv1alpha1.ConditionUpstreamReachable)
	transport := &http.Transport{
		Proxy: http.ProxyFromEnvironment, TLSClientConfig: &tls.Config{MinVersion: tls.VersionTLS12}, TLSHandshakeTimeout: requestTimeout,
		ExpectContinueTimeout: requestTimeout, ForceAttemptHTTP2: true, MaxResponseHeaderBytes: maxAnswer,
	}
	return &visit{exam: e, site: s, door: asked, mu: mu, http: &http.Client{
		Transport: transport, Timeout: requestTimeout,
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}}, nil
}

// visit looks at the ingress of a site without a token. What the controller has seen already is not said again.
func (e *exam) visit(ctx context.Context, s *tokensv1alpha1.AtlassianSite, mu *sync.Mutex) []finding {
	v, err := e.newVisit(s, mu)
	if err != nil {
		return nil // the condition Ready of the site says so
	}
	defer v.http.CloseIdleConnections()
	var found []finding
	if f := v.plainHTTP(); f != nil {
		found = append(found, *f)
	}
	seen := door.Asker{Clock: clock.RealClock{}, Transport: v.http.Transport}.Look(ctx, v.door)
	if seen.Reason != tokensv1alpha1.ReasonProtected {
		if !v.known(seen) {
			found = append(found, finding{
				Severity: v.severityOf(seen), Object: named(s, kindSite), Reason: seen.Reason, Found: "Seen from here: " + seen.Message,
				Do: adviceOf(seen.Reason, kindSite, s.Namespace, s.Name),
			})
		}
		return found
	}
	return append(found, v.details(ctx)...)
}

// known reports whether the controller found the door as open, or found out more precisely what is wrong with it.
func (v *visit) known(seen door.Finding) bool {
	c := *cmp.Or(apimeta.FindStatusCondition(v.site.Status.Conditions, tokensv1alpha1.ConditionIngressProtected), &metav1.Condition{})
	worst := seen.Reason == tokensv1alpha1.ReasonOpenDoor || seen.Reason == tokensv1alpha1.ReasonIdentityHeaderNotCleared
	return c.Reason == seen.Reason || c.Status == metav1.ConditionFalse && !worst
}

func (v *visit) severityOf(seen door.Finding) severity {
	if seen.Status() == metav1.ConditionUnknown {
		return warning
	}
	return problem
}

// plainHTTP says that users send tokens over a network without TLS.
func (v *visit) plainHTTP() *finding {
	u, err := url.Parse(v.door.BaseURL)
	if err != nil || u.Scheme != "http" || net.ParseIP(u.Hostname()).IsLoopback() {
		return nil
	}
	return &finding{
		Severity: problem, Object: named(v.site, kindSite), Reason: reasonPlainHTTP,
		Found: "Users send their tokens to " + v.door.BaseURL + " without TLS: everybody on the way can read them.",
		Do:    fmt.Sprintf("have the ingress serve TLS, and kubectl -n %s edit atlassiansite %s: a baseURL with https", v.site.Namespace, v.site.Name),
	}
}

// answered is an answer of the ingress.
type answered struct {
	status int
	header http.Header
	body   []byte
	tls    *tls.ConnectionState
	// reused says that the connection had been used before.
	reused bool
}

// refused reports whether it is the webhook's answer to a token that does not authenticate.
func (a answered) refused() bool {
	return a.status == http.StatusUnauthorized && slices.Contains(a.header.Values("WWW-Authenticate"), httpheader.Challenge)
}

// ask sends a request for a path, which is not changed on the way.
func (v *visit) ask(ctx context.Context, method, path string, header http.Header, body io.Reader, size int64) (a answered, err error) {
	ctx = httptrace.WithClientTrace(ctx, &httptrace.ClientTrace{GotConn: func(info httptrace.GotConnInfo) { a.reused = info.Reused }})
	request, err := http.NewRequestWithContext(ctx, method, strings.TrimSuffix(v.door.BaseURL, v.door.ContextPath)+path, body)
	if err != nil {
		return a, fmt.Errorf("asking the ingress: %w", err)
	}
	request.ContentLength = size
	request.Header.Set("Accept", "application/json")
	request.Header.Set("User-Agent", "kubectl-apitoken")
	maps.Copy(request.Header, header)
	before := time.Now()
	response, err := v.http.Do(request)
	if err != nil {
		return a, fmt.Errorf("asking the ingress: %w", err)
	}
	defer func() { _ = response.Body.Close() }()
	v.noteDate(response.Header, before)
	a.status, a.header, a.tls = response.StatusCode, response.Header, response.TLS
	if a.body, err = io.ReadAll(io.LimitReader(response.Body, maxAnswer)); err != nil && !errors.Is(err, io.ErrUnexpectedEOF) {
		return a, fmt.Errorf("reading the answer of the ingress: %w", err)
	}
	return a, nil
}

func (v *visit) noteDate(header http.Header, before time.Time) {
	v.mu.Lock()
	defer v.mu.Unlock()
	v.noteClock(ingressClock+named(v.site, kindSite), header.Get("Date"), http.TimeFormat, before)
}

func (v *visit) get(ctx context.Context, path string, header http.Header) (answered, error) {
	return v.ask(ctx, http.MethodGet, path, header, http.NoBody, 0)
}

// whoAmI is the path on which the product says who asks.
func (v *visit) whoAmI() string {
	path, err := atlassian.Product(v.door.Product).WhoAmIPath()
	if err != nil {
		return v.door.ContextPath + "/"
	}
	return v.door.ContextPath + path
}

// details looks at an ingress that asks the webhook.
func (v *visit) details(ctx context.Context) (found []finding) {
	for _, look := range []func(context.Context) ([]finding, error){v.connection, v.spellings, v.body, v.productClock} {
		some, err := look(ctx)
		if err != nil {
			v.mu.Lock()
			v.missed(checkIngress, named(v.site, kindSite)+": "+err.Error()+".", "run doctor again")
			v.mu.Unlock()
			continue
		}
		found = append(found, some...)
	}
	return found
}

// connection looks at the certificate, and whether one connection serves two requests.
func (v *visit) connection(ctx context.Context) (found []finding, err error) {
	if _, err = v.get(ctx, v.whoAmI(), door.MadeUp()); err != nil {
		return nil, err
	}
	second, err := v.get(ctx, v.whoAmI(), door.MadeUp())
	if err != nil {
		return nil, err
	}
	if !second.reused {
		found = append(found, finding{
			Severity: warning, Object: named(v.site, kindSite), Reason: reasonNoKeepAlive,
			Found: "The ingress closes the connection after a request: each request of a script pays for a new one.",
			Do:    "let connections live in the ingress: keepalive_timeout of nginx, keep-alive of ingress-nginx",
		})
	}
	if second.tls == nil || len(second.tls.PeerCertificates) == 0 {
		return found, nil
	}
	if end, now := second.tls.PeerCertificates[0].NotAfter, v.Now(); end.Before(now.Add(certificateNotice)) {
		found = append(found, finding{
			Severity: severityOfEnd(now, end), Object: named(v.site, kindSite), Reason: reasonCertificateEnds,
			Found: "The certificate of the ingress ends " + output.Moment(now, metav1.NewTime(end), "") + ".",
			Do:    "renew the certificate of the ingress: kubectl -n " + v.site.Namespace + " get ingresses,certificates",
		})
	}
	return found, nil
}

// spellings asks for the path in spellings that servers take for it. The ingress has to have each judged, or to refuse it.
//
// A token that reaches the product unasked does not work there, so this is a problem only if the product takes somebody for a user.
func (v *visit) spellings(ctx context.Context) ([]finding, error) {
	base, path := v.door.ContextPath, strings.TrimPrefix(v.whoAmI(), v.door.ContextPath)
	if !slices.ContainsFunc(v.door.TokenPaths, func(folder string) bool { return strings.HasPrefix(path, folder) }) {
		return nil, nil // nobody has to ask about it
	}
	_, below, _ := strings.Cut(strings.TrimPrefix(path, "/"), "/")
	for _, folder := range []string{"/rest/../rest/", "//rest/", "/rest/./", "/%72est/", "/REST/../rest/", "/rest;x/"} {
		spelling := folder + below
		a, err := v.get(ctx, base+spelling, door.MadeUp())
		if err != nil {
			return nil, err
		}
		name, known := atlassian.Product(v.door.Product).Named(a.body), strings.TrimPrefix(a.header.Get("X-Ausername"), "anonymous")
		f := finding{
			Severity: warning, Object: named(v.site, kindSite), Reason: reasonPathNotChecked,
			Found: fmt.Sprintf("The ingress does not have the path %s judged: a token that does not exist got %d from the product.", base+spelling, a.status),
			Do:    "have the ingress ask about the path that it sends on, or refuse such spellings: docs/how-to/gateways/README.md",
		}
		switch {
		case a.status == http.StatusOK && name != "" || known != "":
			f.Severity = problem
			return []finding{f}, nil
		case a.header.Get("X-Ausername") != "" || a.status == http.StatusUnauthorized && !a.refused() || a.status/100 == 2:
			return []finding{f}, nil
		}
	}
	return nil, nil
}

// body announces a body, with a token that does not exist. Nothing of it is sent unless the ingress asks for it.
func (v *visit) body(ctx context.Context) ([]finding, error) {
	header := door.MadeUp()
	header.Set("Expect", "100-continue")
	header.Set("Content-Type", "application/octet-stream")
	a, err := v.ask(ctx, http.MethodPost, v.whoAmI(), header, io.LimitReader(zeros{}, bodySize), bodySize)
	if err != nil || a.status != http.StatusRequestEntityTooLarge {
		return nil, err
	}
	return []finding{{
		Severity: warning, Object: named(v.site, kindSite), Reason: reasonBodyTooSmall,
		Found: fmt.Sprintf("The ingress refuses a body of %d MiB with 413: scripts cannot upload attachments.", bodySize>>20),
		Do:    "raise the limit in the ingress: client_max_body_size of nginx, proxy-body-size of ingress-nginx",
	}}, nil
}

type zeros struct{}

func (zeros) Read(p []byte) (int, error) { clear(p); return len(p), nil }

// productClock notes what time it is for the product: Jira says so, to everybody. Confluence does not.
func (v *visit) productClock(ctx context.Context) ([]finding, error) {
	if v.door.Product != tokensv1alpha1.ProductJira {
		return nil, nil
	}
	before := time.Now()
	a, err := v.get(ctx, v.door.ContextPath+"/rest/api/2/serverInfo", nil)
	var info struct{ ServerTime string }
	if err == nil && a.status == http.StatusOK && json.Unmarshal(a.body, &info) == nil {
		v.mu.Lock()
		defer v.mu.Unlock()
		v.noteClock(productClock+named(v.site, kindSite), info.ServerTime, jiraTime, before)
	}
	return nil, err
}
