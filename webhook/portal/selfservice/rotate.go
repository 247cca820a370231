package selfservice

import (
	"context"
	"fmt"
	"time"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/types"

	tokensv1alpha1 "apitokens.dev/operator/api/v1alpha1"
	"apitokens.dev/operator/internal/audit"
	"apitokens.dev/operator/internal/lifetime"
	"apitokens.dev/operator/internal/record"
	"apitokens.dev/operator/internal/recordstore"
	"apitokens.dev/operator/internal/terms"
)

// MaxOverlap is the longest time for which a replaced secret may stay valid.
const MaxOverlap = 365 * 24 * time.Hour

// maxTries is how often a change of a record is tried if others change it at the same time.
const maxTries = 3

// Rotate generates a new secret of a token and returns its plaintext. The previous secret stays valid for the overlap.
func (s *Service) Rotate(ctx context.Context, c *Caller, id string, overlap time.Duration) (Token, string, error) {
	return s.RotateOnce(ctx, c, id, overlap, time.Time{})
}

// RotateOnce rotates a token if its newest secret was issued at newest. So a form that is sent twice rotates once, and the secret
// that was shown stays valid. A zero time matches every secret.
func (s *Service) RotateOnce(ctx context.Context, c *Caller, id string, overlap time.Duration, newest time.Time) (rotated Token, text string, err error) {
	t, err := s.Get(c, id)
	if err != nil {
		return Token{}, "", err
	}
	if err := s.mayRotate(c, t, overlap); err != nil {
		return Token{}, "", err
	}
	var issued time.Time
	for range maxTries {
		text, issued, err = s.replaceSecret(ctx, c, t, overlap, newest)
		if !apierrors.IsConflict(err) {
			break
		}
	}
	switch {
	case apierrors.IsConflict(err):
		return Token{}, "", problem(Conflict, "Another request rotates this API token at the same time. Check its state, then try again.")
	case err != nil:
		return Token{}, "", err
	}
	s.logEvent(c, audit.Rotated, t.ID, t.User)
	rotated, err = s.awaitRotated(ctx, t, issued)
	return rotated, text, err
}

// awaitRotated waits until a secret authenticates here that was issued at or after issued: another rotation may follow at once.
func (s *Service) awaitRotated(ctx context.Context, t Token, issued time.Time) (rotated Token, err error) {
	exists := true
	err = awaitFeed(ctx, func() bool {
		rotated, exists = s.view(t.object)
		return !exists || !rotated.Issued.Before(issued)
	})
	if err == nil && !exists {
		err = errJustRevoked
	}
	return rotated, err
}

var errJustRevoked error = problem(NotFound, "This API token was revoked in the meantime.")

func (s *Service) mayRotate(c *Caller, t Token, overlap time.Duration) error {
	switch {
	case c.Token != nil && c.Token.UID != t.object.UID:
		return problem(Forbidden, "An API token may rotate only itself.")
	case t.Credential != tokensv1alpha1.CredentialPortal:
		return problem(Conflict, "This API token is declared in Kubernetes, as APIToken '%s' in namespace '%s'. Rotate it there.", t.Name, t.Namespace)
	case t.State == Damaged:
		return problem(Conflict, "This API token is damaged and works nowhere, and a new secret would not change that. Revoke it, and create another one.")
	case overlap < 0 || overlap > MaxOverlap:
		return invalid("overlapHours", "overlapHours must be a number from 0 to %d.", MaxOverlap/time.Hour)
	}
	if until := t.object.Spec.ExpirationTime.Time; !until.IsZero() && !until.After(s.Clock.Now()) {
		return problem(Conflict, "This API token expired at %s, and a new secret would not change that. Create another one.", until.UTC().Format(time.RFC3339))
	}
	switch p := s.checkPolicy(c, t.object); {
	case p == nil:
		return nil
	case p.Kind == Invalid: // the token is at fault, and not the request
		return problem(Conflict, "%s This API token breaks that rule, so it cannot be rotated: create another one.", p.Message)
	default:
		return p
	}
}

// replaceSecret adds a secret to the record, if nobody else changes the record meanwhile.
func (s *Service) replaceSecret(ctx context.Context, c *Caller, t Token, overlap time.Duration, newest time.Time) (text string, issued time.Time, err error) {
	var stored corev1.Secret
	switch err := s.Client.Get(ctx, types.NamespacedName{Namespace: s.Namespace, Name: string(t.object.UID)}, &stored); {
	case apierrors.IsNotFound(err):
		return "", issued, errJustRevoked
	case err != nil:
		return "", issued, fmt.Errorf("reading the record: %w", err)
	}
	r, err := recordstore.Decode(&stored)
	if err != nil {
		return "", issued, err
	}
	if last := r.Entries[len(r.Entries)-1]; !newest.IsZero() && !last.Issued.Equal(newest) {
		return "", issued, &Problem{Kind: Conflict, Field: FieldNonce,
			Message: "This API token was rotated after this form was opened. The new secret is not shown again: if you do not have it, rotate again."}
	}
	text, entry, err := s.mint(r.TokenID)
	if err != nil {
		return "", issued, err
	}
	r.Entries = append(s.stillValid(c, t, r.Entries, overlap), entry)
	if len(r.Entries) > record.MaxEntries {
		return "", issued, problem(Conflict, "This API token has %d valid secrets, which is the limit. Wait until one expires, or create another API token.",
			record.MaxEntries)
	}
	if err := s.records().Update(ctx, &stored, r); err != nil {
		return "", issued, err
	}
	return text, entry.Issued, nil
}

// stillValid returns the earlier secrets that stay valid beside a new one, for the overlap at most.
func (s *Service) stillValid(c *Caller, t Token, entries []record.Entry, overlap time.Duration) []record.Entry {
	now := s.Clock.Now().UTC()
	var valid []record.Entry
	for _, e := range entries {
		e = e.EndingBy(now.Add(overlap))
		if lifetime.ValidityOf(&e, terms.Requested(t.object), terms.Policy(c.AtlassianSite), now) == lifetime.Valid {
			valid = append(valid, e)
		}
	}
	return valid
}
