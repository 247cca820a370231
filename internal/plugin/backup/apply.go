package backup

import (
	"context"
	"errors"
	"fmt"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/client"

	tokensv1alpha1 "apitokens.dev/operator/api/v1alpha1"
	"apitokens.dev/operator/internal/plugin/archive"
	"apitokens.dev/operator/internal/plugin/session"
	"apitokens.dev/operator/internal/record"
	"apitokens.dev/operator/internal/recordstore"
)

// managedBy is the value of the label app.kubernetes.io/managed-by of a record that a restore stored.
const managedBy = "kubectl-apitoken"

// applier writes what a plan says. Each step may be done again.
type applier struct {
	*cluster

	// uids has the UID that each APIToken of the archive has in the cluster now.
	uids map[string]types.UID
}

// site creates a site.
func (a *applier) site(ctx context.Context, s *archive.SiteStep) error {
	return session.Doing("creating the AtlassianSite", a.Create(ctx, s.Site.DeepCopy()))
}

// secret creates or replaces one of the operator's Secrets.
func (a *applier) secret(ctx context.Context, s *archive.SecretStep) error {
	namespace := a.system
	if s.Secret.BesideCredentials() {
		namespace = a.credentials
	}
	object := &corev1.Secret{
		ObjectMeta: metav1.ObjectMeta{Namespace: namespace, Name: s.Secret.Name, Labels: s.Secret.Labels}, Type: s.Secret.Type, Data: s.Secret.Value(s.Data),
	}
	if !s.Replaces {
		err := a.Create(ctx, object)
		switch {
		case apierrors.IsAlreadyExists(err) && s.Secret.IsWorkingCopy():
			return nil // the operator has made it from one of upstreamCredentials, once the site was there
		case apierrors.IsAlreadyExists(err):
			return errors.New("the operator has made one meanwhile: run this again")
		}
		return session.Doing("creating the Secret in "+namespace, err)
	}
	var stored corev1.Secret
	if err := a.Get(ctx, client.ObjectKeyFromObject(object), &stored); err != nil {
		return session.Doing("reading the Secret in "+namespace, err)
	}
	stored.Data = object.Data
	return session.Doing("changing the Secret in "+namespace, a.Update(ctx, &stored))
}

// token restores one token: the APIToken, suspended, then its record, and only then it lets it act. A stop in between leaves a
// token that does not authenticate.
func (a *applier) token(ctx context.Context, s *archive.TokenStep) error {
	t, err := a.suspended(ctx, s)
	if err != nil {
		return err
	}
	a.uids[string(s.Token.UID)] = t.UID
	switch {
	case s.Record == nil:
	case s.Bound:
		err = a.edit(ctx, t.UID, s.Record)
	default:
		byRestore := s.Live == nil || s.Live.Spec.State != tokensv1alpha1.StateSuspended
		err = a.store(ctx, t, s.Record, byRestore)
	}
	if err != nil {
		return err
	}
	if s.State != tokensv1alpha1.StateActive || t.Spec.State != tokensv1alpha1.StateSuspended {
		return nil
	}
	return a.patch(ctx, t, tokensv1alpha1.StateActive)
}

// suspended returns the APIToken of a step: a new one, or the one that is there. It is suspended if it is new, or shall be.
func (a *applier) suspended(ctx context.Context, s *archive.TokenStep) (*tokensv1alpha1.APIToken, error) {
	if s.Live == nil {
		t := s.Token.APIToken.DeepCopy()
		t.Spec.State = tokensv1alpha1.StateSuspended
		if uid, known := a.uids[t.Spec.CreatedBy.UID]; known {
			t.Spec.CreatedBy.UID = string(uid)
		}
		if err := a.Create(ctx, t); err != nil {
			return nil, session.Doing("creating the APIToken", err)
		}
		return t, nil
	}
	t := s.Live.DeepCopy()
	if s.State != tokensv1alpha1.StateSuspended || t.Spec.State == tokensv1alpha1.StateSuspended {
		return t, nil
	}
	return t, a.patch(ctx, t, tokensv1alpha1.StateSuspended)
}

// patch changes the state of an APIToken. It fails if somebody changed the APIToken meanwhile.
func (a *applier) patch(ctx context.Context, t *tokensv1alpha1.APIToken, state tokensv1alpha1.State) error {
	body := fmt.Sprintf(`{"metadata":{"uid":%q,"resourceVersion":%q},"spec":{"state":%q}}`, t.UID, t.ResourceVersion, state)
	err := a.Patch(ctx, t, client.RawPatch(types.MergePatchType, []byte(body)))
	if apierrors.IsConflict(err) { // as by the controller, which writes the status
		return a.patchAgain(ctx, t, state)
	}
	return session.Doing("changing the APIToken", err)
}

// patchAgain does it once more, if only the status was changed meanwhile.
func (a *applier) patchAgain(ctx context.Context, t *tokensv1alpha1.APIToken, state tokensv1alpha1.State) error {
	var now tokensv1alpha1.APIToken
	if err := a.Get(ctx, client.ObjectKeyFromObject(t), &now); err != nil {
		return session.Doing("reading the APIToken", err)
	}
	if now.UID != t.UID || now.Generation != t.Generation {
		return errors.New("somebody changed the APIToken meanwhile: look at it, and run this again")
	}
	now.DeepCopyInto(t)
	return a.patch(ctx, t, state)
}

// store stores a record under the UID that its APIToken has now. The UIDs of the tokens with which it was made are those of now, too.
// byRestore says that the restore suspended the APIToken, if it is suspended.
func (a *applier) store(ctx context.Context, t *tokensv1alpha1.APIToken, r *record.Record, byRestore bool) error {
	bound := *r
	bound.Ancestors = nil
	for _, ancestor := range r.Ancestors {
		if now, known := a.uids[ancestor]; known {
			ancestor = string(now)
		}
		bound.Ancestors = append(bound.Ancestors, ancestor)
	}
	store := recordstore.Store{Client: a, Namespace: a.system, ManagedBy: managedBy}
	if byRestore && t.Spec.State == tokensv1alpha1.StateSuspended {
		store.Annotations = map[string]string{archive.AnnotationSuspended: archive.Mark(t)}
	}
	err := store.Create(ctx, t.UID, &bound)
	if apierrors.IsAlreadyExists(err) {
		return errors.New("it was issued another token meanwhile: look at it, and run this again")
	}
	return session.Doing("storing its record", err)
}

// edit stores a record in place of the one that an earlier restore stored.
func (a *applier) edit(ctx context.Context, uid types.UID, r *record.Record) error {
	var stored corev1.Secret
	if err := a.Get(ctx, client.ObjectKey{Namespace: a.system, Name: string(uid)}, &stored); err != nil {
		return session.Doing("reading its record", err)
	}
	return session.Doing("changing its record", recordstore.Store{Client: a}.Update(ctx, &stored, r))
}

// revoke deletes an APIToken that an earlier restore brought back suspended.
func (a *applier) revoke(ctx context.Context, s *archive.TokenStep) error {
	err := a.Delete(ctx, s.Live, client.Preconditions{UID: &s.Live.UID, ResourceVersion: &s.Live.ResourceVersion})
	return session.Doing("deleting the APIToken", client.IgnoreNotFound(err))
}
