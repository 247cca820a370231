package contract

import (
	"net/http"
	"strings"

	"apitokens.dev/operator/internal/authn"
	"apitokens.dev/operator/internal/httpheader"
)

// forward reads what gateways send that describe the request in X-Forwarded headers:
//
//   - Traefik's ForwardAuth without trustForwardHeader (pkg/middlewares/auth/forward.go, v3.7.13)
//   - Caddy's forward_auth (modules/caddyhttp/reverseproxy/forwardauth/caddyfile.go, v2.11.9)
//   - APISIX's forward-auth (apisix/plugins/forward-auth.lua)
//   - HAProxy with our Lua script
//
// They set these headers themselves. X-Original-URL and the like are the client's own, and are not read.
func forward(h http.Header, q *authn.Request) bool {
	q.Target = httpheader.Only(h, "X-Forwarded-Uri")
	q.Method = httpheader.Only(h, "X-Forwarded-Method")
	q.Client = forwardedFor(h)
	return strings.HasPrefix(q.Target, "/")
}

// fabric reads what NGINX Gateway Fabric sends for the filter ExternalAuth: $request_uri in Path and $request_method in
// Method (internal/controller/nginx/config/servers.go, v2.8.0). It says nothing of the client's address: a header that the filter
// allows is the client's own.
func fabric(h http.Header, q *authn.Request) bool {
	q.Target = httpheader.Only(h, "Path")
	q.Method = httpheader.Only(h, "Method")
	return strings.HasPrefix(q.Target, "/")
}

// envoy reads what Envoy's ext_authz sends over HTTP: the client's method, and the client's target behind the path prefix
// that is configured (api/envoy/extensions/filters/http/ext_authz/v3/ext_authz.proto, v1.40). X-Forwarded-For and
// X-Request-Id only come if they are listed in the configuration. Envoy has appended the peer's address to the first.
func envoy(r *http.Request, following string, q *authn.Request) bool {
	q.Target = following
	q.Method = r.Method
	q.Client = forwardedFor(r.Header)
	return strings.HasPrefix(following, "/")
}

// forwardedFor returns the client's address as gateways say it that append their peer's to X-Forwarded-For.
func forwardedFor(h http.Header) authn.Client {
	c := authn.Client{Forwarded: h[headerForwardedFor]}
	if n := len(c.Forwarded); n > 0 {
		last := c.Forwarded[n-1]
		c.Address = strings.Trim(last[strings.LastIndexByte(last, ',')+1:], " \t")
	}
	return c
}
