package apitoken

import (
	"fmt"

	tokensv1alpha1 "apitokens.dev/operator/api/v1alpha1"
	"apitokens.dev/operator/internal/lifetime"
	"apitokens.dev/operator/internal/record"
	"apitokens.dev/operator/internal/username"
)

// origin is what lies where a secret is imported from, without the secret in it.
type origin struct {
	// found says that there is something; err why it cannot be imported; slow that its hash would be slow.
	found bool
	err   error
	slow  bool
	// held says that it is what the record holds.
	held bool
	// twin names another APIToken of the same user that has the same secret, or nobody.
	twin record.Ref
	// others and slowOthers are how many more imported tokens the user has, and how many of them with a slow hash.
	others, slowOthers int
}

func (i *origin) message(s state) string {
	of := s.token.Spec.Credential.Imported
	message := fmt.Sprintf("The secret under the key '%s' of Secret '%s' is imported.", of.Key, of.SecretName)
	if of.Mode == tokensv1alpha1.ImportFollow && !i.found {
		message = fmt.Sprintf("There is nothing under the key '%s' of Secret '%s' any more. What was imported from there goes on: to end it, delete this APIToken.",
			of.Key, of.SecretName)
	}
	return message
}

// sourceChanged reports whether another secret lies where one is followed: also one that expired is replaced by it.
func (s state) sourceChanged() bool {
	return s.source != nil && s.token.Spec.Credential.Imported.Mode == tokensv1alpha1.ImportFollow && s.source.found && !s.source.held
}

// isImported has the secret imported at first, and when what is followed has changed. A source that is gone takes nothing
// away: that is what deleting and suspending are for.
func isImported(s state) *decision {
	held := s.record != nil
	revoked := held && s.standing(s.current()) == lifetime.Revoked
	switch {
	case held && !revoked && !s.sourceChanged():
		return nil
	case revoked && !s.sourceChanged():
		return revokedByEpoch(s)
	}
	d := refused(s)
	if d != nil && held && s.standing(s.current()) == lifetime.Valid {
		d.message += " Until then what was imported before goes on."
	}
	if d == nil {
		d = &decision{step: adopt}
	}
	return d
}

// refused returns why what lies at the source cannot be imported, or nil.
func refused(s state) *decision {
	of := s.token.Spec.Credential.Imported
	switch {
	case !s.source.found:
		return block(tokensv1alpha1.ReasonSourceMissing,
			"There is nothing to import under the key '%s' of Secret '%s'. Put the secret there.", of.Key, of.SecretName)
	case s.source.err != nil:
		return block(tokensv1alpha1.ReasonWeakCredential,
			"What lies under the key '%s' of Secret '%s' %v. Put another secret there.", of.Key, of.SecretName, s.source.err)
	}
	if d := hasNoTwin(s); d != nil {
		return d
	}
	if d := mayMint(s); d != nil {
		return d
	}
	return withinImports(s)
}

func revokedByEpoch(s state) *decision {
	what := "Delete this APIToken and import another secret"
	if s.token.Spec.Credential.Imported.Mode == tokensv1alpha1.ImportFollow {
		what = fmt.Sprintf("Put another one into Secret '%s'", s.secretName())
	}
	return block(tokensv1alpha1.ReasonRevokedByEpoch,
		"The secret was imported before `issuedAfter` of AtlassianSite '%s' (%s), so it is dead. %s.", s.site.Name, inUTC(s.site.Spec.IssuedAfter.Time), what)
}

// hasNoTwin: with one secret for two tokens nobody could tell which of them was meant, so neither authenticates.
func hasNoTwin(s state) *decision {
	if s.source.twin == (record.Ref{}) {
		return nil
	}
	return block(tokensv1alpha1.ReasonDuplicateCredential,
		"APIToken '%s' of '%s' in namespace '%s' has the same secret already. Delete one of the two, or put another secret into Secret '%s'.",
		s.source.twin.Name, username.Fold(s.token.Spec.User), s.source.twin.Namespace, s.secretName())
}

// withinImports: each imported token of a user is tried with each of his requests.
func withinImports(s state) *decision {
	switch user := username.Fold(s.token.Spec.User); {
	case s.source.others >= record.MaxImported:
		return block(tokensv1alpha1.ReasonPolicyViolation,
			"'%s' has %d imported APITokens at AtlassianSite '%s', and no more are possible. Delete one of them, or this one.", user, s.source.others, s.site.Name)
	case s.source.slow && s.source.slowOthers >= record.MaxSlow:
		return block(tokensv1alpha1.ReasonWeakCredential,
			"'%s' has %d imported APITokens with weak secrets at AtlassianSite '%s', and no more are possible. Put a longer random secret into Secret '%s'.",
			user, s.source.slowOthers, s.site.Name, s.secretName())
	}
	return nil
}
