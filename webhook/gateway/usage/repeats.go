package usage

import (
	"encoding/binary"
	"hash/maphash"
	"sync/atomic"
)

// slots is the number of last uses that repeats can keep. Each takes 8 bytes.
const slots = 1 << 14

// repeats knows uses that the queue has had already. A busy token is used many times a second, and only the first use of a second from
// an address changes the queue. repeats finds that out without a lock, and reads one place of a small table. The queue would read several
// places of a large map. A use that repeats does not know goes to the queue, which may have had it too.
type repeats struct {
	seed maphash.Seed
	// last has a hash of the last use of a token in each slot.
	last [slots]atomic.Uint64
}

func newRepeats() *repeats { return &repeats{seed: maphash.MakeSeed()} }

// of returns the slot of a token, and the hash of this use. Tokens may share a slot: then each use of one removes that of the other. Two
// uses have the same hash once in 2^63, and nobody can choose them, because the seed is secret.
func (r *repeats) of(u *Use) (last *atomic.Uint64, use uint64) {
	token := maphash.String(r.seed, u.Token.UID)
	var all [32]byte
	binary.LittleEndian.PutUint64(all[:], token)
	binary.LittleEndian.PutUint64(all[8:], uint64(u.Second)<<8|uint64(u.From.BitLen())) // 0 bits mean that there is no address
	from := u.From.As16()
	copy(all[16:], from[:])
	return &r.last[token%slots], maphash.Bytes(r.seed, all[:]) | 1
}
