package apitoken

import (
	"time"

	tokensv1alpha1 "apitokens.dev/operator/api/v1alpha1"
	"apitokens.dev/operator/internal/lifetime"
)

// makingGrace is how long the portal may take to make a token. None of its requests takes longer.
const makingGrace = 10 * time.Minute

// portal are the checks of tokens that the portal makes. Only the portal writes their records.
var portal = []func(state) *decision{
	wasFinished,
	siteExists,
	namespaceAllowed,
	recordReadable,
	recordLives,
	recordAgrees,
	isDeclaredGuarded,
	ownerIsKnown,
	wasRecorded,
	hasNotEnded,
	isActive,
	userNotBlocked,
	ownerIsTheSame,
	wasNotRevoked,
	isReachable,
	userFitsHeader,
	upstreamIsHeld,
}

// ofPortal reports whether the owner made the token, on the page or over REST.
func (s state) ofPortal() bool {
	return s.token.Spec.Credential.Type == tokensv1alpha1.CredentialPortal
}

// pending reports whether the portal is still making the token, or was cut off. A token with a record authenticates, whatever its
// annotations say.
func (s state) pending() bool {
	return s.ofPortal() && s.record == nil && s.recordErr == nil && s.token.Annotations[tokensv1alpha1.AnnotationPending] != ""
}

// cutOff reports whether the portal was cut off. Nobody was shown the token then.
func (s state) cutOff() bool {
	return s.pending() && s.now.Sub(s.token.CreationTimestamp.Time) >= makingGrace
}

// wasFinished removes what the portal was making when it was cut off: *take back* by the controller.
func wasFinished(s state) *decision {
	switch {
	case s.cutOff():
		return s.attempt(remove)
	case s.pending():
		return block(tokensv1alpha1.ReasonIssuePending, "The portal is making this token. If it was cut off, the APIToken is removed within %d minutes.",
			makingGrace/time.Minute)
	}
	return nil
}

func wasRecorded(s state) *decision {
	switch {
	case s.record != nil:
		return nil
	case !s.orphan.dead.IsZero():
		return block(tokensv1alpha1.ReasonRecordOrphaned,
			"The token belongs to an APIToken of this name that was deleted at %s, and stays dead. Delete this APIToken. "+
				"After a restore from a backup, see docs/how-to/restore.md.", inUTC(s.orphan.dead))
	case s.orphan.name != "":
		return block(tokensv1alpha1.ReasonRecordOrphaned,
			"The token belongs to an APIToken of this name that is gone, as after a restore from a backup, and is dead. "+
				"To revive it, copy its record, Secret '%s', to the name '%s' (see docs/how-to/restore.md); else delete this APIToken.", s.orphan.name, s.recordName)
	}
	return block(tokensv1alpha1.ReasonRecordMissing,
		"There is no record of this token, Secret '%s', so it does not authenticate. Restore it, or delete this APIToken: "+
			"tokens of `credential.type: Portal` are made on the page or over REST alone.", s.recordName)
}

func wasNotRevoked(s state) *decision {
	if s.validity(s.current()) != lifetime.Revoked {
		return nil
	}
	when := ""
	if s.now.Before(s.site.Spec.IssuedAfter.Time) {
		when = " from then on"
	}
	return block(tokensv1alpha1.ReasonRevokedByEpoch,
		"The token was issued before `issuedAfter` of AtlassianSite '%s' (%s), so it is dead. Delete it; its owner can make another one%s.%s",
		s.site.Name, inUTC(s.site.Spec.IssuedAfter.Time), when, s.inheritance())
}

func shownOnce(s state) string {
	message := "The token was shown once to its owner."
	if note := s.overlapNote(); note != "" {
		message += " " + note
	}
	return message
}
