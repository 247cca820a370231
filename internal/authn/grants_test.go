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
		switch acting, there := want[name]; {
		case (g.of(name) != nil) != there, there && *g.of(name) != acting:
			t.Fatalf("step %d: %s has %v, want %v (%t)", step, name, g.of(name), acting, there)
		case len(g.list) != len(want) || g.byUser.used != len(want):
			t.Fatalf("step %d: %d users in %d cells, want %d", step, len(g.list), g.byUser.used, len(want))
		}
	}
	if (*grants)(nil).of("user-1") != nil {
		t.Error("a site without credentials has one")
	}
}
