package selfservice_test

import (
	"testing"

	"apitokens.dev/operator/webhook/portal/selfservice"
)

// Ids are public and are removed. Tokens stay.
func TestWithoutIDs(t *testing.T) {
	const id = "asp_DquJoZLwlsNJm6gU"
	for target, want := range map[string]string{
		"/admin": "/admin", "/admin?q=ci": "/admin?q=ci", "/admin?q=" + id: "/admin?", "/admin?user=a&q=" + id + "&startAt=1": "/admin?user=a&startAt=1",
		"/admin?q=" + id + "x": "/admin?q=" + id + "x", "/admin?os_password=" + id + "_secret": "/admin?os_password=" + id + "_secret", "/" + id: "/" + id,
		"/admin?" + id: "/admin?" + id, "/admin?q=%61" + id[1:]: "/admin?q=%61" + id[1:],
	} {
		if got := selfservice.WithoutIDs(target); got != want {
			t.Errorf("%s: %s, want %s", target, got, want)
		}
	}
}
