// Package kubetest runs one real control plane for the tests of a package, with the operator's manifests installed,
// and builds the objects that tests begin with.
package kubetest

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"os"
	"regexp"
	"sync"
	"testing"
	"time"

	"github.com/go-logr/logr"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/util/wait"
	"k8s.io/client-go/kubernetes/scheme"
	"k8s.io/client-go/rest"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/client"

	tokensv1alpha1 "apitokens.dev/operator/api/v1alpha1"
	"apitokens.dev/operator/hack/lib/controlplane"
	"apitokens.dev/operator/internal/record"
)

// The operator's namespaces and accounts.
const (
	SystemNamespace      = "apitoken-system"
	CredentialsNamespace = "apitoken-credentials"
	IntakeNamespace      = "apitoken-intake"

	Controller = "system:serviceaccount:apitoken-system:apitoken-controller"
	Webhook    = "system:serviceaccount:apitoken-system:apitoken-webhook"
	Portal     = "system:serviceaccount:apitoken-system:apitoken-portal"
)

const timeout = 30 * time.Second

// Env is the control plane of a test package.
type Env struct {
	*controlplane.ControlPlane

	// Admin is a cluster administrator's client.
	Admin client.WithWatch

	// credentials serialises the creation of users: the control plane's authority is not safe for concurrent use.
	credentials sync.Mutex

	connections sync.Mutex
	clients     map[string]client.WithWatch // by user and groups
}

// Run runs the tests of a package on a control plane that it starts, has prepared, and stops. It returns the exit status.
// With -short it starts none, and only tests that need none run: see Env.Required.
func Run(m *testing.M, prepare func(*controlplane.ControlPlane) error) (status int) {
	ctrl.SetLogger(logr.Discard())
	if !needed() {
		return m.Run()
	}
	cp, err := controlplane.Start()
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	defer func() {
		if err := cp.Stop(); err != nil {
			fmt.Fprintln(os.Stderr, err)
			status = 1
		}
	}()
	if err := prepare(cp); err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	return m.Run()
}

// fuzzAlone matches a -run flag that selects no test, or only a fuzz target with its seeds.
var fuzzAlone = regexp.MustCompile(`^\^?(Fuzz\w*(/.*)?|\$)\$?$`)

// needed reports whether a selected test may need a control plane. Fuzz targets do not, and each worker process of a fuzz
// target would start a control plane of its own.
func needed() bool {
	flag.Parse()
	if testing.Short() {
		return false
	}
	value := func(name string) string { return flag.Lookup("test." + name).Value.String() }
	return value("list") == "" && value("fuzzworker") == "false" && !fuzzAlone.MatchString(value("run"))
}

// Main runs the tests of a package on a control plane with the operator's manifests installed.
func (e *Env) Main(m *testing.M) int {
	return Run(m, func(cp *controlplane.ControlPlane) (err error) {
		e.ControlPlane = cp
		if e.Admin, err = e.connect("admin", "system:masters"); err != nil {
			return err
		}
		return errors.Join(cp.Install("config/core"), e.awaitPolicies())
	})
}

// Required ends a test that needs the control plane: with -short there is none, and the test is skipped.
func (e *Env) Required(t *testing.T) {
	t.Helper()
	if e.ControlPlane != nil {
		return
	}
	if testing.Short() {
		t.Skip("needs an API server, and -short is set")
	}
	t.Fatal("the control plane does not run: does TestMain call Env.Main?")
}

// Client returns a client with the rights of a user in the given groups. All tests share it: discovery and handshakes cost more
// than most tests.
func (e *Env) Client(t *testing.T, user string, groups ...string) client.WithWatch {
	t.Helper()
	e.Required(t)
	c, err := e.connect(user, groups...)
	if err != nil {
		t.Fatal(err)
	}
	return c
}

func (e *Env) connect(user string, groups ...string) (client.WithWatch, error) {
	e.connections.Lock()
	defer e.connections.Unlock()
	key := fmt.Sprintf("%q", append([]string{user}, groups...))
	if shared, is := e.clients[key]; is {
		return shared, nil
	}
	made, err := e.newClient(user, groups...)
	if err != nil {
		return nil, err
	}
	if e.clients == nil {
		e.clients = map[string]client.WithWatch{}
	}
	e.clients[key] = made
	return made, nil
}

func (e *Env) newClient(user string, groups ...string) (client.WithWatch, error) {
	s := runtime.NewScheme()
	if err := errors.Join(scheme.AddToScheme(s), tokensv1alpha1.AddToScheme(s)); err != nil {
		return nil, fmt.Errorf("registering the API types: %w", err)
	}
	config, err := e.user(user, groups...)
	if err != nil {
		return nil, err
	}
	config.QPS = -1
	api, err := client.NewWithWatch(config, client.Options{Scheme: s, FieldOwner: "apitoken-controller"})
	if err != nil {
		return nil, fmt.Errorf("connecting to the API server: %w", err)
	}
	return Indexed(api), nil
}

// User returns the client configuration of a user in the given groups.
func (e *Env) User(t *testing.T, name string, groups ...string) *rest.Config {
	t.Helper()
	e.Required(t)
	config, err := e.user(name, groups...)
	if err != nil {
		t.Fatal(err)
	}
	return config
}

func (e *Env) user(name string, groups ...string) (*rest.Config, error) {
	e.credentials.Lock()
	defer e.credentials.Unlock()
	return e.ControlPlane.User(name, groups...)
}

// WriteKubeconfig writes a kubeconfig for a user in the given groups.
func (e *Env) WriteKubeconfig(path, name string, groups ...string) error {
	e.credentials.Lock()
	defer e.credentials.Unlock()
	return e.ControlPlane.WriteKubeconfig(path, name, groups...)
}

// Namespace creates a namespace for one test. What the test leaves is cleared.
func (e *Env) Namespace(t *testing.T) string {
	t.Helper()
	e.Required(t)
	n := &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{GenerateName: "test-"}}
	if err := e.Admin.Create(t.Context(), n); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { e.Clear(t, n.Name) })
	return n.Name
}

// Clear removes the sites and APITokens of a namespace, and the operator's Secrets with the labels of its sites. Every pass lists
// those of all tests.
func (e *Env) Clear(t *testing.T, namespace string) {
	t.Helper()
	remove := func(o client.Object, options ...client.DeleteAllOfOption) {
		if err := e.Admin.DeleteAllOf(context.Background(), o, options...); err != nil {
			t.Error(err)
		}
	}
	remove(&tokensv1alpha1.AtlassianSite{}, client.InNamespace(namespace))
	remove(&tokensv1alpha1.APIToken{}, client.InNamespace(namespace))
	for _, of := range []string{SystemNamespace, CredentialsNamespace, IntakeNamespace} {
		remove(&corev1.Secret{}, client.InNamespace(of), client.MatchingLabels{record.LabelSiteNamespace: namespace})
	}
}

// awaitPolicies waits until the API server enforces the admission policies. It takes a moment to notice them.
func (e *Env) awaitPolicies() error {
	ctx := context.Background()
	probe := &corev1.Secret{ObjectMeta: metav1.ObjectMeta{Namespace: SystemNamespace, GenerateName: "probe-"}, Type: "Opaque"}
	c, err := e.connect(Controller)
	if err != nil {
		return err
	}
	err = wait.PollUntilContextTimeout(ctx, 50*time.Millisecond, timeout, true, func(ctx context.Context) (bool, error) {
		secret, token := probe.DeepCopy(), Token(SystemNamespace, "probe")
		return c.Create(ctx, secret, client.DryRunAll) != nil && c.Create(ctx, token, client.DryRunAll) != nil, nil
	})
	if err != nil {
		return fmt.Errorf("waiting for the admission policies: %w", err)
	}
	return nil
}

// AwaitGuarded waits until the operator issues tokens for new APITokens.
func (e *Env) AwaitGuarded(t *testing.T) {
	t.Helper()
	e.Required(t)
	if err := e.AwaitPolicies(t.Context()); err != nil {
		t.Fatal(err)
	}
}

// Eventually waits until check returns nil. After the timeout it fails with the last error.
func Eventually(t *testing.T, check func() error) {
	t.Helper()
	var last error
	err := wait.PollUntilContextTimeout(t.Context(), 10*time.Millisecond, timeout, true, func(context.Context) (bool, error) {
		last = check()
		return last == nil, nil
	})
	if err != nil {
		t.Fatal(errors.Join(last, err))
	}
}

// Site returns a site of Jira, changed by mods.
func Site(namespace, name string, mods ...func(*tokensv1alpha1.AtlassianSite)) *tokensv1alpha1.AtlassianSite {
	s := &tokensv1alpha1.AtlassianSite{
		ObjectMeta: metav1.ObjectMeta{Namespace: namespace, Name: name},
		Spec: tokensv1alpha1.AtlassianSiteSpec{
			Product:            tokensv1alpha1.ProductJira,
			BaseURL:            "https://" + name + "." + namespace + ".example/jira",
			UpstreamURL:        "http://jira." + namespace + ".svc:8080/jira",
			TokenPaths:         []string{"/rest/"},
			Handoff:            tokensv1alpha1.Handoff{Type: tokensv1alpha1.HandoffPersonalAccessToken},
			CallerVerification: tokensv1alpha1.CallerVerification{Type: tokensv1alpha1.CallerVerificationSharedKey},
		},
	}
	for _, mod := range mods {
		mod(s)
	}
	return s
}

// Token returns a token of alice for the site "main", changed by mods. Its delivered Secret is named after it, with the
// suffix "-token".
func Token(namespace, name string, mods ...func(*tokensv1alpha1.APIToken)) *tokensv1alpha1.APIToken {
	t := &tokensv1alpha1.APIToken{
		ObjectMeta: metav1.ObjectMeta{Namespace: namespace, Name: name},
		Spec: tokensv1alpha1.APITokenSpec{
			SiteRef:    tokensv1alpha1.SiteReference{Name: "main"},
			User:       "alice",
			Label:      "for a test",
			Credential: tokensv1alpha1.Credential{Type: tokensv1alpha1.CredentialGenerated},
			Delivery:   tokensv1alpha1.Delivery{SecretName: name + "-token"},
		},
	}
	for _, mod := range mods {
		mod(t)
	}
	return t
}
