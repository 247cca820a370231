package selfservice

import (
	"context"
	"slices"
	"strings"

	"sigs.k8s.io/controller-runtime/pkg/client"

	"apitokens.dev/operator/internal/username"
)

// MaxResults is the most that one page of a search has, and DefaultResults what it has if nothing is said.
const (
	MaxResults     = 1000
	DefaultResults = 50
)

// Query is what an administrator looks for.
type Query struct {
	// User is the owner, folded, and Text a part of label, id or owner, in any case; empty matches all.
	User, Text string
	// StartAt is how many matches are passed over, and MaxResults how many are returned.
	StartAt, MaxResults int
}

// Page is a part of what a search found.
type Page struct {
	Query

	Total  int
	Tokens []Token
}

// Search returns tokens of everybody.
func (p *Service) Search(ctx context.Context, c *Caller, q Query) (Page, error) {
	if err := c.mustAdminister(); err != nil {
		return Page{}, err
	}
	switch {
	case q.StartAt < 0:
		return Page{}, invalid("startAt", "startAt must be 0 or more.")
	case q.MaxResults < 1 || q.MaxResults > MaxResults:
		return Page{}, invalid("maxResults", "maxResults must be 1 to %d.", MaxResults)
	}
	found, err := p.list(ctx, client.MatchingFields{bySite: c.Ref().String()})
	if err != nil {
		return Page{}, err
	}
	found = slices.DeleteFunc(found, func(t Token) bool { return !q.matches(t) })
	from := min(q.StartAt, len(found))
	return Page{Query: q, Total: len(found), Tokens: found[from:min(from+q.MaxResults, len(found))]}, nil
}

func (q Query) matches(t Token) bool {
	if q.User != "" && t.User != username.Fold(q.User) {
		return false
	}
	text := strings.ToLower(q.Text)
	return slices.ContainsFunc([]string{t.Label, t.ID, t.User}, func(s string) bool { return strings.Contains(strings.ToLower(s), text) })
}

// RevokeOf ends a token of anybody.
func (p *Service) RevokeOf(ctx context.Context, c *Caller, id string) error {
	if err := c.mustAdminister(); err != nil {
		return err
	}
	all, err := p.list(ctx, client.MatchingFields{bySite: c.Ref().String()})
	if err != nil {
		return err
	}
	t, err := withID(all, id)
	if err != nil {
		return problem(NotFound, "There is no API token with this id.")
	}
	return p.revoke(ctx, c, t)
}

// RevokeAllOf ends all tokens of a user.
func (p *Service) RevokeAllOf(ctx context.Context, c *Caller, user string) (int, error) {
	if err := c.mustAdminister(); err != nil {
		return 0, err
	}
	if user == "" {
		return 0, invalid("user", "user must be given: whose API tokens are to be revoked?")
	}
	return p.revokeAllOf(ctx, c, username.Fold(user))
}

func (c *Caller) mustAdminister() error {
	if c.Administers() {
		return nil
	}
	return problem(Forbidden, "Only administrators of API tokens may do this: ask for `%s` to be added to `administrators` of the site.", c.User)
}
