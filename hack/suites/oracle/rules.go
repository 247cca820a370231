package oracle

import (
	"net"
	"regexp"
	"slices"
	"strconv"
	"strings"
)

// containsToken reports whether a raw query has anything in it with the shape of a token: asp_, 16 digits, an underscore and
// one more digit. A product may decode it more than once.
func containsToken(query string) bool {
	for decoded := decodePercent(query); ; query, decoded = decoded, decodePercent(decoded) {
		for i := range len(query) - 21 {
			if strings.HasPrefix(query[i:], "asp_") && query[i+20] == '_' && !strings.ContainsFunc(query[i+4:i+20]+query[i+21:i+22], isNoDigit) {
				return true
			}
		}
		if decoded == query {
			return false
		}
	}
}

// tokenShape is what containsToken finds, as an expression: each character may be encoded, and its percent sign again.
var tokenShape = regexp.MustCompile(`(a|%(25)*61)(s|%(25)*73)(p|%(25)*70)(_|%(25)*5[fF])` + anyDigit + `{16}(_|%(25)*5[fF])` + anyDigit)

const anyDigit = `([0-9A-Za-z]|%(25)*(3[0-9]|[46][1-9A-Fa-f]|[57][0-9Aa]))`

func isNoDigit(c rune) bool { return !isAlphanumeric(c) }

// seraphParameters are those that the product takes before it looks at Authorization.
var seraphParameters = []string{"os_username", "os_password", "os_authtype", "os_cookie"}

// namesSeraphParameter leaves out os_authType=basic, which only asks for a challenge.
func namesSeraphParameter(query string) bool {
	parameters := slices.DeleteFunc(strings.Split(query, "&"), func(p string) bool { return p == "os_authType=basic" })
	return anyParameter(strings.Join(parameters, "&"), func(name, _ string) bool { return slices.Contains(seraphParameters, lower(name)) })
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

// judgePath returns a path as the product would see it, or why no token counts there. A special path has characters in it
// that servers disagree about, and that names of files have too.
func judgePath(s *site, raw string) (path string, special bool, wrong string) {
	path, special, ok := pathOf(raw)
	if !ok {
		return "", false, "ambiguous_path"
	}
	below, ok := strings.CutPrefix(path, s.contextPath)
	if !ok || !slices.ContainsFunc(s.tokenPaths, func(p string) bool { return strings.HasPrefix(below, p) }) {
		return "", false, "path_not_accepted"
	}
	// The products' resource rewriting makes another path of it.
	if strings.HasPrefix(strings.ToLower(below), "/s/") && strings.Contains(below, "/_/") {
		return "", false, "ambiguous_path"
	}
	return path, special, ""
}

// pathOf refuses what two servers could read differently.
func pathOf(raw string) (path string, special, ok bool) {
	for i := range len(raw) {
		if c := raw[i]; c <= ' ' || c > '~' || c == '\\' || c == '#' || c == '%' && !isEscape(raw[i:]) {
			return "", false, false
		}
	}
	var kept []string
	for segment := range strings.SplitSeq(raw, "/") {
		decoded := decodePercent(segment)
		name, _, _ := strings.Cut(decoded, ";")
		if name == "." || name == ".." || strings.ContainsFunc(decoded, func(c rune) bool { return c < ' ' || strings.ContainsRune("/\\\x7f", c) }) {
			return "", false, false
		}
		special = special || strings.ContainsAny(decoded, ";%#")
		if segment != "" {
			kept = append(kept, decoded)
		}
	}
	path = "/" + strings.Join(kept, "/")
	if len(kept) > 0 && strings.HasSuffix(raw, "/") {
		path += "/"
	}
	return path, special, true
}

// credentialPaths issue or set a credential, at any depth. The products strip an extension from the last segment.
var credentialPaths = regexp.MustCompile(`/(rest/(pat|auth|tsv|oauth2|access-tokens|authconfig|applinks(-oauth)?|usermanagement` +
	`|gadget/[^/]*/login|api/[^/]*/(user/|myself/)?password|api/(admin/)?user/[^/]*/password)` +
	`|plugins/(personalaccesstokens|servlet/(oauth[^/]*|applinks))` +
	`|(change|set)password[^/]*\.jspa|[^/]*changemypassword\.action)(\.[^/.]*)?(/|$)`)

func isCredentialPath(below string) bool { return credentialPaths.MatchString(lower(below)) }

// targetOf returns what the product is to be asked for: the client's target without repeated slashes in its path.
func targetOf(target string) string {
	path, query, asks := strings.Cut(target, "?")
	for strings.Contains(path, "//") {
		path = strings.ReplaceAll(path, "//", "/")
	}
	if asks {
		path += "?" + query
	}
	return path
}

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
	return addressIn(text)
}

// addressIn reads an address, which may have a port, and then has brackets if it is one of IPv6.
func addressIn(text string) clientAddress {
	host, port, found := text, "", false
	switch bare, bracketed := strings.CutPrefix(text, "["); {
	case bracketed:
		if host, port, found = strings.Cut(bare, "]"); !found || !strings.Contains(host, ":") {
			return nil
		}
		if port, found = strings.CutPrefix(port, ":"); !found && port != "" {
			return nil
		}
	case strings.Count(text, ":") == 1:
		host, port, found = strings.Cut(text, ":")
	}
	if n, err := strconv.ParseUint(port, 10, 16); found && (err != nil || n > 65535) {
		return nil
	}
	return clientAddress(net.ParseIP(host))
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
