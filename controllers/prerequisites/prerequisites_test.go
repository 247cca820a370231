// Package prerequisites_test starts the controller in clusters that lack what it needs.
package prerequisites_test

import (
	"context"
	"encoding/json"
	"errors"
	"net/http"
	"os"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/go-logr/logr"
	admissionv1 "k8s.io/api/admissionregistration/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/version"
	"k8s.io/client-go/discovery"
	"k8s.io/client-go/rest"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/yaml"

	"apitokens.dev/operator/config"
	"apitokens.dev/operator/controllers"
	"apitokens.dev/operator/hack/lib/fault"
	"apitokens.dev/operator/hack/lib/kubetest"
	"apitokens.dev/operator/internal/manager"
	"apitokens.dev/operator/internal/prerequisites"
	"apitokens.dev/operator/internal/scope"
)

var env kubetest.Env

func TestMain(m *testing.M) { os.Exit(env.Main(m)) }

func account(t *testing.T) *rest.Config {
	t.Helper()
	return env.User(t, kubetest.Controller, "system:serviceaccounts", "system:serviceaccounts:"+kubetest.SystemNamespace)
}

// newCheck is the controller's check with its own account. It looks twice.
func newCheck(t *testing.T) *prerequisites.Check {
	t.Helper()
	server, err := discovery.NewDiscoveryClientForConfig(account(t))
	must(t, err)
	return &prerequisites.Check{
		Live: env.Client(t, kubetest.Controller), Server: server, Attempts: 2, Period: time.Millisecond, Log: logr.Discard(),
		Namespace: kubetest.SystemNamespace, CredentialsNamespace: kubetest.CredentialsNamespace, IntakeNamespace: kubetest.IntakeNamespace,
	}
}

// required returns the objects of config/crd and config/admission, as they are installed.
func required(t *testing.T) (all []*unstructured.Unstructured) {
	t.Helper()
	documents, err := config.Required(config.Namespace, config.CredentialsNamespace, config.IntakeNamespace)
	must(t, err)
	for _, document := range documents {
		o := &unstructured.Unstructured{}
		must(t, yaml.Unmarshal([]byte(document), &o.Object))
		must(t, env.Admin.Get(t.Context(), client.ObjectKeyFromObject(o), o))
		all = append(all, o)
	}
	if len(all) != 12 {
		t.Fatalf("%d objects are required, want two CRDs, five policies and five bindings", len(all))
	}
	return all
}

// wantRefusal checks, and expects a refusal that names the object, says what is wrong, and what to do.
func wantRefusal(t *testing.T, c *prerequisites.Check, o *unstructured.Unstructured, problem string) {
	t.Helper()
	err := c.Await(t.Context())
	for _, part := range []string{o.GetKind() + " " + o.GetName() + ": ", problem, "kubectl apply --server-side -k config/core"} {
		if err == nil || !strings.Contains(err.Error(), part) {
			t.Errorf("%s %s: the answer is %v, want %q", o.GetKind(), o.GetName(), err, part)
		}
	}
	if err != nil && strings.Count(err.Error(), ": it ") != 1 {
		t.Errorf("more than one object is said to be wrong: %v", err)
	}
}

func TestClusterOfThisVersion(t *testing.T) {
	must(t, newCheck(t).Await(t.Context()))
}

// Without one of the CRDs, policies and bindings, or with an older one, the controller does not start. With a later one it does.
func TestEachObjectIsNeeded(t *testing.T) {
	for _, o := range required(t) {
		t.Run(o.GetKind()+" "+o.GetName(), func(t *testing.T) {
			c := newCheck(t)
			must(t, env.Admin.Delete(t.Context(), o.DeepCopy()))
			kubetest.Eventually(t, func() error { return gone(t, o) })
			wantRefusal(t, c, o, "it is missing")
			again := o.DeepCopy()
			again.SetResourceVersion("")
			again.SetUID("")
			unstructured.RemoveNestedField(again.Object, "status")
			must(t, env.Admin.Create(t.Context(), again))
			must(t, c.Await(t.Context()))
			if o.GetAnnotations()[config.RevisionAnnotation] == "" {
				return // a binding
			}
			for revision, problem := range map[string]string{"": "(revision 0, and this version needs 1)", "0": "it is too old", "x": "it is too old", "2": ""} {
				annotate(t, o, revision)
				if problem != "" {
					wantRefusal(t, c, o, problem)
				} else {
					must(t, c.Await(t.Context()))
				}
			}
			annotate(t, o, "1")
		})
	}
	must(t, newCheck(t).Await(t.Context()))
}

func gone(t *testing.T, o *unstructured.Unstructured) error {
	t.Helper()
	if err := env.Admin.Get(t.Context(), client.ObjectKeyFromObject(o), o.DeepCopy()); client.IgnoreNotFound(err) != nil || err == nil {
		return errors.Join(errors.New("it is still there"), err)
	}
	return nil
}

func annotate(t *testing.T, o *unstructured.Unstructured, revision string) {
	t.Helper()
	value := any(revision)
	if revision == "" {
		value = nil
	}
	patchTo(t, o, map[string]any{"metadata": map[string]any{"annotations": map[string]any{config.RevisionAnnotation: value}}})
}

func patchTo(t *testing.T, o *unstructured.Unstructured, change map[string]any) {
	t.Helper()
	text, err := json.Marshal(change)
	must(t, err)
	must(t, env.Admin.Patch(t.Context(), o.DeepCopy(), client.RawPatch("application/merge-patch+json", text)))
}

// A policy or binding of this revision with other words is somebody's change, or of another installation.
func TestChangedPolicies(t *testing.T) {
	const differs, loose = "it differs from that of this version", "it does not bind the policy"
	for _, o := range required(t) {
		spec, _, err := unstructured.NestedMap(o.Object, "spec")
		must(t, err)
		changes := map[string]map[string]any{}
		problem := differs
		switch o.GetKind() {
		case "CustomResourceDefinition":
			continue
		case "ValidatingAdmissionPolicyBinding":
			problem = loose
			changes["warns"] = map[string]any{"validationActions": []any{"Warn", "Audit"}}
			changes["is limited"] = map[string]any{"matchResources": map[string]any{"namespaceSelector": map[string]any{"matchLabels": map[string]any{"a": "b"}}}}
			changes["leaves out"] = map[string]any{"matchResources": map[string]any{"excludeResourceRules": []any{map[string]any{
				"apiGroups": []any{"*"}, "apiVersions": []any{"*"}, "resources": []any{"*"}, "operations": []any{"*"},
			}}}}
		default:
			changes["fails open"] = map[string]any{"failurePolicy": "Ignore"}
			changes["allows"] = map[string]any{"validations": []any{map[string]any{"expression": "true"}}}
			changes["matches nothing"] = map[string]any{"matchConditions": []any{map[string]any{"name": "none", "expression": "false"}}}
		}
		c := newCheck(t)
		for name, change := range changes {
			t.Run(o.GetName()+" "+name, func(t *testing.T) {
				patchTo(t, o, map[string]any{"spec": change})
				wantRefusal(t, c, o, problem)
				for field := range change {
					change[field] = spec[field] // nil removes it
				}
				patchTo(t, o, map[string]any{"spec": change})
				must(t, c.Await(t.Context()))
			})
		}
	}
}

// A second installation in other namespaces finds the policies of the first, and does not start.
func TestSecondInstallationDoesNotStart(t *testing.T) {
	c := newCheck(t)
	c.Namespace = "tokens-system"
	if err := c.Await(t.Context()); err == nil || !strings.Contains(err.Error(), "A cluster has one installation") {
		t.Errorf("the check says %v", err)
	}
}

// More audit says more, and refuses no less.
func TestAuditIsAllowed(t *testing.T) {
	for _, o := range required(t) {
		if o.GetKind() == "ValidatingAdmissionPolicyBinding" {
			patchTo(t, o, map[string]any{"spec": map[string]any{"validationActions": []any{admissionv1.Deny, admissionv1.Audit}}})
			must(t, newCheck(t).Await(t.Context()))
			patchTo(t, o, map[string]any{"spec": map[string]any{"validationActions": []any{admissionv1.Deny}}})
		}
	}
}

// An account without the rights of this version is told so.
func TestAccountMayNotRead(t *testing.T) {
	c := newCheck(t)
	c.Live = env.Client(t, kubetest.Portal)
	if err := c.Await(t.Context()); err == nil || strings.Count(err.Error(), "the controller's account may not read it") != 12 {
		t.Errorf("the check says %v", err)
	}
}

// A flag that takes a right is no help without it. The refusal says how to give it, and that it can be left out.
func TestWatchingSecretsTakesARight(t *testing.T) {
	const give = "kubectl apply --server-side -f config/components/watch-secrets/role.yaml"
	served := env.Namespace(t)
	for _, scope := range []scope.Namespaces{nil, {served}} {
		c := newCheck(t)
		c.Scope, c.WatchSecrets = scope, true
		err := c.Await(t.Context())
		if err == nil || !strings.Contains(err.Error(), give) || !strings.Contains(err.Error(), "leave out --watch-secrets") {
			t.Errorf("%v: the check says %v", scope, err)
		}
		where := "in the whole cluster"
		if scope != nil {
			where = "kubectl -n " + served + " apply --server-side -k config/access"
		}
		if err != nil && !strings.Contains(err.Error(), where) {
			t.Errorf("the check does not say where: %v", err)
		}
		c.WatchSecrets = false
		must(t, c.Await(t.Context()))
	}
	c := newCheck(t)
	c.WatchSecrets, c.Live = true, env.Admin
	must(t, c.Await(t.Context()))
}

// Manifests that come a moment later are waited for.
func TestObjectThatComesLater(t *testing.T) {
	o := required(t)[4]
	must(t, env.Admin.Delete(t.Context(), o.DeepCopy()))
	c := newCheck(t)
	waiting := make(chan struct{})
	c.Attempts, c.Period, c.Log = 1<<30, 10*time.Millisecond, logr.New(&signal{first: waiting})
	answer := make(chan error, 1)
	go func() { answer <- c.Await(t.Context()) }()
	<-waiting
	o.SetResourceVersion("")
	o.SetUID("")
	must(t, env.Admin.Create(t.Context(), o))
	must(t, <-answer)
}

// Await does not keep a process that is told to end, and says nothing of it.
func TestEndedWhileWaiting(t *testing.T) {
	ctx, end := context.WithCancel(t.Context())
	c := newCheck(t)
	c.Server = away{end}
	must(t, c.Await(ctx))
}

// away is an API server that does not answer.
type away struct{ asked func() }

func (a away) ServerVersion() (*version.Info, error) {
	a.asked()
	return nil, errors.New("no route to host")
}

// The controllers do not start on a version of Kubernetes that is too old, or that cannot be told, and do not wait for another.
func TestOldKubernetes(t *testing.T) {
	for found, refused := range map[string]string{
		"v1.31.14": "Kubernetes v1.31.14 is too old: upgrade the cluster to 1.32 or newer",
		"v1.9.0":   "is too old", "": "is not one of Kubernetes", "unknown": "is not one of Kubernetes",
		"v1.32.0": "", "v1.32.0-eks-a1b2c3": "", "v1.33.1+k3s1": "", "v2.0.0": "",
	} {
		c := newCheck(t)
		c.Server = fixed(found)
		err := c.Await(t.Context())
		if (err != nil) != (refused != "") || err != nil && !strings.Contains(err.Error(), refused) {
			t.Errorf("%q: %v, want %q", found, err, refused)
		}
	}
	proxy, err := fault.NewAPI(account(t))
	must(t, err)
	defer proxy.Close()
	proxy.Set(func(w http.ResponseWriter, r *http.Request, forward http.Handler) {
		if r.URL.Path == "/version" {
			_ = json.NewEncoder(w).Encode(version.Info{GitVersion: "v1.31.14"})
			return
		}
		forward.ServeHTTP(w, r)
	})
	err = controllers.Run(t.Context(), &rest.Config{Host: proxy.URL()}, controllers.Options{
		Telemetry: manager.Telemetry{Health: "0", Metrics: "0"}, ExpiryNoticeDays: []int{1}, Namespace: kubetest.SystemNamespace,
		CredentialsNamespace: kubetest.CredentialsNamespace, IntakeNamespace: kubetest.IntakeNamespace,
	}, logr.Discard())
	if err == nil || !strings.Contains(err.Error(), "Kubernetes v1.31.14 is too old") {
		t.Errorf("the controllers end with %v", err)
	}
}

type fixed string

func (f fixed) ServerVersion() (*version.Info, error) {
	return &version.Info{GitVersion: string(f)}, nil
}

// signal closes a channel at the first line of a log.
type signal struct {
	logr.LogSink

	first chan struct{}
	once  sync.Once
}

func (*signal) Init(logr.RuntimeInfo) {}
func (*signal) Enabled(int) bool      { return true }

func (s *signal) Info(int, string, ...any) { s.once.Do(func() { close(s.first) }) }

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}
