package gateway

import (
	"regexp"

	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"

	tokensv1alpha1 "apitokens.dev/operator/api/v1alpha1"
	"apitokens.dev/operator/internal/authurl"
)

const traefikAPI, middlewareKind = "traefik.io/v1alpha1", "Middleware"

// targetHeader has the request target that a gateway may send to the product.
const targetHeader = "X-Api-Token-Target"

// traefik returns Middlewares of Traefik 3.7: one that asks, one that clears identity headers, and one for the routes to the
// portal. The routes refer to them: a router of the operator's own beside theirs could change the TLS options of their host.
func (s Site) traefik(entry tokensv1alpha1.TraefikGateway) plan {
	return plan{
		gateway: "Traefik",
		role:    "apitoken-gateway-traefik",
		field:   "middlewareName",
		objects: func(*unstructured.Unstructured) []*unstructured.Unstructured {
			middleware := func(suffix string, spec map[string]any) *unstructured.Unstructured {
				return s.object(traefikAPI, middlewareKind, entry.MiddlewareName+suffix, spec)
			}
			return []*unstructured.Unstructured{
				middleware("-clear", map[string]any{"headers": s.clearedHeaders()}),
				middleware("", map[string]any{"forwardAuth": map[string]any{
					"address": s.authURL(authurl.Forward),
					// The client's own X-Forwarded-Uri and X-Forwarded-Method must not count.
					"trustForwardHeader": false,
					"authRequestHeaders": values("Authorization", "Cookie", "X-Request-Id"),
					// A header that is not listed passes from the client to the product unchanged.
					// No answer has an Upgrade: so no request that is asked about becomes a WebSocket.
					"authResponseHeaders": values(append(s.answerHeaders(), targetHeader, "Upgrade")...),
					"maxResponseBodySize": int64(4096),
				}}),
				middleware("-portal", s.toPortal()),
			}
		},
	}
}

// clearedHeaders removes identity headers from requests and answers: they are the webhook's alone, and not for clients. An empty
// value means removal.
func (s Site) clearedHeaders() map[string]any {
	request, response := map[string]any{targetHeader: ""}, map[string]any{"Authorization": ""}
	for _, name := range s.identityHeaders() {
		request[name], response[name] = "", ""
	}
	return map[string]any{"customRequestHeaders": request, "customResponseHeaders": response}
}

// toPortal puts the portal's mount in the place of the context path.
func (s Site) toPortal() map[string]any {
	mount := portalMount(s)
	if s.Base.Path == "" {
		return map[string]any{"addPrefix": map[string]any{"prefix": mount}}
	}
	return map[string]any{"replacePathRegex": map[string]any{"regex": "^" + regexp.QuoteMeta(s.Base.Path) + "(/.*)$", "replacement": mount + "$1"}}
}
