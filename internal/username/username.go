// Package username compares product usernames in the only way that Go, Java and CEL agree on: it folds ASCII upper case to
// lower case, and nothing beyond ASCII.
package username

import "crypto/subtle"

// Fold returns name with its ASCII upper-case letters in lower case.
func Fold(name string) string {
	for i := range len(name) {
		if lower(name[i]) != name[i] {
			return string(fold([]byte(name)))
		}
	}
	return name
}

// FoldInPlace folds the bytes of a name.
func FoldInPlace(name []byte) { fold(name) }

// Is reports whether name, folded, equals want, which is folded already. The time it takes depends on name alone.
func Is(want string, name []byte) bool {
	if want == "" {
		return len(name) == 0
	}
	different := len(want) ^ len(name)
	sameLength := -subtle.ConstantTimeEq(int32(len(want)), int32(len(name))) // all bits, or none: then want[0] stands for all of want
	for i, c := range name {
		different |= int(lower(c) ^ want[i&sameLength])
	}
	return different == 0
}

// FitsHeader reports whether every server reads a name in a header as it is: they disagree about bytes beyond ASCII, and trim spaces.
func FitsHeader(name string) bool {
	for i := range len(name) {
		if name[i] < ' ' || name[i] > '~' {
			return false
		}
	}
	return name != "" && name[0] != ' ' && name[len(name)-1] != ' '
}

func fold(name []byte) []byte {
	for i, c := range name {
		name[i] = lower(c)
	}
	return name
}

func lower(c byte) byte {
	if 'A' <= c && c <= 'Z' {
		return c + ('a' - 'A')
	}
	return c
}
