package authurl_test

import (
	"encoding/json"
	"errors"
	"os"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"apitokens.dev/operator/internal/authurl"
	"apitokens.dev/operator/internal/storedjson"
)

func TestParseReadsWhatStringWrote(t *testing.T) {
	want := authurl.Address{Contract: authurl.Nginx, Key: "KEY", Namespace: "jira", Site: "main.site"}
	got, ok := authurl.Parse(want.String())
	if !ok || got != want {
		t.Errorf("Parse(%q) = %+v, %v", want, got, ok)
	}
}

func TestParseRefuses(t *testing.T) {
	for _, path := range []string{
		"", "/", "*", "/healthz", "/nginx", "/nginx/KEY", "/nginx/KEY/jira", "/nginx/KEY/jira/", "/nginx//jira/main",
		"/nginx/KEY//main", "/nginx/KEY/jira/main/", "/nginx/KEY/jira/main/more", "nginx/KEY/jira/main", "http://h/nginx/K/n",
	} {
		if got, ok := authurl.Parse(path); ok {
			t.Errorf("Parse(%q) = %+v", path, got)
		}
	}
}

// What follows an auth URL is a path, or nothing.
func TestCut(t *testing.T) {
	const address = "/envoy/KEY/jira/main"
	want := authurl.Address{Contract: authurl.Envoy, Key: "KEY", Namespace: "jira", Site: "main"}
	for _, following := range []string{"", "/", "//", "/rest/api", "/%2F/x"} {
		if a, rest, ok := authurl.Cut(address + following); !ok || a != want || rest != following {
			t.Errorf("%q behind it: %+v, %q, %t", following, a, rest, ok)
		}
	}
	for _, path := range []string{"", "/envoy/KEY/jira", "/envoy/KEY/jira/", "/envoy/KEY/jira//rest"} {
		if a, rest, ok := authurl.Cut(path); ok {
			t.Errorf("%q: %+v, %q", path, a, rest)
		}
	}
}

func TestKeys(t *testing.T) {
	now := time.Date(2027, 1, 2, 12, 0, 0, 0, time.FixedZone("", 3600))
	k := authurl.NewKeys("jira", "main", now)
	if !k.Served || k.Made != now.UTC() {
		t.Errorf("made %+v", k)
	}
	if other := authurl.NewKeys("jira", "main", time.Now()); other.Address(authurl.Nginx) == k.Address(authurl.Nginx) {
		t.Error("the same key was made twice")
	}
	b, err := k.Encode()
	if err != nil {
		t.Fatal(err)
	}
	got, err := authurl.DecodeKeys(b)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(k, got); diff != "" {
		t.Error(diff)
	}
	key := k.Keys[authurl.Nginx][0]
	for name, bad := range map[string]string{
		"empty":      "",
		"no key":     strings.Replace(string(b), `"`+key+`"`, "", 1),
		"empty key":  strings.Replace(string(b), key, "", 1),
		"short key":  strings.Replace(string(b), key, key[:25], 1),
		"not a path": strings.Replace(string(b), key, key[:25]+"/", 1),
		"no site":    strings.Replace(string(b), "main", "", 1),
		"no keys":    `{"namespace":"jira","site":"main"}`,
		"null keys":  `{"namespace":"jira","site":"main","keys":null}`,
	} {
		if got, err := authurl.DecodeKeys([]byte(bad)); err == nil {
			t.Errorf("%s: read %+v", name, got)
		} else if strings.Contains(err.Error(), key) || !strings.HasPrefix(err.Error(), "decoding caller keys: ") {
			t.Errorf("%s: the error tells the key, or not what it is about: %v", name, err)
		}
	}
}

// A rolling update or a rollback has readers of two minor versions, which may serve other contracts.
func TestKeysTolerateAdditions(t *testing.T) {
	const first, second = "ABCDEFGHIJKLMNOPQRSTUVWXYZ", "234567ABCDEFGHIJKLMNOPQRSTUVWXYZ"
	all := authurl.NewKeys("jira", "main", time.Now())
	all.Keys[authurl.Nginx], all.Keys["other"] = []string{first, second}, []string{"x"}
	encoded, err := all.Encode()
	if err != nil {
		t.Fatal(err)
	}
	later, err := os.ReadFile("testdata/later.json")
	if err != nil {
		t.Fatal(err)
	}
	for _, b := range [][]byte{encoded, later} {
		k, err := authurl.DecodeKeys(b)
		if err != nil || !slices.Equal(k.Keys[authurl.Nginx], []string{first, second}) || len(k.Keys) != len(authurl.Contracts())+1 {
			t.Errorf("read %+v, %v", k, err)
		}
		added, err := authurl.Edit(b, func(k *authurl.Keys) { k.AddMissing() })
		if err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff(members(t, b), members(t, added)); diff != "" {
			t.Errorf("nothing was missing, and it became: %s", diff)
		}
	}
	for _, b := range []string{
		`{"version":2,"namespace":"jira","site":"main","keys":{"nginx":["` + first + `"]}}`,
		`{"namespace":"jira","site":"main","keys":{"nginx":["` + first + `"],"nginx":["` + second + `"]}}`,
		`{"namespace":"jira","site":"main","keys":{"nginx":"` + first + `"}}`,
	} {
		if k, err := authurl.DecodeKeys([]byte(b)); err == nil || strings.Contains(err.Error(), first) {
			t.Errorf("read %+v, %v", k, err)
		}
	}
}

// A contract that is missing gets a key. Nothing else changes, also not what only a later version knows.
func TestAddMissing(t *testing.T) {
	const stored = `{"namespace":"jira","site":"main","keys":{"other":["A KEY OF ANOTHER FORM"]},"rotated":{"at":"2026-11-26T00:00:00Z"}}`
	k, err := authurl.DecodeKeys([]byte(stored))
	if err != nil || len(k.Keys[authurl.Nginx]) != 0 {
		t.Fatalf("read %+v, %v", k, err)
	}
	added, err := authurl.Edit([]byte(stored), func(k *authurl.Keys) { k.AddMissing() })
	if err != nil {
		t.Fatal(err)
	}
	now, err := authurl.DecodeKeys(added)
	if err != nil || len(now.Address(authurl.Nginx).Key) != 26 {
		t.Fatalf("it became %+v, %v", now, err)
	}
	before, after := members(t, []byte(stored)), members(t, added)
	for _, c := range authurl.Contracts() {
		delete(after["keys"].(map[string]any), string(c))
	}
	if diff := cmp.Diff(before, after); diff != "" {
		t.Error(diff)
	}
	if _, err := authurl.Edit([]byte(`{"namespace":"jira","site":"main","keys":{"nginx":[]}}`), func(k *authurl.Keys) { k.AddMissing() }); err == nil {
		t.Error("added to keys that are damaged")
	}
}

// Members that a change empties go, and what only a later version knows stays. Nothing changes, byte for byte, unless something does.
func TestEdit(t *testing.T) {
	const stored = ` {"later":1, "namespace":"jira","site":"main","keys":{},"served":true,"made":"2026-11-26T00:00:00Z","ends":{"K":"2026-11-27T00:00:00Z"}}`
	same, err := authurl.Edit([]byte(stored), func(*authurl.Keys) {})
	if err != nil || string(same) != stored {
		t.Errorf("nothing changed, and it became %s, %v", same, err)
	}
	emptied, err := authurl.Edit([]byte(stored), func(k *authurl.Keys) { k.Served, k.Made, k.Ends = false, time.Time{}, nil })
	if want := `{"keys":{},"later":1,"namespace":"jira","site":"main"}`; err != nil || string(emptied) != want {
		t.Errorf("it became %s, %v, want %s", emptied, err, want)
	}
	if b, err := authurl.Edit([]byte(stored), func(k *authurl.Keys) { k.Made = time.Date(10_000, 1, 1, 0, 0, 0, 0, time.UTC) }); err == nil {
		t.Errorf("a year that has no form became %s", b)
	}
}

func TestLastEnd(t *testing.T) {
	start := time.Date(2027, 1, 2, 12, 0, 0, 0, time.UTC)
	for range 20 { // the order of a map is random
		k := authurl.Keys{Ends: map[string]time.Time{"A": start.Add(2), "B": start.Add(3), "C": start.Add(1)}}
		if got := k.LastEnd(); got != start.Add(3) {
			t.Fatalf("the last end is %v", got)
		}
	}
	if got := (authurl.Keys{}).LastEnd(); !got.IsZero() {
		t.Errorf("without any, the last end is %v", got)
	}
}

// A rotation makes new current keys once, at its time. Each key before works for 24 hours from its own rotation.
func TestRotate(t *testing.T) {
	start := time.Date(2027, 1, 2, 12, 0, 0, 0, time.FixedZone("", 3600))
	at := func(hours int) time.Time { return start.Add(time.Duration(hours) * time.Hour) }
	k := authurl.NewKeys("jira", "main", start)
	made := []string{k.Keys[authurl.Nginx][0]}
	for _, step := range []struct {
		name      string
		requested time.Time
		now       time.Time
		rotates   bool
		valid     int // how many of the latest keys work
	}{
		{"nothing requested", time.Time{}, at(1), false, 1},
		{"requested before it was made", at(-1), at(1), false, 1},
		{"requested for later", at(3), at(2), false, 1},
		{"its time has come", at(3), at(3), true, 2},
		{"the same request again", at(3), at(4), false, 2},
		{"another one", at(5), at(5), true, 3},
		{"just before the first ends", at(5), at(27).Add(-1), false, 3},
		{"the first has ended", at(5), at(27), false, 2},
		{"the second has ended", at(5), at(29), false, 1},
	} {
		if got := k.Rotate(step.requested, step.now); got != step.rotates {
			t.Errorf("%s: rotated: %t", step.name, got)
		}
		k.DropEnded(step.now)
		if step.rotates {
			made = append([]string{k.Keys[authurl.Nginx][0]}, made...)
		}
		if want := made[:step.valid]; !slices.Equal(k.Keys[authurl.Nginx], want) || len(k.Ends) != (step.valid-1)*len(authurl.Contracts()) {
			t.Errorf("%s: keys %v with ends %v, want %v", step.name, k.Keys, k.Ends, want)
		}
		for c, keys := range k.Keys {
			if len(keys) != step.valid {
				t.Errorf("%s: %d keys of the contract %s work, want %d", step.name, len(keys), c, step.valid)
			}
		}
		if step.rotates && (k.Made != step.now.UTC() || k.LastEnd() != step.now.UTC().Add(24*time.Hour)) {
			t.Errorf("%s: made %v, the last one ends %v", step.name, k.Made, k.LastEnd())
		}
		b, err := k.Encode()
		if err != nil {
			t.Fatal(err)
		}
		if k, err = authurl.DecodeKeys(b); err != nil {
			t.Fatalf("%s: %v", step.name, err)
		}
	}
	for _, end := range []time.Time{start, at(31)} {
		k.Ends = map[string]time.Time{made[0]: end}
		if k.DropEnded(at(30)); len(k.Keys[authurl.Nginx]) != 1 || !k.LastEnd().IsZero() {
			t.Errorf("the current key ends: %+v", k)
		}
	}
	delete(k.Keys, authurl.Nginx)
	k.DropEnded(at(32)) // an earlier version, which did not serve the contract, made the keys
}

func members(t *testing.T, b []byte) (m map[string]any) {
	t.Helper()
	if err := json.Unmarshal(b, &m); err != nil {
		t.Fatal(err)
	}
	return m
}

// Two sites never share a Secret: a namespace contains no dot, a site may.
func TestKeysSecretNamesDiffer(t *testing.T) {
	if a, b := authurl.KeysSecretName("a-b", "c"), authurl.KeysSecretName("a", "b-c"); a == b {
		t.Errorf("%q names the keys of two sites", a)
	}
}

// Existing clusters and the configuration of gateways use these names.
func TestNamesInTheCluster(t *testing.T) {
	k := authurl.Keys{Namespace: "jira", Site: "main", Keys: map[authurl.Contract][]string{"nginx": {"CURRENT", "PREVIOUS"}}}
	stored, err := k.Encode()
	if err != nil {
		t.Fatal(err)
	}
	for got, want := range map[string]string{
		authurl.SecretType: "apitokens.dev/auth-urls", authurl.KeysSecretType: "apitokens.dev/caller-keys",
		authurl.KeysDataKey: "caller-keys.json", k.SecretName(): "caller-keys.jira.main",
		authurl.Header: "X-Api-Token-Caller", authurl.NoKey: "-", authurl.SiteExtension: "site", authurl.KeyExtension: "key",
		k.Address(authurl.Nginx).String(): "/nginx/CURRENT/jira/main",
		string(stored):                    `{"namespace":"jira","site":"main","keys":{"nginx":["CURRENT","PREVIOUS"]}}`,
	} {
		if got != want {
			t.Errorf("%s has become %s", want, got)
		}
	}
}

// A key has 26 to 64 digits of base32. One bad key makes all of them invalid.
func TestFormOfKeys(t *testing.T) {
	const good = "ABCDEFGHIJKLMNOPQRSTUVWXYZ"
	decode := func(namespace, site string, keys ...string) error {
		b, err := authurl.Keys{Namespace: namespace, Site: site, Keys: map[authurl.Contract][]string{authurl.Nginx: keys}}.Encode()
		if err != nil {
			t.Fatal(err)
		}
		got, err := authurl.DecodeKeys(b)
		if err != nil && (got.Namespace != "" || got.Keys != nil) {
			t.Errorf("half read %+v", got)
		}
		return err
	}
	for _, keys := range [][]string{{good}, {good, "234567" + good}, {strings.Repeat("A", 64)}} {
		if err := decode("jira", "main", keys...); err != nil {
			t.Errorf("%q: %v", keys, err)
		}
	}
	for _, key := range []string{"", good[1:], strings.Repeat("A", 65)} {
		if decode("jira", "main", key) == nil || decode("jira", "main", good, key) == nil {
			t.Errorf("read the key %q", key)
		}
	}
	for c := range byte(128) {
		digit, want := string([]byte{c}), strings.IndexByte(good+"234567", c) >= 0
		for _, key := range []string{digit + good, good[:13] + digit + good[13:], good + digit} {
			if err := decode("jira", "main", key); (err == nil) != want {
				t.Errorf("the key %q: %v", key, err)
			}
		}
	}
	if decode("", "main", good) == nil || decode("jira", "", good) == nil {
		t.Error("read keys of no site")
	}
	if _, err := authurl.DecodeKeys([]byte("{")); !errors.Is(err, storedjson.ErrForeign) {
		t.Errorf("half a Secret: %v", err)
	}
}
