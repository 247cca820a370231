package fakeproduct

import (
	"crypto/rand"
	"encoding/base64"
	"math/big"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"
	"unicode/utf8"
)

// Defaults of the limits in Options. The first two are known from other projects
// as the defaults of atlassian.pats.max.tokens.per.user and
// atlassian.pats.max.tokens.expiry.days. The length of a name is assumed.
const (
	defaultMaxPATs    = 10
	defaultMaxPATDays = 365
	maxPATName        = 40
)

// PAT describes a personal access token. The token itself is returned only once,
// when it is created.
type PAT struct {
	ID         int64
	Name       string
	CreatedAt  time.Time
	ExpiresAt  time.Time // zero: never
	LastUsedAt time.Time // zero: not yet
}

func (t PAT) expired(now time.Time) bool { return !t.ExpiresAt.IsZero() && !now.Before(t.ExpiresAt) }

// ownedPAT is a personal access token with its secret parts.
type ownedPAT struct {
	PAT
	owner string // a key
	token string
}

// patRules are the limits that an administrator sets.
type patRules struct {
	max, maxDays int
	noEternal    bool
}

// refuse returns why a token with this name and this number of days (nil: for
// ever) is refused, or "". It is assumed that the product refuses too many days:
// the source of one client says that it shortens them.
// https://github.com/benjaminLedel/covey-plugin-pack/blob/HEAD/jira/credential.go
func (r patRules) refuse(name string, days *int) string {
	switch {
	case strings.TrimSpace(name) == "":
		return "The token needs a name."
	case utf8.RuneCountInString(name) > maxPATName:
		return "The name of the token is longer than " + strconv.Itoa(maxPATName) + " characters."
	case days == nil && r.noEternal:
		return "The token has to expire."
	case days != nil && (*days < 1 || *days > r.maxDays):
		return "The token has to expire within 1 to " + strconv.Itoa(r.maxDays) + " days."
	}
	return ""
}

// newToken has the form of real ones, base64 of 12 digits, a colon and 20
// random bytes: https://github.com/trufflesecurity/trufflehog/pull/4872
func newToken() string {
	const low, high = 100_000_000_000, 1_000_000_000_000
	number, err := rand.Int(rand.Reader, big.NewInt(high-low))
	if err != nil {
		panic(err) // without randomness there is no token
	}
	secret := make([]byte, 20)
	_, _ = rand.Read(secret) // never fails
	return base64.StdEncoding.EncodeToString(append([]byte(strconv.FormatInt(number.Int64()+low, 10)+":"), secret...))
}

// pats are the tokens of all users, by id; the zero value is ready for use.
type pats struct {
	mu   sync.Mutex
	last int64
	all  []ownedPAT
}

// add stores a token and gives it an id, unless its owner has too many. Expired
// tokens count as long as they are listed, which is assumed.
func (p *pats) add(made ownedPAT, most int) (PAT, bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	owned := 0
	for _, pat := range p.all {
		if pat.owner == made.owner {
			owned++
		}
	}
	if owned >= most {
		return PAT{}, false
	}
	p.last++
	made.ID = p.last
	p.all = append(p.all, made)
	return made.PAT, true
}

// use returns the owner of a token that has not expired.
func (p *pats) use(token string, now time.Time) (owner string, ok bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	i := slices.IndexFunc(p.all, func(t ownedPAT) bool { return t.token == token })
	if i < 0 || p.all[i].expired(now) {
		return "", false
	}
	p.all[i].LastUsedAt = now
	return p.all[i].owner, true
}

func (p *pats) list(match func(ownedPAT) bool) (found []ownedPAT) {
	p.mu.Lock()
	defer p.mu.Unlock()
	for _, pat := range p.all {
		if match(pat) {
			found = append(found, pat)
		}
	}
	return found
}

func (p *pats) remove(match func(ownedPAT) bool) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	before := len(p.all)
	p.all = slices.DeleteFunc(p.all, match)
	return len(p.all) < before
}

// PersonalAccessTokens returns a user's tokens, the oldest first, with expired
// ones and the fixed ones of Options.Users.
func (p *Product) PersonalAccessTokens(user string) (all []PAT) {
	owner, ok := p.accounts.named(user)
	for _, pat := range p.pats.list(func(t ownedPAT) bool { return ok && t.owner == owner.Key }) {
		all = append(all, pat.PAT)
	}
	return all
}

// RevokePAT revokes a token, as an administrator does. It reports whether the
// token existed.
func (p *Product) RevokePAT(token string) bool {
	return p.pats.remove(func(t ownedPAT) bool { return t.token == token })
}
