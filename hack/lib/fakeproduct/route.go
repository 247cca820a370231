package fakeproduct

import (
	"io"
	"net/http"
	pathpkg "path"
	"slices"
	"strings"
)

// call is a request with its credentials judged.
type call struct {
	seen    Seen
	path    string // inside the context path, as in the routes
	by      User   // the zero value when anonymous
	session string // id of the session that signed by in, "" for any other credential
	reason  string // value of X-Seraph-LoginReason
}

func (c call) anonymous() bool { return c.by.Name == "" }

// last returns the last segment of the path.
func (c call) last() string { return pathpkg.Base(c.path) }

// endpoint is one page or resource of the fake product.
type endpoint struct {
	methods []string         // any when empty
	refuse  http.HandlerFunc // answers anonymous callers instead, when set
	answer  func(w http.ResponseWriter, r *http.Request, in call)
}

// route answers by the path. It checks that the path exists before methods and
// credentials.
func (p *Product) route(w http.ResponseWriter, r *http.Request, in call) {
	in.path = p.resource(in.path)
	e, ok := p.endpoints[in.path]
	if !ok {
		e, ok = p.endpoints[pathpkg.Dir(in.path)+"/*"]
	}
	switch {
	case !ok && strings.HasPrefix(in.path, "/rest/"):
		// https://github.com/qoomon/Jira-Issue-Card-Printer/issues/48
		writeStatus(w, http.StatusNotFound, "null for uri: "+origin(r)+r.URL.RequestURI())
	case !ok:
		writePage(w, http.StatusNotFound, p.deadLink, "")
	case len(e.methods) > 0 && !slices.Contains(e.methods, r.Method):
		w.Header().Set("Allow", strings.Join(e.methods, ", "))
		writeStatus(w, http.StatusMethodNotAllowed, "HTTP 405 Method Not Allowed")
	case e.refuse != nil && in.anonymous():
		e.refuse(w, r)
	default:
		e.answer(w, r, in)
	}
}

// resource returns the key of a path in the routes. "latest" is the current version
// of an API, and JAX-RS ignores a slash at the end.
func (p *Product) resource(path string) string {
	for latest, current := range p.latest {
		if name, ok := strings.CutPrefix(path, latest); ok {
			path = current + name
		}
	}
	if strings.HasPrefix(path, "/rest/") {
		path = strings.TrimSuffix(path, "/")
	}
	return path
}

// echo answers with the request as the product received it, credentials
// included. Give a fake product only made-up credentials.
func echo(w http.ResponseWriter, r *http.Request, in call) {
	n, err := io.Copy(io.Discard, r.Body)
	if err != nil {
		writePage(w, http.StatusBadRequest, "Bad Request", "The body ends too early, or is too large.")
		return
	}
	writeJSON(w, http.StatusOK, echoed{in.seen, n})
}

// echoed is the answer of echo.
type echoed struct {
	Seen

	BodyBytes int64 `json:"bodyBytes"`
}

// origin returns the scheme and host that the client asked for. A real product
// uses its configured base URL.
func origin(r *http.Request) string {
	if r.TLS != nil {
		return "https://" + r.Host
	}
	return "http://" + r.Host
}
