package authn

import (
	"path"
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

// issuesCredentials reports whether a canonical path is one of the credentialPaths or lies below one. The first segments do
// not matter: products serve resources below other paths too.
func issuesCredentials(path []byte) bool {
	for i, c := range path {
		if c == '/' && i+1 < len(path) && beginsCredentialPath(path[i:]) {
			return true
		}
	}
	return false
}

// beginsCredentialPath reports whether path is one of the credentialPaths or lies below one.
func beginsCredentialPath(path []byte) bool {
	for _, pattern := range credentialPaths {
		// The first letter, in lower case, rules out most patterns.
		if first := pattern[1]; (first == '*' || first == path[1]|0x20) && coversPattern(pattern, path) {
			return true
		}
	}
	return false
}

// coversPattern reports whether path begins with segments that match all segments of pattern.
func coversPattern(pattern string, path []byte) bool {
	for pattern != "" {
		if len(path) == 0 {
			return false
		}
		want, got := firstSegment(pattern), firstSegment(path)
		segment := path[1:got]
		// Only the last segment of the pattern is all that is left of it.
		if !matchesSegment(pattern[1:want], segment) && !matchesSegment(pattern[1:], withoutExtension(segment)) {
			return false
		}
		pattern, path = pattern[want:], path[got:]
	}
	return true
}

// firstSegment returns the length of the first segment of a path, with the slash before it.
func firstSegment[P string | []byte](path P) int {
	for i := 1; i < len(path); i++ {
		if path[i] == '/' {
			return i
		}
	}
	return len(path)
}

// withoutExtension returns a segment up to its last dot.
func withoutExtension(segment []byte) []byte {
	return segment[:len(segment)-len(path.Ext(string(segment)))]
}

// matchesSegment compares a segment with a pattern in lower case that has at most one star. It ignores the case of ASCII
// letters, as in usernames: it is better to refuse too much.
func matchesSegment(pattern string, segment []byte) bool {
	before, after, star := strings.Cut(pattern, "*")
	if !star {
		return username.Is(pattern, segment)
	}
	end := len(segment) - len(after)
	return end >= len(before) && username.Is(before, segment[:len(before)]) && username.Is(after, segment[end:])
}
