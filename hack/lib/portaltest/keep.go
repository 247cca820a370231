package portaltest

import (
	"context"
	"errors"
	"testing"
	"time"

	"github.com/go-logr/logr"
	coordinationv1 "k8s.io/api/coordination/v1"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/utils/clock"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/cache"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/config"

	"apitokens.dev/operator/controllers/index"
	"apitokens.dev/operator/controllers/site/credential"
	"apitokens.dev/operator/hack/lib/kubetest"
	"apitokens.dev/operator/internal/atlassian"
	"apitokens.dev/operator/internal/enrolment"
	"apitokens.dev/operator/internal/manager"
	"apitokens.dev/operator/internal/upstream"
)

// Lease is the name of the controller's lease.
const Lease = "apitoken-controller"

// Keep runs the controller that takes personal access tokens from the portal until ctx is done: those with these labels, so that
// sites with clocks of their own have one each. Its lease lasts for ever.
func Keep(ctx context.Context, t *testing.T, e *kubetest.Env, c clock.PassiveClock, of labels.Set) {
	t.Helper()
	intakes := cache.Config{LabelSelector: labels.SelectorFromSet(of)}
	Renew(t, e, time.Now().AddDate(100, 0, 0))
	user := e.User(t, kubetest.Controller, "system:serviceaccounts", "system:serviceaccounts:"+kubetest.SystemNamespace)
	mgr, err := manager.New(user, manager.Telemetry{Health: "0", Metrics: "0"}, ctrl.Options{
		Logger: logr.Discard(), Controller: config.Controller{SkipNameValidation: new(true)},
		Cache: cache.Options{ReaderFailOnMissingInformer: true, ByObject: map[client.Object]cache.ByObject{&corev1.Secret{}: {Namespaces: map[string]cache.Config{
			kubetest.SystemNamespace: {}, kubetest.CredentialsNamespace: {}, kubetest.IntakeNamespace: intakes,
		}}}},
	})
	if err != nil {
		t.Fatal(err)
	}
	intake := credential.Intake{Keeper: &credential.Keeper{
		Client: mgr.GetClient(), Live: mgr.GetAPIReader(), Clock: c, Product: atlassian.NewClient(), Memory: credential.NewMemory(),
		Namespace: kubetest.CredentialsNamespace, StateNamespace: kubetest.SystemNamespace, IntakeNamespace: kubetest.IntakeNamespace,
	}}
	if err := errors.Join(index.AddTo(ctx, mgr.GetCache()), intake.SetupWithManager(mgr, 8)); err != nil {
		t.Fatal(err)
	}
	go func() { _ = mgr.Start(ctx) }() // tests notice that nothing is taken
}

// Renew sets the time at which the controller's lease was last renewed.
func Renew(t *testing.T, e *kubetest.Env, last time.Time) {
	t.Helper()
	ctx, c := context.WithoutCancel(t.Context()), e.Client(t, kubetest.Controller) // it may be called in a cleanup
	renewed := &coordinationv1.Lease{ObjectMeta: metav1.ObjectMeta{Namespace: kubetest.SystemNamespace, Name: Lease}}
	missing := c.Get(ctx, client.ObjectKeyFromObject(renewed), renewed)
	renewed.Spec = coordinationv1.LeaseSpec{HolderIdentity: new("test"), LeaseDurationSeconds: new(int32(15)), RenewTime: &metav1.MicroTime{Time: last}}
	write := func() error { return c.Update(ctx, renewed) }
	if missing != nil {
		write = func() error { return c.Create(ctx, renewed) }
	}
	if err := write(); err != nil {
		t.Fatal(err)
	}
}

// End makes the personal access token of a user one that the product does not accept any more, as the controller would find out.
func (w *World) End(t *testing.T, user string) {
	t.Helper()
	name := client.ObjectKey{Namespace: kubetest.CredentialsNamespace, Name: upstream.SecretName(w.Site.Namespace, w.Site.Name, user)}
	change(t, w.Controller, name, upstream.DataKey, upstream.Decode, func(c *upstream.Credential) { c.Refused = time.Now().UTC() })
	name = client.ObjectKey{Namespace: kubetest.SystemNamespace, Name: enrolment.OfCopy(name.Name)}
	change(t, w.Controller, name, enrolment.DataKey, enrolment.Decode, func(e *enrolment.Enrolment) { e.State = enrolment.Ended })
}

// Publish publishes the state of the enrolment of a user, as the controller would.
func (w *World) Publish(t *testing.T, user string, state enrolment.State) {
	t.Helper()
	e := enrolment.Enrolment{Namespace: w.Site.Namespace, Site: w.Site.Name, User: user, State: state}
	data, err := e.Encode()
	if err != nil {
		t.Fatal(err)
	}
	s := &corev1.Secret{
		ObjectMeta: metav1.ObjectMeta{Namespace: kubetest.SystemNamespace, Name: e.SecretName()},
		Type:       enrolment.SecretType, Data: map[string][]byte{enrolment.DataKey: data},
	}
	if err := w.Controller.Update(t.Context(), s); err == nil || !apierrors.IsNotFound(err) {
		if err != nil {
			t.Fatal(err)
		}
		return
	}
	if err := w.Controller.Create(t.Context(), s); err != nil {
		t.Fatal(err)
	}
}

// change changes what a Secret holds.
func change[T interface{ Encode() ([]byte, error) }](
	t *testing.T, c client.Client, name client.ObjectKey, key string, decode func([]byte) (T, error), mod func(*T),
) {
	t.Helper()
	var s corev1.Secret
	if err := c.Get(t.Context(), name, &s); err != nil {
		t.Fatal(err)
	}
	held, err := decode(s.Data[key])
	if err != nil {
		t.Fatal(err)
	}
	mod(&held)
	if s.Data[key], err = held.Encode(); err != nil {
		t.Fatal(err)
	}
	if err := c.Update(t.Context(), &s); err != nil {
		t.Fatal(err)
	}
}
