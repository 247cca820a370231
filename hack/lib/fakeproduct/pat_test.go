package fakeproduct

import (
	"encoding/json"
	"fmt"
	"net/http"
	"strings"
	"sync"
	"testing"
	"time"
)

// clock is a clock that a test steps.
type clock struct {
	mu  sync.Mutex
	now time.Time
}

func newClock() *clock { return &clock{now: time.Date(2026, 9, 4, 22, 35, 14, 728_000_000, time.UTC)} }

func (c *clock) read() time.Time {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.now
}

func (c *clock) step(d time.Duration) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.now = c.now.Add(d)
}

const day = 24 * time.Hour

// make asks for a token and returns it, with the id that it is deleted by.
func (a asked) make(t *testing.T, credential change, body string) (token string, id int64) {
	t.Helper()
	got := a.as(t, credential, "POST", "/rest/pat/latest/tokens", body)
	var made struct {
		ID       int64
		RawToken string
	}
	if err := json.Unmarshal([]byte(got.body), &made); err != nil || got.StatusCode != http.StatusCreated || made.RawToken == "" {
		t.Fatalf("got %d %s: %v", got.StatusCode, got.body, err)
	}
	return made.RawToken, made.ID
}

func TestMaxPATs(t *testing.T) {
	for most, o := range map[int]Options{10: {}, 3: {MaxPATs: 3}} {
		o.Users = twoUsers()
		for product, p := range bothProducts(t, o) {
			_, id := p.make(t, bearer("alice-pat"), `{"name":"first"}`)
			for i := range most - 2 { // the fixed one counts
				p.make(t, bearer("alice-pat"), fmt.Sprintf(`{"name":"%d"}`, i))
			}
			got := p.as(t, bearer("alice-pat"), "POST", patPath, `{"name":"x"}`)
			if got.StatusCode != http.StatusBadRequest || !strings.Contains(got.body, "as many tokens as you may") {
				t.Errorf("%s: one more than %d: %d %s", product, most, got.StatusCode, got.body)
			}
			p.make(t, bearer("bob-pat"), `{"name":"bob has a count of their own"}`)
			if got := p.as(t, bearer("alice-pat"), "DELETE", fmt.Sprintf("%s/%d", patPath, id), ""); got.StatusCode != http.StatusNoContent {
				t.Errorf("%s: got %d %s", product, got.StatusCode, got.body)
			}
			p.make(t, bearer("alice-pat"), `{"name":"there is room again"}`)
		}
	}
}

func TestPATsExpire(t *testing.T) {
	clock := newClock()
	for product, p := range bothProducts(t, Options{Now: clock.read, Users: twoUsers()}) {
		token, _ := p.make(t, bearer("alice-pat"), `{"name":"a day","expirationDuration":1}`)
		clock.step(day - 1)
		if got := p.as(t, bearer(token), "GET", p.whoAmI, ""); got.StatusCode != http.StatusOK {
			t.Errorf("%s: before its time: %d %s", product, got.StatusCode, got.body)
		}
		clock.step(1)
		if got := p.as(t, bearer(token), "GET", p.whoAmI, ""); got.StatusCode != http.StatusUnauthorized {
			t.Errorf("%s: after its time: %d %s", product, got.StatusCode, got.body)
		}
		clock.step(1000 * day)
		if got := p.as(t, bearer("alice-pat"), "GET", p.whoAmI, ""); got.StatusCode != http.StatusOK {
			t.Errorf("%s: the fixed one expired: %d %s", product, got.StatusCode, got.body)
		}
	}
}

// Expired tokens are listed, and count against the limit.
func TestExpiredPATsAreStillThere(t *testing.T) {
	clock := newClock()
	for product, p := range bothProducts(t, Options{Now: clock.read, MaxPATs: 2, Users: twoUsers()}) {
		p.make(t, bearer("alice-pat"), `{"name":"a day","expirationDuration":1}`)
		clock.step(2 * day)
		if got := p.as(t, bearer("alice-pat"), "GET", patPath, ""); !strings.Contains(got.body, `"name":"a day"`) {
			t.Errorf("%s: listed are %s", product, got.body)
		}
		if got := p.as(t, bearer("alice-pat"), "POST", patPath, `{"name":"x"}`); got.StatusCode != http.StatusBadRequest {
			t.Errorf("%s: got %d %s", product, got.StatusCode, got.body)
		}
	}
}

// A token can create its successor, and the successor can delete it. Every other
// credential can do so too.
func TestPATsAreRotatedWithPATs(t *testing.T) {
	for product, p := range bothProducts(t, Options{BasicAuth: true, Users: twoUsers()}) {
		for name, credential := range map[string]change{
			"session": cookie(p.SignIn("bob")), "Basic": basic("bob", "bob-password"), "PAT": bearer("bob-pat"),
		} {
			old, id := p.make(t, credential, `{"name":"old"}`)
			successor, own := p.make(t, bearer(old), `{"name":"new"}`)
			if got := p.as(t, bearer(successor), "DELETE", fmt.Sprintf("%s/%d", patPath, id), ""); got.StatusCode != http.StatusNoContent || got.body != "" {
				t.Errorf("%s, %s: got %d %s", product, name, got.StatusCode, got.body)
			}
			if got := p.as(t, bearer(old), "GET", p.whoAmI, ""); got.StatusCode != http.StatusUnauthorized {
				t.Errorf("%s, %s: the old one: %d %s", product, name, got.StatusCode, got.body)
			}
			if got := p.as(t, bearer(successor), "GET", p.whoAmI, ""); !strings.Contains(got.body, `ame":"bob"`) {
				t.Errorf("%s, %s: the new one: %d %s", product, name, got.StatusCode, got.body)
			}
			if got := p.as(t, bearer(successor), "DELETE", fmt.Sprintf("%s/%d", patPath, own), ""); got.StatusCode != http.StatusNoContent {
				t.Errorf("%s, %s: deleting itself: %d %s", product, name, got.StatusCode, got.body)
			}
		}
	}
}

func TestPATsForTests(t *testing.T) {
	clock := newClock()
	for product, p := range bothProducts(t, Options{Now: clock.read, Users: twoUsers()}) {
		token, id := p.make(t, bearer("alice-pat"), `{"name":"mine","expirationDuration":7}`)
		all := p.PersonalAccessTokens("alice")
		if len(all) != 2 || all[0].Name != "fixed-1" || all[0].ID != 1 || !all[0].ExpiresAt.IsZero() || !all[0].LastUsedAt.Equal(clock.read()) {
			t.Fatalf("%s: alice has %+v", product, all)
		}
		if mine := all[1]; mine.ID != id || mine.Name != "mine" || !mine.ExpiresAt.Equal(clock.read().Add(7*day)) || !mine.LastUsedAt.IsZero() {
			t.Errorf("%s: her own is %+v", product, mine)
		}
		if got := p.PersonalAccessTokens("nobody"); got != nil {
			t.Errorf("%s: nobody has %+v", product, got)
		}
		for _, revoked := range []string{token, "alice-pat"} {
			if !p.RevokePAT(revoked) || p.RevokePAT(revoked) {
				t.Errorf("%s: RevokePAT does not tell what was there", product)
			}
			if got := p.as(t, bearer(revoked), "GET", p.whoAmI, ""); got.StatusCode != http.StatusUnauthorized {
				t.Errorf("%s: after it was revoked: %d %s", product, got.StatusCode, got.body)
			}
		}
		if got := p.PersonalAccessTokens("alice"); got != nil {
			t.Errorf("%s: alice has still %+v", product, got)
		}
	}
}

// Of ten concurrent requests only as many succeed as the limit allows.
func TestMaxPATsAtOnce(t *testing.T) {
	for product, p := range bothProducts(t, Options{MaxPATs: 5, Users: twoUsers()}) {
		var group sync.WaitGroup
		for i := range 10 {
			group.Go(func() { p.as(t, bearer("alice-pat"), "POST", patPath, fmt.Sprintf(`{"name":"%d"}`, i)) })
		}
		group.Wait()
		if got := p.PersonalAccessTokens("alice"); len(got) != 5 {
			t.Errorf("%s: alice has %+v", product, got)
		}
	}
}
