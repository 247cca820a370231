package product

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"slices"
	"strings"

	"apitokens.dev/operator/internal/atlassian"
)

// shortestSecret is the shortest value of a cookie that is hidden wherever it is. Shorter ones, such as true, are only not shown as such.
const shortestSecret = 8

// maxAnswer is how much of an answer is read, in bytes.
const maxAnswer = 1 << 20

// request is what a check sends.
type request struct {
	method string
	// target is sent as it is, so that a check can send what is malformed.
	target string
	header http.Header
	body   string
	// shown is what the report says of the headers that are secret.
	shown []string
}

// option changes a request.
type option func(*request)

func bearer(token string) option {
	return func(r *request) {
		r.header.Set("Authorization", "Bearer "+token)
		r.shown = append(r.shown, "Authorization: Bearer "+token)
	}
}

func basicAuth(user, password string) option {
	return func(r *request) {
		signed := http.Request{Header: r.header}
		signed.SetBasicAuth(user, password)
		r.shown = append(r.shown, "Authorization: Basic base64("+user+":"+password+")")
	}
}

func cookie(name, value string) option {
	return func(r *request) {
		(&http.Request{Header: r.header}).AddCookie(&http.Cookie{Name: name, Value: value}) //nolint:gosec // it is sent, not set
		r.shown = append(r.shown, "Cookie: "+name+"=<COOKIE>")
	}
}

func header(name, value string) option {
	return func(r *request) {
		r.header.Set(name, value)
		r.shown = append(r.shown, name+": "+value)
	}
}

func form(values url.Values) option {
	return func(r *request) {
		r.method, r.body = http.MethodPost, values.Encode()
		header("Content-Type", "application/x-www-form-urlencoded")(r)
	}
}

func sends(v any) option {
	return func(r *request) {
		text, _ := json.Marshal(v) // of maps and strings
		r.method, r.body = http.MethodPost, string(text)
		header("Content-Type", "application/json")(r)
		header("X-Atlassian-Token", "no-check")(r) // a session needs it to change anything
	}
}

func method(name string) option { return func(r *request) { r.method = name } }

// get sends a request to a target below the context path.
func (k *kit) get(target string, options ...option) *answer {
	return k.send(k.base.EscapedPath()+target, options...)
}

// send sends a request. Options may make it another than GET.
func (k *kit) send(target string, options ...option) *answer {
	r := &request{method: http.MethodGet, target: target, header: http.Header{"Accept": {"application/json, text/html;q=0.5"}}}
	// Administrators can find in the log of their product which check sent a request.
	r.header.Set("User-Agent", "kubectl-apitoken-doctor ("+k.running+")")
	for _, o := range options {
		o(r)
	}
	if _, pair, basic := strings.Cut(r.header.Get("Authorization"), "Basic "); basic && len(pair) >= shortestSecret {
		k.hide.secret(strings.TrimRight(pair, "="), "BASIC") // a product may repeat what it got
	}
	a := k.exchange(r)
	k.traffic = append(k.traffic, exchange{request: r, answer: a})
	for _, c := range a.cookies() {
		if len(c.Value) >= shortestSecret {
			k.hide.secret(c.Value, "COOKIE")
		}
	}
	return a
}

func (k *kit) exchange(r *request) *answer {
	sent := (&http.Request{
		Method: r.method, Header: r.header, Host: k.base.Host, ContentLength: int64(len(r.body)), Body: io.NopCloser(strings.NewReader(r.body)),
		URL: &url.URL{Scheme: k.base.Scheme, Host: k.base.Host, Opaque: r.target},
	}).WithContext(k.ctx)
	if path, query, found := strings.Cut(r.target, "?"); found {
		sent.URL.Opaque, sent.URL.RawQuery = path, query
	}
	if strings.HasPrefix(r.target, "//") { // else it would be read as a host
		sent.URL.Opaque = k.base.Scheme + "://" + k.base.Host + r.target
	}
	response, err := k.http.Do(sent)
	if err != nil {
		return &answer{err: notTriedError("there was no answer: " + reason(err))}
	}
	defer response.Body.Close()
	body, err := io.ReadAll(io.LimitReader(response.Body, maxAnswer))
	if err != nil {
		return &answer{err: notTriedError("the answer ended early")}
	}
	if slices.Contains(notTheProducts, response.StatusCode) {
		return &answer{err: notTriedError(fmt.Sprintf("there was no answer but HTTP %d", response.StatusCode))}
	}
	return &answer{status: response.StatusCode, header: response.Header, body: body}
}

// notTheProducts are statuses of a limit on requests, or of a proxy whose product is away. They tell nothing about an assumption.
var notTheProducts = []int{http.StatusTooManyRequests, http.StatusBadGateway, http.StatusServiceUnavailable, http.StatusGatewayTimeout}

// reason returns the reason of a transport without the address, which is hidden.
func reason(err error) string {
	if of, ok := errors.AsType[*url.Error](err); ok {
		return of.Err.Error()
	}
	return err.Error()
}

// answer is what the product answered. err is set if it did not.
type answer struct {
	status int
	header http.Header
	body   []byte
	err    error
}

// is returns an error unless the status is one of these.
func (a *answer) is(statuses ...int) error {
	if a.err != nil {
		return a.err
	}
	return must(slices.Contains(statuses, a.status), "HTTP %d instead of %s", a.status, strings.Trim(fmt.Sprint(statuses), "[]"))
}

// json decodes the answer. The error does not quote it.
func (a *answer) json(into any) error {
	if a.err != nil {
		return a.err
	}
	return must(json.Unmarshal(a.body, into) == nil, "the answer is not the JSON that was expected")
}

// keys returns an error unless the answer is a JSON object with these keys.
func (a *answer) keys(names ...string) error {
	var object map[string]json.RawMessage
	if err := a.json(&object); err != nil {
		return err
	}
	return lacks(object, names)
}

func lacks(object map[string]json.RawMessage, names []string) error {
	var missing []string
	for _, name := range names {
		if _, ok := object[name]; !ok {
			missing = append(missing, name)
		}
	}
	return must(len(missing) == 0, "the answer lacks %s", strings.Join(missing, ", "))
}

// has returns an error unless a header has this value.
func (a *answer) has(name, value string) error {
	if a.err != nil {
		return a.err
	}
	return must(a.header.Get(name) == value, "%s is %q instead of %q", name, a.header.Get(name), value)
}

// shows returns an error unless a page has these texts.
func (a *answer) shows(texts ...string) error {
	if a.err != nil {
		return a.err
	}
	var missing []string
	for _, text := range texts {
		if !strings.Contains(string(a.body), text) {
			missing = append(missing, text)
		}
	}
	return must(len(missing) == 0, "the page lacks %s", strings.Join(missing, ", "))
}

// isPage returns an error unless the answer is a page for people.
func (a *answer) isPage() error {
	if a.err != nil {
		return a.err
	}
	return must(strings.HasPrefix(a.header.Get("Content-Type"), "text/html"), "the answer is no page but %s", a.header.Get("Content-Type"))
}

// leadsTo returns an error unless the answer redirects to a path below the context path.
func (a *answer) leadsTo(k *kit, path string) error {
	if err := a.is(http.StatusFound, http.StatusSeeOther); err != nil {
		return err
	}
	to, err := url.Parse(a.header.Get("Location"))
	ok := err == nil && (to.Host == "" || to.Host == k.base.Host) && strings.TrimSuffix(to.RequestURI(), "/") == strings.TrimSuffix(k.base.EscapedPath()+path, "/")
	return must(ok, "it leads to %s instead of %s", target(a.header.Get("Location")), k.base.EscapedPath()+path)
}

// target returns what may be shown of a Location: neither values of its query, which may be credentials, nor more than the host of
// another site.
func target(location string) string {
	to, err := url.Parse(location)
	if err != nil {
		return "<unreadable>"
	}
	if to.Host != "" {
		return to.Scheme + "://" + to.Host
	}
	query := to.Query()
	for name := range query {
		if name != "os_destination" && name != "logout" {
			query.Set(name, "value")
		}
	}
	to.RawQuery, to.Fragment = query.Encode(), ""
	return to.String()
}

func (a *answer) cookies() []*http.Cookie {
	if a.err != nil {
		return nil
	}
	return (&http.Response{Header: a.header}).Cookies()
}

// signedIn returns an error unless an answer to who-am-I names the user.
func (k *kit) signedIn(a *answer) error {
	if err := a.is(http.StatusOK); err != nil {
		return err
	}
	return must(k.product.Named(a.body) == k.User, "the answer does not name the user")
}

// notSignedIn returns an error if an answer to who-am-I names somebody.
func (k *kit) notSignedIn(a *answer) error {
	if a.err != nil {
		return a.err
	}
	return must(a.status != http.StatusOK || k.product.Named(a.body) == "", "the answer names a user")
}

// open is a resource that answers anonymous callers.
func (k *kit) open() string {
	if k.product == atlassian.Confluence {
		return "/rest/api/user/anonymous"
	}
	return "/rest/api/2/serverInfo"
}
