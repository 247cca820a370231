package main

import (
	"slices"
	"testing"

	"apitokens.dev/operator/hack/lib/rig"
)

// The demo is an end-to-end test: each step checks what it shows. Checks that the demo does not show follow.
func TestStory(t *testing.T) {
	r, err := rig.Start(t.Context(), t.Output())
	t.Cleanup(func() {
		if err := r.Stop(); err != nil {
			t.Error(err)
		}
	})
	if err != nil {
		t.Fatal(err)
	}
	s := &story{Rig: r, out: t.Output()}
	told := append(slices.Clone(steps),
		step{"Cookies go neither way with a token", (*story).checkCookies},
		step{"Identity headers of a client never reach the product", (*story).checkIdentityHeaders},
		step{"From outside, the door is shut", (*story).checkDoor},
		step{"A deletion counts with the controller stopped", (*story).checkWithoutController},
		step{"With the API server stopped everything goes on", (*story).checkWithoutAPIServer},
	)
	for _, step := range told {
		if !t.Run(step.title, func(t *testing.T) {
			if err := step.run(s, t.Context()); err != nil {
				t.Fatal(err)
			}
		}) {
			return // every step stands on the one before
		}
	}
}
