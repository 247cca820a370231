package audit

import (
	"strings"
	"unicode"
	"unicode/utf8"

	"apitokens.dev/operator/internal/percent"
)

// canonical returns a raw path as the product reads it: without `;parameters`, decoded once, dot segments resolved and
// slashes merged. So nobody can hide in the log what they ask for.
//
// It never fails: a path that is refused is logged too. Escapes of characters that would change the meaning of the path stay
// as they are, and dot segments cannot climb above the root.
func canonical(raw string) string {
	if !strings.HasPrefix(raw, "/") || isPlain(raw) {
		return raw
	}
	var kept []string
	segments := strings.Split(raw[1:], "/")
	for _, segment := range segments {
		name, _, _ := strings.Cut(segment, ";")
		switch name = decoded(name); name {
		case "", ".":
		case "..":
			kept = kept[:max(0, len(kept)-1)]
		default:
			kept = append(kept, name)
		}
	}
	path := "/" + strings.Join(kept, "/")
	if len(kept) > 0 && segments[len(segments)-1] == "" {
		path += "/"
	}
	return path
}

// isPlain reports whether a path is surely read as it is written, as most are.
func isPlain(raw string) bool {
	for i := range len(raw) {
		switch c := raw[i]; {
		case c >= utf8.RuneSelf, c == ';', c == '%':
			return false
		case c == '/' && i+1 < len(raw) && (raw[i+1] == '/' || raw[i+1] == '.'):
			return false
		}
	}
	return true
}

// decoded decodes the escapes of a segment once, but not those of control characters and of / \ % ; and #. A segment with
// characters that a reader of the log would not see as they are stays as it is: invisible ones, ones that reverse the text,
// or bytes that are none.
func decoded(segment string) string {
	if text := decodedOnce(segment); utf8.ValidString(text) && !strings.ContainsFunc(text, unseen) {
		return text
	}
	return segment
}

func unseen(c rune) bool { return c >= utf8.RuneSelf && !unicode.IsPrint(c) }

func decodedOnce(segment string) string {
	var b strings.Builder
	for i := 0; i < len(segment); i++ {
		if c, ok := percent.Decode(segment[i:]); ok && c >= ' ' && c != 0x7f && strings.IndexByte(`/\%;#`, c) < 0 {
			b.WriteByte(c)
			i += percent.Length - 1
		} else {
			b.WriteByte(segment[i])
		}
	}
	return b.String()
}
