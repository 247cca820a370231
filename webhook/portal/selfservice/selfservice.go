// Package selfservice lets owners list, create, rotate and revoke their tokens, and lets the operator act for them at the
// product. The REST API and the page call it.
package selfservice

import (
	"context"
	"io"
	"sync"
	"time"

	"github.com/go-logr/logr"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/utils/clock"
	"sigs.k8s.io/controller-runtime/pkg/client"

	tokensv1alpha1 "apitokens.dev/operator/api/v1alpha1"
	"apitokens.dev/operator/internal/atlassian"
	"apitokens.dev/operator/internal/audit"
	"apitokens.dev/operator/internal/authn"
	"apitokens.dev/operator/internal/feed"
)

// Product is the API of Jira or Confluence that is called on behalf of owners. *atlassian.Client implements it.
type Product interface {
	WhoAmI(ctx context.Context, u atlassian.Upstream, as atlassian.Credential) (atlassian.User, error)
	CreatePAT(ctx context.Context, u atlassian.Upstream, as atlassian.Credential, name string, days int) (atlassian.PAT, error)
	ListPATs(ctx context.Context, u atlassian.Upstream, as atlassian.Credential) ([]atlassian.PAT, error)
	DeletePAT(ctx context.Context, u atlassian.Upstream, as atlassian.Credential, id int64) error
}

// Log records changes of tokens and authentications. *audit.Log implements it.
type Log interface {
	Observe(x *audit.Exchange)
	EmitEvent(e audit.Event)
}

// Objects are the objects that the portal has seen, without those that are being deleted. The caller must not change them.
// *feed.Objects implements it.
type Objects interface {
	// Loaded reports whether everything was seen that existed when the portal started.
	Loaded() bool
	Site(name types.NamespacedName) *tokensv1alpha1.AtlassianSite
	// Projection returns the Secret with the projection of a site.
	Projection(namespace string, site types.NamespacedName) *corev1.Secret
	APIToken(name types.NamespacedName) *tokensv1alpha1.APIToken
	// Summaries calls yield for each APIToken of a site, in no order, until that returns false.
	Summaries(site authn.SiteName, yield func(feed.Summary) bool)
	// OwnedBy returns the APITokens of a user at a site. user is folded.
	OwnedBy(site authn.SiteName, user string) []*tokensv1alpha1.APIToken
	// OfKey returns the APITokens whose records name this user key.
	OfKey(site authn.SiteName, key string) []*tokensv1alpha1.APIToken
	// OfTokenID returns the APITokens whose records have this token id, at any site.
	OfTokenID(id string) []*tokensv1alpha1.APIToken
}

// Service acts for the owners of tokens.
type Service struct {
	// Client reads from the API server and writes to it. It has no cache.
	Client  client.Client
	Objects Objects
	// Index knows which tokens authenticate.
	Index   *authn.Index
	Product Product
	// Log is the audit log. Logger is for faults.
	Log    Log
	Logger logr.Logger
	Clock  clock.PassiveClock
	Random io.Reader
	// Namespace holds the records, and the projections and enrolments of sites. In IntakeNamespace the portal hands over personal
	// access tokens.
	Namespace, IntakeNamespace string
	// Lease is the name of the lease in Namespace that the leading controller renews.
	Lease string

	limiter   productLimiter
	sessions  sessions
	locations locations
	lookups   gate
	cleanUps  sync.WaitGroup
}

// AnswerTimeout is how long a request may wait for all its dependencies. Answers are promised within 5 s, and half a second
// remains to write them.
const AnswerTimeout = 4500 * time.Millisecond
