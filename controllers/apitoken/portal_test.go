package apitoken_test

import (
	"strings"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	tokensv1alpha1 "apitokens.dev/operator/api/v1alpha1"
	"apitokens.dev/operator/hack/lib/kubetest"
	"apitokens.dev/operator/internal/record"
	"apitokens.dev/operator/internal/token"
)

// shown is an APIToken as the portal makes it, pending if it was cut off.
func (w *world) shown(name string, pending bool) *tokensv1alpha1.APIToken {
	w.Helper()
	t := kubetest.Token(w.ns, name, func(t *tokensv1alpha1.APIToken) {
		t.Spec.Delivery = tokensv1alpha1.Delivery{}
		t.Spec.Credential = tokensv1alpha1.Credential{Type: tokensv1alpha1.CredentialPortal}
		if pending {
			t.Annotations = map[string]string{tokensv1alpha1.AnnotationPending: "true"}
		}
	})
	w.create(t)
	return t
}

// recorded writes the record as the portal does, and returns the plaintext.
func (w *world) recorded(t *tokensv1alpha1.APIToken) string {
	w.Helper()
	id, err := token.NewID(w.reconciler.Random)
	if err != nil {
		w.Fatal(err)
	}
	text, err := token.New(id, w.reconciler.Random)
	if err != nil {
		w.Fatal(err)
	}
	hash, err := record.NewHash(text, w.reconciler.Random)
	if err != nil {
		w.Fatal(err)
	}
	r := &record.Record{
		TokenID: id, User: t.Spec.User, Portal: true, Site: record.Ref{Namespace: w.ns, Name: "main"},
		APIToken: record.Ref{Namespace: t.Namespace, Name: t.Name},
		Entries:  []record.Entry{{Hash: hash, State: record.Delivered, Issued: w.clock.Now().UTC()}},
	}
	encoded, err := r.Encode()
	if err != nil {
		w.Fatal(err)
	}
	err = w.as().Create(w.Context(), &corev1.Secret{
		ObjectMeta: metav1.ObjectMeta{Namespace: kubetest.SystemNamespace, Name: string(t.UID), Labels: map[string]string{
			record.LabelTokenID: id, record.LabelSiteNamespace: w.ns, record.LabelSite: "main",
		}},
		Type: record.SecretType, Data: map[string][]byte{record.DataKey: encoded},
	})
	if err != nil {
		w.Fatal(err)
	}
	return text
}

func TestTokenOfThePortal(t *testing.T) {
	w := newWorld(t)
	tok := w.shown("page", false)
	w.recorded(tok)
	w.reconcile(tok, tokensv1alpha1.ReasonIssued)
	r := w.record(tok)
	if tok.Status.TokenID != r.TokenID || !tok.Status.IssuedTime.Equal(new(metav1.NewTime(r.Entries[0].Issued).Rfc3339Copy())) {
		t.Errorf("the status is %+v", tok.Status)
	}
	w.change(tok, func(t *tokensv1alpha1.APIToken) { t.Spec.State = tokensv1alpha1.StateSuspended })
	w.reconcile(tok, tokensv1alpha1.ReasonSuspended)
	w.change(tok, func(t *tokensv1alpha1.APIToken) {
		t.Spec.State, t.Spec.LifetimeDays = tokensv1alpha1.StateActive, new(int32(1))
	})
	w.reconcile(tok, tokensv1alpha1.ReasonIssued)
	w.sleep(25 * time.Hour)
	w.reconcile(tok, tokensv1alpha1.ReasonExpired)
	if err := env.Admin.Delete(t.Context(), tok); err != nil {
		t.Fatal(err)
	}
	w.clean(tok)
	if w.record(tok).Dead.IsZero() {
		t.Error("the record is not dead")
	}
}

// A token that was issued before the epoch is dead, and nobody can be shown another one.
func TestTokenOfThePortalBeforeTheEpoch(t *testing.T) {
	w := newWorld(t)
	tok := w.shown("page", false)
	w.recorded(tok)
	w.reconcile(tok, tokensv1alpha1.ReasonIssued)
	w.sleep(time.Hour)
	w.changeSite(func(s *tokensv1alpha1.AtlassianSite) { s.Spec.IssuedAfter = metav1.NewTime(w.clock.Now()) })
	w.reconcile(tok, tokensv1alpha1.ReasonRevokedByEpoch)
}

// A pending token without a record is left alone for ten minutes, and then removed: the portal was killed. One with a record
// authenticates, so the annotation hides nothing.
func TestCutOffTokenOfThePortal(t *testing.T) {
	for name, recorded := range map[string]bool{"before the record": false, "after the record": true} {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t)
			tok := w.shown("page", true)
			if recorded {
				w.recorded(tok)
			}
			w.clock.SetTime(tok.CreationTimestamp.Add(9 * time.Minute))
			if recorded {
				w.reconcile(tok, tokensv1alpha1.ReasonIssued)
				w.clock.SetTime(tok.CreationTimestamp.Add(10 * time.Minute))
				w.reconcile(tok, tokensv1alpha1.ReasonIssued)
				return
			}
			w.reconcile(tok, tokensv1alpha1.ReasonIssuePending)
			w.clock.SetTime(tok.CreationTimestamp.Add(10 * time.Minute))
			var current tokensv1alpha1.APIToken
			if err := env.Admin.Get(t.Context(), client.ObjectKeyFromObject(tok), &current); err != nil {
				t.Fatal(err)
			}
			if _, err := w.reconciler.Reconcile(t.Context(), &current); err != nil {
				t.Fatal(err)
			}
			if err := env.Admin.Get(t.Context(), client.ObjectKeyFromObject(tok), &current); !apierrors.IsNotFound(err) {
				t.Errorf("the APIToken is still there: %v", err)
			}
			w.clean(tok)
			if w.secret(kubetest.SystemNamespace, string(tok.UID)) != nil {
				t.Error("the record is still there")
			}
		})
	}
}

// A token without its record is dead. The message names the record of an earlier one, as after a restore.
func TestTokenOfThePortalWithoutRecord(t *testing.T) {
	w := newWorld(t)
	before := w.shown("page", false)
	w.recorded(before)
	if err := env.Admin.Delete(t.Context(), before); err != nil {
		t.Fatal(err)
	}
	again := w.shown("page", false)
	if ready := w.reconcile(again, tokensv1alpha1.ReasonRecordOrphaned); !strings.Contains(ready.Message, string(before.UID)) || !strings.Contains(ready.Message, string(again.UID)) {
		t.Errorf("the message does not say what to copy: %s", ready.Message)
	}
	other := w.shown("other", false)
	w.reconcile(other, tokensv1alpha1.ReasonRecordMissing)
}

// A record of another kind is refused.
func TestTokenOfThePortalWithAnotherRecord(t *testing.T) {
	w := newWorld(t)
	tok := w.shown("page", false)
	w.recorded(tok)
	r := w.record(tok)
	r.Portal, r.DeliverySecret = false, "page-token"
	encoded, err := r.Encode()
	if err != nil {
		t.Fatal(err)
	}
	s := w.secret(kubetest.SystemNamespace, string(tok.UID))
	s.Data = map[string][]byte{record.DataKey: encoded}
	if err := w.as().Update(t.Context(), s); err != nil {
		t.Fatal(err)
	}
	w.reconcile(tok, tokensv1alpha1.ReasonRecordDamaged)
}
