package credential

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"time"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"apitokens.dev/operator/controllers/internal/apierror"
	"apitokens.dev/operator/controllers/internal/owned"
	"apitokens.dev/operator/internal/enrolment"
	"apitokens.dev/operator/internal/upstream"
)

const (
	// publishAttempts is how often publish tries to write between the writes of others.
	publishAttempts = 4
	// mostFailures is how many failures end the mending of a pass. The API server may refuse each of very many writes.
	mostFailures = 10
)

// publish writes the enrolment of a user. It reads the enrolment, then the working copy, and writes under the version that it
// read: of two writers, the one that knows older facts fails, and reads again. change is applied last, if it is not nil.
func (p *pass) publish(ctx context.Context, user string, change func(*enrolment.Enrolment)) (err error) {
	for range publishAttempts {
		if err = p.publishOnce(ctx, user, change); !apierror.IsRace(err) {
			return err
		}
	}
	return err
}

func (p *pass) publishOnce(ctx context.Context, user string, change func(*enrolment.Enrolment)) error {
	before := enrolment.Enrolment{Namespace: p.name.Namespace, Site: p.name.Name, User: user}
	name := types.NamespacedName{Namespace: p.StateNamespace, Name: before.SecretName()}
	stored, err := readEnrolment(ctx, p.Live, name, &before)
	if err != nil {
		return err
	}
	_, c, err := p.stored(ctx, upstream.SecretName(p.name.Namespace, p.name.Name, user))
	if err != nil && !errors.Is(err, errForeign) {
		return err
	}
	now := describe(before, c, p.origin)
	if change != nil {
		change(&now)
	}
	switch {
	case now.State != enrolment.None || now.Intake != before.Intake: // the portal waits for the decision about an intake
		return p.writeEnrolment(ctx, name, stored, now)
	case stored == nil:
		return nil
	default:
		return owned.Remove(ctx, p.Client, stored)
	}
}

// confirm notes in an enrolment of the cache that the product said the same again. It is written under the version in the cache: if that
// is not the stored one, somebody has written more than this, and nothing is.
func (p *pass) confirm(ctx context.Context, e enrolment.Enrolment, when time.Time) error {
	var s corev1.Secret
	name := types.NamespacedName{Namespace: p.StateNamespace, Name: e.SecretName()}
	if err := p.Client.Get(ctx, name, &s); err != nil {
		return client.IgnoreNotFound(err)
	}
	if s.Type != enrolment.SecretType || decodeEnrolment(&s) != e {
		return nil
	}
	e.Checked = when.UTC().Truncate(time.Second)
	if err := p.writeEnrolment(ctx, name, &s, e); !apierror.IsRace(err) {
		return err
	}
	return nil
}

// readEnrolment reads an enrolment into e, which stays as it is if there is none that can be read.
func readEnrolment(ctx context.Context, from client.Reader, name types.NamespacedName, e *enrolment.Enrolment) (*corev1.Secret, error) {
	var s corev1.Secret
	err := from.Get(ctx, name, &s)
	switch {
	case apierrors.IsNotFound(err):
		return nil, nil
	case err != nil:
		return nil, fmt.Errorf("reading the enrolment of a user: %w", err)
	case s.Type != enrolment.SecretType:
		return nil, fmt.Errorf("secret %s was not written by the operator: delete it", name)
	}
	if read, err := enrolment.Decode(s.Data[enrolment.DataKey]); err == nil && read.SecretName() == s.Name {
		*e = read
	}
	return &s, nil
}

func (p *pass) writeEnrolment(ctx context.Context, name types.NamespacedName, stored *corev1.Secret, e enrolment.Enrolment) error {
	encoded, err := e.Encode()
	if err != nil {
		return err
	}
	data := map[string][]byte{enrolment.DataKey: encoded}
	switch {
	case stored == nil:
		err = p.Client.Create(ctx, &corev1.Secret{
			ObjectMeta: metav1.ObjectMeta{Namespace: name.Namespace, Name: name.Name, Labels: owned.Labels(p.name)},
			Type:       enrolment.SecretType, Data: data,
		})
	case bytes.Equal(stored.Data[enrolment.DataKey], encoded):
		return nil
	default:
		stored.Data = data
		err = p.Client.Update(ctx, stored)
	}
	if err != nil {
		return fmt.Errorf("publishing the enrolment of a user: %w", err)
	}
	return nil
}

// enrolments returns the enrolments of a site in the cache, by the name of their Secret. Those that cannot be read have no state.
func (k *Keeper) enrolments(ctx context.Context, site types.NamespacedName) (map[string]enrolment.Enrolment, error) {
	found := map[string]enrolment.Enrolment{}
	return found, k.eachEnrolment(ctx, site, func(s *corev1.Secret) error {
		found[s.Name] = decodeEnrolment(s)
		return nil
	})
}

// eachEnrolment calls do for each enrolment of a site in the cache, readable or not.
func (k *Keeper) eachEnrolment(ctx context.Context, site types.NamespacedName, do func(*corev1.Secret) error) error {
	if err := k.each(ctx, k.StateNamespace, enrolment.SecretType, site, do); err != nil {
		return fmt.Errorf("listing the enrolments of the site: %w", err)
	}
	return nil
}

// decodeEnrolment returns an enrolment without a state if a Secret does not hold the one that its name stands for.
func decodeEnrolment(s *corev1.Secret) enrolment.Enrolment {
	e, err := enrolment.Decode(s.Data[enrolment.DataKey])
	if err != nil || e.SecretName() != s.Name {
		return enrolment.Enrolment{}
	}
	return e
}

// mend publishes the enrolments that do not agree with the working copies, as after a crash between two writes or a change of
// the site, and removes those that nobody needs. After some failures it leaves the others to the next pass. They come in no order, so
// that those that fail each time hold up no others.
func (p *pass) mend(ctx context.Context, all []state) error {
	var errs []error
	try := func(mended error) {
		if mended != nil {
			errs = append(errs, mended)
		}
	}
	goesOn := func() bool { return len(errs) < mostFailures && ctx.Err() == nil }
	readable := map[string]bool{}
	for _, i := range rand.Perm(len(all)) { //nolint:gosec // no secret follows from it
		s := all[i]
		if !s.readable {
			continue
		}
		name := enrolment.OfCopy(s.name)
		readable[name] = true
		if before := p.published[name]; goesOn() && describe(before, &s.credential, p.origin) != before {
			try(p.publish(ctx, s.credential.User, nil))
		}
	}
	for name := range p.published {
		if !readable[name] && goesOn() {
			try(p.mendWithoutCopy(ctx, name))
		}
	}
	return errors.Join(errs...)
}

// mendWithoutCopy publishes or removes the enrolment with a name, which has no working copy that can be read.
func (p *pass) mendWithoutCopy(ctx context.Context, name string) error {
	var s corev1.Secret
	err := p.Client.Get(ctx, types.NamespacedName{Namespace: p.StateNamespace, Name: name}, &s)
	if err != nil || s.Type != enrolment.SecretType {
		if err = client.IgnoreNotFound(err); err != nil {
			err = fmt.Errorf("reading an enrolment: %w", err)
		}
		return err
	}
	e := decodeEnrolment(&s)
	waits, err := p.awaited(ctx, e)
	switch {
	case err != nil || waits:
		return err
	case e.State == "", e.State == enrolment.None && p.Clock.Now().Sub(e.Checked) >= outdated:
		return owned.Remove(ctx, p.Client, &s)
	case e.State != enrolment.None:
		return p.publish(ctx, e.User, nil)
	}
	return nil
}

// awaited reports whether an intake of the user has to be decided still.
func (p *pass) awaited(ctx context.Context, e enrolment.Enrolment) (bool, error) {
	if e.State != enrolment.Pending {
		return false, nil
	}
	waits := false
	err := p.eachIntake(ctx, p.name, func(s *corev1.Secret) error {
		c, err := upstream.Decode(s.Data[upstream.DataKey])
		waits = waits || err == nil && c.User == e.User
		return nil
	})
	return waits, err
}
