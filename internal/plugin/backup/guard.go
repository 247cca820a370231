package backup

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"time"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"apitokens.dev/operator/internal/plugin/session"
	"apitokens.dev/operator/internal/record"
)

// admissionSecret remembers since when the admission policies are in force. The controller kills a token whose spec was changed before.
const (
	admissionSecret = "apitoken-admission"
	admissionKey    = "admission.json"
)

// ready returns an error unless records can be written, and will count: the controller must have seen the admission policies before the
// first of them is written. It writes nothing.
func (c *cluster) ready(ctx context.Context) error {
	var stored corev1.Secret
	err := c.Get(ctx, client.ObjectKey{Namespace: c.system, Name: admissionSecret}, &stored)
	if err != nil && !apierrors.IsNotFound(err) {
		return session.Doing("asking whether the admission policies are in force", err)
	}
	since, err := guardedSince(stored.Data[admissionKey])
	if err != nil {
		return fmt.Errorf("the operator in %s has not confirmed that its admission policies are in force (%w). Install it, with its controller running, "+
			"wait for a minute and run this again: nothing was restored", c.system, err)
	}
	probe := &corev1.Secret{
		ObjectMeta: metav1.ObjectMeta{Namespace: c.system, GenerateName: "restore-"}, Type: record.SecretType, Data: map[string][]byte{record.DataKey: []byte("{}")},
	}
	if err := c.Create(ctx, probe, client.DryRunAll); err != nil {
		return session.Doing("trying whether you may write records in "+c.system+" (you need the ClusterRole apitoken-restore there, and the right "+
			"to create Secrets)", err)
	}
	if now := probe.CreationTimestamp.Time; !now.After(since) {
		return fmt.Errorf("the admission policies are in force since %s, a moment ago: run this again in %d s", since.Format(time.RFC3339),
			int(since.Sub(now)/time.Second)+2)
	}
	return nil
}

// guardedSince reads since when the policies are in force, as the controller does.
func guardedSince(memory []byte) (since time.Time, err error) {
	var m struct {
		Objects   []struct{ Since time.Time }
		NotBefore time.Time
		Problems  map[string]string
	}
	switch err := json.Unmarshal(memory, &m); {
	case len(memory) == 0:
		return time.Time{}, errors.New("the Secret " + admissionSecret + " is missing")
	case err != nil:
		return time.Time{}, errors.New("the Secret " + admissionSecret + " cannot be read")
	case len(m.Objects) == 0:
		return time.Time{}, errors.New("it has not seen them yet")
	}
	for name, problem := range m.Problems {
		if problem != "" {
			return time.Time{}, fmt.Errorf("%s: %s", name, problem)
		}
	}
	since = m.NotBefore
	for _, o := range m.Objects {
		if o.Since.After(since) {
			since = o.Since
		}
	}
	return since, nil
}
