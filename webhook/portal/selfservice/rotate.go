package selfservice

import (
	"context"
	"errors"
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

// MaxOverlap is the longest that a replaced secret may go on.
const MaxOverlap = 365 * 24 * time.Hour

// maxTries is how often a record is changed again that somebody else changed meanwhile.
const maxTries = 3

// Rotate makes a new secret of a token, and returns its plaintext. The one before it goes on for the overlap.
func (p *Service) Rotate(ctx context.Context, c *Caller, id string, overlap time.Duration) (Token, string, error) {
	return p.RotateOnce(ctx, c, id, overlap, time.Time{})
}

// RotateOnce does so only if its newest secret is the one of that time: a form that is sent twice makes one secret, and not a
// second one in place of the first, which was shown. A zero time is any.
func (p *Service) RotateOnce(ctx context.Context, c *Caller, id string, overlap time.Duration, of time.Time) (rotated Token, text string, err error) {
	t, err := p.Get(ctx, c, id)
	if err != nil {
		return Token{}, "", err
	}
	if err := p.mayRotate(c, t, overlap); err != nil {
		return Token{}, "", err
	}
	var issued time.Time
	for range maxTries {
		text, issued, err = p.replaceSecret(ctx, c, t, overlap, of)
		if !apierrors.IsConflict(err) {
			break
		}
	}
	switch {
	case apierrors.IsConflict(err):
		return Token{}, "", problem(Conflict, "This API token is being rotated by others. Look at it, and try again.")
	case err != nil:
		return Token{}, "", err
	}
	p.tell(c, audit.Rotated, t)
	there := true
	err = seen(ctx, func() bool {
		rotated, there = p.view(t.object)
		return !there || !rotated.Issued.Before(issued) // one that is being revoked is not seen again, and another rotation may come after
	})
	switch {
	case err != nil:
		return Token{}, "", err
	case !there:
		return Token{}, "", problem(NotFound, "This API token was revoked just now.")
	}
	return rotated, text, nil
}

func (p *Service) mayRotate(c *Caller, t Token, overlap time.Duration) error {
	switch {
	case c.Token != nil && c.Token.UID != t.object.UID:
		return problem(Forbidden, "An API token may rotate itself, and no other one.")
	case t.Credential != tokensv1alpha1.CredentialPortal:
		return problem(Conflict, "This API token is declared in Kubernetes, as APIToken '%s' in namespace '%s', and rotated there.", t.Name, t.Namespace)
	case overlap < 0 || overlap > MaxOverlap:
		return invalid("overlapHours", "overlapHours must be 0 to %d.", MaxOverlap/time.Hour)
	}
	if until := t.object.Spec.ExpirationTime.Time; !until.IsZero() && !until.After(p.Clock.Now()) {
		return problem(Conflict, "This API token ended at %s, and a new secret would not change that. Create another one.", until.UTC().Format(time.RFC3339))
	}
	err := p.checkPolicy(c, t.object)
	if broken := (*Problem)(nil); errors.As(err, &broken) && broken.Kind == Invalid { // of the token, and not of what was asked for
		return problem(Conflict, "%s This one does not keep to that, so it is not rotated: create another one.", broken.Message)
	}
	return err
}

// replaceSecret changes the record under the precondition that it is the one that was read.
func (p *Service) replaceSecret(ctx context.Context, c *Caller, t Token, overlap time.Duration, of time.Time) (text string, issued time.Time, err error) {
	var stored corev1.Secret
	switch err := p.Live.Get(ctx, types.NamespacedName{Namespace: p.Namespace, Name: string(t.object.UID)}, &stored); {
	case apierrors.IsNotFound(err):
		return "", issued, problem(NotFound, "This API token was revoked just now.")
	case err != nil:
		return "", issued, fmt.Errorf("reading the record: %w", err)
	}
	r, err := recordstore.Decode(&stored)
	if err != nil {
		return "", issued, err
	}
	if newest := r.Entries[len(r.Entries)-1]; !of.IsZero() && !newest.Issued.Equal(of) {
		return "", issued, &Problem{Kind: Conflict, Field: FieldNonce,
			Message: "This API token was rotated since this form was opened. A new secret is not shown again: if you do not have it, rotate once more."}
	}
	text, fresh, err := p.mint(r.TokenID)
	if err != nil {
		return "", issued, err
	}
	r.Entries = append(p.outlived(c, t, r.Entries, overlap), fresh)
	if len(r.Entries) > record.MaxEntries {
		return "", issued, problem(Conflict, "The last %d secrets of this API token all go on still. Wait for one of them to end, or create another API token.",
			record.MaxEntries)
	}
	if err := p.records().Update(ctx, &stored, r); err != nil {
		return "", issued, err
	}
	return text, fresh.Issued, nil
}

// outlived are the secrets that go on beside a new one.
func (p *Service) outlived(c *Caller, t Token, entries []record.Entry, overlap time.Duration) []record.Entry {
	now := p.Clock.Now().UTC()
	var left []record.Entry
	for _, e := range entries {
		if e.State != record.Ending {
			e.State, e.Ends = record.Ending, now.Add(overlap)
		}
		if lifetime.ValidityOf(&e, terms.Requested(t.object), terms.Policy(c.AtlassianSite), now) == lifetime.Valid {
			left = append(left, e)
		}
	}
	return left
}
