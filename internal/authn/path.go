package authn

import (
	"bytes"
	"strings"
)

// canonicalPath appends to dst the path of a raw request target as Tomcat reads it: it strips `;parameters` from each
// segment, decodes percent-encoding once, resolves dot segments and merges slashes.
//
// It refuses what another server on the way could read differently: an encoded slash, backslash, NUL, percent sign,
// semicolon or number sign, the same unencoded where a path may not have them, control bytes, bytes beyond ASCII that are
// not encoded, and dot segments that climb above the root.
func canonicalPath(dst []byte, raw string) (path []byte, ok bool) {
	if raw == "" || raw[0] != '/' {
		return nil, false
	}
	root := len(dst)
	for end := 0; end < len(raw); {
		start := end + 1
		end = len(raw)
		if i := strings.IndexByte(raw[start:], '/'); i >= 0 {
			end = start + i
		}
		if dst, ok = appendSegment(dst, root, raw[start:end]); !ok {
			return nil, false
		}
	}
	// A slash at the end distinguishes a folder from a file of the same name.
	if len(dst) == root || raw[len(raw)-1] == '/' {
		dst = append(dst, '/')
	}
	return dst, true
}

// appendSegment appends one raw segment to the path that begins at index root of dst.
func appendSegment(dst []byte, root int, raw string) ([]byte, bool) {
	start := len(dst)
	dst, ok := appendDecoded(append(dst, '/'), raw)
	if !ok {
		return nil, false
	}
	switch string(dst[start+1:]) {
	case "", ".":
		return dst[:start], true
	case "..":
		parent := bytes.LastIndexByte(dst[root:start], '/')
		if parent < 0 {
			return nil, false
		}
		return dst[:root+parent], true
	}
	return dst, true
}

// appendDecoded decodes a raw segment once and appends the part before its parameters.
func appendDecoded(dst []byte, raw string) ([]byte, bool) {
	// Check the parameters too: another server could read what is ambiguous in them as a path.
	params := false
	for i := 0; i < len(raw); i++ {
		c, encoded := raw[i], raw[i] == '%'
		if encoded {
			if i+2 >= len(raw) || !isHex(raw[i+1]) || !isHex(raw[i+2]) {
				return nil, false
			}
			c = unhex(raw[i+1])<<4 | unhex(raw[i+2])
			i += 2
		}
		switch {
		case c < ' ' || c == 0x7f || c == '\\' || c == '#':
			return nil, false
		case encoded && (c == '/' || c == '%' || c == ';'), !encoded && (c == ' ' || c > 0x7f):
			return nil, false
		case c == ';':
			params = true
		}
		if !params {
			dst = append(dst, c)
		}
	}
	return dst, true
}

func isHex(c byte) bool {
	return '0' <= c && c <= '9' || 'a' <= c && c <= 'f' || 'A' <= c && c <= 'F'
}

func unhex(c byte) byte {
	switch {
	case c <= '9':
		return c - '0'
	case c <= 'F':
		return c - 'A' + 10
	default:
		return c - 'a' + 10
	}
}
