package token

import (
	"apitokens.dev/operator/internal/percent"
)

// Found is a part of a text that has the shape of a token.
type Found struct {
	// Start and End are its place in the text. ID is the decoded id.
	Start, End int
	ID         string
}

// shortest is the length of the shortest Found, in bytes.
const shortest = IDLength + len("_x")

// Find returns the first part of text that has the shape of a token: an id, an underscore, and at least one character of a
// secret. It looks anywhere in the text, and sees through percent-encoding, repeated encoding too.
func Find[T string | []byte](text T) (f Found, ok bool) {
	for start := range len(text) - shortest + 1 {
		// Nothing else can begin a token.
		if text[start] != '%' && (text[start] != Prefix[0] || text[start+1] != Prefix[1] && text[start+1] != '%') {
			continue
		}
		var id [IDLength]byte
		if n := shape(text[start:], &id); n > 0 {
			return Found{Start: start, End: start + n, ID: string(id[:])}, true
		}
	}
	return Found{}, false
}

// shape returns the length of the token that text begins with, or 0. At most the characters of a whole secret count. It
// writes the decoded id into id.
func shape[T string | []byte](text T, id *[IDLength]byte) int {
	n, i := 0, 0
	for ; i < Length && n < len(text); i++ {
		c, size := text[n], 1
		if c == '%' {
			c, size = decodeByte(text[n:])
		}
		if !fits(c, i) {
			break
		}
		if i < IDLength {
			id[i] = c
		}
		n += size
	}
	if i < shortest {
		return 0
	}
	return n
}

// fits reports whether c can be the character at this index of a token.
func fits(c byte, index int) bool {
	switch {
	case index < len(Prefix):
		return c == Prefix[index]
	case index == IDLength:
		return c == '_'
	}
	return isDigit[c]
}

// decodeByte returns the first byte of text after percent-decoding, and the length of its spelling.
func decodeByte[T string | []byte](text T) (c byte, size int) {
	c, ok := percent.Decode(text)
	if !ok {
		return text[0], 1
	}
	size = percent.Length
	for c == '%' {
		// The escape of a percent sign may begin another escape.
		next, ok := percent.Decode("%" + string(text[size:min(len(text), size+2)]))
		if !ok {
			break
		}
		c, size = next, size+2
	}
	return c, size
}
