//go:build cluster

package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"apitokens.dev/operator/hack/lib/cluster"
	"apitokens.dev/operator/hack/lib/controlplane"
	"apitokens.dev/operator/hack/lib/rig"
)

// previous is a commit of main whose manifests run on the node: before TLS, and before the controller looked at what is installed.
// The test upgrades from it and rolls back to it. After a release, it is the release before.
const previous = "1767731d7b5ee881f4db293107fb48e8efbf1d79"

// withPlainHTTP is what docs/how-to/upgrade.md says of versions without TLS.
const withPlainHTTP = `apiVersion: kustomize.config.k8s.io/v1beta1
kind: Kustomization
resources:
  - ../../config/default
components:
  - ../../config/components/plain-http
`

// Tokens that were made in one version work in the other, and no request fails on the way: CRDs and policies first, or processes
// first, one at a time, there and back.
func TestUpgrade(t *testing.T) {
	before, now := previousManifests(t), manifests(kustomize(t, kustomization(t, withPlainHTTP)))
	before.apply(t, "all")
	if err := on.AwaitOperator(t.Context()); err != nil {
		t.Fatal(err)
	}
	serve(t)
	u := &upgrade{t: t, live: map[string]string{"declared before the first upgrade": works(t)}, dead: map[string]string{}}
	u.makeTokens("before the first upgrade")
	for _, way := range []struct {
		name  string
		to    manifests
		parts []string
	}{
		{"upgrade, processes first", now, []string{"webhook", "portal", "controller", "cluster"}},
		{"rollback, processes first", before, []string{"portal", "webhook", "controller", "cluster"}},
		{"upgrade, manifests first", now, []string{"cluster", "controller", "portal", "webhook"}},
		{"rollback, manifests first", before, []string{"cluster", "controller", "webhook", "portal"}},
		{"upgrade by one line", now, []string{"all"}},
	} {
		if !t.Run(way.name, func(t *testing.T) {
			u.t = t
			u.take(way.to, way.parts)
			u.makeTokens("after the " + way.name)
		}) {
			return
		}
	}
	u.t = t
	u.leavePlainHTTP()
	admin(t, "--namespace", rig.Namespace, "delete", "secrets", "--selector", "suite=upgrade")
	remove(t, func() { admin(t, "delete", "-k", "config/default", "--timeout=3m") })
}

// manifests are those of an installation.
type manifests string

// previousManifests returns those of the earlier commit, whose image the node gets.
func previousManifests(t *testing.T) manifests {
	t.Helper()
	root, folder := controlplane.RepositoryRoot(), t.TempDir()
	run := func(dir, name string, args ...string) string {
		t.Helper()
		cmd := exec.CommandContext(t.Context(), name, args...)
		cmd.Dir = dir
		out, err := cmd.CombinedOutput()
		if err != nil {
			t.Fatalf("%s: %v: %s", cmd, err, out)
		}
		return string(out)
	}
	if err := exec.CommandContext(t.Context(), "git", "-C", root, "cat-file", "-e", previous+"^{commit}").Run(); err != nil {
		t.Fatalf("this clone does not have the commit %s to upgrade from: run `git fetch --unshallow`", previous)
	}
	run(root, "git", "clone", "--quiet", "--shared", "--no-checkout", root, folder)
	run(folder, "git", "checkout", "--quiet", previous)
	archive := filepath.Join(root, "bin/cluster/images/apitoken-operator-previous.oci.tar")
	if commit, err := os.ReadFile(archive + ".commit"); err != nil || string(commit) != previous {
		run(folder, "hack/release/image.sh", "previous", filepath.Dir(archive), strings.TrimSpace(run(root, "go", "env", "GOARCH")))
		if err := os.WriteFile(archive+".commit", []byte(previous), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	if err := on.Import(t.Context(), archive); err != nil {
		t.Fatal(err)
	}
	return manifests(strings.ReplaceAll(kustomize(t, filepath.Join(folder, "config/default")), "apitoken-operator:dev", "apitoken-operator:previous"))
}

func kustomize(t *testing.T, folder string) string { return admin(t, "kustomize", folder) }

// part returns the Deployment of a process, `cluster`, which is everything but the Deployments, or `all`.
func (m manifests) part(name string) string {
	return strings.Join(slices.DeleteFunc(strings.Split(string(m), "\n---\n"), func(object string) bool {
		deployment := strings.Contains(object, "\nkind: Deployment\n")
		switch name {
		case "all":
			return false
		case "cluster":
			return deployment
		default:
			return !deployment || !strings.Contains(object, "\n  name: apitoken-"+name+"\n")
		}
	}), "\n---\n")
}

func (m manifests) apply(t *testing.T, part string) {
	t.Helper()
	adminWith(t, m.part(part), "apply", "--server-side", "-f", "-")
}

// upgrade is an installation that changes its version again and again.
type upgrade struct {
	t *testing.T
	// live are tokens that work, and dead those that do not, by what they are.
	live, dead map[string]string
}

// take applies the parts of manifests one after another while every token is in use.
func (u *upgrade) take(to manifests, parts []string) {
	u.t.Helper()
	withoutFailure(u.t, func() {
		for _, part := range parts {
			to.apply(u.t, part)
			u.settle(part)
		}
		if err := on.AwaitOperator(u.t.Context()); err != nil {
			u.t.Fatal(err)
		}
		u.awaitEnd()
	}, u.tokens()...)
	for what, token := range u.live {
		u.t.Log("works: ", what)
		expect(u.t, token, http.StatusOK)
	}
	for what, token := range u.dead {
		u.t.Log("refused: ", what)
		expect(u.t, token, http.StatusUnauthorized)
	}
}

// settle waits until a process has changed as far as it can without the parts that follow: a new controller does not start before
// its CRDs and policies are there, and nor do the others before it has made their certificate.
func (u *upgrade) settle(part string) {
	u.t.Helper()
	if part == "cluster" || part == "all" {
		return
	}
	selector := "app.kubernetes.io/component=" + part
	eventually(u.t, "the first new pod of the "+part, time.Minute, func(ctx context.Context) error {
		revisions, err := on.Kubectl(ctx, "admin", nil, "--namespace", cluster.System, "get", "pods", "--selector", selector,
			"--output", `jsonpath={range .items[*]}{.metadata.labels.pod-template-hash}{"\n"}{end}`)
		if err == nil && len(slices.Compact(slices.Sorted(slices.Values(strings.Fields(revisions))))) < 2 {
			err = errors.New("all pods are of one kind")
		}
		return err
	})
}

// awaitEnd waits until no pod is on its way out.
func (u *upgrade) awaitEnd() {
	u.t.Helper()
	eventually(u.t, "the pods before to end", 2*time.Minute, func(ctx context.Context) error {
		ending, err := on.Kubectl(ctx, "admin", nil, "--namespace", cluster.System, "get", "pods",
			"--output", `jsonpath={range .items[?(@.metadata.deletionTimestamp)]}{.metadata.name}{"\n"}{end}`)
		if err != nil {
			return err
		}
		return expectNone(ending)
	})
}

func (u *upgrade) tokens() (all []string) {
	for _, token := range u.live {
		all = append(all, token)
	}
	return all
}

// importing declares a token that has the secret of an earlier password.
const importing = `{kind: List, apiVersion: v1, items: [
  {apiVersion: v1, kind: Secret, metadata: {name: old-NAME, labels: {suite: upgrade}}, stringData: {password: "SECRET"}},
  {apiVersion: apitokens.dev/v1alpha1, kind: APIToken, metadata: {name: NAME}, spec: {siteRef: {name: main}, user: alice, label: imported,
    credential: {type: Imported, imported: {secretName: old-NAME}}}}]}`

// makeTokens makes a token in each way, and another one that is deleted at once.
func (u *upgrade) makeTokens(when string) {
	u.t.Helper()
	name := "t" + strconv.Itoa(len(u.live))
	u.live["declared "+when] = u.declare(name)
	u.live["made on the portal "+when] = u.makeOnPortal()

	u.dead["deleted "+when] = u.declare(name + "-gone")
	admin(u.t, "--namespace", rig.Namespace, "delete", "apitoken", name+"-gone", "--timeout=1m")

	secret := fmt.Sprintf("6rTqD0vXnB2yKc8sJmL5wHzE9fGaPuQ1RtYiNo%02d", len(u.live))
	text := strings.NewReplacer("NAME", name+"-imported", "SECRET", secret).Replace(importing)
	if _, err := on.KubectlAs(u.t.Context(), "admin", []byte(text), "apply", "--server-side", "-f", "-"); err != nil {
		u.t.Fatal(err)
	}
	admin(u.t, "--namespace", rig.Namespace, "wait", "apitoken/"+name+"-imported", "--for=condition=Ready", "--timeout=1m")
	u.live["imported "+when] = secret
	for what, token := range u.live {
		u.t.Log("works: ", what)
		expect(u.t, token, http.StatusOK)
	}
}

// declare declares a token, and returns what is delivered. One that came too soon after a change of the policies is declared again,
// as the documentation says.
func (u *upgrade) declare(name string) string {
	u.t.Helper()
	sample, err := on.Sample("apitoken.yaml")
	if err != nil {
		u.t.Fatal(err)
	}
	text := []byte(strings.ReplaceAll(string(sample), "alice-ci", name))
	eventually(u.t, "a token", time.Minute, func(ctx context.Context) error {
		if _, err := on.KubectlAs(ctx, "alice", text, "apply", "--server-side", "-f", "-"); err != nil {
			return err
		}
		_, err := on.KubectlAs(ctx, "alice", nil, "wait", "apitoken/"+name, "--for=condition=Ready", "--timeout=5s")
		if err != nil {
			reason := admin(u.t, "--namespace", rig.Namespace, "get", "apitoken", name, "--output", `jsonpath={.status.conditions[?(@.type=="Ready")].reason}`)
			if reason == "DeclaredUnguarded" {
				admin(u.t, "--namespace", rig.Namespace, "delete", "apitoken", name, "--timeout=1m")
			}
			err = fmt.Errorf("%w: %s", err, reason)
		}
		return err
	})
	delivered, err := on.Secret(u.t.Context(), rig.Namespace, name+"-token")
	if err != nil {
		u.t.Fatal(err)
	}
	return string(delivered.Data["password"])
}

// makeOnPortal makes a token as somebody does who is signed in to Jira.
func (u *upgrade) makeOnPortal() string {
	u.t.Helper()
	session, err := on.SignIn(u.t.Context(), "alice")
	if err != nil {
		u.t.Fatal(err)
	}
	request, err := http.NewRequestWithContext(u.t.Context(), http.MethodPost, on.BaseURL()+"/rest/api-tokens/latest/", bytes.NewReader([]byte(`{"label":"from my laptop"}`)))
	if err != nil {
		u.t.Fatal(err)
	}
	request.AddCookie(session)
	request.Header.Set("Content-Type", "application/json")
	response, err := on.Client().Do(request)
	if err != nil {
		u.t.Fatal(err)
	}
	defer func() { _ = response.Body.Close() }()
	var made struct{ Token string }
	body, err := io.ReadAll(response.Body)
	if err != nil || response.StatusCode != http.StatusCreated || json.Unmarshal(body, &made) != nil {
		u.t.Fatalf("the portal answers with %s, %v", response.Status, err)
	}
	return made.Token
}

// leavePlainHTTP takes the steps of docs/how-to/tls.md, from sites with HTTP URLs to TLS alone.
func (u *upgrade) leavePlainHTTP() {
	u.t.Helper()
	authURL, err := on.AuthURL(u.t.Context())
	if err != nil || !strings.HasPrefix(authURL, "http://") {
		u.t.Fatalf("the site does not keep its HTTP URLs: %v", err)
	}
	withoutFailure(u.t, func() {
		admin(u.t, "--namespace", rig.Namespace, "delete", "secret", "main-auth-urls")
		eventually(u.t, "https URLs", 2*time.Minute, func(ctx context.Context) (err error) {
			if authURL, err = on.AuthURL(ctx); err == nil && !strings.HasPrefix(authURL, "https://") {
				err = errors.New("the URL does not begin with https")
			}
			return err
		})
	}, u.tokens()...)
	startGateway(u.t)
	withoutFailure(u.t, func() {
		if err := on.Install(u.t.Context(), "default"); err != nil {
			u.t.Fatal(err)
		}
		u.awaitEnd()
	}, u.tokens()...)
	for _, pod := range pods(u.t) {
		if slices.Contains(pod.Spec.Containers[0].Args, "--plain-http") {
			u.t.Errorf("%s accepts plain HTTP", pod.Name)
		}
	}
}
