package audit

import (
	"time"

	"apitokens.dev/operator/internal/authn"
)

// Exchange is one request and its answer, for the log and the metrics.
// Only the decision in it is verified: the rest is what the gateway says.
type Exchange struct {
	Site     authn.SiteName
	Decision authn.Decision
	Claimed  Claimed
	Peer     string
	Took     time.Duration
}

// Claimed is what a gateway says of the client, for the log alone.
type Claimed struct {
	Client, Method, Path, RequestID string
}
