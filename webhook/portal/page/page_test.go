package page_test

import (
	"fmt"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"sync"
	"testing"

	tokensv1alpha1 "apitokens.dev/operator/api/v1alpha1"
)

type site = tokensv1alpha1.AtlassianSite

// Users create, list, rotate and revoke tokens on the page.
func TestLifeOfAToken(t *testing.T) {
	alice := signedIn(t, env.Jira(t), "alice")
	alice.get(http.StatusOK, "").shows("You have no API tokens yet", "Signed in as Alice Example (alice)", alice.URL)

	made := alice.post(http.StatusOK, "/create", alice.filled("CI scripts"))
	text := made.secret()
	id := text[:20]
	made.shows("CI scripts", "you will not see it again", "curl --user alice "+alice.URL+"/rest/api/2/myself", "The command asks for a password: paste the API token.")
	alice.get(http.StatusOK, "").shows("CI scripts", id, "Active", "Read-write", "Never", "!"+text[21:])

	dialog := alice.get(http.StatusOK, "?dialog=rotate&id="+id)
	rotated := alice.post(http.StatusOK, "/rotate", url.Values{"id": {id}, "issued": {dialog.field("issued")}, "overlapHours": {"24"}})
	if again := rotated.secret(); again == text || !strings.HasPrefix(again, id) {
		t.Errorf("rotated %s to %s", text, again)
	}
	rotated.shows("Previous secret works until")
	alice.get(http.StatusOK, "").shows("1 older secret works until")

	alice.get(http.StatusOK, "?dialog=revoke&id="+id).shows("CI scripts", "It was never used", "This cannot be undone")
	alice.leads("/revoke", url.Values{"id": {id}}, "?note=revoked")
	alice.get(http.StatusOK, "?note=revoked").shows("was revoked", "You have no API tokens yet")
	alice.post(http.StatusNotFound, "/revoke", url.Values{"id": {id}})
	for _, line := range []string{`"msg":"alice has created API Token (` + id, `"msg":"alice has rotated API Token (` + id, `"msg":"alice has revoked API Token (` + id} {
		if !strings.Contains(env.Audit(), line) {
			t.Errorf("not told: %s", line)
		}
	}
}

func TestConfluence(t *testing.T) {
	alice := signedIn(t, env.Confluence(t), "alice")
	made := alice.post(http.StatusOK, "/create", alice.filled("CI scripts"))
	made.secret()
	made.shows("curl --user alice "+alice.URL+"/rest/api/user/current", "Back to Confluence")
}

// Every field of the form reaches the token. The command uses a path that the token may access.
func TestEveryField(t *testing.T) {
	alice := signedIn(t, env.Jira(t), "alice")
	alice.post(http.StatusOK, "/create", alice.filled("  all of it ", "lifetimeDays", "7", "access", "ReadOnly",
		"allowedSources", "10.0.0.0/8\r\n192.0.2.7", "allowedPaths", "/rest/api/2/search\r\n/rest/api/latest/search")).
		shows("curl --user alice "+alice.URL+"/rest/api/2/search", "Access Read-only", "Allowed sources 10.0.0.0/8, 192.0.2.7/32",
			"Allowed paths /rest/api/2/search, /rest/api/latest/search")
	alice.get(http.StatusOK, "").shows("all of it", "Read-only", "from 10.0.0.0/8, 192.0.2.7/32", "at /rest/api/2/search, /rest/api/latest/search", "expires in 7 days")
}

// A form creates one token, even if it is sent again later or twice at the same time. No other answer contains the token.
func TestCreateOnce(t *testing.T) {
	alice := signedIn(t, env.Jira(t), "alice")
	form := alice.filled("once")
	var text string
	for _, a := range alice.atOnce(3, "/create", form) {
		switch {
		case a.status == http.StatusOK && text == "":
			text = a.secret()
		case a.status != http.StatusConflict:
			t.Errorf("a form that is sent at the same time: %d\n%s", a.status, a.body)
		default:
			a.shows("was already created")
		}
	}
	if text == "" {
		t.Fatal("none of them made a token")
	}
	id, secret := text[:20], text[21:]
	alice.post(http.StatusConflict, "/create", form).shows("It is not shown again", "!"+secret, "!There is a problem")
	for _, below := range []string{"", "?note=revoked", "?dialog=create", "?dialog=revoke&id=" + id, "?dialog=rotate&id=" + id, "?dialog=revoke-all", "?id=" + id} {
		if page := alice.get(http.StatusOK, below); strings.Contains(page.body, secret) || plaintext.MatchString(page.body) {
			t.Errorf("the token is in GET %s", below)
		}
	}
	if list := alice.get(http.StatusOK, "").body; strings.Count(list, ">once<") != 1 {
		t.Errorf("there is another number of tokens than one:\n%s", list)
	}
	alice.send(http.MethodGet, "/create", nil).expect(http.StatusMethodNotAllowed, "reload without the form")
}

func TestRotateOnce(t *testing.T) {
	alice := signedIn(t, env.Jira(t), "alice")
	id := alice.create("once")
	form := url.Values{"id": {id}, "issued": {alice.get(http.StatusOK, "?dialog=rotate&id="+id).field("issued")}, "overlapHours": {"0"}}
	var texts []string
	for _, a := range alice.atOnce(3, "/rotate", form) {
		if a.status == http.StatusOK {
			a.shows("Previous secret no longer works")
			texts = append(texts, a.secret())
		} else if a.status != http.StatusConflict {
			t.Errorf("a form that is sent at the same time: %d\n%s", a.status, a.body)
		}
	}
	if len(texts) != 1 {
		t.Fatalf("one form made %d secrets", len(texts))
	}
	alice.post(http.StatusConflict, "/rotate", form).shows("was rotated after this form was opened", "!"+texts[0][21:])
	form.Set("issued", "yesterday")
	alice.post(http.StatusBadRequest, "/rotate", form).shows("does not come from this page")
	form.Set("issued", alice.get(http.StatusOK, "?dialog=rotate&id="+id).field("issued"))
	for _, hours := range []string{"", "soon", "-1", "8761", "99999999999999999999"} {
		form.Set("overlapHours", hours)
		if a := alice.post(http.StatusBadRequest, "/rotate", form); !strings.Contains(a.body, `id="overlapHours-error"`) {
			t.Errorf("%q for an overlap: nothing is said beside the field:\n%s", hours, a.body)
		}
	}
}

// atOnce sends a form several times at the same time.
func (b browser) atOnce(times int, below string, form url.Values) []answer {
	answers := make([]answer, times)
	var all sync.WaitGroup
	for i := range answers {
		all.Go(func() { answers[i] = b.from(b.origin()).sendForm(below, form) })
	}
	all.Wait()
	return answers
}

// Without consent nobody is enrolled, even if a browser does not check the form.
func TestConsent(t *testing.T) {
	alice := signedIn(t, env.Jira(t), "alice")
	alice.get(http.StatusOK, "?dialog=create").shows("creates a personal access token for you", "renewed before it expires", "revoked after you revoke your last API token", "Yes, create a personal")
	form := alice.filled("CI", "access", "ReadOnly", "lifetimeDays", "30", "allowedSources", "10.0.0.0/8", "allowedPaths", "/rest/api\n/rest/agile")
	for _, consent := range []string{"", "no", "on", "yes "} {
		form.Set("consent", consent)
		a := alice.post(http.StatusBadRequest, "/create", form)
		a.shows("There is a problem", "Tick this box")
		for _, kept := range []string{
			`value="CI"`, `<option value="30" selected>`, `value="ReadOnly" checked`, ">\n10.0.0.0/8</textarea>", ">\n/rest/api\n/rest/agile</textarea>", "<details open>",
			`name="nonce" value="` + form.Get("nonce") + `"`, `aria-describedby="consent-error" aria-invalid="true"`, `<title>Error: Create API token - Jira</title>`, `href="#consent"`,
		} {
			if !strings.Contains(a.body, kept) {
				t.Errorf("the form has no %s any more:\n%s", kept, a.body)
			}
		}
	}
	if made := alice.Product.PersonalAccessTokens("alice"); len(made) != 0 {
		t.Fatalf("without consent there is %+v", made)
	}
	form.Set("consent", "yes")
	alice.post(http.StatusOK, "/create", form).secret()
	if made := alice.Product.PersonalAccessTokens("alice"); len(made) != 1 {
		t.Errorf("with consent there is %+v", made)
	}
	alice.get(http.StatusOK, "?dialog=create").shows("!consent", "stores for you")
	again := alice.filled("another")
	again.Del("consent")
	alice.post(http.StatusOK, "/create", again).secret()
}

// Errors are shown beside the field, and the input stays.
func TestFormErrors(t *testing.T) {
	alice := signedIn(t, env.Jira(t, func(s *site) { s.Spec.TokenPolicy.MaxLifetimeDays = new(int32(90)) }), "alice")
	var many strings.Builder
	for i := range 33 {
		fmt.Fprintf(&many, "192.0.2.%d\n", i)
	}
	for name, tc := range map[string]struct{ field, value, want string }{
		"no label":            {"label", "", "Enter a label"},
		"a blank label":       {"label", " \u00a0\t", "Enter a label"},
		"a long label":        {"label", strings.Repeat("\u0416", 256), "at most 255 characters"},
		"a label that turns":  {"label", "a\u202eb", "change the direction of text"},
		"a label in lines":    {"label", "a\nb", "line breaks"},
		"no such lifetime":    {"lifetimeDays", "8", "Choose one of these lifetimes"},
		"a long lifetime":     {"lifetimeDays", "365", "Choose one of these lifetimes"},
		"no lifetime":         {"lifetimeDays", "never", "Choose one of these lifetimes"},
		"no such access":      {"access", "Admin", "Access must be ReadWrite or ReadOnly"},
		"no network":          {"allowedSources", "10.0.0.0/8\nhome", "Each line must be a network"},
		"bits behind":         {"allowedSources", "10.0.0.1/8", "Each line must be a network"},
		"no path":             {"allowedPaths", "rest/api", "Each line must be a path"},
		"an unreachable path": {"allowedPaths", "/browse", "at or below /rest/"},
		"a path upwards":      {"allowedPaths", "/rest/../secure", "Each line must be a path"},
		"many networks":       {"allowedSources", many.String(), "Allowed sources must have 1 to 32"},
	} {
		form := alice.filled("kept", tc.field, tc.value)
		a := alice.post(http.StatusBadRequest, "/create", form)
		a.shows("There is a problem", tc.want)
		for _, want := range []string{`id="` + tc.field + `-error">`, `aria-invalid="true"`, `<a href="#` + tc.field + `">`} {
			if tc.field == "access" && strings.HasPrefix(want, "aria") {
				continue
			}
			if !strings.Contains(a.body, want) {
				t.Errorf("%s: there is no %s in\n%s", name, want, a.body)
			}
		}
		if tc.field != "label" && !strings.Contains(a.body, `value="kept"`) {
			t.Errorf("%s: the label is gone", name)
		}
	}
	form := alice.filled("", "consent", "no", "lifetimeDays", "8")
	alice.post(http.StatusBadRequest, "/create", form).shows("There are 3 problems")
	for _, nonce := range []string{"", "x", strings.Repeat("A", 26)} {
		alice.post(http.StatusBadRequest, "/create", alice.filled("x", "nonce", nonce)).shows("does not come from this page", "!There is a problem")
	}
	alice.get(http.StatusOK, "").shows("You have no API tokens yet")
}

// All errors of a form are shown at once, those of the site's policy too.
func TestAllFormErrorsAtOnce(t *testing.T) {
	alice := signedIn(t, env.Jira(t), "alice")
	form := alice.filled(" ", "lifetimeDays", "8", "access", "Admin", "allowedSources", "home", "allowedPaths", "/browse", "consent", "")
	a := alice.post(http.StatusBadRequest, "/create", form)
	a.shows("There are 6 problems")
	for _, field := range []string{"label", "lifetimeDays", "access", "allowedSources", "allowedPaths", "consent"} {
		if strings.Count(a.body, `id="`+field+`-error">`) != 1 || strings.Count(a.body, `<a href="#`+field+`">`) != 1 {
			t.Errorf("%s has not one error:\n%s", field, a.body)
		}
	}
	alice.get(http.StatusOK, "").shows("You have no API tokens yet")
}

// The form suggests 90 days, or the site's default if that is shorter.
func TestSuggestedLifetime(t *testing.T) {
	for name, tc := range map[string]struct {
		policy func(*tokensv1alpha1.TokenPolicy)
		want   string
	}{
		"no policy":          {func(*tokensv1alpha1.TokenPolicy) {}, `<option value="90" selected>90 days<`},
		"a lower maximum":    {func(p *tokensv1alpha1.TokenPolicy) { p.MaxLifetimeDays = new(int32(60)) }, `<option value="" selected>60 days (default of this site)<`},
		"a higher maximum":   {func(p *tokensv1alpha1.TokenPolicy) { p.MaxLifetimeDays = new(int32(180)) }, `<option value="90" selected>90 days<`},
		"a lower default":    {func(p *tokensv1alpha1.TokenPolicy) { p.DefaultLifetimeDays = new(int32(30)) }, `<option value="" selected>30 days (default of this site)<`},
		"a higher default":   {func(p *tokensv1alpha1.TokenPolicy) { p.DefaultLifetimeDays = new(int32(365)) }, `<option value="90" selected>90 days<`},
		"90 days by default": {func(p *tokensv1alpha1.TokenPolicy) { p.DefaultLifetimeDays = new(int32(90)) }, `<option value="" selected>90 days (default of this site)<`},
	} {
		alice := signedIn(t, env.Jira(t, func(s *site) { tc.policy(&s.Spec.TokenPolicy) }), "alice")
		if a := alice.get(http.StatusOK, "?dialog=create"); !strings.Contains(a.body, tc.want) || strings.Count(a.body, " selected>") != 1 {
			t.Errorf("%s: there is no %s:\n%s", name, tc.want, a.body)
		}
	}
}

// Users who have reached the quota learn that before and after they try to create a token.
func TestQuotaReached(t *testing.T) {
	alice := signedIn(t, env.Jira(t, func(s *site) { s.Spec.TokenPolicy.MaxTokensPerUser = new(int32(1)) }), "alice")
	second := alice.filled("second")
	alice.create("first")
	alice.get(http.StatusOK, "").shows("You have 1 API token, which is the limit here", "!Create API token")
	alice.post(http.StatusConflict, "/create", second).shows("which is 1.", "There is a problem")
}

func TestRevokeAll(t *testing.T) {
	alice := signedIn(t, env.Jira(t), "alice")
	bob := signedIn(t, alice.World, "bob")
	bob.create("bobs own")
	alice.get(http.StatusOK, "?dialog=revoke-all").shows("You have no API tokens.", "!Revoke all 0")
	alice.create("one")
	alice.get(http.StatusOK, "?dialog=revoke-all").shows("Your only API token will be revoked")
	alice.create("two")
	dialog := alice.get(http.StatusOK, "?dialog=revoke-all")
	dialog.shows("All 2 of your API tokens will be revoked", "Revoke all 2")
	alice.create("three")
	again := alice.post(http.StatusConflict, "/revoke-all", url.Values{"count": {dialog.field("count")}})
	again.shows("You now have 3 API tokens", "Revoke all 3", "three")
	alice.leads("/revoke-all", url.Values{"count": {again.field("count")}}, "?note=revoked-all")
	alice.get(http.StatusOK, "?note=revoked-all").shows("All your API tokens were revoked", "You have no API tokens yet")
	bob.get(http.StatusOK, "").shows("bobs own")
}

// A pasted personal access token is checked, stored and never shown.
func TestPaste(t *testing.T) {
	alice := signedIn(t, env.Jira(t), "alice")
	paste := func(status int, text string) answer {
		return alice.post(status, "/paste", url.Values{"personalAccessToken": {text}})
	}
	alice.get(http.StatusOK, "?dialog=paste").shows("Paste a personal access token", "does not renew or revoke")
	for text, want := range map[string]string{
		"":                         "not a personal access token",
		"two words":                "not a personal access token",
		"NjE2MTE2NTEzOTU4OpjlEO6G": "does not accept",
		alice.pat("bob"):           "is not yours",
		"asp_0123456789abcdef_x":   "This is an API token",
	} {
		a := paste(http.StatusBadRequest, text)
		a.shows("There is a problem", want)
		if text != "" && strings.Contains(a.body, text) || !strings.Contains(a.body, `id="personalAccessToken-error"`) {
			t.Errorf("%q is answered with\n%s", text, a.body)
		}
	}
	alice.leads("/paste", url.Values{"personalAccessToken": {alice.pat("alice")}}, "?note=pasted")
	alice.get(http.StatusOK, "?note=pasted").shows("was saved", "stores for you")
	form := alice.filled("with it")
	form.Del("consent")
	alice.post(http.StatusOK, "/create", form).secret()
}

// The answers for tokens of other users and for unknown tokens are the same.
func TestTokensOfOthers(t *testing.T) {
	alice := signedIn(t, env.Jira(t), "alice")
	bob := signedIn(t, alice.World, "bob")
	theirs := bob.create("bobs own")
	nobodys := "asp_" + strings.Repeat("0", 16)
	alice.get(http.StatusOK, "").shows("!bobs own", "!"+theirs)
	for _, ask := range []func(id string) answer{
		func(id string) answer { return alice.get(http.StatusNotFound, "?dialog=revoke&id="+id) },
		func(id string) answer { return alice.get(http.StatusNotFound, "?dialog=rotate&id="+id) },
		func(id string) answer { return alice.post(http.StatusNotFound, "/revoke", url.Values{"id": {id}}) },
		func(id string) answer {
			return alice.post(http.StatusNotFound, "/rotate", url.Values{"id": {id}, "issued": {"2026-11-25T00:00:00Z"}, "overlapHours": {"0"}})
		},
	} {
		if a, b := ask(theirs), ask(nobodys); a.body != b.body {
			t.Errorf("of a token of bob's:\n%s\nof none:\n%s", a.body, b.body)
		}
	}
	bob.get(http.StatusOK, "").shows("bobs own")
}

// The query selects a message from a list. No other text of the query is shown.
func TestNotes(t *testing.T) {
	alice := signedIn(t, env.Jira(t), "alice")
	plain := alice.get(http.StatusOK, "").body
	for _, below := range []string{"?note=hacked", "?note=Revoked", "?note=", "?note=<b>x</b>", "?dialog=", "?dialog=hack", "?message=hello", "?x=%zz", "/", "?note=a;b"} {
		if got := alice.get(http.StatusOK, below).body; got != plain {
			t.Errorf("%s changes the page:\n%s", below, got)
		}
	}
	if slices.Contains(strings.Fields(plain), "hello") {
		t.Error("it says hello")
	}
}
