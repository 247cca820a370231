package config_test

import (
	"bytes"
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	appsv1 "k8s.io/api/apps/v1"
	authorizationv1 "k8s.io/api/authorization/v1"
	coordinationv1 "k8s.io/api/coordination/v1"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"apitokens.dev/operator/hack/lib/controlplane"
	"apitokens.dev/operator/hack/lib/ports"
)

// operator builds the binary.
func operator(t *testing.T) string {
	t.Helper()
	binary := filepath.Join(t.TempDir(), "apitoken-operator")
	build := exec.CommandContext(t.Context(), "go", "build", "-o", binary, "./cmd/apitoken-operator")
	build.Dir = controlplane.RepositoryRoot()
	if out, err := build.CombinedOutput(); err != nil {
		t.Fatalf("go build: %v: %s", err, out)
	}
	return binary
}

// The binary knows the flags that the Deployments give it, and listens on their ports by default.
func TestDeploymentsStartTheBinary(t *testing.T) {
	binary := operator(t)
	for _, name := range installations {
		_, all := build(t, name)
		for _, d := range objectsOf[appsv1.Deployment](t, all, "Deployment") {
			c := d.Spec.Template.Spec.Containers[0]
			help, err := exec.CommandContext(t.Context(), binary, append(c.Args, "--help")...).CombinedOutput()
			if err != nil {
				t.Errorf("%s %s: %v: %s", name, d.Name, err, help)
			}
			for _, port := range c.Ports {
				if !strings.Contains(string(help), fmt.Sprintf(`(default ":%d")`, port.ContainerPort)) {
					t.Errorf("%s %s: no flag has the port %d by default", name, d.Name, port.ContainerPort)
				}
			}
			if listens := strings.Count(string(help), `(default ":`); listens != len(c.Ports) {
				t.Errorf("%s %s: listens on %d ports and declares %d", name, d.Name, listens, len(c.Ports))
			}
		}
	}
}

// With the account of config/single, the one process reconciles a site, and answers gateways and people.
func TestOneProcessRunsEveryMode(t *testing.T) {
	const account = serviceAccountPrefix + systemNamespace + ":apitoken-operator"
	for _, object := range mustBuild(t, "components/single/rights") {
		create(t, object)
	}
	t.Cleanup(func() { removeWrites(t) })
	remove(t, newSecret(systemNamespace, "apitoken-tls", ""))
	remove(t, newSecret(intakeNamespace, "apitoken-tls-authorities", ""))
	kubeconfig := filepath.Join(t.TempDir(), "operator")
	if err := cluster.WriteKubeconfig(kubeconfig, account, groupsOf(account)...); err != nil {
		t.Fatal(err)
	}
	at, err := ports.Free(5)
	if err != nil {
		t.Fatal(err)
	}
	process := exec.CommandContext(t.Context(), operator(t), "run", "--plain-http", "--kubeconfig", kubeconfig, "--drain-delay=0s", "--bind-address="+at[0],
		"--portal-bind-address="+at[1], "--health-probe-bind-address="+at[2], "--metrics-bind-address="+at[3], "--grpc-bind-address="+at[4])
	var log bytes.Buffer
	process.Stdout, process.Stderr = &log, &log
	if err := process.Start(); err != nil {
		t.Fatal(err)
	}
	stop := func() {
		if err := process.Process.Signal(syscall.SIGTERM); err != nil {
			t.Error(err)
		}
		if err := process.Wait(); err != nil || t.Failed() {
			t.Errorf("ended with %v:\n%s", err, &log)
		}
	}
	defer stop()

	must := func(what string, try func() error) {
		t.Helper()
		if err := eventually(t.Context(), what, try); err != nil {
			t.Fatal(err)
		}
	}
	must("readiness", func() error { return answers(t.Context(), at[2]+"/readyz", http.StatusOK, "ok") })
	site := newSite(teamNamespace, "single")
	site.Spec.UpstreamURL = "http://jira." + teamNamespace + ".svc:8080/jira"
	create(t, site)
	must("the auth URLs of a site", func() error {
		return clients[clusterAdmin].Get(t.Context(), client.ObjectKey{Namespace: teamNamespace, Name: "single-auth-urls"}, &corev1.Secret{})
	})
	must("TLS with the certificate of the process", func() error {
		var made corev1.Secret
		if err := clients[clusterAdmin].Get(t.Context(), client.ObjectKey{Namespace: systemNamespace, Name: "apitoken-tls"}, &made); err != nil {
			return err
		}
		roots := x509.NewCertPool()
		roots.AppendCertsFromPEM(made.Data["ca.crt"])
		return errors.Join(shakesHands(t.Context(), at[0], "webhook", roots), shakesHands(t.Context(), at[1], "portal", roots))
	})
	must("the projection of a site", func() error {
		return clients[clusterAdmin].Get(t.Context(), client.ObjectKey{Namespace: systemNamespace, Name: "site." + teamNamespace + ".single"}, &corev1.Secret{})
	})
	must("the webhook", func() error { return answers(t.Context(), at[0]+"/", http.StatusServiceUnavailable, "") })
	must("the portal", func() error { return answers(t.Context(), at[1]+"/", http.StatusNotFound, "") })
	for _, mode := range []string{"webhook", "portal"} {
		must("the metrics of the "+mode, func() error {
			return answers(t.Context(), at[3]+"/metrics", http.StatusOK, `apitoken_index_tokens{mode="`+mode+`"}`)
		})
	}
	must("the controller's metrics", func() error {
		return answers(t.Context(), at[3]+"/metrics", http.StatusOK, "apitoken_admission_policy_in_force")
	})
}

// shakesHands connects to a loopback address over TLS, and verifies that it is the Service of a mode.
func shakesHands(ctx context.Context, address, mode string, roots *x509.CertPool) error {
	name := "apitoken-" + mode + "." + systemNamespace + ".svc"
	conn, err := (&tls.Dialer{Config: &tls.Config{RootCAs: roots, ServerName: name, MinVersion: tls.VersionTLS13}}).DialContext(ctx, "tcp", address)
	if err != nil {
		return fmt.Errorf("connecting to the %s: %w", mode, err)
	}
	return conn.Close()
}

// removeWrites removes what the process wrote. It has ended, and cleans up nothing itself.
func removeWrites(t *testing.T) {
	t.Helper()
	for _, namespace := range []string{systemNamespace, credentialsNamespace} {
		for _, object := range []client.Object{&corev1.Secret{}, &coordinationv1.Lease{}} {
			if err := clients[clusterAdmin].DeleteAllOf(context.Background(), object, client.InNamespace(namespace)); err != nil {
				t.Error(err)
			}
		}
	}
	urls := &corev1.Secret{ObjectMeta: metav1.ObjectMeta{Namespace: teamNamespace, Name: "single-auth-urls"}}
	if err := client.IgnoreNotFound(clients[clusterAdmin].Delete(context.Background(), urls)); err != nil {
		t.Error(err)
	}
}

func mustBuild(t *testing.T, name string) manifests {
	t.Helper()
	_, all := build(t, name)
	return all
}

// answers asks a loopback address for a status, and for a text in the body.
func answers(ctx context.Context, address string, status int, text string) error {
	ctx, cancel := context.WithTimeout(ctx, 5*time.Second)
	defer cancel()
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://"+address, http.NoBody)
	if err != nil {
		return err
	}
	response, err := http.DefaultClient.Do(request)
	if err != nil {
		return err
	}
	defer func() { _ = response.Body.Close() }()
	body, err := io.ReadAll(response.Body)
	if err == nil && (response.StatusCode != status || !strings.Contains(string(body), text)) {
		err = fmt.Errorf("%s answers %d, want %d with %q in %.300s", address, response.StatusCode, status, text, body)
	}
	return err
}

// The account of config/single can do nothing but act as the three.
func TestSingleAccountOnlyImpersonates(t *testing.T) {
	const account = serviceAccountPrefix + systemNamespace + ":apitoken-operator"
	for _, object := range mustBuild(t, "components/single/rights") {
		create(t, object)
	}
	c := impersonate(t, account)
	for name, want := range map[string]bool{"apitoken-controller": true, "apitoken-webhook": true, "apitoken-portal": true, "default": false} {
		err := eventually(t.Context(), "the right to act as "+name, func() error {
			review := &authorizationv1.SelfSubjectAccessReview{Spec: authorizationv1.SelfSubjectAccessReviewSpec{ResourceAttributes: &authorizationv1.ResourceAttributes{
				Namespace: systemNamespace, Verb: "impersonate", Resource: "serviceaccounts", Name: name,
			}}}
			err := c.Create(t.Context(), review)
			if err == nil && review.Status.Allowed != want {
				err = fmt.Errorf("%t, want %t", review.Status.Allowed, want)
			}
			return err
		})
		if err != nil {
			t.Error(err)
		}
	}
	if err := c.Get(t.Context(), types.NamespacedName{Namespace: systemNamespace, Name: "x"}, &corev1.Secret{}); !apierrors.IsForbidden(err) {
		t.Errorf("reading a Secret: %v", err)
	}
}
