package rig

import (
	"slices"

	"apitokens.dev/operator/hack/lib/fakeproduct"
	"apitokens.dev/operator/internal/probe"
)

// ThroughNginx returns the requests of clients that reached a product through the gateway, which sets X-Forwarded-For. Requests of
// the operator itself have no such header, but for those with which it looks at the gateway.
func ThroughNginx(product interface{ Requests() []fakeproduct.Seen }) []fakeproduct.Seen {
	return slices.DeleteFunc(product.Requests(), func(s fakeproduct.Seen) bool {
		return s.Header.Get("X-Forwarded-For") == "" || s.Header.Get("User-Agent") == probe.User
	})
}
