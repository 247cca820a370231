// Package certificates keeps the Secret with the certificate that webhook and portal serve. One that another party wrote, such as
// cert-manager, is left alone.
package certificates

import (
	"bytes"
	"context"
	"fmt"
	"time"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/client-go/util/workqueue"
	"k8s.io/utils/clock"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/builder"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/handler"
	"sigs.k8s.io/controller-runtime/pkg/predicate"
	"sigs.k8s.io/controller-runtime/pkg/reconcile"
	"sigs.k8s.io/controller-runtime/pkg/source"

	"apitokens.dev/operator/controllers/internal/apierror"
	"apitokens.dev/operator/internal/servingcert"
)

const (
	// AuthoritiesType is the type of the Secret with the authorities and their keys.
	AuthoritiesType = "apitokens.dev/serving-authorities"
	// authoritiesKey is the only key of that Secret.
	authoritiesKey = "authorities.json"
	// madeAnnotation has the digest of a certificate that the operator made. Who writes another one into the Secret owns it from
	// then on.
	madeAnnotation = "apitokens.dev/made-certificate"

	// recheckPeriod is how often the dates are looked at. Changes of the Secrets are seen at once.
	recheckPeriod = time.Hour
	// retryPeriod is the time to the next pass after a conflict with another writer.
	retryPeriod = time.Second
)

// Reconciler makes and renews the certificate.
type Reconciler struct {
	Client client.Client
	// Live reads from the API server.
	Live  client.Reader
	Clock clock.PassiveClock
	// Namespace holds the Secret with the certificate, named SecretName, and AuthoritiesNamespace that with the authorities, which
	// nobody else needs to read.
	Namespace, AuthoritiesNamespace, SecretName string
	// Names are those under which gateways reach webhook and portal.
	Names []string
	// Serve gets the certificate in the Secret in each pass, also one that another party wrote. It may be nil.
	Serve func(cert, key []byte)

	// foreign means that the log says so already.
	foreign bool
}

// AuthoritiesName returns the name of the Secret with the authorities that sign for another Secret.
func AuthoritiesName(secret string) string { return secret + "-authorities" }

// SetupWithManager adds the reconciler to the manager.
func (r *Reconciler) SetupWithManager(mgr ctrl.Manager) error {
	it := reconcile.Request{NamespacedName: client.ObjectKey{Namespace: r.Namespace, Name: r.SecretName}}
	ours := predicate.NewPredicateFuncs(func(o client.Object) bool {
		return client.ObjectKeyFromObject(o) == it.NamespacedName || client.ObjectKeyFromObject(o) == r.authoritiesKey()
	})
	err := ctrl.NewControllerManagedBy(mgr).
		Named("certificates").
		Watches(&corev1.Secret{}, handler.EnqueueRequestsFromMapFunc(func(context.Context, client.Object) []reconcile.Request {
			return []reconcile.Request{it}
		}), builder.WithPredicates(ours)).
		// Without Secrets there is no event to begin with.
		WatchesRawSource(source.Func(func(_ context.Context, q workqueue.TypedRateLimitingInterface[reconcile.Request]) error {
			q.Add(it)
			return nil
		})).
		Complete(r)
	if err != nil {
		return fmt.Errorf("setting up the controller of certificates: %w", err)
	}
	return nil
}

// Reconcile implements reconcile.Reconciler.
func (r *Reconciler) Reconcile(ctx context.Context, _ ctrl.Request) (ctrl.Result, error) {
	switch err := r.pass(ctx); {
	case apierror.IsRace(err):
		return ctrl.Result{RequeueAfter: retryPeriod}, nil
	case err != nil:
		return ctrl.Result{}, err
	}
	return ctrl.Result{RequeueAfter: recheckPeriod}, nil
}

func (r *Reconciler) pass(ctx context.Context) error {
	serving, err := r.read(ctx, client.ObjectKey{Namespace: r.Namespace, Name: r.SecretName})
	if err != nil {
		return err
	}
	if r.leaveForeign(ctx, serving) {
		r.serve(servingOf(serving))
		return nil
	}
	signing, err := r.read(ctx, r.authoritiesKey())
	if err != nil {
		return err
	}
	if signing.UID != "" && signing.Type != AuthoritiesType {
		return fmt.Errorf("the Secret %s is not the operator's: delete it, the operator needs its name", r.authoritiesKey())
	}
	stored := servingcert.State{Serving: servingOf(serving)}
	if text, found := signing.Data[authoritiesKey]; found {
		if stored.Authorities, err = servingcert.DecodeAuthorities(text); err != nil {
			ctrl.LoggerFrom(ctx).Error(err, "Making new authorities: those before sign nothing more", "secret", r.authoritiesKey().String())
		}
	}
	next, err := servingcert.Plan(stored, r.Names, r.Clock.Now())
	if err != nil {
		return fmt.Errorf("making the certificate of webhook and portal: %w", err)
	}
	if err := r.store(ctx, serving, signing, stored, next); err != nil {
		return err
	}
	r.serve(next.Serving)
	return nil
}

func (r *Reconciler) serve(s servingcert.Serving) {
	if r.Serve != nil {
		r.Serve(s.Cert, s.Key)
	}
}

// store writes what differs: the authorities first, because nothing is signed by one that is not stored.
func (r *Reconciler) store(ctx context.Context, serving, signing *corev1.Secret, before, next servingcert.State) error {
	text, err := servingcert.EncodeAuthorities(next.Authorities)
	if err != nil {
		return err
	}
	if !bytes.Equal(text, signing.Data[authoritiesKey]) {
		signing.Type, signing.Data = AuthoritiesType, map[string][]byte{authoritiesKey: text}
		if err := r.write(ctx, signing); err != nil {
			return err
		}
	}
	if next.Serving.Equal(before.Serving) {
		return nil
	}
	serving.Type = corev1.SecretTypeTLS
	serving.Annotations = map[string]string{madeAnnotation: servingcert.Digest(next.Serving.Cert)}
	serving.Data = map[string][]byte{
		corev1.TLSCertKey: next.Serving.Cert, corev1.TLSPrivateKeyKey: next.Serving.Key, servingcert.BundleKey: next.Serving.Bundle,
	}
	if err := r.write(ctx, serving); err != nil {
		return err
	}
	ctrl.LoggerFrom(ctx).Info("Wrote the certificate of webhook and portal", "renewed", !bytes.Equal(before.Serving.Cert, next.Serving.Cert))
	return nil
}

// leaveForeign reports whether another party wrote the certificate, and logs it once.
func (r *Reconciler) leaveForeign(ctx context.Context, serving *corev1.Secret) bool {
	made := serving.Annotations[madeAnnotation] == servingcert.Digest(serving.Data[corev1.TLSCertKey]) && serving.Type == corev1.SecretTypeTLS
	foreign := serving.UID != "" && !made
	if foreign && !r.foreign {
		ctrl.LoggerFrom(ctx).Info("Left the certificate of webhook and portal alone: another party wrote it, and has to renew it",
			"secret", client.ObjectKeyFromObject(serving).String())
	}
	r.foreign = foreign
	return foreign
}

func (r *Reconciler) authoritiesKey() client.ObjectKey {
	return client.ObjectKey{Namespace: r.AuthoritiesNamespace, Name: AuthoritiesName(r.SecretName)}
}

// read reads a Secret. One that is not there has no UID.
func (r *Reconciler) read(ctx context.Context, key client.ObjectKey) (*corev1.Secret, error) {
	s := &corev1.Secret{}
	err := r.Live.Get(ctx, key, s)
	if apierrors.IsNotFound(err) {
		s = &corev1.Secret{}
		s.Namespace, s.Name, s.Labels = key.Namespace, key.Name, map[string]string{"app.kubernetes.io/managed-by": "apitoken-operator"}
		return s, nil
	}
	if err != nil {
		return nil, fmt.Errorf("reading the Secret %s: %w", key, err)
	}
	return s, nil
}

// write creates a Secret, or replaces the one that was read and no other.
func (r *Reconciler) write(ctx context.Context, s *corev1.Secret) (err error) {
	if s.UID == "" {
		err = r.Client.Create(ctx, s)
	} else {
		err = r.Client.Update(ctx, s)
	}
	if err != nil {
		return fmt.Errorf("writing the Secret %s: %w", client.ObjectKeyFromObject(s), err)
	}
	return nil
}

func servingOf(s *corev1.Secret) servingcert.Serving {
	return servingcert.Serving{Cert: s.Data[corev1.TLSCertKey], Key: s.Data[corev1.TLSPrivateKeyKey], Bundle: s.Data[servingcert.BundleKey]}
}
