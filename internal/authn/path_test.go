package authn

import "testing"

func TestCanonicalPath(t *testing.T) {
	const refused = "(refused)"
	for raw, want := range map[string]string{
		"/":                          "/",
		"/rest/api/2/myself":         "/rest/api/2/myself",
		"/rest/":                     "/rest/",
		"//rest//api//":              "/rest/api/",
		"/./rest/./api":              "/rest/api",
		"/a/../rest/api":             "/rest/api",
		"/rest/../secure/x":          "/secure/x",
		"/rest/..;/secure/x":         "/secure/x",
		"/rest/..;a=b;c/secure":      "/secure",
		"/rest;x=1/api;jsessionid=2": "/rest/api",
		"/%72est/api":                "/rest/api",
		"/rest/%2e%2e/secure":        "/secure",
		"/rest/.%2E/secure":          "/secure",
		"/rest/%2e/api":              "/rest/api",
		"/rest/a%20b":                "/rest/a b",
		"/rest/%C3%A4":               "/rest/\xc3\xa4",
		"/rest/%3f":                  "/rest/?",
		"/rest/..":                   "/",
		"/rest/.":                    "/rest",
		"/rest/;x":                   "/rest",

		"":                  refused,
		"rest/api":          refused,
		"*":                 refused,
		"http://other/rest": refused,
		"/..":               refused,
		"/../rest/api":      refused,
		"/rest/../../rest/": refused,
		"/rest/%2fapi":      refused,
		"/rest/%2Fapi":      refused,
		"/rest%5capi":       refused,
		"/rest\\api":        refused,
		"/rest/%00":         refused,
		"/rest/%252e%252e":  refused,
		"/rest/%3bx":        refused,
		"/rest/#x":          refused,
		"/rest/%23x":        refused,
		"/rest/\x7f":        refused,
		"/rest/\t":          refused,
		"/rest/%0d%0a":      refused,
		"/rest/a b":         refused,
		"/rest/\xc3\xa4":    refused,
		"/rest/%":           refused,
		"/rest/%2":          refused,
		"/rest/%zz":         refused,
		"/rest;%2f../api":   refused,
		"/rest;\\/api":      refused,
	} {
		got, ok := canonicalPath(nil, raw)
		// The bytes that dst already has are no part of the path, and no dot segment climbs into them.
		behind, again := canonicalPath([]byte("/before"), raw)
		if again != ok || ok && string(behind) != "/before"+string(got) {
			t.Errorf("canonicalPath(%q) behind another path = %q, %v", raw, behind, again)
		}
		if !ok {
			got = []byte(refused)
		}
		if string(got) != want {
			t.Errorf("canonicalPath(%q) = %q, want %q", raw, got, want)
		}
	}
}
