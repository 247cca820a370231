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

// An imported secret has no id in it. It is found by its user, and each secret of the user is compared. Weak ones have slow
// hashes, so the work is bounded: how many secrets a user may have, how many slow hashes are computed at the same time, and
// how many requests wait for that.
const (
	maxComputing = 2
	maxWaiting   = 32
)

// importedTokens are the complete imported tokens.
type importedTokens struct {
	byUser map[credentialKey][]*entry
	// key is the key of the hashes of texts that verified. It never leaves the process.
	key     [sha256.Size]byte
	slots   chan struct{}
	waiting *atomic.Int64
}

func newImportedTokens() importedTokens {
	i := importedTokens{byUser: map[credentialKey][]*entry{}, slots: make(chan struct{}, maxComputing), waiting: &atomic.Int64{}}
	_, _ = rand.Read(i.key[:]) // never fails
	return i
}

func (i *importedTokens) size() (n int) {
	for _, entries := range i.byUser {
		n += len(entries)
	}
	return n
}

func (i *importedTokens) add(e *entry) {
	k := credentialKey{e.site, e.record.User}
	i.byUser[k] = append(i.byUser[k], e)
}

func (i *importedTokens) remove(e *entry) {
	k := credentialKey{e.site, e.record.User}
	left := slices.DeleteFunc(i.byUser[k], func(other *entry) bool { return other == e })
	if i.byUser[k] = left; len(left) == 0 {
		delete(i.byUser, k)
	}
}

// slowHashAttempt is what one request knows of slow hashes: those to compute, and those that did not match.
type slowHashAttempt struct {
	pending, failed []*entry
	password        []byte
}

// find returns the one imported token that a credential is, or nil. It returns a reason if there is more than one. The
// attempt lists the slow hashes that have to be computed first.
func (i *importedTokens) find(c credential, at SiteName, a *slowHashAttempt) (found *entry, reason Reason) {
	username.FoldInPlace(c.user)
	entries := i.byUser[credentialKey{at, string(c.user)}]
	for _, e := range entries[:min(len(entries), record.MaxImported)] {
		switch {
		case !i.verifies(e, c.password, a):
		case found != nil:
			return nil, ReasonAmbiguousToken
		default:
			found = e
		}
	}
	switch {
	case found != nil:
		a.pending = nil
	case a.pending != nil:
		a.password = bytes.Clone(c.password)
	}
	return found, ""
}

// verifies reports whether text is the secret of an entry. For a slow hash it can say so only if text verified before.
func (i *importedTokens) verifies(e *entry, text []byte, a *slowHashAttempt) bool {
	hash := &e.record.Entries[0].Hash
	if !hash.Slow() {
		return hash.Verify(text)
	}
	if i.remembers(e, text) {
		return true
	}
	if !slices.Contains(a.failed, e) && len(a.pending)+len(a.failed) < record.MaxSlow {
		a.pending = append(a.pending, e)
	}
	return false
}

func (i *importedTokens) remembers(e *entry, text []byte) bool {
	known := e.verified.Load()
	return known != nil && hmac.Equal(known[:], i.mac(text))
}

// compute computes the pending slow hashes and remembers the one that matches. Call it without the lock. It returns false
// if too many requests wait already. Requests with the same text that waited find it remembered.
func (i *importedTokens) compute(a *slowHashAttempt) bool {
	defer i.waiting.Add(-1)
	if i.waiting.Add(1) > maxWaiting {
		return false
	}
	i.slots <- struct{}{}
	defer func() { <-i.slots }()
	for _, e := range a.pending {
		if i.remembers(e, a.password) {
			break
		}
		if e.record.Entries[0].Hash.Verify(a.password) {
			e.verified.Store((*[sha256.Size]byte)(i.mac(a.password)))
			break
		}
		a.failed = append(a.failed, e)
	}
	return true
}

func (i *importedTokens) mac(text []byte) []byte {
	m := hmac.New(sha256.New, i.key[:])
	_, _ = m.Write(bytes.Clone(text)) // a copy, so that the caller's text need not be on the heap
	return m.Sum(nil)
}
