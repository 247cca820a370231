// Package rig starts a whole installation: real etcd, kube-apiserver and nginx, the operator's three processes with their
// own accounts, and a fake Jira. The demo, the end-to-end tests and the benchmarks run on it.
package rig

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"sync/atomic"
	"syscall"
	"time"

	"k8s.io/apimachinery/pkg/api/resource"
	"k8s.io/apimachinery/pkg/util/wait"

	"apitokens.dev/operator/hack/lib/controlplane"
	"apitokens.dev/operator/hack/lib/fakeproduct"
	"apitokens.dev/operator/hack/lib/ports"
)

// Names in the samples.
const (
	Namespace = "jira"
	Site      = "main"
)

// PersonalAccessToken is alice's personal access token of Jira.
const PersonalAccessToken = "NjE2MTE2NTEzOTU4OpjlEO6GuF3vKzalice"

// startTimeout is the time that a process has to be ready. With very many tokens it takes more than seconds.
const startTimeout = 3 * time.Minute

// Rig is a running set of parts.
type Rig struct {
	*controlplane.ControlPlane

	// Product is a fake; it remembers the requests that it received.
	Product *fakeproduct.Jira
	// URL is the address of nginx in front of the product. WebhookURL is the address at which nginx asks the webhook.
	URL, WebhookURL string
	// GRPCAddress is where an Envoy would ask the webhook.
	GRPCAddress string
	// HealthURL and MetricsURL are those of the webhook.
	HealthURL, MetricsURL string
	// Confluence is the second product; nil before StartConfluence.
	Confluence *Confluence
	// PortalURL is the address of the portal, for nginx.
	PortalURL string
	// ControllerMetricsURL and PortalMetricsURL are those of the controller and the portal.
	ControllerMetricsURL, PortalMetricsURL string
	// Controller, Webhook, Portal and Nginx are the processes of the rig.
	Controller, Webhook, Portal, Nginx *Process

	dir, binary string
	// productAhead is the difference between the products' clocks and ours, in nanoseconds.
	productAhead atomic.Int64
	// logsRequests makes nginx write an access log, and notices beside errors.
	logsRequests bool
	// operatorArgs are added to the arguments of each of the operator's processes.
	operatorArgs []string
	product      *httptest.Server
}

// Start starts the control plane, the product and the operator, and writes each step to progress.
// StartNginx starts nginx later, once the site exists. The caller must call Stop, also after an error.
func Start(ctx context.Context, progress io.Writer, operatorArgs ...string) (*Rig, error) {
	r := &Rig{operatorArgs: operatorArgs}
	r.Product = fakeproduct.NewJira(fakeproduct.Options{Now: r.productTime, Users: fakeproduct.People(PersonalAccessToken)})
	for _, part := range []struct {
		what  string
		start func(context.Context) error
	}{
		{"building the operator", r.build},
		{"starting etcd and kube-apiserver", r.startControlPlane},
		{"installing CRDs, RBAC and admission policies", func(context.Context) error { return r.Install("config/core") }},
		{"starting the fake Jira", r.startProduct},
		{"starting the operator's controller", func(ctx context.Context) error { return r.startController(ctx) }},
		{"starting the operator's webhook", r.startWebhook},
		{"starting the operator's portal", r.startPortal},
		{"waiting until the admission policies count", func(ctx context.Context) error { return r.AwaitPolicies(ctx) }},
	} {
		begun := time.Now()
		_, _ = fmt.Fprintf(progress, "  %s ... ", part.what)
		if err := part.start(ctx); err != nil {
			_, _ = fmt.Fprintln(progress, "failed")
			return r, fmt.Errorf("%s: %w", part.what, err)
		}
		_, _ = fmt.Fprintf(progress, "%.1f s\n", time.Since(begun).Seconds())
	}
	return r, nil
}

// Stop stops every part and removes all files.
func (r *Rig) Stop() error {
	errs := []error{r.Confluence.stop(), r.Nginx.Stop(), r.Portal.Stop(), r.Webhook.Stop(), r.Controller.Stop()}
	if r.product != nil {
		r.product.Close()
	}
	if r.ControlPlane != nil {
		errs = append(errs, r.ControlPlane.Stop())
	}
	if r.dir != "" {
		errs = append(errs, os.RemoveAll(r.dir))
	}
	return errors.Join(errs...)
}

// SetProductAhead sets the products' clocks ahead of ours, or behind if d is negative.
func (r *Rig) SetProductAhead(d time.Duration) { r.productAhead.Store(int64(d)) }

func (r *Rig) productTime() time.Time { return time.Now().Add(time.Duration(r.productAhead.Load())) }

func (r *Rig) build(ctx context.Context) error {
	dir, err := os.MkdirTemp("", "apitoken-rig-")
	if err != nil {
		return fmt.Errorf("making a folder: %w", err)
	}
	r.dir, r.binary = dir, filepath.Join(dir, "apitoken-operator")
	return buildShared(ctx, r.binary)
}

// buildShared builds the operator in the folder that all rigs of a tree share, where it is linked only if something has changed, and
// copies it: the next build may replace it.
func buildShared(ctx context.Context, to string) error {
	root := controlplane.RepositoryRoot()
	shared := filepath.Join(root, "bin", "rig", "apitoken-operator")
	if err := os.MkdirAll(filepath.Dir(shared), 0o755); err != nil {
		return fmt.Errorf("making a folder: %w", err)
	}
	lock, err := os.OpenFile(shared+".lock", os.O_CREATE|os.O_RDWR, 0o600)
	if err != nil {
		return fmt.Errorf("waiting for another build: %w", err)
	}
	defer func() { _ = lock.Close() }()
	if err := syscall.Flock(int(lock.Fd()), syscall.LOCK_EX); err != nil {
		return fmt.Errorf("waiting for another build: %w", err)
	}
	// A process that this one starts meanwhile would hold a copy open for writing, and nobody could run it: cp is not this one.
	for _, args := range [][]string{{"hack/release/build.sh", "-o", shared}, {"cp", shared, to}} {
		command := exec.CommandContext(ctx, args[0], args[1:]...)
		command.Dir = root
		if out, err := command.CombinedOutput(); err != nil {
			return fmt.Errorf("%s: %w: %s", strings.Join(args, " "), err, out)
		}
	}
	return nil
}

func (r *Rig) startControlPlane(context.Context) (err error) {
	if r.ControlPlane, err = controlplane.Start(); err != nil {
		return err
	}
	return r.Join(r.ControlPlane)
}

// Join writes the kubeconfigs of the rig for a control plane, which its caller stops.
func (r *Rig) Join(cp *controlplane.ControlPlane) error {
	for name, groups := range map[string][]string{
		"admin":   {"system:masters"},
		"alice":   {"jira-team"},
		"mallory": {"jira-team"},
		"system:serviceaccount:apitoken-system:apitoken-controller": {"system:serviceaccounts", "system:serviceaccounts:apitoken-system"},
		"system:serviceaccount:apitoken-system:apitoken-webhook":    {"system:serviceaccounts", "system:serviceaccounts:apitoken-system"},
		"system:serviceaccount:apitoken-system:apitoken-portal":     {"system:serviceaccounts", "system:serviceaccounts:apitoken-system"},
	} {
		if err := cp.WriteKubeconfig(r.Kubeconfig(name), name, groups...); err != nil {
			return err
		}
	}
	return nil
}

// Kubeconfig returns the path of the kubeconfig of admin, of alice, who may issue for herself, or of mallory, who may not.
func (r *Rig) Kubeconfig(name string) string {
	return filepath.Join(r.dir, name[strings.LastIndexByte(name, ':')+1:]+".kubeconfig")
}

func (r *Rig) startProduct(context.Context) error {
	r.product = httptest.NewServer(r.Product)
	return nil
}

// StartController starts the controller of a rig that joined a control plane, and waits until it is ready.
func (r *Rig) StartController(ctx context.Context, args ...string) (*Process, error) {
	err := r.startController(ctx, args...)
	return r.Controller, err
}

func (r *Rig) startController(ctx context.Context, args ...string) error {
	free, err := ports.Free(2)
	if err != nil {
		return err
	}
	if r.WebhookURL == "" {
		serving, err := ports.Free(6)
		if err != nil {
			return err
		}
		r.WebhookURL, r.HealthURL, r.MetricsURL = "http://"+serving[0], "http://"+serving[1], "http://"+serving[2]+"/metrics"
		r.PortalURL, r.PortalMetricsURL, r.GRPCAddress = "http://"+serving[3], "http://"+serving[4]+"/metrics", serving[5]
	}
	r.ControllerMetricsURL = "http://" + free[1] + "/metrics"
	r.Controller, err = r.startOperator("controller", append([]string{
		"controller",
		"--kubeconfig", r.Kubeconfig("apitoken-controller"), "--webhook-url", r.WebhookURL, "--portal-url", r.PortalURL, "--allow-external-upstreams",
		"--health-probe-bind-address", free[0], "--metrics-bind-address", free[1],
	}, args...)...)
	if err != nil {
		return err
	}
	return r.Controller.await(ctx, "http://"+free[0]+"/readyz")
}

// startOperator starts one process of the operator. name is the name of its log.
func (r *Rig) startOperator(log string, args ...string) (*Process, error) {
	limit, err := memoryLimit(args[0])
	if err != nil {
		return nil, err
	}
	return startProcess(filepath.Join(r.dir, log+".log"), []string{"GOMEMLIMIT=" + limit}, r.binary, append(args, r.operatorArgs...)...)
}

var limitOfMemory = regexp.MustCompile(`limits:\s+cpu: \S+\s+memory: (\S+)`)

// memoryLimit returns what the Deployment of a process sets for GOMEMLIMIT, in bytes.
func memoryLimit(process string) (string, error) {
	text, err := os.ReadFile(filepath.Join(controlplane.RepositoryRoot(), "config", "deploy", process+".yaml"))
	if err != nil {
		return "", fmt.Errorf("reading a Deployment: %w", err)
	}
	found := limitOfMemory.FindSubmatch(text)
	if found == nil {
		return "", fmt.Errorf("reading the Deployment of %s: it has no limit of memory", process)
	}
	limit, err := resource.ParseQuantity(string(found[1]))
	if err != nil {
		return "", fmt.Errorf("reading the limit of memory of %s: %w", process, err)
	}
	return strconv.FormatInt(limit.Value(), 10), nil
}

func (r *Rig) startWebhook(ctx context.Context) (err error) {
	r.Webhook, err = r.startOperator("webhook", "webhook", "--plain-http", "--drain-delay", "100ms",
		"--kubeconfig", r.Kubeconfig("apitoken-webhook"), "--bind-address", strings.TrimPrefix(r.WebhookURL, "http://"),
		"--grpc-bind-address", r.GRPCAddress, "--health-probe-bind-address", strings.TrimPrefix(r.HealthURL, "http://"),
		"--metrics-bind-address", strings.TrimSuffix(strings.TrimPrefix(r.MetricsURL, "http://"), "/metrics"))
	if err != nil {
		return err
	}
	return r.Webhook.await(ctx, r.HealthURL+"/readyz")
}

// StartPortal starts the portal of a rig that joined a control plane and started a controller, and waits until it is ready.
func (r *Rig) StartPortal(ctx context.Context) (*Process, error) {
	err := r.startPortal(ctx)
	return r.Portal, err
}

func (r *Rig) startPortal(ctx context.Context) error {
	health, err := ports.Free(1)
	if err != nil {
		return err
	}
	r.Portal, err = r.startOperator("portal", "portal", "--plain-http", "--drain-delay", "100ms",
		"--kubeconfig", r.Kubeconfig("apitoken-portal"), "--bind-address", strings.TrimPrefix(r.PortalURL, "http://"),
		"--health-probe-bind-address", health[0],
		"--metrics-bind-address", strings.TrimSuffix(strings.TrimPrefix(r.PortalMetricsURL, "http://"), "/metrics"))
	if err != nil {
		return err
	}
	return r.Portal.await(ctx, "http://"+health[0]+"/readyz")
}

// Sample returns a file of config/samples with the placeholders filled in for this rig.
func (r *Rig) Sample(name string) ([]byte, error) {
	text, err := os.ReadFile(filepath.Join(controlplane.RepositoryRoot(), "config", "samples", name))
	if err != nil {
		return nil, fmt.Errorf("reading a sample: %w", err)
	}
	if r.URL == "" {
		free, err := ports.Free(1)
		if err != nil {
			return nil, err
		}
		r.URL = "http://" + free[0]
	}
	return []byte(strings.NewReplacer(
		"https://jira.example.com", r.URL,
		"http://jira.jira.svc:8080", r.product.URL,
		"PUT-THE-PERSONAL-ACCESS-TOKEN-HERE", PersonalAccessToken,
	).Replace(r.Confluence.fill(string(text)))), nil
}

// KubectlAs runs kubectl with the kubeconfig of one user and input on its standard input. It returns the output.
func (r *Rig) KubectlAs(ctx context.Context, as string, stdin []byte, args ...string) (string, error) {
	cmd := exec.CommandContext(ctx, r.Kubectl(), append([]string{"--kubeconfig", r.Kubeconfig(as), "--namespace", Namespace}, args...)...)
	cmd.Stdin = bytes.NewReader(stdin)
	out, err := cmd.CombinedOutput()
	if err != nil {
		return string(out), fmt.Errorf("kubectl %s as %s: %w: %s", strings.Join(args, " "), as, err, strings.TrimSpace(string(out)))
	}
	return string(out), nil
}

// await waits until the URL answers. It fails as soon as the process has ended.
func (p *Process) await(ctx context.Context, url string) error {
	err := wait.PollUntilContextTimeout(ctx, 50*time.Millisecond, startTimeout, true, func(ctx context.Context) (bool, error) {
		select {
		case <-p.ended:
			return false, fmt.Errorf("%s ended by itself", p.name())
		default:
		}
		request, err := http.NewRequestWithContext(ctx, http.MethodGet, url, http.NoBody)
		if err != nil {
			return false, err
		}
		response, err := http.DefaultClient.Do(request)
		if err != nil {
			return false, nil
		}
		_ = response.Body.Close()
		return response.StatusCode == http.StatusOK, nil
	})
	if err != nil {
		return fmt.Errorf("waiting for %s at %s: %w; its log ends with:\n%s", p.name(), url, err, p.tail())
	}
	return nil
}
