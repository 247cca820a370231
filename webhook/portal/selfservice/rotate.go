package selfservice

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/client"

	tokensv1alpha1 "apitokens.dev/operator/api/v1alpha1"
	"apitokens.dev/operator/internal/audit"
	"apitokens.dev/operator/internal/lifetime"
	"apitokens.dev/operator/internal/record"
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
//
// It is a maker of the protocol, as Create is: it writes the record, reads live whether anything stops the new secret, and takes it
// back if so.
func (s *Service) RotateOnce(ctx context.Context, c *Caller, id string, overlap time.Duration, newest time.Time) (rotated Token, text string, err error) {
	t, err := s.Get(c, id)
	if err != nil {
		return Token{}, "", err
	}
	if err := s.mayRotate(c, t, overlap); err != nil {
		return Token{}, "", err
	}
	r, err := s.replaceSecret(ctx, c, t, overlap, newest)
	if err != nil {
		return Token{}, "", err
	}
	if err = s.checkRotated(ctx, c, t, r.entry.Issued); err == nil {
		rotated, err = s.awaitRotated(ctx, t, r.entry.Issued)
	}
	if err != nil {
		return Token{}, "", s.takeBackSecret(ctx, r, err)
	}
	s.logEvent(c, audit.Rotated, t.ID, t.User)
	return rotated, r.text, nil
}

// checkRotated is the step *read live* of a rotation.
func (s *Service) checkRotated(ctx context.Context, c *Caller, t Token, issued time.Time) error {
	now, err := s.liveAPIToken(ctx, client.ObjectKeyFromObject(t.object), t.object.UID)
	switch {
	case err != nil:
		return err
	case now == nil:
		return errJustRevoked
	}
	return ofRotation(s.checkSite(ctx, c, now, issued))
}

// ofRotation returns the error for a rotation: if a rule of the site is broken, the token is at fault, and not the request.
func ofRotation(err error) error {
	if p := (*Problem)(nil); errors.As(err, &p) && p.Kind == Invalid {
		return problem(Conflict, "%s This API token breaks that rule, so it cannot be rotated: create another one.", p.Message)
	}
	return err
}

// awaitRotated waits until a secret authenticates here that was issued at or after issued: another rotation may follow at once.
func (s *Service) awaitRotated(ctx context.Context, t Token, issued time.Time) (rotated Token, err error) {
	exists := true
	err = awaitFeed(ctx, func() bool {
		now := s.Objects.APIToken(client.ObjectKeyFromObject(t.object))
		if now == nil || now.UID != t.object.UID {
			exists = false
			return true
		}
		rotated, exists = s.view(now)
		return !exists || !rotated.Issued.Before(issued)
	})
	if err == nil && !exists {
		err = errJustRevoked
	}
	return rotated, err
}

var errJustRevoked error = problem(NotFound, "This API token was revoked in the meantime.")

func (s *Service) mayRotate(c *Caller, t Token, overlap time.Duration) error {
	if err := c.mustBeCurrent(); err != nil {
		return err
	}
	switch {
	case c.Token != nil && c.Token.UID != t.object.UID:
		return problem(Forbidden, "An API token may rotate only itself.")
	case t.Credential != tokensv1alpha1.CredentialPortal:
		return problem(Conflict, "This API token is declared in Kubernetes, as APIToken '%s' in namespace '%s'. Rotate it there.", t.Name, t.Namespace)
	case t.State == Damaged:
		return problem(Conflict, "This API token is damaged and works nowhere, and a new secret would not change that. Revoke it, and create another one.")
	case c.Token != nil && forbidsRotationByTokens(c.Spec.TokenPolicy):
		return problem(Forbidden, "An API token of this site may not rotate itself. Sign in to %s and open %s.", c.Spec.Product, c.PageURL())
	case overlap < 0 || overlap > MaxOverlap:
		return invalid("overlapHours", "overlapHours must be a number from 0 to %d.", MaxOverlap/time.Hour)
	}
	if until := t.object.Spec.ExpirationTime.Time; !until.IsZero() && !until.After(s.Clock.Now()) {
		return problem(Conflict, "This API token expired at %s, and a new secret would not change that. Create another one.", until.UTC().Format(time.RFC3339))
	}
	if p := s.checkPolicy(c, t.object); p != nil {
		return ofRotation(p)
	}
	return s.mustNotOutlive(c, t)
}

// mustNotOutlive refuses a rotation with the token itself that would move its end: a thief who had a secret for a while would have
// the token for ever.
func (s *Service) mustNotOutlive(c *Caller, t Token) error {
	if c.Token == nil {
		return nil
	}
	requested, policy := terms.Requested(t.object), terms.Policy(c.AtlassianSite)
	end, after := lifetime.End(requested, policy, c.entry.Issued), lifetime.End(requested, policy, s.Clock.Now())
	if end.IsZero() || !after.After(end) {
		return nil
	}
	return &Problem{Kind: Conflict, Reason: ReasonRotationPastEnd, Message: fmt.Sprintf(
		"An API token may not rotate itself past its end, which is at %s. Sign in to %s and rotate it on %s, or declare it in Kubernetes with `rotation`.",
		end.UTC().Format(time.RFC3339), c.Spec.Product, c.PageURL())}
}

// forbidsRotationByTokens reports whether a token may not rotate itself. Absent means the same as for creation.
func forbidsRotationByTokens(p tokensv1alpha1.TokenPolicy) bool {
	return cmp.Or(string(p.RotationByTokens), string(p.CreationByTokens), string(tokensv1alpha1.RotationByTokensAllowed)) !=
		string(tokensv1alpha1.RotationByTokensAllowed)
}

// rotation is a new secret that was written to a record.
type rotation struct {
	uid types.UID
	// entries and dead are those of the record before.
	entries, dead []record.Entry
	entry         record.Entry
	text          string
}

// replaceSecret adds a secret to the record: the step *write record* of a rotation. If others change the record at the same time, it tries again.
func (s *Service) replaceSecret(ctx context.Context, c *Caller, t Token, overlap time.Duration, newest time.Time) (r rotation, err error) {
	for range maxTries {
		stored, known, err := s.rotatable(ctx, c, t, newest)
		if err != nil {
			return r, err
		}
		r = rotation{uid: t.object.UID, entries: slices.Clone(known.Entries), dead: slices.Clone(known.DeadEntries)}
		if r.text, r.entry, err = s.mint(known.TokenID); err != nil {
			return r, err
		}
		kept := append(s.stillValid(c, t, known.Entries, overlap), r.entry)
		if len(kept) > record.MaxEntries {
			return r, problem(Conflict, "This API token has %d valid secrets, which is the limit. Wait until one expires, or create another API token.",
				record.MaxEntries)
		}
		known.Keep(kept, s.Clock.Now())
		err = s.records().Update(ctx, stored, known)
		switch {
		case isTransient(err):
			return r, s.rotatedAnyway(ctx, r)
		case !apierrors.IsConflict(err):
			return r, err
		}
	}
	return r, problem(Conflict, "Another request rotates this API token at the same time. Check its state, then try again.")
}

// rotatable returns the record of a token, as the API server has it, if the caller may add a secret to it.
func (s *Service) rotatable(ctx context.Context, c *Caller, t Token, newest time.Time) (*corev1.Secret, *record.Record, error) {
	stored, r, err := s.readRecord(ctx, t.object.UID)
	switch {
	case err != nil:
		return nil, nil, err
	case r == nil || !r.Dead.IsZero():
		return nil, nil, errJustRevoked
	}
	if last := r.Entries[len(r.Entries)-1]; !newest.IsZero() && !last.Issued.Equal(newest) {
		return nil, nil, &Problem{Kind: Conflict, Field: FieldNonce,
			Message: "This API token was rotated after this form was opened. The new secret is not shown again: if you do not have it, rotate again."}
	}
	return stored, r, c.mustBeCurrentIn(r)
}

// rotatedAnyway returns no error if the record has the new secret, although the API server gave no clear answer.
func (s *Service) rotatedAnyway(ctx context.Context, r rotation) error {
	_, now, err := s.readRecord(ctx, r.uid)
	if err == nil && now != nil && r.isNewestIn(now) {
		return nil
	}
	return s.takeBackSecret(ctx, r, errUnclear)
}

func (r rotation) isNewestIn(now *record.Record) bool {
	return now.Entries[len(now.Entries)-1].Hash == r.entry.Hash
}

// takeBackSecret is the step *take back* of a rotation: it removes a secret that nobody was shown, in the background, and makes the
// earlier ones valid as before. It returns the error for the caller.
func (s *Service) takeBackSecret(ctx context.Context, r rotation, because error) error {
	gone := s.takeBack(ctx, func(ctx context.Context) error {
		stored, now, err := s.readRecord(ctx, r.uid)
		switch {
		case err != nil:
			return err
		case now == nil:
			return nil
		case r.isNewestIn(now):
			now.Entries, now.DeadEntries = r.entries, r.dead
			return s.records().Update(ctx, stored, now)
		case isUnclear(because): // an answer was lost, and the request may still be on its way
			return errUnclear
		}
		return nil
	})
	switch {
	case !isUnclear(because):
		return because
	case gone:
		return problem(Unavailable, "Kubernetes did not answer in time. The rotation was taken back: the secret that you have works as before. Try again.")
	}
	return problem(Unavailable, "Kubernetes does not answer. If the API token was rotated, that is taken back: the secret that you have works as before. "+
		"Try again in a moment.")
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
