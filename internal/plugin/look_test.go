package plugin_test

import (
	"encoding/json"
	"errors"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/yaml"

	tokensv1alpha1 "apitokens.dev/operator/api/v1alpha1"
	"apitokens.dev/operator/internal/authurl"
	"apitokens.dev/operator/internal/plugin/exit"
)

// wantLines compares the output of a command with lines. Runs of spaces count as one.
func wantLines(t *testing.T, r result, want ...string) {
	t.Helper()
	if r.err != nil {
		t.Fatalf("%v: %s", r.err, r.errOut)
	}
	var got []string
	for line := range strings.Lines(r.out) {
		if line = strings.Join(strings.Fields(line), " "); line != "" {
			got = append(got, line)
		}
	}
	if !slices.Equal(got, want) {
		t.Errorf("got\n%s\nwant\n%s", strings.Join(got, "\n"), strings.Join(want, "\n"))
	}
}

// tokens makes APITokens of different kinds and states.
func (w *world) tokens() {
	now := w.now()
	w.token("ci", 1, func(t *tokensv1alpha1.APIToken) {
		t.Status.LastAccessedTime, t.Status.LastAccessedFrom = metav1.NewTime(now.Add(-2*time.Hour)), "10.1.2.3"
		t.Status.ExpirationTime = metav1.NewTime(now.Add(12*day + time.Hour))
	})
	w.token("old", 2, func(t *tokensv1alpha1.APIToken) { t.Spec.User, t.Spec.Label = "Bob", "nightly report" },
		notReady(tokensv1alpha1.ReasonExpired, "The token expired."))
	w.token("else", 3, func(t *tokensv1alpha1.APIToken) {
		t.Spec.SiteRef = tokensv1alpha1.SiteReference{Name: "wiki", Namespace: "confluence"}
		t.Labels = map[string]string{"team": "a"}
	})
	w.must(env.Admin.Create(w.Context(), tokenWithoutStatus(w.namespace)))
}

func tokenWithoutStatus(namespace string) *tokensv1alpha1.APIToken {
	return &tokensv1alpha1.APIToken{
		ObjectMeta: metav1.ObjectMeta{Namespace: namespace, Name: "new"},
		Spec: tokensv1alpha1.APITokenSpec{
			SiteRef: tokensv1alpha1.SiteReference{Name: "main"}, User: "alice", Label: "new", Delivery: tokensv1alpha1.Delivery{SecretName: "new"},
		},
	}
}

func TestList(t *testing.T) {
	w := newWorld(t)
	w.tokens()
	const head = "NAME USER LABEL SITE READY REASON LAST USED EXPIRES TOKEN ID AGE"
	ci := "ci alice CI scripts main True Issued 120m in 12d asp_CEMdV8w5tmJF8701 40d"
	elsewhere := "else alice CI scripts confluence/wiki True Issued never never asp_CEMdV8w5tmJF8703 40d"
	fresh := "new alice new main Unknown Pending never never 40d"
	old := "old Bob nightly report main False Expired never never asp_CEMdV8w5tmJF8702 40d"
	for _, tc := range []struct {
		args string
		want []string
	}{
		{"", []string{head, ci, elsewhere, fresh, old}},
		{"--no-headers", []string{ci, elsewhere, fresh, old}},
		{"--user bob", []string{head, old}}, // as the operator reads it, whatever the case
		{"--user ALICE --site main", []string{head, ci, fresh}},
		{"--site confluence/wiki", []string{head, elsewhere}},
		{"--site wiki", nil}, // one in the namespace of the command
		{"-l team=a", []string{head, elsewhere}},
		{"--older-than 40d", []string{head, ci, elsewhere, fresh, old}},
		{"--older-than 6w", nil},
		{"--unused-for 30d", []string{head, elsewhere, fresh, old}},
		{"--unused-for 1h --user alice --site main", []string{head, ci, fresh}},
		{"-o name", []string{"apitoken.apitokens.dev/ci", "apitoken.apitokens.dev/else", "apitoken.apitokens.dev/new", "apitoken.apitokens.dev/old"}},
	} {
		t.Run(tc.args, func(t *testing.T) {
			r := w.admin(append([]string{"list"}, strings.Fields(tc.args)...)...)
			wantLines(t, r, tc.want...)
			if (len(tc.want) == 0) != (r.errOut == "No API tokens found.\n") {
				t.Errorf("messages: %q", r.errOut)
			}
		})
	}
	everywhere := w.admin("list", "-A", "--site", "wiki", "-l", "team=a", "-o", "wide")
	if !strings.HasPrefix(everywhere.out, "NAMESPACE") || !strings.Contains(everywhere.out, "Generated") || !strings.Contains(everywhere.out, "FROM") {
		t.Errorf("got %s", everywhere.out)
	}
}

// Programs get whole objects: each with its kind, and without what the API server keeps for itself.
func TestListForPrograms(t *testing.T) {
	w := newWorld(t)
	w.tokens()
	for _, format := range []string{"json", "yaml"} {
		r := w.admin("list", "-o", format)
		var list tokensv1alpha1.APITokenList
		unmarshal := json.Unmarshal
		if format == "yaml" {
			unmarshal = func(b []byte, v any) error { return yaml.UnmarshalStrict(b, v) }
		}
		if err := unmarshal([]byte(r.out), &list); err != nil || list.Kind != "APITokenList" || len(list.Items) != 4 {
			t.Fatalf("%s: %v, %d items of a %q", format, err, len(list.Items), list.Kind)
		}
		for _, item := range list.Items {
			if item.Kind != "APIToken" || item.APIVersion != "apitokens.dev/v1alpha1" || len(item.ManagedFields) > 0 {
				t.Errorf("%s: an item is %s of %s", format, item.Kind, item.APIVersion)
			}
		}
	}
}

func TestDescribe(t *testing.T) {
	w := newWorld(t)
	w.tokens()
	created := w.now().Add(-later).UTC().Format(time.RFC3339)
	r := w.admin("describe", "ci")
	lines := func(text string) []string {
		return strings.Split(regexp.MustCompile(` +`).ReplaceAllString(text, " "), "\n")
	}
	for _, want := range []string{
		"Name: ci", "Namespace: jira", "User: alice", "Label: CI scripts", "Site: jira/main", "Token ID: " + tokenID(1),
		"Secret: Generated, delivered to the key password of the Secret ci-token", "State: Active", "Access: ReadWrite",
		"Conditions:", " Ready=True Issued", " The token is delivered.", "Events: none in the last hour or so",
	} {
		if !slices.Contains(lines(r.out), want) {
			t.Errorf("no line %q in\n%s", want, r.out)
		}
	}
	if !strings.Contains(r.out, "(in 12d)") || !strings.Contains(r.out, "(120m ago) from 10.1.2.3") || !strings.Contains(r.out, created) {
		t.Errorf("times are missing: created %s\n%s", created, r.out)
	}
	if fresh := w.admin("describe", "new"); !strings.Contains(fresh.out, "Ready=Unknown Pending") || !strings.Contains(fresh.out, "does not watch this namespace") {
		t.Errorf("a token without a status: %s", fresh.out)
	}
	if byID := w.admin("describe", w.id(1)); byID.out != r.out || byID.errOut != "" {
		t.Errorf("by its id: %s%s", byID.out, byID.errOut)
	}
	if object := w.admin("describe", "ci", "-o", "json"); !strings.Contains(object.out, `"kind": "APIToken"`) {
		t.Errorf("as JSON: %s", object.out)
	}
}

// A token that was pasted in place of its id is not printed, and nobody is asked about it: only its id is used.
func TestPastedTokenIsNotKept(t *testing.T) {
	w := newWorld(t)
	w.tokens()
	secret := "x7Jq0Zk3bVt9LmN2pRs5wYc8dFg1hTj4kXz6aQe0uW"
	for _, command := range []string{"describe", "suspend", "resume", "revoke"} {
		r := w.run("admin", "ci\n", command, w.id(1)+"_"+secret)
		if !strings.Contains(r.errOut, "that is a token, not its id") || !strings.Contains(r.out, tokenID(1)) {
			t.Errorf("%s: %v %s", command, r.err, r.errOut)
		}
		if strings.Contains(r.out+r.errOut, secret[:8]) {
			t.Errorf("%s shows the token", command)
		}
	}
}

func TestSites(t *testing.T) {
	w := newWorld(t)
	base := w.site("main", func(s *tokensv1alpha1.AtlassianSite) {
		s.Spec.BlockedUsers = []tokensv1alpha1.BlockedUser{{Name: "bob"}}
		s.Spec.Gateways = []tokensv1alpha1.Gateway{{Type: tokensv1alpha1.GatewayIngressNginx, IngressNginx: tokensv1alpha1.IngressGateway{IngressName: "jira"}}}
		s.Status.Conditions = append(s.Status.Conditions,
			condition(tokensv1alpha1.ConditionIngressProtected, metav1.ConditionFalse, tokensv1alpha1.ReasonOpenDoor, "Somebody is served."))
	}).Spec.BaseURL
	base = strings.ReplaceAll(base, w.namespace, "jira")
	wantLines(t, w.admin("sites"),
		"NAMESPACE NAME PRODUCT BASE URL READY REASON REACHABLE CREDENTIALS PROTECTED LICENSED AGE",
		"jira main Jira "+base+" True Serving True False 40d")
	wantLines(t, w.admin("sites", "-o", "name"), "atlassiansite.apitokens.dev/main")
	if wide := w.admin("sites", "-o", "wide"); !strings.Contains(wide.out, "IngressNginx") || !strings.Contains(wide.out, "main-auth-urls") {
		t.Errorf("got %s", wide.out)
	}
}

func TestLicense(t *testing.T) {
	w := newWorld(t)
	licensed := func(status metav1.ConditionStatus, reason string) func(*tokensv1alpha1.AtlassianSite) {
		return func(s *tokensv1alpha1.AtlassianSite) {
			s.Status.Conditions = append(s.Status.Conditions, condition(tokensv1alpha1.ConditionLicensed, status, reason, "See "+reason+"."))
		}
	}
	w.site("good", licensed(metav1.ConditionTrue, tokensv1alpha1.ReasonLicenseValid))
	w.site("none")
	wantLines(t, w.admin("license"),
		"SITE LICENCE REASON MESSAGE", "jira/good Valid LicenseValid See LicenseValid.", "jira/none NotRequired The operator does not verify licences.")
	w.site("ended", licensed(metav1.ConditionFalse, tokensv1alpha1.ReasonLicenseExpired))
	w.site("unclear", licensed(metav1.ConditionUnknown, "Later"))
	r := w.admin("license", "-o", "json")
	if r.code != exit.No || !strings.Contains(r.err.Error(), "2 of 4 licences are not valid") || strings.Count(r.out, `"Invalid"`) != 2 {
		t.Errorf("code %d, %v: %s", r.code, r.err, r.out)
	}
	if r := w.admin("license", "good"); r.code != exit.Done {
		t.Errorf("one site: %v", r.err)
	}
	if r := w.admin("license", "ended", "-o", "name"); r.code != exit.No || r.out != "atlassiansite.apitokens.dev/ended\n" {
		t.Errorf("one site: %d %s", r.code, r.out)
	}
}

// callerKey is a caller key of the tests.
const callerKey = "ABCDEFGHIJKLMNOPQRSTUVWXYZ"

// urls writes the Secret with the auth URLs of the site main, as the operator does.
func (w *world) urls(key string) {
	w.Helper()
	const site = "main"
	at := "/" + key + "/" + w.namespace + "/" + site
	data := map[string]string{
		"portal": "https://portal.example:8080/portal/" + w.namespace + "/" + site, "grpc-site": w.namespace + "/" + site, "ca.crt": "PEM",
	}
	for _, c := range []authurl.Contract{authurl.Nginx, authurl.Forward, authurl.Envoy, authurl.Fabric} {
		data[string(c)] = "https://webhook.example:8080/" + string(c) + at
	}
	if key != authurl.NoKey {
		data["grpc-key"] = key
	}
	secret := &corev1.Secret{
		ObjectMeta: metav1.ObjectMeta{Namespace: w.namespace, Name: site + "-auth-urls"}, Type: authurl.SecretType, StringData: data,
	}
	w.must(w.controller.Create(w.Context(), secret))
}

func TestURLs(t *testing.T) {
	w := newWorld(t)
	w.site("main", func(s *tokensv1alpha1.AtlassianSite) {
		s.Spec.BaseURL = "https://jira.example.com/jira"
		s.Spec.Gateways = []tokensv1alpha1.Gateway{{Type: tokensv1alpha1.GatewayIngressNginx, IngressNginx: tokensv1alpha1.IngressGateway{IngressName: "jira"}}}
	})
	w.urls(callerKey)
	all := w.admin("urls", "main")
	if all.err != nil || strings.Contains(all.out, callerKey) || strings.Count(all.out, "***") < 10 {
		t.Errorf("%v: keys are shown, or nothing is:\n%s", all.err, all.out)
	}
	for gateway, want := range map[string][]string{
		"nginx": {"WEBHOOK webhook.example:8080", "CALLER_KEY " + callerKey, "SITE jira/main", "PORTAL portal.example:8080",
			"BASE_URL https://jira.example.com/jira", "HOST jira.example.com"},
		"traefik":              {"AUTH_URL https://webhook.example:8080/forward/" + callerKey + "/jira/main"},
		"haproxy-ingress":      {"AUTH_PATH /nginx/" + callerKey + "/jira/main"},
		"cilium":               {"PATH /envoy/" + callerKey + "/jira/main"},
		"nginx-gateway-fabric": {"PATH /fabric/" + callerKey + "/jira/main"},
		"agentgateway":         {"SITE jira/main", "CALLER_KEY " + callerKey},
		"contour":              {"SITE jira/main", "CALLER_KEY " + callerKey},
		"envoy-gateway":        {"The sample refers to the Secret main-auth-urls: nothing to paste."},
		"ingress-nginx":        {"The operator writes it: nothing to paste. The condition GatewaysConfigured says whether it is done."},
	} {
		r := w.admin("urls", w.namespace+"/main", "--gateway", gateway, "--show-keys")
		lines := strings.Split(regexp.MustCompile(` +`).ReplaceAllString(r.out, " "), "\n")
		for _, line := range want {
			if !slices.Contains(lines, " "+line) {
				t.Errorf("%s: %v: no line %q in\n%s", gateway, r.err, line, r.out)
			}
		}
	}
	if r := w.admin("urls", "main", "--gateway", "nginx", "-o", "json"); !strings.Contains(r.out, `"word": "CALLER_KEY",`) || strings.Contains(r.out, callerKey) {
		t.Errorf("as JSON: %s", r.out)
	}
	wantLines(t, w.admin("urls", "main", "-o", "name"), "secret/main-auth-urls")
}

// A site that wants client certificates has no keys.
func TestURLsWithoutKeys(t *testing.T) {
	w := newWorld(t)
	w.site("main", func(s *tokensv1alpha1.AtlassianSite) {
		s.Spec.CallerVerification = tokensv1alpha1.CallerVerification{
			Type: tokensv1alpha1.CallerVerificationClientCertificate,
			ClientCertificate: tokensv1alpha1.ClientCertificateVerification{
				AuthoritiesRef: tokensv1alpha1.CallerAuthoritiesReference{Name: "authorities"}, Names: []string{"gateway.example.com"},
			},
		}
	})
	w.urls(authurl.NoKey)
	r := w.admin("urls", "main")
	if r.err != nil || strings.Contains(r.out, "CALLER_KEY") || strings.Contains(r.out, "***") || !strings.Contains(r.out, "/forward/-/jira/main") {
		t.Errorf("%v: %s", r.err, r.out)
	}
}

// Every word that stands in capitals in a sample, to be replaced by a part of an auth URL, is shown for that gateway.
func TestURLsHaveTheWordsOfTheSamples(t *testing.T) {
	w := newWorld(t)
	w.site("main")
	w.urls(callerKey)
	var all []struct {
		Gateway, Sample, Page string
		Paste                 []struct{ Word string }
	}
	w.must(json.Unmarshal([]byte(w.admin("urls", "main", "-o", "json").out), &all))
	word, checked := regexp.MustCompile(`\b(WEBHOOK|PORTAL|CALLER_KEY|SITE|AUTH_URL|AUTH_PATH|PATH|BASE_URL|HOST)\b`), 0
	for _, g := range all {
		sample, err := os.ReadFile(filepath.Join("../..", g.Sample))
		_, pageErr := os.Stat(filepath.Join("../..", g.Page))
		w.must(errors.Join(err, pageErr))
		for _, needed := range word.FindAllString(string(sample), -1) {
			checked++
			if !slices.ContainsFunc(g.Paste, func(v struct{ Word string }) bool { return v.Word == needed }) {
				t.Errorf("%s has the word %s, which urls does not show for %s", g.Sample, needed, g.Gateway)
			}
		}
	}
	if len(all) < 13 || checked < 30 {
		t.Errorf("found only %d gateways with %d words", len(all), checked)
	}
}

// Each command does what the rights of its user allow, and says what it was doing when they end.
func TestRights(t *testing.T) {
	w := newWorld(t)
	w.tokens()
	w.site("main")
	w.urls(callerKey)
	w.allow("viewer", "apitoken-viewer")
	for _, tc := range []struct {
		user, args, want string
		code             int
	}{
		{"viewer", "list", "", exit.Done},
		{"viewer", "sites", "", exit.Done},
		{"viewer", "describe ci", "", exit.Done}, // without Events
		{"viewer", "describe " + w.id(1), "", exit.Done},
		{"viewer", "describe " + w.id(9), "you may not search others", exit.Failed},
		{"viewer", "list -A", "listing APITokens", exit.Failed},
		{"viewer", "urls main", "reading the Secret with the auth URLs", exit.Failed},
		{"mallory", "list", "listing APITokens", exit.Failed},
		{"mallory", "sites", "listing AtlassianSites", exit.Failed},
		{"mallory", "describe ci", "reading the APIToken", exit.Failed},
	} {
		r := w.run(tc.user, "", strings.Fields(tc.args)...)
		if r.code != tc.code || tc.want != "" && !strings.Contains(r.err.Error(), tc.want) {
			t.Errorf("%s as %s: code %d, %v", tc.args, tc.user, r.code, r.err)
		}
	}
	if r := w.run("viewer", "", "describe", "ci"); !strings.Contains(r.out, "Events: not known: listing Events: events is forbidden") {
		t.Errorf("without the right to read Events:\n%s", r.out)
	}
}

func TestWrongCommandLines(t *testing.T) {
	w := newWorld(t)
	for _, tc := range []struct{ args, want string }{
		{"nonsense", "unknown command"},
		{"list ci", "unknown command"},
		{"list --nonsense", "unknown flag"},
		{"list -o nonsense", "use one of wide, json, yaml, name"},
		{"version -o name", "use one of json, yaml"},
		{"list --older-than 3", "such as 90d"},
		{"list --older-than -3d", "such as 90d"},
		{"list --unused-for 99999999d", "such as 90d"},
		{"list -l =", "--selector"},
		{"describe", "as in: kubectl apitoken describe NAME|TOKEN-ID... "},
		{"urls", "1 arg"},
		{"urls main --gateway apache", "there is no such gateway"},
		{"license a b", "at most 1 arg"},
	} {
		r := w.admin(strings.Fields(tc.args)...)
		if r.code != exit.Usage || !strings.Contains(r.err.Error(), tc.want) || r.out != "" {
			t.Errorf("%s: code %d, %v, %q", tc.args, r.code, r.err, r.out)
		}
	}
}

func TestVersion(t *testing.T) {
	w := newWorld(t)
	if r := w.admin("version"); r.err != nil || !strings.Contains(r.out, "kubectl-apitoken ") || !strings.Contains(r.out, "with apitokens.dev/v1alpha1") {
		t.Errorf("%v: %s", r.err, r.out)
	}
	if r := w.admin("version", "--client"); r.err != nil || strings.Contains(r.out, "Kubernetes") {
		t.Errorf("%v: %s", r.err, r.out)
	}
	away := w.admin("version", "--server", "https://127.0.0.1:1", "-o", "json")
	if away.code != exit.Failed || !strings.Contains(away.out, `"goVersion"`) {
		t.Errorf("without an API server: code %d, %s", away.code, away.out)
	}
}

// Nothing that is not a terminal gets colours.
func TestNoColours(t *testing.T) {
	w := newWorld(t)
	w.tokens()
	if r := w.admin("describe", "ci", "old"); r.err != nil || strings.Contains(r.out, "\x1b") {
		t.Errorf("%v: %q", r.err, r.out)
	}
}
