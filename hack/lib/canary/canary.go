// Package canary finds secrets in text where they must not be, in every spelling that a program would write them in.
package canary

import (
	"encoding/base64"
	"encoding/hex"
	"fmt"
	"net/url"
	"regexp"
	"slices"
	"strings"
)

// stem is the number of bytes by which a spelling is looked up. No spelling is shorter.
const stem = 8

// Secrets is a set of secrets to look for. The zero value is empty and ready to use.
type Secrets struct {
	spelled map[[stem]byte][]spelling
	// begins holds the first two bytes of every spelling, to skip most of a text fast.
	begins [1 << 16]bool
	count  int
}

type spelling struct{ text, what string }

// Add adds a secret of at least 24 characters. Findings quote its description, which must not contain the secret.
func (s *Secrets) Add(what, secret string) {
	if s.spelled == nil {
		s.spelled = map[[stem]byte][]spelling{}
	}
	s.count++
	for form, text := range spellings(secret) {
		key := [stem]byte([]byte(text))
		s.spelled[key] = append(s.spelled[key], spelling{text, what + ", " + form})
		s.begins[begin(text[0], text[1])] = true
	}
}

func begin(first, second byte) int { return int(first)<<8 | int(second) }

// Len returns the number of secrets.
func (s *Secrets) Len() int { return s.count }

// Find returns the secrets that a text contains, each once, with its spelling.
func (s *Secrets) Find(text []byte) []string {
	var found []string
	for i := range max(0, len(text)-stem+1) {
		if !s.begins[begin(text[i], text[i+1])] {
			continue
		}
		for _, of := range s.spelled[[stem]byte(text[i:i+stem])] {
			if len(text)-i >= len(of.text) && string(text[i:i+len(of.text)]) == of.text {
				found = append(found, of.what)
			}
		}
	}
	slices.Sort(found)
	return slices.Compact(found)
}

// spellings returns the forms of a secret that Find knows: as it is, and in base64 at each of three offsets.
func spellings(secret string) map[string]string {
	digits := hex.EncodeToString([]byte(secret))
	forms := map[string]string{
		"a part of it": secret[8:24], "hex": digits, "upper-case hex": strings.ToUpper(digits), "URL-encoded": url.QueryEscape(secret),
	}
	for offset := range 3 {
		padded := []byte(strings.Repeat("x", offset) + secret)
		for name, encoding := range map[string]*base64.Encoding{"base64": base64.RawStdEncoding, "URL-safe base64": base64.RawURLEncoding} {
			encoded := encoding.EncodeToString(padded)
			forms[fmt.Sprintf("%s at offset %d", name, offset)] = encoded[4 : len(encoded)-4]
		}
	}
	return forms
}

var dumpLine = regexp.MustCompile(`[0-9a-f]{8}  ((?:[0-9a-f]{2} {1,2}){1,16})`)

// Undump returns the bytes in the hex dumps of a text. client-go logs bodies other than JSON as hex dumps.
func Undump(text string) string {
	var dumped strings.Builder
	for _, line := range dumpLine.FindAllStringSubmatch(text, -1) {
		decoded, err := hex.DecodeString(strings.ReplaceAll(line[1], " ", ""))
		if err == nil {
			dumped.Write(decoded)
		}
	}
	return dumped.String()
}
