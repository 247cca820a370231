package main

import (
	"bytes"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"apitokens.dev/operator/internal/license"
)

// run runs the command in a folder, with arguments as in a shell.
func run(t *testing.T, dir string, args ...string) (string, error) {
	t.Helper()
	t.Chdir(dir)
	var out bytes.Buffer
	cmd := newCommand()
	cmd.SetArgs(args)
	cmd.SetOut(&out)
	cmd.SetErr(&out)
	err := cmd.Execute()
	return out.String(), err
}

// A licence issued with a new key is verified by it and has the requested claims.
func TestIssue(t *testing.T) {
	dir := t.TempDir()
	if out, err := run(t, dir, "keygen"); err != nil || out != "" {
		t.Fatalf("%s, %v", out, err)
	}
	if info, err := os.Stat(filepath.Join(dir, "license-private.pem")); err != nil || info.Mode() != 0o600 {
		t.Errorf("the private key is %v, %v", info, err)
	}
	public, err := os.ReadFile(filepath.Join(dir, "license-public.pem"))
	if err != nil {
		t.Fatal(err)
	}
	keys, err := license.ParseKeys(public)
	if err != nil {
		t.Fatal(err)
	}
	begun := time.Now().Truncate(time.Second)
	for name, tc := range map[string]struct {
		args     []string
		products []string
		ends     time.Time
	}{
		"for days":       {[]string{"--product", "Jira", "--days", "365"}, []string{"Jira"}, begun.Add(365 * 24 * time.Hour)},
		"until a moment": {[]string{"--product=Jira,Confluence", "--expires", "2020-01-01T02:00:00+01:00"}, []string{"Jira", "Confluence"}, time.Unix(1577840400, 0)},
		"product by product": {
			[]string{"--product", "Confluence", "--product", "Jira", "--expires", "2027-01-01T00:00:00Z"}, []string{"Confluence", "Jira"}, time.Unix(1798761600, 0),
		},
	} {
		out, err := run(t, dir, append([]string{"issue", "--licensee", "Example Inc."}, tc.args...)...)
		if err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		l, err := license.NewVerifier(keys...).Verify(out)
		late := l.Expires.Sub(tc.ends)
		if err != nil || l.Licensee != "Example Inc." || !slices.Equal(l.Products, tc.products) || late < 0 || late > time.Minute {
			t.Errorf("%s: issued %+v, %v", name, l, err)
		}
	}
}

func TestMistakes(t *testing.T) {
	dir := t.TempDir()
	if _, err := run(t, dir, "keygen"); err != nil {
		t.Fatal(err)
	}
	private, err := os.ReadFile("license-private.pem")
	if err != nil {
		t.Fatal(err)
	}
	for _, args := range []struct{ line, want string }{
		{"keygen", "writing the private key: open license-private.pem: file exists"},
		{"keygen --private-key new.pem", "writing the public key: open license-public.pem: file exists"},
		{"issue --days 1 --product Jira", "needs the name of its licensee"},
		{"issue --days 1 --licensee x", "needs products"},
		{"issue --days 1 --licensee x --product jira", `there is no product "jira": want Jira or Confluence`},
		{"issue --licensee x --product Jira", "at least one of the flags in the group [days expires] is required"},
		{"issue --licensee x --product Jira --days 1 --expires 2027-01-01T00:00:00Z", "none of the others can be"},
		{"issue --licensee x --product Jira --days 0", "0 days: want at least 1"},
		{"issue --licensee x --product Jira --days -1", "-1 days: want at least 1"},
		{"issue --licensee x --product Jira --expires 2027-01-01", "reading --expires: "},
		{"issue --licensee x --product Jira --days 1 --private-key not-there.pem", "reading the private key: open not-there.pem: no such file"},
		{"issue --licensee x --product Jira --days 1 --private-key license-public.pem", "license-public.pem: want a PRIVATE KEY in PEM"},
		{"issue more", "unknown command"},
	} {
		out, err := run(t, dir, strings.Fields(args.line)...)
		if err == nil || !strings.Contains(err.Error(), args.want) {
			t.Errorf("%s: %s, %v, want %q", args.line, out, err, args.want)
		}
	}
	if now, err := os.ReadFile("license-private.pem"); err != nil || !bytes.Equal(now, private) {
		t.Errorf("the private key is another one: %v", err)
	}
}

func TestHelp(t *testing.T) {
	for _, args := range [][]string{{"--help"}, {"keygen", "--help"}, {"issue", "--help"}} {
		if out, err := run(t, t.TempDir(), args...); err != nil || !strings.Contains(out, "license") || !strings.Contains(out, "Usage:") {
			t.Errorf("%v: %s, %v", args, out, err)
		}
	}
}
