package authn

import (
	"bytes"
	"context"
	"crypto/hmac"
	"crypto/rand"
	"crypto/sha256"
	"slices"
	"sync"
	"time"

	"apitokens.dev/operator/internal/record"
)

// Weak imported secrets have slow hashes. The work that requests can cause is bounded:
//
//   - one request computes at most record.MaxSlow hashes
//   - requests for one user of one site are served one after the other, and at most maxWaiting of them wait
//   - all users share maxComputing slots, and take turns: a slot computes one hash, then the next user has it
//   - users at whom nobody guessed in the last guessedFor come first
//   - no request waits longer than maxWait, because gateways give up after 5 seconds
//
// So a flood of guesses at one user, or at many, delays everybody else by the time of one hash. Only the first guess at each
// user counts as anybody's request.
const (
	maxComputing = 2
	maxWaiting   = 32
	maxWait      = 3 * time.Second
	guessedFor   = 15 * time.Minute
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
	slots slots
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
	h := &slowHashes{slots: slots{free: maxComputing}, lines: map[siteUser]*line{}}
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
	// forLog says that the pending hashes are of dead secrets. Only the reason in the log depends on them.
	forLog bool
	// deadline ends all waiting of the request. It is zero until the request waits for the first time.
	deadline time.Time
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
// for the user wait already, or if this one waited for maxWait. Requests with the same text that waited find the result
// remembered.
func (h *slowHashes) compute(a *slowHashAttempt, now func() time.Time) bool {
	if a.deadline.IsZero() {
		a.deadline = time.Now().Add(maxWait)
	}
	ctx, cancel := context.WithDeadline(context.Background(), a.deadline)
	defer cancel()
	l := h.enter(ctx, a.user)
	if l == nil {
		return false
	}
	defer h.exit(a.user, l)
	guessed := slices.ContainsFunc(a.pending, func(e *entry) bool { return e.more().slow.guessed(now()) })
	for _, e := range a.pending {
		matches, known := e.more().slow.recall(a.mac, now())
		if !known {
			if !h.slots.acquire(ctx, guessed) {
				return false
			}
			matches = h.verify(e, a)
			e.more().slow.remember(a.mac, matches, now())
		}
		if matches {
			return true
		}
		a.computed++
	}
	return true
}

// enter waits for the turn of a request. It returns nil if too many requests for the user wait, or if ctx is done first.
func (h *slowHashes) enter(ctx context.Context, user siteUser) *line {
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
	select {
	case l.turn <- struct{}{}:
		return l
	case <-ctx.Done():
		h.drop(user, l)
		return nil
	}
}

// exit ends the turn of a request.
func (h *slowHashes) exit(user siteUser, l *line) {
	<-l.turn
	h.drop(user, l)
}

// drop takes a request out of its line, which ends with its last one.
func (h *slowHashes) drop(user siteUser, l *line) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if l.waiting--; l.waiting == 0 {
		delete(h.lines, user)
	}
}

// verify computes one hash in a slot, and gives the slot back.
func (h *slowHashes) verify(e *entry, a *slowHashAttempt) bool {
	defer h.slots.release()
	return e.firstHash().Verify(a.text)
}

func (h *slowHashes) hash(text []byte) mac {
	m := hmac.New(sha256.New, h.key[:])
	_, _ = m.Write(text)
	return mac(m.Sum(nil))
}

// slowMemory remembers which texts match one slow hash and which do not, by the keyed hash of the text.
type slowMemory struct {
	mu       sync.Mutex
	verified *mac
	// rejected is a ring. next is the index of the oldest one.
	rejected []rejection
	next     int
	// guess is the time of the last wrong text. Zero means never.
	guess time.Time
}

type rejection struct {
	mac   mac
	until time.Time
}

// recall reports whether a text matches, if that is known. It is not known if the hash was not computed for the text, or not
// lately.
func (s *slowMemory) recall(m mac, now time.Time) (matches, known bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.verified != nil && hmac.Equal(s.verified[:], m[:]) {
		return true, true
	}
	for i := range s.rejected {
		if r := &s.rejected[i]; hmac.Equal(r.mac[:], m[:]) && now.Before(r.until) {
			return false, true
		}
	}
	return false, false
}

// guessed reports whether a wrong text was presented lately.
func (s *slowMemory) guessed(now time.Time) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return now.Before(s.guess.Add(guessedFor))
}

// remember stores whether a text matches.
func (s *slowMemory) remember(m mac, matches bool, now time.Time) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if matches {
		s.verified = &m
		return
	}
	s.guess = now
	rejected := rejection{m, now.Add(rejectedFor)}
	if len(s.rejected) < maxRejected {
		s.rejected = append(s.rejected, rejected)
		return
	}
	s.rejected[s.next] = rejected
	s.next = (s.next + 1) % maxRejected
}
