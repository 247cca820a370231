// Package cluster installs the operator on a node as a user does, with nginx or Traefik as the gateway and a fake Jira beside it.
// All of them are pods.
package cluster

import (
	"context"
	"crypto/tls"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/util/wait"

	"apitokens.dev/operator/hack/lib/controlplane"
	"apitokens.dev/operator/hack/lib/fakeproduct"
	"apitokens.dev/operator/hack/lib/node"
	"apitokens.dev/operator/hack/lib/rig"
)

// Names of the operator's namespaces.
const (
	System      = "apitoken-system"
	Credentials = "apitoken-credentials"
	Intake      = "apitoken-intake"
)

// Cluster is a node with the operator.
type Cluster struct {
	*node.Node

	// Traefik means that it is the gateway, rather than nginx. The operator makes what it reads, from `spec.gateways` of the site.
	Traefik bool
}

// forwards are what tests and people reach from the machine. Gateway, Jira and Prometheus are Services with fixed addresses.
var forwards = map[string]string{
	"gateway":    "10.96.0.80:",
	"webhook":    "apitoken-webhook.apitoken-system.svc.cluster.local:8080",
	"control":    "10.96.0.90:8081",
	"prometheus": "10.96.0.70:9090",
}

// Start starts a node with the images of the operator, of nginx and of the fake Jira. The caller must call Stop, or leave that to
// another process.
func Start(ctx context.Context) (*Cluster, error) {
	n, err := node.Start(ctx, forwards)
	if err != nil {
		return nil, err
	}
	c := &Cluster{Node: n}
	if err := c.importImages(ctx); err != nil {
		return nil, errors.Join(err, n.Stop())
	}
	return c, nil
}

// Renew gives the cluster that runs the images that were built last, and restarts the operator.
func (c *Cluster) Renew(ctx context.Context) error {
	if err := c.importImages(ctx); err != nil {
		return err
	}
	_, err := c.Kubectl(ctx, "admin", nil, "--namespace", System, "rollout", "restart", "deployment")
	return err
}

func (c *Cluster) importImages(ctx context.Context) error {
	for _, image := range []string{"apitoken-operator-dev", "nginx-test", "pod-test"} {
		if err := c.Import(ctx, filepath.Join(controlplane.RepositoryRoot(), "bin/cluster/images", image+".oci.tar")); err != nil {
			return err
		}
	}
	return nil
}

// Open returns the cluster that runs.
func Open() (*Cluster, error) {
	n, err := node.Open()
	return &Cluster{Node: n}, err
}

// BaseURL returns that of the site. Pods, curl and browsers know its name.
func (c *Cluster) BaseURL() string { return "http://jira.localhost:" + c.port("gateway") }

// WebhookAddress returns the URL at which the machine reaches the webhook.
func (c *Cluster) WebhookAddress() string { return "https://" + c.Address("webhook") }

func (c *Cluster) port(name string) string {
	_, port, _ := net.SplitHostPort(c.Address(name))
	return port
}

// client reaches the base URL: Go does not know that the name is one of the machine.
var client = &http.Client{Timeout: time.Minute, Transport: &http.Transport{
	MaxIdleConnsPerHost: 128,
	TLSClientConfig:     &tls.Config{InsecureSkipVerify: true}, // the webhook's certificate is for its Service
	DialContext: func(ctx context.Context, network, address string) (net.Conn, error) {
		return new(net.Dialer).DialContext(ctx, network, strings.Replace(address, "jira.localhost", "127.0.0.1", 1))
	},
}}

// Client returns a client that reaches BaseURL, and any other address of the machine.
func (c *Cluster) Client() *http.Client { return client }

// Install applies a kustomization of config as its documentation says, and waits until all of it runs.
func (c *Cluster) Install(ctx context.Context, kustomization string) error {
	if _, err := c.Kubectl(ctx, "admin", nil, "apply", "--server-side", "-k", "config/"+kustomization); err != nil {
		return err
	}
	return c.AwaitOperator(ctx)
}

// AwaitOperator waits until all of the operator's pods are ready.
func (c *Cluster) AwaitOperator(ctx context.Context) error {
	_, err := c.Kubectl(ctx, "admin", nil, "--namespace", System, "rollout", "status", "deployment", "--timeout", "5m")
	return err
}

// Apply applies a file of manifests with the words in capitals filled in.
func (c *Cluster) Apply(ctx context.Context, name string) error {
	text, err := os.ReadFile(filepath.Join(controlplane.RepositoryRoot(), "hack/lib/cluster/manifests", name))
	if err != nil {
		return fmt.Errorf("reading a manifest: %w", err)
	}
	filled := strings.NewReplacer("PORT", c.port("gateway"), "PAT-OF-ALICE", rig.PersonalAccessToken).Replace(string(text))
	_, err = c.Kubectl(ctx, "admin", []byte(filled), "apply", "--server-side", "-f", "-")
	return err
}

// StartJira starts the fake Jira.
func (c *Cluster) StartJira(ctx context.Context) error {
	if err := c.Apply(ctx, "jira.yaml"); err != nil {
		return err
	}
	_, err := c.Kubectl(ctx, "admin", nil, "--namespace", rig.Namespace, "rollout", "status", "deployment/jira", "--timeout", "3m")
	return err
}

// Sample returns a file of config/samples with the placeholders filled in.
func (c *Cluster) Sample(name string) ([]byte, error) {
	text, err := os.ReadFile(filepath.Join(controlplane.RepositoryRoot(), "config/samples", name))
	if err != nil {
		return nil, fmt.Errorf("reading a sample: %w", err)
	}
	filled := strings.NewReplacer(
		"https://jira.example.com", c.BaseURL(), "PUT-THE-PERSONAL-ACCESS-TOKEN-HERE", rig.PersonalAccessToken,
	).Replace(string(text))
	if c.Traefik && name == "site.yaml" {
		filled += siteOfTraefik
	}
	return []byte(filled), nil
}

// KubectlAs runs kubectl in the namespace of the samples as one of the users.
func (c *Cluster) KubectlAs(ctx context.Context, as string, stdin []byte, args ...string) (string, error) {
	return c.Kubectl(ctx, as, stdin, append([]string{"--namespace", rig.Namespace}, args...)...)
}

// DeclareSite declares the site of the samples, and waits until it is ready.
func (c *Cluster) DeclareSite(ctx context.Context) error {
	for _, name := range []string{"issuers.yaml", "personal_access_token.yaml", "site.yaml"} {
		text, err := c.Sample(name)
		if err == nil {
			_, err = c.KubectlAs(ctx, "admin", text, "apply", "--server-side", "-f", "-")
		}
		if err != nil {
			return err
		}
	}
	_, err := c.KubectlAs(ctx, "admin", nil, "wait", "atlassiansite/"+rig.Site, "--for=condition=Ready", "--timeout=3m")
	return err
}

// AuthURL returns the auth URL of the site for nginx.
func (c *Cluster) AuthURL(ctx context.Context) (string, error) {
	urls, err := c.Secret(ctx, rig.Namespace, rig.Site+"-auth-urls")
	return string(urls.Data["nginx"]), err
}

// Secret reads a Secret.
func (c *Cluster) Secret(ctx context.Context, namespace, name string) (s corev1.Secret, err error) {
	out, err := c.Kubectl(ctx, "admin", nil, "--namespace", namespace, "get", "secret", name, "--output", "json")
	if err != nil {
		return s, err
	}
	if err := json.Unmarshal([]byte(out), &s); err != nil {
		return s, fmt.Errorf("reading Secret %s/%s: %w", namespace, name, err)
	}
	return s, nil
}

// StartGateway starts the gateway for an auth URL, and waits until it serves. nginx gets the sample's configuration, also if it runs
// already.
func (c *Cluster) StartGateway(ctx context.Context, authURL string) error {
	if c.Traefik {
		return c.startTraefik(ctx)
	}
	return c.StartNginx(ctx, authURL)
}

// StartNginx starts nginx with the sample's configuration for an auth URL, or gives the one that runs another configuration, and
// waits until it serves. It asks the replicas of the webhook at these addresses, or the Service if there are none.
func (c *Cluster) StartNginx(ctx context.Context, authURL string, webhooks ...string) error {
	urls, err := c.Secret(ctx, rig.Namespace, rig.Site+"-auth-urls")
	if err != nil {
		return err
	}
	conf, err := c.nginxConfig(authURL, urls.Data["ca.crt"], webhooks)
	if err != nil {
		return err
	}
	if err := c.Apply(ctx, "gateway.yaml"); err != nil {
		return err
	}
	if _, err := c.Kubectl(ctx, "admin", conf, "apply", "--server-side", "-f", "-"); err != nil {
		return err
	}
	if _, err := c.Kubectl(ctx, "admin", nil, "--namespace", "ingress", "rollout", "restart", "deployment/nginx"); err != nil {
		return err
	}
	return c.awaitGateway(ctx, "deployment/nginx")
}

// awaitGateway waits until a gateway is rolled out, the pod before has ended, and the Service leads to the new one. Then no connection
// leads to the one before. A pod that ends serves on until the Service no longer leads to it, so its end says that too.
func (c *Cluster) awaitGateway(ctx context.Context, deployment string) error {
	_, err := c.Kubectl(ctx, "admin", nil, "--namespace", "ingress", "rollout", "status", deployment, "--timeout", "3m")
	if err != nil {
		return err
	}
	var last error
	err = wait.PollUntilContextTimeout(ctx, 200*time.Millisecond, time.Minute, true, func(ctx context.Context) (bool, error) {
		last = c.onlyGateway(ctx)
		return last == nil, nil
	})
	if err != nil {
		return fmt.Errorf("waiting for the gateway to serve: %w: %w", err, last)
	}
	return nil
}

// onlyGateway returns an error as long as there is not one pod of the gateway that answers at the site's base URL.
func (c *Cluster) onlyGateway(ctx context.Context) error {
	pods, err := c.Kubectl(ctx, "admin", nil, "--namespace", "ingress", "get", "pods", "--selector", "app.kubernetes.io/name", "--output", "name")
	if err != nil {
		return err
	}
	if n := strings.Count(pods, "\n"); n != 1 {
		return fmt.Errorf("%d pods run", n)
	}
	client.CloseIdleConnections()
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, c.BaseURL()+"/login.jsp", http.NoBody)
	if err != nil {
		return err
	}
	request.Header.Set("User-Agent", "kube-probe/test") // Requests leaves it out
	response, err := client.Do(request)
	if err != nil {
		return err
	}
	return response.Body.Close()
}

// nginxConfig returns the Secret with nginx's configuration: the sample with its words in capitals replaced. With an https URL,
// nginx verifies webhook and portal with the authorities.
func (c *Cluster) nginxConfig(authURL string, authorities []byte, webhooks []string) ([]byte, error) {
	g, err := rig.GatewayOf(authURL)
	if err != nil {
		return nil, err
	}
	if len(webhooks) > 0 {
		g.Webhooks = webhooks
	}
	g.URL, g.Listen, g.Product, g.Portal = c.BaseURL(), "8080", "jira.jira.svc:8080", "apitoken-portal.apitoken-system.svc:8080"
	if strings.HasPrefix(authURL, "https://") {
		g.Authority = "/conf/ca.crt"
	}
	site, err := g.Config()
	if err != nil {
		return nil, err
	}
	around, err := os.ReadFile(filepath.Join(controlplane.RepositoryRoot(), "hack/lib/cluster/manifests/nginx.conf"))
	if err != nil {
		return nil, fmt.Errorf("reading nginx's configuration: %w", err)
	}
	return json.Marshal(map[string]any{
		"apiVersion": "v1", "kind": "Secret", "metadata": map[string]string{"name": "nginx", "namespace": "ingress"},
		"stringData": map[string]string{"nginx.conf": string(around), "site.conf": string(site), "ca.crt": string(authorities)},
	})
}

// WebhookLog returns the logs of all replicas of the webhook.
func (c *Cluster) WebhookLog(ctx context.Context) (string, error) {
	return c.Kubectl(ctx, "admin", nil, "--namespace", System, "logs", "--selector", "app.kubernetes.io/component=webhook", "--tail=-1")
}

// Requests returns what the fake Jira has received, oldest first, without the probes of the kubelet, which come through the gateway
// too.
func (c *Cluster) Requests(ctx context.Context) (seen []fakeproduct.Seen, err error) {
	err = c.control(ctx, http.MethodGet, "/requests", &seen)
	return slices.DeleteFunc(seen, func(s fakeproduct.Seen) bool { return strings.HasPrefix(s.Header.Get("User-Agent"), "kube-probe/") }), err
}

// Reset makes the fake Jira forget what it has received.
func (c *Cluster) Reset(ctx context.Context) error {
	return c.control(ctx, http.MethodPost, "/reset", nil)
}

// SignIn returns the cookie of a new session of a user at the fake Jira.
func (c *Cluster) SignIn(ctx context.Context, user string) (*http.Cookie, error) {
	session := &http.Cookie{}
	return session, c.control(ctx, http.MethodPost, "/session/"+url.PathEscape(user), session)
}

// control asks the fake Jira, beside what it serves as Jira.
func (c *Cluster) control(ctx context.Context, method, path string, into any) error {
	request, err := http.NewRequestWithContext(ctx, method, "http://"+c.Address("control")+path, http.NoBody)
	if err != nil {
		return err
	}
	response, err := http.DefaultClient.Do(request)
	if err != nil {
		return fmt.Errorf("asking the fake Jira: %w", err)
	}
	defer response.Body.Close()
	text, err := io.ReadAll(response.Body)
	if err == nil && response.StatusCode != http.StatusOK {
		err = errors.New(response.Status)
	}
	if err == nil && into != nil {
		err = json.Unmarshal(text, into)
	}
	if err != nil {
		return fmt.Errorf("asking the fake Jira for %s: %w", path, err)
	}
	return nil
}

// DeclareToken declares the APIToken of the samples as alice, and waits until it is delivered.
func (c *Cluster) DeclareToken(ctx context.Context) error {
	text, err := c.Sample("apitoken.yaml")
	if err == nil {
		_, err = c.KubectlAs(ctx, "alice", text, "apply", "--server-side", "-f", "-")
	}
	if err == nil {
		_, err = c.KubectlAs(ctx, "alice", nil, "wait", "apitoken/alice-ci", "--for=condition=Ready", "--timeout=3m")
	}
	return err
}
