package selfservice_test

import (
	"testing"

	"apitokens.dev/operator/webhook/portal/selfservice"
)

func TestNamePrefix(t *testing.T) {
	for user, want := range map[string]string{
		"alice": "alice-", "a@b@example.com": "a-b-example-com-", `corp\alice`: "corpalice-", "alice q. example": "aliceq-example-", "李": "user-", "": "user-", "-.-": "user-",
		"_a_": "a-", "jürgen": "jrgen-", "a123456789b123456789c123456789d": "a123456789b123456789c123456789-"[:30] + "-",
	} {
		if got := selfservice.NamePrefix(user); got != want {
			t.Errorf("%q: %q, want %q", user, got, want)
		}
	}
}
