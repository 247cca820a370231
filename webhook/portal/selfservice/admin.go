package selfservice

import (
	"cmp"
	"context"
	"fmt"
	"math"
	"slices"
	"strings"
	"time"

	"k8s.io/apimachinery/pkg/types"

	"apitokens.dev/operator/internal/authn"
	"apitokens.dev/operator/internal/feed"
	"apitokens.dev/operator/internal/record"
	"apitokens.dev/operator/internal/username"
)

// MaxResults is the largest page of a search. DefaultResults is the size if the request names none.
const (
	MaxResults     = 1000
	DefaultResults = 50
)

// ReasonSessionRequired is the Reason of a Problem that needs a credential of the product instead of an API token.
const ReasonSessionRequired = "SessionRequired"

// Query is a search by an administrator.
type Query struct {
	// User is the owner in any case. Text is a part of label, id or owner, in any case. Empty matches all.
	User, Text string
	// StartAt is how many matches to skip. MaxResults is how many to return.
	StartAt, MaxResults int
}

// Page is one page of the result of a search.
type Page struct {
	Query

	Total  int
	Tokens []Token
}

// Search returns tokens of all users of the site.
func (s *Service) Search(c *Caller, q Query) (Page, error) {
	if err := c.mustAdminister(); err != nil {
		return Page{}, err
	}
	switch {
	case q.StartAt < 0:
		return Page{}, invalid("startAt", "startAt must be 0 or more.")
	case q.MaxResults < 1 || q.MaxResults > MaxResults:
		return Page{}, invalid("maxResults", "maxResults must be 1 to %d.", MaxResults)
	}
	found := s.matches(c.Ref(), q)
	page := Page{Query: q, Total: found.total, Tokens: []Token{}}
	for _, m := range found.page(q) {
		if t := s.Objects.APIToken(m.NamespacedName); t != nil && string(t.UID) == m.uid { // else another one has its name by now
			if shown, ok := s.view(t); ok {
				page.Tokens = append(page.Tokens, shown)
			}
		}
	}
	return page, nil
}

// match is a token that a search found. There may be very many, and only those of a page are looked at closely.
type match struct {
	types.NamespacedName

	uid, id string
	created time.Time
}

// newestFirst orders matches.
func newestFirst(a, b match) int {
	return cmp.Or(b.created.Compare(a.created), cmp.Compare(a.id, b.id))
}

// matches are what a search found: their number, and those up to the end of the page.
type matches struct {
	total, most int
	// first has at least the first of all that were added. last is the last one up to the end of the page, once there are so many.
	first []match
	last  *match
}

func (m *matches) add(found match) {
	m.total++
	if m.last != nil && newestFirst(found, *m.last) > 0 {
		return
	}
	if m.first = append(m.first, found); len(m.first) >= 2*m.most {
		m.sort()
	}
}

// sort sorts the first matches, and drops those behind the page.
func (m *matches) sort() {
	slices.SortFunc(m.first, newestFirst)
	if len(m.first) >= m.most {
		m.first = m.first[:m.most]
		m.last = new(m.first[m.most-1])
	}
}

// page returns the matches of a page.
func (m *matches) page(q Query) []match {
	m.sort()
	return m.first[min(q.StartAt, len(m.first)):]
}

// matches finds the finished tokens of a site that a query matches, newest first.
func (s *Service) matches(site authn.SiteName, q Query) matches {
	// No site has so many tokens: the sum must not overflow.
	found := matches{most: min(q.StartAt, math.MaxInt32) + q.MaxResults}
	text, user := strings.ToLower(q.Text), username.Fold(q.User)
	look := func(t feed.Summary) bool {
		owner := username.Fold(t.User)
		if user != "" && owner != user {
			return true
		}
		id := s.Index.TokenID(t.UID)
		if id == "" {
			return true
		}
		for _, of := range [...]string{cmp.Or(t.Label, t.Name), id, owner} {
			if strings.Contains(strings.ToLower(of), text) {
				found.add(match{t.NamespacedName, t.UID, id, t.Created})
				break
			}
		}
		return true
	}
	s.Objects.Summaries(site, look)
	return found
}

// RevokeOf revokes a token of any user, with its descendants.
func (s *Service) RevokeOf(ctx context.Context, c *Caller, id string) error {
	if err := c.mustAdminister(); err != nil {
		return err
	}
	found, err := s.withTokenID(ctx, c.Site, id, func(*record.Record) bool { return true })
	if err != nil {
		return err
	}
	return s.revokeFound(ctx, c, found, true, problem(NotFound, "There is no API token with this id."))
}

// RevokeAllOf revokes all tokens of a user, and returns how many there were.
func (s *Service) RevokeAllOf(ctx context.Context, c *Caller, user string) (int, error) {
	if err := c.mustAdminister(); err != nil {
		return 0, err
	}
	if user == "" {
		return 0, invalid("user", "user is required: name the owner of the API tokens to revoke.")
	}
	return s.revokeAllOf(ctx, c, owner{user: username.Fold(user)})
}

// mustAdminister refuses API tokens too: the product is asked about each request of an administrator, so that one who was
// deactivated there has lost this right.
func (c *Caller) mustAdminister() error {
	if c.Token != nil {
		return &Problem{Kind: Forbidden, Reason: ReasonSessionRequired, Message: fmt.Sprintf(
			"An API token may not do this. Send a session, a personal access token or another credential of %s.", c.Spec.Product)}
	}
	if c.Administers() {
		return nil
	}
	return problem(Forbidden, "Only administrators of API tokens may do this: ask for `%s` to be added to `administrators` of the site.", c.User)
}
