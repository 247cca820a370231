package authurl_test

import (
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"apitokens.dev/operator/internal/authurl"
)

// FuzzParse checks that there are exactly four parts, that the last three are not empty, and that nothing is decoded.
func FuzzParse(f *testing.F) {
	for _, path := range []string{
		"/nginx/KEY/jira/main", "/nginx/KEY/jira/main/", "//KEY/jira/main", "/nginx//jira/main", "/nginx/%2f/../main", "http://h/nginx/K/n/s", "",
	} {
		f.Add(path)
	}
	want := regexp.MustCompile(`(?s)^/([^/]*)/([^/]+)/([^/]+)/([^/]+)\z`)
	f.Fuzz(func(t *testing.T, path string) {
		a, ok := authurl.Parse(path)
		parts := want.FindStringSubmatch(path)
		if ok != (parts != nil) {
			t.Fatalf("Parse(%q) = %+v, %v", path, a, ok)
		}
		if !ok {
			return
		}
		if a != (authurl.Address{Contract: authurl.Contract(parts[1]), Key: parts[2], Namespace: parts[3], Site: parts[4]}) {
			t.Errorf("Parse(%q) = %+v", path, a)
		}
		if a.String() != path {
			t.Errorf("%q is also spelled %q", path, a.String())
		}
	})
}

// FuzzDecodeKeys checks that decoded keys are encoded to the same keys and have 130 bits each, and that their address can be parsed.
func FuzzDecodeKeys(f *testing.F) {
	b, err := authurl.NewKeys("jira", "main", time.Unix(1800000000, 0)).Encode()
	if err != nil {
		f.Fatal(err)
	}
	f.Add(b)
	f.Add([]byte(`{"namespace":"jira","site":"main","keys":{"nginx":["ABCDEFGHIJKLMNOPQRSTUVWXYZ","ABCDEFGHIJKLMNOPQRSTUVWXYZ234567"]}}`))
	f.Add([]byte(`{"namespace":"jira","site":"main","keys":{"nginx":["ABCDEFGHIJKLMNOPQRSTUVWXYZ"],"other":[""]}}`))
	f.Add([]byte(`{"namespace":"jira","site":"main","keys":{"nginx":["ABCDEFGHIJKLMNOPQRSTUVWXY"],"nginx":["ABCDEFGHIJKLMNOPQRSTUVWXYZ"]}}`))
	key := regexp.MustCompile(`^[A-Z2-7]{26,64}\z`)
	secret := regexp.MustCompile(`[A-Z2-7]{16,}`)
	f.Fuzz(func(t *testing.T, b []byte) {
		k, err := authurl.DecodeKeys(b)
		if err != nil {
			for _, s := range secret.FindAll(b, -1) {
				if strings.Contains(err.Error(), string(s)) {
					t.Errorf("the error tells a key: %v", err)
				}
			}
			return
		}
		again, err := k.Encode()
		if err != nil {
			t.Fatalf("decoded, but does not encode: %v", err)
		}
		if same, err := authurl.DecodeKeys(again); err != nil || !cmp.Equal(same, k) {
			t.Errorf("encoded, it decodes to something else (%v)", err)
		}
		for _, c := range authurl.Contracts() {
			for _, text := range k.Keys[c] {
				if !key.MatchString(text) {
					t.Errorf("the key %q", text)
				}
			}
			// Names in Kubernetes have no slashes.
			if strings.Contains(k.Namespace+k.Site, "/") || len(k.Keys[c]) == 0 {
				continue
			}
			if a, ok := authurl.Parse(k.Address(c).String()); !ok || a != k.Address(c) {
				t.Errorf("the address is read as %+v, %v", a, ok)
			}
		}
	})
}
