package rest_test

import (
	"fmt"
	"net/http"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	tokensv1alpha1 "apitokens.dev/operator/api/v1alpha1"
	"apitokens.dev/operator/hack/lib/kubetest"
	"apitokens.dev/operator/hack/lib/portaltest"
	"apitokens.dev/operator/internal/record"
)

func TestSitePolicy(t *testing.T) {
	in := func(days int) string { return millis(time.Now().Add(time.Duration(days) * 24 * time.Hour)) }
	ninety := tokensv1alpha1.TokenPolicy{MaxLifetimeDays: new(int32(90))}
	mustEnd := tokensv1alpha1.TokenPolicy{NeverExpiring: tokensv1alpha1.NeverExpiringForbidden}
	thirty := tokensv1alpha1.TokenPolicy{NeverExpiring: tokensv1alpha1.NeverExpiringForbidden, DefaultLifetimeDays: new(int32(30))}
	for name, tc := range map[string]struct {
		site  tokensv1alpha1.TokenPolicy
		wish  string
		field string // nothing if it is allowed
		days  int    // until its end, 0 for none
	}{
		"nothing is said":              {tokensv1alpha1.TokenPolicy{}, ``, "", 0},
		"ten years":                    {tokensv1alpha1.TokenPolicy{}, `,"lifetimeDays":3650`, "", 3650},
		"the maximum":                  {ninety, ``, "", 90},
		"up to the maximum":            {ninety, `,"lifetimeDays":90`, "", 90},
		"beyond the maximum":           {ninety, `,"lifetimeDays":91`, "lifetimeDays", 0},
		"later than the maximum":       {ninety, `,"expiresAt":` + in(91), "expiresAt", 0},
		"before the maximum":           {ninety, `,"expiresAt":` + in(89), "", 89},
		"it must end":                  {mustEnd, ``, "lifetimeDays", 0},
		"null is no end":               {mustEnd, `,"expiresAt":null,"lifetimeDays":null`, "lifetimeDays", 0},
		"it must end, and does":        {mustEnd, `,"lifetimeDays":1`, "", 1},
		"it must end, at a time":       {mustEnd, `,"expiresAt":` + in(5000), "", 5000},
		"it must end, and by itself":   {thirty, ``, "", 30},
		"later than what is said else": {thirty, `,"lifetimeDays":365`, "", 365},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			product := env.Jira
			if len(name)%2 == 0 {
				product = env.Confluence
			}
			w := product(t, func(s *tokensv1alpha1.AtlassianSite) { s.Spec.TokenPolicy = tc.site })
			alice := session(t, w, "alice")
			got := alice.send("POST", "/", `{"label":"CI scripts"`+tc.wish+`}`)
			if tc.field != "" {
				if got.status != http.StatusBadRequest || !got.says(t, w, tc.field, "") {
					t.Errorf("%d %s, want it refused for %s", got.status, got.body, tc.field)
				}
				if err := wantIDs(alice); err != nil {
					t.Error(err)
				}
				return
			}
			if got.status != http.StatusCreated {
				t.Fatalf("%d %s", got.status, got.body)
			}
			end, _ := got.fields(t)["expiresAt"].(float64)
			days := 0.0
			if end != 0 {
				days = time.Until(time.UnixMilli(int64(end))).Hours() / 24
			}
			if days < float64(tc.days)-0.01 || days > float64(tc.days) {
				t.Errorf("it ends in %v days, want %d", days, tc.days)
			}
		})
	}
}

func TestQuota(t *testing.T) {
	eachProduct(t, func(t *testing.T, w *portaltest.World) {
		alice := session(t, w, "alice")
		first, text := alice.create(`{"label":"1"}`)
		alice.create(`{"label":"2"}`)
		alice.create(`{"label":"3"}`)
		for _, as := range []client{alice, alice.bearer("alice", text)} {
			if refused := as.expect(http.StatusConflict, "POST", "/", `{"label":"4"}`); !refused.says(t, w, "", "may have 3 ") {
				t.Error(refused.body)
			}
		}
		session(t, w, "bob").create(`{"label":"bob's"}`)
		alice.expect(http.StatusNoContent, "DELETE", "/"+first, "")
		alice.create(`{"label":"4"}`)
		alice.expect(http.StatusConflict, "POST", "/", `{"label":"5"}`)
	}, func(s *tokensv1alpha1.AtlassianSite) { s.Spec.TokenPolicy.MaxTokensPerUser = new(int32(3)) })
}

// However many are asked for at the same time, there are never more than may be, and what is refused takes no room.
func TestQuotaInARace(t *testing.T) {
	eachProduct(t, func(t *testing.T, w *portaltest.World) {
		alice := session(t, w, "alice")
		for range 3 {
			alice.create(`{"label":"there before"}`)
		}
		var group sync.WaitGroup
		for i := range 8 {
			group.Go(func() {
				a, err := alice.try("POST", "/", `{"label":"`+strconv.Itoa(i)+`"}`)
				if err != nil || a.status != http.StatusCreated && a.status != http.StatusConflict {
					t.Errorf("%d %s %v", a.status, a.body, err)
				}
			})
		}
		group.Wait()
		n := len(alice.list())
		if n > 5 {
			t.Errorf("there are %d, of 5", n)
		}
		for ; n < 5; n++ {
			alice.create(`{"label":"afterwards"}`)
		}
		alice.expect(http.StatusConflict, "POST", "/", `{"label":"too many"}`)
	}, func(s *tokensv1alpha1.AtlassianSite) { s.Spec.TokenPolicy.MaxTokensPerUser = new(int32(5)) })
}

// Before the epoch of a site nothing is issued, and after it what was issued before is dead, until it is rotated.
func TestEpoch(t *testing.T) {
	eachProduct(t, func(t *testing.T, w *portaltest.World) {
		alice := session(t, w, "alice")
		id, text := alice.create(`{"label":"before"}`)
		epoch := time.Now().Add(2 * time.Second).Truncate(time.Second)
		policy(t, w, func(s *tokensv1alpha1.AtlassianSite) { s.Spec.IssuedAfter = metav1.NewTime(epoch) })
		eventually(t, alice.bearer("alice", text), http.StatusUnauthorized)
		// What the portal lists may be milliseconds behind what it decides by: a token that it still makes is dead from the beginning.
		kubetest.Eventually(t, func() error {
			if a := alice.send("POST", "/", `{"label":"too early"}`); a.status != http.StatusConflict {
				return fmt.Errorf("a token before the epoch: %d", a.status)
			}
			return nil
		})
		for time.Now().Before(epoch.Add(-100 * time.Millisecond)) {
			for _, path := range []string{"/", "/" + id + "/rotate"} {
				body := map[bool]string{true: `{"label":"too early"}`}[path == "/"]
				a := alice.send("POST", path, body)
				if a.status != http.StatusConflict && time.Now().Before(epoch) {
					t.Errorf("%s: %d %s", path, a.status, a.body)
				}
			}
		}
		if state := alice.expect(http.StatusOK, "GET", "/"+id, "").text(t, "state"); state != "Revoked" {
			t.Errorf("state is %s", state)
		}
		var again answer
		for again = alice.send("POST", "/"+id+"/rotate", ""); again.status == http.StatusConflict; again = alice.send("POST", "/"+id+"/rotate", "") {
		}
		alice.bearer("alice", again.text(t, "token")).expect(http.StatusOK, "GET", "/", "")
		alice.bearer("alice", text).expect(http.StatusUnauthorized, "GET", "/", "")
	})
}

// What came to its end does so by itself, and shows.
func TestExpired(t *testing.T) {
	eachProduct(t, func(t *testing.T, w *portaltest.World) {
		alice := session(t, w, "alice")
		id, text := alice.create(`{"label":"short","expiresAt":` + millis(time.Now().Add(2500*time.Millisecond)) + `}`)
		alice.bearer("alice", text).expect(http.StatusOK, "GET", "/", "")
		eventually(t, alice.bearer("alice", text), http.StatusUnauthorized)
		if state := alice.expect(http.StatusOK, "GET", "/"+id, "").text(t, "state"); state != "Expired" {
			t.Errorf("state is %s", state)
		}
		if refused := alice.expect(http.StatusConflict, "POST", "/"+id+"/rotate", ""); !refused.says(t, w, "", "ended at") {
			t.Error(refused.body)
		}
	})
}

func TestSuspended(t *testing.T) {
	w := env.Jira(t)
	alice := session(t, w, "alice")
	id, text := alice.create(`{"label":"suspended"}`)
	of := apiToken(t, w, id)
	of.Spec.State = tokensv1alpha1.StateSuspended
	if err := env.Admin.Update(t.Context(), of); err != nil {
		t.Fatal(err)
	}
	eventually(t, alice.bearer("alice", text), http.StatusUnauthorized)
	again := alice.expect(http.StatusOK, "POST", "/"+id+"/rotate", "")
	if again.text(t, "state") != "Suspended" {
		t.Errorf("rotated, it is %s", again.body)
	}
	alice.bearer("alice", again.text(t, "token")).expect(http.StatusUnauthorized, "GET", "/", "")
}

func TestRotation(t *testing.T) {
	eachProduct(t, func(t *testing.T, w *portaltest.World) {
		alice := session(t, w, "alice")
		for body, hours := range map[string]int{``: 24, `{}`: 24, `{"overlapHours":null}`: 24, `{"overlapHours":24}`: 24, `{"overlapHours":1}`: 1, `{"overlapHours":0}`: 0, `{"overlapHours":8760}`: 8760} {
			id, old := alice.create(`{"label":"CI scripts","lifetimeDays":30}`)
			rotated := alice.expect(http.StatusOK, "POST", "/"+id+"/rotate", body)
			if rotated.text(t, "id") != id || rotated.text(t, "token") == old || rotated.text(t, "label") != "CI scripts" {
				t.Errorf("%s", rotated.body)
			}
			alice.bearer("alice", rotated.text(t, "token")).expect(http.StatusOK, "GET", "/"+id, "")
			want := http.StatusOK
			if hours == 0 {
				want = http.StatusUnauthorized
			}
			alice.bearer("alice", old).expect(want, "GET", "/"+id, "")
			left := map[time.Duration]bool{}
			for _, r := range records(t, w) {
				for _, e := range r.Entries {
					if r.TokenID == id && e.State == record.Ending {
						left[time.Until(e.Ends).Round(time.Hour)] = true
					}
				}
			}
			if hours > 0 && !left[time.Duration(hours)*time.Hour] || hours == 0 && len(left) != 0 {
				t.Errorf("%q: the old one goes on for %v, want %d hours", body, left, hours)
			}
		}
		for _, hours := range []string{"-1", "8761", "2147483647", "2562048", "-2562048"} {
			id, _ := alice.create(`{"label":"CI scripts"}`)
			if refused := alice.expect(http.StatusBadRequest, "POST", "/"+id+"/rotate", `{"overlapHours":`+hours+`}`); !refused.says(t, w, "overlapHours", "0 to 8760") {
				t.Errorf("%s: %s", hours, refused.body)
			}
		}
	})
}

// Four secrets at most go on at once: the oldest is not thrown out for a new one.
func TestFourSecrets(t *testing.T) {
	eachProduct(t, func(t *testing.T, w *portaltest.World) {
		alice := session(t, w, "alice")
		id, text := alice.create(`{"label":"CI scripts"}`)
		texts := []string{text}
		for range 3 {
			texts = append(texts, alice.expect(http.StatusOK, "POST", "/"+id+"/rotate", "").text(t, "token"))
		}
		if refused := alice.expect(http.StatusConflict, "POST", "/"+id+"/rotate", ""); !refused.says(t, w, "", "last 4 secrets") {
			t.Error(refused.body)
		}
		for _, text := range texts {
			alice.bearer("alice", text).expect(http.StatusOK, "GET", "/", "")
		}
		// Without an overlap there is room as soon as the current one is gone.
		now := alice.expect(http.StatusOK, "POST", "/"+id+"/rotate", `{"overlapHours":0}`).text(t, "token")
		alice.bearer("alice", texts[3]).expect(http.StatusUnauthorized, "GET", "/", "")
		for _, text := range append(texts[:3], now) {
			alice.bearer("alice", text).expect(http.StatusOK, "GET", "/", "")
		}
	})
}

// Rotations at the same time are one after the other: whoever was answered has a secret that verifies.
func TestRotationsInARace(t *testing.T) {
	w := env.Jira(t)
	alice := session(t, w, "alice")
	id, _ := alice.create(`{"label":"CI scripts"}`)
	answers := make(chan answer, 8)
	var group sync.WaitGroup
	for range cap(answers) {
		group.Go(func() {
			if a, err := alice.try("POST", "/"+id+"/rotate", ""); err == nil {
				answers <- a
			}
		})
	}
	group.Wait()
	close(answers)
	made := 0
	for a := range answers {
		if a.status == http.StatusOK {
			made++
			alice.bearer("alice", a.text(t, "token")).expect(http.StatusOK, "GET", "/", "")
		} else if a.status != http.StatusConflict {
			t.Errorf("%d %s", a.status, a.body)
		}
	}
	if made == 0 || made > 3 {
		t.Errorf("%d rotations, want 1 to 3", made)
	}
}

// A rotation may not break a rule of the site that came after the token.
func TestRotationKeepsToThePolicy(t *testing.T) {
	w := env.Jira(t)
	alice := session(t, w, "alice")
	id, _ := alice.create(`{"label":"for ever"}`)
	policy(t, w, func(s *tokensv1alpha1.AtlassianSite) {
		s.Spec.TokenPolicy.NeverExpiring = tokensv1alpha1.NeverExpiringForbidden
	})
	var last answer
	for range 200 {
		if last = alice.send("POST", "/"+id+"/rotate", `{"overlapHours":0}`); last.status != http.StatusOK {
			break
		}
	}
	if last.status != http.StatusConflict || !strings.Contains(last.body, "must end") {
		t.Errorf("%d %s", last.status, last.body)
	}
}
