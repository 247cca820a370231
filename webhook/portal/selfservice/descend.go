package selfservice

import (
	"slices"

	tokensv1alpha1 "apitokens.dev/operator/api/v1alpha1"
)

// Descendants returns how many of the caller's tokens were created with t, with those, and so on.
func (s *Service) Descendants(c *Caller, t Token) int {
	rest := s.own(c)
	next := []string{string(t.object.UID)}
	n := 0
	for len(next) > 0 {
		parent := next[0]
		next = next[1:]
		rest = slices.DeleteFunc(rest, func(o *tokensv1alpha1.APIToken) bool {
			r := s.Index.Record(string(o.UID))
			child := o.Spec.CreatedBy.UID == parent || r != nil && slices.Contains(r.Ancestors, parent)
			if child {
				next = append(next, string(o.UID))
				n++
			}
			return child
		})
	}
	return n
}
