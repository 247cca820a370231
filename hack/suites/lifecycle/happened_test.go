package lifecycle_test

import (
	"errors"
	"fmt"
	"time"

	"k8s.io/apimachinery/pkg/types"
	"k8s.io/utils/ptr"

	tokensv1alpha1 "apitokens.dev/operator/api/v1alpha1"
)

// The model gets every write that reached the API server, and returns an error for a wrong one.

// recorded handles the creation or change of a record by a pass that works on the APIToken t.
func (m *model) recorded(uid types.UID, t *tokensv1alpha1.APIToken, created bool) error {
	l := m.lives[uid]
	_, there := m.secrets[at(l.token)]
	if created && !l.gone {
		if why := m.forbids(l, t); why != "" {
			return fmt.Errorf("a record was made although %s", why)
		}
	}
	l.begun, l.underway, l.unsure = true, !there, true
	return nil
}

// delivered handles the write of a text to the delivered Secret by a pass that works on the APIToken t.
func (m *model) delivered(t *tokensv1alpha1.APIToken, plain string) error {
	l, here := m.lives[t.UID], at(t)
	lies, there := m.secrets[here]
	before := l.current()
	if there && before != nil && lies == plain {
		return nil // what lies around it was repaired
	}
	wrong := m.undeliverable(l, t)
	for _, x := range l.texts { // the overlap is for all older secrets
		x.endsBy(m.now.Add(overlapOf(t)))
	}
	if before != nil {
		before.replaced, before.overlap, before.least, before.most = true, true, m.now.Add(overlapOf(t)), never
		before.latest = before.least
	}
	for _, x := range l.texts {
		if there {
			continue
		}
		// The deletion of a delivered Secret revokes the secrets in it.
		x.overlap, x.least, x.latest = false, earlier(x.least, m.now), m.now
		if !x.most.Equal(never) {
			x.most = earlier(x.most, m.now)
		}
	}
	m.secrets[here] = plain
	l.texts, l.underway = append(l.texts, &text{plain: plain, issued: m.now}), false
	return wrong
}

// undeliverable returns why a token must not be delivered now, or "".
func (m *model) undeliverable(l *life, t *tokensv1alpha1.APIToken) error {
	if l.gone || m.site == nil {
		return nil // the pass did not know
	}
	lies, there := m.secrets[at(t)]
	x := l.current()
	_, expired := m.expired(l, t)
	switch {
	case !m.open(t) || suspended(t) || expired && !m.unsure(l, t):
		return errors.New("a token was delivered that does not authenticate")
	case m.forbids(l, t) != "":
		return fmt.Errorf("a token was delivered although %s", m.forbids(l, t))
	case there && (x == nil || lies != x.plain):
		return errors.New("what somebody else put there was overwritten")
	case there && !m.due(l, t) && m.lasts(t, x, m.now):
		return errors.New("a good token was replaced without need")
	}
	return nil
}

func overlapOf(t *tokensv1alpha1.APIToken) time.Duration {
	return time.Duration(ptr.Deref(t.Spec.Rotation.OverlapHours, 24)) * time.Hour
}

// passed handles the end of a pass. If the token is ready, all replacements are complete.
func (m *model) passed(t *tokensv1alpha1.APIToken, done bool) {
	l := m.lives[t.UID]
	_, there := m.secrets[at(t)]
	l.unsure = l.unsure && !done
	for _, x := range l.texts {
		if !x.replaced {
			continue
		}
		if !x.limit.IsZero() {
			x.endsBy(m.now.Add(overlapOf(t)))
		}
		if done && !x.limit.IsZero() {
			x.most, x.limit = earlier(x.most, x.limit), time.Time{}
		}
		if m.site != nil && !m.lasts(t, x, m.now) || !there {
			// An expired secret is removed, and does not authenticate again after a longer lifetime. A replaced
			// secret has no overlap any more once the delivered Secret was deleted.
			x.least = earlier(x.least, m.now)
		}
		if x.most.Equal(never) {
			end := m.now
			if x.overlap {
				end = m.now.Add(overlapOf(t))
			}
			if x.least = earlier(x.least, end); end.After(x.latest) {
				x.latest = end
			}
			if done {
				x.most = x.latest
			}
		}
	}
}

// endsBy notes that a replaced text may end by then, because of a later rotation.
func (x *text) endsBy(end time.Time) {
	if !x.replaced {
		return
	}
	x.least = earlier(x.least, end)
	if end.After(x.limit) {
		x.limit = end
	}
}

func earlier(a, b time.Time) time.Time {
	if b.Before(a) {
		return b
	}
	return a
}

// swept handles the removal of a delivered Secret after its APIToken was deleted.
func (m *model) swept(where place) error {
	lies := m.secrets[where]
	delete(m.secrets, where)
	for _, l := range m.lives {
		for _, x := range l.texts {
			if x.plain == lies && l.gone {
				return nil
			}
		}
	}
	return fmt.Errorf("Secret %s was removed, which is not a deleted token's", where.name)
}

// removed handles the deletion of an APIToken by the operator.
func (m *model) removed(uid types.UID) error {
	l := m.lives[uid]
	l.gone = true
	since, expired := m.expired(l, l.token)
	days := m.site.Spec.TokenPolicy.ExpiredRetentionDays
	if !expired || days == nil || m.now.Before(since.Add(time.Duration(*days)*day)) {
		return errors.New("an APIToken was removed that is not due")
	}
	return nil
}
