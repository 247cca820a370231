package record_test

import (
	"bytes"
	"crypto/rand"
	"errors"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"apitokens.dev/operator/hack/lib/formtest"
	"apitokens.dev/operator/internal/record"
	"apitokens.dev/operator/internal/token"
)

func newToken(t testing.TB) (id, text string) {
	t.Helper()
	id, err := token.NewID(rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	if text, err = token.New(id, rand.Reader); err != nil {
		t.Fatal(err)
	}
	return id, text
}

func newHash(t testing.TB, text string) record.Hash {
	t.Helper()
	h, err := record.NewHash(text, rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	return h
}

func sample(t testing.TB, id string, texts ...string) *record.Record {
	t.Helper()
	r := &record.Record{
		TokenID: id, User: "alice",
		Site:           record.Ref{Namespace: "jira", Name: "main"},
		APIToken:       record.Ref{Namespace: "jira", Name: "alice-ci"},
		DeliverySecret: "alice-ci-token",
	}
	for i, text := range texts {
		issued := time.Date(2026, 11, 23, 10, 0, i, 123456789, time.UTC)
		r.Entries = append(r.Entries, record.Entry{Hash: newHash(t, text), State: record.Delivered, Issued: issued})
	}
	return r
}

func TestHashVerifiesItsTokenAndNothingElse(t *testing.T) {
	id, text := newToken(t)
	_, other := newToken(t)
	sameID, err := token.New(id, rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	h := newHash(t, text)
	if !h.Verify([]byte(text)) {
		t.Error("the hashed token was refused")
	}
	for _, wrong := range []string{"", text[:len(text)-1], text + "x", other, sameID, strings.ToLower(text), strings.Repeat("x", 1000)} {
		if h.Verify([]byte(wrong)) {
			t.Errorf("%q verified", wrong)
		}
	}
	if again := newHash(t, text); again.String() == h.String() {
		t.Error("two hashes of one token are equal: the salt is not random")
	}
	if strings.Contains(h.String(), text[len(id):]) {
		t.Error("the stored form contains the secret")
	}
	if n := testing.AllocsPerRun(100, func() { h.Verify([]byte(text)) }); n != 0 {
		t.Errorf("Verify allocates %v times", n)
	}
}

func TestNewHashRefusesWhatIsNoToken(t *testing.T) {
	if _, err := record.NewHash("correct horse battery staple", rand.Reader); err == nil {
		t.Error("a text of unknown strength was hashed with a fast hash")
	}
}

func TestParseHash(t *testing.T) {
	_, text := newToken(t)
	h := newHash(t, text)
	good := h.String()
	parsed, err := record.ParseHash(good)
	if err != nil || parsed != h {
		t.Fatalf("ParseHash(%q) = %v, %v", good, parsed, err)
	}
	salt := good[len("$sha256$v=1$"):strings.LastIndexByte(good, '$')]
	for name, bad := range map[string]string{
		"empty":            "",
		"unknown version":  strings.Replace(good, "v=1", "v=2", 1),
		"unknown scheme":   strings.Replace(good, "sha256", "sha512", 1),
		"no hash":          good[:strings.LastIndexByte(good, '$')],
		"empty hash":       good[:strings.LastIndexByte(good, '$')+1],
		"short hash":       good[:len(good)-1],
		"long hash":        good + "A",
		"padding":          good + "=",
		"line break":       good + "\n",
		"another spelling": good[:len(good)-1] + "_",
		"empty salt":       strings.Replace(good, salt, "", 1),
		"short salt":       strings.Replace(good, salt, salt[:8], 1),
	} {
		if _, err := record.ParseHash(bad); !errors.Is(err, record.ErrHash) {
			t.Errorf("%s: %q: %v", name, bad, err)
		}
	}
}

func TestVerifyFindsTheEntry(t *testing.T) {
	id, first := newToken(t)
	second, err := token.New(id, rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	r := sample(t, id, first, second)
	if got := r.Verify([]byte(first)); got != 0 {
		t.Errorf("first secret: entry %d", got)
	}
	if got := r.Verify([]byte(second)); got != 1 {
		t.Errorf("second secret: entry %d", got)
	}
	if got := r.Verify([]byte(first + " ")); got != -1 {
		t.Errorf("no secret of it: entry %d", got)
	}
}

func TestDecodeReadsWhatEncodeWrote(t *testing.T) {
	id, text := newToken(t)
	r := sample(t, id, text)
	r.UserKey, r.Ancestors = "JIRAUSER10100", []string{"5f2c", "07aa"}
	b, err := r.Encode()
	if err != nil {
		t.Fatal(err)
	}
	if bytes.Contains(b, []byte(text[token.IDLength:])) {
		t.Error("the stored form contains the secret")
	}
	got, err := record.Decode(b)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(r, got, cmpopts.EquateComparable(record.Hash{})); diff != "" {
		t.Error(diff)
	}
}

// The golden records were written once by version 1. Their token must verify for as long as version 1 is read. v1-later.json has
// members as a later minor version may add them.
func TestDecodeGolden(t *testing.T) {
	for file, portal := range map[string]bool{
		"testdata/v1.json": false, "testdata/v1-portal.json": true, "testdata/v1-later.json": false, "testdata/v1-dead.json": false,
	} {
		b, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		r, err := record.Decode(b)
		if err != nil {
			t.Fatal(err)
		}
		const text = "asp_DquJoZLwlsNJm6gU_0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcd0HhnJ2"
		if r.TokenID != text[:token.IDLength] || r.User != "alice" || r.Verify([]byte(text)) != 0 || r.Portal != portal {
			t.Errorf("%s: read %+v", file, r)
		}
		if dead := strings.HasSuffix(file, "-dead.json"); dead != (len(r.DeadEntries) == 1) || dead == r.Dead.IsZero() {
			t.Errorf("%s: dead at %v, with the dead secrets %+v", file, r.Dead, r.DeadEntries)
		}
	}
}

// A rolling update or a rollback has readers of two minor versions.
func TestRecordToleratesAdditions(t *testing.T) {
	id, text := newToken(t)
	r := sample(t, id, text, text)
	r.Entries[0].State, r.Entries[0].Ends = record.Ending, r.Entries[0].Issued.Add(time.Hour)
	encoded, err := r.Encode()
	if err != nil {
		t.Fatal(err)
	}
	formtest.Check(t, encoded, record.Decode)
	r.UserKey = "JIRAUSER10100"
	r.Keep(r.Entries[1:], r.Entries[1].Issued.Add(2*time.Hour))
	r.Kill(r.Entries[0].Issued.Add(3 * time.Hour))
	if encoded, err = r.Encode(); err != nil {
		t.Fatal(err)
	}
	formtest.Check(t, encoded, record.Decode)
	r.DeliverySecret, r.Portal = "", true
	if encoded, err = r.Encode(); err != nil {
		t.Fatal(err)
	}
	formtest.Check(t, encoded, record.Decode)
}

// A token has one way to its owner.
func TestRecordHasOneWay(t *testing.T) {
	id, text := newToken(t)
	for name, tc := range map[string]struct {
		secret           string
		imported, portal bool
		ok               bool
	}{
		"delivered": {"x", false, false, true}, "imported": {"", true, false, true}, "of the portal": {"", false, true, true},
		"none": {"", false, false, false}, "delivered and of the portal": {"x", false, true, false},
		"imported and of the portal": {"", true, true, false}, "all": {"x", true, true, false},
	} {
		r := sample(t, id, text)
		r.DeliverySecret, r.Imported, r.Portal, r.Entries = tc.secret, tc.imported, tc.portal, r.Entries[:1]
		if _, err := r.Encode(); (err == nil) != tc.ok {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func TestDecodeRefusesDamage(t *testing.T) {
	id, text := newToken(t)
	good, err := sample(t, id, text).Encode()
	if err != nil {
		t.Fatal(err)
	}
	before, _, _ := strings.Cut(string(good), `"entries"`)
	replace := func(old, with string) string {
		if !bytes.Contains(good, []byte(old)) {
			t.Fatalf("the record has no %s", old)
		}
		return strings.Replace(string(good), old, with, 1)
	}
	for name, bad := range map[string]string{
		"nothing":            "",
		"no JSON":            "record",
		"truncated":          string(good[:len(good)/2]),
		"unknown version":    replace(`"version":1`, `"version":2`),
		"no version":         replace(`"version":1,`, ``),
		"repeated field":     replace(`"user":"alice"`, `"user":"alice","user":"bob"`),
		"other case":         replace(`"user"`, `"User"`),
		"trailing bytes":     string(good) + "x",
		"no user":            replace(`"user":"alice"`, `"user":""`),
		"unfolded user":      replace(`"user":"alice"`, `"user":"Alice"`),
		"wrong id":           replace(id, "asp_short"),
		"unknown state":      replace(`"Delivered"`, `"Eternal"`),
		"no site":            replace(`"site":{"namespace":"jira","name":"main"}`, `"site":{"namespace":"jira","name":""}`),
		"unknown hash":       replace("$sha256$v=1$", "$sha256$v=9$"),
		"no entries":         before + `"entries":[]}`,
		"time without zone":  replace(`123456789Z`, `123456789`),
		"time in other zone": replace(`10:00:00.123456789Z`, `12:00:00.123456789+02:00`),
	} {
		r, err := record.Decode([]byte(bad))
		if err == nil {
			t.Errorf("%s: decoded to %+v", name, r)
			continue
		}
		if strings.Contains(err.Error(), "$sha256$v=1$") && strings.Contains(err.Error(), text[:8]) {
			t.Errorf("%s: the error contains stored bytes: %v", name, err)
		}
		if name == "unknown hash" && !strings.Contains(err.Error(), ": entry 0: ") {
			t.Errorf("%s: the error does not say where: %v", name, err)
		}
	}
}

// A new secret verifies against its entry. Without randomness there is none.
func TestMint(t *testing.T) {
	id, _ := newToken(t)
	now := time.Date(2026, 11, 23, 12, 0, 0, 5, time.FixedZone("", 7200))
	text, e, err := record.Mint(id, record.Candidate, now, rand.Reader)
	if err != nil || !strings.HasPrefix(text, id+"_") || !e.Hash.Verify([]byte(text)) {
		t.Fatalf("made %q, %v, for %s", text, err, id)
	}
	if e.State != record.Candidate || e.Issued != now.UTC() || !e.Ends.IsZero() {
		t.Errorf("the entry is %+v", e)
	}
	for size := range 1000 {
		text, e, err := record.Mint(id, record.Candidate, now, bytes.NewReader(make([]byte, size)))
		if err == nil {
			if size == 0 || !e.Hash.Verify([]byte(text)) {
				t.Errorf("%d random bytes were enough", size)
			}
			return
		}
		if text != "" || e != (record.Entry{}) || size == 0 && !strings.HasPrefix(err.Error(), "making a token: ") {
			t.Fatalf("with %d random bytes: %q, %+v", size, text, e)
		}
	}
	t.Error("a thousand random bytes were not enough")
}

// A replaced secret keeps its own end if that is earlier.
func TestEndingBy(t *testing.T) {
	noon := time.Date(2026, 11, 23, 12, 0, 0, 0, time.UTC)
	for _, tc := range []struct {
		state            record.State
		ends, end, wants time.Time
	}{
		{record.Delivered, time.Time{}, noon, noon},
		{record.Candidate, time.Time{}, noon, noon},
		{record.Ending, noon, noon.Add(1), noon},
		{record.Ending, noon, noon.Add(-1), noon.Add(-1)},
	} {
		if got := (record.Entry{State: tc.state, Ends: tc.ends}).EndingBy(tc.end); got.State != record.Ending || got.Ends != tc.wants {
			t.Errorf("%s until %v, to end by %v: %+v", tc.state, tc.ends, tc.end, got)
		}
	}
}

func TestEncodeRefusesTooManyEntries(t *testing.T) {
	id, text := newToken(t)
	r := sample(t, id, text, text, text, text, text)
	if _, err := r.Encode(); err == nil {
		t.Error("a record of five entries was encoded")
	}
}
