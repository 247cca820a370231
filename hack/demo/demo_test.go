package main

import (
	"testing"

	"apitokens.dev/operator/hack/rig"
)

// The demo is the end-to-end test: each of its steps checks what it shows.
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
	for _, step := range steps {
		if !t.Run(step.title, func(t *testing.T) {
			if err := step.run(s, t.Context()); err != nil {
				t.Fatal(err)
			}
		}) {
			return // every step stands on the one before
		}
	}
}
