// Package selfservice lets owners list, create, rotate and revoke their tokens, and lets the operator act for them at the
// product. The REST API and the page call it.
package selfservice

import (
	"context"
	"io"
	"sync"
	"time"

	"github.com/go-logr/logr"
	"k8s.io/utils/clock"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"apitokens.dev/operator/internal/atlassian"
	"apitokens.dev/operator/internal/audit"
	"apitokens.dev/operator/internal/authn"
)

// Product is the API of Jira or Confluence that is called on behalf of owners. *atlassian.Client implements it.
type Product interface {
	WhoAmI(ctx context.Context, u atlassian.Upstream, as atlassian.Credential) (atlassian.User, error)
	CreatePAT(ctx context.Context, u atlassian.Upstream, as atlassian.Credential, name string, days int) (atlassian.PAT, error)
	DeletePAT(ctx context.Context, u atlassian.Upstream, as atlassian.Credential, id int64) error
}

// Log records changes of tokens and authentications. *audit.Log implements it.
type Log interface {
	Observe(x audit.Exchange)
	EmitEvent(e audit.Event)
}

// Service acts for the owners of tokens.
type Service struct {
	// Client reads APITokens, AtlassianSites and their projections from a cache. It writes to the API server.
	// Live reads records from the API server.
	Client client.Client
	Live   client.Reader
	// Index knows which tokens authenticate.
	Index   *authn.Index
	Product Product
	// Log is the audit log. Logger is for faults.
	Log    Log
	Logger logr.Logger
	Clock  clock.PassiveClock
	Random io.Reader
	// Namespace holds the records and the projections of sites. CredentialsNamespace holds the upstream credentials.
	Namespace, CredentialsNamespace string

	limiter   productLimiter
	locations locations
	cleanUps  sync.WaitGroup
}

// AnswerTimeout is how long a request may wait for all its dependencies. Answers are promised within 5 s, and half a second
// remains to write them.
const AnswerTimeout = 4500 * time.Millisecond
