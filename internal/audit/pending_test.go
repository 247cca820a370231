package audit

import (
	"bytes"
	"math/rand/v2"
	"testing"
)

// All lines come out in their order, in pieces that were never copied to a larger one. A line that is longer than a piece is one of its own.
func TestPendingLines(t *testing.T) {
	random := rand.New(rand.NewPCG(1, 2))
	var p pending
	var added, taken bytes.Buffer
	for n := range 20_000 {
		line := bytes.Repeat([]byte{byte(n)}, 1+random.IntN(500))
		if n%5000 == 0 {
			line = bytes.Repeat(line, writeSize)
		}
		added.Write(line)
		if enough := p.append(line); enough != (len(p.last) == len(line) && len(p.full) >= enoughPieces) {
			t.Fatalf("line %d: %d pieces are enough: %v", n, len(p.full), enough)
		}
		if random.IntN(3000) > 0 {
			continue
		}
		for _, piece := range p.take() {
			taken.Write(piece)
			if cap(piece) != writeSize && len(piece) < writeSize {
				t.Errorf("a piece has room for %d bytes", cap(piece))
			}
			p.put(piece)
		}
		if p.size != 0 || len(p.free) > maxFree {
			t.Fatalf("%d bytes are left, and %d pieces are kept", p.size, len(p.free))
		}
	}
	for _, piece := range p.take() {
		taken.Write(piece)
	}
	if !bytes.Equal(added.Bytes(), taken.Bytes()) {
		t.Error("other lines came out")
	}
}
