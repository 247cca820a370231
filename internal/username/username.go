// Package username compares product usernames in the one way that Go, Java and CEL agree on:
// ASCII upper case is folded to lower case, and nothing beyond it.
package username

// Fold returns name with its ASCII upper-case letters in lower case.
func Fold(name string) string {
	for i := range len(name) {
		if lower(name[i]) != name[i] {
			return string(fold([]byte(name)))
		}
	}
	return name
}

// Is reports whether name, folded, is the already folded username want.
func Is(want string, name []byte) bool {
	if len(want) != len(name) {
		return false
	}
	for i, c := range name {
		if lower(c) != want[i] {
			return false
		}
	}
	return true
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
