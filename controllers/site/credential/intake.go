package credential

import (
	"context"
	"errors"
	"fmt"
	"time"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/builder"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/controller"
	"sigs.k8s.io/controller-runtime/pkg/predicate"

	tokensv1alpha1 "apitokens.dev/operator/api/v1alpha1"
	"apitokens.dev/operator/controllers/internal/apierror"
	"apitokens.dev/operator/controllers/internal/owned"
	"apitokens.dev/operator/internal/atlassian"
	"apitokens.dev/operator/internal/enrolment"
	"apitokens.dev/operator/internal/projection"
	"apitokens.dev/operator/internal/terms"
	"apitokens.dev/operator/internal/trust"
	"apitokens.dev/operator/internal/upstream"
	"apitokens.dev/operator/internal/username"
)

const (
	// intakeRetry is how long an intake waits after an unclear answer. Its user waits for it.
	intakeRetry = 2 * time.Second
	// notServedRetry is how long it waits for a site that is not served.
	notServedRetry = 10 * time.Second
	// intakeTimeout bounds one attempt.
	intakeTimeout = 20 * time.Second
)

// Intake moves the personal access tokens that the portal received into working copies. The portal may only create intakes, and
// can read neither. Before a token is moved, the product says whose it is.
type Intake struct{ *Keeper }

// SetupWithManager starts it with the manager, for so many intakes at the same time.
func (i Intake) SetupWithManager(mgr ctrl.Manager, workers int) error {
	intakes := predicate.NewPredicateFuncs(func(o client.Object) bool { return o.GetNamespace() == i.IntakeNamespace })
	err := ctrl.NewControllerManagedBy(mgr).Named("intake").
		For(&corev1.Secret{}, builder.WithPredicates(intakes)).
		WithOptions(controller.Options{MaxConcurrentReconciles: workers, ReconciliationTimeout: intakeTimeout}).
		Complete(i)
	if err != nil {
		return fmt.Errorf("setting up the controller of intakes: %w", err)
	}
	return nil
}

// Reconcile decides one intake.
func (i Intake) Reconcile(ctx context.Context, request ctrl.Request) (ctrl.Result, error) {
	err := i.handle(ctx, request.NamespacedName)
	switch {
	case errors.Is(err, errNotServed):
		return ctrl.Result{RequeueAfter: notServedRetry}, nil
	case errors.Is(err, errUndecided), err != nil && apierror.IsRace(err):
		return ctrl.Result{RequeueAfter: intakeRetry}, nil
	default:
		return ctrl.Result{}, err
	}
}

var (
	errUndecided = errors.New("the product gave no clear answer about a personal access token")
	errNotServed = errors.New("the site of a personal access token is not served")
)

// handle decides an intake, publishes that, and removes it. After a crash between two steps it begins anew.
func (i Intake) handle(ctx context.Context, name types.NamespacedName) error {
	var secret corev1.Secret
	if err := i.Live.Get(ctx, name, &secret); err != nil {
		return client.IgnoreNotFound(err)
	}
	if secret.Type != upstream.IntakeType {
		return nil
	}
	c, err := upstream.Decode(secret.Data[upstream.DataKey])
	if err != nil || c.Source == upstream.Given || !c.Usable() || c.Replaced != 0 || !c.Ending.IsZero() {
		ctrl.LoggerFrom(ctx).Info("Removing an intake that the portal did not write", "name", name.Name)
		return owned.Remove(ctx, i.Client, &secret)
	}
	p, err := i.passAt(ctx, types.NamespacedName{Namespace: c.Namespace, Name: c.Site})
	if err != nil {
		return err
	}
	if p == nil { // without its site nothing may be sent anywhere
		return owned.Remove(ctx, i.Client, &secret)
	}
	pending := func(e *enrolment.Enrolment) {
		if !e.Usable() {
			e.State = enrolment.Pending
		}
	}
	if err := p.publish(ctx, c.User, pending); err != nil {
		return err
	}
	asked, owner := i.Clock.Now(), atlassian.User{}
	if c.Origin == p.origin {
		if owner, err = p.take(ctx, c); err != nil {
			return err
		}
	}
	decided := func(e *enrolment.Enrolment) {
		e.Intake = name.Name
		named(e, owner, asked)
	}
	if err := p.publish(ctx, c.User, decided); err != nil {
		return err
	}
	return owned.Remove(ctx, i.Client, &secret)
}

// passAt returns a pass over a site that is served, or nil if there is no such site. The projection says where the product is: the
// controller writes it only for a site that is served.
func (k *Keeper) passAt(ctx context.Context, site types.NamespacedName) (*pass, error) {
	var s tokensv1alpha1.AtlassianSite
	err := k.Live.Get(ctx, site, &s)
	switch {
	case apierrors.IsNotFound(err):
		return nil, nil
	case err != nil:
		return nil, fmt.Errorf("reading the AtlassianSite: %w", err)
	case !s.DeletionTimestamp.IsZero(), s.Malformed != "":
		return nil, errNotServed
	}
	product, err := k.locate(ctx, &s)
	if err != nil {
		return nil, err
	}
	p, err := k.newPass(&s, product)
	if err == nil {
		p.requests = ctx
	}
	return p, err
}

// locate returns where the product of a site is. It also raises the revocation epoch of the site to the one that is remembered of its name.
func (k *Keeper) locate(ctx context.Context, s *tokensv1alpha1.AtlassianSite) (*atlassian.Upstream, error) {
	var stored corev1.Secret
	err := k.Client.Get(ctx, types.NamespacedName{Namespace: k.StateNamespace, Name: projection.SecretName(s.Namespace, s.Name)}, &stored)
	if apierrors.IsNotFound(err) {
		return nil, errNotServed
	}
	if err != nil {
		return nil, fmt.Errorf("reading the projection of the site: %w", err)
	}
	at, err := projection.Decode(stored.Data[projection.DataKey])
	if err != nil || at.SecretName() != stored.Name || at.UpstreamURL != s.Spec.UpstreamURL {
		return nil, errNotServed
	}
	if at.IssuedAfter.After(s.Spec.IssuedAfter.Time) {
		s.Spec.IssuedAfter = metav1.NewTime(at.IssuedAfter)
	}
	u := &atlassian.Upstream{Product: atlassian.Product(s.Spec.Product), URL: at.UpstreamURL}
	if s.Spec.UpstreamCARef.Name == "" {
		return u, nil
	}
	if u.CAs, err = trust.Parse([]byte(at.UpstreamCAs)); err != nil {
		return nil, errNotServed
	}
	return u, nil
}

// take asks the product whose a personal access token is, and stores it if it is the user's, and no other is in use. It returns the
// owner whom the product named.
func (p *pass) take(ctx context.Context, c upstream.Credential) (owner atlassian.User, err error) {
	owner, err = p.Product.WhoAmI(p.requests, *p.product, atlassian.Bearer(c.Token))
	found := judge(c, owner, err)
	if found == accepted && username.Fold(owner.Name) != c.User {
		found = anothers // a new one is for the present name
	}
	switch found {
	case unclear:
		return owner, errUndecided
	case refused:
		p.log(ctx, c, "A new personal access token is not accepted")
		return owner, nil
	case anothers:
		p.log(ctx, c, "A new personal access token is that of another user")
		return owner, p.discard(ctx, c)
	}
	if owner.Key != "" {
		c.UserKey = owner.Key
	}
	return owner, p.storeNew(ctx, c)
}

// storeNew stores a new personal access token that the product confirmed, if the site allows it and no other is in use.
func (p *pass) storeNew(ctx context.Context, c upstream.Credential) error {
	secret, held, err := p.stored(ctx, c.SecretName())
	if err != nil {
		return err
	}
	_, listed := p.entries[c.SecretName()]
	epochAhead := p.Clock.Now().Before(p.site.Spec.IssuedAfter.Time) // nothing is made before it
	if listed || epochAhead || terms.Blocks(p.site, c.User, c.UserKey) {
		return p.discard(ctx, c)
	}
	switch admit(c, held) {
	case known:
		return nil
	case surplus:
		return p.discard(ctx, c)
	default:
		return p.replace(ctx, secret, held, c)
	}
}

// replace stores a new personal access token. The product revokes the one that it made before, which nobody would know of any more.
func (p *pass) replace(ctx context.Context, secret *corev1.Secret, held *upstream.Credential, c upstream.Credential) error {
	if held != nil && held.Source == upstream.Enrolled && held.Origin == c.Origin {
		if otherKeys(*held, c.UserKey) || c.Source == upstream.Pasted {
			if err := p.discard(ctx, *held); err != nil {
				return err
			}
		} else {
			c.Replaced = held.ID
		}
	}
	c.Stored = p.Clock.Now().UTC()
	if err := p.store(ctx, c, secret); err != nil {
		return err
	}
	p.log(ctx, c, "Stored a personal access token")
	return nil
}

// discard has the product revoke a personal access token that it made for the operator and that is not kept. A pasted one is
// left to its owner.
func (p *pass) discard(ctx context.Context, c upstream.Credential) error {
	if c.Source != upstream.Enrolled {
		return nil
	}
	if err := p.revoke(ctx, c); err != nil {
		return errors.Join(errUndecided, err)
	}
	return nil
}

// eachIntake calls do for each intake of a site in the cache.
func (k *Keeper) eachIntake(ctx context.Context, site types.NamespacedName, do func(*corev1.Secret) error) error {
	if err := k.each(ctx, k.IntakeNamespace, upstream.IntakeType, site, do); err != nil {
		return fmt.Errorf("listing the intakes of the site: %w", err)
	}
	return nil
}
