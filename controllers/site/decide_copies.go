package site

import (
	"errors"
	"fmt"
	"hash/fnv"
	"time"

	tokensv1alpha1 "apitokens.dev/operator/api/v1alpha1"
	"apitokens.dev/operator/internal/atlassian"
	"apitokens.dev/operator/internal/siteurl"
	"apitokens.dev/operator/internal/upstream"
	"apitokens.dev/operator/internal/username"
)

const (
	// checkPeriod is how often the product is asked whose a personal access token is.
	checkPeriod = time.Hour
	// lifetimeDays is for how long the product is to make one, and shortLifetimeDays if it refuses that.
	lifetimeDays, shortLifetimeDays = 90, 30
	// settlePeriod is longer than replicas of the webhook take to use a new one, and longer than anybody takes to store
	// what he had made, and to create the APIToken that it is for.
	settlePeriod = 10 * time.Minute
	// pastedPeriod is how long one is kept for somebody who has no APIToken yet, or any longer. He would have to paste it again.
	pastedPeriod = 24 * time.Hour
)

// note is what is remembered of a working copy.
type note struct {
	// stored is when it was.
	stored time.Time
	// tried is when the product was last asked something about it: who waits longest comes first.
	tried time.Time
	// checkAt, retireAt and renewAt are when these are due at the earliest.
	checkAt, retireAt, renewAt time.Time
	// stuck says that the product refused to make a new token.
	stuck bool
}

// nextCheck is when a working copy is checked: in every hour at a moment of its own, which its name tells, so that not all
// of them are due at once, and so that it is known to a process that has just begun.
func nextCheck(name string, earliest time.Time) time.Time {
	h := fnv.New64a()
	_, _ = h.Write([]byte(name)) // never fails
	next := earliest.Truncate(checkPeriod).Add(time.Duration(h.Sum64() % uint64(checkPeriod)))
	if next.Before(earliest) {
		next = next.Add(checkPeriod)
	}
	return next
}

// checked notes that a working copy is as it should be: the next time is in an hour or so.
func (n *note) checked(name string, when time.Time) {
	n.checkAt = nextCheck(name, when.Add(checkPeriod/2))
}

// copyState is all that a decision about a working copy rests on.
type copyState struct {
	now  time.Time
	name string
	// readable says that the Secret holds what its name says, which is then the credential.
	readable   bool
	credential upstream.Credential
	// listed says that `upstreamCredentials` has an entry for it, owned that its user has an APIToken at the site.
	listed, owned bool
	// origin is that of the site's product, and answering that it answers.
	origin    string
	answering bool
	*note
}

// copyStep is what is done next about a working copy.
type copyStep int

const (
	// leave: there is nothing to do, or to be done now.
	leave copyStep = iota
	// drop: remove the copy. The product has no part in it.
	drop
	// disuse: let the webhook not use it any more, since it is to be revoked.
	disuse
	// withdraw: have the product revoke it, then remove the copy.
	withdraw
	// ask: whose is it?
	ask
	// retire: have the product revoke what it replaced.
	retire
	// renew: have the product make a new one, and put it in its place.
	renew
)

// asks reports whether a step asks the product something.
func (s copyStep) asks() bool { return s > disuse }

// next returns the next step. Nothing is ever sent to another origin than that which it is for.
func (c copyState) next() copyStep {
	gone := c.abandoned() || c.credential.Renamed
	switch {
	case !c.readable && c.listed:
		return leave // it is replaced as soon as its entry can be verified
	case !c.readable, c.credential.Source == upstream.Given && !c.listed:
		return drop
	case gone && (c.credential.Source == upstream.Pasted || c.moved()):
		return drop
	case c.moved() || !c.answering:
		return leave
	case gone && c.credential.Usable():
		return disuse
	case gone:
		return withdraw
	case c.checkDue():
		return ask
	case !c.credential.Usable() || c.credential.Source != upstream.Enrolled:
		return leave
	case c.credential.Replaced != 0 && c.age() >= settlePeriod && !c.now.Before(c.retireAt):
		return retire
	case !c.now.Before(renewal(c.credential)) && !c.now.Before(c.renewAt):
		return renew
	default:
		return leave
	}
}

// destroys reports whether a step takes away what the portal stored, because nobody needs it.
func (c copyState) destroys(s copyStep) bool {
	return c.readable && c.credential.Source != upstream.Given && !c.credential.Renamed && (s == drop || s == disuse || s == withdraw)
}

// abandoned: what the portal stored is for the user's APITokens, and there are none.
func (c copyState) abandoned() bool {
	switch {
	case !c.readable || c.owned:
		return false
	case c.credential.Source == upstream.Enrolled:
		return c.age() >= settlePeriod
	case c.credential.Source == upstream.Pasted:
		return c.age() >= pastedPeriod
	default:
		return false
	}
}

func (c copyState) age() time.Duration { return c.now.Sub(c.credential.Stored) }
func (c copyState) moved() bool        { return c.credential.Origin != c.origin }

// checkDue: what is not accepted is asked about in each pass, since somebody waits for it.
func (c copyState) checkDue() bool {
	if !c.credential.Usable() {
		return c.now.Sub(c.tried) >= recheckPeriod
	}
	return !c.now.Before(c.checkAt)
}

// renewal is when a third of its life is left: 30 days of 90. A product whose clock is off is not asked again and again.
func renewal(c upstream.Credential) time.Time {
	life := c.Expires.Sub(c.Stored)
	if c.Expires.IsZero() { // the product did not say
		life = lifetimeDays * 24 * time.Hour
	}
	return c.Stored.Add(max(life/3*2, checkPeriod))
}

// answer is what the product said when it was asked whose a personal access token is.
type answer int

const (
	// unclear: nothing was found out.
	unclear answer = iota
	accepted
	refused
	anothers
)

// judge compares whom the product named with whom a token is for. A name can go to somebody else, a key cannot.
func judge(c upstream.Credential, named atlassian.User, err error) answer {
	switch {
	case errors.Is(err, atlassian.ErrRefused):
		return refused
	case err != nil:
		return unclear
	case username.Fold(named.Name) != c.User, c.UserKey != "" && named.Key != "" && named.Key != c.UserKey:
		return anothers
	default:
		return accepted
	}
}

// isStray reports whether a personal access token was made for the site, and is not the one that is held: it was made
// when something went wrong before it could be stored, or somebody else stored his. One that was made just now may be on
// its way.
func isStray(p atlassian.PAT, name string, c upstream.Credential, now time.Time) bool {
	return p.Name == name && p.ID != c.ID && p.ID != c.Replaced && !p.Created.IsZero() && now.Sub(p.Created) >= settlePeriod
}

// rejection is what a person has to know of what the portal stored, or nil. Of the others their entry tells, and for
// whom there is no APIToken nobody waits.
func (c copyState) rejection(s *tokensv1alpha1.AtlassianSite) *rejection {
	if !c.readable || !c.owned || c.credential.Source == upstream.Given {
		return nil
	}
	user := c.credential.User
	switch {
	case c.moved():
		return &rejection{tokensv1alpha1.ReasonUpstreamChanged, user, fmt.Sprintf(
			"the personal access token is for %s, and is not sent to %s: %s", c.credential.Origin, c.origin, signIn(s, user))}
	case c.credential.Renamed:
		return &rejection{tokensv1alpha1.ReasonCredentialUnusable, user,
			"the product says that the personal access token is that of a user with another name: " + underNewName(s, user)}
	case !c.credential.Usable():
		return &rejection{tokensv1alpha1.ReasonCredentialUnusable, user,
			"the product does not accept the personal access token, because it was revoked or has ended, or because the user was deactivated: " + signIn(s, user)}
	case c.stuck:
		return &rejection{tokensv1alpha1.ReasonRenewalRefused, user, notRenewed(c.credential)}
	default:
		return nil
	}
}

func signIn(s *tokensv1alpha1.AtlassianSite, user string) string {
	return fmt.Sprintf("'%s' has to sign in and open %s", user, siteurl.Portal(s.Spec.BaseURL))
}

// underNewName is for two: who had the name, and who has it now.
func underNewName(s *tokensv1alpha1.AtlassianSite, user string) string {
	return fmt.Sprintf("who was renamed needs API tokens under the new name, and whoever is '%s' now has to sign in and open %s",
		user, siteurl.Portal(s.Spec.BaseURL))
}

func notRenewed(c upstream.Credential) string {
	until := "it ends"
	if !c.Expires.IsZero() {
		until = c.Expires.UTC().Format(time.DateOnly)
	}
	return fmt.Sprintf("the product makes no new personal access token, as when the user has as many as one may have (10, unless it was told otherwise) "+
		"or when %d days are too long: delete some of the user's there, or raise the limit. The present one is in use until %s", shortLifetimeDays, until)
}

// finding is something that happened at the product, to be told once.
type finding struct{ reason, note string }

// foundRefused says what cannot be told apart too.
func foundRefused(s *tokensv1alpha1.AtlassianSite, c upstream.Credential, then string) finding {
	return finding{tokensv1alpha1.ReasonUpstreamCredentialRefused, fmt.Sprintf(
		"%s does not accept the personal access token of '%s' any more: it was revoked or has ended, or the user was deactivated. Which, the product does not say. "+
			"It is not in use, so requests with API tokens of '%s' are refused with 403: %s.", s.Spec.Product, c.User, c.User, then)}
}

func foundAnothers(s *tokensv1alpha1.AtlassianSite, c upstream.Credential, then string) finding {
	return finding{tokensv1alpha1.ReasonUpstreamCredentialWithdrawn, fmt.Sprintf(
		"%s says that the personal access token of '%s' is that of a user with another name, as after a renaming. It was withdrawn, "+
			"so requests with API tokens of '%s' are refused with 403: %s.", s.Spec.Product, c.User, c.User, then)}
}

// givenRefused and givenAnothers are said of what is in the Secret of an entry.
func givenRefused(secret string) string {
	return fmt.Sprintf("the product does not accept the personal access token in Secret '%s': put a valid one there", secret)
}

func givenAnothers(secret, user string) string {
	return fmt.Sprintf("the personal access token in Secret '%s' is that of another user: put one of '%s' there", secret, user)
}
