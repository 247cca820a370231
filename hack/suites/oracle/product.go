package oracle

import (
	"regexp"
	"slices"
	"strings"
)

// exceeded returns a path that the product would run although the token may not, or "". The gateway sends what the client
// sent, or what the answer says.
func (w *world) exceeded(q question, a answer) string {
	if a.log.apiToken == "" {
		return ""
	}
	_, s, target, _ := w.caller(q)
	t := w.apiTokens[a.log.apiToken[strings.LastIndexByte(a.log.apiToken, '/')+1:]]
	for _, sent := range slices.Compact([]string{target, a.target}) {
		for _, path := range runs(s.contextPath, sent) {
			if isCredentialPath(path) || !isBelow(path, s.tokenPaths) || !isBelow(path, s.limits.paths) || !isBelow(path, t.limits.paths) {
				return path
			}
		}
	}
	return ""
}

// runs lists the paths below the context path that a product may run when it is sent a raw target: the one that Tomcat maps
// the target to, and the one that the products' resource rewriting forwards it to.
func runs(contextPath, target string) (paths []string) {
	raw, _, _ := strings.Cut(target, "?")
	if mapped, ok := tomcat(raw); ok {
		if below, ok := strings.CutPrefix(mapped, contextPath); ok && (below == "" || below[0] == '/') {
			paths = append(paths, below)
		}
	}
	// The context path is cut off by its length, however it was written.
	normalized := normalizeURI(raw)
	if len(normalized) < len(contextPath) || !strings.Contains(normalized, "/_/") {
		return paths
	}
	if m := resourceRewriting.FindStringSubmatch(normalized[len(contextPath):]); m != nil {
		if forwarded, ok := tomcat("/" + m[1]); ok {
			paths = append(paths, forwarded)
		}
	}
	return paths
}

// resourceRewriting is the rule for resources that may be cached for ever.
var resourceRewriting = regexp.MustCompile(`^/s/.*/_/(.*)$`)

// tomcat maps a raw path: parameters go first, then escapes are decoded once, then dot segments are resolved and slashes
// merged (org.apache.catalina.connector.CoyoteAdapter). It is false for what is answered with 400.
func tomcat(raw string) (string, bool) {
	var decoded strings.Builder
	parameters := false
	for i := 0; i < len(raw); i++ {
		c := raw[i]
		if parameters = c != '/' && (parameters || c == ';'); parameters {
			continue
		}
		if c == '%' {
			if !isEscape(raw[i:]) {
				return "", false
			}
			if c = hex(raw[i+1])<<4 | hex(raw[i+2]); c == '/' {
				return "", false
			}
			i += 2
		}
		decoded.WriteByte(c)
	}
	if strings.ContainsAny(decoded.String(), "\\\x00") || !strings.HasPrefix(decoded.String(), "/") {
		return "", false
	}
	path := "/"
	for segment := range strings.SplitSeq(decoded.String()[1:], "/") {
		switch folder := strings.HasSuffix(path, "/"); {
		case segment == "." || segment == "":
			if !folder {
				path += "/"
			}
		case segment == "..":
			path = strings.TrimSuffix(path, "/")
			up := strings.LastIndexByte(path, '/')
			if up < 0 {
				return "", false
			}
			path = path[:up+1]
		case folder:
			path += segment
		default:
			path += "/" + segment
		}
	}
	return path, true
}

// normalizeURI is java.net.URI.normalize of a path. It knows neither parameters nor escapes.
func normalizeURI(raw string) string {
	var kept []string
	folder := false
	for segment := range strings.SplitSeq(raw, "/") {
		last := len(kept) - 1
		climbs := segment == ".." && last >= 0 && kept[last] != ".."
		folder = segment == "" || segment == "." || climbs
		switch {
		case climbs:
			kept = kept[:last]
		case !folder:
			kept = append(kept, segment)
		}
	}
	path := "/" + strings.Join(kept, "/")
	if folder && len(kept) > 0 {
		path += "/"
	}
	return path
}
