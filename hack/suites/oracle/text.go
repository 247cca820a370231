package oracle

import (
	"hash/crc32"
	"slices"
	"strings"
)

// idIn returns the id of the first text in the first of some texts that has the shape of a token, in any percent-encoding.
func idIn(texts ...string) string {
	for _, text := range texts {
		found := tokenShape.FindString(text)
		for strings.Contains(found, "%25") {
			found = strings.ReplaceAll(found, "%25", "%")
		}
		if found != "" {
			return decodePercent(found)[:20]
		}
	}
	return ""
}

// wellFormed reports whether a text has the form of a token: asp_, 16 digits, an underscore, 40 digits, and the checksum.
func wellFormed(text string) bool {
	if len(text) != 67 || text[:4] != "asp_" || text[20] != '_' {
		return false
	}
	for i, c := range text {
		if i >= 4 && i != 20 && !isAlphanumeric(c) {
			return false
		}
	}
	return checksum(text[:61]) == text[61:]
}

const base62 = "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz"

// checksum is the CRC-32 of a text in six digits.
func checksum(text string) string {
	sum := crc32.ChecksumIEEE([]byte(text))
	var digits [6]byte
	for i := range digits {
		digits[len(digits)-1-i] = base62[sum%62]
		sum /= 62
	}
	return string(digits[:])
}

func only(values []string) string {
	if len(values) != 1 {
		return ""
	}
	return values[0]
}

func isAlphanumeric(c rune) bool {
	return '0' <= c && c <= '9' || 'A' <= c && c <= 'Z' || 'a' <= c && c <= 'z'
}

// lower folds ASCII.
func lower(text string) string {
	folded := []byte(text)
	for i, c := range folded {
		if 'A' <= c && c <= 'Z' {
			folded[i] = c + 'a' - 'A'
		}
	}
	return string(folded)
}

const base64Digits = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/"

// decodeBase64 reads RFC 4648 section 4: padded, and the bits that are left over are zero.
func decodeBase64(text string) (string, bool) {
	digits := strings.TrimRight(text, "=")
	padding := len(text) - len(digits)
	if len(text)%4 != 0 || padding > 2 {
		return "", false
	}
	decoded := make([]byte, 0, len(text))
	bits, n := 0, 0
	for i := range len(digits) {
		digit := strings.IndexByte(base64Digits, digits[i])
		if digit < 0 {
			return "", false
		}
		bits, n = bits<<6|digit, n+6
		if n >= 8 {
			n -= 8
			decoded = append(decoded, byte(bits>>n))
			bits &= 1<<n - 1
		}
	}
	return string(decoded), bits == 0
}

// isBelow reports whether a path is one of these or below one. Nil means any.
func isBelow(path string, of []string) bool {
	return of == nil || slices.ContainsFunc(of, func(p string) bool { return strings.HasPrefix(path+"/", strings.TrimSuffix(p, "/")+"/") })
}
