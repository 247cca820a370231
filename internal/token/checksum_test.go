package token

import (
	"crypto/rand"
	"hash/crc32"
	"testing"
)

func TestChecksumIsThatOfTheLibrary(t *testing.T) {
	text := make([]byte, 100)
	_, _ = rand.Read(text) // never fails
	for n := range text {
		if got, want := checksum(text[:n]), crc32.ChecksumIEEE(text[:n]); got != want {
			t.Errorf("%d bytes: %x, want %x", n, got, want)
		}
	}
}
