package door

import (
	"bytes"
	"cmp"
	"context"
	"crypto/rand"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"maps"
	"net/http"
	"strings"
	"time"

	"k8s.io/utils/clock"

	"apitokens.dev/operator/internal/atlassian"
	"apitokens.dev/operator/internal/authurl"
	"apitokens.dev/operator/internal/probe"
	"apitokens.dev/operator/internal/token"
)

const (
	// roundTimeout bounds a round, and requestTimeout each request of it.
	roundTimeout, requestTimeout = 40 * time.Second, 5 * time.Second
	// lead is how long after the first question a probe is due, so that clocks may differ by so much.
	lead = 2 * time.Second
	// attempts is how often a probe is asked with, if need be. Those that are due are a pause apart: a webhook may not have seen a new
	// site yet.
	attempts, betweenAttempts = 4, time.Second
	// maxBody and maxHeader bound an answer, in bytes.
	maxBody, maxHeader = 64 << 10, 64 << 10

	// madeUpPath exists at no product. It is a path below the context path.
	madeUpPath = "/apitoken-probe"
)

// Asker asks the ingress of a site. It only sends GET, follows no redirect, and trusts the authorities of the system.
type Asker struct {
	Clock clock.Clock
	// Lead is how long after the first question a probe is due. Zero means 2 seconds.
	Lead time.Duration
	// Transport sends the questions. Nil means as a client from outside.
	Transport http.RoundTripper
	// pause is between two attempts with a probe that is due. Zero means 1 second.
	pause time.Duration
}

// round is one round of questions.
type round struct {
	Asker

	site Site
	http *http.Client
	answers
}

// Look asks the ingress of a site, and says what it found. Without the key of the site it sees neither whose verdicts these are, nor
// about which path the webhook is asked, nor whether verdicts are kept: Protected means then that nothing else was found.
func (a Asker) Look(ctx context.Context, s Site) Finding {
	ctx, cancel := context.WithTimeout(ctx, roundTimeout)
	defer cancel()
	a.Lead, a.pause = cmp.Or(a.Lead, lead), cmp.Or(a.pause, betweenAttempts)
	if a.Transport == nil {
		transport := &http.Transport{
			TLSClientConfig: &tls.Config{MinVersion: tls.VersionTLS12}, TLSHandshakeTimeout: requestTimeout,
			MaxResponseHeaderBytes: maxHeader, ForceAttemptHTTP2: true,
		}
		defer transport.CloseIdleConnections()
		a.Transport = transport
	}
	r := round{Asker: a, site: s, http: &http.Client{
		Transport: a.Transport, Timeout: requestTimeout,
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}}
	r.ask(ctx)
	return judge(s, r.answers)
}

// ask asks all questions. The made-up token comes after the probe was accepted: until then the webhook may not have seen the site.
func (r *round) ask(ctx context.Context) {
	r.path = r.site.ContextPath + r.tokenPath()
	if r.anonymous = r.get(ctx, r.path, nil); r.anonymous.err != nil {
		return
	}
	if r.site.Key == (probe.Key{}) {
		r.askIdentity(ctx)
		r.madeUp = r.get(ctx, r.path, with(madeUpToken()))
		return
	}
	early, due := r.askEarly(ctx)
	r.askIdentity(ctx)
	r.wait(ctx, due.Sub(r.Clock.Now())+r.Lead/4)
	for n := range attempts {
		if n > 0 {
			r.wait(ctx, r.pause)
		}
		if r.due = r.get(ctx, r.path, with(r.site.Key.Credential(due, ""))); r.due.status == http.StatusForbidden {
			break
		}
	}
	r.madeUp = r.get(ctx, r.path, with(madeUpToken()))
	r.bound = r.get(ctx, r.path, with(r.site.Key.Credential(due, r.path)))
	r.claims = map[authurl.Contract]answer{}
	for contract, headers := range claims(r.site) {
		header := with(r.site.Key.Credential(due, r.path))
		for name, value := range headers {
			header[name] = []string{value}
		}
		r.claims[contract] = r.get(ctx, r.path, header)
	}
	r.late = r.get(ctx, r.path, with(early))
}

// askEarly asks with a probe before it is due. An answer that came later says nothing, so a slow ingress is asked again with more time.
func (r *round) askEarly(ctx context.Context) (credential string, due time.Time) {
	for range attempts {
		due = r.Clock.Now().Add(r.Lead)
		credential = r.site.Key.Credential(due, "")
		if r.early = r.get(ctx, r.path, with(credential)); r.early.err != nil || r.Clock.Now().Before(due) {
			break
		}
		r.Lead *= 2
	}
	return credential, due
}

// askIdentity asks on and beside the path as a made-up user, by the headers that name one and by those that servers take for them.
func (r *round) askIdentity(ctx context.Context) {
	besidePath := r.site.ContextPath + madeUpPath
	r.beside = r.get(ctx, besidePath, nil)
	if r.site.Everything {
		r.everywhere = r.get(ctx, besidePath+"?"+probe.User+"="+madeUpToken(), http.Header{r.site.IdentityHeaders[0]: {probe.User}})
	}
	for _, name := range r.site.IdentityHeaders {
		for _, spelling := range []string{name, strings.ReplaceAll(name, "-", "_"), strings.ReplaceAll(name, "-", ".")} {
			forged := http.Header{spelling: {probe.User}}
			r.forged = append(r.forged,
				forgedAnswer{r.get(ctx, r.path, forged), spelling, r.path, r.anonymous},
				forgedAnswer{r.get(ctx, besidePath, forged), spelling, besidePath, r.beside})
		}
	}
}

// wait waits on the clock.
func (r *round) wait(ctx context.Context, d time.Duration) {
	select {
	case <-ctx.Done():
	case <-r.Clock.After(d):
	}
}

// tokenPath is a path below the context path where tokens count: that on which the product says who asks, if it is one.
func (r *round) tokenPath() string {
	whoAmI, err := atlassian.Product(r.site.Product).WhoAmIPath()
	for _, folder := range r.site.TokenPaths {
		if err == nil && strings.HasPrefix(whoAmI, folder) {
			return whoAmI
		}
	}
	if len(r.site.TokenPaths) == 0 {
		return whoAmI
	}
	return strings.TrimSuffix(r.site.TokenPaths[0], "/") + madeUpPath
}

// claims are headers with which a gateway says what a client asked for, by contract, here for another path. A gateway that does not
// set them itself passes on those of the client.
func claims(s Site) map[authurl.Contract]map[string]string {
	elsewhere := s.ContextPath + "/rest" + madeUpPath
	return map[authurl.Contract]map[string]string{
		authurl.Nginx:   {"X-Original-Url": strings.TrimSuffix(s.BaseURL, s.ContextPath) + elsewhere, "X-Original-Method": http.MethodGet},
		authurl.Forward: {"X-Forwarded-Uri": elsewhere, "X-Forwarded-Method": http.MethodGet},
		authurl.Fabric:  {"Path": elsewhere, "Method": http.MethodGet},
	}
}

// with returns a header with a password of the made-up user.
func with(password string) http.Header {
	r := http.Request{Header: http.Header{}}
	r.SetBasicAuth(probe.User, password)
	return r.Header
}

// MadeUp returns the header of a request with a token that does not exist, of a user who does not exist.
func MadeUp() http.Header { return with(madeUpToken()) }

// madeUpToken returns a token that does not exist.
func madeUpToken() string {
	id, err := token.NewID(rand.Reader)
	if err != nil {
		return token.Prefix // crypto/rand never fails
	}
	text, err := token.New(id, rand.Reader)
	if err != nil {
		return token.Prefix
	}
	return text
}

// get sends one request.
func (r *round) get(ctx context.Context, path string, header http.Header) (a answer) {
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, strings.TrimSuffix(r.site.BaseURL, r.site.ContextPath)+path, http.NoBody)
	if err != nil {
		return answer{err: fmt.Errorf("asking the ingress: %w", err)}
	}
	request.Header.Set("Accept", "application/json")
	request.Header.Set("User-Agent", probe.User)
	maps.Copy(request.Header, header) // in this very spelling
	response, err := r.http.Do(request)
	if err != nil {
		return answer{err: fmt.Errorf("asking the ingress: %w", err)}
	}
	defer func() { _ = response.Body.Close() }()
	body, err := io.ReadAll(io.LimitReader(response.Body, maxBody))
	if err != nil && !errors.Is(err, io.ErrUnexpectedEOF) {
		return answer{err: fmt.Errorf("reading the answer of the ingress: %w", err)}
	}
	return answer{
		status: response.StatusCode, header: response.Header, user: r.userIn(response, body),
		namesMadeUp: names(response.Header, body),
	}
}

// userIn returns the user that the product says a request is of, in X-AUSERNAME or as the current user. It is empty for an anonymous one.
func (r *round) userIn(response *http.Response, body []byte) string {
	if name := response.Header.Get("X-Ausername"); name != "" {
		return strings.TrimPrefix(name, "anonymous")
	}
	if response.StatusCode != http.StatusOK {
		return ""
	}
	return atlassian.Product(r.site.Product).Named(body)
}

// names reports whether the made-up user is in an answer.
func names(header http.Header, body []byte) bool {
	for _, values := range header {
		for _, value := range values {
			if strings.Contains(value, probe.User) {
				return true
			}
		}
	}
	return bytes.Contains(body, []byte(probe.User))
}
