package authn

import "sync"

// lock is a lock that is held to read far more often than to write. A reader takes one of its parts, and a writer all. With a single
// part, cores that only read would wait for each other: each writes the number of its readers.
type lock [8]struct {
	sync.RWMutex

	_ [40]byte // no two parts share 64 bytes, which a core takes from another as a whole
}

// read locks one part for reading, and returns it for the caller to unlock. The number chooses the part. Decisions that run side by side
// should have different numbers. All other readers are rare, and take part 0.
func (l *lock) read(number uint32) *sync.RWMutex {
	part := &l[number%uint32(len(l))].RWMutex
	part.RLock()
	return part
}

// Lock locks for writing.
func (l *lock) Lock() {
	for i := range l {
		l[i].Lock()
	}
}

// Unlock ends writing.
func (l *lock) Unlock() {
	for i := range l {
		l[i].Unlock()
	}
}
