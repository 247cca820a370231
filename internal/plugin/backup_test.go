package plugin_test

import (
	"bytes"
	"crypto/rand"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"filippo.io/age"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	utilyaml "k8s.io/apimachinery/pkg/util/yaml"
	"sigs.k8s.io/controller-runtime/pkg/client"

	tokensv1alpha1 "apitokens.dev/operator/api/v1alpha1"
	"apitokens.dev/operator/hack/lib/kubetest"
	"apitokens.dev/operator/internal/plugin/exit"
	"apitokens.dev/operator/internal/record"
	"apitokens.dev/operator/internal/recordstore"
	"apitokens.dev/operator/internal/upstream"
)

// Users of config/samples/backup.yaml.
const (
	backupUser  = "backup-of-tokens"
	restoreUser = "restorer-of-tokens"
)

// backupWorld is a world with the roles of the sample, a site, and the memory of the admission policies, which the controller writes.
type backupWorld struct {
	*world

	key, file string
	secrets   []string
}

func newBackupWorld(t *testing.T) *backupWorld {
	t.Helper()
	w := &backupWorld{world: newWorld(t)}
	sample, err := os.ReadFile(filepath.FromSlash("../../config/samples/backup.yaml"))
	w.must(err)
	documents := utilyaml.NewYAMLOrJSONDecoder(bytes.NewReader(sample), 1<<12)
	for {
		var o unstructured.Unstructured
		if documents.Decode(&o) != nil {
			break
		}
		if err := env.Admin.Create(t.Context(), &o); !apierrors.IsAlreadyExists(err) {
			w.must(err)
		}
	}
	w.confirmPolicies(time.Now().Add(-time.Hour))
	w.site("main")
	key, err := age.GenerateX25519Identity()
	w.must(err)
	w.key, w.file = filepath.Join(w.homes, "key.txt"), filepath.Join(w.homes, "tokens.age")
	w.must(os.WriteFile(w.key, []byte("# public key: "+key.Recipient().String()+"\n"+key.String()+"\n"), 0o600))
	w.must(os.WriteFile(filepath.Join(w.homes, "recipients"), []byte(key.Recipient().String()+"\n"), 0o600))
	return w
}

// confirmPolicies writes what the controller remembers of the admission policies.
func (w *backupWorld) confirmPolicies(since time.Time) {
	w.Helper()
	memory := fmt.Sprintf(`{"version":1,"objects":[{"kind":"x","name":"x","uid":"x","generation":1,"since":%q}]}`, since.UTC().Format(time.RFC3339))
	s := &corev1.Secret{
		ObjectMeta: metav1.ObjectMeta{Namespace: kubetest.SystemNamespace, Name: "apitoken-admission"}, Type: "apitokens.dev/admission",
		Data: map[string][]byte{"admission.json": []byte(memory)},
	}
	if err := w.controller.Create(w.Context(), s.DeepCopy()); !apierrors.IsAlreadyExists(err) {
		w.must(err)
		return
	}
	w.must(w.controller.Update(w.Context(), s))
}

// issued creates an APIToken with its record.
func (w *backupWorld) issued(name string, n int) {
	w.Helper()
	w.token(name, n)
	text, e, err := record.Mint(w.id(n), record.Delivered, time.Now(), rand.Reader)
	w.must(err)
	w.secrets = append(w.secrets, text, e.Hash.String())
	w.must(recordstore.Store{Client: w.controller, Namespace: kubetest.SystemNamespace, ManagedBy: "test"}.Create(w.Context(), w.get(name).UID, &record.Record{
		TokenID: w.id(n), User: "alice", Site: record.Ref{Namespace: w.namespace, Name: "main"},
		APIToken: record.Ref{Namespace: w.namespace, Name: name}, DeliverySecret: name + "-token", Entries: []record.Entry{e},
	}))
}

// copyOf stores the working copy of alice's personal access token.
func (w *backupWorld) copyOf() client.ObjectKey {
	w.Helper()
	c := upstream.Credential{Namespace: w.namespace, Site: "main", User: "alice", Origin: "http://jira", Token: "NjE2MTE2NTEzOTU4OpjlEO6GuF3vKzalice"}
	encoded, err := c.Encode()
	w.must(err)
	w.secrets = append(w.secrets, c.Token)
	w.must(w.controller.Create(w.Context(), &corev1.Secret{
		ObjectMeta: metav1.ObjectMeta{
			Namespace: kubetest.CredentialsNamespace, Name: c.SecretName(), Labels: map[string]string{record.LabelSiteNamespace: w.namespace},
		},
		Type: upstream.SecretType, Data: map[string][]byte{upstream.DataKey: encoded},
	}))
	return client.ObjectKey{Namespace: kubetest.CredentialsNamespace, Name: c.SecretName()}
}

// lose deletes an APIToken and its record, as if there had never been a controller.
func (w *backupWorld) lose(names ...string) {
	w.Helper()
	for _, name := range names {
		t := w.get(name)
		w.must(env.Admin.Delete(w.Context(), &corev1.Secret{ObjectMeta: metav1.ObjectMeta{Namespace: kubetest.SystemNamespace, Name: string(t.UID)}}))
		w.must(env.Admin.Delete(w.Context(), t))
	}
}

// quiet fails the test if an output has a secret.
func (w *backupWorld) quiet(r result) result {
	w.Helper()
	for _, secret := range w.secrets {
		if all := r.out + r.errOut + fmt.Sprint(r.err); strings.Contains(all, secret) {
			w.Errorf("the output has a secret: %s", all)
		}
	}
	return r
}

func (w *backupWorld) backup(more ...string) result {
	w.Helper()
	return w.quiet(w.run(backupUser, "", append([]string{"backup", w.file, "--recipients-file", filepath.Join(w.homes, "recipients")}, more...)...))
}

func (w *backupWorld) restore(in string, more ...string) result {
	w.Helper()
	return w.quiet(w.run(restoreUser, in, append([]string{"restore", w.file, "--identity", w.key}, more...)...))
}

// bound returns the record of an APIToken.
func (w *backupWorld) bound(name string) *record.Record {
	w.Helper()
	var s corev1.Secret
	w.must(env.Admin.Get(w.Context(), client.ObjectKey{Namespace: kubetest.SystemNamespace, Name: string(w.get(name).UID)}, &s))
	r, err := recordstore.Decode(&s)
	w.must(err)
	return r
}

// The rights of the sample are enough, and those of a backup are not those of a restore. Without a log everything comes back suspended,
// and another run with one decides.
func TestBackupAndRestore(t *testing.T) {
	w := newBackupWorld(t)
	w.issued("ci", 1)
	w.issued("cd", 2)
	held := w.copyOf()
	r := w.backup()
	if r.err != nil || !strings.Contains(r.out, "SHA-256: ") || r.errOut != "" {
		t.Fatalf("%v: %s%s", r.err, r.out, r.errOut)
	}
	sum := strings.TrimSpace(r.out[strings.Index(r.out, "SHA-256: ")+len("SHA-256: "):])
	if info, err := os.Stat(w.file); err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("the archive: %v %v", info.Mode(), err)
	}
	if r := w.backup(); r.code != exit.Usage || !strings.Contains(r.err.Error(), "an archive replaces no file") {
		t.Errorf("a second backup: %v", r.err)
	}
	w.lose("ci", "cd")
	w.must(env.Admin.Delete(t.Context(), &corev1.Secret{ObjectMeta: metav1.ObjectMeta{Namespace: held.Namespace, Name: held.Name}}))

	if r := w.quiet(w.run(backupUser, "", "restore", w.file, "--identity", w.key)); r.code != exit.Failed || !strings.Contains(r.err.Error(), "apitoken-admission") {
		t.Errorf("restored with the rights of a backup: %v", r.err)
	}
	if r := w.restore("", "--sha256", strings.Repeat("0", 64)); r.code != exit.Failed || !strings.Contains(r.err.Error(), "it is another archive") {
		t.Errorf("another archive: %v", r.err)
	}
	if r := w.restore("", "--dry-run"); r.err != nil || !strings.Contains(r.out, "APIToken jira/ci restored suspended (dry run)") || len(w.names()) > 0 {
		t.Errorf("dry run: %v: %s%s %v", r.err, r.out, r.errOut, w.names())
	}
	if r := w.restore("no\n"); r.code != exit.Usage || len(w.names()) > 0 {
		t.Errorf("not confirmed: %v %v", r.err, w.names())
	}
	if r := w.restore("3\n", "--sha256", sum); r.err != nil || !strings.Contains(r.errOut, "2 tokens are suspended") {
		t.Fatalf("restore: %v\n%s%s", r.err, r.out, r.errOut)
	}
	if got := fmt.Sprint(w.names()); got != "[cd Suspended ci Suspended]" || w.bound("ci").TokenID != w.id(1) {
		t.Errorf("restored %s, %s", got, w.bound("ci").TokenID)
	}
	if err := env.Admin.Get(t.Context(), held, &corev1.Secret{}); err != nil {
		t.Errorf("the working copy: %v", err)
	}
	w.restoreWithLog()
}

// restoreWithLog restores again, with a log that says that one of two was revoked.
func (w *backupWorld) restoreWithLog() {
	w.Helper()
	log := filepath.Join(w.homes, "controller.log")
	w.must(os.WriteFile(log, fmt.Appendf(nil, `{"level":"info","ts":%q,"controller":"apitoken","msg":"x"}`+"\n"+`{"ts":%q,"controller":"x","action":"revoked","tokenID":%q}`+"\n",
		w.now().Add(-time.Hour).Format(time.RFC3339), w.now().Add(time.Hour).Format(time.RFC3339), w.id(2)), 0o600))
	r := w.restore("", "--audit", log, "--yes", "-o", "json")
	var outcomes []map[string]string
	if err := json.Unmarshal([]byte(r.out), &outcomes); r.err != nil || err != nil {
		w.Fatalf("%v, %v: %s%s", r.err, err, r.out, r.errOut)
	}
	results := map[string]string{}
	for _, o := range outcomes {
		results[o["name"]] = o["result"]
	}
	if got := fmt.Sprint(w.names()); got != "[ci Active]" || results["ci"] != "restored" || results["cd"] != "revoked" {
		w.Errorf("restored %s: %v", got, results)
	}
	if r := w.restore("", "--audit", log); r.err != nil || !strings.Contains(r.out, "APIToken jira/ci unchanged") || !strings.Contains(r.out, "APIToken jira/cd stays dead") {
		w.Errorf("again: %v: %s%s", r.err, r.out, r.errOut)
	}
}

// What is in the way of one token does not keep the others from coming back. The exit code and the message say how to go on.
func TestRestoreInPart(t *testing.T) {
	w := newBackupWorld(t)
	w.issued("ci", 1)
	w.issued("cd", 2)
	if r := w.backup("-o", "json"); r.err != nil || !strings.Contains(r.out, `"sha256": "`) {
		t.Fatalf("%v: %s", r.err, r.out)
	}
	w.lose("ci", "cd")
	w.token("cd", 3, func(t *tokensv1alpha1.APIToken) { t.Spec.User = "bob" })
	r := w.restore("", "--yes")
	if r.code != exit.Partial || !strings.Contains(r.err.Error(), "run this again") || !strings.Contains(r.out, "APIToken jira/cd left alone") {
		t.Errorf("code %d, %v: %s%s", r.code, r.err, r.out, r.errOut)
	}
	w.must(env.Admin.Delete(t.Context(), w.get("cd")))
	if r := w.restore("", "--yes"); r.err != nil || fmt.Sprint(w.names()) != "[cd Suspended ci Suspended]" {
		t.Errorf("again: %v: %s%s %v", r.err, r.out, r.errOut, w.names())
	}
}

// Nothing is written when something is wrong with the archive, the key, the log, the namespaces or the operator.
func TestRestoreRefuses(t *testing.T) {
	w := newBackupWorld(t)
	w.issued("ci", 1)
	w.must(w.backup().err)
	w.lose("ci")
	write := func(name, text string) string {
		w.must(os.WriteFile(filepath.Join(w.homes, name), []byte(text), 0o600))
		return filepath.Join(w.homes, name)
	}
	other, err := age.GenerateX25519Identity()
	w.must(err)
	sealed, err := os.ReadFile(w.file)
	w.must(err)
	for name, tc := range map[string]struct {
		args []string
		code int
		want string
	}{
		"no key":             {[]string{"restore", w.file}, exit.Usage, "--identity"},
		"no such file":       {[]string{"restore", "/nowhere", "-i", w.key}, exit.Failed, "reading the archive"},
		"another key":        {[]string{"restore", w.file, "-i", write("other", other.String())}, exit.Failed, "not encrypted to this identity"},
		"a key that is none": {[]string{"restore", w.file, "-i", write("none", "secret words")}, exit.Usage, "want a secret key of age"},
		"an encrypted key":   {[]string{"restore", w.file, "-i", write("locked", "age-encryption.org/v1\n")}, exit.Usage, "decrypt it first"},
		"a short passphrase": {[]string{"restore", w.file, "--passphrase-file", write("short", "hunter2")}, exit.Usage, "fewer than 20 characters"},
		"a cut archive":      {[]string{"restore", write("cut", string(sealed[:len(sealed)-1])), "-i", w.key}, exit.Failed, "cut or damaged"},
		"until alone":        {[]string{"restore", w.file, "-i", w.key, "--until", "2030-01-01T00:00:00Z"}, exit.Usage, "--until goes with --audit"},
		"until before":       {[]string{"restore", w.file, "-i", w.key, "--until", "2000-01-01T00:00:00Z", "--audit", w.key}, exit.Usage, "before the backup"},
		"an empty log":       {[]string{"restore", w.file, "-i", w.key, "--audit", write("log", "")}, exit.Failed, "neither lines of the controller"},
		"backup for nobody":  {[]string{"backup", "/tmp/none.age"}, exit.Usage, "for whom?"},
		"backup for both":    {[]string{"backup", "/tmp/none.age", "-r", "x", "--passphrase-file", w.key}, exit.Usage, "goes with no --recipient"},
		"a recipient's slip": {[]string{"backup", "/tmp/none.age", "-r", "age1x"}, exit.Usage, "want a public key of age"},
	} {
		if r := w.quiet(w.run(restoreUser, "", tc.args...)); r.code != tc.code || r.err == nil || !strings.Contains(r.err.Error(), tc.want) {
			t.Errorf("%s: code %d, %v, want %d, %q", name, r.code, r.err, tc.code, tc.want)
		}
	}
	w.confirmPolicies(time.Now().Add(time.Hour))
	if r := w.restore("", "--yes"); r.code != exit.Failed || !strings.Contains(r.err.Error(), "a moment ago") {
		t.Errorf("before the policies were in force: %v", r.err)
	}
	w.must(w.controller.Delete(t.Context(), &corev1.Secret{ObjectMeta: metav1.ObjectMeta{Namespace: kubetest.SystemNamespace, Name: "apitoken-admission"}}))
	if r := w.restore("", "--yes"); r.code != exit.Failed || !strings.Contains(r.err.Error(), "has not confirmed") {
		t.Errorf("without an operator: %v", r.err)
	}
	if len(w.names()) > 0 {
		t.Errorf("something was restored: %v", w.names())
	}
}

// A passphrase does as well as a key.
func TestBackupWithPassphrase(t *testing.T) {
	w := newBackupWorld(t)
	file := filepath.Join(w.homes, "passphrase")
	w.must(os.WriteFile(file, []byte("correct horse battery staple\n"), 0o600))
	w.must(w.quiet(w.run(backupUser, "", "backup", w.file, "--passphrase-file", file)).err)
	if r := w.quiet(w.run(restoreUser, "", "restore", w.file, "--passphrase-file", file, "--dry-run")); r.err != nil {
		t.Errorf("restore: %v: %s", r.err, r.errOut)
	}
}
