package selfservice

import "strings"

// maxNamePrefix leaves room for the random part of an object's name.
const maxNamePrefix = 30

// namePrefix returns the beginning of the names of a user's APITokens, so that administrators recognise them. Characters that
// a name cannot contain are left out.
func namePrefix(user string) string {
	var b strings.Builder
	for _, c := range []byte(user) {
		switch letter := 'a' <= c && c <= 'z' || '0' <= c && c <= '9'; {
		case b.Len() == maxNamePrefix:
		case letter:
			b.WriteByte(c)
		case b.Len() > 0 && (c == '.' || c == '-' || c == '_' || c == '@'):
			b.WriteByte('-')
		}
	}
	if name := strings.TrimRight(b.String(), "-"); name != "" {
		return name + "-"
	}
	return "user-"
}
