package archive

import (
	"bytes"
	"crypto/rand"
	"encoding/json"
	"fmt"
	"strings"
	"testing"
	"time"

	"filippo.io/age"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"

	tokensv1alpha1 "apitokens.dev/operator/api/v1alpha1"
	"apitokens.dev/operator/internal/authurl"
	"apitokens.dev/operator/internal/record"
	"apitokens.dev/operator/internal/token"
	"apitokens.dev/operator/internal/upstream"
)

var noon = time.Date(2026, 11, 26, 12, 0, 0, 0, time.UTC)

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// declared returns an APIToken with the stored form of its record, and its token.
func declared(t *testing.T, name string) (tok *tokensv1alpha1.APIToken, stored []byte, text string) {
	t.Helper()
	id, err := token.NewID(rand.Reader)
	must(t, err)
	text, e, err := record.Mint(id, record.Delivered, noon, rand.Reader)
	must(t, err)
	tok = &tokensv1alpha1.APIToken{
		ObjectMeta: metav1.ObjectMeta{
			Namespace: "jira", Name: name, UID: types.UID("uid-" + name), ResourceVersion: "17", Finalizers: []string{"example.com/x"},
			Labels: map[string]string{"team": "a"}, Annotations: map[string]string{tokensv1alpha1.AnnotationPending: "x", "kept": "y"},
		},
		Spec: tokensv1alpha1.APITokenSpec{
			SiteRef: tokensv1alpha1.SiteReference{Name: "main"}, User: "Alice", Label: name, Credential: tokensv1alpha1.Credential{Type: "Generated"},
			Delivery: tokensv1alpha1.Delivery{SecretName: name + "-token"},
		},
		Status: tokensv1alpha1.APITokenStatus{TokenID: id},
	}
	r := &record.Record{
		TokenID: id, User: "alice", Site: record.Ref{Namespace: "jira", Name: "main"}, APIToken: record.Ref{Namespace: "jira", Name: name},
		DeliverySecret: name + "-token", Entries: []record.Entry{e},
	}
	stored, err = r.Encode()
	must(t, err)
	return tok, stored, text
}

// pat is a personal access token.
const pat = "NjE2MTE2NTEzOTU4OpjlEO6GuF3vKzalice"

// sample returns an archive with one of everything, and the token in it.
func sample(t *testing.T) (*Archive, string) {
	t.Helper()
	a := New(noon.Add(time.Hour), "v1.2.3")
	must(t, a.AddSite(&tokensv1alpha1.AtlassianSite{
		ObjectMeta: metav1.ObjectMeta{Namespace: "jira", Name: "main", UID: "uid-site"}, Spec: tokensv1alpha1.AtlassianSiteSpec{Product: "Jira"},
	}))
	tok, stored, text := declared(t, "ci")
	must(t, a.AddToken(tok, stored))
	c := upstream.Credential{Namespace: "jira", Site: "main", User: "alice", Origin: "http://jira", Token: pat}
	encoded, err := c.Encode()
	must(t, err)
	keys := authurl.NewKeys("jira", "main", noon)
	encodedKeys, err := keys.Encode()
	must(t, err)
	for _, s := range []*corev1.Secret{
		{ObjectMeta: metav1.ObjectMeta{Name: c.SecretName()}, Type: upstream.SecretType, Data: map[string][]byte{upstream.DataKey: encoded}},
		{ObjectMeta: metav1.ObjectMeta{Name: keys.SecretName()}, Type: authurl.KeysSecretType, Data: map[string][]byte{authurl.KeysDataKey: encodedKeys}},
		{ObjectMeta: metav1.ObjectMeta{Name: "memory.jira.main"}, Type: memoryType, Data: map[string][]byte{
			memoryKey: []byte(`{"namespace":"jira","site":"main","issuedAfter":"2026-01-01T00:00:00Z"}`)}},
	} {
		must(t, a.AddSecret(s))
	}
	return a, text
}

func newKey(t *testing.T) *age.X25519Identity {
	t.Helper()
	key, err := age.GenerateX25519Identity()
	must(t, err)
	return key
}

func sealed(t *testing.T, a *Archive, to ...age.Recipient) []byte {
	t.Helper()
	var b bytes.Buffer
	must(t, Seal(&b, a, to...))
	return b.Bytes()
}

// What was sealed is opened, with each of its keys or the passphrase. What only the old cluster knew is not in it.
func TestSealAndOpen(t *testing.T) {
	a, _ := sample(t)
	one, other := newKey(t), newKey(t)
	to, err := age.NewScryptRecipient("correct horse battery staple")
	must(t, err)
	to.SetWorkFactor(10)
	with, err := age.NewScryptIdentity("correct horse battery staple")
	must(t, err)
	both, locked := sealed(t, a, one.Recipient(), other.Recipient()), sealed(t, a, to)
	for name, opened := range map[string]func() (*Archive, error){
		"one of two keys": func() (*Archive, error) { return Open(both, newKey(t), other) },
		"a passphrase":    func() (*Archive, error) { return Open(locked, with) },
	} {
		got, err := opened()
		if err != nil {
			t.Errorf("%s: %v", name, err)
			continue
		}
		before, _ := json.Marshal(a)
		after, _ := json.Marshal(got)
		if !bytes.Equal(before, after) {
			t.Errorf("%s: got %s, want %s", name, after, before)
		}
		meta := got.Tokens[0].APIToken.ObjectMeta
		if meta.UID != "" || meta.ResourceVersion != "" || meta.Finalizers != nil || meta.Annotations[tokensv1alpha1.AnnotationPending] != "" ||
			meta.Annotations["kept"] == "" || meta.Labels["team"] != "a" || got.Tokens[0].APIToken.Status.TokenID != "" {
			t.Errorf("%s: the APIToken is %+v", name, got.Tokens[0].APIToken)
		}
	}
	if _, err := Open(both, newKey(t)); err == nil || !strings.Contains(err.Error(), "not encrypted to this identity") {
		t.Errorf("another key: %v", err)
	}
}

// Nothing of an archive can be read without the key, and it has no token even then.
func TestArchiveHoldsNoToken(t *testing.T) {
	a, text := sample(t)
	key := newKey(t)
	file := sealed(t, a, key.Recipient())
	for _, secret := range []string{pat, text, "alice", "jira"} {
		if bytes.Contains(file, []byte(secret)) {
			t.Errorf("the file has %q in clear", secret)
		}
	}
	plain, err := a.encode()
	must(t, err)
	if bytes.Contains(plain, []byte(text)) || bytes.Contains(plain, []byte(text[21:61])) {
		t.Error("the archive has the token")
	}
}

// An archive that is cut anywhere, or of which one bit is wrong, is refused as a whole.
func TestDamagedArchive(t *testing.T) {
	a, _ := sample(t)
	key := newKey(t)
	file := sealed(t, a, key.Recipient())
	for i := range len(file) {
		if _, err := Open(file[:i], key); err == nil {
			t.Errorf("opened with %d of %d bytes", i, len(file))
		}
		wrong := bytes.Clone(file)
		wrong[i] ^= 1
		if _, err := Open(wrong, key); err == nil {
			t.Errorf("opened although byte %d is wrong", i)
		}
	}
	if _, err := Open(append(bytes.Clone(file), 'x'), key); err == nil {
		t.Error("opened with a byte behind it")
	}
}

// Anyone who has the public key can encrypt anything. What the operator would not have written is refused before anything is written.
func TestForgedArchive(t *testing.T) {
	other, otherRecord, _ := declared(t, "other")
	for name, tc := range map[string]struct {
		forge func(*Archive)
		want  string
	}{
		"another version":              {func(a *Archive) { a.Version = 2 }, "its version is 2, and this plugin reads 1: use kubectl apitoken v1.2.3"},
		"no archive":                   {func(a *Archive) { a.Kind = "" }, "no backup of API tokens"},
		"no time":                      {func(a *Archive) { a.Created = time.Time{} }, "the time of the backup is missing"},
		"a token twice":                {func(a *Archive) { a.Tokens = append(a.Tokens, a.Tokens[0]) }, "is in it twice"},
		"an id twice":                  {func(a *Archive) { twin(a) }, "the token id"},
		"a record of another APIToken": {func(a *Archive) { a.Tokens[0].Record = otherRecord }, "its record was written for another one"},
		"a record that is none":        {func(a *Archive) { a.Tokens[0].Record = json.RawMessage(`{}`) }, "decoding a record"},
		"a record of another user":     {func(a *Archive) { a.Tokens[0].APIToken.Spec.User = "bob" }, "its record was written for another one"},
		"a dead record":                {func(a *Archive) { a.Tokens[0].Record = dead(a.Tokens[0].Record) }, "is dead"},
		"no UID":                       {func(a *Archive) { a.Tokens[0].UID = "" }, "lacks its UID"},
		"a site twice":                 {func(a *Archive) { a.Sites = append(a.Sites, a.Sites[0]) }, "is in it twice"},
		"another Secret":               {func(a *Archive) { a.Secrets[0].Type = corev1.SecretTypeOpaque }, "which no backup has"},
		"a Secret of another name":     {func(a *Archive) { a.Secrets[0].Name = "apitoken-admission" }, "holds the content of"},
		"a Secret without content":     {func(a *Archive) { a.Secrets[1].Data = nil }, "decoding caller keys"},
		"a memory without a site":      {func(a *Archive) { a.Secrets[2].Data = []byte(`{"namespace":"jira"}`) }, "the memory of a site cannot be read"},
	} {
		a, _ := sample(t)
		tc.forge(a)
		text, err := a.encode()
		must(t, err)
		if _, err := decode(text); err == nil || !strings.Contains(err.Error(), tc.want) {
			t.Errorf("%s: %v, want %q", name, err, tc.want)
		}
		if strings.Contains(fmt.Sprint(err), pat) {
			t.Errorf("%s: the error quotes a secret: %v", name, err)
		}
	}
	a, _ := sample(t)
	text, err := a.encode()
	must(t, err)
	unknown := bytes.Replace(text, []byte(`"label":"ci"`), []byte(`"label":"ci","allowedHours":["9-17"]`), 1)
	if _, err := decode(unknown); err == nil || !strings.Contains(err.Error(), "allowedHours") {
		t.Errorf("a limit that nobody knows was dropped: %v", err)
	}
	if err := a.AddToken(other, a.Tokens[0].Record); err == nil {
		t.Error("a token was kept with the record of another one")
	}
}

// twin adds another APIToken with the token id of the first.
func twin(a *Archive) {
	t := a.Tokens[0]
	t.UID, t.APIToken.Name = "uid-twin", "twin"
	t.Record = bytes.Replace(t.Record, []byte(`"name":"ci"`), []byte(`"name":"twin"`), 1)
	a.Tokens = append(a.Tokens, t)
}

func dead(stored []byte) []byte {
	r, err := record.Decode(stored)
	if err != nil {
		panic(err)
	}
	r.Kill(noon)
	b, err := r.Encode()
	if err != nil {
		panic(err)
	}
	return b
}

// A backup leaves out what nobody wants back.
func TestLeftOut(t *testing.T) {
	going, record1, _ := declared(t, "going")
	going.DeletionTimestamp = &metav1.Time{Time: noon}
	pending, _, _ := declared(t, "pending")
	pending.Spec.Credential.Type, pending.Spec.Delivery = tokensv1alpha1.CredentialPortal, tokensv1alpha1.Delivery{}
	gone, record2, _ := declared(t, "gone")
	a := New(noon, "")
	for tok, stored := range map[*tokensv1alpha1.APIToken][]byte{going: record1, pending: nil, gone: dead(record2)} {
		if err := a.AddToken(tok, stored); err != nil || len(a.Tokens) > 0 {
			t.Errorf("%s was kept: %v", tok.Name, err)
		}
	}
}

// The revocation epoch of a site never goes back, and all else that is remembered about it stays.
func TestRaise(t *testing.T) {
	const now = `{"namespace":"jira","site":"main","issuedAfter":"2026-06-01T00:00:00Z","uid":"x","later":{"a":1}}`
	memory := func(epoch string) []byte {
		return []byte(`{"namespace":"jira","site":"main","issuedAfter":"` + epoch + `"}`)
	}
	if got, changed, err := raise([]byte(now), memory("2026-01-01T00:00:00Z")); err != nil || changed || string(got) != now {
		t.Errorf("lowered: %s (%v)", got, err)
	}
	got, changed, err := raise([]byte(now), memory("2026-07-01T00:00:00Z"))
	var form map[string]any
	if err != nil || !changed || json.Unmarshal(got, &form) != nil {
		t.Fatalf("%s: %v", got, err)
	}
	if form["issuedAfter"] != "2026-07-01T00:00:00Z" || form["uid"] != "x" || form["later"] == nil {
		t.Errorf("got %s", got)
	}
}

// Caller keys of the cluster give way only if somebody says so, and are the same whatever the operator notes beside them.
func TestCallerKeys(t *testing.T) {
	a, _ := sample(t)
	keys := a.Secrets[1]
	noted, err := authurl.Edit(keys.Data, func(k *authurl.Keys) { k.Served = false })
	must(t, err)
	rotated, err := authurl.Edit(keys.Data, func(k *authurl.Keys) { k.Rotate(noon.Add(time.Minute), noon.Add(time.Hour)) })
	must(t, err)
	for name, tc := range map[string]struct {
		live       map[string][]byte
		callerKeys bool
		want       Action
		replaces   bool
	}{
		"missing":           {nil, false, Restore, false},
		"the same":          {map[string][]byte{keys.Name: noted}, true, Unchanged, false},
		"others":            {map[string][]byte{keys.Name: rotated}, false, Unchanged, false},
		"others, and asked": {map[string][]byte{keys.Name: rotated}, true, Restore, true},
	} {
		steps, err := Secrets(a, &Live{Secrets: tc.live}, tc.callerKeys)
		must(t, err)
		if s := steps[1]; s.Action != tc.want || s.Replaces != tc.replaces {
			t.Errorf("%s: %s, replaces %t", name, s.Action, s.Replaces)
		}
	}
}
