package importing

import (
	"bytes"
	"crypto/rand"
	"encoding/base64"
	"encoding/csv"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"k8s.io/cli-runtime/pkg/genericiooptions"

	tokensv1alpha1 "apitokens.dev/operator/api/v1alpha1"
	"apitokens.dev/operator/hack/lib/canary"
	"apitokens.dev/operator/internal/plugin/session"
	"apitokens.dev/operator/internal/token"
)

var now = time.Date(2026, 11, 27, 12, 0, 0, 0, time.UTC)

var here = target{namespace: "jira", site: tokensv1alpha1.SiteReference{Name: "main"}, now: now}

// plans returns what becomes of a table.
func plans(t *testing.T, from source, table string) plan {
	t.Helper()
	all, err := from.read(strings.NewReader(table))
	if err != nil {
		t.Fatal(err)
	}
	return here.makePlan(all)
}

// The columns of each product are found, in any case and order.
func TestColumnsOfProducts(t *testing.T) {
	for name, tc := range map[string]struct{ head, row string }{
		"our own":                    {"user,label,created,last used,expires", "alice,CI scripts,2026-01-31T12:00:00Z,2026-11-01,2027-06-30T00:00:00Z"},
		"the plugin's table":         {`ID,"USERNAME",LABEL,HASH,CREATED_AT,LAST_ACCESSED,EXPIRES`, "7,alice,CI scripts,0123456789abcdef,1769860800000,1793491200000,1814313600000"},
		"resolution's REST":          {"id,user,tokenDescription,created,lastAccessed,tokenExpirationDateTime", "4,alice,CI scripts,1769860800000,1793491200000,2027-06-30T02:00:00.000+0200"},
		"Kantega's table":            {"ALIAS,OWNER,CREATED,LAST_USED,VALID_UNTIL", "CI scripts,alice,2026-01-31 12:00:00.0,2026-11-01 00:00:00,2027-06-30"},
		"Jira Extender":              {"authorKey,label,user,dateCreated,last_used,validUntil,token", "JIRAUSER1,CI scripts,alice,1769860800000,1793491200000,1814313600000,x"},
		"personal access tokens":     {"username,name,createdAt,lastAccessedAt,expiringAt", "alice,CI scripts,2026-01-31T12:00:00.000Z,2026-11-01T00:00:00Z,2027-06-30T00:00:00.000Z"},
		"Excel, with a mark":         {"\ufeffUser,Label,Created,Last-Used,Expires", "alice,CI scripts,2026-01-31T12:00:00Z,2026-11-01,2027-06-30"},
		"with what stands elsewhere": {"USER NAME,label,created,lastused,expires", " alice , CI scripts ,2026-01-31T12:00:00Z,2026-11-01,2027-06-30"},
	} {
		t.Run(name, func(t *testing.T) {
			p := plans(t, source{}, tc.head+"\r\n"+tc.row+"\r\n")
			want := []line{{
				Line: 2, User: "alice", Label: "CI scripts", Result: invited, Reason: "nobody has its secret",
				Created: "2026-01-31T12:00:00Z", LastUsed: "2026-11-01T00:00:00Z", Expires: "2027-06-30T00:00:00Z",
			}}
			if diff := cmp.Diff(want, p.lines); diff != "" {
				t.Error(diff)
			}
		})
	}
	named := source{named: map[string]string{"user": "Login Of Owner", "label": "purpose"}}
	if p := plans(t, named, "user,login_of_owner,label,PURPOSE\nx,alice,y,CI\n"); p.lines[0].User != "alice" || p.lines[0].Label != "CI" {
		t.Errorf("%+v", p.lines)
	}
}

// A table that cannot be read is refused, and nothing in it is quoted: its first line may be a secret.
func TestTablesThatAreNone(t *testing.T) {
	const secret = "PExRHkVGE5Da5BpwESbtpKJnUqUEyDmvsRt"
	for table, want := range map[string]string{
		"":                              "has no rows",
		"user,label\n":                  "has no rows",
		"alice," + secret + "\nbob,x\n": "no column for the user",
		"user,label\n\"" + secret:       "line 2: ",
		"user,label\nalice," + secret + "\"x\"\n": "line 2: ",
		"user;label\nalice;" + secret + "\n":      "no column for the user",
	} {
		_, err := source{}.read(strings.NewReader(table))
		if err == nil || !strings.Contains(err.Error(), want) || strings.Contains(err.Error(), secret) {
			t.Errorf("%q: %v, want %s", table, err, want)
		}
	}
	for _, from := range []source{{secret: "password"}, {named: map[string]string{"label": "purpose"}}} {
		if _, err := from.read(strings.NewReader("user\nalice\n")); err == nil || !strings.Contains(err.Error(), "the table has no column") {
			t.Error(err)
		}
	}
	if _, err := (source{}).read(strings.NewReader("user\n" + strings.Repeat("alice\n", maxRows+1))); err == nil || !strings.Contains(err.Error(), "in parts") {
		t.Error(err)
	}
}

// strong returns a secret that can be imported.
func strong() string { return "S" + rand.Text() + rand.Text() }

// Each row that cannot be imported has its reason.
func TestReasons(t *testing.T) {
	same := strong()
	pat := base64.StdEncoding.EncodeToString([]byte("123456789012:" + strong()))
	for name, tc := range map[string]struct {
		rows   [][]string // user, label, expires, secret
		want   result
		reason string
	}{
		"a good secret":          {[][]string{{"alice", "CI", "", strong()}}, imported, ""},
		"that ends later":        {[][]string{{"alice", "CI", "2027-01-01", strong()}}, imported, ""},
		"without a label":        {[][]string{{"alice", "", "", strong()}}, imported, ""},
		"without a secret":       {[][]string{{"alice", "CI", "", ""}}, invited, "nobody has its secret"},
		"a short secret":         {[][]string{{"alice", "CI", "", "short"}}, invited, "want at least 20"},
		"one of ours":            {[][]string{{"alice", "CI", "", "asp_" + strong()}}, invited, "asp_"},
		"with a space":           {[][]string{{"alice", "CI", "", strong() + " "}}, invited, "cannot be imported"},
		"a hash of bcrypt":       {[][]string{{"alice", "CI", "", "$2a$10$" + strong()}}, invited, "it is a hash"},
		"a hash of Atlassian":    {[][]string{{"alice", "CI", "", "{PKCS5S2}" + strong()}}, invited, "it is a hash"},
		"a hash of Argon2":       {[][]string{{"alice", "CI", "", "$argon2id$v=19$" + strong()}}, invited, "it is a hash"},
		"a PAT":                  {[][]string{{"alice", "CI", "", pat}}, invited, "personal access token"},
		"in its label":           {[][]string{{"alice", "CI " + same, "", same}}, invited, "has the secret in it"},
		"twice":                  {[][]string{{"alice", "CI", "", same}, {"ALICE", "other", "", same}}, impossible, "another line has the same secret"},
		"of two users":           {[][]string{{"alice", "CI", "", same}, {"bob", "other", "", same}}, imported, ""},
		"that has ended":         {[][]string{{"alice", "CI", "2026-11-27T12:00:00Z", strong()}}, impossible, "it expired at 2026-11-27T12:00:00Z"},
		"that ends who knows":    {[][]string{{"alice", "CI", "soon", strong()}}, impossible, "its end cannot be read"},
		"without a user":         {[][]string{{"", "CI", "", strong()}}, impossible, "it has no user"},
		"of a user with a colon": {[][]string{{"a:b", "CI", "", strong()}}, impossible, "no name that an APIToken may have"},
		"of a user in capitals":  {[][]string{{"ÜBER", "CI", "", strong()}}, impossible, "no name that an APIToken may have"},
		"of a user like a token": {[][]string{{"ASP_x", "CI", "", strong()}}, impossible, "no name that an APIToken may have"},
		"with a long label":      {[][]string{{"alice", strings.Repeat("x", 256), "", strong()}}, impossible, "its label has"},
		"with a turned label":    {[][]string{{"alice", "a\u202eb", "", strong()}}, impossible, "its label has"},
		"one too many":           {many(21, strong), invited, "20 imported tokens already"},
		"one weak one too many":  {many(6, func() string { return strings.Repeat("x", 12) + rand.Text()[:9] }), invited, "5 imported tokens with weak secrets"},
	} {
		t.Run(name, func(t *testing.T) {
			p := plans(t, source{secret: "secret"}, table(t, tc.rows))
			last := p.lines[len(p.lines)-1]
			if last.Result != tc.want || !strings.Contains(last.Reason, tc.reason) || (tc.reason == "") != (last.Reason == "") {
				t.Errorf("%+v, want %s: %s", last, tc.want, tc.reason)
			}
			if got := p.count(imported); len(p.tokens) != got || len(p.secrets) != got {
				t.Errorf("%d manifests and %d Secrets for %d rows", len(p.tokens), len(p.secrets), got)
			}
		})
	}
}

func many(n int, secret func() string) (rows [][]string) {
	for i := range n {
		rows = append(rows, []string{"alice", fmt.Sprint("CI ", i), "", secret()})
	}
	return rows
}

func table(t *testing.T, rows [][]string) string {
	t.Helper()
	var b bytes.Buffer
	w := csv.NewWriter(&b)
	if err := w.WriteAll(append([][]string{{"user", "label", "expires", "secret"}}, rows...)); err != nil {
		t.Fatal(err)
	}
	return b.String()
}

// No secret is in any file but one, on the terminal, or in an error; nobody else may read the files. Each row has one line, and each
// name is there once.
func TestSecretsAreInOneFile(t *testing.T) {
	var secrets canary.Secrets
	var rows [][]string
	for i, user := range []string{"alice", "Alice", "bob", "", "ÜBER", "a:b", "carol@example.com"} {
		for j, secret := range []string{strong(), "{PKCS5S2}" + strong(), "asp_" + strong(), " " + strong(), base64.StdEncoding.EncodeToString([]byte("123456789012:" + strong()))} {
			secrets.Add(fmt.Sprintf("secret %d of user %d", j, i), secret)
			rows = append(rows, []string{user, "CI scripts", "", secret}, []string{user, "has " + secret, "", secret}, []string{user, "CI", secret, secret})
		}
	}
	id, _ := token.NewID(rand.Reader)
	text, _ := token.New(id, rand.Reader)
	secrets.Add("a token as a label", text)
	rows = append(rows, []string{"alice", text, "", ""})
	for _, format := range []string{"", "json", "yaml"} {
		folder := filepath.Join(t.TempDir(), "import")
		var out, errOut bytes.Buffer
		s := session.New(genericiooptions.IOStreams{In: strings.NewReader(table(t, rows)), Out: &out, ErrOut: &errOut}, func() time.Time { return now })
		cmd := New(s)
		s.AddFlags(cmd.PersistentFlags())
		cmd.SilenceUsage, cmd.SilenceErrors = true, true
		cmd.SetArgs([]string{"-", "--namespace", "jira", "--site", "main", "--to", folder, "--secret-column", "secret", "--output", format})
		if err := cmd.Execute(); err != nil {
			t.Fatal(err)
		}
		if found := secrets.Find([]byte(out.String() + errOut.String())); len(found) > 0 {
			t.Errorf("-o %q prints %q", format, found)
		}
		for _, name := range []string{reportFile, tokensFile, lettersFile, secretsFile} {
			text, err := os.ReadFile(filepath.Join(folder, name))
			if err != nil {
				t.Fatal(err)
			}
			if found := secrets.Find(text); (len(found) > 0) != (name == secretsFile) {
				t.Errorf("%s has %q", name, found)
			}
			if at, err := os.Stat(filepath.Join(folder, name)); err != nil || at.Mode().Perm() != 0o600 {
				t.Errorf("%s: %v, %v", name, at.Mode(), err)
			}
		}
		if at, err := os.Stat(folder); err != nil || at.Mode().Perm() != 0o700 {
			t.Errorf("the folder: %v, %v", at.Mode(), err)
		}
		s.In = strings.NewReader(table(t, rows))
		if err := cmd.Execute(); err == nil || !strings.Contains(err.Error(), "is there already") {
			t.Errorf("again: %v", err)
		}
	}
	p := plans(t, source{secret: "secret"}, table(t, rows))
	names := map[string]bool{}
	for i, of := range p.tokens {
		if names[of.Name] || p.secrets[i].Name != of.Spec.Credential.Imported.SecretName {
			t.Errorf("%s is there twice, or has no Secret", of.Name)
		}
		names[of.Name] = true
	}
	if len(p.lines) != len(rows) {
		t.Errorf("%d lines for %d rows", len(p.lines), len(rows))
	}
}

func TestLetters(t *testing.T) {
	p := plans(t, source{}, "user,label,created,lastused\nbob,=Reports,2026-01-31,\nAlice,CI scripts,,2026-11-01\nalice,,,\n")
	var b bytes.Buffer
	if err := writeLetters(&b, &p, "https://jira.example.com/plugins/servlet/api-tokens", now); err != nil {
		t.Fatal(err)
	}
	const want = `To: alice
Subject: Please replace your tokens before 2026-11-27

You have these tokens, which have to be replaced:

  - CI scripts, last used 2026-11-01
  - (without a name)

Nobody can move them for you: only you have their secrets. For each one that you still need, please

  1. sign in and create an API token with the same name at https://jira.example.com/plugins/servlet/api-tokens
  2. put it in the place of the old one. Your user name stays the same.

Scripts that nobody needs any more need nothing.
------------------------------------------------------------------------
`
	if got, bobs, _ := strings.Cut(b.String(), "To: bob"); got != want || !strings.Contains(bobs, "  - =Reports, created 2026-01-31\n") {
		t.Error(cmp.Diff(want, got), bobs)
	}
}

func TestUsage(t *testing.T) {
	for args, want := range map[string]string{
		"x --to y":                        "--site is missing",
		"x --site main":                   "--to is missing",
		"x --site main --to y --until so": "--until: want a day",
		"x --site main --to y --column a": "--column: want NAME=COLUMN, where NAME is one of created, expires, label, lastused, user",
		"x --site main --to y --secret-column PASSWORD_HASH":  "nobody can send a hash",
		"/does/not/exist --site main --to y --namespace jira": "reading the table",
	} {
		s := session.New(genericiooptions.NewTestIOStreamsDiscard(), time.Now)
		cmd := New(s)
		s.AddFlags(cmd.PersistentFlags())
		cmd.SilenceUsage, cmd.SilenceErrors = true, true
		cmd.SetArgs(strings.Fields(args))
		if err := cmd.Execute(); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v, want %s", args, err, want)
		}
	}
	if _, err := os.Stat("y"); !errors.Is(err, fs.ErrNotExist) {
		t.Error("a folder was made")
	}
}
