package apitoken_test

import (
	"strings"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	apimeta "k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	tokensv1alpha1 "apitokens.dev/operator/api/v1alpha1"
	"apitokens.dev/operator/hack/lib/kubetest"
	"apitokens.dev/operator/internal/record"
)

const (
	firstImport  = "Zm9vYmFyYmF6cXV4MDEyMzQ1Njc4OUFCQ0RFRkdISUpLTE1OT1BRUlNUVVZXWFla"
	secondImport = "q8Vn2LxR0bT7wKc5ZyHdq8Vn2LxR0bT7wKc5ZyHdPfGmUoE1SiJ3aQ4rD6tB9vN2"
	weakImport   = "a-weak-one-hashed-slow"
)

// importing is an APIToken that imports from the Secret with its name and "-source".
func (w *world) importing(name string, mode tokensv1alpha1.ImportMode) *tokensv1alpha1.APIToken {
	return kubetest.Token(w.ns, name, func(t *tokensv1alpha1.APIToken) {
		t.Spec.Delivery = tokensv1alpha1.Delivery{}
		t.Spec.Credential = tokensv1alpha1.Credential{
			Type:     tokensv1alpha1.CredentialImported,
			Imported: &tokensv1alpha1.ImportedCredential{SecretName: name + "-source", Key: "token", Mode: mode},
		}
	})
}

// source writes the Secret that an APIToken of this name imports from.
func (w *world) source(name, text string) *corev1.Secret {
	w.Helper()
	s := &corev1.Secret{ObjectMeta: metav1.ObjectMeta{Namespace: w.ns, Name: name + "-source"}, Data: map[string][]byte{"token": []byte(text)}}
	if w.secret(w.ns, s.Name) == nil {
		w.create(s)
	} else if err := env.Admin.Update(w.Context(), s); err != nil {
		w.Fatal(err)
	}
	return s
}

func (w *world) holds(t *tokensv1alpha1.APIToken, text string) {
	w.Helper()
	if r := w.record(t); !r.Imported || len(r.Entries) != 1 || r.Entries[0].State != record.Delivered || r.Verify([]byte(text)) != 0 {
		w.Errorf("the record is %+v", r)
	}
}

func TestImport(t *testing.T) {
	for name, secret := range map[string]string{"strong": firstImport, "weak": weakImport} {
		w := newWorld(t)
		tok := w.importing("old", tokensv1alpha1.ImportOnce)
		w.create(tok)
		w.reconcile(tok, tokensv1alpha1.ReasonSourceMissing)
		source := w.source("old", secret)
		w.reconcile(tok, tokensv1alpha1.ReasonImported)
		w.holds(tok, secret)
		if w.record(tok).Entries[0].Hash.Slow() != (name == "weak") {
			t.Errorf("%s: hashed otherwise", name)
		}
		w.expectEvents(tokensv1alpha1.ReasonSourceMissing, tokensv1alpha1.ReasonImported)
		if tok.Status.TokenID == "" || tok.Status.IssuedTime.IsZero() {
			t.Errorf("the status is %+v", tok.Status)
		}
		id := tok.Status.TokenID
		w.source("old", secondImport)
		w.sleep(time.Hour)
		w.reconcile(tok, tokensv1alpha1.ReasonImported)
		w.holds(tok, secret)
		if err := env.Admin.Delete(t.Context(), source); err != nil {
			t.Fatal(err)
		}
		w.reconcile(tok, tokensv1alpha1.ReasonImported)
		w.holds(tok, secret)
		if tok.Status.TokenID != id {
			t.Error("the token id changed")
		}
		w.source("old", secondImport)
		if err := env.Admin.Delete(t.Context(), tok); err != nil {
			t.Fatal(err)
		}
		w.clean(tok)
		if w.secret(w.ns, "old-source") == nil || w.record(tok).Dead.IsZero() {
			t.Error("the source was removed, or the record is not dead")
		}
	}
}

func TestImportFollows(t *testing.T) {
	w := newWorld(t)
	tok := w.importing("old", tokensv1alpha1.ImportFollow)
	w.create(tok)
	w.source("old", firstImport)
	w.reconcile(tok, tokensv1alpha1.ReasonImported)
	id := tok.Status.TokenID
	for _, secret := range []string{secondImport, weakImport, firstImport} {
		source := w.source("old", secret)
		if result, err := w.pass(w.reconciler, tok); err != nil || result.RequeueAfter > time.Minute {
			t.Errorf("looked at again after %s, want within a minute (%v)", result.RequeueAfter, err)
		}
		w.holds(tok, secret)
		if tok.Status.TokenID != id {
			t.Error("the token id changed")
		}
		if secret == weakImport {
			if err := env.Admin.Delete(t.Context(), source); err != nil {
				t.Fatal(err)
			}
			ready := w.reconcile(tok, tokensv1alpha1.ReasonImported)
			w.holds(tok, secret)
			if !strings.Contains(ready.Message, "any more") {
				t.Errorf("the message does not say that the source is gone: %s", ready.Message)
			}
		}
	}
	w.source("old", "short")
	if ready := w.reconcile(tok, tokensv1alpha1.ReasonWeakCredential); !strings.Contains(ready.Message, "the secret that was imported before stays valid") {
		t.Errorf("the message does not say that the token still authenticates: %s", ready.Message)
	}
	w.holds(tok, firstImport)
}

func TestImportRefuses(t *testing.T) {
	w := newWorld(t)
	tok := w.importing("old", tokensv1alpha1.ImportOnce)
	w.create(tok)
	for secret, says := range map[string]string{"short": "20", firstImport + "\n": "line break", "asp_" + firstImport: "asp_"} {
		w.source("old", secret)
		ready := w.reconcile(tok, tokensv1alpha1.ReasonWeakCredential)
		if !strings.Contains(ready.Message, says) || strings.Contains(ready.Message, strings.TrimSpace(secret)) {
			t.Errorf("the message is %q", ready.Message)
		}
	}
	if w.secret(kubetest.SystemNamespace, string(tok.UID)) != nil {
		t.Error("a record was made")
	}
}

// Of two APITokens with the same secret one is refused, also when both were imported at the same time.
// An APIToken must not make a credential of just any Secret of its namespace.
func TestTypesOfImportedSecrets(t *testing.T) {
	for secretType, read := range map[corev1.SecretType]bool{
		corev1.SecretTypeOpaque: true, corev1.SecretTypeBasicAuth: true, corev1.SecretTypeServiceAccountToken: false, "helm.sh/release.v1": false,
	} {
		w := newWorld(t)
		tok := w.importing("old", tokensv1alpha1.ImportFollow)
		w.create(tok)
		w.create(&corev1.Secret{
			ObjectMeta: metav1.ObjectMeta{
				Namespace: w.ns, Name: "old-source", Annotations: map[string]string{corev1.ServiceAccountNameKey: "default"},
			},
			Type: secretType, Data: map[string][]byte{"token": []byte(firstImport), corev1.BasicAuthUsernameKey: []byte("alice")},
		})
		if read {
			w.reconcile(tok, tokensv1alpha1.ReasonImported)
			w.holds(tok, firstImport)
			continue
		}
		w.reconcile(tok, tokensv1alpha1.ReasonSourceMissing)
		const says = "Nothing is imported: Secret 'old-source' has the type '"
		c := apimeta.FindStatusCondition(tok.Status.Conditions, tokensv1alpha1.ConditionReady)
		if !strings.HasPrefix(c.Message, says+string(secretType)) || !strings.Contains(c.Message, "put the value into a Secret of type Opaque") {
			t.Errorf("message %q", c.Message)
		}
	}
}

func TestImportedTwice(t *testing.T) {
	for _, secret := range []string{firstImport, weakImport} {
		w := newWorld(t)
		one, two := w.importing("one", tokensv1alpha1.ImportOnce), w.importing("two", tokensv1alpha1.ImportOnce)
		w.create(one, two)
		w.source("one", secret)
		w.source("two", secret)
		w.reconcile(one, tokensv1alpha1.ReasonImported)
		w.reconcile(two, tokensv1alpha1.ReasonDuplicateCredential)
		if w.secret(kubetest.SystemNamespace, string(two.UID)) != nil {
			t.Error("the second was imported too")
		}
		// Both import before either sees the other.
		r := w.record(one)
		r.APIToken.Name = "two"
		r.Entries[0].Issued = r.Entries[0].Issued.Add(time.Second)
		encoded, err := r.Encode()
		if err != nil {
			t.Fatal(err)
		}
		both := w.secret(kubetest.SystemNamespace, string(one.UID))
		both.Name, both.ResourceVersion, both.UID, both.Data = string(two.UID), "", "", map[string][]byte{record.DataKey: encoded}
		if err := w.as().Create(t.Context(), both); err != nil {
			t.Fatal(err)
		}
		ready := w.reconcile(two, tokensv1alpha1.ReasonDuplicateCredential)
		if !strings.Contains(ready.Message, "'one'") {
			t.Errorf("the message is %q", ready.Message)
		}
		w.reconcile(one, tokensv1alpha1.ReasonImported)
	}
}

func TestImportedAndEpoch(t *testing.T) {
	w := newWorld(t)
	once, follow := w.importing("once", tokensv1alpha1.ImportOnce), w.importing("follow", tokensv1alpha1.ImportFollow)
	w.create(once, follow)
	w.source("once", firstImport)
	w.source("follow", secondImport)
	w.reconcile(once, tokensv1alpha1.ReasonImported)
	w.reconcile(follow, tokensv1alpha1.ReasonImported)
	w.sleep(time.Hour)
	w.changeSite(func(s *tokensv1alpha1.AtlassianSite) { s.Spec.IssuedAfter = metav1.NewTime(w.clock.Now()) })
	w.reconcile(once, tokensv1alpha1.ReasonRevokedByEpoch)
	w.reconcile(follow, tokensv1alpha1.ReasonRevokedByEpoch)
	w.source("follow", secondImport+"new")
	w.reconcile(follow, tokensv1alpha1.ReasonImported)
	w.holds(follow, secondImport+"new")
	// The secret that the epoch killed does not come back, although another one was followed since.
	w.source("follow", secondImport)
	if ready := w.reconcile(follow, tokensv1alpha1.ReasonRevokedByEpoch); !strings.Contains(ready.Message, "stays valid") {
		t.Errorf("the message is %q", ready.Message)
	}
	w.holds(follow, secondImport+"new")
}

// A user can have 20 imported tokens, 5 of them weak: each request tries all of them.
func TestTooManyImported(t *testing.T) {
	w := newWorld(t)
	for i := range record.MaxSlow {
		name := "weak-" + string(rune('a'+i))
		tok := w.importing(name, tokensv1alpha1.ImportOnce)
		w.create(tok)
		w.source(name, weakImport+name)
		w.reconcile(tok, tokensv1alpha1.ReasonImported)
	}
	tok := w.importing("one-more", tokensv1alpha1.ImportOnce)
	w.create(tok)
	w.source("one-more", weakImport)
	w.reconcile(tok, tokensv1alpha1.ReasonWeakCredential)
	w.source("one-more", firstImport)
	w.reconcile(tok, tokensv1alpha1.ReasonImported)
	if !apimeta.IsStatusConditionTrue(tok.Status.Conditions, tokensv1alpha1.ConditionReady) {
		t.Error("not ready")
	}
}

// An expired followed token comes back with another secret, as a generated token does with a rotation.
func TestImportedAndExpired(t *testing.T) {
	w := newWorld(t)
	once, follow := w.importing("once", tokensv1alpha1.ImportOnce), w.importing("follow", tokensv1alpha1.ImportFollow)
	for _, tok := range []*tokensv1alpha1.APIToken{once, follow} {
		tok.Spec.LifetimeDays = new(int32(1))
		w.create(tok)
		w.source(tok.Name, firstImport+tok.Name)
		w.reconcile(tok, tokensv1alpha1.ReasonImported)
	}
	w.sleep(day)
	w.reconcile(once, tokensv1alpha1.ReasonExpired)
	w.reconcile(follow, tokensv1alpha1.ReasonExpired)
	w.source("once", secondImport)
	w.source("follow", secondImport)
	w.reconcile(once, tokensv1alpha1.ReasonExpired)
	w.reconcile(follow, tokensv1alpha1.ReasonImported)
	w.holds(follow, secondImport)
}

// An orphaned record, as after a restore from a backup, does not make its secret a duplicate.
func TestImportedAgain(t *testing.T) {
	w := newWorld(t)
	tok := w.importing("old", tokensv1alpha1.ImportOnce)
	w.create(tok)
	w.source("old", firstImport)
	w.reconcile(tok, tokensv1alpha1.ReasonImported)
	if err := env.Admin.Delete(t.Context(), tok); err != nil {
		t.Fatal(err)
	}
	again := w.importing("old", tokensv1alpha1.ImportOnce)
	w.create(again)
	w.reconcile(again, tokensv1alpha1.ReasonImported)
	w.holds(again, firstImport)
	if again.Status.TokenID == tok.Status.TokenID {
		t.Error("the deleted token lives on")
	}
}
