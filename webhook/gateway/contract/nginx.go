package contract

import (
	"net/http"
	"strings"

	"apitokens.dev/operator/internal/authn"
	"apitokens.dev/operator/internal/httpheader"
)

// nginx reads what ingress-nginx sends for `auth-url`, and what our samples send with auth_request of plain nginx
// (ingress-nginx rootfs/etc/nginx/template/nginx.tmpl, v1.15.1):
//
//   - X-Original-URL is $scheme://$http_host$request_uri
//   - X-Original-Method, X-Real-IP, X-Forwarded-For and X-Request-ID say the rest
//
// nginx passes all other headers on as the client sent them, so nothing else is read. X-Original-URI in particular is the
// client's own.
func nginx(h http.Header, q *authn.Request) (ok bool) {
	q.Target, ok = targetOf(httpheader.Only(h, "X-Original-Url"))
	q.Method = httpheader.Only(h, "X-Original-Method")
	q.Client = authn.Client{Address: httpheader.Only(h, "X-Real-Ip"), Forwarded: h[headerForwardedFor]}
	return ok
}

// targetOf returns the request target in $scheme://$http_host$request_uri. The host comes from the client. One with a
// character that could look like the beginning of the target is refused.
func targetOf(url string) (string, bool) {
	_, rest, ok := strings.Cut(url, "://")
	i := strings.IndexByte(rest, '/')
	if !ok || i < 0 || !isHost(rest[:i]) {
		return "", false
	}
	return rest[i:], true
}

// isHost reports whether a text has only characters of hosts and ports.
func isHost(text string) bool {
	for i := range len(text) {
		if !hostCharacter[text[i]] {
			return false
		}
	}
	return true
}

var hostCharacter = func() (all [256]bool) {
	for _, c := range []byte("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789.-_:[]") {
		all[c] = true
	}
	return all
}()
