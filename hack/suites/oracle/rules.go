package oracle

import (
	"net"
	"regexp"
	"slices"
	"strconv"
	"strings"
)

// tokenInQuery says what becomes of a request with a token in its query, and no other credential of ours.
func tokenInQuery(c presented, query string) (answer, bool) {
	return refusal(403, "CredentialParameter", ""), c.kind == foreign && carriesToken(query)
}

// carriesToken reports whether the shape of a token is anywhere in a query, in any spelling.
func carriesToken(query string) bool {
	for i := range len(query) {
		if beginsToken(query[i:]) {
			return true
		}
	}
	return false
}

func beginsToken(text string) bool {
	for i := range 22 {
		if text == "" {
			return false
		}
		c, size := spelledByte(text)
		switch {
		case i < 4 && c != "asp_"[i], i == 20 && c != '_', i >= 4 && i != 20 && !isAlphanumeric(rune(c)):
			return false
		}
		text = text[size:]
	}
	return true
}

// spelledByte returns a byte that may be encoded, even more than once.
func spelledByte(text string) (byte, int) {
	if !isEscape(text) {
		return text[0], 1
	}
	size := 3
	c := hex(text[1])<<4 | hex(text[2])
	for c == '%' && isEscape("%"+text[size:]) {
		c, size = hex(text[size])<<4|hex(text[size+1]), size+2
	}
	return c, size
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
	accepted := slices.ContainsFunc(s.tokenPaths, func(p string) bool { return strings.HasPrefix(path, s.contextPath+p) })
	switch below := strings.TrimPrefix(path, s.contextPath); {
	case !accepted:
		return "", "path_not_accepted"
	case strings.HasPrefix(below, "/s/") && strings.Contains(below, "/_/"): // the product runs another one
		return "", "ambiguous_path"
	}
	return path, ""
}

// pathOf refuses what two servers could read differently. What is special in a name is taken literally.
func pathOf(raw string) (string, bool) {
	for i := range len(raw) {
		if c := raw[i]; c <= ' ' || c > '~' || c == '\\' || c == '#' || c == '%' && !isEscape(raw[i:]) {
			return "", false
		}
	}
	var kept []string
	segments := strings.Split(raw, "/")
	for _, segment := range segments[1:] {
		if strings.ContainsFunc(escapedIn(segment), func(c rune) bool { return c < ' ' || strings.ContainsRune("/\\\x7f", c) }) {
			return "", false
		}
		segment = decodePercent(segment)
		switch name, _, _ := strings.Cut(segment, ";"); name {
		case ".", "..":
			return "", false
		}
		if segment != "" {
			kept = append(kept, segment)
		}
	}
	path := "/" + strings.Join(kept, "/")
	if len(kept) > 0 && segments[len(segments)-1] == "" {
		path += "/"
	}
	return path, true
}

// hasSpecialCharacter reports whether a path has one in it that servers disagree about.
func hasSpecialCharacter(rawPath string) bool {
	return strings.Contains(rawPath, ";") || strings.ContainsAny(escapedIn(rawPath), ";%#")
}

// credentialPaths issue or set other credentials, at any depth.
var credentialPaths = regexp.MustCompile(`/(rest/(pat|auth|tsv|oauth2|access-tokens|authconfig|applinks(-oauth)?|usermanagement` +
	`|gadget/[^/]*/login|api/[^/]*/(user/|myself/)?password|api/(admin/)?user/[^/]*/password)` +
	`|plugins/(personalaccesstokens|servlet/(oauth[^/]*|applinks))` +
	`|(change|set)password[^/]*\.jspa|[^/]*changemypassword\.action)(/|$)`)

func isCredentialPath(below string) bool { return credentialPaths.MatchString(lower(below)) }

// targetOf returns what the product is to be asked for.
func targetOf(target string) string {
	path, query, asked := strings.Cut(target, "?")
	for strings.Contains(path, "//") {
		path = strings.ReplaceAll(path, "//", "/")
	}
	if asked {
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
	return clientAddress(net.ParseIP(hostOf(text)))
}

// hostOf returns an address without its port or brackets, as proxies write them.
func hostOf(text string) string {
	inBrackets, after, closed := strings.Cut(strings.TrimPrefix(text, "["), "]")
	switch {
	case strings.HasPrefix(text, "["):
		if port, ok := strings.CutPrefix(after, ":"); closed && strings.Contains(inBrackets, ":") && (after == "" || ok && isPort(port)) {
			return inBrackets
		}
		return ""
	case strings.Count(text, ":") == 1:
		host, port, _ := strings.Cut(text, ":")
		if isPort(port) {
			return host
		}
		return ""
	}
	return text
}

func isPort(text string) bool {
	n, err := strconv.Atoi(text)
	return err == nil && n >= 0 && n < 1<<16 && !strings.ContainsAny(text, "+-")
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
