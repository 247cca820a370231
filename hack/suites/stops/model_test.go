package stops_test

import (
	"slices"
	"time"
)

// The model says which secrets may answer 200 and which must. It knows what users asked for and what they were answered, and
// shares no code with the product.

// fate says whether something happened. After an unclear answer it may have.
type fate int

const (
	no fate = iota
	maybe
	yes
)

// model is one site.
type model struct {
	tokens  []*apiToken
	secrets []*secret
	// epoch kills what was issued before.
	epoch time.Time
	// closed means that tokens of the other namespace do not count.
	closed bool
	// blocked are users.
	blocked []string
	// keys are the user keys of those who have a name now.
	keys map[string]string
	// enrolled says whether the operator has a personal access token of a user. Gateways answer 200 only with one.
	enrolled map[string]fate
}

// apiToken is an API token with its secrets, the oldest first.
type apiToken struct {
	n    int
	user string
	// key is the product's user key of its owner.
	key string
	id  string
	// by is the token that made it, if one did.
	by *apiToken
	// name is that of the APIToken if it is declared. away says that it lies in the other namespace.
	name string
	away bool

	revoked, suspended fate
	secrets            []*secret
}

// secret is a text that somebody holds.
type secret struct {
	n      int
	of     *apiToken
	text   string
	issued time.Time
	// ends is zero if it never expires.
	ends time.Time
	// foreign means that it was issued by a site for another product.
	foreign bool
	// The end of a replaced one lies between least and most. Both are zero while it is not replaced.
	least, most time.Time
}

func (m *model) addToken(t *apiToken) *apiToken {
	t.n = len(m.tokens) + 1
	m.tokens = append(m.tokens, t)
	return t
}

func (m *model) addSecret(t *apiToken, text string, issued, ends time.Time) *secret {
	s := &secret{n: len(m.secrets) + 1, of: t, text: text, issued: issued, ends: ends}
	t.secrets = append(t.secrets, s)
	m.secrets = append(m.secrets, s)
	return s
}

// replace ends all secrets of a token at the given time at the latest. Unless that is certain, they may live on.
func (t *apiToken) replace(end time.Time, certain bool) {
	for _, s := range t.secrets {
		if s.least.IsZero() || end.Before(s.least) {
			s.least = end
		}
		if certain && (s.most.IsZero() || end.Before(s.most)) {
			s.most = end
		}
	}
}

// lives reports whether a secret must answer 200 at this time, and whether it may.
func (m *model) lives(s *secret, now time.Time) (must, may bool) {
	t := s.of
	dead := s.foreign || t.revoked == yes || t.suspended == yes || over(s.ends, now) || over(s.most, now) ||
		s.issued.Before(m.epoch) || m.closed && t.first().away || slices.Contains(m.blocked, t.user)
	unsure := t.revoked == maybe || t.suspended == maybe || over(s.least, now)
	return !dead && !unsure, !dead
}

// changedHands reports whether the name of a token's owner is somebody else's by now. The token acts as neither.
func (m *model) changedHands(t *apiToken) bool { return m.keys[t.user] != t.key }

func over(end, now time.Time) bool { return !end.IsZero() && !now.Before(end) }

// sure returns the secrets that must answer 200 and that match.
func (m *model) sure(now time.Time, match func(*secret) bool) []*secret {
	return slices.DeleteFunc(slices.Clone(m.secrets), func(s *secret) bool {
		must, _ := m.lives(s, now)
		return !must || !match(s)
	})
}

// outlives reports whether one end is later than another. Zero is never.
func outlives(a, b time.Time) bool { return !b.IsZero() && (a.IsZero() || a.After(b)) }

// newest returns the last secret of a token.
func (t *apiToken) newest() *secret { return t.secrets[len(t.secrets)-1] }

// descends reports whether a token was made by another one, directly or not.
func (t *apiToken) descends(from *apiToken) bool {
	for p := t.by; p != nil; p = p.by {
		if p == from {
			return true
		}
	}
	return false
}

// first returns the token at the beginning of the line in which a token was made.
func (t *apiToken) first() *apiToken {
	for t.by != nil {
		t = t.by
	}
	return t
}

// tidied notes that the controller withdraws what users without tokens do not need, but not in the first ten minutes.
func (m *model) tidied() {
	for user := range m.enrolled {
		needed := maybe
		for _, t := range m.tokens {
			if t.user == user {
				needed = max(needed, yes-t.revoked)
			}
		}
		m.enrolled[user] = min(m.enrolled[user], needed)
	}
}
