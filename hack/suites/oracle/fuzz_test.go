package oracle

import (
	"math/rand/v2"
	"testing"
)

// FuzzOracle reads two series of bytes as the choices that make a world, and one question about it.
func FuzzOracle(f *testing.F) {
	for n := range uint64(100) {
		dice := rand.New(rand.NewPCG(n, 0))
		objects, asked := make([]byte, 600), make([]byte, 120)
		for _, of := range [][]byte{objects, asked} {
			for i := range of {
				of[i] = byte(dice.Uint32())
			}
		}
		f.Add(objects, asked)
		f.Add([]byte{}, asked)
		f.Add(objects, []byte{})
	}
	f.Fuzz(func(t *testing.T, objects, asked []byte) {
		l := newLife(&written{objects}, false)
		l.load()
		for range l.n(5) {
			l.step()
		}
		l.dice = &written{asked}
		q := l.question()
		want := l.world.judge(q)
		if got, wrong := l.core.ask(q); !got.is(want) || wrong != "" {
			t.Fatal(l.explain(q, got, want, wrong))
		}
		if path := l.world.exceeded(q, want); path != "" {
			t.Fatal(l.explain(q, want, want, "the product would run "+path))
		}
	})
}
