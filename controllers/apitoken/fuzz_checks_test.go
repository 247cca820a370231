package apitoken_test

import (
	"bytes"
	"encoding/json"
	"fmt"
	"maps"
	"reflect"
	"slices"
	"strings"
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/equality"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	tokensv1alpha1 "apitokens.dev/operator/api/v1alpha1"
	"apitokens.dev/operator/internal/record"
	"apitokens.dev/operator/internal/token"
)

// ourRecord returns the record if it can be read, is not dead, and belongs to the APIToken, by other code than that of decide.
func (s *scene) ourRecord(o *corev1.Secret) *record.Record {
	r := decoded(o)
	if r == nil || !r.Dead.IsZero() {
		return nil
	}
	t := s.token
	want := []string{folded(t.Spec.User), s.siteKey.Namespace, t.Spec.SiteRef.Name, t.Namespace, t.Name, t.Spec.Delivery.SecretName}
	if !slices.Equal(want, []string{r.User, r.Site.Namespace, r.Site.Name, r.APIToken.Namespace, r.APIToken.Name, r.DeliverySecret}) ||
		r.Imported != s.imported() || r.Portal != s.ofPortal() {
		return nil
	}
	return r
}

func decoded(o *corev1.Secret) *record.Record {
	if o == nil || o.Type != record.SecretType {
		return nil
	}
	r, err := record.Decode(o.Data[record.DataKey])
	if err != nil {
		return nil
	}
	return r
}

// holds returns the entry of the record that the token in a Secret verifies against, or nil.
func holds(o *corev1.Secret, r *record.Record) *record.Entry {
	if o == nil || r == nil || o.Type != corev1.SecretTypeBasicAuth || !bytes.HasPrefix(o.Data["password"], []byte(r.TokenID+"_")) {
		return nil
	}
	if i := r.Verify(o.Data["password"]); i >= 0 {
		return &r.Entries[i]
	}
	return nil
}

// holdsOurs reports whether a Secret holds a token of the record in the store, that was delivered to it.
func (s *scene) holdsOurs(o *corev1.Secret) bool {
	return s.kind == kindGenerated && holds(o, s.ourRecord(s.stored(s.recordKey))) != nil
}

// isOurs reports whether a record was written for this APIToken, also if user or site of it are wrong.
func (s *scene) isOurs(o *corev1.Secret) bool {
	r := decoded(o)
	return r != nil && r.APIToken == (record.Ref{Namespace: s.token.Namespace, Name: s.token.Name})
}

// leavesBehind reports whether a Secret holds a token of the record of this APIToken. It is then deleted with the APIToken,
// also if user or site of the record are wrong.
func (s *scene) leavesBehind(o *corev1.Secret) bool {
	r := decoded(s.stored(s.recordKey))
	return s.isOurs(s.stored(s.recordKey)) && r.DeliverySecret == s.deliverKey.Name && holds(o, r) != nil
}

func (s *scene) checkCreate(o client.Object) {
	created, ok := o.(*corev1.Secret)
	switch key := client.ObjectKeyFromObject(o); {
	case !ok:
		s.Fatalf("created a %T", o)
	case !s.mayIssue(created.Type != record.SecretType):
		s.Fatalf("created Secret %s although the policy is not in force", key)
	case created.Type == record.SecretType && key == s.recordKey:
		r := s.ourRecord(created)
		if r == nil || len(r.Entries) != 1 || created.Labels[record.LabelTokenID] != r.TokenID || r.UserKey != "" && !s.knowsOwner(r) {
			s.Fatalf("created the record %s", created.Data)
		}
		s.checkNew(r.Entries[0], nil)
		s.undelivered[r.Entries[0].Hash] = true
	case created.Type == corev1.SecretTypeBasicAuth && key == s.deliverKey && s.kind == kindGenerated:
		s.checkDelivery(created)
	default:
		s.Fatalf("created Secret %s of type %s", key, created.Type)
	}
}

// checkDelivery: the record knows a secret before anybody gets it. Where a Secret is there already, of another leader for
// example, nothing comes of this one.
func (s *scene) checkDelivery(created *corev1.Secret) {
	text := created.Data["password"]
	if _, ok := token.Parse(text); !ok || string(created.Data["username"]) != s.token.Spec.User || len(created.Data) != 3 {
		s.Fatalf("delivered %q", created.Data)
	}
	s.hideToken(string(text))
	if s.stored(s.deliverKey) != nil {
		return
	}
	s.deliveredNow = true
	maps.DeleteFunc(s.undelivered, func(h record.Hash, _ bool) bool { return h.Verify(text) })
	s.checkKnown(created)
}

// checkKnown: the delivered token is a candidate of the stored record, or its first secret, and may be delivered.
func (s *scene) checkKnown(delivered *corev1.Secret) {
	if s.meddledNow {
		return
	}
	r := s.ourRecord(s.stored(s.recordKey))
	e := holds(delivered, r)
	if e == nil || e.State != record.Candidate && (e.State != record.Delivered || len(r.Entries)+len(r.DeadEntries) > 1) {
		s.Fatalf("delivered a token that is no candidate: %+v", e)
	}
	if why := s.rules().forbids(e); why != "" {
		s.Fatalf("delivered a token in spite of %s", why)
	}
}

// checkNew: a secret enters the record as a candidate, unless it is the first, and only when one may be issued.
func (s *scene) checkNew(e record.Entry, before *record.Record) {
	s.hideHash(e.Hash)
	if s.kind != kindGenerated {
		s.checkImport(e, before)
		return
	}
	want := record.Candidate
	if before == nil {
		want = record.Delivered
	}
	if age := s.clock.Since(e.Issued); e.State != want || age < 0 || age >= time.Minute || !s.mayIssue(before != nil) {
		s.Fatalf("there is a new secret %+v, policy %d", e, s.policy)
	}
	if s.meddledNow {
		return
	}
	rules, basis, delivered := s.rules(), s.basis(before), s.stored(s.deliverKey)
	if why := rules.forbids(basis); why != "" {
		s.Fatalf("made a secret in spite of %s", why)
	}
	if before != nil && delivered != nil && (holds(delivered, before) == nil || !rules.replaces(basis)) {
		s.Fatalf("made a secret to replace one that is good: %+v", basis)
	}
}

func (s *scene) checkUpdate(o client.Object) {
	changed, ok := o.(*corev1.Secret)
	key := client.ObjectKeyFromObject(o)
	if !ok || changed.ResourceVersion == "" || key != s.recordKey && key != s.deliverKey {
		s.Fatalf("updated the %T %s", o, key)
	}
	was := s.stored(key)
	switch {
	case was == nil || was.ResourceVersion != changed.ResourceVersion:
		return // nothing comes of it
	case key == s.recordKey && was.Type == record.SecretType && s.cleaning:
		s.checkKill(was, changed)
		return
	case key == s.recordKey && was.Type == record.SecretType:
		s.checkRecordChange(was, changed)
		return
	case s.kind != kindGenerated:
		s.Fatalf("changed somebody's Secret: %q", was.Data)
	case s.meddledNow:
		s.deliveredNow = s.deliveredNow || !bytes.Equal(was.Data["password"], changed.Data["password"])
		return // it was ours at the decision and has not changed; the record may have
	case !s.holdsOurs(was):
		s.Fatalf("changed somebody's Secret: %q", was.Data)
	}
	// Foreign content beside the token stays.
	old, text := was.Data["password"], changed.Data["password"]
	if bytes.Equal(old, text) {
		was.Data["username"], was.Data["url"] = changed.Data["username"], changed.Data["url"]
		if !equality.Semantic.DeepEqual(was, changed) || string(changed.Data["username"]) != s.token.Spec.User {
			s.Fatalf("changed more than user name and URL: %q", changed.Data)
		}
		return
	}
	s.hideToken(string(text))
	s.deliveredNow = true
	replaced := holds(was, s.ourRecord(s.stored(s.recordKey)))
	if rules := s.rules(); !rules.replaces(replaced) || !s.mayIssue(true) {
		s.Fatalf("replaced %+v, policy %d", replaced, s.policy)
	} else if !rules.dead(*replaced) {
		until := replaced.Ends
		if until.IsZero() {
			until = s.clock.Now().Add(s.overlapWanted())
		}
		s.promised = append(s.promised, promise{text: old, entry: *replaced, until: until})
	}
	s.checkKnown(changed)
	was.Data["password"] = text
	if !equality.Semantic.DeepEqual(was, changed) {
		s.Fatalf("changed more than the token: %q", changed.Data)
	}
}

func (s *scene) overlapWanted() time.Duration {
	return []time.Duration{24 * time.Hour, 0, time.Hour}[s.overlap]
}

// checkRecordChange: a later secret enters as a candidate, and becomes delivered where it was read back. The replaced secret then
// stays valid for the overlap. Only ended secrets, and candidates that cannot be delivered any more, are dropped.
func (s *scene) checkRecordChange(was, changed *corev1.Secret) {
	if equality.Semantic.DeepEqual(was.Data, changed.Data) && s.policy == policyYounger {
		return // it notes that the policies admitted the spec
	}
	before, after := s.ourRecord(was), s.ourRecord(changed)
	if before == nil || after == nil || before.TokenID != after.TokenID {
		s.Fatalf("changed the record\n%s to\n%s", was.Data, changed.Data)
	}
	s.checkDead(before, after)
	if before.UserKey != after.UserKey {
		s.checkOwner(before, after)
		return
	}
	if s.policy == policyChanged || s.policy == policyMissing && s.token.Generation != 1 {
		s.checkStopped(before, after)
		return
	}
	if s.kind != kindGenerated {
		s.checkNew(after.Entries[len(after.Entries)-1], before)
		return
	}
	delivered := s.stored(s.deliverKey)
	c := recordChange{scene: s, deleted: delivered == nil, full: len(before.Entries) == record.MaxEntries, confirmed: holds(delivered, after)}
	if e := holds(delivered, before); e != nil && c.confirmed != nil {
		c.news = e.State == record.Candidate && c.confirmed.State == record.Delivered
	}
	isDelivered := func(e record.Entry) bool { return e.State == record.Delivered }
	if i := slices.IndexFunc(after.Entries, isDelivered); i >= 0 && slices.ContainsFunc(after.Entries[i+1:], isDelivered) {
		s.Fatalf("the record has two delivered secrets: %+v", after.Entries)
	}
	for _, e := range after.Entries {
		if indexOf(before, e) < 0 {
			s.checkNew(e, before)
		}
	}
	if s.meddledNow {
		return
	}
	if holds(delivered, before) != nil && c.confirmed == nil {
		s.Fatal("the delivered token verifies no longer")
	}
	if delivered != nil && c.confirmed == nil {
		s.Fatal("changed the record although the Secret is somebody's")
	}
	for _, e := range before.Entries {
		if i := indexOf(after, e); i >= 0 {
			c.kept(e, after.Entries[i])
		} else {
			c.dropped(e)
		}
	}
}

// mayIssue reports whether the admission policies allow to issue for an APIToken, with or without a record.
func (s *scene) mayIssue(recorded bool) bool {
	return s.policy == policyInForce || s.policy == policyYounger && recorded
}

// checkStopped: every secret of the record has ended.
func (s *scene) checkStopped(before, after *record.Record) {
	for i, e := range after.Entries {
		was := before.Entries[i]
		if e.Hash != was.Hash || e.State != record.Ending || e.Ends.After(s.clock.Now()) {
			s.Fatalf("changed the entry %+v to %+v", was, e)
		}
	}
}

func indexOf(r *record.Record, e record.Entry) int {
	return slices.IndexFunc(r.Entries, func(other record.Entry) bool { return other.Hash == e.Hash })
}

// recordChange is a change of the entries of a record.
type recordChange struct {
	*scene

	// deleted means that there is no delivered Secret, full that the record had no room.
	deleted, full bool
	// confirmed is the entry of the delivered token. news means that it becomes delivered now.
	confirmed *record.Entry
	news      bool
}

func (c recordChange) kept(e, now record.Entry) {
	if e == now {
		return
	}
	ok := false
	switch [2]record.State{e.State, now.State} {
	case [2]record.State{record.Candidate, record.Delivered}:
		ok = now == *c.confirmed
	case [2]record.State{record.Delivered, record.Candidate}:
		ok = c.deleted
	case [2]record.State{record.Delivered, record.Ending}:
		ok = c.news && now != *c.confirmed && now.Ends.Equal(c.clock.Now().Add(c.overlapWanted()))
	}
	if !ok || !now.Issued.Equal(e.Issued) || now.State != record.Ending && !now.Ends.IsZero() {
		c.Fatalf("changed the entry %+v to %+v", e, now)
	}
}

func (c recordChange) dropped(e record.Entry) {
	ok := false
	switch e.State {
	case record.Candidate:
		// Candidates beside a delivered candidate were to replace the same secret, and cannot any more.
		ok = c.news || c.clock.Since(e.Issued) >= time.Minute || slices.ContainsFunc(c.refused, e.Hash.Verify)
	case record.Delivered:
		ok = c.deleted && c.full || c.news && (c.overlapWanted() == 0 || c.rules().dead(e))
	case record.Ending:
		ok = c.deleted || c.rules().dead(e)
	}
	if !ok {
		c.Fatalf("dropped the entry %+v", e)
	}
}

// checkPromises: a replaced secret stays valid for its overlap.
func (s *scene) checkPromises() {
	r, rules := s.ourRecord(s.stored(s.recordKey)), s.rules()
	for _, p := range s.promised {
		e := p.entry
		e.State, e.Ends = record.Ending, p.until
		if rules.dead(e) {
			continue
		}
		if r == nil {
			s.Fatal("the record is gone")
		}
		if i := r.Verify(p.text); i < 0 || rules.dead(r.Entries[i]) {
			s.Fatalf("what was to go on until %s does not: %+v", p.until, r.Entries)
		}
	}
}

// checkKill: the record of an APIToken that is gone is marked dead once, after its delivered Secret was removed, and keeps everything.
func (s *scene) checkKill(was, changed *corev1.Secret) {
	before, after := decoded(was), decoded(changed)
	if !s.isOurs(was) || after == nil || !before.Dead.IsZero() || !after.Dead.Equal(s.clock.Now()) {
		s.Fatalf("changed the record of an APIToken that is gone\n%s to\n%s", was.Data, changed.Data)
	}
	if after.Dead = before.Dead; !reflect.DeepEqual(before, after) {
		s.Fatalf("the dead record has lost something: %+v, %+v", before, after)
	}
	if s.leavesBehind(s.stored(s.deliverKey)) && !s.meddledNow {
		s.Fatal("marked the record dead before the Secret was removed")
	}
}

// checkOwner: a record without an owner gets that of the personal access token, and nothing else changes.
func (s *scene) checkOwner(before, after *record.Record) {
	if !s.knowsOwner(after) {
		s.Fatalf("the token is said to belong to %q", after.UserKey)
	}
	after.UserKey = ""
	if !reflect.DeepEqual(before, after) {
		s.Fatalf("changed more than the owner: %+v, %+v", before, after)
	}
}

// knowsOwner reports whether a record may have its owner from the personal access token.
func (s *scene) knowsOwner(r *record.Record) bool {
	return r.UserKey == keyOfToday && s.knownPAT() && s.named == namedUser
}

// checkDead: dropped secrets are known as dead, and what was dead stays so.
func (s *scene) checkDead(before, after *record.Record) {
	dead := func(r *record.Record, e record.Entry) bool {
		return slices.ContainsFunc(r.DeadEntries, func(d record.Entry) bool {
			return d.Hash == e.Hash && d.Issued.Equal(e.Issued) && !d.Ends.After(s.clock.Now())
		})
	}
	for _, e := range before.Entries {
		if indexOf(after, e) < 0 && !dead(after, e) && !slices.ContainsFunc(s.refused, e.Hash.Verify) {
			s.Fatalf("the dropped secret %+v is not among the dead ones %+v", e, after.DeadEntries)
		}
	}
	for _, e := range before.DeadEntries {
		if !dead(after, e) || indexOf(after, e) >= 0 {
			s.Fatalf("the dead secret %+v is not dead any more: %+v", e, after)
		}
	}
	if !after.Dead.Equal(before.Dead) {
		s.Fatal("the record of an APIToken that is there was marked dead, or lives again")
	}
}

// checkDelete: a deletion names the version that was read, of an APIToken that is gone. A record goes only if it says nothing, or nobody
// got its secret.
func (s *scene) checkDelete(o client.Object, opts []client.DeleteOption) {
	key := client.ObjectKeyFromObject(o)
	precondition := (&client.DeleteOptions{}).ApplyOptions(opts).Preconditions
	if t, ok := o.(*tokensv1alpha1.APIToken); ok {
		s.checkRemove(t, precondition)
		return
	}
	if _, ok := o.(*corev1.Secret); !ok || key != s.recordKey && key != s.deliverKey ||
		precondition == nil || precondition.ResourceVersion == nil || precondition.UID == nil || s.current() != nil && key != s.recordKey {
		s.Fatalf("deleted the %T %s", o, key)
	}
	was := s.stored(key)
	switch {
	case was == nil || was.ResourceVersion != *precondition.ResourceVersion:
	case key == s.recordKey && s.isWithdrawn(was):
	case s.current() != nil:
		s.Fatalf("deleted the Secret %s of an APIToken that is there", key)
	case key != s.recordKey || was.Type != record.SecretType:
		if !s.leavesBehind(was) && !s.meddledNow {
			s.Fatalf("deleted somebody's Secret: %q", was.Data)
		}
	case s.isOurs(was):
		s.Fatal("deleted a record that says why the token is refused")
	}
}

// isWithdrawn reports whether a record is of a first secret that nobody got, because somebody's Secret was there.
func (s *scene) isWithdrawn(o *corev1.Secret) bool {
	r := s.ourRecord(o)
	return r != nil && len(r.Entries) == 1 && s.undelivered[r.Entries[0].Hash] && (s.stored(s.deliverKey) != nil || s.meddledEver)
}

// checkRemove: the APIToken itself goes only if it expired for good, as long ago as its site says, or the portal was cut off.
func (s *scene) checkRemove(t *tokensv1alpha1.APIToken, precondition *metav1.Preconditions) {
	if client.ObjectKeyFromObject(t) != client.ObjectKeyFromObject(s.token) || precondition == nil || precondition.UID == nil ||
		*precondition.UID != s.token.UID || precondition.ResourceVersion == nil {
		s.Fatalf("removed the APIToken %s with %+v", t.Name, precondition)
	}
	current := s.current()
	if current == nil || current.ResourceVersion != *precondition.ResourceVersion || s.meddledNow {
		return
	}
	if !s.rules().removes(s.basis(s.ourRecord(s.stored(s.recordKey)))) {
		s.Fatal("removed an APIToken that has not expired for so long, and was not cut off")
	}
}

// checkEvents: Events report only deliveries that were made, and nothing that people can read contains a secret.
func (s *scene) checkEvents(t *tokensv1alpha1.APIToken, err error) {
	text, marshalErr := json.Marshal(t)
	if marshalErr != nil {
		s.Fatal(marshalErr)
	}
	output := []string{s.logs.String(), string(text), fmt.Sprint(err)}
	for len(s.events.Events) > 0 {
		event := <-s.events.Events
		if strings.HasPrefix(event, corev1.EventTypeNormal) && !s.deliveredNow {
			s.Fatalf("nothing was delivered, but there is an Event %q", event)
		}
		output = append(output, event)
	}
	all := strings.Join(output, "\n")
	for secret := range s.hidden {
		// A user name and a forged status may contain anything.
		if strings.Contains(all, secret) && !strings.Contains(s.forgedID+s.token.Spec.User, secret) {
			s.Fatalf("%q is in the output %s", secret, all)
		}
	}
}
