package authn

import (
	"bytes"
	"math"
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

// credentialFolder is a segment of credentialPaths: up to its star, and behind it.
type credentialFolder struct {
	before, after string
	star          bool
	// ends means that one of credentialPaths ends here.
	ends  bool
	below map[string]*credentialFolder
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

// folder returns the folder of a segment, and adds it if there is none.
func (f *credentialFolder) folder(segment string) *credentialFolder {
	if f.below == nil {
		f.below = map[string]*credentialFolder{}
	}
	if f.below[segment] == nil {
		before, after, star := strings.Cut(segment, "*")
		f.below[segment] = &credentialFolder{before: before, after: after, star: star}
	}
	return f.below[segment]
}

// shortestEnds has, for each pair of initials, the length of the shortest segment that one of credentialPaths ends with. A path without
// a segment that is so long is none of credentialPaths. Most paths are told apart by that, which reads little memory.
var shortestEnds = func() (shortest [initialPairs]byte) {
	for i := range shortest {
		shortest[i] = math.MaxUint8
	}
	for _, pattern := range credentialPaths {
		before, after, _ := strings.Cut(pattern[strings.LastIndexByte(pattern, '/')+1:], "*")
		for i := range shortest {
			if len(before) < 2 || i == initials(before) {
				shortest[i] = min(shortest[i], byte(len(before)+len(after)))
			}
		}
	}
	return shortest
}()

// initialPairs is the number of values of initials.
const initialPairs = 1 << 10

// initials stands for the first two characters of a segment, the same for both cases of a letter. Others may have the same.
func initials[T string | []byte](segment T) int { return int(segment[0]&31)<<5 | int(segment[1]&31) }

// issuesCredentials reports whether a canonical path is one of the credentialPaths or lies below one. The first segments do
// not matter: products serve resources below other paths too.
func issuesCredentials(path []byte) bool {
	if !mayIssueCredentials(path) {
		return false
	}
	for i, c := range path {
		if c == '/' && credentialRoot.covers(path[i:]) {
			return true
		}
	}
	return false
}

// mayIssueCredentials reports whether a segment of a path looks like one that credentialPaths end with.
func mayIssueCredentials(path []byte) bool {
	for len(path) > 0 {
		var segment []byte
		segment, path = cutSegment(path)
		if len(segment) >= 2 && len(segment) >= int(shortestEnds[initials(segment)]) {
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
	for _, to := range f.below {
		exact := to.matches(segment)
		if to.ends && (exact || to.matches(withoutExtension(segment))) || exact && to.covers(rest) {
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
func (f *credentialFolder) matches(segment []byte) bool {
	between := len(segment) - len(f.before) - len(f.after)
	if between < 0 || between > 0 && !f.star {
		return false
	}
	return username.Is(f.before, segment[:len(f.before)]) && username.Is(f.after, segment[len(segment)-len(f.after):])
}
