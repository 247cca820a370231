//go:build e2e

// Package e2e_test runs curl, a Jira client library and a browser against a whole installation: nginx with the sample
// configuration, the operator's three processes with their own accounts, and fake products. `make e2e` runs it.
package e2e_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/go-logr/logr"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/util/wait"
	ctrl "sigs.k8s.io/controller-runtime"

	"apitokens.dev/operator/hack/lib/controlplane"
	"apitokens.dev/operator/hack/lib/fakeproduct"
	"apitokens.dev/operator/hack/lib/rig"
	"apitokens.dev/operator/internal/upstream"
)

const (
	settleTimeout = 30 * time.Second
	pollPeriod    = 20 * time.Millisecond
	// loudest is a verbosity above every level in use.
	loudest = "10"

	systemNamespace, credentialsNamespace, intakeNamespace = "apitoken-system", "apitoken-credentials", "apitoken-intake"
)

// world is the whole installation, started once for all tests.
var world struct {
	*rig.Rig

	jira, wiki *site
	// licenseKeys is the file with the public key of licences, license the licence of both sites.
	licenseKeys, license string
}

// site is a product behind an nginx.
type site struct {
	namespace, name string
	// url is the base URL, myself the path of the who-am-I call, and named the field with the name in its answer.
	url, myself, named string
	product            *fakeproduct.Product
}

func TestMain(m *testing.M) { os.Exit(run(m)) }

func run(m *testing.M) (status int) {
	ctrl.SetLogger(logr.Discard())
	ctx := context.Background()
	dir, err := os.MkdirTemp("", "apitoken-e2e-")
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	defer func() { _ = os.RemoveAll(dir) }()
	if err := makeLicense(ctx, dir); err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	r, err := rig.Start(ctx, os.Stdout, "--zap-log-level", loudest, "--license-public-keys", world.licenseKeys)
	defer func() {
		if err := r.Stop(); err != nil {
			fmt.Fprintln(os.Stderr, err)
			status = 1
		}
	}()
	world.Rig = r
	if err == nil {
		err = openSites(ctx)
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	return m.Run()
}

// makeLicense issues the licence of both sites. Without it no API token would be accepted.
func makeLicense(ctx context.Context, dir string) error {
	private := filepath.Join(dir, "private.pem")
	world.licenseKeys = filepath.Join(dir, "public.pem")
	tool := func(args ...string) (string, error) {
		cmd := exec.CommandContext(ctx, "go", append([]string{"run", "./hack/tools/license"}, args...)...)
		cmd.Dir = controlplane.RepositoryRoot()
		out, err := cmd.Output()
		if err != nil {
			return "", fmt.Errorf("hack/tools/license %s: %w", args[0], err)
		}
		return string(out), nil
	}
	if _, err := tool("keygen", "--private-key", private, "--public-key", world.licenseKeys); err != nil {
		return err
	}
	var err error
	world.license, err = tool("issue", "--private-key", private, "--licensee", "Example Inc.", "--product", "Jira,Confluence", "--days", "3650")
	return err
}

// openSites declares a Jira and a Confluence and starts an nginx in front of each.
func openSites(ctx context.Context) error {
	world.LogRequests()
	if err := world.StartConfluence(); err != nil {
		return err
	}
	if err := declare(ctx, rig.Namespace, "namespace.yaml", "site.yaml"); err != nil {
		return err
	}
	if err := declare(ctx, rig.ConfluenceNamespace, "confluence/namespace.yaml", "confluence/certificate_authority.yaml", "confluence/site.yaml"); err != nil {
		return err
	}
	world.jira = &site{rig.Namespace, rig.Site, world.URL, "/rest/api/2/myself", "name", &world.Product.Product}
	world.wiki = &site{
		rig.ConfluenceNamespace, rig.ConfluenceSite, world.Confluence.URL, "/rest/api/user/current", "username", &world.Confluence.Product.Product,
	}
	return errors.Join(
		world.jira.open(ctx, func(ctx context.Context, authURL string) error { return world.StartNginx(ctx, authURL) }),
		world.wiki.open(ctx, world.StartConfluenceNginx),
	)
}

// declare applies samples. A site gets an administrator and a licence, but no personal access token.
func declare(ctx context.Context, namespace string, samples ...string) error {
	for _, sample := range samples {
		text, err := world.Sample(sample)
		if err != nil {
			return err
		}
		declared := string(text)
		if strings.HasSuffix(sample, "site.yaml") {
			before, _, found := strings.Cut(declared, "  # The personal access token that replaces")
			if !found {
				return fmt.Errorf("changing %s: it gives no personal access tokens", sample)
			}
			declared = before + "  administrators: [carol]\n  licenseSecretRef: {name: license}\n---\n" +
				"apiVersion: v1\nkind: Secret\nmetadata: {name: license}\nstringData: {license: " + strconv.Quote(strings.TrimSpace(world.license)) + "}\n"
		}
		if _, err := world.KubectlAs(ctx, "admin", []byte(declared), "apply", "--namespace", namespace, "-f", "-"); err != nil {
			return err
		}
	}
	return nil
}

func (s *site) open(ctx context.Context, startNginx func(context.Context, string) error) error {
	var urls corev1.Secret
	err := eventually(ctx, func(ctx context.Context) (bool, error) {
		return get(ctx, &urls, "secret", s.namespace, s.name+"-auth-urls") == nil, nil
	})
	if err != nil {
		return fmt.Errorf("waiting for the auth URLs of %s: %w", s.name, err)
	}
	if err := startNginx(ctx, string(urls.Data["nginx"])); err != nil {
		return err
	}
	err = eventually(ctx, func(ctx context.Context) (bool, error) {
		request, err := http.NewRequestWithContext(ctx, http.MethodGet, s.url+"/rest/api-tokens/latest/openapi.json", http.NoBody)
		if err != nil {
			return false, err
		}
		response, err := http.DefaultClient.Do(request)
		if err != nil {
			return false, err
		}
		return response.StatusCode == http.StatusOK, response.Body.Close()
	})
	if err != nil {
		return fmt.Errorf("waiting for the portal to serve %s: %w", s.name, err)
	}
	return nil
}

// get reads one object as an administrator.
func get(ctx context.Context, into any, kind, namespace, name string) error {
	out, err := world.KubectlAs(ctx, "admin", nil, "get", kind, name, "--namespace", namespace, "-o", "json")
	if err != nil {
		return err
	}
	if err := json.Unmarshal([]byte(out), into); err != nil {
		return fmt.Errorf("reading %s %s/%s: %w", kind, namespace, name, err)
	}
	return nil
}

// kubectl runs kubectl as an administrator in the site's namespace.
func (s *site) kubectl(t *testing.T, args ...string) string {
	t.Helper()
	out, err := world.KubectlAs(t.Context(), "admin", nil, append(args, "--namespace", s.namespace)...)
	if err != nil {
		t.Fatal(err)
	}
	return out
}

// held returns the operator's personal access token of a user, if there is one.
func (s *site) held(t *testing.T, user string) (upstream.Credential, bool) {
	t.Helper()
	out, err := world.KubectlAs(t.Context(), "admin", nil, "get", "secret", upstream.SecretName(s.namespace, s.name, user),
		"--namespace", credentialsNamespace, "--ignore-not-found", "-o", "json")
	if err != nil {
		t.Fatal(err)
	}
	if out == "" {
		return upstream.Credential{}, false
	}
	var secret corev1.Secret
	if err := json.Unmarshal([]byte(out), &secret); err != nil {
		t.Fatal(err)
	}
	held, err := upstream.Decode(secret.Data[upstream.DataKey])
	if err != nil {
		t.Fatal(err)
	}
	return held, true
}

func eventually(ctx context.Context, done wait.ConditionWithContextFunc) error {
	return wait.PollUntilContextTimeout(ctx, pollPeriod, settleTimeout, true, done)
}

// await waits until check returns nil.
func await(t *testing.T, what string, holds func() (ok bool, instead string)) {
	t.Helper()
	begun, instead := time.Now(), ""
	err := eventually(t.Context(), func(context.Context) (ok bool, err error) {
		ok, instead = holds()
		return ok, nil
	})
	if err != nil {
		t.Fatalf("waiting for %s: %v; instead: %s", what, err, instead)
	}
	t.Logf("%s, after %.1f s", what, time.Since(begun).Seconds())
}
