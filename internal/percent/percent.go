// Package percent reads percent-encoding (RFC 3986 section 2.1), one escape at a time. Verdicts depend on it, so this rule
// is stated once.
package percent

// Length is the length of an escape, in bytes.
const Length = len("%XX")

// Decode returns the byte that text begins with, if that is an escape. Digits may be in either case.
func Decode[T string | []byte](text T) (c byte, ok bool) {
	if len(text) < Length || text[0] != '%' {
		return 0, false
	}
	high, ok1 := digit(text[1])
	low, ok2 := digit(text[2])
	return high<<4 | low, ok1 && ok2
}

// digit returns the value of a hexadecimal digit.
func digit(c byte) (value byte, ok bool) {
	switch {
	case '0' <= c && c <= '9':
		return c - '0', true
	case 'a' <= c && c <= 'f':
		return c - 'a' + 10, true
	case 'A' <= c && c <= 'F':
		return c - 'A' + 10, true
	}
	return 0, false
}
