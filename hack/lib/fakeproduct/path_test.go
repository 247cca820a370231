package fakeproduct

import (
	"strings"
	"testing"
)

func TestTomcatPath(t *testing.T) {
	tests := []struct {
		name   string
		target string
		want   string // "" when Tomcat answers 400
	}{
		{"plain", "/rest/api/2/myself", "/rest/api/2/myself"},
		{"root", "/", "/"},
		{"query is no path", "/rest?a=/../b", "/rest"},
		{"absolute form", "http://jira.example/rest/a?b", "/rest/a"},
		{"absolute form without path", "http://jira.example", "/"},
		{"absolute form with query only", "http://jira.example?a=/b", "/"},
		{"asterisk form", "*", ""},
		{"authority form", "jira.example:80", ""},
		{"empty", "", ""},

		{"merged slashes", "//rest///api", "/rest/api"},
		{"slash at the end stays", "/rest/api/", "/rest/api/"},
		{"dot", "/rest/./api", "/rest/api"},
		{"dot at the end", "/rest/.", "/rest/"},
		{"dots", "/rest/x/../api", "/rest/api"},
		{"dots at the end", "/rest/x/..", "/rest/"},
		{"dots down to the root", "/rest/..", "/"},
		{"dots above the root", "/rest/../../etc", ""},
		{"dots at once", "/..", ""},
		{"three dots are a name", "/rest/.../api", "/rest/.../api"},

		{"parameter", "/rest;x=1/api;jsessionid=2", "/rest/api"},
		{"parameter behind dots", "/rest/x/..;/api", "/rest/api"},
		{"parameter behind dots above the root", "/..;/rest", ""},
		{"segment of a parameter only", "/rest/;x/api", "/rest/api"},
		{"escaped slash in a parameter", "/rest;a=%2f/api", "/rest/api"},
		{"escaped semicolon is a character", "/rest%3bx/api", "/rest;x/api"},

		{"escaped letters", "/%72est/api", "/rest/api"},
		{"escaped dots", "/rest/x/%2e%2E/api", "/rest/api"},
		{"escaped dots above the root", "/%2e%2e/rest", ""},
		{"escaped twice stays text", "/rest/%252e%252e/api", "/rest/%2e%2e/api"},
		{"escaped slash", "/rest%2fapi", ""},
		{"escaped slash, upper case", "/rest%2Fapi", ""},
		{"slash escaped twice stays text", "/rest%252fapi", "/rest%2fapi"},
		{"escaped question mark", "/rest%3fapi", "/rest?api"},
		{"broken escape", "/rest/%zz", ""},
		{"cut escape", "/rest/%2", ""},

		{"backslash", `/rest\api`, ""},
		{"escaped backslash", "/rest%5capi", ""},
		{"null byte", "/rest%00/api", ""},
		{"fragment", "/rest#api", ""},
		{"quote", `/rest"api`, ""},
		{"raw byte above ASCII", "/r\xc3\xa9st", ""},
		{"brackets and bar, relaxed for Jira", "/rest/[a|b]", "/rest/[a|b]"},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			got, err := tomcatPath(test.target)
			if got != test.want {
				t.Errorf("tomcatPath(%q) = %q, want %q", test.target, got, test.want)
			}
			if refused := test.want == ""; refused != (err != nil) {
				t.Errorf("tomcatPath(%q) error = %v, want one: %t", test.target, err, refused)
			}
		})
	}
}

// The resource rewriting looks at the raw path: what Tomcat climbs out of stays in it.
func TestResourceRewriting(t *testing.T) {
	for _, context := range []string{"", "/jira"} {
		p := &NewJira(Options{ContextPath: context}).Product
		for target, want := range map[string]string{
			"/rest/api/2/myself":                           "",
			"/s/x/rest/api/2/myself":                       "",
			"/S/x/_/rest/api/2/myself":                     "/rest/api/2/myself",
			"/s/_/rest/api/2/myself":                       "",
			"/x/s/y/_/rest/api/2/myself":                   "",
			"/s/x/_/rest/api/2/myself":                     "/rest/api/2/myself",
			"/s//x//_//rest//api/2/myself":                 "/rest/api/2/myself",
			"/s/x/_/y/_/rest/api/2/myself":                 "/rest/api/2/myself",
			"/s/x/_/rest/api/2/%6Dyself;a=b?c=/_/d":        "/rest/api/2/myself",
			"/s/..;/rest/api/_/rest/pat/latest/tokens":     "/rest/pat/latest/tokens",
			"/s/%2e%2e/rest/api/_/rest/pat/latest/tokens":  "/rest/pat/latest/tokens",
			"/s/../rest/api/_/rest/pat/latest/tokens":      "",
			"/x/../s/y/./_/rest/pat/latest/tokens/":        "/rest/pat/latest/tokens/",
			"/s/x/_/secure/../rest/api/2/myself":           "/rest/api/2/myself",
			"/s/x/_/":                                      "/",
			"/s/x/%5f/rest/api/2/myself":                   "",
			"/s/x/_/rest/..;/..;/..;/x":                    "",
			"https://jira.example.com/s/x/_/rest/api/2/my": "/rest/api/2/my",
		} {
			at := context + target
			if scheme, rest, absolute := strings.Cut(target, "://"); absolute {
				host, path, _ := strings.Cut(rest, "/")
				at = scheme + "://" + host + context + "/" + path
			}
			if got, ok := p.rewritten(at); got != want || ok != (want != "") {
				t.Errorf("%q is forwarded to %q, %t, want %q", at, got, ok, want)
			}
		}
	}
}

func TestContextPath(t *testing.T) {
	tests := []struct {
		context, path string
		want          string
		inside        bool
	}{
		{"", "/rest/a", "/rest/a", true},
		{"/jira", "/jira/rest/a", "/rest/a", true},
		{"/jira/", "/jira/rest/a", "/rest/a", true},
		{"/jira", "/jira", "", true},
		{"/jira", "/jirax/rest/a", "x/rest/a", false},
		{"/jira", "/JIRA/rest/a", "/JIRA/rest/a", false},
		{"/jira", "/rest/a", "/rest/a", false},
	}
	for _, test := range tests {
		got, inside := NewJira(Options{ContextPath: test.context}).inContext(test.path)
		if got != test.want || inside != test.inside {
			t.Errorf("context %q, path %q: got %q, %t, want %q, %t",
				test.context, test.path, got, inside, test.want, test.inside)
		}
	}
}
