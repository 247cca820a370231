package apitoken_test

import (
	"errors"
	"testing"
	"time"

	"github.com/go-logr/logr"
	"github.com/prometheus/client_golang/prometheus/testutil"
	corev1 "k8s.io/api/core/v1"
	testclock "k8s.io/utils/clock/testing"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/cache"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/config"
	metricsserver "sigs.k8s.io/controller-runtime/pkg/metrics/server"

	tokensv1alpha1 "apitokens.dev/operator/api/v1alpha1"
	"apitokens.dev/operator/controllers/index"
	"apitokens.dev/operator/controllers/internal/packed"
	"apitokens.dev/operator/controllers/internal/secretnames"
	"apitokens.dev/operator/hack/lib/kubetest"
)

// watchingSecrets has a managed reconciler watch the Secrets in the namespace of the test.
func watchingSecrets(w *world, mgr ctrl.Manager) error {
	names, err := secretnames.AddTo(mgr, map[string]cache.Config{w.ns: {}}, kubetest.SystemNamespace)
	w.reconciler.Secrets = names
	return errors.Join(err, index.AddSecretsTo(w.Context(), mgr.GetCache()))
}

// manage runs the reconciler in a manager, as the controller does, until the test ends. The clock that it returns paces the rechecks.
func (w *world) manage(options ...func(*world, ctrl.Manager) error) *testclock.FakeClock {
	w.Helper()
	mgr, err := ctrl.NewManager(env.User(w.T, kubetest.Controller), ctrl.Options{
		Scheme: w.reconciler.Client.Scheme(), Logger: logr.Discard(),
		Metrics:    metricsserver.Options{BindAddress: "0"},
		Client:     client.Options{FieldOwner: "apitoken-controller"},
		Controller: config.Controller{SkipNameValidation: new(true)}, // so that the test can be repeated
		Cache: cache.Options{ReaderFailOnMissingInformer: true, DefaultTransform: packed.Transform, ByObject: map[client.Object]cache.ByObject{
			&corev1.Secret{}:           {Namespaces: map[string]cache.Config{kubetest.SystemNamespace: {}, kubetest.CredentialsNamespace: {}}},
			&tokensv1alpha1.APIToken{}: {Namespaces: map[string]cache.Config{w.ns: {}}}, // other tests left theirs
		}},
	})
	if err != nil {
		w.Fatal(err)
	}
	ticker := testclock.NewFakeClock(time.Now())
	w.reconciler.Client, w.reconciler.Live = mgr.GetClient(), mgr.GetAPIReader()
	for _, option := range options {
		if err := option(w, mgr); err != nil {
			w.Fatal(err)
		}
	}
	if err := errors.Join(index.AddTo(w.Context(), mgr.GetCache()), w.reconciler.SetupWithManager(mgr, 2, ticker)); err != nil {
		w.Fatal(err)
	}
	ended := make(chan error, 1)
	go func() { ended <- mgr.Start(w.Context()) }()
	w.Cleanup(func() {
		if err := <-ended; err != nil {
			w.Error(err)
		}
	})
	return ticker
}

// awaitFirstPass waits until the controller works. What changes before that is found by the round of rechecks.
func (w *world) awaitFirstPass(ticker *testclock.FakeClock) {
	w.Helper()
	kubetest.Eventually(w.T, func() error {
		ticker.Step(time.Microsecond) // too short for a recheck
		if testutil.ToFloat64(w.reconciler.RecheckAge()) == 0 {
			return errors.New("the first pass is not over")
		}
		return nil
	})
}

// Nothing tells the controller that a delivered Secret was deleted. It looks by itself, at its pace, and delivers anew.
func TestManagerLooksByItself(t *testing.T) {
	w := newWorld(t)
	tok := kubetest.Token(w.ns, "ci")
	w.create(tok)
	w.settled(tok)
	ticker := w.manage()
	w.awaitFirstPass(ticker)
	if err := env.Admin.Delete(t.Context(), w.secret(w.ns, "ci-token")); err != nil {
		t.Fatal(err)
	}
	kubetest.Eventually(t, func() error {
		ticker.Step(time.Second)
		if w.secret(w.ns, "ci-token") == nil {
			return errors.New("no Secret was delivered anew")
		}
		return nil
	})
}
