package atlassian

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"strconv"
	"time"
)

// patPath is where users manage their personal access tokens, in both products
// (https://confluence.atlassian.com/enterprise/using-personal-access-tokens-1026032365.html).
const patPath = "/rest/pat/latest/tokens"

// ErrPATRefused means that the product makes no personal access token: the user has too many, or the lifetime is too long.
var ErrPATRefused = errors.New("the product makes no personal access token")

// PAT is a personal access token in the product's list.
type PAT struct {
	ID               int64
	Name             string
	Created, Expires time.Time
	// Token is the secret. Only CreatePAT returns it.
	Token string
}

// never is the year with which some answers say that a token never expires.
const never = 9999

type patAnswer struct {
	ID         int64   `json:"id"`
	Name       string  `json:"name"`
	CreatedAt  patTime `json:"createdAt"`
	ExpiringAt patTime `json:"expiringAt"`
	RawToken   string  `json:"rawToken"`
}

func (a patAnswer) pat() PAT {
	return PAT{ID: a.ID, Name: a.Name, Created: time.Time(a.CreatedAt), Expires: time.Time(a.ExpiringAt), Token: a.RawToken}
}

// patTime is a time in ISO 8601. Its zone may lack the colon. Absent and null are zero.
type patTime time.Time

// UnmarshalJSON parses a time.
func (t *patTime) UnmarshalJSON(text []byte) error {
	var value *string
	if err := json.Unmarshal(text, &value); err != nil || value == nil || *value == "" {
		return err
	}
	for _, layout := range []string{time.RFC3339, "2006-01-02T15:04:05.999-0700"} {
		if parsed, err := time.Parse(layout, *value); err == nil {
			if parsed.Year() < never {
				*t = patTime(parsed.UTC())
			}
			return nil
		}
	}
	return fmt.Errorf("%w: a time that cannot be read", ErrUnexpected)
}

// CreatePAT makes a personal access token for the user that a credential authenticates.
func (c *Client) CreatePAT(ctx context.Context, u Upstream, as Credential, name string, days int) (PAT, error) {
	send, err := json.Marshal(map[string]any{"name": name, "expirationDuration": days})
	if err != nil {
		return PAT{}, fmt.Errorf("asking for a personal access token: %w", err)
	}
	var made patAnswer
	if err := c.pats(ctx, u, http.MethodPost, patPath, as, send, &made); err != nil {
		return PAT{}, fmt.Errorf("asking %s for a personal access token: %w", u.URL, err)
	}
	if made.ID == 0 || made.RawToken == "" {
		return PAT{}, fmt.Errorf("asking %s for a personal access token: %w", u.URL, ErrUnexpected)
	}
	return made.pat(), nil
}

// ListPATs returns the personal access tokens of the user that a credential authenticates, without the secrets.
func (c *Client) ListPATs(ctx context.Context, u Upstream, as Credential) ([]PAT, error) {
	var listed []patAnswer
	if err := c.pats(ctx, u, http.MethodGet, patPath, as, nil, &listed); err != nil {
		return nil, fmt.Errorf("listing personal access tokens at %s: %w", u.URL, err)
	}
	pats := make([]PAT, len(listed))
	for i, a := range listed {
		pats[i] = a.pat()
	}
	return pats, nil
}

// DeletePAT revokes a personal access token of the user that a credential authenticates. A missing one is no error.
func (c *Client) DeletePAT(ctx context.Context, u Upstream, as Credential, id int64) error {
	err := c.pats(ctx, u, http.MethodDelete, patPath+"/"+strconv.FormatInt(id, 10), as, nil, nil)
	if err != nil && !errors.Is(err, errNoPAT) {
		return fmt.Errorf("revoking a personal access token at %s: %w", u.URL, err)
	}
	return nil
}

var errNoPAT = fmt.Errorf("%w: not found", ErrUnexpected)

// pats sends one request about personal access tokens, and decodes the answer into into, if that is not nil. Public recordings
// differ in the status of success.
func (c *Client) pats(ctx context.Context, u Upstream, method, path string, as Credential, send []byte, into any) error {
	status, body, err := c.ask(ctx, u, method, path, as, send)
	if err != nil {
		return err
	}
	switch {
	case status == http.StatusUnauthorized || status == http.StatusForbidden:
		return fmt.Errorf("%w (HTTP %d)", ErrRefused, status)
	case status == http.StatusNotFound:
		return errNoPAT
	case method == http.MethodPost && (status == http.StatusBadRequest || status == http.StatusConflict):
		return fmt.Errorf("%w (HTTP %d)", ErrPATRefused, status)
	case status/100 != 2:
		return fmt.Errorf("%w (HTTP %d)", ErrUnexpected, status)
	case into == nil:
		return nil
	}
	if json.Unmarshal(body, into) != nil { // its error could quote the body
		return fmt.Errorf("%w (HTTP %d)", ErrUnexpected, status)
	}
	return nil
}
