package leaks

import (
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// published is the example of GitHub's documentation of its partner program, and its public keys as GitHub's API returned them.
const (
	publishedKeys = `{"public_keys": [
		{"key_identifier": "90a421169f0a406205f1563a953312f0be898d3c7b6c06b681aa86a874555f4a", "key": "-----BEGIN PUBLIC KEY-----\nMFkwEwYHKoZIzj0CAQYIKoZIzj0DAQcDQgAE9MJJHnMfn2+H4xL4YaPDA4RpJqUq\nkCmRCBnYERxZanmcpzQSXs1X/AljlKkbJ8qpVIW4clayyef9gWhFbNHWAA==\n-----END PUBLIC KEY-----\n", "is_current": false},
		{"key_identifier": "bcb53661c06b4728e59d897fb6165d5c9cda0fd9cdf9d09ead458168deb7518c", "key": "-----BEGIN PUBLIC KEY-----\nMFkwEwYHKoZIzj0CAQYIKoZIzj0DAQcDQgAEYAGMWO8XgCamYKMJS6jc/qgvSlAd\nAjPuDPRcXU22YxgBrz+zoN19MzuRyW87qEt9/AmtoNP5GrobzUvQSyJFVw==\n-----END PUBLIC KEY-----\n", "is_current": true}
	]}`
	publishedBody      = `[{"source":"commit","token":"some_token","type":"some_type","url":"https://example.com/base-repo-url/"}]`
	publishedKey       = "bcb53661c06b4728e59d897fb6165d5c9cda0fd9cdf9d09ead458168deb7518c"
	publishedSignature = "MEQCIQDaMKqrGnE27S0kgMrEK0eYBmyG0LeZismAEz/BgZyt7AIfXt9fErtRS4XaeSt/AO1RtBY66YcAdjxji410VQV4xg=="
	// The example of an earlier edition.
	earlierBody      = `[{"token":"some_token","type":"some_type","url":"some_url"}]`
	earlierKey       = "90a421169f0a406205f1563a953312f0be898d3c7b6c06b681aa86a874555f4a"
	earlierSignature = "MEUCIQDKZokqnCjrRtw0tni+2Ltvl/uiMJ1EGumEsp1BsNr32AIgQY1YXD2nlj+XNfGK4rBfkMJ1JDOQcYXxa2sY8FNkrKc="
)

func TestPublishedExample(t *testing.T) {
	all, err := parseKeys([]byte(publishedKeys))
	if err != nil {
		t.Fatal(err)
	}
	for _, tc := range []struct {
		key, signature, body string
		want                 bool
	}{
		{publishedKey, publishedSignature, publishedBody, true},
		{earlierKey, earlierSignature, earlierBody, true},
		{publishedKey, publishedSignature, publishedBody + "\n", false},
		{publishedKey, publishedSignature, earlierBody, false},
		{publishedKey, earlierSignature, publishedBody, false},
		{earlierKey, publishedSignature, publishedBody, false},
		{"", publishedSignature, publishedBody, false},
		{publishedKey, "", publishedBody, false},
		{publishedKey, "x", publishedBody, false},
		{publishedKey, publishedSignature[:len(publishedSignature)-4], publishedBody, false},
		{publishedKey, publishedSignature, "", false},
	} {
		if got := all.verify(tc.key, tc.signature, []byte(tc.body)); got != tc.want {
			t.Errorf("%.10s… %.10s… %.20s…: %t", tc.key, tc.signature, tc.body, got)
		}
	}
}

// A wrong file is found when the portal starts. The error names it, and no secret in it.
func TestCheck(t *testing.T) {
	const p384 = "-----BEGIN PUBLIC KEY-----\nMHYwEAYHKoZIzj0CAQYFK4EEACIDYgAEqw4vQh5KGX0OGyhYTPm7tSGv3cSKr1Hd\nhtmnVd7VFkyzkHfRdUzFLK2D9Kmr1cYTLDP1BFlhXv7tvB5hB0tGRtBvl6mUU/Ln\nDKFpCzYIF3FCSFpH1Yj3P5cJ3qnP8q8X\n-----END PUBLIC KEY-----\n"
	quoted, _ := json.Marshal(p384)
	for name, tc := range map[string]struct{ keys, token, want string }{
		"off":              {},
		"good":             {keys: publishedKeys, token: strings.Repeat("x", 32) + "\n"},
		"no JSON":          {keys: "x", want: "it is not the JSON of GitHub's API"},
		"no keys":          {keys: `{"public_keys":[]}`, want: "it has no public_keys"},
		"no PEM":           {keys: `{"public_keys":[{"key_identifier":"1","key":"x"}]}`, want: `the key "1": it is not in PEM`},
		"another curve":    {keys: `{"public_keys":[{"key_identifier":"1","key":` + string(quoted) + `}]}`, want: `the key "1":`},
		"a short token":    {token: "short secret\n", want: "it must have at least 32 characters"},
		"an empty token":   {token: "\n", want: "it must have at least 32 characters"},
		"a missing file":   {keys: "-", want: "no such file"},
		"a missing secret": {token: "-", want: "no such file"},
	} {
		t.Run(name, func(t *testing.T) {
			var o Options
			for text, file := range map[string]*string{tc.keys: &o.GitHubKeys, tc.token: &o.GitLabToken} {
				if text == "" {
					continue
				}
				*file = filepath.Join(t.TempDir(), "file")
				if text == "-" {
					continue
				}
				if err := os.WriteFile(*file, []byte(text), 0o600); err != nil {
					t.Fatal(err)
				}
			}
			err := o.Check()
			switch {
			case tc.want == "" && err != nil:
				t.Error(err)
			case tc.want != "" && (err == nil || !strings.Contains(err.Error(), tc.want) || strings.Contains(err.Error(), "short secret")):
				t.Errorf("%v, want %s", err, tc.want)
			}
		})
	}
}
