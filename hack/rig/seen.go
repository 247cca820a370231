package rig

import (
	"slices"

	"apitokens.dev/operator/hack/double"
)

// ThroughNginx are the requests that reached a product by the gateway. The operator asks the product too, whenever it likes,
// and says nothing of whom it forwards for.
func ThroughNginx(product interface{ Requests() []double.Seen }) []double.Seen {
	return slices.DeleteFunc(product.Requests(), func(s double.Seen) bool { return s.Header.Get("X-Forwarded-For") == "" })
}
