package page_test

import (
	"crypto/rand"
	"encoding/base64"
	"encoding/json"
	"html"
	"io"
	"maps"
	"net/http"
	"net/url"
	"os"
	"regexp"
	"strings"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	tokensv1alpha1 "apitokens.dev/operator/api/v1alpha1"
	"apitokens.dev/operator/hack/lib/kubetest"
	"apitokens.dev/operator/hack/lib/portaltest"
	"apitokens.dev/operator/internal/record"
	"apitokens.dev/operator/internal/token"
)

var env = portaltest.Env{Connect: hook}

func TestMain(m *testing.M) { os.Exit(env.Main(m)) }

const pagePath = "/plugins/servlet/api-tokens"

// browser is a browser at the page of one site. It follows no redirects.
type browser struct {
	*portaltest.World

	t  *testing.T
	as http.Header
	// user is the user whom the open page shows.
	user string
}

// signedIn returns the browser of a user who is signed in to the product.
func signedIn(t *testing.T, w *portaltest.World, user string) browser {
	t.Helper()
	return browser{w, t, http.Header{"Cookie": {w.Product.SignIn(user).String()}}, user}
}

// anonymous returns a browser without a session.
func (b browser) anonymous() browser {
	b.as = http.Header{}
	return b
}

// with returns the same browser with more headers.
func (b browser) with(pairs ...string) browser {
	b.as = b.as.Clone()
	for i := 0; i < len(pairs); i += 2 {
		b.as.Del(pairs[i])
		if pairs[i+1] != "" {
			b.as.Set(pairs[i], pairs[i+1])
		}
	}
	return b
}

func (b browser) basic(user, secret string) browser {
	return b.anonymous().with("Authorization", "Basic "+base64.StdEncoding.EncodeToString([]byte(user+":"+secret)))
}

// answer is the response to a request.
type answer struct {
	t      *testing.T
	status int
	header http.Header
	body   string
}

// send sends a request below the page, and checks the security headers of the answer.
func (b browser) send(method, below string, body io.Reader) answer {
	b.t.Helper()
	r, err := http.NewRequestWithContext(b.t.Context(), method, b.URL+pagePath+below, body)
	if err != nil {
		b.t.Fatal(err)
	}
	r.Header = b.as.Clone()
	response, err := http.DefaultTransport.RoundTrip(r)
	if err != nil {
		b.t.Fatal(err)
	}
	defer func() { _ = response.Body.Close() }()
	text, err := io.ReadAll(response.Body)
	if err != nil {
		b.t.Fatal(err)
	}
	a := answer{b.t, response.StatusCode, response.Header, string(text)}
	a.protected(method+" "+below, strings.HasPrefix(below, "/static/") && a.status < 400)
	return a
}

func (a answer) protected(what string, kept bool) {
	a.t.Helper()
	want := map[string]string{
		"Content-Security-Policy": "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; form-action 'self'; frame-ancestors 'none'; base-uri 'none'",
		"X-Frame-Options":         "DENY", "X-Content-Type-Options": "nosniff", "Referrer-Policy": "same-origin", "Cache-Control": "no-store",
	}
	if kept {
		want["Cache-Control"] = "public, no-cache"
	}
	for name, value := range want {
		if got := strings.Join(a.header.Values(name), " | "); got != value {
			a.t.Errorf("%s (%d): %s is %q, want %q", what, a.status, name, got, value)
		}
	}
	if a.header.Get("Set-Cookie") != "" || a.header.Get("Access-Control-Allow-Origin") != "" {
		a.t.Errorf("%s: %v", what, a.header)
	}
}

// get opens the page or one of its dialogs.
func (b browser) get(status int, below string) answer {
	b.t.Helper()
	return b.send(http.MethodGet, below, nil).expect(status, "GET "+below)
}

// origin returns the origin of the page.
func (b browser) origin() string { return strings.TrimSuffix(b.URL, "/jira") }

// from returns the same browser with this header Origin.
func (b browser) from(origin string) browser { return b.with("Origin", origin) }

// sendForm sends a form of the open page.
func (b browser) sendForm(below string, form url.Values) answer {
	b.t.Helper()
	form = maps.Clone(form)
	form.Set("user", b.user)
	return b.with("Content-Type", "application/x-www-form-urlencoded").send(http.MethodPost, below, strings.NewReader(form.Encode()))
}

// post sends a form of the page.
func (b browser) post(status int, below string, form url.Values) answer {
	b.t.Helper()
	return b.from(b.origin()).sendForm(below, form).expect(status, "POST "+below)
}

// leads sends a form of the page and checks where its answer redirects to, below the page.
func (b browser) leads(below string, form url.Values, to string) {
	b.t.Helper()
	if got := b.post(http.StatusSeeOther, below, form).header.Get("Location"); got != "/jira"+pagePath+to {
		b.t.Errorf("%s leads to %s, want %s", below, got, to)
	}
}

// pat creates a personal access token at the product.
func (b browser) pat(user string) string {
	b.t.Helper()
	r, err := http.NewRequestWithContext(b.t.Context(), http.MethodPost, b.URL+"/rest/pat/latest/tokens", strings.NewReader(`{"name":"own","expirationDuration":30}`))
	must(b.t, err)
	r.Header = http.Header{"Cookie": {b.Product.SignIn(user).String()}, "Content-Type": {"application/json"}}
	response, err := http.DefaultTransport.RoundTrip(r)
	must(b.t, err)
	defer func() { _ = response.Body.Close() }()
	var made struct{ RawToken string }
	must(b.t, json.NewDecoder(response.Body).Decode(&made))
	return made.RawToken
}

func (a answer) expect(status int, what string) answer {
	a.t.Helper()
	if a.status != status {
		a.t.Fatalf("%s: %d, want %d:\n%s", what, a.status, status, a.body)
	}
	return a
}

// shows checks that the page contains these texts outside tags. A text with a "!" in front must be absent.
func (a answer) shows(texts ...string) {
	a.t.Helper()
	all := a.text()
	for _, want := range texts {
		absent, not := strings.CutPrefix(want, "!")
		if not && strings.Contains(all, absent) {
			a.t.Errorf("the page shows %q:\n%s", absent, all)
		}
		if !not && !strings.Contains(all, want) {
			a.t.Errorf("the page does not show %q:\n%s", want, all)
		}
	}
}

var (
	inline = regexp.MustCompile(`</?(a|b|code|span|time)\b[^>]*>`)
	tag    = regexp.MustCompile(`<[^>]*>`)
	space  = regexp.MustCompile(`\s+`)
)

// text returns the text of a page without tags.
func (a answer) text() string {
	text := tag.ReplaceAllString(inline.ReplaceAllString(a.body, ""), " ")
	return space.ReplaceAllString(html.UnescapeString(text), " ")
}

// field returns the value of a hidden field of the open form.
func (a answer) field(name string) string {
	a.t.Helper()
	found := regexp.MustCompile(`<input type="hidden" name="` + name + `" value="([^"]*)">`).FindStringSubmatch(a.body)
	if found == nil {
		a.t.Fatalf("there is no field %s:\n%s", name, a.body)
	}
	return html.UnescapeString(found[1])
}

var plaintext = regexp.MustCompile(`asp_[0-9A-Za-z]{16}_[0-9A-Za-z]{46}`)

// secret returns the token that a page shows. It is nowhere but in the text: a command with it would be in the shell's history.
func (a answer) secret() string {
	a.t.Helper()
	found := plaintext.FindAllString(a.body, -1)
	if len(found) != 1 {
		a.t.Fatalf("%d tokens are shown:\n%s", len(found), a.body)
	}
	if _, ok := token.Parse([]byte(found[0])); !ok {
		a.t.Fatalf("%s is no token", found[0])
	}
	if a.header.Get("Location") != "" {
		a.t.Errorf("a page with a token leads to %s", a.header.Get("Location"))
	}
	return found[0]
}

// filled returns a completed form to create a token.
func (b browser) filled(label string, more ...string) url.Values {
	b.t.Helper()
	form := url.Values{"nonce": {b.get(http.StatusOK, "?dialog=create").field("nonce")}, "label": {label}, "lifetimeDays": {""}, "access": {"ReadWrite"}}
	form.Set("consent", "yes")
	for i := 0; i < len(more); i += 2 {
		form.Set(more[i], more[i+1])
	}
	return form
}

// create creates a token and returns its id.
func (b browser) create(label string) (id string) {
	b.t.Helper()
	return b.post(http.StatusOK, "/create", b.filled(label)).secret()[:token.IDLength]
}

// declare creates a token of alice as kubectl and the controller would.
func declare(t *testing.T, w *portaltest.World, name string, issued time.Time, mods ...func(*tokensv1alpha1.APIToken)) (id string) {
	t.Helper()
	object := kubetest.Token(w.Site.Namespace, name, mods...)
	status := object.Status
	creator := env.Admin
	if object.Spec.CreatedBy.UID != "" { // only the portal may say so
		creator = env.Client(t, kubetest.Portal)
	}
	must(t, creator.Create(t.Context(), object))
	if !status.LastAccessedTime.IsZero() {
		before := object.DeepCopy()
		object.Status.LastAccessedTime, object.Status.LastAccessedFrom = status.LastAccessedTime, status.LastAccessedFrom
		must(t, env.Client(t, kubetest.Webhook).Status().Patch(t.Context(), object, client.MergeFrom(before)))
	}
	id, err := token.NewID(rand.Reader)
	must(t, err)
	text, err := token.New(id, rand.Reader)
	must(t, err)
	hash, err := record.NewHash(text, rand.Reader)
	must(t, err)
	r := record.Record{
		TokenID: id, User: "alice", DeliverySecret: name + "-token", Entries: []record.Entry{{Hash: hash, State: record.Delivered, Issued: issued.UTC()}},
		Site: record.Ref{Namespace: w.Site.Namespace, Name: w.Site.Name}, APIToken: record.Ref{Namespace: w.Site.Namespace, Name: name},
	}
	if r.Portal = object.Spec.Credential.Type == tokensv1alpha1.CredentialPortal; r.Portal {
		r.DeliverySecret = ""
	}
	encoded, err := r.Encode()
	must(t, err)
	must(t, w.Controller.Create(t.Context(), &corev1.Secret{
		ObjectMeta: metav1.ObjectMeta{Namespace: kubetest.SystemNamespace, Name: string(object.UID)},
		Type:       record.SecretType, Data: map[string][]byte{record.DataKey: encoded},
	}))
	return id
}

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}
