package door

import (
	"io"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	tokensv1alpha1 "apitokens.dev/operator/api/v1alpha1"
	"apitokens.dev/operator/hack/lib/clocktest"
	"apitokens.dev/operator/internal/probe"
	"apitokens.dev/operator/internal/token"
)

// recording is an ingress that keeps what it was asked.
type recording struct {
	answer http.HandlerFunc

	mu   sync.Mutex
	seen []*http.Request
}

func (r *recording) ServeHTTP(w http.ResponseWriter, request *http.Request) {
	r.mu.Lock()
	r.seen = append(r.seen, request)
	r.mu.Unlock()
	r.answer(w, request)
}

func ask(t *testing.T, answer http.HandlerFunc, change func(*Site)) (Finding, []*http.Request) {
	t.Helper()
	r := &recording{answer: answer}
	server := httptest.NewServer(r)
	defer server.Close()
	s := Site{
		Product: tokensv1alpha1.ProductJira, BaseURL: server.URL + "/jira", ContextPath: "/jira", TokenPaths: []string{"/rest/"},
		IdentityHeaders: []string{"X-Forwarded-User"}, Key: probe.NewKey("jira", "main"),
	}
	change(&s)
	f := Asker{Clock: clocktest.NewHurried()}.Look(t.Context(), s)
	r.mu.Lock()
	defer r.mu.Unlock()
	return f, r.seen
}

// Every question is a GET, and nobody is named in any but the made-up user. The probe key is not sent.
func TestQuestions(t *testing.T) {
	key := probe.NewKey("jira", "main")
	f, seen := ask(t, func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusNotFound) }, func(s *Site) { s.Key = key })
	if f.Reason != tokensv1alpha1.ReasonGatewayDoesNotAsk {
		t.Errorf("found %+v", f)
	}
	paths, forged := map[string]int{}, map[string]bool{}
	for _, r := range seen {
		paths[r.URL.Path]++
		user, password, credential := r.BasicAuth()
		if r.Method != http.MethodGet || r.ContentLength != 0 || credential && (user != probe.User || !strings.HasPrefix(password, "asp_") || strings.Contains(password, key.Key)) {
			t.Errorf("%s %s as %s", r.Method, r.URL, user)
		}
		for name, values := range r.Header {
			if strings.Contains(strings.ToLower(name), "user") && name != "User-Agent" {
				forged[name+" "+r.URL.Path] = slices.Equal(values, []string{probe.User})
			}
		}
	}
	if len(paths) != 2 || paths["/jira/rest/api/2/myself"] < 10 || paths["/jira/apitoken-probe"] != 4 || len(seen) > 25 {
		t.Errorf("asked at %v", paths)
	}
	for _, name := range []string{"X-Forwarded-User", "X_forwarded_user", "X.forwarded.user"} { // as net/http writes them
		if !forged[name+" /jira/rest/api/2/myself"] || !forged[name+" /jira/apitoken-probe"] {
			t.Errorf("%s was not forged on both paths: %v", name, forged)
		}
	}
}

// Where everything has to be asked about, there is one question more: without a credential, with a forged identity, beside the token
// paths.
func TestQuestionAboutEverything(t *testing.T) {
	for _, everything := range []bool{false, true} {
		_, seen := ask(t, http.NotFound, func(s *Site) { s.Everything = everything })
		var asked []*http.Request
		for _, r := range seen {
			if r.URL.RawQuery != "" {
				asked = append(asked, r)
			}
		}
		if (len(asked) == 1) != everything {
			t.Fatalf("everything: %t, and %d questions have a query", everything, len(asked))
		}
		for _, r := range asked {
			text, found := strings.CutPrefix(r.URL.RawQuery, probe.User+"=")
			_, parsed := token.Parse([]byte(text))
			if r.URL.Path != "/jira/apitoken-probe" || r.Header.Get("Authorization") != "" || r.Header.Get("X-Forwarded-User") != probe.User || !found || !parsed {
				t.Errorf("asked %s with %v", r.URL, r.Header)
			}
		}
	}
}

// Without a who-am-I resource below the paths of tokens, a path that does not exist is asked at.
func TestPathOfQuestions(t *testing.T) {
	for folder, want := range map[string]string{"/plugins/servlet/x/": "/jira/plugins/servlet/x/apitoken-probe", "/rest/api/": "/jira/rest/api/2/myself"} {
		_, seen := ask(t, http.NotFound, func(s *Site) { s.TokenPaths = []string{folder} })
		if seen[0].URL.Path != want {
			t.Errorf("%s: asked at %s", folder, seen[0].URL.Path)
		}
	}
}

// slow is an ingress that takes its time for each answer, and answers as the webhook does, but for a header that it leaves out.
type slow struct {
	clocktest.Hurried

	key  probe.Key
	each time.Duration
}

func (s slow) RoundTrip(r *http.Request) (*http.Response, error) {
	s.Step(s.each)
	a := &http.Response{StatusCode: http.StatusUnauthorized, Header: http.Header{}, Body: http.NoBody, Request: r}
	if _, password, ok := r.BasicAuth(); ok && s.key.Verify([]byte(password), r.URL.Path, s.Now()) {
		a.StatusCode = http.StatusForbidden
	}
	return a, nil
}

// What is found does not depend on how fast an ingress is.
func TestSlowIngress(t *testing.T) {
	for each := time.Duration(0); each < requestTimeout; each += 100 * time.Millisecond {
		clock := clocktest.NewHurried()
		s := Site{
			Product: tokensv1alpha1.ProductJira, BaseURL: "https://jira.example.com/jira", ContextPath: "/jira", TokenPaths: []string{"/rest/"},
			IdentityHeaders: []string{"X-Forwarded-User"}, Key: probe.NewKey("jira", "main"),
		}
		f := Asker{Clock: clock, Transport: slow{clock, s.Key, each}}.Look(t.Context(), s)
		if f.Reason != tokensv1alpha1.ReasonAnswerAltered {
			t.Errorf("with %s for each answer: %+v", each, f)
		}
	}
}

// A redirect is not followed, and an endless answer ends.
func TestAnswersAreBounded(t *testing.T) {
	elsewhere := 0
	other := httptest.NewServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) { elsewhere++ }))
	defer other.Close()
	f, _ := ask(t, func(w http.ResponseWriter, r *http.Request) {
		http.Redirect(w, r, other.URL+"/x?a=secret", http.StatusFound)
	}, func(*Site) {})
	if f.Reason != tokensv1alpha1.ReasonBaseURLRedirects || elsewhere != 0 || !strings.Contains(f.Message, "to "+other.URL+",") {
		t.Errorf("%+v, and the other server was asked %d times", f, elsewhere)
	}
	begun := time.Now()
	f, _ = ask(t, func(w http.ResponseWriter, r *http.Request) {
		for {
			if _, err := io.WriteString(w, strings.Repeat("x", 1<<16)); err != nil || r.Context().Err() != nil {
				return
			}
		}
	}, func(*Site) {})
	if f.Reason != tokensv1alpha1.ReasonGatewayDoesNotAsk || time.Since(begun) > 20*time.Second {
		t.Errorf("%+v after %v", f, time.Since(begun))
	}
	f, _ = ask(t, func(w http.ResponseWriter, _ *http.Request) { w.Header().Set("X-Large", strings.Repeat("x", 1<<18)) }, func(*Site) {})
	if f.Reason != tokensv1alpha1.ReasonBaseURLUnreachable {
		t.Errorf("with too large a header: %+v", f)
	}
}
