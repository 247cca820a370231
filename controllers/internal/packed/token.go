package packed

import (
	"reflect"
	"time"
	"unique"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/utils/ptr"

	tokensv1alpha1 "apitokens.dev/operator/api/v1alpha1"
)

// token is an APIToken. What few APITokens say is not packed: such an APIToken stays as it is.
type token struct {
	readOnly

	// parts are, in the form of writer: name, UID, version, user, label, the name of the Secret, token id, message of the condition, the
	// address of the last access, labels and annotations in the form of joined, and the times of tokenTimes in seconds since 1970.
	parts string
	shape unique.Handle[tokenShape]
	// whole is the APIToken itself if it says more than that. Then shape has its namespace, and only the first three parts are there.
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
	var parts writer
	for _, text := range [...]string{t.Name, string(t.UID), t.ResourceVersion} {
		parts.text(text)
	}
	if !isUsualToken(t) {
		return &token{parts: string(parts), shape: unique.Make(tokenShape{namespace: t.Namespace}), whole: t}
	}
	shape := tokenShape{
		namespace: t.Namespace, generation: t.Generation, siteRef: t.Spec.SiteRef, kind: t.Spec.Credential.Type, access: t.Spec.Access,
		state: t.Spec.State, observed: t.Status.ObservedGeneration, days: ptr.Deref(t.Spec.LifetimeDays, 0), interval: ptr.Deref(t.Spec.Rotation.IntervalDays, 0),
	}
	secretName, message := t.Spec.Delivery.SecretName, ""
	if from := t.Spec.Credential.Imported; from != nil {
		secretName, shape.imported, shape.key, shape.mode = from.SecretName, true, from.Key, from.Mode
	}
	for _, c := range t.Status.Conditions {
		message, c.Message, c.LastTransitionTime = c.Message, "", metav1.Time{}
		shape.ready = c
	}
	for _, text := range [...]string{
		t.Spec.User, t.Spec.Label, secretName, t.Status.TokenID, message, t.Status.LastAccessedFrom, joined(t.Labels, ""), joined(t.Annotations, ""),
	} {
		parts.text(text)
	}
	for _, at := range tokenTimes(t) {
		parts.number(seconds(*at))
	}
	return &token{parts: string(parts), shape: unique.Make(shape)}
}

// tokenTimes are the times that a packed APIToken says, with that of the condition if it has one.
func tokenTimes(t *tokensv1alpha1.APIToken) []*metav1.Time {
	s := &t.Status
	times := []*metav1.Time{&t.CreationTimestamp, &s.IssuedTime, &s.ExpirationTime, &s.NextRotationTime, &s.LastAccessedTime}
	for i := range s.Conditions {
		times = append(times, &s.Conditions[i].LastTransitionTime)
	}
	return times
}

// isUsualToken reports whether an APIToken says no more than a packed one does: nothing is left without that.
func isUsualToken(t *tokensv1alpha1.APIToken) bool {
	meta, spec, status, from := t.ObjectMeta, t.Spec, t.Status, tokensv1alpha1.ImportedCredential{}
	meta.Generation = 0
	if !isUsual(meta) || t.Malformed != "" || len(status.Conditions) > 1 || len(status.Conditions) == 1 && status.Conditions[0].Type == "" {
		return false
	}
	for _, at := range tokenTimes(t) {
		if !isInSeconds(*at) {
			return false
		}
	}
	if spec.Credential.Imported != nil {
		from = *spec.Credential.Imported
		if spec.Delivery.SecretName != "" {
			return false
		}
	}
	from.SecretName, from.Key, from.Mode = "", "", ""
	if ptr.Deref(spec.LifetimeDays, 1) == 0 || ptr.Deref(spec.Rotation.IntervalDays, 1) == 0 {
		return false
	}
	spec.SiteRef, spec.User, spec.Label, spec.Credential = tokensv1alpha1.SiteReference{}, "", "", tokensv1alpha1.Credential{}
	spec.Delivery, spec.LifetimeDays, spec.Rotation.IntervalDays, spec.Access, spec.State = tokensv1alpha1.Delivery{}, nil, nil, "", ""
	status.Conditions, status.ObservedGeneration, status.TokenID, status.LastAccessedFrom = nil, 0, "", ""
	status.IssuedTime, status.ExpirationTime, status.NextRotationTime, status.LastAccessedTime = metav1.Time{}, metav1.Time{}, metav1.Time{}, metav1.Time{}
	return reflect.ValueOf(spec).IsZero() && reflect.ValueOf(status).IsZero() && reflect.ValueOf(from).IsZero()
}

// unpack returns the APIToken.
func (p *token) unpack() *tokensv1alpha1.APIToken {
	if p.whole != nil {
		return p.whole.DeepCopy()
	}
	shape, parts, t := p.shape.Value(), reader(p.parts), &tokensv1alpha1.APIToken{}
	t.Namespace, t.Name, t.UID, t.ResourceVersion, t.Generation = shape.namespace, parts.text(), types.UID(parts.text()), parts.text(), shape.generation
	t.Spec = tokensv1alpha1.APITokenSpec{
		SiteRef: shape.siteRef, User: parts.text(), Label: parts.text(), Credential: tokensv1alpha1.Credential{Type: shape.kind}, Access: shape.access,
		State: shape.state,
	}
	if shape.days != 0 {
		t.Spec.LifetimeDays = new(shape.days)
	}
	if shape.interval != 0 {
		t.Spec.Rotation.IntervalDays = new(shape.interval)
	}
	if secretName := parts.text(); shape.imported {
		t.Spec.Credential.Imported = &tokensv1alpha1.ImportedCredential{SecretName: secretName, Key: shape.key, Mode: shape.mode}
	} else {
		t.Spec.Delivery.SecretName = secretName
	}
	t.Status.ObservedGeneration, t.Status.TokenID = shape.observed, parts.text()
	message := parts.text()
	t.Status.LastAccessedFrom, t.Labels, t.Annotations = parts.text(), split(parts.text()), split(parts.text())
	if ready := shape.ready; ready.Type != "" {
		ready.Message = message
		t.Status.Conditions = []metav1.Condition{ready}
	}
	for _, at := range tokenTimes(t) {
		*at = instant(parts.number())
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

// isInSeconds reports whether a time comes out of seconds and instant as it went in.
func isInSeconds(t metav1.Time) bool {
	at := instant(seconds(t))
	return at.Equal(&t)
}

// identity returns the name, the UID and the version.
func (p *token) identity() (name, uid, version string) {
	parts := reader(p.parts)
	return parts.text(), parts.text(), parts.text()
}

// meta returns the metadata.
func (p *token) meta() metav1.ObjectMeta {
	if p.whole != nil {
		return p.whole.ObjectMeta
	}
	return p.unpack().ObjectMeta
}

// DeepCopyObject implements client.Object, as do the others. The copy is the APIToken.
func (p *token) DeepCopyObject() runtime.Object { return p.unpack() }

func (p *token) GetNamespace() string              { return p.shape.Value().namespace }
func (p *token) GetName() string                   { name, _, _ := p.identity(); return name }
func (p *token) GetUID() types.UID                 { _, uid, _ := p.identity(); return types.UID(uid) }
func (p *token) GetResourceVersion() string        { _, _, version := p.identity(); return version }
func (p *token) GetGeneration() int64              { return p.meta().Generation }
func (p *token) GetLabels() map[string]string      { return p.meta().Labels }
func (p *token) GetAnnotations() map[string]string { return p.meta().Annotations }
func (p *token) GetCreationTimestamp() metav1.Time { return p.meta().CreationTimestamp }

// GetDeletionTimestamp returns the time of the deletion. An APIToken with one is whole.
func (p *token) GetDeletionTimestamp() *metav1.Time {
	if p.whole != nil {
		return p.whole.DeletionTimestamp
	}
	return nil
}
