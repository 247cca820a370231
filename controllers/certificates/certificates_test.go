package certificates_test

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/go-logr/logr/funcr"
	"github.com/google/go-cmp/cmp"
	coordinationv1 "k8s.io/api/coordination/v1"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	testclock "k8s.io/utils/clock/testing"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/cache"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"apitokens.dev/operator/controllers/certificates"
	"apitokens.dev/operator/hack/lib/kubetest"
	"apitokens.dev/operator/internal/manager"
	"apitokens.dev/operator/internal/servingcert"
)

const (
	madeAnnotation = "apitokens.dev/made-certificate"
	day            = 24 * time.Hour
)

var env kubetest.Env

func TestMain(m *testing.M) { os.Exit(env.Main(m)) }

// world is a certificate, and a reconciler with the rights of the controller's account.
type world struct {
	*testing.T

	reconciler *certificates.Reconciler
	clock      *testclock.FakePassiveClock
	log        strings.Builder
}

func newWorld(t *testing.T) *world {
	t.Helper()
	w := &world{T: t, clock: testclock.NewFakePassiveClock(time.Now())}
	api := env.Client(t, kubetest.Controller, "system:serviceaccounts", "system:serviceaccounts:"+kubetest.SystemNamespace)
	w.reconciler = &certificates.Reconciler{
		Client: api, Live: api, Clock: w.clock,
		Namespace: kubetest.SystemNamespace, AuthoritiesNamespace: kubetest.IntakeNamespace,
		SecretName: "tls-" + strings.ToLower(strings.ReplaceAll(t.Name(), "/", "-")),
		Names:      servingcert.Names("apitoken-webhook.apitoken-system.svc", "apitoken-portal.apitoken-system.svc"),
	}
	t.Cleanup(func() {
		for _, s := range []*corev1.Secret{w.serving(), w.authorities()} {
			if s != nil {
				w.must(env.Admin.Delete(context.Background(), s))
			}
		}
	})
	return w
}

func (w *world) must(err error) {
	w.Helper()
	if err != nil {
		w.Fatal(err)
	}
}

// pass makes a pass, and returns when the next one follows.
func (w *world) pass() time.Duration {
	w.Helper()
	log := funcr.New(func(_, line string) { fmt.Fprintln(&w.log, line) }, funcr.Options{})
	result, err := w.reconciler.Reconcile(ctrl.LoggerInto(w.Context(), log), ctrl.Request{})
	w.must(err)
	return result.RequeueAfter
}

func (w *world) serving() *corev1.Secret {
	return w.secret(w.reconciler.Namespace, w.reconciler.SecretName)
}

func (w *world) authorities() *corev1.Secret {
	return w.secret(w.reconciler.AuthoritiesNamespace, certificates.AuthoritiesName(w.reconciler.SecretName))
}

// secret returns nil for one that is not there.
func (w *world) secret(namespace, name string) *corev1.Secret {
	w.Helper()
	var s corev1.Secret
	err := env.Admin.Get(context.Background(), client.ObjectKey{Namespace: namespace, Name: name}, &s)
	if apierrors.IsNotFound(err) {
		return nil
	}
	w.must(err)
	return &s
}

// verify returns the end of a certificate that clients with the bundle of another Secret accept.
func (w *world) verify(served, bundle *corev1.Secret) time.Time {
	w.Helper()
	pair, err := tls.X509KeyPair(served.Data["tls.crt"], served.Data["tls.key"])
	w.must(err)
	roots := x509.NewCertPool()
	roots.AppendCertsFromPEM(bundle.Data["ca.crt"])
	for _, name := range w.reconciler.Names {
		_, err := pair.Leaf.Verify(x509.VerifyOptions{Roots: roots, DNSName: name, CurrentTime: w.clock.Now()})
		w.must(err)
	}
	return pair.Leaf.NotAfter
}

func TestCertificateIsMadeAndRenewed(t *testing.T) {
	w := newWorld(t)
	var held []byte
	w.reconciler.Serve = func(cert, _ []byte) { held = cert }
	w.pass()
	made := w.serving()
	end := w.verify(made, made)
	if !cmp.Equal(held, made.Data["tls.crt"]) {
		t.Error("a process that serves it itself does not get it")
	}
	if made.Type != corev1.SecretTypeTLS || made.Labels["app.kubernetes.io/managed-by"] != "apitoken-operator" || w.authorities().Type != certificates.AuthoritiesType {
		t.Errorf("made %s, %v", made.Type, made.Labels)
	}
	if strings.Contains(string(made.Data["ca.crt"]), "PRIVATE") || strings.Contains(w.log.String(), "BEGIN") {
		t.Errorf("a key is where it should not be:\n%s", &w.log)
	}
	for range 2 {
		if again := w.pass(); again > day {
			t.Errorf("the next look is after %s", again)
		}
		if now := w.serving(); now.ResourceVersion != made.ResourceVersion {
			t.Error("a pass with nothing to do writes")
		}
		w.clock.SetTime(end.Add(-31 * day))
	}
	w.clock.SetTime(end.Add(-30 * day))
	w.pass()
	renewed := w.serving()
	if !cmp.Equal(held, renewed.Data["tls.crt"]) {
		t.Error("a process that serves it itself does not get the renewed one")
	}
	if got := w.verify(renewed, made); !got.After(end) || cmp.Equal(renewed.Data["tls.key"], made.Data["tls.key"]) {
		t.Errorf("at two thirds, the certificate ends at %s, before at %s", got, end)
	}
	// A controller that did not run for a year finds a certificate that has ended.
	w.clock.SetTime(end.Add(365 * day))
	w.pass()
	w.verify(w.serving(), made)
}

// Each part that is deleted or damaged is made again, and clients with the bundle before go on.
func TestSecretsAreMadeAgain(t *testing.T) {
	for name, damage := range map[string]func(*world){
		"certificate": func(w *world) { w.must(env.Admin.Delete(w.Context(), w.serving())) },
		"authorities": func(w *world) { w.must(env.Admin.Delete(w.Context(), w.authorities())) },
		"key": func(w *world) {
			s := w.serving()
			s.Data["tls.key"] = []byte("?")
			w.must(env.Admin.Update(w.Context(), s))
		},
		"bundle": func(w *world) {
			s := w.serving()
			delete(s.Data, "ca.crt")
			w.must(env.Admin.Update(w.Context(), s))
		},
	} {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t)
			w.pass()
			before := w.serving()
			damage(w)
			w.pass()
			w.verify(w.serving(), w.serving())
			w.verify(w.serving(), before)
			w.verify(before, w.serving())
		})
	}
}

// A certificate of cert-manager, or one's own, is left alone, also if it took the place of the operator's. The operator's comes
// back once that is deleted.
func TestForeignCertificate(t *testing.T) {
	w := newWorld(t)
	theirs := map[string][]byte{"tls.crt": []byte("theirs"), "tls.key": []byte("theirs")}
	foreign := &corev1.Secret{ObjectMeta: metav1.ObjectMeta{Namespace: w.reconciler.Namespace, Name: w.reconciler.SecretName}, Type: corev1.SecretTypeTLS, Data: theirs}
	w.must(env.Admin.Create(t.Context(), foreign))
	var held []byte
	w.reconciler.Serve = func(cert, _ []byte) { held = cert }
	unchanged := func() {
		t.Helper()
		before := w.serving()
		w.pass()
		w.pass()
		if now := w.serving(); now.ResourceVersion != before.ResourceVersion || !cmp.Equal(now.Data, theirs) {
			t.Error("the Secret of another party changed")
		}
		if n := strings.Count(w.log.String(), "another party wrote it"); n != 1 {
			t.Errorf("the log says %d times that it is left alone:\n%s", n, &w.log)
		}
		w.log.Reset()
	}
	unchanged()
	if string(held) != "theirs" {
		t.Error("a process that serves it itself does not get that of another party")
	}
	if w.authorities() != nil {
		t.Error("authorities for a certificate that another party makes")
	}
	w.must(env.Admin.Delete(t.Context(), w.serving()))
	w.pass()
	w.verify(w.serving(), w.serving())
	w.log.Reset()

	taken := w.serving()
	taken.Data = theirs // the annotation stays
	w.must(env.Admin.Update(t.Context(), taken))
	unchanged()
}

// The admission policy says the same: with all its rights on Secrets, the account cannot write another certificate.
func TestPolicyProtectsForeignCertificates(t *testing.T) {
	w := newWorld(t)
	write := w.reconciler.Client
	secret := func(namespace, kind string, annotations map[string]string) *corev1.Secret {
		return &corev1.Secret{
			ObjectMeta: metav1.ObjectMeta{Namespace: namespace, Name: w.reconciler.SecretName, Annotations: annotations},
			Type:       corev1.SecretType(kind), Data: map[string][]byte{"tls.crt": nil, "tls.key": nil},
		}
	}
	made := map[string]string{madeAnnotation: "x"}
	for name, refused := range map[string]*corev1.Secret{
		"without the annotation": secret(kubetest.SystemNamespace, "kubernetes.io/tls", nil),
		"in another namespace":   secret("default", "kubernetes.io/tls", made),
		"of another type":        secret(kubetest.SystemNamespace, "Opaque", made),
	} {
		if err := write.Create(t.Context(), refused, client.DryRunAll); !apierrors.IsForbidden(err) {
			t.Errorf("%s: %v", name, err)
		}
	}
	w.must(write.Create(t.Context(), secret(kubetest.SystemNamespace, "kubernetes.io/tls", made), client.DryRunAll))
	w.must(env.Admin.Create(t.Context(), secret(kubetest.SystemNamespace, "kubernetes.io/tls", nil)))
	theirs := w.serving()
	theirs.Annotations = made
	if err := write.Update(t.Context(), theirs); !apierrors.IsForbidden(err) {
		t.Errorf("overwriting: %v", err)
	}
	// Only the controller reads and writes the authorities.
	for _, mode := range []string{"portal", "webhook"} {
		other := env.Client(t, "system:serviceaccount:apitoken-system:apitoken-"+mode, "system:serviceaccounts", "system:serviceaccounts:"+kubetest.SystemNamespace)
		if err := other.Create(t.Context(), secret(kubetest.IntakeNamespace, certificates.AuthoritiesType, nil), client.DryRunAll); !apierrors.IsForbidden(err) {
			t.Errorf("the %s writes authorities: %v", mode, err)
		}
		if err := other.List(t.Context(), &corev1.SecretList{}, client.InNamespace(kubetest.IntakeNamespace)); !apierrors.IsForbidden(err) {
			t.Errorf("the %s reads authorities: %v", mode, err)
		}
	}
}

// A Secret that has the name of the authorities, and is not theirs, is left alone. The error says what to do.
func TestForeignAuthorities(t *testing.T) {
	w := newWorld(t)
	w.must(env.Admin.Create(t.Context(), &corev1.Secret{ObjectMeta: metav1.ObjectMeta{
		Namespace: w.reconciler.AuthoritiesNamespace, Name: certificates.AuthoritiesName(w.reconciler.SecretName)}}))
	if _, err := w.reconciler.Reconcile(t.Context(), ctrl.Request{}); err == nil || !strings.Contains(err.Error(), "delete it") {
		t.Error(err)
	}
	if w.serving() != nil {
		t.Error("a certificate without its authority")
	}
}

// Two controllers at once make one certificate.
func TestOneOfTwoControllersWins(t *testing.T) {
	w := newWorld(t)
	w.pass()
	w.must(env.Admin.Delete(t.Context(), w.authorities()))
	stale := *w.reconciler
	stale.Live = staleReader{w.reconciler.Live, certificates.AuthoritiesName(w.reconciler.SecretName)}
	w.pass()
	before := w.authorities()
	if result, err := stale.Reconcile(t.Context(), ctrl.Request{}); err != nil || result.RequeueAfter > 5*time.Second {
		t.Errorf("a race ends with %v, %v", result, err)
	}
	if now := w.authorities(); now.ResourceVersion != before.ResourceVersion {
		t.Error("the later one overwrites the authorities")
	}
}

// staleReader does not see a Secret yet.
type staleReader struct {
	client.Reader
	unseen string
}

func (r staleReader) Get(ctx context.Context, key client.ObjectKey, o client.Object, options ...client.GetOption) error {
	if key.Name == r.unseen {
		return apierrors.NewNotFound(corev1.Resource("secrets"), key.Name)
	}
	return r.Reader.Get(ctx, key, o, options...)
}

// The replica that does not lead writes nothing. The one that leads makes the certificate at its start, and again as soon as it is
// deleted.
func TestOnlyTheLeaderWrites(t *testing.T) {
	w := newWorld(t)
	lease := &coordinationv1.Lease{ObjectMeta: metav1.ObjectMeta{Namespace: kubetest.SystemNamespace, Name: w.reconciler.SecretName}, Spec: coordinationv1.LeaseSpec{
		HolderIdentity: new("another"), LeaseDurationSeconds: new(int32(3600)), AcquireTime: new(metav1.NowMicro()), RenewTime: new(metav1.NowMicro()),
	}}
	w.must(env.Admin.Create(t.Context(), lease))
	mgr, err := manager.New(env.User(t, kubetest.Controller, "system:serviceaccounts", "system:serviceaccounts:"+kubetest.SystemNamespace), manager.Telemetry{Health: "0", Metrics: "0"}, ctrl.Options{
		LeaderElection: true, LeaderElectionID: lease.Name, LeaderElectionNamespace: lease.Namespace,
		Cache: cache.Options{ReaderFailOnMissingInformer: true, ByObject: map[client.Object]cache.ByObject{
			&corev1.Secret{}: {Namespaces: map[string]cache.Config{kubetest.SystemNamespace: {}, kubetest.IntakeNamespace: {}}},
		}},
	})
	w.must(err)
	w.reconciler.Client, w.reconciler.Live = mgr.GetClient(), mgr.GetAPIReader()
	w.must(w.reconciler.SetupWithManager(mgr))
	ctx, stop := context.WithCancel(t.Context())
	ended := make(chan error, 1)
	go func() { ended <- mgr.Start(ctx) }()
	defer func() { stop(); w.must(<-ended) }()
	if !mgr.GetCache().WaitForCacheSync(ctx) {
		t.Fatal("the cache is not filled")
	}
	select {
	case <-mgr.Elected():
		t.Fatal("there are two leaders")
	default:
	}
	if w.serving() != nil {
		t.Error("a replica that does not lead made a certificate")
	}
	w.must(env.Admin.Get(t.Context(), client.ObjectKeyFromObject(lease), lease))
	lease.Spec.HolderIdentity = new("")
	w.must(env.Admin.Update(t.Context(), lease))
	made := func() error {
		if w.serving() == nil || w.authorities() == nil {
			return errors.New("there is no certificate")
		}
		return nil
	}
	kubetest.Eventually(t, made)
	w.must(env.Admin.Delete(t.Context(), w.serving()))
	kubetest.Eventually(t, made)
	w.verify(w.serving(), w.serving())
}
