package apitoken

import (
	"fmt"

	tokensv1alpha1 "apitokens.dev/operator/api/v1alpha1"
	"apitokens.dev/operator/internal/lifetime"
	"apitokens.dev/operator/internal/record"
	"apitokens.dev/operator/internal/username"
)

// importSource is the Secret to import from, without the secret in it.
type importSource struct {
	// refused says why the Secret is not read, after its name in a message.
	refused error
	// found means that there is a secret. err says why it cannot be imported. slow means that its hash is slow.
	found bool
	err   error
	slow  bool
	// held means that the record holds this secret already. revoked means that it did before the revocation epoch.
	held, revoked bool
	// duplicate names an earlier APIToken of the same user with the same secret. It is empty if there is none.
	duplicate record.Ref
	// others counts the user's other imported tokens. slowOthers counts those of them with a slow hash.
	others, slowOthers int
}

func (i *importSource) message(s state) string {
	of := s.token.Spec.Credential.Imported
	message := fmt.Sprintf("The secret under the key '%s' of Secret '%s' is imported.", of.Key, of.SecretName)
	if of.Mode == tokensv1alpha1.ImportFollow && !i.found {
		message = fmt.Sprintf("There is nothing under the key '%s' of Secret '%s' any more.", of.Key, of.SecretName)
		if i.refused != nil {
			message = fmt.Sprintf("Secret '%s' %v.", of.SecretName, i.refused)
		}
		message += " The secret that was imported from there stays valid. To end it, delete this APIToken."
	}
	return message
}

// sourceChanged reports whether a followed Secret holds another secret than the record. It replaces an expired one too.
func (s state) sourceChanged() bool {
	return s.source != nil && s.token.Spec.Credential.Imported.Mode == tokensv1alpha1.ImportFollow && s.source.found && !s.source.held
}

// isImported imports the secret once, and again when a followed Secret changes. An imported secret stays valid when the
// Secret is deleted: to end it, delete or suspend the APIToken.
func isImported(s state) *decision {
	held := s.record != nil
	revoked := held && s.validity(s.current()) == lifetime.Revoked
	switch {
	case held && !revoked && !s.sourceChanged():
		return nil
	case revoked && !s.sourceChanged():
		return revokedByEpoch(s)
	}
	d := importRefusal(s)
	if d != nil && held && s.validity(s.current()) == lifetime.Valid {
		d.message += " Until then the secret that was imported before stays valid."
	}
	if d == nil {
		d = s.attempt(adopt)
	}
	return d
}

// importRefusal returns why the secret cannot be imported, or nil.
func importRefusal(s state) *decision {
	of := s.token.Spec.Credential.Imported
	switch {
	case s.source.refused != nil:
		return block(tokensv1alpha1.ReasonSourceMissing, "Nothing is imported: Secret '%s' %v.", of.SecretName, s.source.refused)
	case !s.source.found:
		return block(tokensv1alpha1.ReasonSourceMissing,
			"There is nothing to import under the key '%s' of Secret '%s'. Put the secret there.", of.Key, of.SecretName)
	case s.source.err != nil:
		return block(tokensv1alpha1.ReasonWeakCredential,
			"What lies under the key '%s' of Secret '%s' %v. Put another secret there.", of.Key, of.SecretName, s.source.err)
	}
	if s.source.revoked {
		return revokedByEpoch(s)
	}
	if d := isNotDuplicate(s); d != nil {
		return d
	}
	if d := mintRefusal(s); d != nil {
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
		"The secret was imported before `issuedAfter` of AtlassianSite '%s' (%s), so it is dead. %s.%s",
		s.site.Name, inUTC(s.site.Spec.IssuedAfter.Time), what, s.inheritance())
}

// isNotDuplicate: the gateway cannot tell two tokens with the same secret apart, so neither authenticates.
func isNotDuplicate(s state) *decision {
	if s.source.duplicate == (record.Ref{}) {
		return nil
	}
	return block(tokensv1alpha1.ReasonDuplicateCredential,
		"APIToken '%s' of '%s' in namespace '%s' has the same secret already. Delete one of the two, or put another secret into Secret '%s'.",
		s.source.duplicate.Name, username.Fold(s.token.Spec.User), s.source.duplicate.Namespace, s.secretName())
}

// withinImports: each request of a user tries all of their imported tokens, so their number is limited.
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
