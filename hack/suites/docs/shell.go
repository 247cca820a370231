package main

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"time"

	"apitokens.dev/operator/hack/lib/rig"
)

// pageTimeout is longer than the longest wait in a page.
const pageTimeout = 6 * time.Minute

// shell runs the blocks of pages on a rig.
type shell struct {
	*rig.Rig

	root string
	// dir is the working directory. It has what the repository has, by links.
	dir string
	env []string
}

// tally counts blocks.
type tally struct{ run, marked, failed int }

func (t *tally) add(o tally) {
	t.run += o.run
	t.marked += o.marked
	t.failed += o.failed
}

// newShell prepares a namespace with the sample site behind nginx.
func newShell(ctx context.Context, r *rig.Rig, root string) (*shell, error) {
	dir, err := os.MkdirTemp("", "docs-check-")
	if err != nil {
		return nil, fmt.Errorf("making a folder: %w", err)
	}
	s := &shell{Rig: r, root: root, dir: dir}
	root, err = filepath.Abs(root)
	if err != nil {
		return nil, fmt.Errorf("looking for the repository: %w", err)
	}
	for _, name := range []string{"config", "hack", "internal", "api", "go.mod", "go.sum"} {
		if err := os.Symlink(filepath.Join(root, name), filepath.Join(dir, name)); err != nil {
			return nil, fmt.Errorf("linking the repository: %w", err)
		}
	}
	for _, sample := range []string{"namespace.yaml", "issuers.yaml", "personal_access_token.yaml", "site.yaml"} {
		text, err := r.Sample(sample)
		if err != nil {
			return nil, err
		}
		if _, err := r.KubectlAs(ctx, "admin", text, "apply", "-f", "-"); err != nil {
			return nil, err
		}
	}
	authURL, err := s.first(ctx)
	if err != nil {
		return nil, err
	}
	plugins, err := s.buildPlugin(ctx)
	if err != nil {
		return nil, err
	}
	s.env = append(os.Environ(), "PATH="+filepath.Dir(r.Kubectl())+":"+plugins+":"+os.Getenv("PATH"), "KUBECONFIG="+r.Kubeconfig("admin"), "HOME="+dir,
		"GOCACHE="+goEnv(ctx, "GOCACHE"), "GOMODCACHE="+goEnv(ctx, "GOMODCACHE"), "PAT="+rig.PersonalAccessToken, "URL="+r.URL)
	return s, r.StartNginx(ctx, authURL)
}

// first waits for the site, makes its namespace that of kubectl, and returns the auth URL.
func (s *shell) first(ctx context.Context) (string, error) {
	for _, args := range [][]string{
		{"wait", "atlassiansite/main", "--for=condition=Ready", "--timeout=1m"},
		{"config", "set-context", "--current", "--namespace=" + rig.Namespace},
	} {
		if _, err := s.KubectlAs(ctx, "admin", nil, args...); err != nil {
			return "", err
		}
	}
	return s.KubectlAs(ctx, "admin", nil, "get", "secret", "main-auth-urls", "-o", "go-template={{.data.nginx | base64decode}}")
}

// buildPlugin builds the plugin of kubectl, and returns the folder that it is in.
func (s *shell) buildPlugin(ctx context.Context) (folder string, err error) {
	folder = filepath.Join(s.dir, "plugins")
	build := exec.CommandContext(ctx, "go", "build", "-o", folder+"/", "./cmd/kubectl-apitoken")
	build.Dir = s.root
	if out, err := build.CombinedOutput(); err != nil {
		return "", fmt.Errorf("building the plugin of kubectl: %w: %s", err, out)
	}
	return folder, nil
}

func goEnv(ctx context.Context, name string) string {
	out, _ := exec.CommandContext(ctx, "go", "env", name).Output() // empty: go fails later, and says why
	return strings.TrimSpace(string(out))
}

func (s *shell) remove() { _ = os.RemoveAll(s.dir) }

// check runs the blocks of a page in one shell, and prints what fails.
func (s *shell) check(ctx context.Context, page string, blocks []block) (t tally) {
	var run []block
	for _, b := range blocks {
		switch {
		case !b.isCommand() && b.lang != "yaml":
		case b.mark != "":
			t.marked++
		default:
			run = append(run, b)
		}
	}
	if len(run) == 0 {
		return t
	}
	script, err := s.script(page, run)
	if err != nil {
		fmt.Println(err)
		t.failed = len(run)
		return t
	}
	ctx, cancel := context.WithTimeout(ctx, pageTimeout)
	defer cancel()
	bash := exec.CommandContext(ctx, "bash", "-c", script)
	bash.Dir, bash.Env = s.dir, s.env
	out, err := bash.CombinedOutput()
	t.run = judge(run, string(out), err)
	t.failed = len(run) - t.run
	return t
}

// prologue makes every page begin alike. curl fails where the answer is an error, unless the command asks for its code.
const prologue = `set -euo pipefail
curl() { case "$*" in *http_code* | -si*) command curl "$@" ;; *) command curl --fail-with-body "$@" ;; esac; }
at() { printf '\n@@ %s\n' "$1"; }
at preparation
`

// withToken makes alice-ci, and waits until it works. Its token is in TOKEN. The pages that come last end tokens.
const withToken = `BASE=$URL
kubectl apply -f config/samples/apitoken.yaml
kubectl wait apitoken/alice-ci --for=condition=Ready --timeout=2m
TOKEN=$(kubectl get secret alice-ci-token -o jsonpath='{.data.password}' | base64 -d)
`

// script returns the script that runs the blocks of a page.
func (s *shell) script(page string, run []block) (string, error) {
	var b strings.Builder
	b.WriteString(prologue)
	if !slices.Contains(last, page) {
		b.WriteString(withToken)
	}
	before, err := os.ReadFile(filepath.Join(s.root, "hack", "suites", "docs", "before", beforeName(page)))
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return "", fmt.Errorf("reading how to prepare %s: %w", page, err)
	}
	b.Write(before)
	for _, block := range run {
		fmt.Fprintf(&b, "\nat %s\n", block.at())
		text := block.commands()
		if block.lang == "yaml" {
			if text, err = manifest(s.root, block); err != nil {
				return "", err
			}
			text = "kubectl apply --server-side --force-conflicts --dry-run=server -f - <<'END-OF-BLOCK'\n" + text + "END-OF-BLOCK\n"
		}
		b.WriteString(s.here(text))
	}
	b.WriteString("\nat end\n")
	return b.String(), nil
}

// beforeName returns the name of the script that prepares a page.
func beforeName(page string) string {
	return strings.TrimSuffix(strings.ReplaceAll(page, "/", "-"), ".md") + ".sh"
}

// here replaces the addresses of the pages by those of the rig.
func (s *shell) here(text string) string {
	return strings.NewReplacer("https://jira.example.com", s.URL, "http://127.0.0.1:21704", s.URL, "machine jira.example.com", "machine 127.0.0.1",
		" NAME ", " alice-ci ").Replace(text)
}

var (
	code     = regexp.MustCompile(`# (\d{3})\b`)
	answered = regexp.MustCompile(`(?m)^\d{3}$`)
)

// judge returns how many blocks ran and, where a comment says so, were answered with these codes. It prints the others.
func judge(run []block, out string, err error) (good int) {
	outputs := map[string]string{}
	for part := range strings.SplitSeq(out, "\n@@ ") {
		name, output, _ := strings.Cut(part, "\n")
		outputs[name] = output
	}
	for i, b := range run {
		output, begun := outputs[b.at()]
		next := "end"
		if i+1 < len(run) {
			next = run[i+1].at()
		}
		_, ended := outputs[next]
		var want []string
		for _, m := range code.FindAllStringSubmatch(b.text, -1) {
			want = append(want, m[1])
		}
		got := answered.FindAllString(output, -1)
		switch {
		case !begun && i == 0:
			fmt.Printf("%s: the preparation fails: %v\n%s\n", b.page, err, indent(out))
		case !begun: // the one before failed
		case !ended:
			fmt.Printf("%s: %v\n%s\n", b.at(), err, indent(output))
		case len(want) > 0 && len(got) > 0 && !slices.Equal(got, want):
			fmt.Printf("%s: answered %v, but the page says %v\n", b.at(), got, want)
		default:
			good++
		}
	}
	return good
}

func indent(text string) string {
	return "    " + strings.ReplaceAll(strings.TrimSpace(text), "\n", "\n    ")
}
