package credential

import (
	"fmt"
	"slices"
	"strings"
	"time"

	tokensv1alpha1 "apitokens.dev/operator/api/v1alpha1"
	"apitokens.dev/operator/internal/siteurl"
	"apitokens.dev/operator/internal/upstream"
)

// Rejection says why the personal access token of one user is not in use, or soon will not be.
type Rejection struct{ Reason, User, Why string }

// Event is a change at the product that a person has to know of.
type Event struct{ Reason, Note string }

// maxRejections bounds the list in a condition's message.
const maxRejections = 10

// Condition sums up the rejections. Its message depends on what is wrong, and not on when that was found.
func (f Findings) Condition() (ok bool, reason, message string) {
	if len(f.Rejections) == 0 {
		return true, tokensv1alpha1.ReasonVerified, "The product confirmed the owner of every personal access token."
	}
	reason = f.Rejections[0].Reason
	var unused, ending []string
	for _, r := range f.Rejections {
		if r.Reason != reason {
			reason = tokensv1alpha1.ReasonCredentialUnusable
		}
		line := fmt.Sprintf("'%s': %s", r.User, r.Why)
		if r.Reason == tokensv1alpha1.ReasonRenewalRefused {
			ending = append(ending, line)
		} else {
			unused = append(unused, line)
		}
	}
	more := ""
	if n := len(f.Rejections) - maxRejections; n > 0 {
		more = fmt.Sprintf("; and %d more", n)
	}
	unused = unused[:min(len(unused), maxRejections)]
	ending = ending[:min(len(ending), maxRejections-len(unused))]
	var parts []string
	if len(unused) > 0 {
		parts = append(parts, "Not in use: "+strings.Join(unused, "; "))
	}
	if len(ending) > 0 {
		parts = append(parts, "Not renewed: "+strings.Join(ending, "; "))
	}
	return false, reason, strings.Join(parts, ". ") + more + "."
}

// reject adds the rejection of a stored copy, if there is one.
func (p *pass) reject(s state) {
	if r := s.rejection(p.site); r != nil {
		p.add(*r)
	}
}

// add adds a rejection, unless the user has one.
func (f *Findings) add(r Rejection) {
	if !slices.ContainsFunc(f.Rejections, func(other Rejection) bool { return other.User == r.User }) {
		f.Rejections = append(f.Rejections, r)
	}
}

func unusable(user, format string, args ...any) *Rejection {
	return &Rejection{tokensv1alpha1.ReasonCredentialUnusable, user, fmt.Sprintf(format, args...)}
}

// rejection returns what a person has to know of a copy from the portal, or nil. An entry of `upstreamCredentials` has a
// rejection of its own, and nobody waits for a user without an APIToken.
func (s state) rejection(site *tokensv1alpha1.AtlassianSite) *Rejection {
	if !s.readable || !s.owned || s.credential.Source == upstream.Given {
		return nil
	}
	user := s.credential.User
	switch {
	case s.moved():
		return &Rejection{tokensv1alpha1.ReasonUpstreamChanged, user, fmt.Sprintf(
			"the personal access token is for %s, and is not sent to %s: %s", s.credential.Origin, s.origin, signIn(site, user))}
	case s.credential.Renamed:
		return unusable(user, "the product says that the personal access token is that of a user with another name: %s", underNewName(site, user))
	case !s.credential.Usable():
		return unusable(user,
			"the product does not accept the personal access token, because it was revoked or has ended, or because the user was deactivated: %s",
			signIn(site, user))
	case s.stuck:
		return &Rejection{tokensv1alpha1.ReasonRenewalRefused, user, notRenewed(s.credential)}
	default:
		return nil
	}
}

func signIn(s *tokensv1alpha1.AtlassianSite, user string) string {
	return fmt.Sprintf("'%s' has to sign in and open %s", user, siteurl.Portal(s.Spec.BaseURL))
}

// underNewName addresses two people: the former and the present bearer of a name.
func underNewName(s *tokensv1alpha1.AtlassianSite, user string) string {
	return fmt.Sprintf("the renamed user needs API tokens under the new name, and the present '%s' has to sign in and open %s",
		user, siteurl.Portal(s.Spec.BaseURL))
}

func notRenewed(c upstream.Credential) string {
	until := "it ends"
	if !c.Expires.IsZero() {
		until = c.Expires.UTC().Format(time.DateOnly)
	}
	return fmt.Sprintf("the product makes no new personal access token, as when the user has as many as one may have (10 by default) "+
		"or when %d days are too long: delete some of the user's there, or raise the limit. The present one is in use until %s", shortLifetimeDays, until)
}

// refusedEvent names all causes: the product does not tell them apart.
func refusedEvent(s *tokensv1alpha1.AtlassianSite, c upstream.Credential, then string) Event {
	return Event{tokensv1alpha1.ReasonUpstreamCredentialRefused, fmt.Sprintf(
		"%s does not accept the personal access token of '%s' any more: it was revoked or has ended, or the user was deactivated. The product does not say which. "+
			"It is not in use, so requests with API tokens of '%s' are refused with 403: %s.", s.Spec.Product, c.User, c.User, then)}
}

func withdrawnEvent(s *tokensv1alpha1.AtlassianSite, c upstream.Credential, then string) Event {
	return Event{tokensv1alpha1.ReasonUpstreamCredentialWithdrawn, fmt.Sprintf(
		"%s says that the personal access token of '%s' is that of a user with another name, as after a renaming. It was withdrawn, "+
			"so requests with API tokens of '%s' are refused with 403: %s.", s.Spec.Product, c.User, c.User, then)}
}

// givenRefused and givenAnothers are about the Secret of an entry of `upstreamCredentials`.
func givenRefused(secret string) string {
	return fmt.Sprintf("the product does not accept the personal access token in Secret '%s': put a valid one there", secret)
}

func givenAnothers(secret, user string) string {
	return fmt.Sprintf("the personal access token in Secret '%s' is that of another user: put one of '%s' there", secret, user)
}
