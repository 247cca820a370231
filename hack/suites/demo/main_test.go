package main

import (
	"strings"
	"testing"

	"apitokens.dev/operator/hack/lib/fakeproduct"
	"apitokens.dev/operator/hack/lib/rig"
)

// A visitor can sign in as everybody, and meets the consent.
func TestLogins(t *testing.T) {
	people := fakeproduct.People(rig.PersonalAccessToken)
	text := logins(people)
	for _, u := range people {
		if !strings.Contains(text, u.Name+" ") || !strings.Contains(text, u.Password+"\n") {
			t.Errorf("%s cannot sign in with\n%s", u.Name, text)
		}
	}
	if !strings.Contains(tryNext, "consent") {
		t.Error("nothing is said of the consent")
	}
}
