package apitoken

import (
	"time"

	tokensv1alpha1 "apitokens.dev/operator/api/v1alpha1"
	"apitokens.dev/operator/internal/siteurl"
	"apitokens.dev/operator/internal/username"
)

// ownerIsOpen reports whether the token has no owner yet, and gets that of the personal access token.
func (s state) ownerIsOpen() bool {
	return s.pat.held && s.pat.userKey != "" && (s.record == nil || s.record.UserKey == "")
}

// existsSince returns the first moment that is surely after the creation of the APIToken: creationTimestamp is cut to whole seconds.
func (s state) existsSince() time.Time { return s.token.CreationTimestamp.Add(time.Second) }

// isNamed reports whether the product has named the owner of the personal access token since the APIToken exists. What it said before
// is no answer: the APIToken may be for the next user of this name. Nor is one with a time to come: then the clock was ahead.
func (s state) isNamed() bool {
	return s.pat.confirmed || s.pat.name != "" && !s.pat.named.Before(s.existsSince()) && !s.pat.named.After(s.now)
}

// asksSince returns the time since which the product has to name the owner of the personal access token, or zero if nothing depends
// on that.
func (s state) asksSince() time.Time {
	if !s.ownerIsOpen() || s.isNamed() {
		return time.Time{}
	}
	return s.existsSince()
}

// owner returns the user key of the user for whom the APIToken was declared, or nothing while it is not known.
func (s state) owner() string {
	if !s.ownerIsOpen() || !s.isNamed() || s.pat.name != username.Fold(s.token.Spec.User) {
		return ""
	}
	return s.pat.userKey
}

// ownerIsKnown notes whose the token is at the product, as soon as that is known, and for good: names change hands.
func ownerIsKnown(s state) *decision {
	if s.record == nil || s.owner() == "" || s.refusal(learn) != "" {
		return nil
	}
	return &decision{step: learn}
}

// ownerIsTheSame refuses what the gateway refuses: a token that would act as another user of the same name.
func ownerIsTheSame(s state) *decision {
	if s.record == nil || !s.pat.held || s.record.UserKey == "" || s.pat.userKey == "" || s.record.UserKey == s.pat.userKey {
		return nil
	}
	user := username.Fold(s.token.Spec.User)
	return block(tokensv1alpha1.ReasonOwnerChanged,
		"The name '%s' belongs to another user of the product than the one whose token this is, so requests are refused with 403, "+
			"and nothing is issued for it. Delete this APIToken. If the present '%s' needs a token, create another one.", user, user)
}

// ownerIsNamed refuses what the gateway refuses: a token without an owner, which would act with a personal access token that may be
// a former user's of this name.
func ownerIsNamed(s state) *decision {
	user, page := username.Fold(s.token.Spec.User), siteurl.Portal(s.site.Spec.BaseURL)
	switch {
	case !s.ownerIsOpen():
		return nil
	case s.owner() != "":
		return block(tokensv1alpha1.ReasonWriteRefused, "%s", s.refusal(learn))
	case s.isNamed():
		return block(tokensv1alpha1.ReasonOwnerChanged,
			"%s, but the personal access token that the operator holds for '%s' belongs to a user with another name now, so requests are refused "+
				"with 403. The present '%s' can sign in, open %s and create a token there, or have another one added to `upstreamCredentials` of "+
				"AtlassianSite '%s'; this one works then too. If it is for the user with another name, delete this APIToken and create one for that name.",
			s.deliveredTo(), user, user, page, s.site.Name)
	}
	return block(tokensv1alpha1.ReasonIssuePending,
		"%s, but requests are refused with 403 until the product confirms that the personal access token that the operator holds is still that of '%s'. "+
			"It is asked at once. If it does not answer, the condition `%s` of AtlassianSite '%s' says so.",
		s.deliveredTo(), user, tokensv1alpha1.ConditionUpstreamReachable, s.site.Name)
}
