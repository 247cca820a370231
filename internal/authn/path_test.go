package authn

import (
	"math/rand/v2"
	"os"
	"regexp"
	"strings"
	"testing"
)

func TestCanonicalPath(t *testing.T) {
	for raw, want := range map[string]string{
		"/":                     "/",
		"/rest/api/2/myself":    "/rest/api/2/myself",
		"/rest/":                "/rest/",
		"//rest//api//":         "/rest/api/",
		"/%72est/api":           "/rest/api",
		"/rest/a%20b":           "/rest/a b",
		"/rest/alice%40example": "/rest/alice@example",
		"/rest/%C3%A4":          "/rest/\xc3\xa4",
		"/rest/%3f":             "/rest/?",
		"/rest/...":             "/rest/...",
		"/rest/.x/..y/z.":       "/rest/.x/..y/z.",
	} {
		checkPath(t, raw, want, faultless)
	}
	for raw, want := range map[string]string{
		"/rest/a;b":                  "/rest/a;b",
		"/rest;x=1/api;jsessionid=2": "/rest;x=1/api;jsessionid=2",
		"/rest/;x":                   "/rest/;x",
		"/rest/a%3Bb":                "/rest/a;b",
		"/rest/50%25.txt":            "/rest/50%.txt",
		"/rest/C%23.txt":             "/rest/C#.txt",
		"/rest/%252e%252e":           "/rest/%2e%2e",
		"/rest/x..;":                 "/rest/x..;",
	} {
		checkPath(t, raw, want, specialCharacter)
	}
	for _, raw := range []string{
		"", "rest/api", "*", "http://other/rest",
		"/..", "/../rest/api", "/rest/..", "/rest/.", "/./rest", "/a/../rest/api", "/rest/%2e%2e/secure", "/rest/.%2E/secure",
		"/rest/%2e/api", "/rest/..;/secure/x", "/rest/..;a=b;c/secure", "/rest/.;/x", "/rest/..%3B/x", "/rest/%2e%2e%3bx/y",
		"/rest/%2fapi", "/rest/%2Fapi", "/rest%5capi", "/rest\\api", "/rest/%00", "/rest/#x", "/rest/\x7f", "/rest/%7F", "/rest/\t",
		"/rest/%0d%0a", "/rest/a b", "/rest/\xc3\xa4", "/rest/\x80", "/rest/%", "/rest/%2", "/rest/%zz", "/rest;%2f../api", "/rest;\\/api", "/a;b/c;/../d",
	} {
		checkPath(t, raw, "", ambiguous)
	}
}

// The bytes that dst already has are no part of the path.
func TestCanonicalPathAppends(t *testing.T) {
	for raw, want := range map[string]string{"/rest//x": "/before/rest/x", "/": "/before/", "//": "/before/", "/a;b": "/before/a;b"} {
		if got, _ := canonicalPath([]byte("/before"), raw); string(got) != want {
			t.Errorf("canonicalPath(%q) behind another path = %q", raw, got)
		}
	}
}

func TestIsRedispatched(t *testing.T) {
	for path, want := range map[string]bool{
		"/s/x/_/rest/pat":          true,
		"/s/a/b/_/c/_/d":           true,
		"/s/_/rest/pat":            true,
		"/s/x/_/":                  true,
		"/s/x/_":                   false,
		"/s/x/_y/rest":             false,
		"/s/x/y_/rest":             false,
		"/s":                       false,
		"/s/":                      false,
		"/sx/x/_/rest":             false,
		"/S/x/_/rest":              true,
		"/S":                       false,
		"/Sx/x/_/rest":             false,
		"/rest/s/x/_/rest":         false,
		"/rest/api/2/issue/_/rest": false,
		"":                         false,
	} {
		if got := isRedispatched([]byte(path)); got != want {
			t.Errorf("%q: %t, want %t", path, got, want)
		}
	}
}

func TestMergeSlashes(t *testing.T) {
	for target, want := range map[string]string{
		"/":                         "/",
		"/rest/api?x=//&y":          "/rest/api?x=//&y",
		"//rest///api//?//":         "/rest/api/?//",
		"///":                       "/",
		"//?":                       "/?",
		"/a//b":                     "/a/b",
		"/%2F//x%20y?a??//":         "/%2F/x%20y?a??//",
		"/rest//\xc3\xa4;x//?q=%zz": "/rest/\xc3\xa4;x/?q=%zz",
		"":                          "",
		"?":                         "?",
	} {
		if got := mergeSlashes(target); got != want {
			t.Errorf("%q became %q, want %q", target, got, want)
		}
	}
}

// A credential path counts at any depth, in any case, and with everything below it. Its neighbours do not count.
func TestCredentialPaths(t *testing.T) {
	for _, path := range []string{
		"/rest/pat", "/plugins/personalaccesstokens", "/rest/auth", "/rest/gadget/1.0/login", "/rest/tsv", "/rest/oauth2",
		"/plugins/servlet/oauth2", "/rest/access-tokens", "/rest/authconfig", "/rest/applinks", "/rest/applinks-oauth",
		"/plugins/servlet/applinks", "/rest/usermanagement", "/rest/api/2/password", "/rest/api/latest/user/password",
		"/rest/api/2/myself/password", "/rest/api/user/current/password", "/rest/api/admin/user/bob/password",
		"/changepassword!default.jspa", "/setpassword.jspa", "/dochangemypassword.action",
	} {
		for _, same := range []string{path, path + "/", path + ".json", path + ".XML", "/x" + path + ".html", path + "/latest/x", "/x" + path, "/rest/api/2" + path, strings.ToUpper(path), "/x/" + path[1:] + "/y"} {
			if !issuesCredentials([]byte(same)) {
				t.Errorf("%s is allowed, although it issues credentials", same)
			}
		}
		if strings.HasPrefix(path, "/plugins/servlet/oauth") {
			continue
		}
		for _, other := range []string{path[:len(path)-1], path + "x", path[1:], strings.Replace(path, "/", "/x/", 2)[2:] + "x"} {
			if issuesCredentials([]byte(other)) {
				t.Errorf("%s is refused, although only %s issues credentials", other, path)
			}
		}
	}
	for path, want := range map[string]bool{
		"/rest/patterns":                         false,
		"/rest/api/2/issue/ABC-1":                false,
		"/rest/api/2/user":                       false,
		"/rest/api/2/user/passwords":             false,
		"/rest/api/2/user/passwor":               false,
		"/rest/api/2/group/user":                 false,
		"/rest/api/content/1/label/password":     false,
		"/rest/api/2/issue/A-1/properties/authx": false,
		"/rest/api/latest/user/password/":        true,
		"/rest/api/2/password/policy":            true,
		"/rest/api/user/current/password":        true,
		"/rest/api/admin/user/bob/password":      true,
		"/plugins/servlet/oauth/authorize":       true,
		"/plugins/servlet/oauth2":                true,
		"/plugins/servlet/oaut":                  false,
		"/plugins/servlet/applinks/auth":         true,
		"/plugins/servlet/applinksx":             false,
		"/secure/admin/user/SetPassword!x.jspa":  true,
		"/secure/ChangePassword.jspa":            true,
		"/secure/ChangePassword.jsp":             false,
		"/users/dochangemypassword.action":       true,
		"/rest/gadget/1.0/login":                 true,
		"/rest/gadget/login":                     false,
		"/rest/api/2/user/password.json/":        true,
		"/rest/api/2.0/user/password.x.json":     false,
		"/rest/api/2/user/password_json":         false,
		"/rest/api/2/user.json/password":         false,
		"/rest/api/2/user/.password":             false,
		"/rest/pa\xe2\x84\xaa":                   false,
		"":                                       false,
		"/":                                      false,
	} {
		if got := issuesCredentials([]byte(path)); got != want {
			t.Errorf("%q: %t, want %t", path, got, want)
		}
	}
}

// A second implementation, made of regular expressions, agrees about random paths that are like those of the list.
func TestCredentialPathsAgainstExpressions(t *testing.T) {
	var all, pieces []string
	for _, pattern := range credentialPaths {
		expression := strings.ReplaceAll(regexp.QuoteMeta(pattern), `\*`, `[^/]*`)
		all = append(all, expression+`(\.[^./]*)?(/|$)`, expression+`(/|$)`) // a star may match an extension
		pieces = append(pieces, strings.Split(pattern[1:], "/")...)
	}
	want := regexp.MustCompile(`(?i)` + strings.Join(all, "|"))
	random, issues := rand.New(rand.NewPCG(1, 2)), 0
	for range 200_000 {
		var path strings.Builder
		for range random.IntN(6) {
			piece := pieces[random.IntN(len(pieces))]
			piece = strings.ReplaceAll(piece, "*", []string{"", "x", "2", "a.b"}[random.IntN(4)])
			switch at := random.IntN(len(piece) + 1); random.IntN(12) {
			case 0:
				piece = piece[:at] + "x" + piece[at:]
			case 1:
				piece = piece[:at]
			case 2:
				piece += ".json"
			case 3:
				piece = strings.ToUpper(piece)
			}
			path.WriteString("/" + piece)
		}
		if got := issuesCredentials([]byte(path.String())); got != want.MatchString(path.String()) {
			t.Fatalf("%s: %t", path.String(), got)
		} else if got {
			issues++
		}
	}
	if issues < 10_000 {
		t.Errorf("only %d paths issue credentials", issues)
	}
}

// Usual paths, and most random ones, are not compared with the list.
func TestFewPathsAreCompared(t *testing.T) {
	for _, path := range []string{
		"/rest/api/2/myself", "/rest/api/2/search", "/rest/api/2/issue/ABC-1/comment", "/rest/api/2/user", "/rest/agile/1.0/board/1/sprint",
		"/rest/api/content/1/child/comment", "/rest/api/latest/project", "/rest/api/2/attachment/1", "/rest/p/a/pa/t/ts", "/", "",
	} {
		if mayIssueCredentials([]byte(path)) {
			t.Errorf("%s is compared", path)
		}
	}
	random, compared := rand.New(rand.NewPCG(1, 2)), 0
	const paths = 10_000
	for range paths {
		path := []byte("/........")
		for i := range path[1:] {
			path[1+i] = "abcdefghijklmnopqrstuvwxyz"[random.IntN(26)]
		}
		if mayIssueCredentials(path) {
			compared++
		}
	}
	if compared > paths/50 { // of 676 pairs of letters, 10 begin a last segment of at most 8 characters
		t.Errorf("%d of %d random paths are compared", compared, paths)
	}
}

// The list is written in the form that the comparison expects, and the documentation has each of its paths.
func TestCredentialPathsAreDocumented(t *testing.T) {
	documented, err := os.ReadFile("../../docs/reference/requests.md")
	if err != nil {
		t.Fatal(err)
	}
	for _, pattern := range credentialPaths {
		if !strings.Contains(string(documented), "`"+pattern+"`") {
			t.Errorf("docs/reference/requests.md does not name %s", pattern)
		}
		if !regexp.MustCompile(`^(/[-a-z0-9.]*\*?[-a-z0-9.]*)+$`).MatchString(pattern) || strings.HasSuffix(pattern, "/") {
			t.Errorf("%q is not a path in lower case with at most one star in a segment", pattern)
		}
	}
}
