package apitoken

import (
	"strconv"
	"testing"
	"time"

	"k8s.io/apimachinery/pkg/types"
)

// APITokens that are gone before they have a record leave nothing for long, whether their deletion is seen before a pass over them, after it
// or never. What was asked lately is remembered, though the time of a pass may be before that of an earlier one.
func TestOwnersForget(t *testing.T) {
	questions := 0
	o := NewOwners(func(types.NamespacedName, string, func(string, string)) { questions++ })
	s := ready()
	s.record, s.delivered, s.pat = nil, nil, pat{held: true, userKey: "K1"}
	began := now
	for i := range 1000 {
		s.now, s.token.UID = began.Add(time.Duration(i)*time.Minute-time.Duration(i%2)*90*time.Second), types.UID(strconv.Itoa(i))
		if !o.await(s) || o.await(state{now: s.now.Add(ownerWait), token: s.token, site: s.site, pat: s.pat}) || questions != i+1 {
			t.Fatalf("APIToken %d does not wait for one answer after %d questions", i, questions)
		}
		if early := types.UID(strconv.Itoa(i - 55)); i >= 55 && o.find(early) == nil {
			t.Fatalf("APIToken %s is forgotten within an hour", early)
		}
	}
	if kept := len(o.asked) + len(o.before); kept > 125 {
		t.Errorf("%d of 1000 APITokens are remembered after %s", kept, s.now.Sub(began))
	}
}
