package rig

import (
	"slices"

	"apitokens.dev/operator/hack/lib/fakeproduct"
)

// ThroughNginx are the requests that reached a product by the gateway. The operator asks the product too, whenever it likes,
// and says nothing of whom it forwards for.
func ThroughNginx(product interface{ Requests() []fakeproduct.Seen }) []fakeproduct.Seen {
	return slices.DeleteFunc(product.Requests(), func(s fakeproduct.Seen) bool { return s.Header.Get("X-Forwarded-For") == "" })
}
