package usage

import (
	"encoding/binary"
	"hash/maphash"
	"sync/atomic"
)

// slots is how many last uses repeats remembers at most. Each takes 8 bytes.
const slots = 1 << 14

// repeats tells uses that the queue has had already. Busy tokens are used many times a second, and each use but the first would change
// nothing. To see that here reads one place of a small memory, where the queue reads several of a large one, and takes no lock. What is
// forgotten goes to the queue once more.
type repeats struct {
	seed maphash.Seed
	// last has what stands for the last use of a token.
	last [slots]atomic.Uint64
}

func newRepeats() *repeats { return &repeats{seed: maphash.MakeSeed()} }

// of returns where the last use of a token is, and what stands for this one there. Another token may have the same place. But nothing else
// stands for another use: it has 63 bits, and nobody outside can know them.
func (r *repeats) of(u *Use) (last *atomic.Uint64, use uint64) {
	token := maphash.String(r.seed, u.Token.UID)
	var all [32]byte
	binary.LittleEndian.PutUint64(all[:], token)
	binary.LittleEndian.PutUint64(all[8:], uint64(u.Second)<<8|uint64(u.From.BitLen())) // without an address, this has 0 bits
	from := u.From.As16()
	copy(all[16:], from[:])
	return &r.last[token%slots], maphash.Bytes(r.seed, all[:]) | 1
}
