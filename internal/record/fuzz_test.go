package record_test

import (
	"bytes"
	"errors"
	"os"
	"regexp"
	"strings"
	"testing"
	"time"
	"unicode/utf8"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"apitokens.dev/operator/internal/record"
)

const goldenHash = "$sha256$v=1$AAECAwQFBgcICQoLDA0ODw$AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8"

// secretText matches a salt or a hash, whole or in part.
var secretText = regexp.MustCompile(`[A-Za-z0-9+/]{16,}`)

// FuzzDecode: a decoded record is encoded to the same record, and an error contains none of the stored bytes.
func FuzzDecode(f *testing.F) {
	golden, err := os.ReadFile("testdata/v1.json")
	if err != nil {
		f.Fatal(err)
	}
	f.Add(golden)
	id, text := newToken(f)
	four, err := sample(f, id, text, text, text, text).Encode()
	if err != nil {
		f.Fatal(err)
	}
	f.Add(four)
	f.Add(bytes.Replace(golden, []byte(`"alice"`), []byte(`"a\u003cb"`), 1))
	f.Add(bytes.Replace(golden, []byte(`"version":1`), []byte(`"version":1e0`), 1))
	f.Add(bytes.Replace(golden, []byte(`"user"`), []byte(`"user":"bob","user"`), 1))
	f.Fuzz(func(t *testing.T, b []byte) {
		r, err := record.Decode(b)
		if err != nil {
			for _, s := range secretText.FindAll(b, -1) {
				if strings.Contains(err.Error(), string(s)) {
					t.Errorf("the error contains stored bytes: %v", err)
				}
			}
			return
		}
		again, err := r.Encode()
		if err != nil {
			t.Fatalf("decoded, but does not encode: %v", err)
		}
		if same, err := record.Decode(again); err != nil || !cmp.Equal(same, r, cmp.AllowUnexported(record.Hash{})) {
			t.Errorf("encoded, it decodes to something else (%v)", err)
		}
		if n := len(r.Entries); n < 1 || n > record.MaxEntries {
			t.Errorf("%d entries", n)
		}
	})
}

// FuzzEncode: an encoded record is read back the same.
func FuzzEncode(f *testing.F) {
	f.Add("alice", "jira", "main", "ci", int64(1_700_000_000), int64(1), uint8(1))
	f.Add("<&>\u2028\U0001F600", "a/b", "\"", "\\", int64(-62135596800), int64(0), uint8(2))
	f.Add("alice", "jira", "main", "ci", int64(253402300800), int64(0), uint8(4))
	id, text := newToken(f)
	hash := newHash(f, text)
	f.Fuzz(func(t *testing.T, user, namespace, site, name string, seconds, nanoseconds int64, entries uint8) {
		for _, s := range []string{user, namespace, site, name} {
			if !utf8.ValidString(s) {
				t.Skip("the API server has no such names")
			}
		}
		want := &record.Record{
			TokenID: id, User: user, DeliverySecret: name,
			Site: record.Ref{Namespace: namespace, Name: site}, APIToken: record.Ref{Namespace: namespace, Name: name},
		}
		for i := range entries {
			state := record.Candidate
			if i%2 == 1 {
				state = record.Delivered
			}
			want.Entries = append(want.Entries, record.Entry{Hash: hash, State: state, Issued: time.Unix(seconds, nanoseconds).UTC()})
		}
		b, err := want.Encode()
		if err != nil {
			return
		}
		got, err := record.Decode(b)
		if err != nil {
			t.Fatalf("Decode(%s): %v", b, err)
		}
		if diff := cmp.Diff(want, got, cmpopts.EquateComparable(record.Hash{})); diff != "" {
			t.Error(diff)
		}
		if got.Verify([]byte(text)) != len(got.Entries)-1 {
			t.Error("the token does not verify")
		}
	})
}

// FuzzParseHash: a hash has exactly one encoding.
func FuzzParseHash(f *testing.F) {
	f.Add(goldenHash)
	f.Add(goldenHash + "=")
	f.Add(goldenHash[:len(goldenHash)-1] + "9") // the same bytes, but for bits that are left over
	f.Add(strings.Replace(goldenHash, "DQ", "DQ\n", 1))
	f.Add("$sha256$v=1$$")
	want := regexp.MustCompile(`^\$sha256\$v=1\$[A-Za-z0-9+/]{21}[AQgw]\$[A-Za-z0-9+/]{42}[AEIMQUYcgkosw048]\z`)
	f.Fuzz(func(t *testing.T, s string) {
		h, err := record.ParseHash(s)
		if (err == nil) != want.MatchString(s) {
			t.Fatalf("ParseHash(%q): %v", s, err)
		}
		if err == nil && h.String() != s {
			t.Errorf("%q is also spelled %q", s, h.String())
		}
		if err != nil && !errors.Is(err, record.ErrHash) {
			t.Errorf("the error is %v", err)
		}
	})
}
