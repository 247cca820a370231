package apitoken

import (
	"fmt"
	"slices"
	"strings"
	"time"

	tokensv1alpha1 "apitokens.dev/operator/api/v1alpha1"
	"apitokens.dev/operator/internal/record"
	"apitokens.dev/operator/internal/siteurl"
	"apitokens.dev/operator/internal/username"
)

// state is all that a decision rests on.
type state struct {
	now   time.Time
	token *tokensv1alpha1.APIToken
	// recordName is where the record lies, for people.
	recordName string
	site       *tokensv1alpha1.AtlassianSite
	record     *record.Record
	// recordErr says why the record that is there cannot be read.
	recordErr error
	// orphan is the name of a record that the delivered token verifies against, written for an earlier APIToken of the
	// same name, or empty; orphanKept says that nobody saw that one's deletion, so that nothing of it is being removed.
	orphan     string
	orphanKept bool
	// delivered is nil if there is no Secret of the name to deliver to.
	delivered *delivered
	// source is where the secret is imported from, and nil of a token that is generated.
	source *origin
	// upstreamHeld says that the operator holds a personal access token of the user.
	upstreamHeld bool
	// namespaceErr says why the site is not open to the namespace of the APIToken, or is nil.
	namespaceErr error
	// unguarded says that the admission policy is not in force: it is asked only before something is issued.
	unguarded bool
	// older is how many older APITokens the user has at the site.
	older int
}

// delivered is the Secret of the name to deliver to, without the secret in it.
type delivered struct {
	basicAuth     bool
	username, url string
	// tokenID is that of the token in it, if it is one.
	tokenID string
	// entry is the record's entry that it verifies against, or -1.
	entry int
}

// ours reports whether it is there and holds a token of the record.
func (d *delivered) ours() bool { return d != nil && d.basicAuth && d.entry >= 0 }

// inPlace reports whether people have what the record holds.
func (s state) inPlace() bool {
	if s.source != nil {
		return s.record != nil && s.record.Imported
	}
	return s.delivered.ours()
}

// step is what a pass does next.
type step int

const (
	// blocked: nothing can be written; the condition says why.
	blocked step = iota
	// settled: nothing is left to write.
	settled
	// issue: make a token and its record, and deliver it.
	issue
	// reissue: the delivered Secret is gone: make a new secret of the same token, and deliver it.
	reissue
	// rotate: make a new secret of the same token, and put it into the delivered Secret.
	rotate
	// confirm: mark what was delivered in the record, give what it replaced its end, and drop what has ended.
	confirm
	// adopt: import the secret that lies at the source.
	adopt
	// repair: restore what lies around the token in the delivered Secret.
	repair
	// remove: the APIToken expired, and was kept for as long as its site says; or the portal did not finish it.
	remove
)

// mints reports whether a step makes a new secret authenticate.
func (s step) mints() bool { return s == issue || s == reissue || s == rotate || s == adopt }

// decision is a step, and what the Ready condition says if nothing follows it.
type decision struct {
	step            step
	reason, message string
}

// candidateGrace is how long a candidate may still be on its way: longer than a pass can take, also one of a former
// leader that does not know yet that it is none.
const candidateGrace = 2 * reconcileTimeout

// generated and imported decide of such tokens, the first that has something to say.
// Each sees only states that those before it had nothing to say to.
var (
	generated = []func(state) *decision{
		siteExists,
		namespaceAllowed,
		recordReadable,
		recordAgrees,
		deliveryIsOurs,
		hasNotEnded,
		isActive,
		isIssued,
		isDelivered,
		isFresh,
		isConfirmed,
		isComplete,
		upstreamIsHeld,
	}
	imported = []func(state) *decision{
		siteExists,
		namespaceAllowed,
		recordReadable,
		recordAgrees,
		hasNotEnded,
		isActive,
		isImported,
		hasNoTwin,
		upstreamIsHeld,
	}
)

func decide(s state) decision {
	checks := generated
	switch {
	case s.source != nil:
		checks = imported
	case s.ofPortal():
		checks = portal
	}
	for _, check := range checks {
		if d := check(s); d != nil {
			return *d
		}
	}
	switch {
	case s.source != nil:
		return decision{settled, tokensv1alpha1.ReasonImported, s.source.message(s)}
	case s.ofPortal():
		return decision{settled, tokensv1alpha1.ReasonIssued, shownOnce(s)}
	}
	message := fmt.Sprintf("The token is delivered to Secret '%s'.", s.secretName())
	if note := s.overlapping(); note != "" {
		message += " " + note
	}
	return decision{settled, tokensv1alpha1.ReasonIssued, message + postponed(s)}
}

// secretName is where the secret lies that people use.
func (s state) secretName() string {
	if s.source != nil {
		return s.token.Spec.Credential.Imported.SecretName
	}
	return s.token.Spec.Delivery.SecretName
}

func block(reason, format string, args ...any) *decision {
	return &decision{blocked, reason, fmt.Sprintf(format, args...)}
}

func siteExists(s state) *decision {
	if s.site != nil {
		return nil
	}
	return block(tokensv1alpha1.ReasonSiteNotFound,
		"There is no AtlassianSite '%s' in namespace '%s'. Create it, or delete this APIToken and create one with the right `siteRef`.",
		s.token.Spec.SiteRef.Name, s.token.SiteNamespace())
}

func namespaceAllowed(s state) *decision {
	if s.namespaceErr == nil {
		return nil
	}
	return block(tokensv1alpha1.ReasonNamespaceNotAllowed,
		"AtlassianSite '%s' in namespace '%s' is not open to the namespace of this APIToken (%v), so the token does not authenticate. "+
			"Have its `allowedNamespaces` changed, or create the APIToken in another namespace.",
		s.token.Spec.SiteRef.Name, s.token.SiteNamespace(), s.namespaceErr)
}

func recordReadable(s state) *decision {
	if s.recordErr == nil {
		return nil
	}
	return block(tokensv1alpha1.ReasonRecordDamaged,
		"The record of this token, Secret '%s', cannot be read (%s), so the token does not authenticate. "+
			"Restore it, or delete %s and create the APIToken again.",
		s.recordName, strings.TrimPrefix(s.recordErr.Error(), "decoding a record: "), s.all())
}

// recordAgrees also guards the webhook's own check: what one of them refuses the other must not call ready.
func recordAgrees(s state) *decision {
	if s.record == nil {
		return nil
	}
	t := s.token
	if s.record.User == username.Fold(t.Spec.User) &&
		s.record.Site == (record.Ref{Namespace: t.SiteNamespace(), Name: t.Spec.SiteRef.Name}) &&
		s.record.APIToken == (record.Ref{Namespace: t.Namespace, Name: t.Name}) &&
		s.record.DeliverySecret == t.Spec.Delivery.SecretName && s.record.Imported == (s.source != nil) && s.record.Portal == s.ofPortal() {
		return nil
	}
	return block(tokensv1alpha1.ReasonRecordDamaged,
		"The record of this token, Secret '%s', was not written for this APIToken, so the token does not authenticate. "+
			"Restore the right one, or delete %s and create the APIToken again.", s.recordName, s.all())
}

// all is what has to be deleted before there can be another token. What was imported is not ours to have deleted.
func (s state) all() string {
	if s.source != nil || s.ofPortal() {
		return "this APIToken"
	}
	return fmt.Sprintf("this APIToken and Secret '%s'", s.secretName())
}

func deliveryIsOurs(s state) *decision {
	d := s.delivered
	if d == nil || d.ours() {
		return nil
	}
	switch {
	case s.record == nil && s.orphan != "" && !s.orphanKept:
		return block(tokensv1alpha1.ReasonIssuePending,
			"Secret '%s' still holds the token of a deleted APIToken of this name. It is being removed, and a new token is issued then.", s.secretName())
	case s.record == nil && s.orphan != "":
		return block(tokensv1alpha1.ReasonRecordOrphaned,
			"The token in Secret '%s' belongs to an APIToken of this name that is gone, as after a restore from a backup, and is dead. "+
				"To revive it, copy its record, Secret '%s', to the name '%s' (see docs/how-to/restore.md); to have a new one issued, delete Secret '%s'.",
			s.secretName(), s.orphan, s.recordName, s.secretName())
	case s.record == nil && d.tokenID != "" && d.tokenID == s.token.Status.TokenID:
		return block(tokensv1alpha1.ReasonRecordMissing,
			"The record of this token, Secret '%s', is gone, so the token does not authenticate. "+
				"Restore it, or delete Secret '%s' to have a new token issued.", s.recordName, s.secretName())
	}
	return block(tokensv1alpha1.ReasonDeliveryConflict,
		"Secret '%s' exists and does not hold this token; it is left alone. "+
			"Delete it, or delete this APIToken and create one that delivers to another name.", s.secretName())
}

func isIssued(s state) *decision {
	if s.record != nil {
		return nil
	}
	if d := mayMint(s); d != nil {
		return d
	}
	return &decision{step: issue}
}

func isDelivered(s state) *decision {
	if s.delivered != nil {
		return nil
	}
	if d := mayMint(s); d != nil {
		return d
	}
	if _, ok := withCandidate(s, record.Entry{}); !ok {
		return block(tokensv1alpha1.ReasonIssuePending,
			"Several attempts to deliver to Secret '%s' were cut short. The next one is made within %d seconds.",
			s.secretName(), candidateGrace/time.Second)
	}
	return &decision{step: reissue}
}

func isConfirmed(s state) *decision {
	if slices.Equal(tidied(s), s.record.Entries) {
		return nil
	}
	return &decision{step: confirm}
}

func isComplete(s state) *decision {
	if s.delivered.username == s.token.Spec.User && s.delivered.url == s.site.Spec.BaseURL {
		return nil
	}
	return &decision{step: repair}
}

func upstreamIsHeld(s state) *decision {
	if s.upstreamHeld {
		return nil
	}
	user := username.Fold(s.token.Spec.User)
	return block(tokensv1alpha1.ReasonUpstreamCredentialMissing,
		"%s, but the operator holds no personal access token with which '%s' could act at the product, "+
			"so requests are refused with 403. '%s' can sign in and open %s, or have one added to `upstreamCredentials` of AtlassianSite '%s'; "+
			"if it is there, the site's conditions say what is wrong with it.",
		s.whereabouts(), user, user, siteurl.Portal(s.site.Spec.BaseURL), s.site.Name)
}

// whereabouts says where the token is.
func (s state) whereabouts() string {
	if s.ofPortal() {
		return "The token was issued"
	}
	return fmt.Sprintf("The token is in Secret '%s'", s.secretName())
}
