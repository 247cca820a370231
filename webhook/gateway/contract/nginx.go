package contract

import (
	"net/http"
	"strings"

	"apitokens.dev/operator/internal/audit"
	"apitokens.dev/operator/internal/authn"
)

// nginx reads what ingress-nginx sends for `auth-url` and what our samples send with plain nginx's auth_request:
// X-Original-URL is $scheme://$http_host$request_uri, X-Original-Method, X-Real-IP, X-Forwarded-For and X-Request-ID say the
// rest (ingress-nginx rootfs/etc/nginx/template/nginx.tmpl, v1.15.1). nginx passes everything else on as the client sent it,
// so nothing else is read; X-Original-URI in particular is the client's own.
func nginx(h http.Header, r *authn.Request) (audit.Claimed, bool) {
	url := h.Values("X-Original-Url")
	if len(url) != 1 {
		return audit.Claimed{}, false
	}
	var ok bool
	if r.Target, ok = targetOf(url[0]); !ok {
		return audit.Claimed{}, false
	}
	r.Method = only(h.Values("X-Original-Method"))
	r.Client = authn.Client{Address: only(h.Values("X-Real-Ip")), Forwarded: h.Values("X-Forwarded-For")}
	path, _, _ := strings.Cut(r.Target, "?")
	return audit.Claimed{Client: r.Client.Address, Method: r.Method, Path: path, RequestID: h.Get("X-Request-Id")}, true
}

// only returns the one value there is. Of several, nobody knows which one the gateway set.
func only(values []string) string {
	if len(values) != 1 {
		return ""
	}
	return values[0]
}

// targetOf returns the request target in $scheme://$http_host$request_uri.
// The host is the client's: one with anything in it that could pass for the beginning of the target is refused.
func targetOf(url string) (string, bool) {
	_, rest, ok := strings.Cut(url, "://")
	i := strings.IndexByte(rest, '/')
	if !ok || i < 0 || strings.Trim(rest[:i], hostCharacters) != "" {
		return "", false
	}
	return rest[i:], true
}

const hostCharacters = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789.-_:[]"
