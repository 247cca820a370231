package authn

// HoldSlots takes so many of the places where slow hashes are computed, until it is told to release them.
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
