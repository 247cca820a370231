// Package canary finds secrets where nobody should have written them, in whatever spelling they were written.
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

// stem is how many bytes of a spelling are looked up; none is shorter.
const stem = 8

// Secrets are what is looked for. The zero value looks for nothing.
type Secrets struct {
	spelled map[[stem]byte][]spelling
	// begins has the first two bytes of every spelling: nearly all of a text is passed over by it.
	begins [1 << 16]bool
	count  int
}

type spelling struct{ text, what string }

// Add has a secret of at least 24 characters looked for from now on. What it is goes into the findings, so it must not tell it.
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

// Len is how many secrets are looked for.
func (s *Secrets) Len() int { return s.count }

// Find returns what a text has of them: each once, and its spelling.
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

// spellings are the forms in which a secret could be written, as far as they can be found: base64 at each of three offsets.
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

// Undump returns the bytes in the hex dumps of a text: client-go writes what is not JSON like that.
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
