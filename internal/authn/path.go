package authn

import (
	"bytes"
	"strings"
	"unicode/utf8"

	"apitokens.dev/operator/internal/pathprefix"
	"apitokens.dev/operator/internal/percent"
)

// pathFault says what keeps a path from being judged. A greater value is worse.
type pathFault int

const (
	// faultless: all servers read the path the same.
	faultless pathFault = iota
	// specialCharacter: the path contains ';', '%' or '#' in some spelling. In the name of a file that is legitimate, but
	// servers disagree about it.
	specialCharacter
	// ambiguous: servers read the path differently, or refuse it.
	ambiguous
)

func (f pathFault) String() string {
	return [...]string{"faultless", "special character", "ambiguous"}[f]
}

// canonicalPath appends to dst the path of a raw request target: it decodes percent-encoding once and merges slashes.
//
// A path is judged only if every server on the way reads it the same. Dot segments are ambiguous, encoded or not, because
// the products normalize some of them twice and some never. So are an encoded slash, backslashes, control bytes, a number
// sign, a space or bytes beyond ASCII that are not encoded, and broken escapes. A path with the fault specialCharacter is
// appended too, with these characters taken literally.
func canonicalPath(dst []byte, raw string) (path []byte, fault pathFault) {
	if raw == "" || raw[0] != '/' {
		return nil, ambiguous
	}
	if isCanonical(raw) {
		return append(dst, raw...), faultless
	}
	for end := 0; end < len(raw); {
		start := end + 1
		end = len(raw)
		if i := strings.IndexByte(raw[start:], '/'); i >= 0 {
			end = start + i
		}
		var f pathFault
		if dst, f = appendSegment(dst, raw[start:end]); f == ambiguous {
			return nil, ambiguous
		}
		fault = max(fault, f)
	}
	// A slash at the end distinguishes a folder from a file of the same name.
	if raw[len(raw)-1] == '/' {
		dst = append(dst, '/')
	}
	return dst, fault
}

// isCanonical reports whether a raw path is surely its own canonical path, as most are.
func isCanonical(raw string) bool {
	before := byte(0)
	for i := range len(raw) {
		c := raw[i]
		if !plainInPath[c] && c != '/' || before == '/' && (c == '/' || c == '.') {
			return false
		}
		before = c
	}
	return true
}

// appendSegment appends a slash and one raw segment, decoded. It appends nothing if the segment is empty.
func appendSegment(dst []byte, raw string) ([]byte, pathFault) {
	start := len(dst)
	dst, fault := appendDecoded(append(dst, '/'), raw)
	segment := dst[start+1:]
	switch {
	case len(segment) == 0:
		return dst[:start], fault
	case segment[0] != '.':
		return dst, fault
	}
	// Servers that know path parameters strip them, and then see the dots.
	name, _, _ := bytes.Cut(segment, []byte{';'})
	if string(name) == "." || string(name) == ".." {
		return dst, ambiguous
	}
	return dst, fault
}

// appendDecoded decodes a raw segment once and appends it.
func appendDecoded(dst []byte, raw string) (path []byte, fault pathFault) {
	for i := 0; i < len(raw); i++ {
		c, encoded := percent.Decode(raw[i:])
		switch {
		case encoded:
			i += percent.Length - 1
		case raw[i] == '%':
			return dst, ambiguous
		default:
			c = raw[i]
		}
		switch {
		case c < ' ', c == 0x7f, c == '\\', c == '/', !encoded && (c == ' ' || c == '#' || c >= utf8.RuneSelf):
			return dst, ambiguous
		case c == ';', c == '%', c == '#':
			fault = specialCharacter
		}
		dst = append(dst, c)
	}
	return dst, fault
}

// plainInPath are characters that stand for themselves in every path.
var plainInPath = func() (all [256]bool) {
	for _, c := range []byte("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789-_.~") {
		all[c] = true
	}
	return all
}()

// isRedispatched reports whether the products could run another path than this one, below the context path. Their
// resource rewriting forwards /s/{anything}/_/{path} to /{path} inside the server (Atlassian Plugins, urlrewrite.xml:
// `^/s/(.*)/_/(.*)` to `/$2`). A rule of Tuckey's UrlRewriteFilter ignores case unless it says otherwise.
func isRedispatched(path []byte) bool {
	return (pathprefix.Contains("/s", path) || pathprefix.Contains("/S", path)) && bytes.Contains(path, []byte("/_/"))
}

// mergeSlashes returns a raw request target with each run of slashes in its path merged into one. The query is unchanged.
func mergeSlashes(target string) string {
	path, _, _ := strings.Cut(target, "?")
	if !strings.Contains(path, "//") {
		return target
	}
	merged := make([]byte, 0, len(target))
	for i := range len(path) {
		if i == 0 || path[i] != '/' || path[i-1] != '/' {
			merged = append(merged, path[i])
		}
	}
	return string(merged) + target[len(path):]
}
