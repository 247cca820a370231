// Package token makes API tokens and recognises them.
//
//	asp_<16 base62 id>_<40 base62 secret><6 base62 CRC-32>
//
// The id is public: the record is found by it, and logs contain it. The secret has about 238 bits. The checksum depends only
// on the text itself, so that typing errors are refused before any look-up, and leak scanners recognise a token offline.
package token

import (
	"bytes"
	"errors"
	"fmt"
	"hash/crc32"
	"io"
	"sync"
)

const (
	// Prefix begins every token. A credential that begins with it is ours and never reaches the product.
	Prefix = "asp_"
	// IDLength is the length of an id with its prefix, in bytes.
	IDLength = len(Prefix) + idDigits
	// Length is the length of a token, in bytes.
	Length = IDLength + 1 + secretDigits + checksumDigits

	idDigits       = 16
	secretDigits   = 40
	checksumDigits = 6

	alphabet = "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz"
)

// ErrInvalidID means that a text is not the id of a token.
var ErrInvalidID = errors.New("not a token id: want asp_ and 16 letters or digits")

// NewID returns a new id made of random bytes.
func NewID(random io.Reader) (string, error) {
	id := make([]byte, 0, IDLength)
	id, err := appendRandom(append(id, Prefix...), random, idDigits)
	if err != nil {
		return "", err
	}
	return string(id), nil
}

// New returns a new token with this id. A rotated token keeps its id and gets a new secret.
func New(id string, random io.Reader) (string, error) {
	if !ValidID(id) {
		return "", ErrInvalidID
	}
	t := make([]byte, 0, Length)
	t = append(append(t, id...), '_')
	t, err := appendRandom(t, random, secretDigits)
	if err != nil {
		return "", err
	}
	return string(appendChecksum(t, t)), nil
}

// Parse returns the id of a well-formed token: exact length, alphabet and checksum, nothing trimmed.
func Parse(text []byte) (id []byte, ok bool) {
	if len(text) != Length || !validID(text[:IDLength]) || text[IDLength] != '_' || !base62(text[IDLength+1:]) {
		return nil, false
	}
	body, checksum := text[:Length-checksumDigits], text[Length-checksumDigits:]
	var want [checksumDigits]byte
	if !bytes.Equal(appendChecksum(want[:0], body), checksum) {
		return nil, false
	}
	return text[:IDLength], true
}

// ValidID reports whether id has the form of a token's id.
func ValidID(id string) bool { return validID([]byte(id)) }

func validID(id []byte) bool {
	return len(id) == IDLength && string(id[:len(Prefix)]) == Prefix && base62(id[len(Prefix):])
}

func base62(text []byte) bool {
	for _, c := range text {
		if !isDigit[c] {
			return false
		}
	}
	return true
}

// isDigit are the characters of the alphabet.
var isDigit = func() (all [256]bool) {
	for _, c := range []byte(alphabet) {
		all[c] = true
	}
	return all
}()

// appendChecksum appends the CRC-32 (IEEE) of body in base62, most significant digit first.
func appendChecksum(dst, body []byte) []byte {
	sum := checksum(body)
	var digits [checksumDigits]byte
	for i := checksumDigits - 1; i >= 0; i-- {
		digits[i] = alphabet[sum%uint32(len(alphabet))]
		sum /= uint32(len(alphabet))
	}
	return append(dst, digits[:]...)
}

// checksum is crc32.ChecksumIEEE of a text of at most maxChecked bytes.
//
// For 64 bytes or more, the library uses an instruction of the processor. For fewer it uses tables, which takes much longer if they are
// in no cache. So neutral stands before the text. The memory is used again: the library moves its argument to the heap, and refusing
// garbage must not allocate.
func checksum(text []byte) uint32 {
	padded := paddeds.Get().(*[len(neutral) + maxChecked]byte)
	n := copy(padded[len(neutral):], text)
	sum := crc32.ChecksumIEEE(padded[:len(neutral)+n])
	paddeds.Put(padded)
	return sum
}

const (
	// neutral has the checksum of an empty text. So a text behind it has the checksum that it has alone.
	neutral = "\x9d\x0a\xd9\x6d"
	// maxChecked is no less than the length of what a token has a checksum of.
	maxChecked = 100
)

var paddeds = sync.Pool{New: func() any {
	padded := new([len(neutral) + maxChecked]byte)
	copy(padded[:], neutral)
	return padded
}}

// appendRandom appends n digits, each equally likely. It drops bytes that would make the first digits more likely.
func appendRandom(dst []byte, random io.Reader, n int) ([]byte, error) {
	const fair = 256 - 256%len(alphabet)
	var buf [secretDigits]byte
	for n > 0 {
		chunk := buf[:n]
		if _, err := io.ReadFull(random, chunk); err != nil {
			return nil, fmt.Errorf("reading random bytes: %w", err)
		}
		for _, b := range chunk {
			if int(b) < fair {
				dst = append(dst, alphabet[int(b)%len(alphabet)])
				n--
			}
		}
	}
	return dst, nil
}
