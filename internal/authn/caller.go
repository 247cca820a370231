package authn

import "crypto/subtle"

// maxCallerKey is longer than any caller key, in bytes.
const maxCallerKey = 128

// knowsCallerKey reports whether the caller is the site's own ingress. The caller holds the lock.
func (ix *Index) knowsCallerKey(r *Request) bool {
	match := 0
	for _, key := range ix.callerKeys[r.Site][r.Contract] {
		match |= equal(key, r.CallerKey)
	}
	return match == 1
}

// equal compares two short strings in constant time. It returns 1 if they are equal.
func equal(want, got string) int {
	var a, b [maxCallerKey]byte
	if want == "" || len(want) > len(a) || len(got) > len(b) {
		return 0
	}
	return subtle.ConstantTimeCompare(a[:copy(a[:], want)], b[:copy(b[:], got)])
}
