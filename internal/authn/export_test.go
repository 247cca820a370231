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

// PassSlot lets the first of those that wait have a place, and takes it back when it is given back.
func (ix *Index) PassSlot() {
	<-ix.imported.slots
	ix.imported.slots <- struct{}{}
}
