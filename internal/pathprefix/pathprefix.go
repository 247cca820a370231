// Package pathprefix compares paths segment by segment. Limits of tokens are such comparisons, so this rule is stated once.
//
// Both paths are canonical: no dot segments, no repeated slashes, nothing encoded.
package pathprefix

import "strings"

// Covers reports whether path is prefix itself or lies below it. A slash at the end of prefix makes no difference.
//
//	/rest/api covers /rest/api, /rest/api/ and /rest/api/2, but not /rest/apis.
func Covers[P string | []byte](prefix string, path P) bool {
	prefix = strings.TrimSuffix(prefix, "/")
	return len(path) >= len(prefix) && string(path[:len(prefix)]) == prefix && (len(path) == len(prefix) || path[len(prefix)] == '/')
}

// Contains reports whether path lies in the folder: it is prefix with a slash behind it, or goes on from there.
//
//	/rest contains /rest/ and /rest/api, but not /rest.
func Contains[P string | []byte](folder string, path P) bool {
	return Covers(folder, path) && len(path) > len(strings.TrimSuffix(folder, "/"))
}
