package credential

import (
	"time"

	"apitokens.dev/operator/internal/atlassian"
	"apitokens.dev/operator/internal/enrolment"
	"apitokens.dev/operator/internal/upstream"
	"apitokens.dev/operator/internal/username"
)

// outdated is the time after which an enrolment without a personal access token is removed. The portal has read by then how
// its intake was decided.
const outdated = 10 * time.Minute

// describe returns the enrolment that follows from a working copy at a site with this origin. c is nil if there is no copy, or
// none that can be read.
func describe(before enrolment.Enrolment, c *upstream.Credential, origin string) enrolment.Enrolment {
	now := before
	now.State, now.UserKey, now.PAT = enrolment.None, "", 0
	if c != nil {
		now.State, now.UserKey, now.PAT = stateOf(*c, origin), c.UserKey, c.ID
	}
	if now.State == enrolment.None || now.State == enrolment.Ended || now.UserKey != before.UserKey {
		now.Name = "" // the product said it of another owner, or does not say it any more
	}
	return now
}

func stateOf(c upstream.Credential, origin string) enrolment.State {
	switch {
	case c.Origin != origin, !c.Usable():
		return enrolment.Ended
	case !c.Ending.IsZero():
		return enrolment.Pending
	case c.Source == upstream.Given:
		return enrolment.Given
	default:
		return enrolment.Held
	}
}

// nameFor returns the folded name of an owner whom the product named, for an enrolment. It is empty if they have another user key.
func nameFor(e enrolment.Enrolment, owner atlassian.User) string {
	if owner.Key != e.UserKey {
		return ""
	}
	return username.Fold(owner.Name)
}

// named notes in an enrolment that the product named the owner at a time.
func named(e *enrolment.Enrolment, owner atlassian.User, when time.Time) {
	e.Name, e.Checked = nameFor(*e, owner), when.UTC().Truncate(time.Second)
}

// verdict says what becomes of an intake.
type verdict int

const (
	// keep: it becomes the working copy.
	keep verdict = iota + 1
	// known: it is the working copy already.
	known
	// surplus: another one is in use. It is revoked, if the product made it for the operator.
	surplus
)

// admit compares an intake that the product confirmed with the working copy, which is nil if there is none. A user who pastes one
// replaces any other. One that the product made replaces one that is not in use, or that belongs to another user key.
func admit(intake upstream.Credential, held *upstream.Credential) verdict {
	switch {
	case held == nil:
		return keep
	case held.Token == intake.Token:
		return known
	case intake.Source == upstream.Pasted, !held.Usable(), held.Origin != intake.Origin, !held.Ending.IsZero(), otherKeys(*held, intake.UserKey):
		return keep
	default:
		return surplus
	}
}

// otherKeys reports whether a working copy is known to belong to another user key.
func otherKeys(c upstream.Credential, key string) bool {
	return c.UserKey != "" && key != "" && c.UserKey != key
}
