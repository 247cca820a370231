package oracle

import (
	"fmt"
	"net/url"
	"strings"
)

var ordinaryPaths = []string{
	"/rest/api/2/search", "/rest/api/2/issue/ABC-1", "/rest/api/latest/search", "/rest/agile/1.0/board", "/rest/api/content", "/rest/api/2/user",
}

var otherPaths = []string{
	"/rest/api/2", "/rest/api/20", "/rest/", "/rest", "/restful/x", "/plugins/servlet/x/y", "/plugins/servlet/x", "/secure/attachment/1/a.txt", "/browse/ABC-1", "/", "",
	"/secure/attachment/1/100%25.txt", "/secure/attachment/1/a%23b;c.txt", "/rest/api/2/attachment/a%3Bb", "/rest/x%23", "/rest/a;b=c/d", "/rest//api///2/search",
	"/rest/api/2/issue", "/rest/api/2/issue/ABC-1/comment/2", "/rest/api/2/user/search", "/rest/api-tokens/latest/", "/secure/Dashboard.jspa", "/REST/api/2", "/rest/api/2/userpassword",
}

var delicatePaths = []string{
	"/rest/pat/latest/tokens", "/rest/pat", "/xrest/pat", "/restx/pat", "/rest/xpat", "/x/xrest/auth/1", "/xplugins/servlet/oauth/x", "/xchangepassword.jspa", "/REST/Pat/latest", "/rest/patx", "/rest/pat.json", "/rest/pat.json/x", "/rest/pat.a.b", "/rest/pat./", "/rest/gadget/1.0/login.json", "/setpassword.jspa.x", "/rest/auth/1/session", "/rest/authx", "/rest/oauth2/latest/token", "/rest/oauth", "/rest/access-tokens/1",
	"/rest/access-tokens", "/plugins/servlet/oauth/authorize", "/plugins/servlet/oauth2/x", "/plugins/servlet/OAUTH", "/plugins/servlet/applinks/x", "/plugins/servlet/applinksx",
	"/rest/usermanagement/1/user/password", "/rest/usermanagement", "/rest/api/2/password", "/rest/api/2/user/password", "/rest/api/latest/user/password/", "/rest/api/2/user/passwords",
	"/rest/api/password", "/rest/api/2/x/password", "/rest/api/2/user/password.json", "/rest/api/2/user/password.a.xml", "/x/rest/pat/1", "/rest/x/rest/auth/1", "/rest/rest/pat", "/rest/plugins/servlet/oauth/x", "/rest/api/2/rest/pat",
	"/plugins/personalaccesstokens/usertokens.action", "/rest/gadget/1.0/login", "/rest/gadget/login", "/rest/gadget/1/x/login", "/rest/tsv/1.0/x", "/rest/tsvx",
	"/rest/authconfig/1.0/sso", "/rest/applinks/3.0/x", "/rest/applinks-oauth/1.0", "/rest/applinksx", "/rest/api/2/myself/password", "/rest/api/user/bob/password",
	"/rest/api/user/password", "/rest/api/admin/user/bob/password", "/rest/api/admin/user/password", "/secure/ChangePassword!default.jspa", "/secure/changepassword.jspax",
	"/secure/admin/user/SetPassword.jspa", "/setpassword.jspa", "/users/viewchangemypassword.action", "/users/changemypassword.action/x", "/users/changemypassword.actionx",
	"/s/x/_/rest/api/2/search", "/s/..;/rest/api/_/rest/pat/latest/tokens", "/s/%2e%2e/rest/api/2/search/_/rest/api/2/issue", "/s/_/rest/pat", "/s//_/rest/api/2", "/s/a/b/_",
	"/s/a/b/_/", "/S/a/_/rest/api/2", "/rest/s/a/_/x", "/s/a/x_/b", "/s/a/%5f/rest/api", "/%73/a/_/rest/api", "/sx/a/_/b", "/s/rest/api/2/_/rest/pat",
}

// fragments are put into paths.
var fragments = []string{
	"/", "/.", "/x/..", "/..", ";p=1", "%2F", "%20", "%2f", "%5C", "%5c", "%25", "%3B", "%3b", "%23", "%00", "%0a", "%7F", "%1f", "%40", "%3F", "\\", "#", " ", "%", "%2", "%zz", "é",
	"%C3%A9", ";", "/%2e", "/%2E%2e", "/.%2e/", "/...", "/.a", "//", "%c0%ae", "^", "\"", "|", "/;/", "/..;x", "%ff", "+", "~", ":", "@", "%2e", ".", "*", "%5f", "/s/", "/_/", "x",
}

// target is the raw path and query of a client's request.
func (l *life) target(at siteName, aim known, other string) string {
	path := choose(l, ordinaryPaths)
	switch l.n(16) {
	case 12, 13:
		path = choose(l, otherPaths)
	case 14, 15:
		path = choose(l, delicatePaths)
	}
	if s := l.world.sites[at]; s != nil {
		path = s.contextPath + path
	}
	switch l.n(60) {
	case 58:
		path = choose(l, []string{"/other", "", "/jira", "/a"}) + path
	case 59:
		path = strings.ToUpper(path)
	}
	if rarely(l, 5) {
		path = l.bend(path)
		if rarely(l, 4) {
			path = l.bend(path)
		}
	}
	return "/" + strings.TrimPrefix(path, "/") + l.query(aim, other)
}

// bend writes a path differently: another one, or not.
func (l *life) bend(path string) string {
	if path == "" {
		path = "/"
	}
	i := l.n(len(path))
	switch l.n(7) {
	case 0, 1: // any character
		return path[:i] + choose(l, []string{fmt.Sprintf("%%%02x", path[i]), fmt.Sprintf("%%%02X", path[i])}) + path[i+1:]
	case 2: // before a slash
		if slash := strings.IndexByte(path[i:], '/'); slash >= 0 {
			i += slash
		}
		return path[:i] + choose(l, fragments) + path[i:]
	case 3:
		return path + choose(l, fragments)
	case 4:
		return path[:i] + strings.ToUpper(path[i:])
	case 5:
		return path + "/" + strings.Repeat(choose(l, []string{"x", "/", "%20", "x/"}), choose(l, []int{10, 1010, 1100}))
	default:
		return path[:i] + choose(l, fragments) + path[i:]
	}
}

var ordinaryQueries = []string{"", "?", "?expand=all", "?jql=project%20%3D%20ABC&fields=*all", "?a=b&c", "??", "?x=/../;%2F", "?url=https://x//y&z=//"}

var delicateNames = []string{
	"os_username", "os_password", "os_authType", "os_cookie", "OS_USERNAME", "os%5Fusername", "%6Fs_password", "os_auth%54ype", "Os_Cookie", "os_usernamex", "xos_username", "os_user",
	"os_username%00", "os_auth", "os_password%20", "os_passwor", "username", "os+username", "%6fS_%50assword",
}

// query has a question mark, or is empty.
func (l *life) query(aim known, other string) string {
	query := choose(l, ordinaryQueries)
	switch l.n(16) {
	case 13:
		return l.with(query, choose(l, delicateNames)+choose(l, []string{"=basic", "", "=", "=x%3Dy", "=asp_net", "=Basic", "=basic%20"}))
	case 14:
		if rarely(l, 3) {
			return l.with(query, choose(l, []string{"query=", "username=", "q=", "os_password=", "asp_x=", "", "jql=text~", "q=x%20"})+l.presentable(aim, other))
		}
		return l.with(query, choose(l, []string{"query=asp_net", "username=asp_build", "asp_x=1", "asp_=", "jql=text~asp_1", "q=asp", "q=%61sp_net", "q=asp_0123456789abcdef"}))
	}
	return query
}

// with adds a parameter in front, or at the end.
func (l *life) with(query, parameter string) string {
	switch {
	case query == "":
		return "?" + parameter
	case rarely(l, 30):
		return query + strings.Repeat("&a=b", 300) + "&" + parameter
	case rarely(l, 3):
		return "?" + parameter + "&" + strings.TrimPrefix(query, "?")
	}
	return query + "&" + parameter
}

// presentable is a token in a query, or nearly one, in some spelling.
func (l *life) presentable(aim known, other string) string {
	text := aim.text
	switch l.n(8) {
	case 4:
		text = other
	case 5:
		text = text[:min(len(text), 20+l.n(4))]
	case 6:
		text = choose(l, []string{"x", "Bearer ", "%20", "+", "\"", "asp_", "alice:"}) + text
	case 7:
		text += choose(l, []string{"x", "%20", ";", "#"})
	}
	text = strings.ReplaceAll(strings.ReplaceAll(text, "\n", "%0a"), "#", "%23")
	if strings.ContainsAny(text, "&=") {
		text = url.QueryEscape(text)
	}
	if text != "" && rarely(l, 3) {
		i := l.n(min(len(text), 22))
		text = text[:i] + fmt.Sprintf(choose(l, []string{"%%%02x", "%%%02X", "%%25%02x", "%%2525%02X"}), text[i]) + text[i+1:]
	}
	return text
}
