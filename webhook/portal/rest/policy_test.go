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
		site   tokensv1alpha1.TokenPolicy
		fields string
		field  string // nothing if it is allowed
		days   int    // until its end, 0 for none
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
			got := alice.send("POST", "/", `{"label":"CI scripts"`+tc.fields+`}`)
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
		for _, as := range []client{alice, alice.withToken("alice", text)} {
			if refused := as.expect(http.StatusConflict, "POST", "/", `{"label":"4"}`); !refused.says(t, w, "", "which is 3.") {
				t.Error(refused.body)
			}
		}
		session(t, w, "bob").create(`{"label":"bob's"}`)
		alice.expect(http.StatusNoContent, "DELETE", "/"+first, "")
		alice.create(`{"label":"4"}`)
		alice.expect(http.StatusConflict, "POST", "/", `{"label":"5"}`)
	}, func(s *tokensv1alpha1.AtlassianSite) { s.Spec.TokenPolicy.MaxTokensPerUser = new(int32(3)) })
}

// Concurrent requests never exceed the quota, and refused ones do not count.
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

// Nothing is issued before the site's `issuedAfter`. Tokens that were issued before are invalid until they are rotated.
func TestIssuedAfter(t *testing.T) {
	eachProduct(t, func(t *testing.T, w *portaltest.World) {
		alice := session(t, w, "alice")
		id, text := alice.create(`{"label":"before"}`)
		epoch := time.Now().Add(2 * time.Second).Truncate(time.Second)
		policy(t, w, func(s *tokensv1alpha1.AtlassianSite) { s.Spec.IssuedAfter = metav1.NewTime(epoch) })
		eventually(t, alice.withToken("alice", text), http.StatusUnauthorized)
		// The cache may be milliseconds behind the index: a token that is still created is invalid from the start.
		kubetest.Eventually(t, func() error {
			if a := alice.send("POST", "/", `{"label":"too early"}`); a.status != http.StatusConflict {
				return fmt.Errorf("a token before the epoch: %d", a.status)
			}
			return nil
		})
		if state := alice.expect(http.StatusOK, "GET", "/"+id, "").text(t, "state"); state != "Revoked" {
			t.Errorf("state is %s", state)
		}
		for time.Now().Before(epoch.Add(-100 * time.Millisecond)) {
			for _, path := range []string{"/", "/" + id + "/rotate"} {
				body := map[bool]string{true: `{"label":"too early"}`}[path == "/"]
				a := alice.send("POST", path, body)
				if a.status != http.StatusConflict && time.Now().Before(epoch) {
					t.Errorf("%s: %d %s", path, a.status, a.body)
				}
			}
		}
		var again answer
		for again = alice.send("POST", "/"+id+"/rotate", ""); again.status == http.StatusConflict; again = alice.send("POST", "/"+id+"/rotate", "") {
		}
		alice.withToken("alice", again.text(t, "token")).expect(http.StatusOK, "GET", "/", "")
		alice.withToken("alice", text).expect(http.StatusUnauthorized, "GET", "/", "")
	})
}

// Tokens expire by themselves, and the state shows it.
func TestExpired(t *testing.T) {
	eachProduct(t, func(t *testing.T, w *portaltest.World) {
		alice := session(t, w, "alice")
		id, text := alice.create(`{"label":"short","expiresAt":` + millis(time.Now().Add(2500*time.Millisecond)) + `}`)
		alice.withToken("alice", text).expect(http.StatusOK, "GET", "/", "")
		eventually(t, alice.withToken("alice", text), http.StatusUnauthorized)
		if state := alice.expect(http.StatusOK, "GET", "/"+id, "").text(t, "state"); state != "Expired" {
			t.Errorf("state is %s", state)
		}
		if refused := alice.expect(http.StatusConflict, "POST", "/"+id+"/rotate", ""); !refused.says(t, w, "", "expired at") {
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
	eventually(t, alice.withToken("alice", text), http.StatusUnauthorized)
	again := alice.expect(http.StatusOK, "POST", "/"+id+"/rotate", "")
	if again.text(t, "state") != "Suspended" {
		t.Errorf("rotated, it is %s", again.body)
	}
	alice.withToken("alice", again.text(t, "token")).expect(http.StatusUnauthorized, "GET", "/", "")
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
			alice.withToken("alice", rotated.text(t, "token")).expect(http.StatusOK, "GET", "/"+id, "")
			want := http.StatusOK
			if hours == 0 {
				want = http.StatusUnauthorized
			}
			alice.withToken("alice", old).expect(want, "GET", "/"+id, "")
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
			if refused := alice.expect(http.StatusBadRequest, "POST", "/"+id+"/rotate", `{"overlapHours":`+hours+`}`); !refused.says(t, w, "overlapHours", "from 0 to 8760") {
				t.Errorf("%s: %s", hours, refused.body)
			}
		}
	})
}

// At most four secrets are valid at once. A new one does not replace the oldest.
func TestFourSecrets(t *testing.T) {
	eachProduct(t, func(t *testing.T, w *portaltest.World) {
		alice := session(t, w, "alice")
		id, text := alice.create(`{"label":"CI scripts"}`)
		texts := []string{text}
		for range 3 {
			texts = append(texts, alice.expect(http.StatusOK, "POST", "/"+id+"/rotate", "").text(t, "token"))
		}
		if refused := alice.expect(http.StatusConflict, "POST", "/"+id+"/rotate", ""); !refused.says(t, w, "", "4 valid secrets") {
			t.Error(refused.body)
		}
		for _, text := range texts {
			alice.withToken("alice", text).expect(http.StatusOK, "GET", "/", "")
		}
		if shown := alice.expect(http.StatusOK, "GET", "/"+id, ""); !strings.Contains(shown.body, `"olderSecrets":{"count":3,"until":`) {
			t.Error(shown.body)
		}
		// An overlap of zero ends all of them, also those that an earlier rotation gave longer.
		now := alice.expect(http.StatusOK, "POST", "/"+id+"/rotate", `{"overlapHours":0}`)
		if strings.Contains(now.body, "olderSecrets") {
			t.Error(now.body)
		}
		for _, text := range texts {
			alice.withToken("alice", text).expect(http.StatusUnauthorized, "GET", "/", "")
		}
		alice.withToken("alice", now.text(t, "token")).expect(http.StatusOK, "GET", "/", "")
	})
}

// Concurrent rotations run one after the other. Every secret that was shown is valid.
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
			alice.withToken("alice", a.text(t, "token")).expect(http.StatusOK, "GET", "/", "")
		} else if a.status != http.StatusConflict {
			t.Errorf("%d %s", a.status, a.body)
		}
	}
	if made == 0 || made > 3 {
		t.Errorf("%d rotations, want 1 to 3", made)
	}
}

// A rotation must not break a rule that the site introduced after the token was created.
func TestRotationKeepsPolicy(t *testing.T) {
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
	if last.status != http.StatusConflict || !strings.Contains(last.body, "must expire") {
		t.Errorf("%d %s", last.status, last.body)
	}
}
