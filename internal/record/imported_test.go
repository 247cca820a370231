package record_test

import (
	"bytes"
	"crypto/fips140"
	"crypto/rand"
	"errors"
	"os"
	"os/exec"
	"strings"
	"testing"
	"testing/iotest"

	"apitokens.dev/operator/internal/record"
)

const (
	strong   = "Zm9vYmFyYmF6cXV4MDEyMzQ1Njc4OUFCQ0RFRkdISUpLTE1OT1BRUlNUVVZXWFla"
	weak     = "a-weak-one-hashed-slow"
	weakHash = "$argon2id$v=19$m=19456,t=2,p=1$MDEyMzQ1Njc4OWFiY2RlZg$IE9ffwkxOLgteKK0H7s8i+RtFwgh68urDzGEofyBCP0"
	// strongHash is of strong, under the same salt.
	strongHash = "$sha256$v=1$MDEyMzQ1Njc4OWFiY2RlZg$xBnfOkd1B1ngVupPsEE24T2CNOPvKoyp1vz34AYsAk8"
)

// The limits of a user, as the documentation states them.
func TestImportedLimits(t *testing.T) {
	if record.MaxImported != 20 || record.MaxSlow != 5 {
		t.Errorf("a user may have %d imported tokens, %d of them weak, want 20 and 5", record.MaxImported, record.MaxSlow)
	}
}

// CheckImported says which secrets can be imported, and which need a slow hash.
func TestCheckImported(t *testing.T) {
	hex := strings.Repeat("0123456789abcdef", 2)
	for name, tc := range map[string]struct {
		secret string
		slow   bool
		why    string
	}{
		"19 bytes":                            {"q8Vn2LxR0bT7wKc5ZyH", true, "it has 19 bytes, want at least 20"},
		"19 bytes that are read":              {"sk-abcdefghijklmno\n", true, "it has 19 bytes"},
		"257 bytes, and a space":              {strings.Repeat(strong, 4) + " ", false, "it has 257 bytes"},
		"257 bytes of one letter":             {strings.Repeat("x", 257), true, "it has 257 bytes"},
		"a weak one and a line break":         {weak + "\n", true, "line break"},
		"like ours, with a control character": {"asp_" + strong + "\x00" + strong, false, "U+0000, a control character"},
		"20 bytes":                            {"q8Vn2LxR0bT7wKc5ZyHd", true, ""},
		"256 bytes":                           {strings.Repeat(strong, 4), false, ""},
		"257 bytes":                           {strings.Repeat(strong, 4) + "x", false, "it has 257 bytes, want at most 256"},
		"a line break":                        {strong + "\n", false, "line break"},
		"a space in front":                    {" " + strong, false, "white space around it (U+0020)"},
		"a no-break space inside":             {strong + "\u00a0" + strong, false, ""},
		"a soft hyphen":                       {strong + "\u00ad" + strong, false, "U+00AD, an invisible format character"},
		"a joiner":                            {strong + "\u200d" + strong, false, "U+200D, an invisible format character"},
		"an override of the direction":        {strong + "\u202e" + strong, false, "U+202E, an invisible format character"},
		"a tag":                               {strong + "\U000e0041", false, "U+E0041, an invisible format character"},
		"a filler":                            {strong + "\u3164", false, "U+3164, an invisible character"},
		"a joiner of graphemes":               {strong + "\u034f" + strong, false, "U+034F, an invisible character"},
		"a variation selector":                {strong + "\ufe0f" + strong, false, "U+FE0F, an invisible character"},
		"a combining accent":                  {strong + "e\u0301" + strong, false, ""},
		"a line separator":                    {strong + "\u2028" + strong, false, "U+2028, a line separator"},
		"a paragraph separator":               {strong + "\u2029" + strong, false, "U+2029, a line separator"},
		"a next line":                         {strong + "\u0085" + strong, false, "U+0085, a control character"},
		"a delete":                            {strong + "\x7f" + strong, false, "U+007F, a control character"},
		"a private character":                 {strong + "\ue000" + strong, false, "U+E000, a character for private use"},
		"an unassigned character":             {strong + "\u0378" + strong, false, "U+0378, an unassigned character"},
		"a noncharacter":                      {strong + "\uffff" + strong, false, "U+FFFF, an unassigned character"},
		"a space inside":                      {strong + " " + strong, false, ""},
		"a control character":                 {strong + "\x00" + strong, false, "U+0000, a control character"},
		"like one of ours":                    {"asp_" + strong, false, "begins with asp_, as generated tokens do"},
		"ours inside":                         {strong + "asp_", false, ""},
		"one letter":                          {strings.Repeat("x", 100), true, ""},
		"111 of no kind":                      {strings.Repeat("!#$%&'()", 14)[:111], true, ""},
		"112 of no kind":                      {strings.Repeat("!#$%&'()", 14), false, ""},
		"words":                               {"correct horse battery staple", true, ""},
		"letters beyond ASCII":                {strings.Repeat("ü€", 20), true, ""},
		"every byte":                          {strong + "\xff", false, ""},
		"33 digits":                           {strings.Repeat("0123456789", 4)[:33], true, ""},
		"34 digits":                           {strings.Repeat("0123456789", 4)[:34], false, ""},
		"28 hexadecimal digits":               {hex[:28], true, ""},
		"29 hexadecimal digits":               {hex[:29], false, ""},
	} {
		slow, err := record.CheckImported(tc.secret)
		if slow != tc.slow || (err == nil) != (tc.why == "") {
			t.Errorf("%s: slow is %t (%v), want %t (%s)", name, slow, err, tc.slow, tc.why)
		}
		if err != nil && (!errors.Is(err, record.ErrWeak) || !strings.Contains(err.Error(), tc.why)) {
			t.Errorf("%s: %v, want %s", name, err, tc.why)
		}
		if _, again := record.NewImportedHash(tc.secret, bytes.NewReader(nil)); again == nil || err != nil && again.Error() != err.Error() {
			t.Errorf("%s: hashed without a salt: %v, want %v", name, again, err)
		}
	}
}

// TestSpellings imports one secret as ten tools write it into a Secret.
func TestSpellings(t *testing.T) {
	const secret = "Zk3vQ9wLx7Rt2Yp8Nb4Mc6Hd1Jf5Gs0A"
	var utf16 strings.Builder
	for _, c := range []byte(secret) {
		utf16.Write([]byte{c, 0})
	}
	for name, tc := range map[string]struct{ text, why string }{
		"as it is":                    {secret, ""},
		"in quotation marks":          {`"` + secret + `"`, ""},
		"in JSON":                     {`{"token":"` + secret + `"}`, ""},
		"with a colon":                {secret + ":x", ""},
		"with CR LF":                  {secret + "\r\n", "white space around it (U+000A), perhaps a line break"},
		"in base64 with a line break": {"WmszdlE5d0x4N1J0MllwOE5iNE1jNkhkMUpmNUdzMEE=\n", "white space around it (U+000A)"},
		"with a no-break space":       {secret + "\u00a0", "white space around it (U+00A0)"},
		"with a byte order mark":      {"\ufeff" + secret, "U+FEFF, a byte order mark"},
		"with a zero-width space":     {secret + "\u200b", "U+200B, an invisible format character"},
		"with a NUL":                  {secret + "\x00", "U+0000, a control character"},
		"in UTF-16":                   {"\xff\xfe" + utf16.String(), "U+0000, a control character"},
	} {
		_, err := record.CheckImported(tc.text)
		if (err == nil) != (tc.why == "") || err != nil && !strings.Contains(err.Error(), tc.why) {
			t.Errorf("%s: %v, want %q", name, err, tc.why)
		}
		if err != nil && strings.Contains(err.Error(), secret[:4]) {
			t.Errorf("%s: the secret is in the error: %v", name, err)
		}
	}
}

// Both kinds of hashes have a stored form each, which verifies for as long as there are records of it.
func TestImportedHashes(t *testing.T) {
	for secret, want := range map[string]string{strong: strongHash, weak: weakHash} {
		h, err := record.NewImportedHash(secret, strings.NewReader("0123456789abcdef"))
		if err != nil || h.String() != want {
			t.Errorf("%s has become %s (%v)", want, h, err)
		}
		again, err := record.ParseHash(want)
		if err != nil || again != h || !again.Verify([]byte(secret)) || again.Verify([]byte(secret+"x")) {
			t.Errorf("%s is read as %+v (%v)", want, again, err)
		}
		if again.Slow() != (secret == weak) {
			t.Errorf("%s: slow is %t", want, again.Slow())
		}
	}
}

// The longest secret verifies, and no part of a longer one does.
func TestLengthOfWhatIsVerified(t *testing.T) {
	longest := strings.Repeat(strong, 4)
	h, err := record.NewImportedHash(longest, rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	if !h.Verify([]byte(longest)) || h.Verify([]byte(longest+"x")) || h.Verify([]byte(longest[:255])) {
		t.Error("256 bytes do not verify, or others do")
	}
}

func TestNewImportedHashNeedsRandomness(t *testing.T) {
	broken := errors.New("no entropy")
	if h, err := record.NewImportedHash(strong, iotest.ErrReader(broken)); !errors.Is(err, broken) {
		t.Errorf("hashed without a salt: %v, %v", h, err)
	}
}

// A record of an imported secret has one, and nothing that it was delivered to; only such a one has a slow hash.
func TestRecordOfAnImportedSecret(t *testing.T) {
	id, text := newToken(t)
	hash, err := record.ParseHash(weakHash)
	if err != nil {
		t.Fatal(err)
	}
	imported := func(change func(*record.Record)) *record.Record {
		r := sample(t, id, text)
		r.Imported, r.DeliverySecret, r.Entries[0].Hash = true, "", hash
		if change != nil {
			change(r)
		}
		return r
	}
	got := decodeEncoded(t, imported(nil))
	if !got.Imported || got.DeliverySecret != "" || got.Entries[0].Hash != hash {
		t.Errorf("read %+v", got)
	}
	for name, change := range map[string]func(*record.Record){
		"delivered":          func(r *record.Record) { r.DeliverySecret = "x" },
		"two of them":        func(r *record.Record) { r.Entries = append(r.Entries, r.Entries[0]) },
		"none of them":       func(r *record.Record) { r.Entries = nil },
		"generated":          func(r *record.Record) { r.Imported = false },
		"neither of the two": func(r *record.Record) { r.Imported, r.Entries = false, sample(t, id, text).Entries },
	} {
		if b, err := imported(change).Encode(); err == nil {
			t.Errorf("%s: written: %s", name, b)
		}
	}
	slow := imported(nil)
	slow.Imported, slow.DeliverySecret = false, "x"
	b, err := slow.Encode()
	if err != nil {
		t.Fatal(err)
	}
	if r, err := record.Decode(b); !errors.Is(err, record.ErrHash) {
		t.Errorf("a generated token with a slow hash: %+v, %v", r, err)
	}
}

// Signs do not count for the alphabet, so one letter or digit among signs decides its size: with so many signs the text is
// strong enough, and with one less it is not.
func TestAlphabetOfOneLetterAmongSigns(t *testing.T) {
	const signs = "!#$%&'()*+,-./:;<=>?@[]^_`{|}~!#$%&'()*+,-./:;<=>?@[]^_`{|}~"
	for enough, letters := range map[int]string{
		33: "0123456789", 43: "abcdefABCDEF", 25: "ghijklmnopqrstuvwxyzGHIJKLMNOPQRSTUVWXYZ",
	} {
		for _, letter := range letters {
			for n, want := range map[int]bool{enough: false, enough - 1: true} {
				if slow, err := record.CheckImported(signs[:n] + string(letter)); err != nil || slow != want {
					t.Errorf("%c and %d signs: slow is %t (%v)", letter, n, slow, err)
				}
			}
		}
	}
	for n, want := range map[int]bool{30: false, 29: true} {
		if slow, err := record.CheckImported(signs[:n] + "aA"); err != nil || slow != want {
			t.Errorf("two kinds and %d signs: slow is %t (%v)", n, slow, err)
		}
	}
}

// In FIPS mode, in which this test starts itself again, Argon2id is not allowed, so weak secrets are refused.
func TestWeakSecretsInFIPSMode(t *testing.T) {
	if !fips140.Enabled() {
		again := exec.CommandContext(t.Context(), os.Args[0], "-test.run=^TestWeakSecretsInFIPSMode$")
		again.Env = append(os.Environ(), "GODEBUG=fips140=on")
		if output, err := again.CombinedOutput(); err != nil {
			t.Errorf("%v\n%s", err, output)
		}
		return
	}
	if slow, err := record.CheckImported(weak); !slow || !errors.Is(err, record.ErrWeak) || !strings.Contains(err.Error(), "FIPS") {
		t.Errorf("a weak one: slow is %t (%v)", slow, err)
	}
	if _, err := record.CheckImported("asp_" + weak); err == nil || strings.Contains(err.Error(), "FIPS") {
		t.Errorf("like one of ours: %v", err)
	}
	if slow, err := record.CheckImported(strong); slow || err != nil {
		t.Errorf("a strong one: slow is %t (%v)", slow, err)
	}
}
