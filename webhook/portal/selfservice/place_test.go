package selfservice_test

import (
	"strings"
	"testing"

	"apitokens.dev/operator/webhook/portal/selfservice"
)

func TestPlace(t *testing.T) {
	const secret = "asp_ThisIsNoRealTokn_OnlyAnExample"
	for text, want := range map[string]string{
		"https://github.com/octocat/hello/blob/1234/a%20b.txt#L3": "https://github.com/octocat/hello/blob/1234/a%20b.txt#L3",
		"http://gitlab.example.com:8080/a":                        "http://gitlab.example.com:8080/a",
		"https://alice:password@github.com/a?token=x":             "https://github.com/a",
		"https://github.com/" + secret + "/a":                     "https://github.com",
		"https://github.com/%61sp_ThisIsNoRealTokn_OnlyAnExample": "https://github.com",
		"https://github.com/a#" + secret:                          "https://github.com",
		"https://github.com/" + strings.Repeat("a", 500):          "https://github.com",
		"https://github.com/" + strings.Repeat("\u202e", 90):      "https://github.com",
		"https://" + secret + ".example.com/":                     "",
		"https://" + strings.Repeat("a.", 300) + "example.com/":   "",
		"https://github.com/a\u202eb":                             "https://github.com/a%E2%80%AEb",
		"javascript:alert(1)":                                     "",
		"some_url":                                                "",
		"":                                                        "",
		"//github.com/a":                                          "",
		"https://github.com/a\nb":                                 "",
		"https:///a":                                              "",
	} {
		if got := selfservice.Place(text); got != want {
			t.Errorf("%.80q: %q, want %q", text, got, want)
		}
	}
}
