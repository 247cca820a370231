package backup

import (
	"bytes"
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"
	"time"

	"filippo.io/age"
	"github.com/google/go-cmp/cmp"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/client"

	tokensv1alpha1 "apitokens.dev/operator/api/v1alpha1"
	"apitokens.dev/operator/internal/authn"
	"apitokens.dev/operator/internal/plugin/archive"
	"apitokens.dev/operator/internal/plugin/exit"
	"apitokens.dev/operator/internal/record"
	"apitokens.dev/operator/internal/recordstore"
	"apitokens.dev/operator/internal/username"
)

// known is what the model knows of one token.
type known struct {
	name, user, id string
	of             tokensv1alpha1.CredentialType
	uid            types.UID
	// secrets are all that it ever had. valid is the one that its owner has, and secrets before it have ended.
	secrets []string
	valid   string
	// ends is when the second last secret ends, with an overlap.
	ends                time.Time
	revoked, suspended  bool
	parent              *known
	archived, replaced  bool // in the archive; its secret was replaced since
	archivedSuspended   bool
	stoppedSinceArchive bool
}

// history is one life of an installation: some time, a backup, some time, a disaster, a restore.
type history struct {
	*world
	*rand.Rand

	tokens   []*known
	log      strings.Builder
	kube     bool // the log is the audit log of Kubernetes, not that of the controller
	archived bool
	sealed   []byte
	// unseen means that APITokens went, and no log says why.
	unseen bool
	key    *age.X25519Identity
}

// In 200 random histories nothing that was revoked, replaced or stopped comes back, and with a log everything else does, record by record.
func TestRestoreInRandomHistories(t *testing.T) {
	key, err := age.GenerateX25519Identity()
	if err != nil {
		t.Fatal(err)
	}
	for seed := range 200 {
		t.Run(fmt.Sprintf("seed=%d", seed), func(t *testing.T) {
			t.Parallel()
			h := &history{world: newWorld(t), Rand: rand.New(rand.NewPCG(uint64(seed), 1)), key: key}
			h.kube = h.IntN(2) == 0
			h.begin()
			for range 12 {
				h.act()
			}
			h.backup()
			for range 8 {
				h.act()
			}
			h.disaster()
			h.restore(seed%2 == 0)
		})
	}
}

// begin makes the site, and lets the log begin.
func (h *history) begin() {
	h.site()
	if h.kube {
		h.log.WriteString(audited(h.now, "get", "x") + auditedRecord(h.now, "x"))
	} else {
		fmt.Fprintf(&h.log, `{"level":"info","ts":%q,"msg":"Starting workers","controller":"apitoken"}`+"\n", h.now.Format(time.RFC3339))
	}
	for range 4 {
		h.declareOne()
	}
}

// note notes in the log that something was done to a token.
func (h *history) note(k *known, action, verb string) {
	switch {
	case h.kube && verb != "":
		h.log.WriteString(audited(h.now, verb, k.name))
	case !h.kube && action != "":
		h.log.WriteString(logged(h.now, action, k.id))
	}
}

func (h *history) act() {
	h.step(time.Duration(20+h.IntN(100)) * time.Minute)
	live := slices.DeleteFunc(slices.Clone(h.tokens), func(k *known) bool { return k.revoked })
	if len(live) == 0 || h.IntN(4) == 0 {
		h.declareOne()
		return
	}
	k := live[h.IntN(len(live))]
	switch h.IntN(4) {
	case 0:
		h.revoke(k)
	case 1:
		h.rotate(k)
	case 2:
		h.suspend(k, !k.suspended)
	default:
		h.child(k)
	}
}

func (h *history) declareOne() {
	of := []tokensv1alpha1.CredentialType{
		tokensv1alpha1.CredentialGenerated, tokensv1alpha1.CredentialImported, tokensv1alpha1.CredentialPortal,
	}[h.IntN(3)]
	h.make(of, nil)
}

// child makes a token with one of the portal.
func (h *history) child(parent *known) {
	if parent.of == tokensv1alpha1.CredentialPortal {
		h.make(tokensv1alpha1.CredentialPortal, parent)
	}
}

func (h *history) make(of tokensv1alpha1.CredentialType, parent *known) {
	h.Helper()
	n := len(h.tokens)
	k := &known{name: fmt.Sprintf("t%d", n), user: fmt.Sprintf("User%d", n), of: of, id: h.tokenID(), parent: parent}
	t := h.declare(k.name, k.user, of)
	var ancestors []string
	if parent != nil {
		t.Spec.CreatedBy = tokensv1alpha1.CreatedBy{UID: string(parent.uid), TokenID: parent.id, Namespace: namespace}
		ancestors = []string{string(parent.uid)}
	}
	h.must(h.Create(h.Context(), t))
	k.uid = t.UID
	text, e := h.secretText(k.id, k.of == tokensv1alpha1.CredentialImported)
	h.record(t, k.id, ancestors, e)
	k.secrets, k.valid = []string{text}, text
	h.tokens = append(h.tokens, k)
	h.note(k, "created", "create")
}

// revoke deletes an APIToken, and the operator sees it.
func (h *history) revoke(k *known) {
	h.must(h.Delete(h.Context(), h.get(k.name)))
	h.edit(k.uid, func(r *record.Record) { r.Kill(h.now) })
	k.revoked = true
	h.note(k, "revoked", "delete")
}

// rotate replaces the secret of a token, with an overlap or without.
func (h *history) rotate(k *known) {
	text, e := h.secretText(k.id, k.of == tokensv1alpha1.CredentialImported)
	overlap := time.Duration(h.IntN(2)) * time.Hour
	h.edit(k.uid, func(r *record.Record) {
		for i := range r.Entries {
			r.Entries[i] = r.Entries[i].EndingBy(h.now.Add(overlap))
		}
		last := r.Entries[len(r.Entries)-1]
		kept := []record.Entry{last, e}
		if r.Imported { // a later value takes the place of the one before at once
			kept, overlap = kept[1:], 0
		}
		r.Keep(kept, h.now)
	})
	k.secrets, k.valid, k.ends = append(k.secrets, text), text, h.now.Add(overlap)
	k.replaced = k.archived
	h.note(k, "rotated", "")
	if h.kube {
		h.log.WriteString(auditedRecord(h.now, string(k.uid)))
	}
}

// suspend stops a token, or lets it act again. After the backup only the audit log of Kubernetes has that.
func (h *history) suspend(k *known, suspended bool) {
	if h.archived && !h.kube {
		return
	}
	t := h.get(k.name)
	before := t.DeepCopy()
	t.Spec.State = tokensv1alpha1.StateActive
	if suspended {
		t.Spec.State = tokensv1alpha1.StateSuspended
	}
	h.must(h.Patch(h.Context(), t, client.MergeFrom(before)))
	k.suspended, k.stoppedSinceArchive = suspended, h.archived
	h.note(k, "", "patch")
}

func (h *history) backup() {
	h.step(time.Hour)
	a := archive.New(h.now, "test")
	found, err := h.read(h.Context())
	h.must(err)
	if left := found.addTo(a); len(left) > 0 {
		h.Fatalf("left out: %v", left)
	}
	var sealed bytes.Buffer
	h.must(archive.Seal(&sealed, a, h.key.Recipient()))
	h.sealed, h.archived = sealed.Bytes(), true
	for _, k := range h.tokens {
		k.archived, k.archivedSuspended = !k.revoked, k.suspended
	}
	h.step(time.Hour)
}

// disaster loses something: everything, the operator's namespace, the namespace of the tokens, or nothing.
func (h *history) disaster() {
	h.step(time.Hour)
	switch h.IntN(4) {
	case 0:
		h.reset()
	case 1:
		h.clear(&corev1.Secret{}, system)
	case 2:
		h.clear(&tokensv1alpha1.APIToken{}, namespace)
		h.unseen = true
	}
	h.step(time.Hour)
}

// restoreOnce runs a restore that is killed after some writes, or never.
func (h *history) restoreOnce(logged bool, killed int) error {
	h.Helper()
	a, err := archive.Open(h.sealed, h.key)
	h.must(err)
	var log *archive.Log
	if logged {
		log = archive.NewLog(a.Created, time.Time{})
		h.must(log.Read(strings.NewReader(h.log.String())))
		h.must(log.Complete())
	}
	found, err := h.read(h.Context())
	h.must(err)
	p, err := newPlan(a, found.live(), log, false)
	h.must(err)
	h.killed = killed
	err = (&restore{Session: h.session}).carryOut(h.Context(), &h.cluster, p)
	h.killed = -1
	return err
}

func (h *history) restore(logged bool) {
	untouched := h.bound()
	if logged && h.IntN(3) == 0 { // somebody had no log at first
		h.finish(false)
		h.check(false, untouched)
	}
	h.finish(logged)
	h.check(logged, untouched)
	before := h.writes
	h.finish(logged)
	if h.writes != before {
		h.Errorf("a second restore wrote %d times", h.writes-before)
	}
	h.check(logged, untouched)
	h.revokedAfterwards(logged, untouched)
}

// finish restores, after runs that were killed in between.
func (h *history) finish(logged bool) {
	for range h.IntN(3) {
		if err := h.restoreOnce(logged, h.IntN(9)); err == nil {
			break
		}
		h.neverRevived(h.index())
		h.cutOff()
	}
	if err := h.restoreOnce(logged, -1); err != nil && !slices.ContainsFunc(h.tokens, h.left) {
		h.Fatalf("restore: %v (exit code %d)", err, exit.CodeOf(err))
	}
}

// cutOff notes the APITokens that a restore left suspended, and has no record yet to say so: somebody has to resume them.
func (h *history) cutOff() {
	h.Helper()
	bound := h.bound()
	for _, k := range h.tokens {
		if t := h.get(k.name); t != nil && bound[k.name] == nil && t.Spec.State == tokensv1alpha1.StateSuspended {
			k.stoppedSinceArchive = true
		}
	}
}

// left reports whether a token was revoked, and a restore without a log that was cut off has left it suspended.
func (h *history) left(k *known) bool {
	t := h.get(k.name)
	return k.revoked && k.stoppedSinceArchive && t != nil && t.Spec.State == tokensv1alpha1.StateSuspended
}

// revokedAfterwards revokes what came back. Another restore of the same archive leaves it dead.
func (h *history) revokedAfterwards(logged bool, untouched map[string]*record.Record) {
	for _, k := range h.tokens {
		t := h.get(k.name)
		if t == nil || h.IntN(2) == 0 {
			continue
		}
		h.must(h.Delete(h.Context(), t))
		h.edit(t.UID, func(r *record.Record) { r.Kill(h.now) })
		k.revoked = true
		delete(untouched, k.name)
	}
	h.step(time.Minute)
	h.finish(logged)
	h.check(logged, untouched)
}

// bound returns the records of the APITokens that are there, by name: no restore has to bring them back.
func (h *history) bound() map[string]*record.Record {
	h.Helper()
	records := map[string]*record.Record{}
	for _, k := range h.tokens {
		if t := h.get(k.name); t != nil {
			var stored corev1.Secret
			if h.Get(h.Context(), client.ObjectKey{Namespace: system, Name: string(t.UID)}, &stored) == nil {
				r, err := recordstore.Decode(&stored)
				h.must(err)
				records[k.name] = r
			}
		}
	}
	return records
}

// neverRevived checks that nothing that was revoked or replaced authenticates.
func (h *history) neverRevived(ix *authn.Index) {
	h.Helper()
	for _, k := range h.tokens {
		for _, text := range k.secrets {
			ended := text != k.valid && !h.now.Before(k.ends)
			if d := ask(ix, k.user, text); d.Verdict == authn.Allow && (k.revoked || k.suspended || ended) {
				h.Errorf("%s (%s, %s): revoked %t, suspended %t, ended %t, and it authenticates: %+v valid %t ends %v now %v rec %+v\n%s", k.name, k.of, k.id, k.revoked, k.suspended, ended, d, text == k.valid, k.ends, h.now, h.bound()[k.name], h.log.String())
			}
		}
	}
}

// check compares all with the model.
func (h *history) check(logged bool, untouched map[string]*record.Record) {
	h.Helper()
	ix, now := h.index(), h.bound()
	if logged {
		h.neverRevived(ix)
	}
	a, err := archive.Open(h.sealed, h.key)
	h.must(err)
	for _, k := range h.tokens {
		got := ask(ix, k.user, k.valid)
		switch {
		case untouched[k.name] != nil:
			if diff := cmp.Diff(untouched[k.name], now[k.name], cmp.AllowUnexported(record.Hash{})); diff != "" {
				h.Errorf("%s was there, and its record was changed: %s", k.name, diff)
			}
		case !logged && got.Verdict == authn.Allow:
			h.Errorf("%s authenticates, and nobody knows what was revoked", k.name)
		case !logged && k.revoked: // as far as the restore knows, it was not
		case logged && h.left(k): // it is told to the person who restores
		case !k.archived || k.revoked:
			if now[k.name] != nil {
				h.Errorf("%s has a record: archived %t, revoked %t", k.name, k.archived, k.revoked)
			}
		default:
			h.checkRestored(a, k, now[k.name], got, logged)
		}
	}
}

// checkRestored checks a token that was lost, and is in the archive.
func (h *history) checkRestored(a *archive.Archive, k *known, now *record.Record, got authn.Decision, logged bool) {
	h.Helper()
	i := slices.IndexFunc(a.Tokens, func(t archive.Token) bool { return t.Name().Name == k.name })
	want, err := record.Decode(a.Tokens[i].Record)
	h.must(err)
	if now == nil {
		h.Errorf("%s has no record", k.name)
		return
	}
	if k.parent != nil && h.get(k.name).UID != k.uid { // else it was there all the time
		if parent := h.get(k.parent.name); parent != nil && h.get(k.name).Spec.CreatedBy.UID != string(parent.UID) {
			h.Errorf("%s was made with %s, which has another UID now", k.name, k.parent.name)
		}
	}
	want.Ancestors, now.Ancestors = nil, nil
	if !k.replaced { // else the secrets of then are ended
		if diff := cmp.Diff(want, now, cmp.AllowUnexported(record.Hash{})); diff != "" {
			h.Errorf("the record of %s: %s", k.name, diff)
		}
	}
	acts := logged && !k.replaced && !k.archivedSuspended && !k.stoppedSinceArchive && (!h.unseen || h.kube)
	if acts != (got.Verdict == authn.Allow) {
		h.Errorf("%s: %s %s, want it to act: %t", k.name, got.Verdict, got.Reason, acts)
	}
	if username.Fold(k.user) != now.User {
		h.Errorf("%s belongs to %s", k.name, now.User)
	}
}
