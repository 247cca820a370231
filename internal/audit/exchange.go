package audit

import (
	"time"

	"apitokens.dev/operator/internal/authn"
)

// Exchange is one request and its answer, for the log and the metrics. Only Decision is verified. The rest is the gateway's
// word.
type Exchange struct {
	Site     authn.SiteName
	Decision authn.Decision
	Claimed  Claimed
	Peer     string
	// At is when it was answered, and Took how long that took.
	At   time.Time
	Took time.Duration
}

// Claimed is the gateway's description of the client. It is for the log alone.
type Claimed struct {
	Client, Method, Path, RequestID string
}
