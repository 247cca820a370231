package fakeproduct

import (
	"errors"
	"net/url"
	"regexp"
	"strings"
)

// errTarget means that Tomcat answers the request target with 400.
var errTarget = errors.New("invalid URI")

// tomcatPath returns the path by which Tomcat maps a request target as it came
// over the wire.
//
// The order is Tomcat's own: path parameters go first, while the target is
// still encoded, then percent escapes are decoded once, then the path is
// normalised. So "/%2e%2e;x/" climbs, "%3b" is an ordinary character and
// "%252e" stays text.
//
// https://github.com/apache/tomcat/blob/main/java/org/apache/catalina/connector/CoyoteAdapter.java
// (postParseRequest, parsePathParameters, normalize).
func tomcatPath(target string) (string, error) {
	encoded, _, _ := strings.Cut(originForm(target), "?")
	if strings.ContainsFunc(encoded, illegal) {
		return "", errTarget
	}
	decoded, err := decode(cutPathParameters(encoded))
	if err != nil {
		return "", err
	}
	return normalize(decoded)
}

// originForm cuts scheme and authority from an absolute-form target.
func originForm(target string) string {
	if strings.HasPrefix(target, "/") {
		return target
	}
	_, rest, absolute := strings.Cut(target, "://")
	if !absolute {
		return target
	}
	end := strings.IndexAny(rest, "/?")
	if end < 0 || rest[end] == '?' {
		return "/"
	}
	return rest[end:]
}

// illegal reports a character that Tomcat refuses in a path unless it is
// escaped. The brackets and the bar are not among them because the server.xml
// that Jira ships relaxes those three.
// https://tomcat.apache.org/tomcat-10.1-doc/config/http.html (relaxedPathChars)
func illegal(c rune) bool {
	return c <= ' ' || c >= 0x7f || strings.ContainsRune("\"#<>\\^`{}", c)
}

// cutPathParameters drops ";name=value" from every segment.
func cutPathParameters(encoded string) string {
	segments := strings.Split(encoded, "/")
	for i, segment := range segments {
		segments[i], _, _ = strings.Cut(segment, ";")
	}
	return strings.Join(segments, "/")
}

// decode resolves percent escapes once and refuses an escaped slash, the
// default of encodedSolidusHandling.
// https://tomcat.apache.org/tomcat-10.1-doc/config/http.html
func decode(encoded string) (string, error) {
	if strings.Contains(strings.ToLower(encoded), "%2f") {
		return "", errTarget
	}
	decoded, err := url.PathUnescape(encoded)
	if err != nil {
		return "", errTarget
	}
	return decoded, nil
}

// normalize merges slashes and resolves "." and "..". It refuses a backslash
// (allowBackslash is false by default), a null byte and a step above the root.
func normalize(decoded string) (string, error) {
	if !strings.HasPrefix(decoded, "/") || strings.ContainsAny(decoded, "\\\x00") {
		return "", errTarget
	}
	var kept []string
	directory := false
	for segment := range strings.SplitSeq(decoded, "/") {
		directory = segment == "" || segment == "." || segment == ".."
		switch {
		case segment == ".." && len(kept) == 0:
			return "", errTarget
		case segment == "..":
			kept = kept[:len(kept)-1]
		case !directory:
			kept = append(kept, segment)
		}
	}
	if len(kept) == 0 {
		return "/", nil
	}
	path := "/" + strings.Join(kept, "/")
	if directory {
		path += "/"
	}
	return path, nil
}

// rewrites is the products' rule for resources that browsers may cache for
// ever: it forwards to the path behind /_/, inside the server.
// https://bitbucket.org/atlassian/atlassian-plugins (urlrewrite.xml of Jira and
// Confluence: "^/s/(.*)/_/(.*)" to "/$2"). The case does not matter: the
// attribute casesensitive of UrlRewriteFilter is false by default.
// https://tuckey.org/urlrewrite/manual/4.0/
var rewrites = regexp.MustCompile(`^/(?i:s)/(.*)/_/(.*)$`)

// rewritten returns the path inside the context path that the resource
// rewriting forwards a request target to. The rule matches the raw path as
// java.net.URI.normalize() returns it: that neither decodes nor knows
// parameters. The path behind it is mapped as Tomcat maps every other.
func (p *Product) rewritten(target string) (path string, ok bool) {
	raw, _, _ := strings.Cut(originForm(target), "?")
	raw = normalizeURI(raw)
	if len(raw) < len(p.context) {
		return "", false
	}
	match := rewrites.FindStringSubmatch(raw[len(p.context):])
	if match == nil {
		return "", false
	}
	path, err := tomcatPath("/" + match[2])
	return path, err == nil
}

// normalizeURI resolves dot segments that are not encoded, and merges slashes.
// Dot segments above the root stay.
// https://docs.oracle.com/en/java/javase/17/docs/api/java.base/java/net/URI.html#normalize()
func normalizeURI(raw string) string {
	var kept []string
	for segment := range strings.SplitSeq(raw, "/") {
		switch last := len(kept) - 1; {
		case segment == "" || segment == ".":
		case segment == ".." && last >= 0 && kept[last] != "..":
			kept = kept[:last]
		default:
			kept = append(kept, segment)
		}
	}
	path := "/" + strings.Join(kept, "/")
	if folder := strings.HasSuffix(raw, "/") || strings.HasSuffix(raw, "/.") || strings.HasSuffix(raw, "/.."); folder && path != "/" {
		path += "/"
	}
	return path
}

// inContext cuts the context path, which Tomcat matches by whole segments
// after normalising.
func (p *Product) inContext(path string) (string, bool) {
	inside, ok := strings.CutPrefix(path, p.context)
	return inside, ok && (inside == "" || inside[0] == '/')
}
