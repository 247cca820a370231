package oracle

import (
	"net"
	"slices"
	"strings"
)

// tokenInQuery says what becomes of a request with a token in its query.
func tokenInQuery(c presented, query string) (answer, bool) {
	found := c.kind == foreign && anyParameter(query, func(_, value string) bool { return strings.HasPrefix(value, "asp_") })
	return refusal(401, "scheme_not_accepted", ""), found
}

// seraphParameters are those that the product takes before it looks at Authorization.
var seraphParameters = []string{"os_username", "os_password", "os_authtype", "os_cookie"}

func namesSeraphParameter(query string) bool {
	return anyParameter(query, func(name, _ string) bool { return slices.Contains(seraphParameters, lower(name)) })
}

func anyParameter(query string, is func(name, value string) bool) bool {
	for parameter := range strings.SplitSeq(query, "&") {
		name, value, _ := strings.Cut(parameter, "=")
		if is(decodePercent(name), decodePercent(value)) {
			return true
		}
	}
	return false
}

// judgePath returns a path as the product would see it, or why no token counts there.
func judgePath(s *site, raw string) (path, wrong string) {
	path, ok := pathOf(raw)
	if !ok {
		return "", "ambiguous_path"
	}
	for _, p := range s.tokenPaths {
		if strings.HasPrefix(path, s.contextPath+p) {
			return path, ""
		}
	}
	return "", "path_not_accepted"
}

// pathOf refuses what two servers could read differently.
func pathOf(raw string) (string, bool) {
	for i := range len(raw) {
		if c := raw[i]; c <= ' ' || c > '~' || c == '\\' || c == '#' || c == '%' && !isEscape(raw[i:]) {
			return "", false
		}
	}
	var kept []string
	segments := strings.Split(raw, "/")
	for _, segment := range segments[1:] {
		segment, parameters, _ := strings.Cut(segment, ";")
		if strings.ContainsFunc(escapedIn(segment)+escapedIn(parameters), func(c rune) bool { return c < ' ' || strings.ContainsRune("/\\%;#\x7f", c) }) {
			return "", false
		}
		switch segment = decodePercent(segment); segment {
		case "", ".":
		case "..":
			if len(kept) == 0 {
				return "", false
			}
			kept = kept[:len(kept)-1]
		default:
			kept = append(kept, segment)
		}
	}
	path := "/" + strings.Join(kept, "/")
	if len(kept) > 0 && segments[len(segments)-1] == "" {
		path += "/"
	}
	return path, true
}

// credentialPaths hand out other credentials.
var credentialPaths = []string{"/rest/pat", "/rest/auth", "/rest/oauth2", "/rest/access-tokens"}

func isCredentialPath(below string) bool {
	return slices.ContainsFunc(credentialPaths, func(p string) bool { return strings.HasPrefix(lower(below)+"/", p+"/") })
}

// forwardedTarget is what the product is to be asked for if there was no token.
const forwardedTarget = absent

// targetOf returns what the product is to be asked for.
func targetOf(string) string { return absent }

// clientAddress is where a request came from, or nil.
type clientAddress net.IP

func (a clientAddress) String() string { return net.IP(a).String() }

func (a clientAddress) isIn(network string) bool {
	_, parsed, err := net.ParseCIDR(network)
	return err == nil && a != nil && parsed.Contains(net.IP(a))
}

// clientOf returns who connected to the gateway, or who the first of the trusted proxies said did.
func clientOf(header map[string][]string, hops int) clientAddress {
	text := only(header["X-Real-Ip"])
	if hops > 0 {
		text = ""
		chain := strings.Split(strings.Join(header["X-Forwarded-For"], ","), ",")
		if n := len(chain) - 1 - hops; n >= 0 {
			text = strings.Trim(chain[n], " \t")
		}
	}
	return clientAddress(net.ParseIP(text))
}

// decodePercent decodes what is an escape, and leaves what is none.
func decodePercent(text string) string {
	if strings.IndexByte(text, '%') < 0 {
		return text
	}
	var b strings.Builder
	for i := 0; i < len(text); i++ {
		if isEscape(text[i:]) {
			b.WriteByte(hex(text[i+1])<<4 | hex(text[i+2]))
			i += 2
		} else {
			b.WriteByte(text[i])
		}
	}
	return b.String()
}

// escapedIn returns the characters that are escaped in a text.
func escapedIn(text string) string {
	var escaped strings.Builder
	for i := strings.IndexByte(text, '%'); i >= 0 && i < len(text); i++ {
		if isEscape(text[i:]) {
			escaped.WriteByte(hex(text[i+1])<<4 | hex(text[i+2]))
		}
	}
	return escaped.String()
}

func isEscape(text string) bool {
	return len(text) >= 3 && text[0] == '%' && hex(text[1]) < 16 && hex(text[2]) < 16
}

// hex returns the value of a digit, or more than any has.
func hex(c byte) byte {
	switch {
	case '0' <= c && c <= '9':
		return c - '0'
	case 'a' <= c && c <= 'f':
		return c - 'a' + 10
	case 'A' <= c && c <= 'F':
		return c - 'A' + 10
	}
	return 255
}
