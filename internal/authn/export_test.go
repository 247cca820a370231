package authn

import "context"

// HoldSlots occupies n of the slots in which slow hashes are computed, until release is called.
func (ix *Index) HoldSlots(n int) (release func()) {
	for range n {
		ix.slowHashes.slots.acquire(context.Background(), false)
	}
	return func() {
		for range n {
			ix.slowHashes.slots.release()
		}
	}
}

// PassSlot gives a slot to the requests that wait, and occupies it again after them.
func (ix *Index) PassSlot() {
	ix.slowHashes.slots.release()
	ix.slowHashes.slots.acquire(context.Background(), true)
}

// RejectMany remembers n wrong texts for an imported token. It returns how many of them are still known, and the first one.
func (ix *Index) RejectMany(uid string, n int) (known, first int) {
	memory := ix.entries.find(uid).more().slow
	for i := range n {
		memory.remember(mac{byte(i), byte(i >> 8)}, false, ix.now())
	}
	for i := n - 1; i >= 0; i-- {
		if _, remembered := memory.recall(mac{byte(i), byte(i >> 8)}, ix.now()); remembered {
			known, first = known+1, i
		}
	}
	return known, first
}
