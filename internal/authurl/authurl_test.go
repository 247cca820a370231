package authurl_test

import (
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"apitokens.dev/operator/internal/authurl"
)

func TestParseReadsWhatStringWrote(t *testing.T) {
	want := authurl.Address{Contract: authurl.Nginx, Key: "KEY", Namespace: "jira", Site: "main.site"}
	got, ok := authurl.Parse(want.String())
	if !ok || got != want {
		t.Errorf("Parse(%q) = %+v, %v", want, got, ok)
	}
}

func TestParseRefuses(t *testing.T) {
	for _, path := range []string{
		"", "/", "*", "/healthz", "/nginx", "/nginx/KEY", "/nginx/KEY/jira", "/nginx/KEY/jira/", "/nginx//jira/main",
		"/nginx/KEY//main", "/nginx/KEY/jira/main/", "/nginx/KEY/jira/main/more", "nginx/KEY/jira/main", "http://h/nginx/K/n",
	} {
		if got, ok := authurl.Parse(path); ok {
			t.Errorf("Parse(%q) = %+v", path, got)
		}
	}
}

func TestKeys(t *testing.T) {
	k := authurl.NewKeys("jira", "main")
	if other := authurl.NewKeys("jira", "main"); other.Address(authurl.Nginx) == k.Address(authurl.Nginx) {
		t.Error("the same key was made twice")
	}
	b, err := k.Encode()
	if err != nil {
		t.Fatal(err)
	}
	got, err := authurl.DecodeKeys(b)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(k, got); diff != "" {
		t.Error(diff)
	}
	key := k.Keys[authurl.Nginx][0]
	for name, bad := range map[string]string{
		"empty":        "",
		"no key":       strings.Replace(string(b), `"`+key+`"`, "", 1),
		"empty key":    strings.Replace(string(b), key, "", 1),
		"short key":    strings.Replace(string(b), key, key[:25], 1),
		"not a path":   strings.Replace(string(b), key, key[:25]+"/", 1),
		"no site":      strings.Replace(string(b), "main", "", 1),
		"no contracts": `{"namespace":"jira","site":"main","keys":{}}`,
	} {
		if got, err := authurl.DecodeKeys([]byte(bad)); err == nil {
			t.Errorf("%s: read %+v", name, got)
		} else if strings.Contains(err.Error(), key) {
			t.Errorf("%s: the error tells the key", name)
		}
	}
}

// Two sites must never share a Secret: a namespace has no dot, a site may.
func TestKeysSecretNamesDiffer(t *testing.T) {
	if a, b := authurl.KeysSecretName("a-b", "c"), authurl.KeysSecretName("a", "b-c"); a == b {
		t.Errorf("%q names the keys of two sites", a)
	}
}
