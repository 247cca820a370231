package authn

import (
	"bytes"
	"slices"
	"strings"

	"apitokens.dev/operator/internal/username"
)

// credentialPaths are the resources of Jira and Confluence that issue or set a credential, in lower case. A token must not
// turn itself into a credential that outlives it. A star stands for any characters of one segment.
//
// Resources that change users or groups are not among them.
//
// The products strip an extension from REST paths: /rest/api/2/user/password.json is /rest/api/2/user/password (Atlassian
// REST, com.atlassian.plugins.rest.common.filter.ExtensionJerseyFilter: txt, htm, html, json, xml, atom). So the last segment
// matches with an extension too, whichever it is.
var credentialPaths = [...]string{
	// Personal access tokens (Atlassian, "Using Personal Access Tokens": REST API and, in Confluence, the page).
	"/rest/pat",
	"/plugins/personalaccesstokens",
	// Sessions and WebSudo (Jira REST API reference, "session" and "websudo").
	"/rest/auth",
	// The login of gadgets makes a session too (Jira, com.atlassian.jira.gadgets).
	"/rest/gadget/*/login",
	// Sessions, second factors and recovery codes (Atlassian, "Two-step verification REST API").
	"/rest/tsv",
	// OAuth 2.0 tokens and clients (Atlassian, "OAuth 2.0 provider API").
	"/rest/oauth2",
	// OAuth 1.0a tokens (Atlassian, "OAuth for REST APIs": request-token, authorize, access-token, users/access-tokens).
	"/plugins/servlet/oauth*",
	// HTTP access tokens (Bitbucket REST API reference, "Authentication").
	"/rest/access-tokens",
	// Secrets of identity providers, and who may sign in how (Atlassian, "SSO for Data Center REST API": idps, sso).
	"/rest/authconfig",
	// OAuth consumers and passwords of application links (Atlassian Application Links: authentication/consumer, provider).
	"/rest/applinks",
	"/rest/applinks-oauth",
	"/plugins/servlet/applinks",
	// Sessions and passwords of users (Crowd REST API reference, which Jira serves as a Crowd server).
	"/rest/usermanagement",
	// Passwords (Jira REST API reference, "password", "user", "myself").
	"/rest/api/*/password",
	"/rest/api/*/user/password",
	"/rest/api/*/myself/password",
	// Passwords (Confluence REST API reference since 8.4, "User" and "Admin User").
	"/rest/api/user/*/password",
	"/rest/api/admin/user/*/password",
	// The pages that set passwords (Jira ChangePassword, SetPassword; Confluence changemypassword). The path before an action
	// of Jira does not matter.
	"/changepassword*.jspa",
	"/setpassword*.jspa",
	"/*changemypassword.action",
}

// segmentPattern is a segment of a credentialPath: any characters may stand between the two parts if it has a star.
type segmentPattern struct {
	before, after string
	star          bool
}

// credentialFolder is a segment of credentialPaths. One of them may end with it, and others go on below it.
type credentialFolder struct {
	segmentPattern

	ends bool
	// below are the segments that may follow, by what beginning returns for the segments that they match.
	below [beginnings][]*credentialFolder
}

// beginnings is the number of values of beginning.
const beginnings = 32

// beginning returns a number for the first character of a segment, the same for both cases of a letter. An empty segment matches only
// patterns that are in each list.
func beginning[T string | []byte](segment T) byte {
	if len(segment) == 0 {
		return 0
	}
	return segment[0] % beginnings
}

var credentialRoot = func() (root credentialFolder) {
	for _, pattern := range credentialPaths {
		at := &root
		for segment := range strings.SplitSeq(pattern[1:], "/") {
			at = at.folder(segment)
		}
		at.ends = true
	}
	return root
}()

// folder returns the folder below f with a pattern, and adds it if there is none.
func (f *credentialFolder) folder(segment string) *credentialFolder {
	before, after, star := strings.Cut(segment, "*")
	p := segmentPattern{before, after, star}
	for _, other := range slices.Concat(f.below[:]...) {
		if other.segmentPattern == p {
			return other
		}
	}
	added := &credentialFolder{segmentPattern: p}
	for i := range f.below {
		if before == "" || i == int(beginning(before)) {
			f.below[i] = append(f.below[i], added)
		}
	}
	return added
}

// issuesCredentials reports whether a canonical path is one of the credentialPaths or lies below one. The first segments do
// not matter: products serve resources below other paths too.
func issuesCredentials(path []byte) bool {
	for i, c := range path {
		if c == '/' && i+1 < len(path) && credentialRoot.covers(path[i:]) {
			return true
		}
	}
	return false
}

// covers reports whether one of the credentialPaths below f is a path, or a folder above it. The last segment of one matches with an
// extension too.
func (f *credentialFolder) covers(path []byte) bool {
	if len(path) == 0 {
		return false
	}
	segment, rest := cutSegment(path)
	bare := withoutExtension(segment)
	extended := len(bare) < len(segment)
	for _, b := range f.below[beginning(segment)] {
		exact := b.matches(segment)
		if b.ends && (exact || extended && b.matches(bare)) || exact && b.covers(rest) {
			return true
		}
	}
	return false
}

// cutSegment returns the first segment of a path, and what follows it.
func cutSegment(path []byte) (segment, rest []byte) {
	if i := bytes.IndexByte(path[1:], '/'); i >= 0 {
		return path[1 : i+1], path[i+1:]
	}
	return path[1:], nil
}

// withoutExtension returns a segment up to its last dot.
func withoutExtension(segment []byte) []byte {
	if i := bytes.LastIndexByte(segment, '.'); i >= 0 {
		return segment[:i]
	}
	return segment
}

// matches compares a segment with a pattern in lower case. It ignores the case of ASCII letters, as in usernames: it is better to
// refuse too much.
func (p *segmentPattern) matches(segment []byte) bool {
	between := len(segment) - len(p.before) - len(p.after)
	if between < 0 || between > 0 && !p.star {
		return false
	}
	return username.Is(p.before, segment[:len(p.before)]) && username.Is(p.after, segment[len(segment)-len(p.after):])
}
