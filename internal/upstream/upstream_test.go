package upstream_test

import (
	"os"
	"regexp"
	"strings"
	"testing"
	"time"

	"apitokens.dev/operator/hack/lib/formtest"
	"apitokens.dev/operator/internal/upstream"
)

func TestDecodeReadsWhatEncodeWrote(t *testing.T) {
	want := upstream.Credential{Namespace: "jira", Site: "main", User: "alice", Origin: "http://jira.jira.svc:8080", Token: "NjE2/+x="}
	b, err := want.Encode()
	if err != nil {
		t.Fatal(err)
	}
	if got, err := upstream.Decode(b); err != nil || got != want {
		t.Errorf("read %+v, %v", got, err)
	}
	for name, change := range map[string]func(*upstream.Credential){
		"no namespace":  func(c *upstream.Credential) { c.Namespace = "" },
		"no site":       func(c *upstream.Credential) { c.Site = "" },
		"no user":       func(c *upstream.Credential) { c.User = "" },
		"unfolded user": func(c *upstream.Credential) { c.User = "Alice" },
		"no origin":     func(c *upstream.Credential) { c.Origin = "" },
		"no token":      func(c *upstream.Credential) { c.Token = "" },
		"split header":  func(c *upstream.Credential) { c.Token = "x\r\nX-Evil: y" },
	} {
		bad := want
		change(&bad)
		b, err := bad.Encode()
		if err != nil {
			t.Fatal(err)
		}
		if got, err := upstream.Decode(b); err == nil {
			t.Errorf("%s: read %+v", name, got)
		}
	}
}

var noon = time.Date(2026, 1, 1, 12, 0, 0, 0, time.UTC)

// enrolled returns an enrolled credential that was renewed and is refused now, so that most fields are set.
func enrolled() upstream.Credential {
	return upstream.Credential{
		Namespace: "jira", Site: "main", User: "alice", Origin: "http://jira.jira.svc:8080", Token: "NjE2/+x=",
		Source: upstream.Enrolled, UserKey: "JIRAUSER10100", Stored: noon, ID: 8, Expires: noon.AddDate(0, 0, 90), Replaced: 7, Refused: noon.Add(time.Hour),
	}
}

func TestWhereACredentialIsFrom(t *testing.T) {
	given := func(c *upstream.Credential) {
		*c = upstream.Credential{Namespace: c.Namespace, Site: c.Site, User: c.User, Origin: c.Origin, Token: c.Token}
	}
	pasted := func(c *upstream.Credential) { given(c); c.Source, c.Stored = upstream.Pasted, noon }
	for name, tc := range map[string]struct {
		change func(*upstream.Credential)
		ok     bool
	}{
		"enrolled":                            {func(*upstream.Credential) {}, true},
		"enrolled, just now":                  {func(c *upstream.Credential) { c.Replaced, c.Refused = 0, time.Time{} }, true},
		"enrolled, of another user":           {func(c *upstream.Credential) { c.Renamed = true }, true},
		"enrolled, of another user, in use":   {func(c *upstream.Credential) { c.Renamed, c.Refused = true, time.Time{} }, false},
		"pasted, of another user":             {func(c *upstream.Credential) { pasted(c); c.Renamed, c.Refused = true, noon }, false},
		"enrolled, without an expiry":         {func(c *upstream.Credential) { c.Expires = time.Time{} }, true},
		"enrolled, without a key of the user": {func(c *upstream.Credential) { c.UserKey = "" }, true},
		"enrolled, without an id":             {func(c *upstream.Credential) { c.ID = 0 }, false},
		"enrolled, nobody knows when":         {func(c *upstream.Credential) { c.Stored = time.Time{} }, false},
		"given":                               {given, true},
		"given, and refused":                  {func(c *upstream.Credential) { given(c); c.Refused = noon }, true},
		"given, with an id":                   {func(c *upstream.Credential) { given(c); c.ID = 8 }, false},
		"given, in place of another":          {func(c *upstream.Credential) { given(c); c.Replaced = 7 }, false},
		"given, with an end":                  {func(c *upstream.Credential) { given(c); c.Expires = noon }, false},
		"pasted":                              {pasted, true},
		"pasted, nobody knows when":           {func(c *upstream.Credential) { pasted(c); c.Stored = time.Time{} }, false},
		"pasted, with an id":                  {func(c *upstream.Credential) { pasted(c); c.ID = 8 }, false},
		"pasted, with an end":                 {func(c *upstream.Credential) { pasted(c); c.Expires = noon }, false},
		"from elsewhere":                      {func(c *upstream.Credential) { c.Source = "Found" }, false},
	} {
		want := enrolled()
		tc.change(&want)
		b, err := want.Encode()
		if err != nil {
			t.Fatal(err)
		}
		got, err := upstream.Decode(b)
		if (err == nil) != tc.ok || tc.ok && got != want {
			t.Errorf("%s: read %+v, %v; want it read: %t", name, got, err, tc.ok)
		}
		if err != nil && strings.Contains(err.Error(), want.Token) {
			t.Errorf("%s: the error quotes the token: %v", name, err)
		}
	}
}

// A form without a source is a given credential.
func TestDecodeReadsWhatWasStoredBefore(t *testing.T) {
	c, err := upstream.Decode([]byte(`{"namespace":"jira","site":"main","user":"alice","origin":"http://jira.jira.svc:8080","token":"NjE2"}`))
	if err != nil || c.Source != upstream.Given || !c.Usable() {
		t.Errorf("read %+v, %v", c, err)
	}
	if again, err := c.Encode(); err != nil || strings.Contains(string(again), "source") {
		t.Errorf("written again it is %s, %v", again, err)
	}
}

// A rolling update or a rollback has readers of two minor versions.
func TestCredentialToleratesAdditions(t *testing.T) {
	c := enrolled()
	c.Renamed = true
	encoded, err := c.Encode()
	if err != nil {
		t.Fatal(err)
	}
	formtest.Check(t, encoded, upstream.Decode)
	later, err := os.ReadFile("testdata/later.json")
	if err != nil {
		t.Fatal(err)
	}
	if c, err := upstream.Decode(later); err != nil || c.User != "alice" || c.ID != 8 || !c.Usable() {
		t.Errorf("read %+v, %v", c, err)
	}
}

func TestUsable(t *testing.T) {
	c := enrolled()
	if c.Usable() {
		t.Error("one that is refused is usable")
	}
	c.Refused = time.Time{}
	if !c.Usable() {
		t.Error("one that is accepted is not usable")
	}
}

// Jira allows 40 characters. The hash distinguishes sites of the same name, and the names that a user had.
func TestPATName(t *testing.T) {
	const site, another = "7c9e6679-7425-40de-944b-e07fc1f90001", "0b5e1b60-7425-40de-944b-e07fc1f90001"
	name := upstream.PATName(site, "alice", "abcde")
	if !regexp.MustCompile(`^API tokens at the ingress [0-9a-f]{8}-abcde$`).MatchString(name) || len(name) > 40 {
		t.Errorf("%q", name)
	}
	for of, want := range map[string]bool{
		name: true, name[:34]: true, upstream.PATName(site, "Alice", "other"): true, upstream.PATName(another, "alice", "abcde"): false,
		upstream.PATName(site, "alicia", "abcde"): false, name[:33]: false, name[:34] + "x": false, "": false,
	} {
		if got := upstream.IsPATName(of, site, "alice"); got != want {
			t.Errorf("%q is taken for one of hers at the site: %t", of, got)
		}
	}
}

func TestCheckToken(t *testing.T) {
	for token, ok := range map[string]bool{
		"NjE2MTE2NTEzOTU4OpjlEO6G/uF3vKz+": true, "abc==": true, "a-b._~+/": true, strings.Repeat("x", 4096): true,
		"": false, "=": false, "abc\n": false, "abc ": false, "a b": false, "a=b": false, "ä": false, "a\x00": false, strings.Repeat("x", 4097): false,
	} {
		if err := upstream.CheckToken(token); (err == nil) != ok {
			t.Errorf("CheckToken(%q) = %v", token, err)
		}
	}
}

func TestSecretNamesDiffer(t *testing.T) {
	a, b := upstream.SecretName("jira", "main", "alice"), upstream.SecretName("jira", "main", "bob")
	if a == b || len(a) > 253 || strings.ToLower(a) != a {
		t.Errorf("%q and %q", a, b)
	}
}
