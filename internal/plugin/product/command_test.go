package product_test

import (
	"bytes"
	"encoding/json"
	"encoding/pem"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"k8s.io/cli-runtime/pkg/genericiooptions"

	"apitokens.dev/operator/internal/plugin/exit"
	"apitokens.dev/operator/internal/plugin/product"
	"apitokens.dev/operator/internal/plugin/session"
)

// ran is what a command did.
type ran struct {
	out, errOut string
	code        int
}

// command runs the command against a world that is served with TLS.
func command(t *testing.T, w *world, in string, args ...string) ran {
	t.Helper()
	server := httptest.NewTLSServer(w)
	defer server.Close()
	t.Setenv("HTTPS_PROXY", "http://127.0.0.1:1") // a proxy would learn the credentials
	folder := t.TempDir()
	file := func(name, text string) string {
		path := filepath.Join(folder, name)
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		return path
	}
	ca := file("ca", string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: server.Certificate().Raw})))
	var out, errOut bytes.Buffer
	cmd := product.New(session.New(genericiooptions.IOStreams{In: strings.NewReader(in), Out: &out, ErrOut: &errOut}, time.Now))
	cmd.SilenceErrors, cmd.SilenceUsage = true, true
	cmd.SetOut(&out)
	cmd.SetErr(&errOut)
	cmd.SetArgs(append([]string{
		"--url", server.URL + w.context, "--user", user, "--ca-file", ca, "--password-file", file("password", password+"\n"), "--pat-file", file("pat", userPAT+"\r\n"),
		"--admin-pat-file", file("admin", adminPAT), "--expired-pat-file", file("expired", w.expired), "--in", "TEST",
	}, args...))
	err := cmd.ExecuteContext(t.Context())
	if err != nil {
		errOut.WriteString(err.Error())
	}
	for _, text := range []string{out.String(), errOut.String()} {
		if found := w.given.Find([]byte(text)); len(found) > 0 {
			t.Errorf("the command prints %v", found)
		}
	}
	return ran{out.String(), errOut.String(), exit.CodeOf(err)}
}

// The whole command over a network: it says what it will do, asks, has the steps done, and writes the report.
func TestCommand(t *testing.T) {
	for _, s := range settings {
		w := newWorld(t, s)
		r := command(t, w, "yes\ns\ns\ns\n", "--by-hand")
		for _, want := range []string{"About to send some 200 requests", "delete it again", "Type yes: ", "Rename the user " + user + " to " + user + "-renamed."} {
			if !strings.Contains(r.errOut, want) {
				t.Errorf("%s: it does not say %q: %s", s, want, r.errOut)
			}
		}
		if r.code != exit.Done || !strings.HasPrefix(r.out, "# "+s.String()+"\n") || strings.Contains(r.out, "## Refuted") || strings.Contains(r.out, "127.0.0.1") {
			t.Errorf("%s: exit code %d: %s%s", s, r.code, r.errOut, r.out)
		}
		if pats := w.PersonalAccessTokens(user); len(pats) != 2 {
			t.Errorf("%s: the user has tokens of the run: %v", s, pats)
		}
	}
}

func TestCommandFindsWhatIsRefuted(t *testing.T) {
	w := newWorld(t, settings[0])
	w.SetBasicAuth(true)
	r := command(t, w, "", "--yes", "-o", "json")
	var report product.Report
	if err := json.Unmarshal([]byte(r.out), &report); err != nil || r.code != exit.No || report.Count(product.Refuted) != 1 {
		t.Errorf("%v, exit code %d: %s", err, r.code, r.errOut)
	}
}

func TestCommandAsks(t *testing.T) {
	w := newWorld(t, settings[0])
	before := len(w.PersonalAccessTokens(user))
	for name, tc := range map[string]struct {
		in   string
		args []string
		want string
	}{
		"no":            {"no\n", nil, "nothing was sent"},
		"no terminal":   {"", nil, "give --yes"},
		"no user":       {"", []string{"--user", ""}, "Give --url and --user"},
		"no credential": {"", []string{"--password-file", "", "--pat-file", ""}, "--password-file or --pat-file"},
		"a format":      {"", []string{"-o", "name"}, "use one of json, yaml"},
	} {
		if r := command(t, w, tc.in, tc.args...); r.code != exit.Usage || !strings.Contains(r.errOut, tc.want) || r.out != "" {
			t.Errorf("%s: exit code %d: %s%s", name, r.code, r.errOut, r.out)
		}
	}
	for name, args := range map[string][]string{"no file": {"--pat-file", "/does/not/exist"}, "an empty file": {"--pat-file", os.DevNull}, "no certificate": {"--ca-file", os.DevNull}} {
		if r := command(t, w, "", append(args, "--yes")...); r.code != exit.Failed || !strings.Contains(r.errOut, "reading") {
			t.Errorf("%s: exit code %d: %s", name, r.code, r.errOut)
		}
	}
	if after := len(w.PersonalAccessTokens(user)); after != before {
		t.Errorf("something was sent: the user has %d tokens", after)
	}
}
