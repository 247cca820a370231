package rig

import (
	"slices"

	"apitokens.dev/operator/hack/lib/fakeproduct"
)

// ThroughNginx returns the requests that reached a product through the gateway, which sets X-Forwarded-For. Requests of
// the operator itself have no such header.
func ThroughNginx(product interface{ Requests() []fakeproduct.Seen }) []fakeproduct.Seen {
	return slices.DeleteFunc(product.Requests(), func(s fakeproduct.Seen) bool { return s.Header.Get("X-Forwarded-For") == "" })
}
