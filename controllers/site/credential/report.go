package credential

import (
	"fmt"
	"slices"
	"strings"
	"time"

	tokensv1alpha1 "apitokens.dev/operator/api/v1alpha1"
	"apitokens.dev/operator/controllers/internal/apierror"
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
	if f.None {
		return true, tokensv1alpha1.ReasonNoneConfigured,
			"There is no personal access token: `upstreamCredentials` is empty, and no user has enrolled. Until then API tokens are refused with 403."
	}
	if len(f.Rejections) == 0 {
		return true, tokensv1alpha1.ReasonVerified, "The product confirmed the owner of every personal access token."
	}
	reason = f.Rejections[0].Reason
	lines := map[string][]string{}
	for _, r := range f.Rejections {
		if r.Reason != reason {
			reason = tokensv1alpha1.ReasonCredentialUnusable
		}
		lines[r.heading()] = append(lines[r.heading()], fmt.Sprintf("'%s': %s", r.User, r.Why))
	}
	var parts []string
	left := maxRejections
	for _, heading := range [...]string{notInUse, notStored, notRenewed} {
		listed := lines[heading][:min(len(lines[heading]), left)]
		if left -= len(listed); len(listed) > 0 {
			parts = append(parts, heading+": "+strings.Join(listed, "; "))
		}
	}
	more := ""
	if n := len(f.Rejections) - maxRejections; n > 0 {
		more = fmt.Sprintf("; and %d more", n)
	}
	return false, reason, strings.Join(parts, ". ") + more + "."
}

// Blocking returns the findings that keep a site from being Ready: rejected entries of its `upstreamCredentials`, and refused
// writes. A user who left must not make a site with many enrolled users look broken for good.
func (f Findings) Blocking(s *tokensv1alpha1.AtlassianSite) Findings {
	f.Rejections = slices.DeleteFunc(slices.Clone(f.Rejections), func(r Rejection) bool {
		return r.Reason != tokensv1alpha1.ReasonWriteRefused &&
			!slices.ContainsFunc(s.Spec.UpstreamCredentials, func(c tokensv1alpha1.UpstreamCredential) bool { return c.User == r.User })
	})
	return f
}

const notInUse, notStored, notRenewed = "Not in use", "Not stored", "Not renewed"

func (r Rejection) heading() string {
	switch r.Reason {
	case tokensv1alpha1.ReasonRenewalRefused:
		return notRenewed
	case tokensv1alpha1.ReasonWriteRefused:
		return notStored
	default:
		return notInUse
	}
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

// refusal turns an error into a rejection if the API server refuses a write for a cause that lasts.
func refusal(user string, err error) (*Rejection, error) {
	message, refused := apierror.Refusal(err)
	if !refused {
		return nil, err
	}
	return &Rejection{tokensv1alpha1.ReasonWriteRefused, user, strings.TrimSuffix(strings.ToLower(message[:1])+message[1:], ".")}, nil
}

// rejectRefused adds a rejection for a refused write about a user's copy. It returns every other error.
func (p *pass) rejectRefused(user string, err error) error {
	if user == "" { // the copy cannot be read
		return err
	}
	r, err := refusal(user, err)
	if r != nil {
		p.add(*r)
	}
	return err
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
		return &Rejection{tokensv1alpha1.ReasonRenewalRefused, user, renewalRefused(s.credential)}
	default:
		return nil
	}
}

func signIn(s *tokensv1alpha1.AtlassianSite, user string) string {
	return fmt.Sprintf("'%s' has to sign in and open %s", user, siteurl.Portal(s.Spec.BaseURL))
}

// underNewName addresses two people: the renamed user, and the user who has the name now.
func underNewName(s *tokensv1alpha1.AtlassianSite, user string) string {
	return fmt.Sprintf("the renamed user needs API tokens under the new name, and the present '%s' has to sign in and open %s",
		user, siteurl.Portal(s.Spec.BaseURL))
}

func renewalRefused(c upstream.Credential) string {
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
