// Package httpheader reads headers that a proxy sets, and has one that it must pass on.
package httpheader

import "net/http"

// Challenge is the WWW-Authenticate of every 401 of the webhook.
const Challenge = `Basic realm="API token", charset="UTF-8"`

// Only returns the value of a header that has exactly one, else "". With several values nobody knows which one the proxy
// set and which one the client sent. The name has to be spelled as net/http spells it, as in X-Request-Id.
func Only(h http.Header, name string) string {
	values := h[name]
	if len(values) != 1 {
		return ""
	}
	return values[0]
}
