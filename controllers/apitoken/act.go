package apitoken

import (
	"context"
	"fmt"
	"slices"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"apitokens.dev/operator/controllers/internal/apierror"
	"apitokens.dev/operator/internal/record"
	"apitokens.dev/operator/internal/recordstore"
	"apitokens.dev/operator/internal/token"
	"apitokens.dev/operator/internal/username"
)

const (
	// urlKey is the delivered Secret's key for the base URL of the site.
	urlKey = "url"

	managedByLabel = "app.kubernetes.io/managed-by"
	managedBy      = "apitoken-operator"
)

// act takes one step. The order of writes makes every kill between them harmless: the record knows a secret before
// anybody gets it, and forgets older secrets only after the new one was read back from the delivered Secret.
func (r *Reconciler) act(ctx context.Context, next step, s observed) (made written, err error) {
	switch next {
	case issue:
		return r.issue(ctx, s)
	case adopt:
		made.record, err = r.adopt(ctx, s)
		return made, err
	case annotate, learn: // the secret itself stays as it is
		if err := r.change(ctx, next, s); err != nil {
			return made, err
		}
		return written{record: s.recordSecret, delivered: s.deliveredSecret}, nil
	default:
		return made, r.change(ctx, next, s)
	}
}

// change takes a step that changes what is there.
func (r *Reconciler) change(ctx context.Context, next step, s observed) error {
	switch next {
	case reissue:
		return r.reissue(ctx, s)
	case rotate:
		return r.rotate(ctx, s)
	case confirm:
		return r.confirm(ctx, s)
	case repair:
		return r.repair(ctx, s)
	case annotate:
		return r.annotate(ctx, s)
	case learn:
		return r.learn(ctx, s)
	case stop:
		return r.changeRecord(ctx, s, ended(s.state))
	case remove:
		return r.remove(ctx, s)
	default:
		return nil
	}
}

// issue makes a token. It returns what was written even if the rest fails.
func (r *Reconciler) issue(ctx context.Context, s observed) (made written, err error) {
	id, err := token.NewID(r.Random)
	if err != nil {
		return made, fmt.Errorf("making a token: %w", err)
	}
	// The first secret of a token replaces none, so its delivery needs no confirmation.
	text, entry, err := record.Mint(id, record.Delivered, s.now, r.Random)
	if err != nil {
		return made, err
	}
	if made.record, err = r.createRecord(ctx, s, id, entry); err != nil {
		return made, err
	}
	if made.delivered, err = r.deliver(ctx, s, text); err != nil || made.delivered != nil {
		return made, err
	}
	return r.withdraw(ctx, s, made)
}

// withdraw finds out whose the Secret is that was there before the delivery: ours, if the answer to an attempt was lost. Else nobody got
// the secret, and its record goes, in exactly the version that was created, so that a token that cannot be delivered leaves none.
func (r *Reconciler) withdraw(ctx context.Context, s observed, made written) (written, error) {
	var err error
	if made.delivered, err = r.readDelivered(ctx, s.token); err != nil {
		return made, err
	}
	created, err := recordstore.Decode(made.record)
	if err != nil || made.delivered == nil || inspect(made.delivered, created).ours() {
		return made, err
	}
	r.created.take(made.record.Name)
	err = r.Client.Delete(ctx, made.record, client.Preconditions{UID: &made.record.UID, ResourceVersion: &made.record.ResourceVersion})
	if client.IgnoreNotFound(err) != nil {
		return made, fmt.Errorf("removing the record of a token that cannot be delivered: %w", err)
	}
	return written{}, nil
}

// createRecord stores the first secret of a token. It is the step *write record* of the model of stopping.
func (r *Reconciler) createRecord(ctx context.Context, s observed, id string, entry record.Entry) (*corev1.Secret, error) {
	t := s.token
	r.created.note(string(t.UID))
	stored, err := r.records().Add(ctx, t.UID, &record.Record{
		TokenID: id, User: username.Fold(t.Spec.User), UserKey: s.owner(), DeliverySecret: t.Spec.Delivery.SecretName, Imported: s.source != nil,
		Site:     record.Ref{Namespace: t.SiteNamespace(), Name: t.Spec.SiteRef.Name},
		APIToken: record.Ref{Namespace: t.Namespace, Name: t.Name},
		Entries:  []record.Entry{entry},
	})
	if err != nil {
		r.created.take(string(t.UID)) // the next pass looks whose it is
	}
	return stored, err
}

func (r *Reconciler) records() recordstore.Store {
	return recordstore.Store{Client: r.Client, Namespace: r.Namespace, ManagedBy: managedBy}
}

// adopt imports a secret. Its owner has it already, so its state is Delivered. It returns the record if it is a new one.
func (r *Reconciler) adopt(ctx context.Context, s observed) (*corev1.Secret, error) {
	hash, err := record.NewImportedHash(s.secret, r.Random)
	if err != nil {
		return nil, fmt.Errorf("importing: %w", err)
	}
	entry := record.Entry{Hash: hash, State: record.Delivered, Issued: s.now.UTC()}
	if s.record != nil {
		return nil, r.changeRecord(ctx, s, []record.Entry{entry})
	}
	id, err := token.NewID(r.Random)
	if err != nil {
		return nil, fmt.Errorf("making the id of a token: %w", err)
	}
	return r.createRecord(ctx, s, id, entry)
}

func (r *Reconciler) reissue(ctx context.Context, s observed) error {
	text, err := r.addCandidate(ctx, s)
	if err != nil {
		return err
	}
	_, err = r.deliver(ctx, s, text)
	if _, refused := apierror.Refusal(err); refused {
		return r.takeBack(ctx, s, withoutRefused(s.state), err)
	}
	return err
}

// rotate replaces the delivered secret. It fails with Conflict if the delivered Secret changed since it was read.
func (r *Reconciler) rotate(ctx context.Context, s observed) error {
	text, err := r.addCandidate(ctx, s)
	if err != nil {
		return err
	}
	s.deliveredSecret.Data[corev1.BasicAuthPasswordKey] = []byte(text)
	if err := r.Client.Update(ctx, s.deliveredSecret); err != nil {
		err = fmt.Errorf("replacing the delivered token: %w", err)
		if _, refused := apierror.Refusal(err); refused {
			return r.takeBack(ctx, s, s.record.Entries[:len(s.record.Entries)-1], err)
		}
		return err
	}
	return nil
}

// takeBack removes the candidate of a refused delivery from the record, because nobody gets it: not even as a dead entry.
// It returns the refusal.
func (r *Reconciler) takeBack(ctx context.Context, s observed, kept []record.Entry, refusal error) error {
	refused := s.record.Entries[len(s.record.Entries)-1].Hash
	changed := keeping(s, kept)
	changed.DeadEntries = slices.DeleteFunc(changed.DeadEntries, func(e record.Entry) bool { return e.Hash == refused })
	if err := r.updateRecord(ctx, s, changed); err != nil {
		return err
	}
	return refusal
}

// addCandidate makes a new secret of the token and adds it to the record: *write record* for a rotation.
func (r *Reconciler) addCandidate(ctx context.Context, s observed) (string, error) {
	text, entry, err := record.Mint(s.record.TokenID, record.Candidate, s.now, r.Random)
	if err != nil {
		return "", err
	}
	entries, ok := withCandidate(s.state, entry)
	if !ok {
		return "", errUnsettled // decide found room before
	}
	return text, r.changeRecord(ctx, s, entries)
}

// deliver creates the Secret. It leaves an existing one alone, and returns nil: what comes after finds out whose it is.
func (r *Reconciler) deliver(ctx context.Context, s observed, text string) (*corev1.Secret, error) {
	made := &corev1.Secret{
		ObjectMeta: metav1.ObjectMeta{
			Namespace: s.token.Namespace, Name: s.secretName(),
			Labels:      map[string]string{managedByLabel: managedBy},
			Annotations: map[string]string{"apitokens.dev/apitoken": s.token.Name},
		},
		Type: corev1.SecretTypeBasicAuth,
		Data: map[string][]byte{
			corev1.BasicAuthUsernameKey: []byte(s.token.Spec.User),
			corev1.BasicAuthPasswordKey: []byte(text),
			urlKey:                      []byte(s.site.Spec.BaseURL),
		},
	}
	switch err := r.Client.Create(ctx, made); {
	case apierrors.IsAlreadyExists(err):
		return nil, nil
	case err != nil:
		return nil, fmt.Errorf("delivering the token: %w", err)
	}
	return made, nil
}

func (r *Reconciler) confirm(ctx context.Context, s observed) error {
	return r.changeRecord(ctx, s, tidied(s.state))
}

// changeRecord stores other entries. Those that it drops are dead.
func (r *Reconciler) changeRecord(ctx context.Context, s observed, kept []record.Entry) error {
	return r.updateRecord(ctx, s, keeping(s, kept))
}

// keeping returns the record with these entries, and the others as dead ones.
func keeping(s observed, kept []record.Entry) *record.Record {
	changed := *s.record
	changed.DeadEntries = slices.Clone(changed.DeadEntries)
	changed.Keep(kept, s.now)
	return &changed
}

// updateRecord stores a record. It fails with Conflict if that changed since it was read.
func (r *Reconciler) updateRecord(ctx context.Context, s observed, changed *record.Record) error {
	if err := r.records().Update(ctx, s.recordSecret, changed); err != nil {
		return err
	}
	*s.record = *changed
	return nil
}

// repair restores user name and URL in the delivered Secret. It fails with Conflict if that changed since it was read.
func (r *Reconciler) repair(ctx context.Context, s observed) error {
	s.deliveredSecret.Data[corev1.BasicAuthUsernameKey] = []byte(s.token.Spec.User)
	s.deliveredSecret.Data[urlKey] = []byte(s.site.Spec.BaseURL)
	if err := r.Client.Update(ctx, s.deliveredSecret); err != nil {
		return fmt.Errorf("repairing the delivered Secret: %w", err)
	}
	return nil
}

// annotate notes the generation of the spec in the record. It fails with Conflict if the record changed since it was read.
func (r *Reconciler) annotate(ctx context.Context, s observed) error {
	if s.recordSecret.Annotations == nil {
		s.recordSecret.Annotations = map[string]string{}
	}
	s.recordSecret.Annotations[guardedAnnotation] = writeNote(s.token, s.guard)
	if err := r.Client.Update(ctx, s.recordSecret); err != nil {
		return fmt.Errorf("annotating the record: %w", err)
	}
	return nil
}

// learn notes in the record whose the token is. It fails with Conflict if the record changed since it was read.
func (r *Reconciler) learn(ctx context.Context, s observed) error {
	changed := *s.record
	changed.LearnUserKey(s.owner())
	return r.updateRecord(ctx, s, &changed)
}

// remove deletes exactly the version of the APIToken that was read: *take back*, of one that the portal did not finish. The
// Cleaner then removes its Secrets, as after every deletion.
func (r *Reconciler) remove(ctx context.Context, s observed) error {
	t := s.token
	if err := r.Client.Delete(ctx, t, client.Preconditions{UID: &t.UID, ResourceVersion: &t.ResourceVersion}); client.IgnoreNotFound(err) != nil {
		return fmt.Errorf("removing the APIToken: %w", err)
	}
	if s.cutOff() {
		ctrl.LoggerFrom(ctx).Info("Removed an APIToken that the portal did not finish", "user", t.Spec.User)
		return nil
	}
	ctrl.LoggerFrom(ctx).Info("Removed an expired APIToken", "tokenID", t.Status.TokenID, "user", t.Spec.User, "expired", s.end())
	return nil
}
