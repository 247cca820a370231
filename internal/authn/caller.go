package authn

import (
	"crypto/subtle"
	"time"

	"apitokens.dev/operator/internal/authurl"
)

// maxCallerKey is longer than any caller key, in bytes.
const maxCallerKey = 128

// callerKeys are the caller keys of a site. A key in ends is refused from that time on.
type callerKeys struct {
	keys map[authurl.Contract][]string
	ends map[string]time.Time
}

// know reports whether the caller is the site's own ingress.
func (k callerKeys) know(r *Request, now time.Time) bool {
	match := 0
	for _, key := range k.keys[r.Contract] {
		if end, ends := k.ends[key]; !ends || now.Before(end) {
			match |= equal(key, r.CallerKey)
		}
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
