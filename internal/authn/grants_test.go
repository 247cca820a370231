package authn

import (
	"fmt"
	"math/rand/v2"
	"testing"
)

// Whatever is added, replaced and removed, each user has what they were given last, and nobody else has anything.
func TestGrantsAgainstModel(t *testing.T) {
	random := rand.New(rand.NewPCG(1, 2))
	g, want := newGrants(), map[string]actingCredential{}
	user := func() string { return fmt.Sprint("user-", random.IntN(50)) }
	for step := range 20_000 {
		name := user()
		// Grow and shrink in turn.
		if random.IntN(10) < 3+4*(step/1000%2) {
			want[name] = actingCredential{authorization: fmt.Sprint("Bearer ", step)}
			g.put(name, want[name])
		} else {
			delete(want, name)
			g.remove(name)
		}
		name = user()
		acts, _ := g.of(name)
		switch acting, there := want[name]; {
		case (acts != nil) != there, there && *acts != acting:
			t.Fatalf("step %d: %s has %v, want %v (%t)", step, name, acts, acting, there)
		case len(g.list) != len(want) || g.byUser.used != len(want):
			t.Fatalf("step %d: %d users in %d cells, want %d", step, len(g.list), g.byUser.used, len(want))
		}
	}
	for name := range want {
		g.remove(name)
	}
	for _, left := range g.list[:cap(g.list)] {
		if left != (grant{}) {
			t.Errorf("the memory of a removed user still has %v", left)
		}
	}
	if acts, _ := (*grants)(nil).of("user-1"); acts != nil {
		t.Error("a site without credentials has one")
	}
}

// Two users may have the same hash. Each has what is theirs, and neither has anything of the other.
func TestUsersWithTheSameHash(t *testing.T) {
	g := newGrants()
	one, other := "", ""
	for seen, i := map[uint32]string{}, 0; other == ""; i++ {
		name := fmt.Sprint("user-", i)
		hash := g.hash(name)
		one, other, seen[hash] = name, seen[hash], name
	}
	theirs := func(name string) string {
		if acting, _ := g.of(name); acting != nil {
			return acting.authorization
		}
		return ""
	}
	check := func(when, wantOne, wantOther string) {
		t.Helper()
		if theirs(one) != wantOne || theirs(other) != wantOther {
			t.Errorf("%s: %s has %q, want %q; %s has %q, want %q", when, one, theirs(one), wantOne, other, theirs(other), wantOther)
		}
	}
	g.put(one, actingCredential{authorization: "one"})
	check("only the first is there", "one", "")
	g.put(other, actingCredential{authorization: "other"})
	check("both are there", "one", "other")
	g.remove(one)
	check("the second is left", "", "other")
}
