package upstream_test

import (
	"strings"
	"testing"

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
