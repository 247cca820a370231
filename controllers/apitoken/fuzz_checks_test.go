package apitoken_test

import (
	"bytes"
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/equality"
	"sigs.k8s.io/controller-runtime/pkg/client"

	tokensv1alpha1 "apitokens.dev/operator/api/v1alpha1"
	"apitokens.dev/operator/internal/record"
	"apitokens.dev/operator/internal/token"
)

// ourRecord returns the record if it can be read and belongs to the APIToken, told in other words than those of decide.
func (s *scene) ourRecord(o *corev1.Secret) *record.Record {
	r := decoded(o)
	if r == nil {
		return nil
	}
	t := s.token
	want := []string{folded(t.Spec.User), t.Namespace, t.Spec.SiteRef.Name, t.Namespace, t.Name, t.Spec.Delivery.SecretName}
	if !slices.Equal(want, []string{r.User, r.Site.Namespace, r.Site.Name, r.APIToken.Namespace, r.APIToken.Name, r.DeliverySecret}) {
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

// holds returns the entry of the record whose token a Secret holds, one that the webhook finds by its id, or nil.
func holds(o *corev1.Secret, r *record.Record) *record.Entry {
	if o == nil || r == nil || o.Type != corev1.SecretTypeBasicAuth || !bytes.HasPrefix(o.Data["password"], []byte(r.TokenID+"_")) {
		return nil
	}
	if i := r.Verify(o.Data["password"]); i >= 0 {
		return &r.Entries[i]
	}
	return nil
}

// holdsOurs reports whether a Secret holds a token of the record in the store.
func (s *scene) holdsOurs(o *corev1.Secret) bool {
	return holds(o, s.ourRecord(s.stored(s.recordKey))) != nil
}

// leavesBehind reports whether a Secret holds a token of the record that was written for an APIToken of this name: then
// it goes with the APIToken, also where user or site of the record are wrong.
func (s *scene) leavesBehind(o *corev1.Secret) bool {
	r := decoded(s.stored(s.recordKey))
	return r != nil && r.APIToken == (record.Ref{Namespace: s.token.Namespace, Name: s.token.Name}) && r.DeliverySecret == s.deliverKey.Name && holds(o, r) != nil
}

func (s *scene) checkCreate(o client.Object) {
	created, ok := o.(*corev1.Secret)
	switch key := client.ObjectKeyFromObject(o); {
	case !ok:
		s.Fatalf("created a %T", o)
	case s.policy != policyInForce:
		s.Fatalf("created Secret %s although the policy is not in force", key)
	case created.Type == record.SecretType && key == s.recordKey:
		r := s.ourRecord(created)
		if r == nil || len(r.Entries) != 1 || r.Entries[0].State != record.Candidate || created.Labels[record.LabelTokenID] != r.TokenID {
			s.Fatalf("created the record %s", created.Data)
		}
		s.hideHash(r.Entries[0].Hash)
	case created.Type == corev1.SecretTypeBasicAuth && key == s.deliverKey:
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
	if !s.holdsOurs(created) && !s.meddledNow {
		s.Fatal("delivered a token that does not verify")
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
	case key == s.recordKey && was.Type == record.SecretType:
		s.checkRecordChange(was, changed)
		return
	case s.meddledNow:
		return // it was ours when that was decided, and it has not changed; the record may have
	case !s.holdsOurs(was):
		s.Fatalf("changed somebody's Secret: %q", was.Data)
	}
	// What somebody put beside the token stays.
	was.Data["username"], was.Data["url"] = changed.Data["username"], changed.Data["url"]
	if !equality.Semantic.DeepEqual(was, changed) || string(changed.Data["username"]) != s.token.Spec.User {
		s.Fatalf("changed more than user name and URL: %q", changed.Data)
	}
}

// checkRecordChange: a secret enters as a candidate, and is called delivered where it was read back; then others are
// dropped, and else only those that cannot be on their way any more.
func (s *scene) checkRecordChange(was, changed *corev1.Secret) {
	before, after := s.ourRecord(was), s.ourRecord(changed)
	if before == nil || after == nil || before.TokenID != after.TokenID {
		s.Fatalf("changed the record\n%s to\n%s", was.Data, changed.Data)
	}
	delivered := s.stored(s.deliverKey)
	confirmed := holds(delivered, after)
	for i, e := range after.Entries {
		s.hideHash(e.Hash)
		if e.State == record.Delivered && !slices.Contains(before.Entries, e) && confirmed != &after.Entries[i] && !s.meddledNow {
			s.Fatal("called a secret delivered that is not")
		}
	}
	for _, e := range before.Entries {
		kept := slices.ContainsFunc(after.Entries, func(other record.Entry) bool { return other.Hash == e.Hash })
		if !kept && confirmed == nil && !s.meddledNow && s.clock.Since(e.Issued) < time.Minute {
			s.Fatal("dropped a secret that may be on its way still")
		}
	}
	if holds(delivered, before) != nil && confirmed == nil && !s.meddledNow {
		s.Fatal("the delivered token verifies no longer")
	}
}

// checkDelete: only exactly what was looked at is deleted, of an APIToken that is gone, and the record last.
func (s *scene) checkDelete(o client.Object, opts []client.DeleteOption) {
	key := client.ObjectKeyFromObject(o)
	precondition := (&client.DeleteOptions{}).ApplyOptions(opts).Preconditions
	if _, ok := o.(*corev1.Secret); !ok || key != s.recordKey && key != s.deliverKey ||
		precondition == nil || precondition.ResourceVersion == nil || precondition.UID == nil || s.current() != nil {
		s.Fatalf("deleted the %T %s", o, key)
	}
	was := s.stored(key)
	switch {
	case was == nil || was.ResourceVersion != *precondition.ResourceVersion:
	case key != s.recordKey || was.Type != record.SecretType:
		if !s.leavesBehind(was) && !s.meddledNow {
			s.Fatalf("deleted somebody's Secret: %q", was.Data)
		}
	case s.leavesBehind(s.stored(s.deliverKey)) && !s.meddledNow:
		s.Fatal("deleted the record before the Secret")
	}
}

// checkTold: Events tell of deliveries that were made, and nothing that people can read has a secret in it.
func (s *scene) checkTold(t *tokensv1alpha1.APIToken, err error) {
	text, marshalErr := json.Marshal(t)
	if marshalErr != nil {
		s.Fatal(marshalErr)
	}
	told := []string{s.logs.String(), string(text), fmt.Sprint(err)}
	for len(s.events.Events) > 0 {
		event := <-s.events.Events
		if strings.HasPrefix(event, corev1.EventTypeNormal) && !s.deliveredNow {
			s.Fatalf("nothing was delivered, and told is %q", event)
		}
		told = append(told, event)
	}
	all := strings.Join(told, "\n")
	for secret := range s.hidden {
		// A user name and a forged status tell what they like.
		if strings.Contains(all, secret) && !strings.Contains(s.forgedID+s.token.Spec.User, secret) {
			s.Fatalf("%q is told in %s", secret, all)
		}
	}
}
