package credential

import (
	"errors"
	"hash/fnv"
	"slices"
	"strconv"
	"time"

	"apitokens.dev/operator/internal/atlassian"
	"apitokens.dev/operator/internal/enrolment"
	"apitokens.dev/operator/internal/upstream"
	"apitokens.dev/operator/internal/username"
)

const (
	// checkPeriod is how often the product is asked whose a personal access token is.
	checkPeriod = time.Hour
	// recheckPeriod is how often it is asked about one that it did not accept.
	recheckPeriod = time.Minute
	// lifetimeDays is the lifetime of a new personal access token. shortLifetimeDays is for a product that refuses it.
	lifetimeDays, shortLifetimeDays = 90, 30
	// settlePeriod is longer than the webhook's replicas take to use a new personal access token. It is also longer than a
	// user takes to store a new one and to create the APIToken that needs it.
	settlePeriod = 10 * time.Minute
	// sweepPeriod is how often the product is asked for personal access tokens that were left over.
	sweepPeriod = 24 * time.Hour
	// pastedPeriod is how long a pasted one is kept for a user without an APIToken. They would have to paste it again.
	pastedPeriod = 24 * time.Hour
)

// note is the memory of one working copy.
type note struct {
	// stored is when the copy was stored.
	stored time.Time
	// tried is when the product was last asked about it. The oldest comes first.
	tried time.Time
	// checkAt, retireAt and renewAt are the earliest times of these steps.
	checkAt, retireAt, renewAt time.Time
	// answered is when the product last said whose it is, as far as it is known. seen is the latest time at which another process may
	// have heard that: it writes one answer in each heardPeriod.
	answered, seen time.Time
	// owner is the user whom the product named at answered. It is nil until this process has asked.
	owner *atlassian.User
	// sweepAt is the earliest time at which to look for personal access tokens that were left over.
	sweepAt time.Time
	// stuck means that the product refused to make a new personal access token.
	stuck bool
}

// nextCheck returns the first time at or after earliest at which a working copy is due for a check. Its name gives the minute
// in each hour. So not all are due at once, and a restarted process knows the time too.
func nextCheck(name string, earliest time.Time) time.Time {
	return nextTurn(name, earliest, checkPeriod)
}

// nextTurn returns the first time at or after earliest at which it is a working copy's turn, which comes once in a period.
func nextTurn(name string, earliest time.Time, period time.Duration) time.Time {
	h := fnv.New64a()
	_, _ = h.Write([]byte(name)) // never fails
	next := earliest.Truncate(period).Add(time.Duration(h.Sum64() % uint64(period)))
	if next.Before(earliest) {
		next = next.Add(period)
	}
	return next
}

// checked records a successful check: the next one is in about an hour.
func (n *note) checked(name string, when time.Time) {
	n.answered, n.checkAt = when, nextCheck(name, when.Add(checkPeriod/2))
}

// swept records that nothing was left over. The copies of a site have their turn all over the day, whenever the first look was.
func (n *note) swept(name string, when time.Time) { n.sweepAt = nextTurn(name, when, sweepPeriod) }

// isAhead reports whether a time of the note is later than this process could have set it by now. Then the clock was ahead, and the
// note would put off its steps until then.
func (n *note) isAhead(now time.Time) bool {
	return n.tried.After(now) || n.checkAt.Sub(now) > 2*checkPeriod || n.retireAt.Sub(now) > checkPeriod || n.renewAt.Sub(now) > checkPeriod ||
		n.sweepAt.Sub(now) > sweepPeriod
}

// heardOf records a successful check with the owner whom the product named.
func (n *note) heardOf(owner atlassian.User, name string, when time.Time) {
	n.owner = &owner
	n.checked(name, when)
}

// state is all that the decision about a working copy rests on.
type state struct {
	now  time.Time
	name string
	// readable means that the Secret holds the credential that its name stands for.
	readable   bool
	credential upstream.Credential
	// listed means that `upstreamCredentials` has an entry for it, owned that its user has an APIToken at the site, and blocked
	// that `blockedUsers` names the user.
	listed, owned, blocked bool
	// wanted is the time since which somebody wants to know the name of its owner. It is zero if that is published, or nobody does.
	wanted time.Time
	// origin is that of the site's product. answering means that the product answers.
	origin    string
	answering bool
	*note
}

// step is the next thing to do about a working copy.
type step int

const (
	// leave: nothing to do, or nothing now.
	leave step = iota + 1
	// drop: remove the copy, without the product.
	drop
	// mark: mark the copy as ending, so that nobody relies on it any more without waiting.
	mark
	// disuse: mark the copy, so that the webhook stops using it before it is revoked.
	disuse
	// withdraw: have the product revoke the personal access token, then remove the copy.
	withdraw
	// check: ask the product whose it is.
	check
	// retire: have the product revoke the one that a renewal replaced.
	retire
	// renew: have the product make a new one, and store it instead.
	renew
)

var stepNames = map[step]string{
	leave: "leave", drop: "drop", mark: "mark", disuse: "disuse", withdraw: "withdraw", check: "check", retire: "retire", renew: "renew",
}

// String returns the name of a step.
func (s step) String() string {
	if name, ok := stepNames[s]; ok {
		return name
	}
	return "step(" + strconv.Itoa(int(s)) + ")"
}

// asks reports whether a step sends a request to the product.
func (s step) asks() bool { return s > disuse }

// next returns the next step. No step sends a credential to an origin other than its own.
func (s state) next() step {
	switch {
	case !s.readable:
		return leave // a later version may read it; else it is replaced, by its entry or its user
	case s.credential.Source == upstream.Given && (!s.listed || s.blocked):
		return drop
	case s.final(), s.abandoned():
		return s.ending()
	case s.moved() || !s.answering:
		return leave
	case s.checkDue():
		return check
	case !s.credential.Usable() || s.credential.Source != upstream.Enrolled:
		return leave
	case s.credential.Replaced != 0 && !s.now.Before(s.retirement()):
		return retire
	case !s.now.Before(s.renewal()):
		return renew
	default:
		return leave
	}
}

// ending returns the next step for a copy from the portal that ends. One that was made at another origin stays until it has
// expired there: if `upstreamURL` is a mistake, nobody else could revoke it.
func (s state) ending() step {
	locally := s.credential.Source == upstream.Pasted || s.moved() && !s.now.Before(s.expiry())
	switch {
	case s.final() && s.credential.Usable() && !locally:
		return disuse
	case !locally && (s.moved() || !s.answering):
		return leave
	case !s.final() && s.credential.Ending.IsZero():
		return mark
	case locally:
		return drop
	default:
		return withdraw
	}
}

// final reports whether a copy from the portal ends even if its user has APITokens.
func (s state) final() bool {
	return s.credential.Renamed || s.blocked && s.credential.Source != upstream.Given
}

// destroys reports whether a step takes away a copy from the portal because no APIToken needs it.
func (s state) destroys(next step) bool {
	return s.readable && s.credential.Source != upstream.Given && !s.final() && (next == drop || next == withdraw)
}

// abandoned reports whether a copy from the portal has outlived its user's APITokens.
func (s state) abandoned() bool {
	return s.readable && !s.owned && outlives(s.credential, s.now)
}

// outlives reports whether a copy ends if its user has no APIToken.
func outlives(c upstream.Credential, now time.Time) bool {
	return c.Source != upstream.Given && !now.Before(grace(c))
}

// grace returns the time until which a copy from the portal is kept for a user without an APIToken.
func grace(c upstream.Credential) time.Time {
	if c.Source == upstream.Enrolled {
		return c.Stored.Add(settlePeriod)
	}
	return c.Stored.Add(pastedPeriod)
}

func (s state) moved() bool { return s.credential.Origin != s.origin }

// checkDue reports whether a check is due. One that is not accepted is checked in each pass: somebody waits for it. So is one
// that was to end, and is needed again: its revocation may have begun. One whose owner somebody wants to know is checked at once.
func (s state) checkDue() bool {
	again := s.now.Sub(s.tried) >= recheckPeriod
	if !s.credential.Usable() {
		return again
	}
	wanted := !s.wanted.IsZero() && (again || s.tried.Before(s.wanted))
	return wanted || !s.now.Before(s.checkAt) || !s.credential.Ending.IsZero()
}

// expiry returns when the personal access token ends at the product.
func (s state) expiry() time.Time { return s.credential.Stored.Add(life(s.credential)) }

func life(c upstream.Credential) time.Duration {
	if c.Expires.IsZero() { // the product did not say
		return lifetimeDays * 24 * time.Hour
	}
	return c.Expires.Sub(c.Stored)
}

// retirement and renewal return the earliest times of these steps.
func (s state) retirement() time.Time {
	return later(s.credential.Stored.Add(settlePeriod), s.retireAt)
}
func (s state) renewal() time.Time { return later(renewal(s.credential), s.renewAt) }

func later(a, b time.Time) time.Time {
	if a.Before(b) {
		return b
	}
	return a
}

// lastAnswered returns when the product last answered about the copy, as far as that is known. It is zero if it is not asked.
func (s state) lastAnswered() time.Time {
	if !s.readable || s.moved() {
		return time.Time{}
	}
	return later(s.answered, s.seen) // nobody knows when it was asked before seen
}

// again returns when to look at a copy again, if nothing about it, its enrolment or its site changes before. The zero time means the
// next pass: there is something to do or to report. What waits for the product is due as soon as it answers.
func (s state) again(e enrolment.Enrolment) time.Time {
	s.answering = true
	c := s.credential
	switch {
	case !s.readable, s.moved(), !c.Usable(), s.stuck, !s.wanted.IsZero(), describe(e, &c, s.origin) != e, s.next() != leave:
		return time.Time{}
	case c.Source == upstream.Given:
		return s.checkAt
	}
	times := []time.Time{s.checkAt}
	if ends := grace(c); ends.After(s.now) { // afterwards, the last APIToken of its user tells
		times = append(times, ends)
	}
	if c.Source == upstream.Enrolled {
		times = append(times, s.renewal())
		if c.Replaced != 0 {
			times = append(times, s.retirement())
		}
	}
	return slices.MinFunc(times, time.Time.Compare)
}

// renewal returns the time at which a third of the lifetime is left: 30 days of 90. It is at least checkPeriod after the
// copy was stored, so that a product with a wrong clock is not asked again and again.
func renewal(c upstream.Credential) time.Time {
	return c.Stored.Add(max(life(c)/3*2, checkPeriod))
}

// answer is the product's answer to the question whose a personal access token is.
type answer int

const (
	// unclear: the answer says nothing about the token.
	unclear answer = iota + 1
	// accepted: it is the expected user's.
	accepted
	// refused: the product does not accept it.
	refused
	// anothers: it is another user's.
	anothers
)

var answerNames = map[answer]string{unclear: "unclear", accepted: "accepted", refused: "refused", anothers: "another user's"}

// String returns the name of an answer.
func (a answer) String() string {
	if name, ok := answerNames[a]; ok {
		return name
	}
	return "answer(" + strconv.Itoa(int(a)) + ")"
}

// judge compares the user that the product named with the expected one. A name can change hands, and a user can be renamed, but their
// key stays. So the key decides where it is known.
func judge(c upstream.Credential, named atlassian.User, err error) answer {
	switch {
	case errors.Is(err, atlassian.ErrRefused):
		return refused
	case err != nil:
		return unclear
	case c.UserKey != "" && named.Key == c.UserKey:
		return accepted
	case c.UserKey != "" && named.Key != "", username.Fold(named.Name) != c.User:
		return anothers
	default:
		return accepted
	}
}

// isStray reports whether a personal access token was made for this user of the site and is not the stored one. Either it could not be
// stored, or its owner stored another one. A recent one may still be about to be stored.
func isStray(p atlassian.PAT, siteUID string, c upstream.Credential, now time.Time) bool {
	return upstream.IsPATName(p.Name, siteUID, c.User) && p.ID != c.ID && p.ID != c.Replaced && !p.Created.IsZero() && now.Sub(p.Created) >= settlePeriod
}
