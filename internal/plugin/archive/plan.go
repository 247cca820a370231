package archive

import (
	"bytes"
	"cmp"
	"encoding/json"
	"fmt"
	"slices"
	"time"

	"k8s.io/apimachinery/pkg/types"

	tokensv1alpha1 "apitokens.dev/operator/api/v1alpha1"
	"apitokens.dev/operator/internal/record"
	"apitokens.dev/operator/internal/username"
)

// AnnotationSuspended is on a record that a restore stored. Its value is the Mark of the suspended APIToken: with another one somebody
// has decided since. It is not on the APIToken, where more people than those who may issue could write it.
const AnnotationSuspended = "apitokens.dev/suspended-by-restore"

// Mark returns what names an APIToken with its spec of now.
func Mark(t *tokensv1alpha1.APIToken) string { return fmt.Sprintf("%s %d", t.UID, t.Generation) }

// Live is what the cluster has.
type Live struct {
	// Tokens and Sites are by namespace and name, Records by the UID of their APIToken, Secrets by name.
	Tokens  map[types.NamespacedName]*tokensv1alpha1.APIToken
	Sites   map[types.NamespacedName]*tokensv1alpha1.AtlassianSite
	Records map[types.UID]*record.Record
	Secrets map[string][]byte
	// Marks are the values of AnnotationSuspended, by the UID of the APIToken.
	Marks map[types.UID]string
}

// Action says what a restore does with one object.
type Action string

const (
	// Restore creates what is missing.
	Restore Action = "restored"
	// Unchanged leaves what is there: it is what the archive has, or newer.
	Unchanged Action = "unchanged"
	// Dead leaves a token dead: it was revoked since the backup.
	Dead Action = "stays dead"
	// Revoke deletes an APIToken that an earlier restore brought back suspended, and of which the log says now that it was revoked.
	Revoke Action = "revoked"
	// Conflict leaves an object alone that has the name of another one.
	Conflict Action = "left alone"
)

// TokenStep is what a restore does with one token of the archive.
type TokenStep struct {
	Token  *Token
	Action Action
	// Why says in words why the action is not Restore, or why the token is suspended.
	Why string
	// Live is the APIToken of this name, or nil.
	Live *tokensv1alpha1.APIToken
	// Record is to be stored under the UID of the APIToken, or nil. Bound says that there is one, with secrets that were replaced.
	Record *record.Record
	Bound  bool
	// State is that in which the token ends.
	State tokensv1alpha1.State
}

// planner decides what becomes of each token.
type planner struct {
	archive *Archive
	live    *Live
	// log is nil without one.
	log *Log
}

// Tokens returns the steps for the tokens of an archive, parents before the tokens that were made with them. Without a log every
// restored token is suspended.
func Tokens(a *Archive, live *Live, log *Log) []TokenStep {
	p := planner{a, live, log}
	steps := make([]TokenStep, 0, len(a.Tokens))
	for _, t := range parentsFirst(a.Tokens) {
		steps = append(steps, p.step(t))
	}
	return steps
}

// parentsFirst orders tokens so that the one with which another was made comes first. In a circle, which nobody can make, any is
// first.
func parentsFirst(tokens []Token) (ordered []*Token) {
	byUID, done := map[string]*Token{}, map[*Token]bool{}
	for i := range tokens {
		byUID[string(tokens[i].UID)] = &tokens[i]
	}
	for i := range tokens {
		var line []*Token
		for t := &tokens[i]; t != nil && !done[t]; t = byUID[t.APIToken.Spec.CreatedBy.UID] {
			done[t] = true
			line = append(line, t)
		}
		slices.Reverse(line)
		ordered = append(ordered, line...)
	}
	return ordered
}

func (p *planner) step(t *Token) TokenStep {
	s := TokenStep{Token: t, Action: Restore, Live: p.live.Tokens[t.Name()]}
	var bound *record.Record
	if s.Live != nil {
		bound = p.live.Records[s.Live.UID]
	}
	mine := bound != nil && bound.TokenID == t.ID()
	waits := s.Live != nil && p.waitsForWord(s.Live)
	if why := p.revoked(t, mine); why != "" {
		s.Action, s.Why = Dead, why
		switch {
		case mine && waits:
			s.Action = Revoke
		case mine:
			s.Action, s.Why = Conflict, why+", and is in the cluster: look at it, and revoke it with 'kubectl apitoken revoke'"
		}
		return s
	}
	s.State, s.Why = p.state(t, s.Live)
	switch {
	case s.Live == nil:
		s.Record = p.recordFor(t)
	case s.Live.DeletionTimestamp != nil:
		s.Action, s.Why = Conflict, "an APIToken of this name is being deleted: run this again when it is gone"
	case !sameDeclaration(s.Live, &t.APIToken):
		s.Action, s.Why = Conflict, "an APIToken of this name is for another user or site, or another kind of token"
	case t.record == nil:
		s.Action, s.Why = Unchanged, "it is declared already"
	case bound != nil && !mine:
		s.Action, s.Why = Conflict, "it has another token by now, "+bound.TokenID
	case bound != nil && !bound.Dead.IsZero():
		s.Action, s.Why = Conflict, "its record is that of a deleted APIToken"
	case mine && waits && p.hasReplaced(bound):
		s.Record, s.Bound = p.withoutReplaced(bound), true
	case mine && (!waits || s.State == tokensv1alpha1.StateSuspended):
		s.Action, s.Why = Unchanged, "it is there already"
	case !mine:
		s.Record = p.recordFor(t)
	}
	return s
}

// waitsForWord reports whether an APIToken is as a restore left it: suspended, and nobody has changed it since.
func (p *planner) waitsForWord(t *tokensv1alpha1.APIToken) bool {
	return t.Spec.State == tokensv1alpha1.StateSuspended && p.live.Marks[t.UID] == Mark(t)
}

// sameDeclaration reports whether two APITokens are for the same owner, and of the same kind, so that a record fits both.
func sameDeclaration(a, b *tokensv1alpha1.APIToken) bool {
	return username.Fold(a.Spec.User) == username.Fold(b.Spec.User) && a.SiteNamespace() == b.SiteNamespace() && a.Spec.SiteRef.Name == b.Spec.SiteRef.Name &&
		a.Spec.Credential.Type == b.Spec.Credential.Type && a.Spec.Delivery == b.Spec.Delivery
}

// sameSpec reports whether two specs say the same but for the state, and for the UID of the parent, which a restore changes.
func sameSpec(a, b *tokensv1alpha1.APIToken) bool {
	x, y := a.Spec.DeepCopy(), b.Spec.DeepCopy()
	x.State, y.State, x.CreatedBy.UID, y.CreatedBy.UID = "", "", "", ""
	one, err1 := json.Marshal(x)
	other, err2 := json.Marshal(y)
	return err1 == nil && err2 == nil && bytes.Equal(one, other)
}

// revoked says why a token stays dead, or nothing. mine says that its record is bound to the APIToken of its name.
func (p *planner) revoked(t *Token, mine bool) string {
	if id := t.ID(); id != "" && !mine {
		for _, r := range p.live.Records {
			if r.TokenID == id && !r.Dead.IsZero() && p.counts(r.Dead) {
				return "it was revoked at " + stamp(r.Dead) + ", by its record in the cluster"
			}
		}
	}
	if p.log == nil {
		return ""
	}
	name := t.Name()
	for _, at := range []time.Time{p.log.revoked[t.ID()], p.log.deleted[name.String()], p.log.emptied[name.Namespace]} {
		if !at.IsZero() {
			return "it was revoked at " + stamp(at) + ", by the log"
		}
	}
	return ""
}

// counts reports whether a revocation at this time is one since the backup that counts.
func (p *planner) counts(at time.Time) bool {
	return at.After(p.archive.Created.Add(-clockSkew)) && (p.log == nil || p.log.until.IsZero() || at.Before(p.log.until))
}

// state returns the state of a restored token, and why it is suspended.
func (p *planner) state(t *Token, live *tokensv1alpha1.APIToken) (state tokensv1alpha1.State, why string) {
	switch {
	case live != nil && live.Spec.State == tokensv1alpha1.StateSuspended && !p.waitsForWord(live):
		return tokensv1alpha1.StateSuspended, "it is suspended in the cluster"
	case t.APIToken.Spec.State == tokensv1alpha1.StateSuspended:
		return tokensv1alpha1.StateSuspended, "it was suspended at the time of the backup"
	}
	if why := p.doubt(t, live); why != "" {
		return tokensv1alpha1.StateSuspended, why
	}
	return cmp.Or(t.APIToken.Spec.State, tokensv1alpha1.StateActive), ""
}

// doubt says why nobody knows whether a token may act, or nothing.
func (p *planner) doubt(t *Token, live *tokensv1alpha1.APIToken) string {
	if p.log == nil {
		return "nobody knows what was revoked since the backup: no log was given"
	}
	site := types.NamespacedName{Namespace: t.APIToken.SiteNamespace(), Name: t.APIToken.Spec.SiteRef.Name}
	switch {
	case live != nil && !sameSpec(live, &t.APIToken):
		return "its declaration differs from that in the backup"
	case !p.log.audited() && p.orphaned(t, live):
		return "its APIToken was deleted while no controller ran, and only the audit log of Kubernetes would show by whom"
	case !p.log.hasRotations() && !p.log.secretsSeen:
		return "no log shows whether its secret was replaced: that of the controller does, or changes of Secrets in that of Kubernetes"
	case p.recordChanged(t):
		return "its record was changed at " + stamp(p.log.recordsChanged[string(t.UID)]) + ", and no log says whether its secret was replaced"
	case p.log.stopped[t.ID()].After(p.log.used[t.ID()]):
		return "it was stopped at " + stamp(p.log.stopped[t.ID()]) + ", by the log"
	case !p.log.changed[t.Name().String()].IsZero():
		return "it was changed at " + stamp(p.log.changed[t.Name().String()]) + ", by the log"
	case p.siteDeleted(site):
		return "its site was deleted since the backup, by the log"
	case !p.log.sitesChanged[site.String()].IsZero():
		return "its site was changed at " + stamp(p.log.sitesChanged[site.String()]) + ", by the log"
	}
	return ""
}

// orphaned reports whether the cluster has a live record of a token for another APIToken than the one that is there. Had the controller
// seen that one's deletion, it would have marked the record.
func (p *planner) orphaned(t *Token, live *tokensv1alpha1.APIToken) bool {
	for uid, r := range p.live.Records {
		if t.ID() != "" && r.TokenID == t.ID() && r.Dead.IsZero() && (live == nil || uid != live.UID) {
			return true
		}
	}
	return false
}

// recordChanged reports whether the secret of a token may have been replaced: its record was changed, and no log of the operator says how.
func (p *planner) recordChanged(t *Token) bool {
	told := p.log.hasRotations() && t.APIToken.Spec.Credential.Type != tokensv1alpha1.CredentialPortal
	return !p.log.recordsChanged[string(t.UID)].IsZero() && p.log.replaced[t.ID()].IsZero() && !told
}

func (p *planner) siteDeleted(site types.NamespacedName) bool {
	return p.log != nil && (!p.log.sitesDeleted[site.String()].IsZero() || !p.log.sitesDeleted[site.Namespace+"/"].IsZero())
}

// recordFor returns the record to restore. One that the cluster still has under the old UID is newer than that of the archive.
func (p *planner) recordFor(t *Token) *record.Record {
	if t.record == nil {
		return nil
	}
	newest := t.record
	if kept := p.live.Records[t.UID]; kept != nil && kept.TokenID == t.ID() && kept.Dead.IsZero() && agree(&t.APIToken, kept) {
		newest = kept
	}
	return p.withoutReplaced(newest)
}

// hasReplaced reports whether secrets of a record were replaced since, by the log.
func (p *planner) hasReplaced(r *record.Record) bool {
	return !slices.Equal(r.Entries, p.withoutReplaced(r).Entries)
}

// withoutReplaced returns a record in which the secrets have ended that were replaced since, by the log: who replaced them does not want
// them back.
func (p *planner) withoutReplaced(r *record.Record) *record.Record {
	now := *r
	now.Entries = slices.Clone(r.Entries)
	if p.log == nil {
		return &now
	}
	at := p.log.replaced[r.TokenID]
	for i, e := range now.Entries {
		if e.Issued.Before(at.Add(-replacedWithin)) || at.After(p.archive.Created) && !e.Issued.After(p.archive.Created) {
			now.Entries[i] = e.EndingBy(at)
		}
	}
	return &now
}

// replacedWithin is how long after the issue of a secret the line about it may be written.
const replacedWithin = 30 * time.Second

// SiteStep is what a restore does with one site of the archive.
type SiteStep struct {
	Site   *tokensv1alpha1.AtlassianSite
	Action Action
	Why    string
}

// Sites returns the steps for the sites of an archive. A site that is there is left as it is.
func Sites(a *Archive, live *Live, log *Log) (steps []SiteStep) {
	p := planner{a, live, log}
	for i := range a.Sites {
		s := SiteStep{Site: &a.Sites[i], Action: Restore}
		name := types.NamespacedName{Namespace: s.Site.Namespace, Name: s.Site.Name}
		switch {
		case live.Sites[name] != nil:
			s.Action, s.Why = Unchanged, "it is there already"
		case p.siteDeleted(name):
			s.Action, s.Why = Dead, "it was deleted since the backup, by the log"
		}
		steps = append(steps, s)
	}
	return steps
}

// SecretStep is what a restore does with one Secret of the archive.
type SecretStep struct {
	Secret *Secret
	Action Action
	Why    string
	// Data is what is written. Replaces says that the cluster has another one.
	Data     []byte
	Replaces bool
}

// Secrets returns the steps for the Secrets of an archive: those that sites need before they come, or with after the rest. With
// callerKeys those of the archive replace those of the cluster.
func Secrets(a *Archive, live *Live, callerKeys bool) (steps []SecretStep, err error) {
	for i := range a.Secrets {
		s := SecretStep{Secret: &a.Secrets[i], Action: Restore, Data: a.Secrets[i].Data}
		now, is := live.Secrets[s.Secret.Name]
		switch {
		case !is:
		case bytes.Equal(now, s.Data) || s.Secret.IsCallerKeys() && sameKeys(s.Data, now):
			s.Action, s.Why = Unchanged, "it is there already"
		case s.Secret.Type == memoryType:
			if s.Data, s.Replaces, err = raise(now, s.Secret.Data); err != nil {
				return nil, fmt.Errorf("Secret %s of the cluster: %w", s.Secret.Name, err)
			}
			if !s.Replaces {
				s.Action, s.Why = Unchanged, "the cluster remembers a revocation epoch that is as late"
			} else {
				s.Why = "the revocation epoch of the backup is later"
			}
		case s.Secret.IsCallerKeys() && callerKeys:
			s.Replaces, s.Why = true, "the caller keys of the backup replace those of the cluster"
		case s.Secret.IsCallerKeys():
			s.Action, s.Why = Unchanged, "the cluster has other caller keys: with --caller-keys those of the backup replace them"
		default:
			s.Action, s.Why = Unchanged, "the cluster has another one"
		}
		steps = append(steps, s)
	}
	return steps, nil
}
