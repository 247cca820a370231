package product_test

import (
	"cmp"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
	"time"

	"apitokens.dev/operator/hack/lib/canary"
	"apitokens.dev/operator/hack/lib/fakeproduct"
	"apitokens.dev/operator/internal/atlassian"
	"apitokens.dev/operator/internal/plugin/product"
)

const (
	user     = "doctor.throwaway"
	password = `a "long" password of the user & <more`
	userPAT  = "MDAwMDAwMDAwMDAxOnBlcnNvbmFsIGFjY2VzcyE="
	adminPAT = "MDAwMDAwMDAwMDAyOm9mIHRoZSBhZG1pbmlzdHI="
)

// setting is a product as the kit may meet it.
type setting struct {
	product atlassian.Product
	version string
	basic   bool
	context string
}

func (s setting) String() string { return fmt.Sprintf("%s %s", s.product, s.version) }

// settings are the supported versions, as they come.
var settings = []setting{
	{atlassian.Jira, "11.3.0", false, "/jira"},
	{atlassian.Jira, "10.3.4", true, ""},
	{atlassian.Jira, "9.12.15", true, "/a/jira"},
	{atlassian.Confluence, "9.2.1", true, "/wiki"},
	{atlassian.Confluence, "8.5.9", true, ""},
	{atlassian.Confluence, "10.2.0", false, "/wiki"},
}

// fake is what the worlds need of both fake products.
type fake interface {
	http.Handler
	Deactivate(name string) bool
	Activate(name string) bool
	Rename(from, to string) bool
	SetBasicAuth(on bool)
	SignIn(name string) *http.Cookie
	PersonalAccessTokens(user string) []fakeproduct.PAT
}

// world is a fake product with the users of a run.
type world struct {
	fake
	setting

	mu sync.Mutex
	// now is the product's clock.
	now     time.Time
	expired string
	// given are the secrets that the product handed out.
	given canary.Secrets
	// breaks answers instead of the product; nil if nothing is broken.
	breaks breaker
	// host is the host that the product takes for its own; that of the address when empty.
	host  string
	steps []product.Step
}

func newWorld(t *testing.T, s setting) *world {
	t.Helper()
	w := &world{setting: s, now: time.Date(2026, 9, 1, 12, 0, 0, 0, time.UTC)}
	others := make([]string, 101)
	for i := range others {
		others[i] = fmt.Sprintf("token %d of somebody else", i)
	}
	o := fakeproduct.Options{
		ContextPath: s.context, Version: s.version, BasicAuth: s.basic, Now: func() time.Time { return w.now },
		Users: []fakeproduct.User{
			{Name: user, Key: "JIRAUSER10042", DisplayName: "The Doctor", Password: password, PATs: []string{userPAT}},
			{Name: "root", Admin: true, PATs: []string{adminPAT}},
			{Name: "others", PATs: others},
		},
	}
	w.fake = fakeproduct.NewJira(o)
	if s.product == atlassian.Confluence {
		w.fake = fakeproduct.NewConfluence(o)
	}
	for what, secret := range map[string]string{"password": password, "PAT": userPAT, "PAT of the administrator": adminPAT} {
		w.given.Add(what, secret)
	}
	made := httptest.NewRequestWithContext(t.Context(), http.MethodPost, s.context+"/rest/pat/latest/tokens", strings.NewReader(`{"name":"old","expirationDuration":1}`))
	made.Header.Set("Authorization", "Bearer "+userPAT)
	answer := httptest.NewRecorder()
	w.ServeHTTP(answer, made)
	var old struct{ RawToken string }
	if err := json.Unmarshal(answer.Body.Bytes(), &old); err != nil || old.RawToken == "" {
		t.Fatalf("no token that will expire: %d %s", answer.Code, answer.Body)
	}
	w.expired = old.RawToken
	w.given.Add("expired PAT", old.RawToken)
	w.now = w.now.Add(25 * time.Hour)
	return w
}

// RoundTrip has the fake product answer.
func (w *world) RoundTrip(r *http.Request) (*http.Response, error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	served := r.Clone(r.Context())
	served.RequestURI, served.Host = r.URL.RequestURI(), cmp.Or(w.host, r.URL.Host)
	if served.Body == nil {
		served.Body = http.NoBody
	}
	if query := strings.IndexByte(served.RequestURI, '?'); query >= 0 {
		served.URL.RawQuery = served.RequestURI[query+1:]
	}
	answer := httptest.NewRecorder()
	if w.breaks == nil || !w.breaks(w, answer, served) {
		w.ServeHTTP(answer, served)
	}
	response := answer.Result()
	response.Header.Set("Date", w.now.UTC().Format(http.TimeFormat))
	w.keep(response)
	return response, nil
}

// keep remembers the secrets in an answer.
func (w *world) keep(response *http.Response) {
	body, _ := io.ReadAll(response.Body) // of a recorder
	response.Body = io.NopCloser(strings.NewReader(string(body)))
	var made struct{ RawToken string }
	if json.Unmarshal(body, &made) == nil && made.RawToken != "" {
		w.given.Add("PAT of the run", made.RawToken)
	}
	for _, c := range response.Cookies() {
		if len(c.Value) >= 24 {
			w.given.Add("session", c.Value)
		}
	}
	if _, after, found := strings.Cut(string(body), "atl_token="); found {
		token, _, _ := strings.Cut(after, `"`)
		w.given.Add("atl_token", token)
	}
}

// options are those of a run that may do everything.
func (w *world) options() product.Options {
	return product.Options{
		URL: "https://product.intranet.corp:8443" + w.context, User: user, Password: password, PAT: userPAT, AdminPAT: adminPAT, ExpiredPAT: w.expired, Place: "TEST",
		Transport: w, Hand: w.hand,
	}
}

// hand is the administrator who does the steps.
func (w *world) hand(s product.Step) bool {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.steps = append(w.steps, s)
	return map[product.Step]func() bool{
		product.Deactivate: func() bool { return w.Deactivate(user) },
		product.Activate:   func() bool { return w.Activate(user) },
		product.Rename:     func() bool { return w.Rename(user, user+"-renamed") },
		product.RenameBack: func() bool { return w.Rename(user+"-renamed", user) },
	}[s]()
}

// run runs the checks.
func (w *world) run(t *testing.T, mods ...func(*product.Options)) *product.Report {
	t.Helper()
	o := w.options()
	for _, mod := range mods {
		mod(&o)
	}
	r, err := product.Run(t.Context(), o)
	if err != nil {
		t.Fatalf("%s: %v", w.setting, err)
	}
	return r
}

// outcomes returns the ids of the checks with an outcome.
func outcomes(r *product.Report, outcome string) (ids []string) {
	for _, result := range r.Results {
		if result.Outcome == outcome {
			ids = append(ids, result.ID)
		}
	}
	return ids
}
