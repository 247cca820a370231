package authn

import (
	"bytes"
	"crypto/hmac"
	"crypto/rand"
	"crypto/sha256"
	"slices"
	"sync/atomic"

	"apitokens.dev/operator/internal/record"
	"apitokens.dev/operator/internal/username"
)

// Imported secrets carry no id: they are found by user, and each of the user's is tried. Weak ones are hashed slowly, so
// what is tried is bounded: how many a user may have, how many are computed at once, and how many requests wait for it.
const (
	maxComputing = 2
	maxWaiting   = 32
)

// imports are the complete imported tokens.
type imports struct {
	byUser map[credentialKey][]*entry
	// key is what the texts that verified are hashed with: it never leaves the process.
	key     [sha256.Size]byte
	slots   chan struct{}
	waiting *atomic.Int64
}

func newImports() imports {
	i := imports{byUser: map[credentialKey][]*entry{}, slots: make(chan struct{}, maxComputing), waiting: &atomic.Int64{}}
	_, _ = rand.Read(i.key[:]) // never fails
	return i
}

func (i *imports) size() (n int) {
	for _, entries := range i.byUser {
		n += len(entries)
	}
	return n
}

func (i *imports) add(e *entry) {
	k := credentialKey{e.site, e.record.User}
	i.byUser[k] = append(i.byUser[k], e)
}

func (i *imports) remove(e *entry) {
	k := credentialKey{e.site, e.record.User}
	left := slices.DeleteFunc(i.byUser[k], func(other *entry) bool { return other == e })
	if i.byUser[k] = left; len(left) == 0 {
		delete(i.byUser, k)
	}
}

// trial is what one request knows of slow hashes: those that have to be computed, and those that were and are not it.
type trial struct {
	pending, failed []*entry
	password        []byte
}

// find returns the one imported token that a credential is, or nothing, or why there is none although it could be.
// It lists in the trial what has to be computed before that is known.
func (i *imports) find(c credential, at SiteName, t *trial) (found *entry, wrong Reason) {
	username.FoldInPlace(c.user)
	entries := i.byUser[credentialKey{at, string(c.user)}]
	for _, e := range entries[:min(len(entries), record.MaxImported)] {
		switch {
		case !i.verifies(e, c.password, t):
		case found != nil:
			return nil, ReasonAmbiguousToken
		default:
			found = e
		}
	}
	switch {
	case found != nil:
		t.pending = nil
	case t.pending != nil:
		t.password = bytes.Clone(c.password)
	}
	return found, ""
}

// verifies reports whether a text is the secret of an entry. Of a slow one it is known only if it verified before.
func (i *imports) verifies(e *entry, text []byte, t *trial) bool {
	hash := &e.record.Entries[0].Hash
	if !hash.Slow() {
		return hash.Verify(text)
	}
	if i.remembers(e, text) {
		return true
	}
	if !slices.Contains(t.failed, e) && len(t.pending)+len(t.failed) < record.MaxSlow {
		t.pending = append(t.pending, e)
	}
	return false
}

func (i *imports) remembers(e *entry, text []byte) bool {
	known := e.verified.Load()
	return known != nil && hmac.Equal(known[:], i.mac(text))
}

// compute verifies what is pending, without the lock, and remembers what verifies. It fails if too many wait already.
// Of a crowd that comes with the same text, those that waited find it remembered.
func (i *imports) compute(t *trial) bool {
	defer i.waiting.Add(-1)
	if i.waiting.Add(1) > maxWaiting {
		return false
	}
	i.slots <- struct{}{}
	defer func() { <-i.slots }()
	for _, e := range t.pending {
		if i.remembers(e, t.password) {
			break
		}
		if e.record.Entries[0].Hash.Verify(t.password) {
			e.verified.Store((*[sha256.Size]byte)(i.mac(t.password)))
			break
		}
		t.failed = append(t.failed, e)
	}
	return true
}

func (i *imports) mac(text []byte) []byte {
	m := hmac.New(sha256.New, i.key[:])
	_, _ = m.Write(bytes.Clone(text)) // so that what is asked about need not lie on the heap
	return m.Sum(nil)
}
