package authn

import (
	"bytes"
	"crypto/hmac"
	"crypto/rand"
	"crypto/sha256"
	"sync"
	"time"

	"apitokens.dev/operator/internal/record"
)

// Weak imported secrets have slow hashes. The work that requests can cause is bounded:
//
//   - one request computes at most record.MaxSlow hashes
//   - requests for one user of one site are served one after the other, and at most maxWaiting of them wait
//   - all users share maxComputing slots, and take turns: a slot computes one hash, then the next user has it
//
// So a flood of requests for one user delays another one by the time of one hash.
const (
	maxComputing = 2
	maxWaiting   = 32
	// maxRejected is the number of texts that are remembered for one hash because they did not match it. They are
	// remembered for rejectedFor: scripts repeat a wrong password, and people their password of the product.
	maxRejected = 64
	rejectedFor = 10 * time.Second
)

// mac is a keyed hash of a text. The key never leaves the process.
type mac = [sha256.Size]byte

// slowHashes computes slow hashes. It has its own lock, and is used without that of the index.
type slowHashes struct {
	key   mac
	slots chan struct{}
	mu    sync.Mutex
	lines map[siteUser]*line
}

// line is the queue of the requests for one user of one site.
type line struct {
	waiting int
	// turn is held by the request that is served.
	turn chan struct{}
}

func newSlowHashes() *slowHashes {
	h := &slowHashes{slots: make(chan struct{}, maxComputing), lines: map[siteUser]*line{}}
	_, _ = rand.Read(h.key[:]) // never fails
	return h
}

// slowHashAttempt is what one request knows of slow hashes. The zero value knows nothing.
type slowHashAttempt struct {
	user siteUser
	// text is the presented secret, and mac its keyed hash. text is nil until the first slow hash is met.
	text []byte
	mac  mac
	// pending are the hashes to compute. computed is the number of those that did not match.
	pending  []*entry
	computed int
}

// start sets the text that is compared. Only the first call has an effect.
func (a *slowHashAttempt) start(user siteUser, text []byte, h *slowHashes) {
	if a.text == nil {
		a.user, a.text = user, bytes.Clone(text)
		a.mac = h.hash(a.text)
	}
}

// add lists a hash as pending, unless the request has too many.
func (a *slowHashAttempt) add(e *entry) {
	if len(a.pending)+a.computed < record.MaxSlow {
		a.pending = append(a.pending, e)
	}
}

// compute computes the pending hashes until one matches, and remembers the results. It returns false if too many requests
// for the user wait already. Requests with the same text that waited find the result remembered.
func (h *slowHashes) compute(a *slowHashAttempt, now func() time.Time) bool {
	l := h.enter(a.user)
	if l == nil {
		return false
	}
	defer h.exit(a.user, l)
	for _, e := range a.pending {
		known := e.slow.recall(a.mac, now())
		if known == unknown {
			known = h.verify(e, a)
			e.slow.remember(a.mac, known, now())
		}
		if known == matches {
			return true
		}
		a.computed++
	}
	return true
}

// enter waits for the turn of a request. It returns nil if too many requests for the user wait.
func (h *slowHashes) enter(user siteUser) *line {
	h.mu.Lock()
	l := h.lines[user]
	if l == nil {
		l = &line{turn: make(chan struct{}, 1)}
		h.lines[user] = l
	}
	if l.waiting == maxWaiting {
		h.mu.Unlock()
		return nil
	}
	l.waiting++
	h.mu.Unlock()
	l.turn <- struct{}{}
	return l
}

// exit ends the turn of a request.
func (h *slowHashes) exit(user siteUser, l *line) {
	<-l.turn
	h.mu.Lock()
	defer h.mu.Unlock()
	if l.waiting--; l.waiting == 0 {
		delete(h.lines, user)
	}
}

// verify computes one hash. Users wait for a slot in the order in which they come.
func (h *slowHashes) verify(e *entry, a *slowHashAttempt) result {
	h.slots <- struct{}{}
	defer func() { <-h.slots }()
	if e.record.Entries[0].Hash.Verify(a.text) {
		return matches
	}
	return differs
}

func (h *slowHashes) hash(text []byte) mac {
	m := hmac.New(sha256.New, h.key[:])
	_, _ = m.Write(text)
	return mac(m.Sum(nil))
}

// result is the result of comparing a text with a hash.
type result int

const (
	// unknown: the hash was not computed for the text, or not lately.
	unknown result = iota
	matches
	differs
)

func (r result) String() string { return [...]string{"unknown", "matches", "differs"}[r] }

// slowMemory remembers the results for one slow hash, by the keyed hash of the text.
type slowMemory struct {
	mu       sync.Mutex
	verified *mac
	// rejected is a ring. next is the index of the oldest one.
	rejected []rejection
	next     int
}

type rejection struct {
	mac   mac
	until time.Time
}

// recall returns the remembered result for a text.
func (s *slowMemory) recall(m mac, now time.Time) result {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.verified != nil && hmac.Equal(s.verified[:], m[:]) {
		return matches
	}
	for i := range s.rejected {
		if r := &s.rejected[i]; hmac.Equal(r.mac[:], m[:]) && now.Before(r.until) {
			return differs
		}
	}
	return unknown
}

// remember stores the result for a text.
func (s *slowMemory) remember(m mac, r result, now time.Time) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if r == matches {
		s.verified = &m
		return
	}
	rejected := rejection{m, now.Add(rejectedFor)}
	if len(s.rejected) < maxRejected {
		s.rejected = append(s.rejected, rejected)
		return
	}
	s.rejected[s.next] = rejected
	s.next = (s.next + 1) % maxRejected
}
