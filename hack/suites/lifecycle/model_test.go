package lifecycle_test

import (
	"cmp"
	"strings"
	"time"

	"k8s.io/apimachinery/pkg/types"
	"k8s.io/utils/ptr"

	tokensv1alpha1 "apitokens.dev/operator/api/v1alpha1"
)

// model is an independent implementation of the documented behaviour: which plaintext authenticates until when, and the
// reason of Ready. It knows the operations of users and the delivered plaintexts. It shares no code with the operator.
type model struct {
	now  time.Time
	site *tokensv1alpha1.AtlassianSite // nil: there is none
	// labelled means that the other namespace has the label that the site may select by.
	labelled bool
	held     map[string]bool // users whose personal access token the operator has
	lives    map[types.UID]*life
	secrets  map[place]string // what lies where tokens are delivered to
	// records are the records as they were written last, by name. Annotations do not count.
	records map[string]string
}

// place is the namespace and name of a Secret. foreign is content that another writer put there.
type place struct{ namespace, name string }

const foreign = "foreign"

// life is the history of one APIToken.
type life struct {
	token *tokensv1alpha1.APIToken
	gone  bool
	// cleaned means that everything it left was removed without a fault.
	cleaned bool
	// begun means that its issue has begun, underway that a secret exists whose delivery was not yet seen.
	begun, underway bool
	// unsure means that the record changed since the token was last ready: a pass that was killed may have made a secret, and the
	// operator cannot know whether it was delivered once the delivered Secret is gone.
	unsure bool
	texts  []*text // all that was ever delivered; the last is the one of the day
}

// text is a plaintext. A replaced one authenticates at least until least and at most until most. most is unknown until the
// operator has completed the replacement.
type text struct {
	plain       string
	issued      time.Time
	replaced    bool
	overlap     bool
	least, most time.Time
	// latest is the latest end that a pass can have given it so far, also a pass that was aborted.
	latest time.Time
	// limit is the latest end that a later rotation can have given it, until the operator has completed that. Zero is none.
	limit time.Time
}

const day = 24 * time.Hour

var never = time.Date(9999, 1, 1, 0, 0, 0, 0, time.UTC)

func at(t *tokensv1alpha1.APIToken) place { return place{t.Namespace, t.Spec.Delivery.SecretName} }

func (l *life) current() *text {
	if len(l.texts) == 0 {
		return nil
	}
	return l.texts[len(l.texts)-1]
}

// ends returns the expiry of a secret that was issued at the given time, without overlaps.
func (m *model) ends(t *tokensv1alpha1.APIToken, issued time.Time) time.Time {
	end, p := never, m.site.Spec.TokenPolicy
	days := ptr.Deref(t.Spec.LifetimeDays, 0)
	if until := t.Spec.ExpirationTime.Time; !until.IsZero() {
		end = until
	} else if days == 0 {
		days = ptr.Deref(p.DefaultLifetimeDays, 0)
	}
	for _, d := range []int32{days, ptr.Deref(p.MaxLifetimeDays, 0)} {
		if by := issued.Add(time.Duration(d) * day); d > 0 && by.Before(end) {
			end = by
		}
	}
	return end
}

// lasts reports whether, by the terms of token and site, the secret is valid at that time.
func (m *model) lasts(t *tokensv1alpha1.APIToken, x *text, then time.Time) bool {
	return !x.issued.Before(m.site.Spec.IssuedAfter.Time) && then.Before(m.ends(t, x.issued))
}

// authenticates reports whether a text must authenticate, and whether it may.
func (m *model) authenticates(l *life, x *text, then time.Time) (must, may bool) {
	if l.gone || m.site == nil || !m.open(l.token) || suspended(l.token) || !m.lasts(l.token, x, then) {
		return false, false
	}
	return !x.replaced || then.Before(x.least), !x.replaced || then.Before(x.most)
}

func suspended(t *tokensv1alpha1.APIToken) bool { return t.Spec.State == tokensv1alpha1.StateSuspended }

// open reports whether the site allows the namespace of a token.
func (m *model) open(t *tokensv1alpha1.APIToken) bool {
	from := m.site.Spec.AllowedNamespaces.From
	return t.Namespace == m.site.Namespace || from == tokensv1alpha1.NamespacesFromAll || from == tokensv1alpha1.NamespacesFromSelector && m.labelled
}

// forbids returns why no secret may be made now, or "".
func (m *model) forbids(l *life, t *tokensv1alpha1.APIToken) string {
	p, days, until := m.site.Spec.TokenPolicy, ptr.Deref(t.Spec.LifetimeDays, 0), t.Spec.ExpirationTime.Time
	most := ptr.Deref(p.MaxLifetimeDays, 10*3650)
	switch {
	case m.now.Before(m.site.Spec.IssuedAfter.Time):
		return tokensv1alpha1.ReasonEpochPending
	case days > most, until.After(m.now.Add(time.Duration(most) * day)), !l.begun && m.beyondQuota(l),
		p.NeverExpiring == tokensv1alpha1.NeverExpiringForbidden && m.ends(t, m.now).Equal(never):
		return tokensv1alpha1.ReasonPolicyViolation
	}
	return ""
}

func (m *model) beyondQuota(l *life) bool {
	most, older := m.site.Spec.TokenPolicy.MaxTokensPerUser, int32(0)
	for uid, other := range m.lives {
		if !other.gone && strings.EqualFold(other.token.Spec.User, l.token.Spec.User) &&
			cmp.Or(other.token.CreationTimestamp.Compare(l.token.CreationTimestamp.Time), cmp.Compare(uid, l.token.UID)) < 0 {
			older++
		}
	}
	return most != nil && older >= *most
}

// due reports whether the current secret has to be replaced.
func (m *model) due(l *life, t *tokensv1alpha1.APIToken) bool {
	x, r := l.current(), t.Spec.Rotation
	return x != nil && (r.IntervalDays != nil && !m.now.Before(x.issued.Add(time.Duration(*r.IntervalDays)*day)) ||
		r.RequestedTime.After(x.issued) && !m.now.Before(r.RequestedTime.Time))
}

// expired returns since when a token is expired, unless a rotation extends it.
func (m *model) expired(l *life, t *tokensv1alpha1.APIToken) (since time.Time, expired bool) {
	since = cmp.Or(t.Spec.ExpirationTime.Time, never)
	over := !m.now.Before(since)
	if x := l.current(); x != nil && !l.underway {
		since = m.ends(t, x.issued)
	}
	return since, !m.now.Before(since) && (over || !m.due(l, t))
}

// unsure reports whether the operator may take a secret for delivered that was not, or the other way round. Then it may see another
// end of the token.
func (m *model) unsure(l *life, t *tokensv1alpha1.APIToken) bool {
	_, there := m.secrets[at(t)]
	return l.unsure && !there
}

// ready returns the expected reason of Ready when nothing is left to write.
func (m *model) ready(l *life) string {
	t, here := l.token, ""
	if x := l.current(); x != nil {
		here = x.plain
	}
	lies, there := m.secrets[at(t)]
	switch {
	case m.site == nil:
		return tokensv1alpha1.ReasonSiteNotFound
	case !m.open(t):
		return tokensv1alpha1.ReasonNamespaceNotAllowed
	case there && lies != here:
		return tokensv1alpha1.ReasonDeliveryConflict
	}
	if _, expired := m.expired(l, t); expired {
		return tokensv1alpha1.ReasonExpired
	}
	why := m.forbids(l, t)
	switch {
	case suspended(t):
		return tokensv1alpha1.ReasonSuspended
	case why != "" && (!there || !m.lasts(t, l.current(), m.now)):
		return why
	case !m.held[strings.ToLower(t.Spec.User)]:
		return tokensv1alpha1.ReasonUpstreamCredentialMissing
	}
	return tokensv1alpha1.ReasonIssued
}
