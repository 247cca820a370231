//go:build cluster && long

package main

import (
	"context"
	"crypto/ed25519"
	"errors"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"apitokens.dev/operator/internal/license"
)

// monitored is config/default with config/components/monitoring, for sites that need licences.
const monitored = `apiVersion: kustomize.config.k8s.io/v1beta1
kind: Kustomization
resources:
  - ../../config/default
components:
  - ../../config/components/monitoring
configMapGenerator:
  - name: licence-keys
    namespace: apitoken-system
    files: [keys.pem]
    options: {disableNameSuffixHash: true}
patches:
  - target: {kind: Deployment}
    patch: |
      - {op: add, path: /spec/template/spec/containers/0/args/-, value: --license-public-keys=/licence/keys.pem}
  - target: {kind: Deployment}
    patch: |
      apiVersion: apps/v1
      kind: Deployment
      metadata: {name: every}
      spec:
        template:
          spec:
            containers: [{name: operator, volumeMounts: [{name: licence, mountPath: /licence, readOnly: true}]}]
            volumes: [{name: licence, configMap: {name: licence-keys}}]
`

// alerting is an installation that a Prometheus watches.
type alerting struct {
	*prometheus

	folder string
	key    ed25519.PrivateKey
	token  string
	// auth is the path of the site's auth URL.
	auth string
	// ending are alerts of the drills so far, from when they fire until they are silent.
	ending []string
	// changes of the site so far.
	changes int
}

// A Prometheus in a pod finds the operator's pods by the ServiceMonitor, and has the alerts of the PrometheusRule. While all is well,
// every panel of the dashboard shows something and no alert fires. Each alert fires in its drill, which is a fault of the real
// installation, and no other does.
func TestLongAlerts(t *testing.T) {
	a := &alerting{key: ed25519.NewKeyFromSeed([]byte(strings.Repeat("a", ed25519.SeedSize)))}
	a.install(t)
	a.prometheus = startPrometheus(t)
	a.use(t)
	eventually(t, "metrics of every pod", time.Minute, func(ctx context.Context) error { return a.scrapesAll(ctx, pods(t)) })
	// Until then, no webhook was scraped.
	eventually(t, "silence", time.Minute, func(ctx context.Context) error {
		firing, err := a.fired(ctx)
		if err == nil && len(firing) > 0 {
			err = fmt.Errorf("firing: %v", firing)
		}
		return err
	})
	if !t.Run("health", a.health) {
		return
	}
	faults := a.faults()
	for _, name := range drilled {
		if !t.Run(name, func(t *testing.T) { a.drill(t, name, faults[name]) }) {
			return
		}
	}
	t.Run("health again", func(t *testing.T) {
		eventually(t, "all alerts to end", 4*time.Minute, func(ctx context.Context) error {
			firing, err := a.unexpected(ctx)
			if err == nil && len(firing)+len(a.ending) > 0 {
				err = fmt.Errorf("firing: %v, and still %v", firing, a.ending)
			}
			return err
		})
	})
	remove(t, func() {
		admin(t, "--namespace", "jira", "delete", "secret", "licence")
		admin(t, "delete", "-k", a.folder, "--timeout=3m")
		admin(t, "delete", "crd", "servicemonitors.monitoring.coreos.com", "prometheusrules.monitoring.coreos.com", "--timeout=1m")
	})
}

// install installs the operator, and declares a site with a licence and a token.
func (a *alerting) install(t *testing.T) {
	t.Helper()
	if err := on.Apply(t.Context(), "monitoring_crds.yaml"); err != nil {
		t.Fatal(err)
	}
	admin(t, "wait", "crd/servicemonitors.monitoring.coreos.com", "crd/prometheusrules.monitoring.coreos.com", "--for=condition=Established",
		"--timeout=1m")
	a.folder = kustomization(t, monitored)
	public, err := license.EncodeKey(a.key.Public().(ed25519.PublicKey))
	if err == nil {
		err = os.WriteFile(filepath.Join(a.folder, "keys.pem"), public, 0o600)
	}
	if err != nil {
		t.Fatal(err)
	}
	a.repair(t)
	a.license(t, time.Now().AddDate(1, 0, 0))
	if err := on.DeclareSite(t.Context()); err != nil {
		t.Fatal(err)
	}
	patchSite(t, `{"licenseSecretRef": {"name": "licence"}, "otherCredentials": {"password": {"action": "Observe"}}}`)
	serve(t)
	a.token = works(t)
	authURL, err := on.AuthURL(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	a.auth = strings.TrimPrefix(authURL, "https://apitoken-webhook.apitoken-system.svc:8080")
}

// repair applies everything, and waits until it runs.
func (a *alerting) repair(t *testing.T) {
	t.Helper()
	admin(t, "apply", "--server-side", "--force-conflicts", "-k", a.folder)
	if err := on.AwaitOperator(context.WithoutCancel(t.Context())); err != nil {
		t.Fatal(err)
	}
}

// license gives the site a licence that ends at a time.
func (a *alerting) license(t *testing.T, until time.Time) {
	t.Helper()
	text, err := license.License{Licensee: "Example Inc.", Products: []string{"Jira"}, Expires: until}.Sign(a.key)
	if err != nil {
		t.Fatal(err)
	}
	secret := fmt.Sprintf(
		`{"apiVersion": "v1", "kind": "Secret", "metadata": {"name": "licence", "namespace": "jira"}, "stringData": {"license": %q}}`, text)
	adminWith(t, secret, "apply", "--server-side", "-f", "-")
}

func patchSite(t *testing.T, spec string) {
	t.Helper()
	admin(t, "--namespace", "jira", "patch", "atlassiansite", "main", "--type", "merge", "--patch", `{"spec": `+spec+`}`)
}

// touchSite changes the site in a way that matters to nobody, so that the controller looks at it and its ingress now, and not within
// minutes.
func (a *alerting) touchSite(t *testing.T) {
	t.Helper()
	a.changes++
	patchSite(t, fmt.Sprintf(`{"tokenPolicy": {"expiredRetentionDays": %d}}`, 1000+a.changes))
}

// use uses the token every half second until the test ends, at the product and at the portal. Faults show in the answers, which
// nobody looks at.
func (a *alerting) use(t *testing.T) {
	t.Helper()
	ctx, stop := context.WithCancel(t.Context())
	done := make(chan struct{})
	go func() {
		defer close(done)
		for tick := time.NewTicker(500 * time.Millisecond); ; {
			select {
			case <-ctx.Done():
				tick.Stop()
				return
			case <-tick.C:
			}
			_, _ = status(ctx, "/rest/api/2/myself", a.token)
			_, _ = status(ctx, "/rest/api-tokens/latest/", a.token)
		}
	}()
	t.Cleanup(func() {
		stop()
		<-done
	})
}

// health fails if an alert fires, or if a panel of the dashboard shows nothing.
func (a *alerting) health(t *testing.T) {
	admin(t, "--namespace", "jira", "wait", "atlassiansite/main", "--for=condition=IngressProtected", "--timeout=150s")
	for end := time.Now().Add(70 * time.Second); time.Now().Before(end); pause(t) {
		if firing, err := a.unexpected(t.Context()); err != nil || len(firing) > 0 {
			t.Fatalf("firing: %v, %v", firing, err)
		}
	}
	a.dashboard(t)
}

// pause waits for the next evaluation of the rules.
func pause(t *testing.T) {
	t.Helper()
	select {
	case <-t.Context().Done():
	case <-time.After(time.Second):
	}
}

// fault is what makes an alert fire.
type fault struct {
	// begin causes it, and leaves the way back to t.Cleanup. again repeats it every second. One of them may be nil.
	begin func(t *testing.T)
	again func(ctx context.Context) error
	// also are other alerts that the same fault may cause.
	also []string
}

// drill fails unless an alert fires with its fault, and no other.
func (a *alerting) drill(t *testing.T, name string, f fault) {
	begun := time.Now()
	if slices.Contains(a.ending, name) {
		t.Fatal("it fires already")
	}
	if f.begin == nil && f.again == nil {
		t.Fatal("it has no fault")
	}
	expected := append([]string{name}, f.also...)
	t.Cleanup(func() { // after the way back
		if firing, err := a.unexpected(context.WithoutCancel(t.Context()), expected...); err != nil || len(firing) > 0 {
			t.Errorf("other alerts fire: %v, %v", firing, err)
		}
	})
	if f.begin != nil {
		f.begin(t)
	}
	eventually(t, "the alert", 4*time.Minute, func(ctx context.Context) error {
		if f.again != nil {
			if err := f.again(ctx); err != nil {
				return err
			}
		}
		firing, err := a.unexpected(ctx, expected...)
		switch {
		case err != nil:
			return err
		case len(firing) > 0:
			t.Fatalf("other alerts fire: %v", firing)
		case !slices.Contains(a.ending, name):
			pause(t)
			return errNoAlert
		}
		return nil
	})
	t.Logf("it fires after %s", time.Since(begun).Round(time.Second))
}

// unexpected returns the alerts that have fired since the last call, but for those that are expected, and those that are still firing
// since an earlier drill.
func (a *alerting) unexpected(ctx context.Context, expected ...string) (others []string, err error) {
	firing, err := a.fired(ctx)
	if err != nil {
		return nil, err
	}
	a.ending = slices.DeleteFunc(a.ending, func(name string) bool { return !slices.Contains(firing, name) })
	for _, name := range firing {
		switch {
		case slices.Contains(a.ending, name):
		case slices.Contains(expected, name):
			a.ending = append(a.ending, name)
		default:
			others = append(others, name)
		}
	}
	return others, nil
}

// scaleAway leaves a Deployment without pods until the test ends, which gives it as many as before.
func scaleAway(t *testing.T, namespace, deployment string, before int) {
	t.Helper()
	to := func(n int) {
		t.Helper()
		admin(t, "--namespace", namespace, "scale", "deployment/"+deployment, fmt.Sprintf("--replicas=%d", n))
	}
	t.Cleanup(func() {
		to(before)
		admin(t, "--namespace", namespace, "rollout", "status", "deployment/"+deployment, "--timeout=2m")
	})
	to(0)
	eventually(t, "its pods to end", time.Minute, func(context.Context) error {
		all := admin(t, "--namespace", namespace, "get", "pods", "--output", "name")
		if strings.Contains(all, "pod/"+deployment+"-") {
			return errors.New(all)
		}
		return nil
	})
}

// ask sends a request of alice, whatever its answer.
func ask(ctx context.Context, password string) error {
	_, err := status(ctx, "/rest/api/2/myself", password)
	return err
}

// askWebhook asks the webhook about a request with the token, as nginx does, with the path of an auth URL.
func (a *alerting) askWebhook(ctx context.Context, path string) error {
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, on.WebhookAddress()+path, http.NoBody)
	if err != nil {
		return err
	}
	request.Header.Set("X-Original-URL", on.BaseURL()+"/rest/api/2/myself")
	request.Header.Set("X-Original-Method", http.MethodGet)
	request.SetBasicAuth("alice", a.token)
	response, err := on.Client().Do(request)
	if err != nil {
		return err
	}
	return response.Body.Close()
}
