package apitoken

import (
	"context"
	"fmt"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/utils/ptr"
	"sigs.k8s.io/controller-runtime/pkg/client"

	tokensv1alpha1 "apitokens.dev/operator/api/v1alpha1"
	"apitokens.dev/operator/controllers/index"
	"apitokens.dev/operator/internal/enrolment"
	"apitokens.dev/operator/internal/record"
	"apitokens.dev/operator/internal/recordstore"
	"apitokens.dev/operator/internal/siteurl"
	"apitokens.dev/operator/internal/token"
	"apitokens.dev/operator/internal/upstream"
	"apitokens.dev/operator/internal/username"
)

// observed is a state with the objects that it was read from. Writes use their versions as preconditions.
type observed struct {
	state

	recordSecret, deliveredSecret *corev1.Secret
	// secret is the secret to import.
	secret string
	// made is what the step before wrote.
	made written
	// counted is how many older APITokens the user has at the site, or nil if that does not matter.
	counted *int
}

// written are the Secrets as they are after a step, by the answers of the API server to it, or nil. They are not read again.
type written struct {
	record, delivered *corev1.Secret
	// unrecorded means that the cache has no record of a new token. That is enough to create one: it fails if there is one. So does the
	// delivery if there is a Secret, so none is looked for.
	unrecorded bool
	// counted is what this pass counted before, or nil. Both times it counts in the cache.
	counted *int
}

// observe reads everything that a decision rests on, but for what the step before wrote. It reads the delivered Secret live: it is never
// cached. With a live reader it reads the record and the stops of the site live too: epoch, blocked users, namespaces.
func (r *Reconciler) observe(ctx context.Context, t *tokensv1alpha1.APIToken, reader client.Reader, made written) (observed, error) {
	return r.observeWith(ctx, t, reader, made, r.observeSecret)
}

// observeWith reads the Secret with the token by observeSecret.
func (r *Reconciler) observeWith(
	ctx context.Context, t *tokensv1alpha1.APIToken, reader client.Reader, made written, observeSecret func(context.Context, *observed) error,
) (observed, error) {
	s := observed{state: state{now: r.Clock.Now(), token: t, recordName: r.Namespace + "/" + string(t.UID)}, made: made}
	if t.Malformed != "" {
		return s, nil
	}
	if err := r.observeSite(ctx, &s, reader); err != nil {
		return observed{}, err
	}
	var err error
	if s.recordSecret = made.record; s.recordSecret == nil && !made.unrecorded {
		if s.recordSecret, err = getSecret(ctx, reader, r.Namespace, string(t.UID)); err != nil {
			return observed{}, fmt.Errorf("reading the record: %w", err)
		}
	}
	if s.recordSecret != nil {
		s.record, s.recordErr = recordstore.Decode(s.recordSecret)
		s.noted, s.recorded = readNote(s.recordSecret, t), s.recordSecret.CreationTimestamp.Time
	}
	known, err := r.Guard.Stored(ctx)
	if err != nil {
		return observed{}, err
	}
	s.guard = guard{since: known.GuardedSince} // whether they are in force now is asked before each step that rests on it
	if err := observeSecret(ctx, &s); err != nil {
		return observed{}, err
	}
	if s.site == nil {
		return s, nil
	}
	if s.record == nil && !s.ofPortal() && s.site.Spec.TokenPolicy.MaxTokensPerUser != nil { // the portal counts its own
		if s.counted = made.counted; s.counted == nil {
			if s.counted, err = r.countOlder(ctx, t); err != nil {
				return observed{}, err
			}
		}
		s.older = *s.counted
	}
	err = r.observePAT(ctx, &s)
	return s, err
}

// observeSecret reads the Secret with the token: the delivered one, or the one to import from.
func (r *Reconciler) observeSecret(ctx context.Context, s *observed) error {
	switch {
	case s.token.Spec.Credential.Imported != nil:
		return r.observeSource(ctx, s, s.token.Spec.Credential.Imported)
	case s.ofPortal():
		return r.observePortal(ctx, s)
	default:
		return r.observeDelivery(ctx, s)
	}
}

// observePortal looks for the record of an earlier APIToken of the same name, if this one has none.
func (r *Reconciler) observePortal(ctx context.Context, s *observed) (err error) {
	if s.record != nil || s.recordErr != nil || s.pending() {
		return nil
	}
	s.orphan, err = r.findOrphan(ctx, s.token, func(*record.Record) bool { return true })
	return err
}

// observeDelivery reads the delivered Secret. That of a new token is not read, unless an earlier APIToken of the same name may have left
// one.
func (r *Reconciler) observeDelivery(ctx context.Context, s *observed) (err error) {
	t := s.token
	if s.made.unrecorded {
		earlier, err := r.findOrphan(ctx, t, func(*record.Record) bool { return true })
		if err != nil || earlier.name == "" {
			return err
		}
	}
	if s.deliveredSecret = s.made.delivered; s.deliveredSecret == nil {
		if s.deliveredSecret, err = r.readDelivered(ctx, t); err != nil {
			return err
		}
	}
	if s.deliveredSecret != nil {
		s.delivered = inspect(s.deliveredSecret, s.record)
	}
	if s.record == nil && s.delivered != nil && s.delivered.tokenID != "" {
		id, password := s.delivered.tokenID, s.deliveredSecret.Data[corev1.BasicAuthPasswordKey]
		s.orphan, err = r.findOrphan(ctx, t, func(candidate *record.Record) bool {
			return candidate.TokenID == id && (candidate.Verify(password) >= 0 || !candidate.Dead.IsZero() && candidate.VerifyDead(password) >= 0)
		})
		return err
	}
	return nil
}

// readDelivered reads the delivered Secret live. It returns nil if there is none.
func (r *Reconciler) readDelivered(ctx context.Context, t *tokensv1alpha1.APIToken) (*corev1.Secret, error) {
	s, err := getSecret(ctx, r.Live, t.Namespace, t.Spec.Delivery.SecretName)
	if err != nil {
		return nil, fmt.Errorf("reading the delivered Secret: %w", err)
	}
	return s, nil
}

// countOlder counts the older APITokens of the same user at the same site.
func (r *Reconciler) countOlder(ctx context.Context, t *tokensv1alpha1.APIToken) (*int, error) {
	var list tokensv1alpha1.APITokenList
	owner := index.Owner(t.SiteNamespace(), t.Spec.SiteRef.Name, username.Fold(t.Spec.User))
	if err := r.Client.List(ctx, &list, client.MatchingFields{index.ByOwner: owner}); err != nil {
		return nil, fmt.Errorf("counting the user's APITokens: %w", err)
	}
	older := 0
	for i := range list.Items {
		if other := &list.Items[i]; other.DeletionTimestamp.IsZero() && isOlder(other, t) {
			older++
		}
	}
	return &older, nil
}

// isOlder orders APITokens by age, and APITokens of the same second by UID.
func isOlder(a, b *tokensv1alpha1.APIToken) bool {
	if !a.CreationTimestamp.Equal(&b.CreationTimestamp) {
		return a.CreationTimestamp.Before(&b.CreationTimestamp)
	}
	return a.UID < b.UID
}

// inspect reads a delivered Secret. The token in it does not leave this function.
func inspect(s *corev1.Secret, r *record.Record) *delivered {
	password := s.Data[corev1.BasicAuthPasswordKey]
	d := &delivered{
		basicAuth: s.Type == corev1.SecretTypeBasicAuth,
		immutable: ptr.Deref(s.Immutable, false),
		username:  string(s.Data[corev1.BasicAuthUsernameKey]),
		url:       string(s.Data[urlKey]),
		entry:     -1,
	}
	if id, ok := token.Parse(password); ok {
		d.tokenID = string(id)
	}
	// The gateway finds a record by the id of the token. With another id the token does not authenticate, although it verifies.
	if r != nil && d.tokenID == r.TokenID {
		d.entry = r.Verify(password)
	}
	return d
}

// findOrphan returns a record that was written for an earlier APIToken with the same name and spec, one that is not dead if there is
// one.
func (r *Reconciler) findOrphan(ctx context.Context, t *tokensv1alpha1.APIToken, wanted func(*record.Record) bool) (found orphan, err error) {
	var records corev1.SecretList
	named := client.MatchingFields{index.ByToken: t.Namespace + "/" + t.Name}
	if err := r.Client.List(ctx, &records, client.InNamespace(r.Namespace), named); err != nil {
		return orphan{}, fmt.Errorf("looking for the record of an earlier APIToken: %w", err)
	}
	for i := range records.Items {
		candidate, err := recordstore.Decode(&records.Items[i])
		if err != nil || !wanted(candidate) || recordAgrees(state{token: t, record: candidate}) != nil {
			continue
		}
		found = orphan{name: r.Namespace + "/" + records.Items[i].Name, dead: candidate.Dead, kept: records.Items[i].Annotations[orphanedSince] != ""}
		if candidate.Dead.IsZero() {
			break
		}
	}
	return found, nil
}

// observePAT reads the personal access token that the gateway has for the user: one that the product accepts, and that belongs to
// the site's present origin. The cache may be late without harm: what the product said of its owner stays true, a token acts only for the
// owner that its record has, and the change of a personal access token reconciles the user's APITokens.
func (r *Reconciler) observePAT(ctx context.Context, s *observed) error {
	name := upstream.SecretName(s.site.Namespace, s.site.Name, username.Fold(s.token.Spec.User))
	stored, err := getSecret(ctx, r.Client, r.CredentialsNamespace, name)
	if err != nil {
		return fmt.Errorf("reading the upstream credential: %w", err)
	}
	if stored == nil || stored.Type != upstream.SecretType {
		return nil
	}
	c, err := upstream.Decode(stored.Data[upstream.DataKey])
	if err != nil {
		return nil //nolint:nilerr // the site reports it
	}
	url, err := siteurl.Parse(s.site.Spec.UpstreamURL)
	held := err == nil && c.Origin == url.Origin && c.Usable()
	if s.pat = (pat{held: held, ended: !held, userKey: c.UserKey}); !s.ownerIsOpen() {
		return nil
	}
	if user := username.Fold(s.token.Spec.User); r.Owners.confirmed(s.token.UID, c.UserKey, user) {
		s.pat.name, s.pat.confirmed = user, true
		return nil
	}
	return r.observeName(ctx, s, enrolment.OfCopy(name))
}

// observeName reads from the enrolment of the user which name the product gave the owner of the personal access token.
func (r *Reconciler) observeName(ctx context.Context, s *observed, name string) error {
	stored, err := getSecret(ctx, r.Client, r.Namespace, name)
	if err != nil {
		return fmt.Errorf("reading the enrolment of the user: %w", err)
	}
	if stored == nil || stored.Type != enrolment.SecretType {
		return nil
	}
	e, err := enrolment.Decode(stored.Data[enrolment.DataKey])
	if err == nil && e.SecretName() == name && e.UserKey == s.pat.userKey {
		s.pat.name, s.pat.named = e.Name, e.Checked
	}
	return nil // the site controller publishes one that cannot be read anew
}

// getSecret returns nil if there is none.
func getSecret(ctx context.Context, from client.Reader, namespace, name string) (*corev1.Secret, error) {
	var s corev1.Secret
	switch err := from.Get(ctx, client.ObjectKey{Namespace: namespace, Name: name}, &s); {
	case err == nil:
		return &s, nil
	case apierrors.IsNotFound(err):
		return nil, nil
	default:
		return nil, err
	}
}
