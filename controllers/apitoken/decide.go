package apitoken

import (
	"fmt"
	"slices"
	"strings"
	"time"

	tokensv1alpha1 "apitokens.dev/operator/api/v1alpha1"
	"apitokens.dev/operator/internal/record"
	"apitokens.dev/operator/internal/siteurl"
	"apitokens.dev/operator/internal/terms"
	"apitokens.dev/operator/internal/username"
)

// state is everything that a decision rests on.
type state struct {
	now   time.Time
	token *tokensv1alpha1.APIToken
	// recordName is the namespace and name of the record's Secret, for messages.
	recordName string
	site       *tokensv1alpha1.AtlassianSite
	record     *record.Record
	// recordErr says why the record cannot be read, or is nil.
	recordErr error
	// orphan is the record of an earlier APIToken of the same name that the delivered token verifies against.
	orphan orphan
	// delivered is the delivered Secret, or nil if there is none.
	delivered *delivered
	// source is the Secret to import from, or nil for other kinds of credential.
	source *importSource
	// pat is the personal access token of the user that the operator holds.
	pat pat
	// namespaceErr says why the site is not open to the namespace of the APIToken, and parentErr the same of the token with which it
	// was created. They are nil if it is open.
	namespaceErr, parentErr error
	// inherited means that the site has its revocation epoch from an earlier one of the same name.
	inherited bool
	// guard says whether the admission policies are in force.
	guard guard
	// noted is the annotation of the record about its APIToken, or nil. recorded is when the record was created.
	noted    *note
	recorded time.Time
	// limitsSince is when the limits of the site that decide about the removal last changed, or zero.
	limitsSince time.Time
	// older is how many older APITokens the user has at the site.
	older int
	// refused are the steps of this pass whose write the API server refused, with the messages about it.
	refused map[step]string
}

// orphan is a record of an earlier APIToken of the same name.
type orphan struct {
	// name is empty if there is none.
	name string
	// dead is when that APIToken was found deleted. It is zero while that was not observed, or the clean-up is not done.
	dead time.Time
	// kept means that the deletion was not observed, so nothing is cleaned up.
	kept bool
}

// pat is a personal access token, without the token in it.
type pat struct {
	// held means that there is one that the product accepts, for the site's present upstream. ended means that there is one that cannot
	// be used any more.
	held, ended bool
	// userKey is the product's key of the user whose it is, or empty if it is not known.
	userKey string
	// name is the folded name that the product last gave this user, at named. It is observed only while the token has no owner.
	name  string
	named time.Time
	// confirmed means that the product gave that name when it was asked for this APIToken.
	confirmed bool
}

// delivered is the delivered Secret, without the token in it.
type delivered struct {
	basicAuth     bool
	immutable     bool
	username, url string
	// tokenID is the id of the token in it, or empty if it holds none.
	tokenID string
	// entry is the index of the record's entry that the token verifies against, or -1.
	entry int
}

// ours reports whether the Secret exists and holds a token of the record.
func (d *delivered) ours() bool { return d != nil && d.basicAuth && d.entry >= 0 }

// inPlace reports whether the owner has the secret that the record holds.
func (s state) inPlace() bool {
	if s.source != nil {
		return s.record != nil && s.record.Imported
	}
	return s.delivered.ours()
}

// step is the next step of a pass.
type step int

const (
	// none is no step.
	none step = iota
	// blocked: nothing can be written; the condition says why.
	blocked
	// settled: nothing is left to write.
	settled
	// issue: make a token and its record, and deliver it.
	issue
	// reissue: the delivered Secret is gone: make a new secret of the same token, and deliver it.
	reissue
	// rotate: make a new secret of the same token, and write it to the delivered Secret.
	rotate
	// confirm: mark the delivered secret in the record, give the replaced one its end, and drop ended ones.
	confirm
	// adopt: import the secret.
	adopt
	// repair: restore user name and URL in the delivered Secret.
	repair
	// annotate: annotate the record with the generation of the spec, which was declared while the admission policies were in force.
	annotate
	// learn: note in the record the user key at the product.
	learn
	// stop: end every secret of the record.
	stop
	// remove: delete the APIToken, because its retention after expiry is over, or because the portal did not finish it.
	remove
)

var stepNames = map[step]string{
	none: "none", blocked: "blocked", settled: "settled", issue: "issue", reissue: "reissue", rotate: "rotate",
	confirm: "confirm", adopt: "adopt", repair: "repair", annotate: "annotate", learn: "learn", stop: "stop", remove: "remove",
}

func (s step) String() string { return stepNames[s] }

// mints reports whether the step makes a secret that authenticates.
func (s step) mints() bool { return s == issue || s == reissue || s == rotate || s == adopt }

// decision is the next step, with the reason and message of the Ready condition if it is the last one.
type decision struct {
	step            step
	reason, message string
}

// candidateGrace is how long the delivery of a candidate may still be under way. A pass cannot take longer, not even that of
// a former leader that does not know yet that it lost the lease.
const candidateGrace = 2 * reconcileTimeout

// generated and imported are the checks of these kinds of tokens, in order. The first check that returns a decision wins,
// so each sees only states that passed the checks before it.
var (
	generated = []func(state) *decision{
		isDecoded,
		siteExists,
		namespaceAllowed,
		recordReadable,
		recordLives,
		recordAgrees,
		isDeclaredGuarded,
		ownerIsKnown,
		deliveryIsOurs,
		hasNotEnded,
		isActive,
		userNotBlocked,
		ownerIsTheSame,
		isIssued,
		isDelivered,
		isFresh,
		isConfirmed,
		isComplete,
		isReachable,
		userFitsHeader,
		upstreamIsHeld,
	}
	imported = []func(state) *decision{
		siteExists,
		namespaceAllowed,
		recordReadable,
		recordLives,
		recordAgrees,
		isDeclaredGuarded,
		ownerIsKnown,
		hasNotEnded,
		isActive,
		userNotBlocked,
		ownerIsTheSame,
		isImported,
		isNotDuplicate,
		isReachable,
		userFitsHeader,
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
		return decision{settled, tokensv1alpha1.ReasonImported, s.source.message(s) + refusedUpkeep(s)}
	case s.ofPortal():
		return decision{settled, tokensv1alpha1.ReasonIssued, shownOnce(s) + refusedUpkeep(s)}
	}
	message := fmt.Sprintf("The token is delivered to Secret '%s'.", s.secretName())
	if note := s.overlapNote(); note != "" {
		message += " " + note
	}
	return decision{settled, tokensv1alpha1.ReasonIssued, message + postponedRotation(s) + refusedUpkeep(s)}
}

// attempt returns a step, unless the API server refused its write in this pass.
func (s state) attempt(next step) *decision {
	if message := s.refusal(next); message != "" {
		return block(tokensv1alpha1.ReasonWriteRefused, "%s", message)
	}
	return &decision{step: next}
}

// refusal returns the message about the refused write of one of these steps, or nothing. If the delivered Secret is immutable, it
// says what to do about that.
func (s state) refusal(of ...step) string {
	for _, step := range of {
		message := s.refused[step]
		switch {
		case message == "":
		case (step == rotate || step == repair) && s.delivered != nil && s.delivered.immutable:
			return fmt.Sprintf("%s Secret '%s' is `immutable`: delete it to have a new secret delivered. The one in it is dead then.", message, s.secretName())
		default:
			return message
		}
	}
	return ""
}

// refusedUpkeep returns a note about a refused write that a valid token can do without, or nothing.
func refusedUpkeep(s state) string {
	if message := s.refusal(annotate, learn, confirm, repair); message != "" {
		return " " + message
	}
	return ""
}

// secretName returns the name of the Secret with the token.
func (s state) secretName() string {
	if s.source != nil {
		return s.token.Spec.Credential.Imported.SecretName
	}
	return s.token.Spec.Delivery.SecretName
}

func block(reason, format string, args ...any) *decision {
	return &decision{blocked, reason, fmt.Sprintf(format, args...)}
}

// isDecoded refuses an APIToken that got past the schema. It is a check of generated tokens only, because the kind of such an
// APIToken is unknown.
func isDecoded(s state) *decision {
	if s.token.Malformed == "" {
		return nil
	}
	return block(tokensv1alpha1.ReasonInvalid,
		"This APIToken cannot be read (%s), so the token does not authenticate. Correct the value, or delete this APIToken.", s.token.Malformed)
}

func siteExists(s state) *decision {
	switch {
	case s.site == nil:
	case s.site.Malformed != "":
		return block(tokensv1alpha1.ReasonSiteInvalid,
			"AtlassianSite '%s' in namespace '%s' cannot be read (%s), so the token does not authenticate. Have its administrator correct the value, "+
				"or delete the AtlassianSite and create it again.", s.site.Name, s.site.Namespace, s.site.Malformed)
	default:
		return nil
	}
	return block(tokensv1alpha1.ReasonSiteNotFound,
		"There is no AtlassianSite '%s' in namespace '%s'. Create it, or delete this APIToken and create one with the right `siteRef`.",
		s.token.Spec.SiteRef.Name, s.token.SiteNamespace())
}

func namespaceAllowed(s state) *decision {
	switch {
	case s.namespaceErr == nil && s.parentErr == nil:
		return nil
	case s.namespaceErr == nil:
		parent := s.token.Spec.CreatedBy
		return block(tokensv1alpha1.ReasonNamespaceNotAllowed,
			"This token was created with token %s of namespace '%s', to which AtlassianSite '%s' in namespace '%s' is not open (%v), "+
				"so it does not authenticate. Have `allowedNamespaces` of the site changed, or delete this APIToken.",
			parent.TokenID, parent.Namespace, s.token.Spec.SiteRef.Name, s.token.SiteNamespace(), s.parentErr)
	}
	return block(tokensv1alpha1.ReasonNamespaceNotAllowed,
		"AtlassianSite '%s' in namespace '%s' is not open to the namespace of this APIToken (%v), so the token does not authenticate. "+
			"Have its `allowedNamespaces` changed, or create the APIToken in another namespace.",
		s.token.Spec.SiteRef.Name, s.token.SiteNamespace(), s.namespaceErr)
}

// userNotBlocked: `blockedUsers` of a site stop everything of a person.
func userNotBlocked(s state) *decision {
	user := username.Fold(s.token.Spec.User)
	known := s.record != nil && terms.Blocks(s.site, user, s.record.UserKey)
	if !known && !terms.Blocks(s.site, user, s.pat.userKey) {
		return nil
	}
	return block(tokensv1alpha1.ReasonUserBlocked,
		"AtlassianSite '%s' blocks '%s' (`blockedUsers`), so the token does not authenticate, and nothing is issued for it. "+
			"To change that, have the user removed from there; else delete this APIToken.", s.site.Name, user)
}

func recordReadable(s state) *decision {
	if s.recordErr == nil {
		return nil
	}
	return block(tokensv1alpha1.ReasonRecordDamaged,
		"The record of this token, Secret '%s', cannot be read (%s), so the token does not authenticate. "+
			"Restore it, or delete %s and create the APIToken again.",
		s.recordName, strings.TrimPrefix(s.recordErr.Error(), "decoding a record: "), s.toDelete())
}

// recordLives refuses a copy of the record of a deleted APIToken.
func recordLives(s state) *decision {
	if s.record == nil || s.record.Dead.IsZero() {
		return nil
	}
	return block(tokensv1alpha1.ReasonRecordDamaged,
		"The record of this token, Secret '%s', is that of an APIToken that was deleted at %s, so the token stays dead. "+
			"Restore the record as it was before (see docs/how-to/restore.md), or delete %s and create the APIToken again.",
		s.recordName, inUTC(s.record.Dead), s.toDelete())
}

// recordAgrees refuses the same records as the gateway, so that no token is called ready that the gateway refuses.
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
			"Restore the right one, or delete %s and create the APIToken again.", s.recordName, s.toDelete())
}

// toDelete names the objects to delete before another token can be issued. A Secret that was imported from belongs to
// somebody else, so it is not named.
func (s state) toDelete() string {
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
	case s.record == nil && !s.orphan.dead.IsZero():
		return block(tokensv1alpha1.ReasonRecordOrphaned,
			"The token in Secret '%s' belongs to an APIToken of this name that was deleted at %s, and stays dead. "+
				"Delete Secret '%s' to have a new one issued. After a restore from a backup, see docs/how-to/restore.md.",
			s.secretName(), inUTC(s.orphan.dead), s.secretName())
	case s.record == nil && s.orphan.name != "" && !s.orphan.kept:
		return block(tokensv1alpha1.ReasonIssuePending,
			"Secret '%s' still holds the token of a deleted APIToken of this name. It is being removed, and a new token is issued then.", s.secretName())
	case s.record == nil && s.orphan.name != "":
		return block(tokensv1alpha1.ReasonRecordOrphaned,
			"The token in Secret '%s' belongs to an APIToken of this name that is gone, as after a restore from a backup, and is dead. "+
				"To revive it, copy its record, Secret '%s', to the name '%s' (see docs/how-to/restore.md); to have a new one issued, delete Secret '%s'.",
			s.secretName(), s.orphan.name, s.recordName, s.secretName())
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
	if d := mintRefusal(s); d != nil {
		return d
	}
	return s.attempt(issue)
}

func isDelivered(s state) *decision {
	if s.delivered != nil {
		return nil
	}
	if d := mintRefusal(s); d != nil {
		return d
	}
	if _, ok := withCandidate(s, record.Entry{}); !ok {
		return block(tokensv1alpha1.ReasonIssuePending,
			"Several attempts to deliver to Secret '%s' were cut short. The next one is made within %d seconds.",
			s.secretName(), candidateGrace/time.Second)
	}
	if message := s.refusal(issue); message != "" { // the same delivery, in the same pass
		return block(tokensv1alpha1.ReasonWriteRefused, "%s", message)
	}
	return s.attempt(reissue)
}

func isConfirmed(s state) *decision {
	if s.refusal(confirm) != "" || slices.Equal(tidied(s), s.record.Entries) {
		return nil
	}
	return &decision{step: confirm}
}

func isComplete(s state) *decision {
	if s.refusal(repair) != "" || s.delivered.username == s.token.Spec.User && s.delivered.url == s.site.Spec.BaseURL {
		return nil
	}
	return &decision{step: repair}
}

// userFitsHeader refuses what the gateway refuses: a name that cannot be handed over in a header.
func userFitsHeader(s state) *decision {
	user := username.Fold(s.token.Spec.User)
	if terms.NeedsUpstreamCredentials(s.site) || username.FitsHeader(user) {
		return nil
	}
	return block(tokensv1alpha1.ReasonIdentityNotRepresentable,
		"%s, but AtlassianSite '%s' hands users over in a header, and servers read a name such as '%s' in a header differently, so requests are "+
			"refused with 403. Have the user renamed at the product, to a name of ASCII characters, and create an APIToken for the new name.",
		s.deliveredTo(), s.site.Name, user)
}

func upstreamIsHeld(s state) *decision {
	switch {
	case !terms.NeedsUpstreamCredentials(s.site):
		return nil
	case s.pat.held:
		return ownerIsNamed(s)
	}
	user := username.Fold(s.token.Spec.User)
	if s.pat.ended {
		return block(tokensv1alpha1.ReasonUpstreamCredentialMissing,
			"%s, but the personal access token with which '%s' acted at the product cannot be used any more, so requests are refused with 403: "+
				"the product does not accept it, or it is for another `upstreamURL`. '%s' can sign in and open %s, or have another one added to "+
				"`upstreamCredentials` of AtlassianSite '%s'.",
			s.deliveredTo(), user, user, siteurl.Portal(s.site.Spec.BaseURL), s.site.Name)
	}
	return block(tokensv1alpha1.ReasonUpstreamCredentialMissing,
		"%s, but the operator holds no personal access token with which '%s' could act at the product, "+
			"so requests are refused with 403. '%s' can sign in and open %s, or have one added to `upstreamCredentials` of AtlassianSite '%s'; "+
			"if it is there, the site's conditions say what is wrong with it.",
		s.deliveredTo(), user, user, siteurl.Portal(s.site.Spec.BaseURL), s.site.Name)
}

// deliveredTo says where the token was delivered to.
func (s state) deliveredTo() string {
	if s.ofPortal() {
		return "The token was issued"
	}
	return fmt.Sprintf("The token is in Secret '%s'", s.secretName())
}
