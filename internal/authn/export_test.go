package authn

// HoldSlots occupies n of the slots in which slow hashes are computed, until release is called.
func (ix *Index) HoldSlots(n int) (release func()) {
	for range n {
		ix.imported.slots <- struct{}{}
	}
	return func() {
		for range n {
			<-ix.imported.slots
		}
	}
}

// PassSlot gives a slot to the first request that waits, and occupies it again afterwards.
func (ix *Index) PassSlot() {
	<-ix.imported.slots
	ix.imported.slots <- struct{}{}
}
