package authn

import (
	"strings"

	"apitokens.dev/operator/internal/percent"
	"apitokens.dev/operator/internal/token"
)

// seraphParameters are the request parameters that Atlassian Seraph takes credentials from, before it looks at
// Authorization (com.atlassian.seraph.filter.PasswordBasedLoginFilter, com.atlassian.seraph.auth.AuthType).
var seraphParameters = [...]string{"os_username", "os_password", "os_authType", "os_cookie"}

// queryHasSeraphParameter reports whether a raw query names one of the seraphParameters, however it is encoded.
//
// os_authType=basic in exactly this spelling does not count: it asks for a challenge when no credential works, and brings
// none. Clients that wait for a challenge need it.
func queryHasSeraphParameter(query string) bool {
	return anyParameter(query, func(name, value string) bool {
		if name == "os_authType" && value == "basic" {
			return false
		}
		var buf [16]byte
		decoded := appendUnescaped(buf[:0], name, cap(buf))
		for _, p := range seraphParameters {
			if strings.EqualFold(p, string(decoded)) {
				return true
			}
		}
		return false
	})
}

// queryPresentsToken reports whether there is a token anywhere in a raw query, however it is encoded. The first characters
// alone are no token: people search for asp_net.
func queryPresentsToken(query string) bool {
	_, found := token.Find(query)
	return found
}

// anyParameter reports whether match is true for one of the parameters in a raw query.
func anyParameter(query string, match func(name, value string) bool) bool {
	for query != "" {
		var parameter string
		parameter, query, _ = strings.Cut(query, "&")
		name, value, _ := strings.Cut(parameter, "=")
		if match(name, value) {
			return true
		}
	}
	return false
}

// appendUnescaped decodes the form-encoded text s and appends the first limit bytes. A broken escape stands for itself,
// because some servers read it so. A plus stands for itself too: nothing that we look for contains a space.
func appendUnescaped(dst []byte, s string, limit int) []byte {
	for i := 0; i < len(s) && len(dst) < limit; i++ {
		c, encoded := percent.Decode(s[i:])
		if encoded {
			i += percent.Length - 1
		} else {
			c = s[i]
		}
		dst = append(dst, c)
	}
	return dst
}
