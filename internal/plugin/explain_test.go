package plugin_test

import (
	"bytes"
	"crypto/rand"
	"encoding/base64"
	"encoding/json"
	"io"
	"net/http"
	"net/http/httptest"
	"net/http/httputil"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/rest"

	tokensv1alpha1 "apitokens.dev/operator/api/v1alpha1"
	"apitokens.dev/operator/hack/lib/canary"
	"apitokens.dev/operator/hack/lib/kubetest"
	"apitokens.dev/operator/internal/plugin/exit"
	"apitokens.dev/operator/internal/record"
	"apitokens.dev/operator/internal/token"
)

// secretOf makes a whole token with an id.
func (w *world) secretOf(id string) string {
	w.Helper()
	text, err := token.New(id, rand.Reader)
	w.must(err)
	return text
}

// explained is an answer for programs.
type explained struct {
	Verdict, Reason, Site, APIToken, Do string
	Status                              int
	Facts, Assumed                      []string
}

func (w *world) explain(code int, user, in string, args ...string) (e explained) {
	w.Helper()
	r := w.run(user, in, append([]string{"explain", "-o", "json"}, args...)...)
	if err := json.Unmarshal([]byte(r.out), &e); err != nil || r.code != code {
		w.Fatalf("explain %s: code %d, %v, %v: %s%s", args, r.code, r.err, err, r.out, r.errOut)
	}
	return e
}

func TestExplain(t *testing.T) {
	w := newWorld(t)
	base := w.site("main").Spec.BaseURL
	w.token("ci", 1, func(t *tokensv1alpha1.APIToken) {
		t.Spec.Access, t.Spec.AllowedSources = tokensv1alpha1.AccessReadOnly, []string{"10.0.0.0/8"}
	})
	w.token("off", 2, func(t *tokensv1alpha1.APIToken) { t.Spec.State = tokensv1alpha1.StateSuspended })
	w.allow("viewer", "apitoken-viewer")
	good, off := w.secretOf(w.id(1)), w.secretOf(w.id(2))
	curl := func(user, secret, more string) string {
		return "curl -s --user '" + user + ":" + secret + "' " + more + " " + base + "/rest/api/2/myself"
	}
	for name, tc := range map[string]struct {
		in     string
		args   []string
		reason string
		code   int
	}{
		"an id":               {"", []string{w.id(1)}, "authenticated", exit.Done},
		"an id, to write":     {"", []string{w.id(1), "--method", "POST"}, "ReadOnly", exit.No},
		"an id, elsewhere":    {"", []string{w.id(1), "--path", "/secure/x"}, "path_not_accepted", exit.No},
		"an id, from outside": {"", []string{w.id(1), "--client", "192.0.2.1"}, "SourceNotAllowed", exit.No},
		"an id, of another":   {"", []string{w.id(1), "--user", "bob"}, "wrong_user", exit.No},
		"a suspended id":      {"", []string{w.id(2)}, "suspended", exit.No},
		"an unknown id":       {"", []string{w.id(7), "--site", "main"}, "unknown_token", exit.No},
		"curl":                {curl("alice", good, ""), nil, "authenticated", exit.Done},
		"curl, writing":       {curl("alice", good, "-d x=y"), []string{"-"}, "ReadOnly", exit.No},
		"curl, another user":  {curl("bob", good, ""), nil, "wrong_user", exit.No},
		"curl, suspended":     {curl("alice", off, ""), nil, "suspended", exit.No},
		"curl, mistyped":      {curl("alice", off[:len(off)-1]+"-", ""), nil, "malformed_token", exit.No},
		"curl, unknown":       {curl("alice", w.secretOf(w.id(7)), ""), nil, "unknown_token", exit.No},
		"curl, a password":    {curl("alice", "a-password", ""), nil, "no_token", exit.Done},
		"a header":            {"Authorization: Bearer " + good, nil, "scheme_not_accepted", exit.No},
		"a token":             {good, nil, "authenticated", exit.Done},
		"a token, suspended":  {off, nil, "suspended", exit.No},
	} {
		e := w.explain(tc.code, "viewer", tc.in, tc.args...)
		if e.Reason != tc.reason || e.Site != "jira/main" {
			t.Errorf("%s: %+v, want %s", name, e, tc.reason)
		}
	}
	e := w.explain(exit.No, "viewer", off)
	if e.APIToken != "jira/off" || e.Status != 401 || e.Do != "kubectl apitoken resume off -n jira" || len(e.Assumed) < 2 || e.Facts[0] != "state: Suspended" {
		t.Errorf("got %+v", e)
	}
	r := w.run("viewer", off, "explain")
	for _, want := range []string{"Refused: 401 suspended", "Step: 3, authenticate: does it verify?", "Do: kubectl apitoken resume off -n jira"} {
		if !strings.Contains(strings.Join(strings.Fields(r.out), " "), want) {
			t.Errorf("for people: no %q in\n%s", want, r.out)
		}
	}
	for _, tc := range []struct {
		in, want string
		args     []string
	}{
		{"", "no curl line and no header", nil},
		{"what is wrong?", "no curl line and no header", nil},
		{"curl -u a:b https://nowhere.example/rest/x", "which site?", nil},
		{"", "--request-id and --log go together", []string{"--request-id", "x"}},
		{"", "no such reason", []string{"--reason", "x"}},
	} {
		if r := w.run("viewer", tc.in, append([]string{"explain"}, tc.args...)...); r.code != exit.Usage || !strings.Contains(r.err.Error(), tc.want) {
			t.Errorf("%q %q: code %d, %v", tc.in, tc.args, r.code, r.err)
		}
	}
}

// Somebody who may read the records learns whether the secret is right.
func TestExplainWithRecords(t *testing.T) {
	w := newWorld(t)
	w.site("main")
	w.token("ci", 1)
	right, wrong := w.secretOf(w.id(1)), w.secretOf(w.id(1))
	hash, err := record.NewHash(right, rand.Reader)
	w.must(err)
	at := w.get("ci")
	stored, err := (&record.Record{
		TokenID: w.id(1), User: "alice", DeliverySecret: "ci-token", Site: record.Ref{Namespace: w.namespace, Name: "main"},
		APIToken: record.Ref{Namespace: w.namespace, Name: "ci"},
		Entries:  []record.Entry{{Hash: hash, State: record.Delivered, Issued: at.CreationTimestamp.UTC()}},
	}).Encode()
	w.must(err)
	w.must(w.controller.Create(w.Context(), &corev1.Secret{
		ObjectMeta: metav1.ObjectMeta{Namespace: kubetest.SystemNamespace, Name: string(at.UID)}, Type: record.SecretType,
		Data: map[string][]byte{record.DataKey: stored},
	}))
	w.allow("viewer", "apitoken-viewer")
	if e := w.explain(exit.No, "admin", wrong); e.Reason != "wrong_secret" || len(e.Assumed) != 1 {
		t.Errorf("an administrator: %+v", e)
	}
	if e := w.explain(exit.Done, "admin", right); e.Reason != "authenticated" {
		t.Errorf("an administrator: %+v", e)
	}
	if e := w.explain(exit.Done, "viewer", wrong); !strings.Contains(strings.Join(e.Assumed, " "), "you may not read its record") {
		t.Errorf("a viewer: %+v", e)
	}
}

// A refusal is found in the log of the webhook by its request id.
func TestExplainFromTheLog(t *testing.T) {
	w := newWorld(t)
	log := `{"time":"2026-11-26T12:00:00Z","level":"INFO","msg":"x","verdict":"forbidden","reason":"PathNotAllowed","site":"jira/main","user":"alice",` +
		`"tokenID":"asp_1","client":"10.0.0.1","method":"GET","path":"/rest/x","requestID":"4f2c","peer":"10.0.0.2"}` + "\n"
	file := filepath.Join(t.TempDir(), "log")
	w.must(os.WriteFile(file, []byte("a line of something else\n"+log), 0o600))
	for _, tc := range []struct{ in, file string }{{"", file}, {log, "-"}} {
		e := w.explain(exit.No, "admin", tc.in, "--request-id", "4f2c", "--log", tc.file)
		if e.Reason != "PathNotAllowed" || e.Status != 403 || !strings.Contains(strings.Join(e.Facts, "\n"), "path: /rest/x") {
			t.Errorf("got %+v", e)
		}
	}
	if r := w.admin("explain", "--request-id", "other", "--log", file); r.code != exit.Failed {
		t.Errorf("another request: code %d, %v", r.code, r.err)
	}
}

// recorder is in front of the API server, and keeps all that is sent to it.
type recorder struct {
	mu   sync.Mutex
	sent bytes.Buffer
}

func (r *recorder) start(t *testing.T, config *rest.Config) (address string) {
	t.Helper()
	transport, err := rest.TransportFor(config)
	if err != nil {
		t.Fatal(err)
	}
	target, err := url.Parse(config.Host)
	if err != nil {
		t.Fatal(err)
	}
	proxy := httputil.NewSingleHostReverseProxy(target)
	proxy.Transport = transport
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, q *http.Request) {
		body, _ := io.ReadAll(q.Body) // what cannot be read is not sent on
		q.Body = io.NopCloser(bytes.NewReader(body))
		r.mu.Lock()
		_ = q.Header.Write(&r.sent)
		r.sent.WriteString(q.URL.String() + "\n" + string(body) + "\n")
		r.mu.Unlock()
		proxy.ServeHTTP(w, q)
	}))
	t.Cleanup(server.Close)
	return server.URL
}

// Whatever is pasted, in whichever place: its secrets are in no output, in no error and in no request to the API server.
func TestPastedSecretsStayHere(t *testing.T) {
	w := newWorld(t)
	base := w.site("main").Spec.BaseURL
	w.token("ci", 1)
	ours, foreign := w.secretOf(w.id(1)), w.secretOf(w.id(7))
	password, pat := rand.Text(), "NjE2MTE2NTEzOTU4"+rand.Text()
	var secrets canary.Secrets
	for what, secret := range map[string]string{"our secret": ours[token.IDLength+1:], "a foreign one": foreign[token.IDLength+1:], "a password": password, "a PAT": pat} {
		secrets.Add(what, secret)
	}
	encoded := base64.StdEncoding.EncodeToString([]byte("alice:" + ours))
	var api recorder
	server := api.start(t, env.User(t, "canary-admin", "system:masters"))
	texts := map[string]string{
		"a token": ours, "a foreign token": foreign, "a part of a token": ours[:50], "quoted": `"` + ours + `"`,
		"curl": "curl -u alice:" + ours + " " + base + "/rest/x", "curl, password": "curl -u alice:" + password + " " + base + "/rest/x",
		"curl, user": "curl -u " + ours + ": " + base + "/rest/x", "curl, query": "curl " + base + "/rest/x?token=" + ours,
		"curl, encoded query": "curl " + base + "/rest/x?a=%61" + ours[1:], "curl, path": "curl -u a:" + foreign + " " + base + "/rest/" + ours,
		"curl, method": "curl -X " + ours + " -u alice:" + ours + " " + base + "/rest/x", "curl, cookie": "curl -b JSESSIONID=" + password + " " + base + "/rest/x",
		"curl, bearer": "curl -H 'Authorization: Bearer " + pat + "' " + base + "/rest/x", "curl, host": "curl https://" + ours + "/rest/x",
		"curl, bad URL": "curl 'https://%zz" + ours + "'", "curl, cut": "curl " + ours + " -u", "curl, other": "curl -u alice:" + ours + " https://elsewhere.example/" + ours,
		"header": "Authorization: Basic " + encoded, "header, twice": "Authorization: Basic " + encoded + "\nAuthorization: Bearer " + pat,
		"header, bad": "Authorization: Basic " + encoded + "!", "prose": "my token " + ours + " does not work", "user with a colon": "curl -u a:b:" + ours + " " + base + "/rest/",
		"request": "GET /rest/x?os_password=" + password + " HTTP/1.1\nHost: h\nAuthorization: Basic " + encoded,
	}
	for name, text := range texts {
		for _, where := range []string{"argument", "input"} {
			in, args := text, []string{"--server", server, "explain", "--site", "main"}
			if where == "argument" {
				in, args = "", append(args, "-o", "json", text)
			}
			r := w.run("admin", in, args...)
			all := r.out + r.errOut
			if r.err != nil {
				all += r.err.Error()
			}
			if found := secrets.Find([]byte(all)); len(found) > 0 {
				t.Errorf("%s as %s: the output has %q:\n%s", name, where, found, all)
			}
		}
	}
	for _, command := range []string{"describe", "suspend", "resume", "rotate --wait=false", "revoke"} {
		r := w.run("admin", "", append(append([]string{"--server", server}, strings.Fields(command)...), ours)...)
		all := r.out + r.errOut
		if r.err != nil {
			all += r.err.Error()
		}
		if found := secrets.Find([]byte(all)); len(found) > 0 {
			t.Errorf("%s: the output has %q", command, found)
		}
	}
	if found := secrets.Find(api.sent.Bytes()); len(found) > 0 || !strings.Contains(api.sent.String(), w.id(1)) {
		t.Errorf("the API server was sent %q, or nothing at all", found)
	}
}
