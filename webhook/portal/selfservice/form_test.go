package selfservice_test

import (
	"crypto/rand"
	"strings"
	"testing"
	"time"

	"k8s.io/apimachinery/pkg/types"
	clocktesting "k8s.io/utils/clock/testing"

	tokensv1alpha1 "apitokens.dev/operator/api/v1alpha1"
	"apitokens.dev/operator/webhook/portal/selfservice"
)

// A form can be sent for a day, whichever portal made it. Records keep ids for longer.
func TestFormsAge(t *testing.T) {
	now := time.Date(2026, 11, 26, 8, 0, 0, 0, time.UTC)
	clock := clocktesting.NewFakePassiveClock(now)
	service := &selfservice.Service{Clock: clock}
	nonce := selfservice.NewNonce(now)
	if again := selfservice.NewNonce(now); again == nonce {
		t.Error("two forms have one nonce")
	}
	for after, valid := range map[time.Duration]bool{
		0: true, time.Minute: true, 24 * time.Hour: true, 24*time.Hour + time.Second: false, 30 * 24 * time.Hour: false,
		-time.Minute: true, -25 * time.Hour: false,
	} {
		clock.SetTime(now.Add(after))
		if err := service.CheckNonce(nonce); (err == nil) != valid {
			t.Errorf("after %s: %v", after, err)
		}
	}
	for _, text := range []string{"", nonce[1:], nonce + "a", strings.ToUpper(nonce), strings.Repeat("1", 26), strings.Repeat("7", 26), strings.Repeat("a", 26)} {
		if service.CheckNonce(text) == nil {
			t.Errorf("%q is accepted", text)
		}
	}
}

// The id of a form's token is that of no other user, site or form.
func TestIDsOfForms(t *testing.T) {
	service := &selfservice.Service{Clock: clocktesting.NewFakePassiveClock(time.Now()), Random: rand.Reader}
	site := func(uid types.UID) *selfservice.Site {
		s := &tokensv1alpha1.AtlassianSite{}
		s.UID = uid
		return &selfservice.Site{AtlassianSite: s}
	}
	seen := map[string]bool{}
	for _, of := range []struct {
		site        types.UID
		user, nonce string
	}{{"1", "alice", "a"}, {"1", "alice", "b"}, {"1", "alic", "ea"}, {"2", "alice", "a"}, {"1", "bob", "a"}, {"1", "alice", ""}, {"1", "alice", ""}} {
		id, err := service.NewTokenID(site(of.site), of.user, of.nonce)
		must(t, err)
		again, err := service.NewTokenID(site(of.site), of.user, of.nonce)
		must(t, err)
		if seen[id] || (again == id) != (of.nonce != "") {
			t.Errorf("%v: %s, then %s", of, id, again)
		}
		seen[id] = true
	}
}
