package site

import (
	"context"
	"fmt"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/event"

	tokensv1alpha1 "apitokens.dev/operator/api/v1alpha1"
	"apitokens.dev/operator/controllers/internal/owned"
	"apitokens.dev/operator/internal/door"
	"apitokens.dev/operator/internal/probe"
)

// Door looks at the ingresses of sites. It is a *door.Prober.
type Door interface {
	Found(types.NamespacedName, door.Site) (door.Finding, bool)
	Forget(types.NamespacedName)
	Changed() <-chan event.GenericEvent
}

// askDoor has the ingress of a site looked at, and notes what was found. It does not wait for that.
func (r *Reconciler) askDoor(ctx context.Context, s *tokensv1alpha1.AtlassianSite, o *outcome) error {
	name := client.ObjectKeyFromObject(s)
	switch {
	case r.Door == nil:
		return nil
	case o.problem != nil:
		r.Door.Forget(name)
		return nil
	case !o.callers:
		return nil // the pass did not come so far
	}
	asked, err := door.SiteOf(s)
	if err != nil {
		return err
	}
	asked.Key, err = r.ensureProbeKey(ctx, name)
	if o.noteRefusal(err) != nil {
		return err
	}
	if asked.Key == (probe.Key{}) {
		return nil
	}
	asked.AuthURLSecret, asked.ProductAnswers = authURLSecretName(s.Name), o.probed && o.probe == nil
	if f, ok := r.Door.Found(name, asked); ok {
		o.door = &f
	}
	return nil
}

// ensureProbeKey returns the probe key of a site. It makes one if there is none, and replaces one that cannot be read: only the
// webhook knows it beside the controller.
func (r *Reconciler) ensureProbeKey(ctx context.Context, site types.NamespacedName) (probe.Key, error) {
	stored := corev1.Secret{ObjectMeta: metav1.ObjectMeta{
		Namespace: r.CredentialsNamespace, Name: probe.SecretName(site.Namespace, site.Name), Labels: owned.Labels(site),
	}, Type: probe.SecretType}
	err := r.Live.Get(ctx, client.ObjectKeyFromObject(&stored), &stored)
	there := err == nil
	switch {
	case client.IgnoreNotFound(err) != nil:
		return probe.Key{}, fmt.Errorf("reading the probe key: %w", err)
	case stored.Type != probe.SecretType:
		return probe.Key{}, fmt.Errorf("secret %s/%s was not written by the operator: delete it", stored.Namespace, stored.Name)
	case there:
		if key, err := probe.Decode(stored.Data[probe.DataKey]); err == nil && key.SecretName() == stored.Name {
			return key, nil
		}
	}
	key := probe.NewKey(site.Namespace, site.Name)
	encoded, err := key.Encode()
	if err != nil {
		return probe.Key{}, err
	}
	stored.Data = map[string][]byte{probe.DataKey: encoded}
	if there {
		err = r.Client.Update(ctx, &stored)
	} else {
		err = r.Client.Create(ctx, &stored)
	}
	if err != nil {
		return probe.Key{}, fmt.Errorf("storing the probe key: %w", err)
	}
	return key, nil
}

// removeProbeKey removes the probe key of a site that is gone, and ends looking at its ingress.
func (r *Reconciler) removeProbeKey(ctx context.Context, site types.NamespacedName) error {
	if r.Door != nil {
		r.Door.Forget(site)
	}
	return r.removeOwn(ctx, types.NamespacedName{Namespace: r.CredentialsNamespace, Name: probe.SecretName(site.Namespace, site.Name)}, probe.SecretType)
}

// protected returns the condition IngressProtected. It is no part of Ready.
func (o outcome) protected() metav1.Condition {
	return metav1.Condition{
		Type: tokensv1alpha1.ConditionIngressProtected, Status: o.door.Status(), Reason: o.door.Reason, Message: o.door.Message,
	}
}
