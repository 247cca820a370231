package packed

import (
	"time"
	"unique"

	"k8s.io/apimachinery/pkg/api/equality"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/utils/ptr"

	tokensv1alpha1 "apitokens.dev/operator/api/v1alpha1"
)

// token is an APIToken. What few APITokens say is not packed: such an APIToken stays as it is.
type token struct {
	readOnly

	name, uid, version         string
	user, label, secretName    string
	tokenID, message, usedFrom string
	// labels and annotations are in the form of joined.
	labels, annotations string
	// The times of the creation and of the status, in seconds since 1970.
	created, issued, expires, rotates, used, condition int64
	shape                                              unique.Handle[tokenShape]
	// whole is the APIToken itself if it says more than that. Then shape has its namespace, and only the first three texts are set.
	whole *tokensv1alpha1.APIToken
}

// tokenShape is the part of an APIToken that many have in common.
type tokenShape struct {
	namespace  string
	generation int64
	siteRef    tokensv1alpha1.SiteReference
	kind       tokensv1alpha1.CredentialType
	access     tokensv1alpha1.Access
	state      tokensv1alpha1.State
	// days and interval are those of the lifetime and of the rotation, or 0.
	days, interval int32
	imported       bool
	key            string
	mode           tokensv1alpha1.ImportMode
	observed       int64
	// ready is the only condition, without message and time. It is empty if there is none.
	ready metav1.Condition
}

func packToken(t *tokensv1alpha1.APIToken) *token {
	t.ManagedFields = nil
	p := &token{
		name: t.Name, uid: string(t.UID), version: t.ResourceVersion, user: t.Spec.User, label: t.Spec.Label,
		secretName: t.Spec.Delivery.SecretName, tokenID: t.Status.TokenID, usedFrom: t.Status.LastAccessedFrom,
		labels: joined(t.Labels, ""), annotations: joined(t.Annotations, ""), created: seconds(t.CreationTimestamp), issued: seconds(t.Status.IssuedTime),
		expires: seconds(t.Status.ExpirationTime), rotates: seconds(t.Status.NextRotationTime), used: seconds(t.Status.LastAccessedTime),
	}
	shape := tokenShape{
		namespace: t.Namespace, generation: t.Generation, siteRef: t.Spec.SiteRef, kind: t.Spec.Credential.Type, access: t.Spec.Access,
		state: t.Spec.State, observed: t.Status.ObservedGeneration, days: ptr.Deref(t.Spec.LifetimeDays, 0), interval: ptr.Deref(t.Spec.Rotation.IntervalDays, 0),
	}
	if from := t.Spec.Credential.Imported; from != nil {
		p.secretName, shape.imported, shape.key, shape.mode = from.SecretName, true, from.Key, from.Mode
	}
	if len(t.Status.Conditions) == 1 {
		c := t.Status.Conditions[0]
		p.message, p.condition, c.Message, c.LastTransitionTime = c.Message, seconds(c.LastTransitionTime), "", metav1.Time{}
		shape.ready = c
	}
	p.shape = unique.Make(shape)
	if u := p.unpack(); !equality.Semantic.DeepEqual(u.ObjectMeta, t.ObjectMeta) || !equality.Semantic.DeepEqual(u.Spec, t.Spec) ||
		!equality.Semantic.DeepEqual(u.Status, t.Status) || t.Malformed != "" {
		return &token{name: p.name, uid: p.uid, version: p.version, shape: unique.Make(tokenShape{namespace: t.Namespace}), whole: t}
	}
	return p
}

// unpack returns the APIToken.
func (p *token) unpack() *tokensv1alpha1.APIToken {
	if p.whole != nil {
		return p.whole.DeepCopy()
	}
	shape := p.shape.Value()
	t := &tokensv1alpha1.APIToken{
		ObjectMeta: metav1.ObjectMeta{
			Namespace: shape.namespace, Name: p.name, UID: types.UID(p.uid), ResourceVersion: p.version, Generation: shape.generation,
			CreationTimestamp: instant(p.created), Labels: split(p.labels), Annotations: split(p.annotations),
		},
		Spec: tokensv1alpha1.APITokenSpec{
			SiteRef: shape.siteRef, User: p.user, Label: p.label, Credential: tokensv1alpha1.Credential{Type: shape.kind}, Access: shape.access,
			State: shape.state,
		},
		Status: tokensv1alpha1.APITokenStatus{
			ObservedGeneration: shape.observed, TokenID: p.tokenID, IssuedTime: instant(p.issued), ExpirationTime: instant(p.expires),
			NextRotationTime: instant(p.rotates), LastAccessedTime: instant(p.used), LastAccessedFrom: p.usedFrom,
		},
	}
	if shape.days != 0 {
		t.Spec.LifetimeDays = new(shape.days)
	}
	if shape.interval != 0 {
		t.Spec.Rotation.IntervalDays = new(shape.interval)
	}
	if shape.imported {
		t.Spec.Credential.Imported = &tokensv1alpha1.ImportedCredential{SecretName: p.secretName, Key: shape.key, Mode: shape.mode}
	} else {
		t.Spec.Delivery.SecretName = p.secretName
	}
	if ready := shape.ready; ready.Type != "" {
		ready.Message, ready.LastTransitionTime = p.message, instant(p.condition)
		t.Status.Conditions = []metav1.Condition{ready}
	}
	return t
}

func seconds(t metav1.Time) int64 {
	if t.IsZero() {
		return 0
	}
	return t.Unix()
}

func instant(seconds int64) metav1.Time {
	if seconds == 0 {
		return metav1.Time{}
	}
	return metav1.NewTime(time.Unix(seconds, 0))
}

// DeepCopyObject implements client.Object, as do the others. The copy is the APIToken.
func (p *token) DeepCopyObject() runtime.Object { return p.unpack() }

func (p *token) GetNamespace() string       { return p.shape.Value().namespace }
func (p *token) GetName() string            { return p.name }
func (p *token) GetUID() types.UID          { return types.UID(p.uid) }
func (p *token) GetResourceVersion() string { return p.version }

func (p *token) GetGeneration() int64 {
	if p.whole != nil {
		return p.whole.Generation
	}
	return p.shape.Value().generation
}

// GetDeletionTimestamp returns the time of the deletion. An APIToken with one is whole.
func (p *token) GetDeletionTimestamp() *metav1.Time {
	if p.whole != nil {
		return p.whole.DeletionTimestamp
	}
	return nil
}

func (p *token) GetLabels() map[string]string {
	if p.whole != nil {
		return p.whole.Labels
	}
	return split(p.labels)
}

func (p *token) GetAnnotations() map[string]string {
	if p.whole != nil {
		return p.whole.Annotations
	}
	return split(p.annotations)
}

func (p *token) GetCreationTimestamp() metav1.Time {
	if p.whole != nil {
		return p.whole.CreationTimestamp
	}
	return instant(p.created)
}
