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

// credentialFolder is a segment of credentialPaths: the whole, up to its star, and behind it.
type credentialFolder struct {
	segment, before, after string
	below                  []branch
	// initials has the initialBit of each segment below that begins with a certain character. shortestAny is the length of the shortest
	// segment that matches one of the others.
	initials    uint32
	shortestAny int
}

// branch leads to the folder of a segment that may follow. It has what decides about most segments, so that a request reads little memory.
type branch struct {
	// first is the first character, or 0 if it may be any. shortest is the length of the shortest segment that matches.
	first, shortest byte
	// star means that longer segments may match too. ends means that one of credentialPaths ends here.
	star, ends bool
	to         *credentialFolder
}

var credentialRoot = func() (root credentialFolder) {
	root.shortestAny = math.MaxInt
	for _, pattern := range credentialPaths {
		at, last := &root, (*branch)(nil)
		for segment := range strings.SplitSeq(pattern[1:], "/") {
			last = at.branch(segment)
			at = last.to
		}
		last.ends = true
	}
	return root
}()

// initialBit stands for a character in a set, the same for both cases of a letter. Others may have the same.
func initialBit(c byte) uint32 { return 1 << (c & 31) }

// branch returns the branch for a segment, and adds it if there is none.
func (f *credentialFolder) branch(segment string) *branch {
	for i, b := range f.below {
		if b.to.segment == segment {
			return &f.below[i]
		}
	}
	before, after, star := strings.Cut(segment, "*")
	to := &credentialFolder{segment: segment, before: before, after: after, shortestAny: math.MaxInt}
	b := branch{shortest: byte(len(before) + len(after)), star: star, to: to}
	if before != "" {
		b.first = initial(before)
		f.initials |= initialBit(before[0])
	} else {
		f.shortestAny = min(f.shortestAny, int(b.shortest))
	}
	f.below = append(f.below, b)
	return &f.below[len(f.below)-1]
}

// initial returns the first character of a segment, the same for both cases of a letter.
func initial[T string | []byte](segment T) byte { return segment[0] | 0x20 }

// issuesCredentials reports whether a canonical path is one of the credentialPaths or lies below one. The first segments do
// not matter: products serve resources below other paths too.
func issuesCredentials(path []byte) bool {
	for i, c := range path {
		if c == '/' && credentialRoot.covers(path[i:]) {
			return true
		}
	}
	return false
}

// covers reports whether one of the credentialPaths below f is a path, or a folder above it. The last segment of one matches with an
// extension too.
func (f *credentialFolder) covers(path []byte) bool {
	if len(path) < 2 || f.initials&initialBit(path[1]) == 0 && len(path) <= f.shortestAny {
		return false
	}
	var segment, bare, rest []byte
	for i := range f.below {
		b := &f.below[i]
		if b.first != 0 && b.first != initial(path[1:]) || int(b.shortest) >= len(path) {
			continue
		}
		if segment == nil {
			segment, rest = cutSegment(path)
			bare = withoutExtension(segment)
		}
		exact := b.matches(segment)
		if b.ends && (exact || b.matches(bare)) || exact && b.to.covers(rest) {
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
func (b *branch) matches(segment []byte) bool {
	between := len(segment) - int(b.shortest)
	if between < 0 || between > 0 && !b.star {
		return false
	}
	before, after := b.to.before, b.to.after
	return username.Is(before, segment[:len(before)]) && username.Is(after, segment[len(segment)-len(after):])
}
