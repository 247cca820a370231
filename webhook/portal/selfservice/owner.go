package selfservice

import (
	"slices"

	tokensv1alpha1 "apitokens.dev/operator/api/v1alpha1"
	"apitokens.dev/operator/internal/authn"
	"apitokens.dev/operator/internal/record"
	"apitokens.dev/operator/internal/username"
)

// owner is a user of the product, by name and by key. A token belongs to the key in its record. Only a token whose key is not known
// yet belongs to the name. So a user who gets the name of another one does not get the tokens, and a user who is renamed keeps them.
type owner struct {
	// user is folded. key is empty if it is not known: then only the name counts.
	user, key string
}

func (c *Caller) owner() owner { return owner{c.User, c.key} }

// has reports whether a token with this record belongs to the owner.
func (o owner) has(r *record.Record) bool {
	if o.key == "" || r.UserKey == "" {
		return r.User == o.user
	}
	return r.UserKey == o.key
}

// own returns the caller's APITokens, including those that are still being created.
func (s *Service) own(c *Caller) []*tokensv1alpha1.APIToken { return s.ownedBy(c.Ref(), c.owner()) }

func (s *Service) ownedBy(site authn.SiteName, o owner) []*tokensv1alpha1.APIToken {
	all := slices.DeleteFunc(s.Objects.OwnedBy(site, o.user), func(t *tokensv1alpha1.APIToken) bool {
		r := s.Index.Record(string(t.UID))
		return r != nil && !o.has(r)
	})
	if o.key == "" {
		return all
	}
	for _, t := range s.Objects.OfKey(site, o.key) {
		if username.Fold(t.Spec.User) != o.user {
			all = append(all, t)
		}
	}
	return all
}
