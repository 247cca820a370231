package portal

import (
	"context"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"apitokens.dev/operator/webhook/authn"
)

// What decides without a cluster is tested without one.
const (
	MaxAsking  = maxAsking
	MaxWaiting = maxWaiting
)

var (
	NamePrefix = namePrefix
	WithoutIDs = withoutIDs
)

// Turns bounds what products are asked.
type Turns struct{ turns }

// Take waits for a turn.
func (t *Turns) Take(ctx context.Context, site string) (done func(), ok bool) {
	return t.take(ctx, authn.SiteName{Namespace: "jira", Name: site})
}

// Sites is of how many sites anything is known.
func (t *Turns) Sites() int { return len(t.of) }

// Refusal is what the schema has against an APIToken, in the words of the REST API.
func Refusal(field, message string) *Problem {
	return refusal(metav1.StatusCause{Field: field, Message: message})
}
