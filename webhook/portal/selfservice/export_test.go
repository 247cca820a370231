package selfservice

import (
	"context"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
)

// NamePrefix needs no API server.
var NamePrefix = namePrefix

// CheckNonce needs no API server.
func (s *Service) CheckNonce(nonce string) error { return s.checkNonce(nonce) }

// NewTokenID returns the id of the token of a user's form.
func (s *Service) NewTokenID(site *Site, user, nonce string) (string, error) {
	return s.newID(&Caller{Site: site, User: user}, nonce)
}

// SchemaProblem translates a violation of the schema.
func SchemaProblem(field, message string) *Problem {
	return schemaProblem(metav1.StatusCause{Field: field, Message: message})
}

// Place returns the URL of a find as it may be shown.
var Place = place

// TellOwner tells the owner of an APIToken that a scanner found it.
func (s *Service) TellOwner(ctx context.Context, scanner string, of types.NamespacedName) {
	s.tellOwner(ctx, &Caller{scanner: scanner}, doomed{NamespacedName: of, found: true})
}
