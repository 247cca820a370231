package license_test

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rand"
	"encoding/base64"
	"errors"
	"fmt"
	"reflect"
	"strings"
	"testing"
	"time"
	"unicode/utf8"

	"github.com/go-jose/go-jose/v4"

	"apitokens.dev/operator/internal/license"
)

var (
	end  = time.Date(2027, 1, 1, 0, 0, 0, 0, time.UTC)
	both = license.License{Licensee: "Example Inc.", Products: []string{"Jira", "Confluence"}, Expires: end}

	public, private           = newKey('a')
	otherPublic, otherPrivate = newKey('b')
)

// newKey returns the same keys each time.
func newKey(seed byte) (ed25519.PublicKey, ed25519.PrivateKey) {
	key := ed25519.NewKeyFromSeed([]byte(strings.Repeat(string(seed), ed25519.SeedSize)))
	return key.Public().(ed25519.PublicKey), key
}

func signed(t *testing.T, l license.License, key ed25519.PrivateKey) string {
	t.Helper()
	text, err := l.Sign(key)
	if err != nil {
		t.Fatal(err)
	}
	return text
}

// jws signs a payload with an algorithm and a key.
func jws(t *testing.T, algorithm jose.SignatureAlgorithm, key any, payload string, options *jose.SignerOptions) string {
	t.Helper()
	signer, err := jose.NewSigner(jose.SigningKey{Algorithm: algorithm, Key: key}, options)
	if err != nil {
		t.Fatal(err)
	}
	object, err := signer.Sign([]byte(payload))
	if err != nil {
		t.Fatal(err)
	}
	text, err := object.CompactSerialize()
	if err != nil {
		t.Fatal(err)
	}
	return text
}

func encode(text string) string { return base64.RawURLEncoding.EncodeToString([]byte(text)) }

const payload = `{"licensee":"Example Inc.","products":["Jira"],"exp":1798761600}`

func TestVerify(t *testing.T) {
	v := license.NewVerifier(public)
	good := signed(t, both, private)
	for name, text := range map[string]string{
		"as it was issued": good, "a line break behind it": good + "\n", "white space around it": " \r\n" + good + "\t\n",
		"as long as one may be": good + strings.Repeat(" ", 8<<10-len(good)),
		// Another library may order the members in its own way.
		"in another order": jws(t, jose.EdDSA, private, "{\"exp\": 1798761600,\n \"products\": [\"Jira\",\"Confluence\"], \"licensee\": \"Example Inc.\"}\n", nil),
		"with a type":      jws(t, jose.EdDSA, private, `{"licensee":"Example Inc.","products":["Jira","Confluence"],"exp":1798761600}`, (&jose.SignerOptions{}).WithType("JWT")),
	} {
		if got, err := v.Verify(text); err != nil || !reflect.DeepEqual(got, both) {
			t.Errorf("%s: read %+v, %v", name, got, err)
		}
	}
}

func TestVerifyRefuses(t *testing.T) {
	v := license.NewVerifier(public)
	good := signed(t, both, private)
	header, rest, _ := strings.Cut(good, ".")
	body, signature, _ := strings.Cut(rest, ".")
	curve, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	embedded := &jose.SignerOptions{EmbedJWK: true}
	for name, tc := range map[string]struct {
		text string
		want error
	}{
		"nothing":          {"", license.ErrMissing},
		"white space":      {" \n\t", license.ErrMissing},
		"words":            {"not a licence", license.ErrMalformed},
		"one part":         {header, license.ErrMalformed},
		"two parts":        {header + "." + body, license.ErrMalformed},
		"four parts":       {good + "." + signature, license.ErrMalformed},
		"two of them":      {good + "\n" + good, license.ErrMalformed},
		"something behind": {good + " x", license.ErrMalformed},
		"broken lines":     {good[:40] + "\n" + good[40:], license.ErrMalformed},
		"padding":          {good + "==", license.ErrMalformed},
		"as JSON":          {`{"protected":"` + header + `","payload":"` + body + `","signature":"` + signature + `"}`, license.ErrMalformed},
		"longer than any":  {strings.Repeat("A", 8<<10+1), license.ErrMalformed},
		"much longer":      {strings.Repeat(" ", 1<<20) + good, license.ErrMalformed},
		"a header that is not JSON": {
			encode("{") + "." + body + "." + signature, license.ErrMalformed,
		},

		"alg none":                 {encode(`{"alg":"none"}`) + "." + body + ".", license.ErrMalformed},
		"alg none, signed":         {encode(`{"alg":"none"}`) + "." + body + "." + signature, license.ErrMalformed},
		"no alg":                   {encode(`{}`) + "." + body + "." + signature, license.ErrMalformed},
		"alg in other letters":     {encode(`{"alg":"eddsa"}`) + "." + body + "." + signature, license.ErrMalformed},
		"HS256 by the public key":  {jws(t, jose.HS256, []byte(public), payload, nil), license.ErrMalformed},
		"HS256 said to be EdDSA":   {header + "." + strings.SplitN(jws(t, jose.HS256, []byte(public), payload, nil), ".", 2)[1], license.ErrSignature},
		"ES256":                    {jws(t, jose.ES256, curve, payload, nil), license.ErrMalformed},
		"ES256 said to be EdDSA":   {header + "." + strings.SplitN(jws(t, jose.ES256, curve, payload, nil), ".", 2)[1], license.ErrSignature},
		"an extension we lack":     {encode(`{"alg":"EdDSA","crit":["exp"],"exp":1}`) + "." + body + "." + signature, license.ErrMalformed},
		"another's":                {signed(t, both, otherPrivate), license.ErrSignature},
		"another's, key enclosed":  {jws(t, jose.EdDSA, otherPrivate, payload, embedded), license.ErrSignature},
		"not signed":               {header + "." + body + ".", license.ErrSignature},
		"half signed":              {good[:len(good)-10], license.ErrSignature},
		"another's signature":      {header + "." + body + "." + strings.SplitN(signed(t, both, otherPrivate), ".", 3)[2], license.ErrSignature},
		"another end":              {header + "." + encode(strings.Replace(payload, "17", "27", 1)) + "." + signature, license.ErrSignature},
		"another header":           {encode(`{"alg":"EdDSA","a":1}`) + "." + body + "." + signature, license.ErrSignature},
		"signed with another hash": {header + "." + body + "." + encode(string(prehashed(t, header+"."+body))), license.ErrSignature},
	} {
		t.Run(name, func(t *testing.T) {
			if got, err := v.Verify(tc.text); !errors.Is(err, tc.want) || got.Licensee != "" || got.Products != nil {
				t.Errorf("read %+v, %v, want %v", got, err, tc.want)
			}
		})
	}
}

// prehashed signs by Ed25519ph, which is not Ed25519.
func prehashed(t *testing.T, text string) []byte {
	t.Helper()
	hash := crypto.SHA512.New()
	_, _ = hash.Write([]byte(text))
	signature, err := private.Sign(nil, hash.Sum(nil), &ed25519.Options{Hash: crypto.SHA512})
	if err != nil {
		t.Fatal(err)
	}
	return signature
}

// A valid signature is not enough: the payload has to be that of a licence.
func TestPayload(t *testing.T) {
	v := license.NewVerifier(public)
	for name, said := range map[string]string{
		"empty":                   ``,
		"null":                    `null`,
		"a list":                  `[` + payload + `]`,
		"no members":              `{}`,
		"no licensee":             `{"products":["Jira"],"exp":1798761600}`,
		"no products":             `{"licensee":"Example Inc.","exp":1798761600}`,
		"no end":                  `{"licensee":"Example Inc.","products":["Jira"]}`,
		"an unknown member":       `{"licensee":"Example Inc.","products":["Jira"],"exp":1798761600,"users":10}`,
		"an unknown one instead":  `{"licensee":"Example Inc.","products":["Jira"],"expires":1798761600}`,
		"a member twice":          `{"licensee":"Example Inc.","products":["Jira"],"exp":1,"exp":1798761600}`,
		"other case":              `{"Licensee":"Example Inc.","products":["Jira"],"exp":1798761600}`,
		"something behind":        payload + `{}`,
		"an empty licensee":       `{"licensee":"","products":["Jira"],"exp":1798761600}`,
		"a blank licensee":        `{"licensee":" ","products":["Jira"],"exp":1798761600}`,
		"a licensee of two lines": `{"licensee":"Example\nInc.","products":["Jira"],"exp":1798761600}`,
		"a licensee turned round": "{\"licensee\":\"Example\u202eInc.\",\"products\":[\"Jira\"],\"exp\":1798761600}",
		"a licensee not in UTF-8": "{\"licensee\":\"Example\xff\",\"products\":[\"Jira\"],\"exp\":1798761600}",
		"a licensee too long":     `{"licensee":"` + strings.Repeat("x", 101) + `","products":["Jira"],"exp":1798761600}`,
		"a licensee that is null": `{"licensee":null,"products":["Jira"],"exp":1798761600}`,
		"an empty list":           `{"licensee":"Example Inc.","products":[],"exp":1798761600}`,
		"an empty product":        `{"licensee":"Example Inc.","products":["Jira",""],"exp":1798761600}`,
		"one product, no list":    `{"licensee":"Example Inc.","products":"Jira","exp":1798761600}`,
		"too many products":       `{"licensee":"Example Inc.","products":["1","2","3","4","5","6","7","8","9"],"exp":1798761600}`,
		"an end in words":         `{"licensee":"Example Inc.","products":["Jira"],"exp":"2027-01-01T00:00:00Z"}`,
		"an end in text":          `{"licensee":"Example Inc.","products":["Jira"],"exp":"1798761600"}`,
		"an end in fractions":     `{"licensee":"Example Inc.","products":["Jira"],"exp":1798761600.5}`,
		"an end of zero":          `{"licensee":"Example Inc.","products":["Jira"],"exp":0}`,
		"an end before 1970":      `{"licensee":"Example Inc.","products":["Jira"],"exp":-1}`,
		"an end after 9999":       `{"licensee":"Example Inc.","products":["Jira"],"exp":253402300800}`,
		"an end in milliseconds":  `{"licensee":"Example Inc.","products":["Jira"],"exp":1798761600000}`,
		"an end beyond numbers":   `{"licensee":"Example Inc.","products":["Jira"],"exp":9223372036854775808}`,
	} {
		if got, err := v.Verify(jws(t, jose.EdDSA, private, said, nil)); !errors.Is(err, license.ErrMalformed) {
			t.Errorf("%s: read %+v, %v", name, got, err)
		}
	}
}

// During a change of keys, licences by the old and the new key are valid.
func TestRotation(t *testing.T) {
	first, second := signed(t, both, private), signed(t, both, otherPrivate)
	for name, tc := range map[string]struct {
		keys          []ed25519.PublicKey
		first, second error
	}{
		"the first":  {[]ed25519.PublicKey{public}, nil, license.ErrSignature},
		"both":       {[]ed25519.PublicKey{public, otherPublic}, nil, nil},
		"reversed":   {[]ed25519.PublicKey{otherPublic, public}, nil, nil},
		"the second": {[]ed25519.PublicKey{otherPublic}, license.ErrSignature, nil},
		"none":       {nil, license.ErrSignature, license.ErrSignature},
	} {
		v := license.NewVerifier(tc.keys...)
		if _, err := v.Verify(first); !errors.Is(err, tc.first) {
			t.Errorf("%s: the first licence: %v, want %v", name, err, tc.first)
		}
		if _, err := v.Verify(second); !errors.Is(err, tc.second) {
			t.Errorf("%s: the second licence: %v, want %v", name, err, tc.second)
		}
	}
}

func TestCheck(t *testing.T) {
	jira := license.License{Licensee: "x", Products: []string{"Jira"}, Expires: end}
	for name, tc := range map[string]struct {
		license license.License
		product string
		now     time.Time
		want    error
	}{
		"before":                 {jira, "Jira", end.Add(-1), nil},
		"at its end":             {jira, "Jira", end, license.ErrExpired},
		"after":                  {jira, "Jira", end.Add(1), license.ErrExpired},
		"in another zone":        {jira, "Jira", end.Add(-1).In(time.FixedZone("", 3600)), nil},
		"the second product":     {both, "Confluence", end.Add(-1), nil},
		"another product":        {jira, "Confluence", end.Add(-1), license.ErrProduct},
		"another product, ended": {jira, "Confluence", end, license.ErrProduct},
		"other case":             {jira, "jira", end.Add(-1), license.ErrProduct},
		"no product":             {jira, "", end.Add(-1), license.ErrProduct},
		"no licence":             {license.License{}, "Jira", end.Add(-1), license.ErrProduct},
	} {
		if err := tc.license.Check(tc.product, tc.now); !errors.Is(err, tc.want) {
			t.Errorf("%s: %v, want %v", name, err, tc.want)
		}
	}
}

// Every signed licence can be verified, also the longest, and Sign refuses one that could not.
func TestSign(t *testing.T) {
	v := license.NewVerifier(public)
	longest := license.License{Licensee: strings.Repeat("&", 100), Expires: time.Date(9999, 12, 31, 23, 59, 59, 0, time.UTC)}
	for range 8 {
		longest.Products = append(longest.Products, strings.Repeat("<", 100))
	}
	if got, err := v.Verify(signed(t, longest, private)); err != nil || !reflect.DeepEqual(got, longest) {
		t.Errorf("read %+v, %v", got, err)
	}
	shortest := license.License{Licensee: "x", Products: []string{"y"}, Expires: time.Unix(1, 0).UTC()}
	if got, err := v.Verify(signed(t, shortest, private)); err != nil || !reflect.DeepEqual(got, shortest) {
		t.Errorf("read %+v, %v", got, err)
	}
	precise := both
	precise.Expires = end.Add(999 * time.Millisecond)
	if got, err := v.Verify(signed(t, precise, private)); err != nil || !got.Expires.Equal(end) {
		t.Errorf("read %+v, %v", got, err)
	}
	for want, change := range map[string]func(*license.License){
		"licensee": func(l *license.License) { l.Licensee = "" },
		"products": func(l *license.License) { l.Products = nil },
		"end":      func(l *license.License) { l.Expires = time.Time{} },
	} {
		l := both
		change(&l)
		if text, err := l.Sign(private); err == nil || !strings.Contains(err.Error(), want) || text != "" {
			t.Errorf("without %s: %q, %v", want, text, err)
		}
	}
	if text, err := both.Sign(nil); err == nil || text != "" {
		t.Errorf("signed without a key: %q, %v", text, err)
	}
}

// Verify returns the same for a text and its clipped form.
func TestClip(t *testing.T) {
	v := license.NewVerifier(public)
	good := signed(t, both, private)
	for name, text := range map[string]string{
		"a licence": good, "nothing": "", "white space": "\n", "words": "not a licence", "too long": good + strings.Repeat(" ", 8<<10),
		"much too long": strings.Repeat("x", 1<<20), "not UTF-8": good[:10] + "\xff\xfe" + good[10:], "not UTF-8 at the end": good + "\xff",
		"cut within a character": strings.Repeat("é", 1<<20), "just not too long": good + strings.Repeat("\n", 8<<10-len(good)),
	} {
		clipped := license.Clip([]byte(text))
		want, wantErr := v.Verify(text)
		if got, err := v.Verify(clipped); !errors.Is(err, wantErr) || !reflect.DeepEqual(got, want) {
			t.Errorf("%s: clipped it is %+v, %v, want %v", name, got, err, wantErr)
		}
		if len(clipped) > 8<<10+1 || !utf8.ValidString(clipped) {
			t.Errorf("%s: %d bytes are left, or they are no text", name, len(clipped))
		}
	}
}

// Conditions, answers of gateways and metrics use these words.
func TestReason(t *testing.T) {
	for _, tc := range []struct {
		err  error
		want string
	}{
		{nil, "LicenseValid"},
		{license.ErrMissing, "LicenseMissing"},
		{license.ErrMalformed, "LicenseMalformed"},
		{license.ErrSignature, "LicenseWrongSignature"},
		{license.ErrProduct, "LicenseWrongProduct"},
		{license.ErrExpired, "LicenseExpired"},
		{fmt.Errorf("reading: %w", license.ErrExpired), "LicenseExpired"},
		{errors.New("unknown"), "LicenseMalformed"},
	} {
		if got := license.Reason(tc.err); got != tc.want {
			t.Errorf("%v: %s, want %s", tc.err, got, tc.want)
		}
	}
}
