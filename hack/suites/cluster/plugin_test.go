//go:build cluster

package main

import (
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"runtime"
	"slices"
	"strings"
	"testing"

	"sigs.k8s.io/yaml"

	"apitokens.dev/operator/hack/lib/controlplane"
	"apitokens.dev/operator/hack/lib/rig"
)

// krewPlatform is a platform of a manifest for krew (https://krew.sigs.k8s.io/docs/developer-guide/plugin-manifest/).
type krewPlatform struct {
	URI      string `json:"uri"`
	SHA256   string `json:"sha256"`
	Bin      string `json:"bin"`
	Selector struct {
		MatchLabels map[string]string `json:"matchLabels"`
	} `json:"selector"`
}

// installPlugin makes the archive of the release for this machine and installs it as krew does. It returns the folder for PATH.
func installPlugin(t *testing.T) string {
	t.Helper()
	release, installed := t.TempDir(), t.TempDir()
	pack := exec.CommandContext(t.Context(), "hack/release/plugin.sh", "v0.0.0-test", release, runtime.GOOS+"/"+runtime.GOARCH)
	pack.Dir = controlplane.RepositoryRoot()
	if out, err := pack.CombinedOutput(); err != nil {
		t.Fatalf("packing the plugin: %v: %s", err, out)
	}
	text, err := os.ReadFile(filepath.Join(release, "krew-apitoken.yaml"))
	if err != nil {
		t.Fatal(err)
	}
	var manifest struct {
		Spec struct {
			Platforms []krewPlatform `json:"platforms"`
		} `json:"spec"`
	}
	if err := yaml.Unmarshal(text, &manifest); err != nil {
		t.Fatal(err)
	}
	i := slices.IndexFunc(manifest.Spec.Platforms, func(p krewPlatform) bool {
		return p.Selector.MatchLabels["os"] == runtime.GOOS && p.Selector.MatchLabels["arch"] == runtime.GOARCH
	})
	if i < 0 {
		t.Fatalf("there is no platform for this machine in\n%s", text)
	}
	p := manifest.Spec.Platforms[i]
	archive := filepath.Join(release, filepath.Base(p.URI))
	content, err := os.ReadFile(archive)
	if err != nil {
		t.Fatal(err)
	}
	if sum := sha256.Sum256(content); hex.EncodeToString(sum[:]) != p.SHA256 {
		t.Fatal("krew would refuse the archive: its checksum is another")
	}
	store := t.TempDir()
	if out, err := exec.CommandContext(t.Context(), "tar", "-xzf", archive, "-C", store).CombinedOutput(); err != nil {
		t.Fatalf("unpacking: %v: %s", err, out)
	}
	if err := os.Symlink(filepath.Join(store, p.Bin), filepath.Join(installed, "kubectl-apitoken")); err != nil {
		t.Fatal(err)
	}
	return installed
}

// refused is the exit code of explain for a request that is refused (docs/reference/kubectl-apitoken.md).
const refused = 5

// kubectlApitoken is a run of the plugin.
type kubectlApitoken struct {
	user, in string
	args     []string
	// want is in the output, and the exit code is code.
	want string
	code int
}

// run runs it and returns all that it writes.
func (k kubectlApitoken) run(t *testing.T, path string) (string, error) {
	kubectl := exec.CommandContext(t.Context(), on.KubectlPath(), append([]string{"apitoken", "--namespace", rig.Namespace}, k.args...)...)
	kubectl.Env = append(os.Environ(), "PATH="+path+string(filepath.ListSeparator)+os.Getenv("PATH"), "KUBECONFIG="+on.Kubeconfig(k.user))
	kubectl.Stdin = strings.NewReader(k.in)
	out, err := kubectl.CombinedOutput()
	return string(out), err
}

// exitCode returns the exit code of a program, and -1 if it did not run.
func exitCode(err error) int {
	exited := (*exec.ExitError)(nil)
	switch {
	case err == nil:
		return 0
	case errors.As(err, &exited):
		return exited.ExitCode()
	}
	return -1
}

// pluginOfKubectl runs every sub-command of the plugin, as krew installs it, against this installation. None of them says the token.
func pluginOfKubectl(t *testing.T, token string) {
	path, folder := installPlugin(t), t.TempDir()
	write := func(name, text string) string {
		file := filepath.Join(folder, name)
		if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		return file
	}
	lines, err := on.WebhookLog(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	asked := regexp.MustCompile(`"reason":"([a-z_]+)".*"requestID":"(\w+)"`).FindAllStringSubmatch(lines, -1)
	if len(asked) == 0 {
		t.Fatalf("the webhook logged no request: %s", lines)
	}
	last := asked[len(asked)-1]
	passphrase := write("passphrase", "correct horse battery staple correct horse\n")
	archive, bundle := filepath.Join(folder, "tokens.age"), filepath.Join(folder, "bundle.tar.gz")
	curl := "curl --user alice:" + token + " " + on.BaseURL() + "/rest/api/2/myself"
	tried := map[string]bool{}
	for _, k := range []kubectlApitoken{
		{user: "admin", args: []string{"version"}, want: "FIPS 140-3 mode"},
		{user: "alice", args: []string{"list"}, want: "alice-ci"},
		{user: "admin", args: []string{"describe", "alice-ci"}, want: "CI scripts"},
		{user: "admin", args: []string{"sites"}, want: rig.Site},
		{user: "admin", args: []string{"urls", rig.Site, "--gateway", "nginx"}, want: "apitoken-webhook.apitoken-system.svc"},
		{user: "admin", args: []string{"license"}, want: rig.Site},
		{user: "admin", args: []string{"explain"}, in: curl, want: "200"},
		{user: "admin", args: []string{"explain", "--request-id", last[2], "--log", "-"}, in: lines, want: last[1], code: refused},
		{user: "admin", args: []string{"report", "--migration"}, want: "alice"},
		{user: "admin", args: []string{"doctor", rig.Site, "--no-ingress"}, want: "0 problems"},
		{user: "admin", args: []string{"doctor", "bundle", rig.Site, "--no-ingress", "--file", bundle}, want: "bundle.tar.gz"},
		{user: "admin", args: []string{"explain", "--bundle", bundle}, in: curl, want: "200"},
		{user: "admin", args: []string{"create", "by-plugin", "--user", "alice", "--show"}, want: "asp_"},
		{user: "alice", args: []string{"rotate", "by-plugin"}},
		{user: "alice", args: []string{"suspend", "by-plugin"}},
		{user: "alice", args: []string{"resume", "by-plugin"}},
		{user: "admin", args: []string{"backup", archive, "--passphrase-file", passphrase}},
		{user: "alice", args: []string{"revoke", "by-plugin"}, in: "by-plugin\n"},
		{user: "admin", args: []string{"restore", archive, "--passphrase-file", passphrase, "--dry-run"}, want: "by-plugin"},
		// Its record is there, and says that it was revoked.
		{user: "admin", args: []string{"restore", archive, "--passphrase-file", passphrase, "--yes"}, want: "by-plugin"},
		{user: "admin", args: []string{"import", write("vault.csv", "user,label\nalice,of another product\n"), "--site", rig.Site, "--to", filepath.Join(folder, "import")}},
	} {
		out, err := k.run(t, path)
		if code := exitCode(err); code != k.code || !strings.Contains(out, k.want) || strings.Contains(out, token) {
			t.Errorf("kubectl apitoken %s: %v, want exit code %d and %q: %s", strings.Join(k.args, " "), err, k.code, k.want, out)
		}
		t.Logf("kubectl apitoken %s:\n%s", strings.Join(k.args, " "), out)
		tried[k.args[0]] = true
	}
	completions, err := kubectlApitoken{user: "alice", args: []string{"__complete", ""}}.run(t, path)
	if err != nil {
		t.Fatalf("asking for the sub-commands: %v: %s", err, completions)
	}
	commands := regexp.MustCompile(`(?m)^([a-z]+)\t`).FindAllStringSubmatch(completions, -1)
	if len(commands) < len(tried) {
		t.Errorf("not all sub-commands are there: %s", completions)
	}
	for _, c := range commands {
		if !tried[c[1]] && c[1] != "completion" && c[1] != "help" {
			t.Errorf("kubectl apitoken %s is not tried", c[1])
		}
	}
}
