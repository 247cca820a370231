// Package ext has the types that Traefik leaves to extensions. In Traefik's own go.mod a folder of its source replaces it.
package ext

type (
	// HTTP extends a dynamic configuration.
	HTTP struct{}
	// Router extends a router.
	Router struct{}
	// Middleware extends a middleware.
	Middleware struct{}
)
