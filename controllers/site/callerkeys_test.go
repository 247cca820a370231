package site_test

import (
	"bytes"
	"maps"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	tokensv1alpha1 "apitokens.dev/operator/api/v1alpha1"
	"apitokens.dev/operator/hack/lib/kubetest"
	"apitokens.dev/operator/internal/authurl"
	"apitokens.dev/operator/internal/record"
	"apitokens.dev/operator/internal/upstream"
)

// ourLabels are the labels of everything that the operator keeps for a site.
func ourLabels(s *tokensv1alpha1.AtlassianSite) map[string]string {
	return map[string]string{
		"app.kubernetes.io/managed-by": "apitoken-operator",
		record.LabelSiteNamespace:      s.Namespace,
		record.LabelSite:               s.Name,
	}
}

// expectAuthURLs expects that the auth URLs beside a site hold its current key and nothing else.
func (w *world) expectAuthURLs(s *tokensv1alpha1.AtlassianSite) (key string) {
	w.Helper()
	keys, err := w.storedKeys(s)
	if err != nil {
		w.Fatal(err)
	}
	key = keys.Keys[authurl.Nginx][0]
	urls := w.authURLs(s)
	name := s.Namespace + "/" + s.Name
	want := map[string]string{"portal": portalURL + "/portal/" + name, "grpc-site": name, "grpc-key": keys.Keys[authurl.GRPC][0]}
	for _, c := range []authurl.Contract{authurl.Nginx, authurl.Forward, authurl.Envoy, authurl.Fabric} {
		want[string(c)] = webhookURL + "/" + string(c) + "/" + keys.Keys[c][0] + "/" + name
	}
	got := map[string]string{}
	if urls != nil {
		for member, value := range urls.Data {
			got[member] = string(value)
		}
	}
	if diff := cmp.Diff(want, got); diff != "" || urls.Type != authurl.SecretType {
		w.Errorf("the auth URLs of %s: %s", s.Name, diff)
	}
	if s.Status.AuthURLSecretName != s.Name+"-auth-urls" {
		w.Errorf("status.authURLSecretName of %s is %q", s.Name, s.Status.AuthURLSecretName)
	}
	return key
}

func TestCallerKeysAreMadeOnce(t *testing.T) {
	w := newWorld(t)
	s, other := w.site("main"), w.site("other")
	w.reconcile(s)
	w.reconcile(other)
	w.expectReady(s, tokensv1alpha1.ReasonServing)
	if w.expectAuthURLs(s) == w.expectAuthURLs(other) {
		t.Error("two sites have the same caller key")
	}
	keys, urls := w.keysSecret(s), w.authURLs(s)
	if keys.Type != authurl.KeysSecretType || len(keys.Data) != 1 ||
		!maps.Equal(keys.Labels, ourLabels(s)) || !maps.Equal(urls.Labels, ourLabels(s)) {
		t.Errorf("the caller keys are in a %s with %d entries and labels %v, the auth URLs in one with labels %v",
			keys.Type, len(keys.Data), keys.Labels, urls.Labels)
	}

	w.expectIdle(s)
	restarted := newWorld(t)
	restarted.reconcile(s)
	if w.keysSecret(s).ResourceVersion != keys.ResourceVersion || w.authURLs(s).ResourceVersion != urls.ResourceVersion {
		t.Error("a later pass wrote caller keys or auth URLs again")
	}
}

// Another version of the operator may serve other contracts, and store more. Its keys stay, and a missing one is added.
func TestMissingCallerKeyIsAdded(t *testing.T) {
	w := newWorld(t)
	s := w.site("main")
	w.reconcile(s)
	key := w.expectAuthURLs(s)
	encoded := w.keysSecret(s).Data[authurl.KeysDataKey]
	const others = `"other":["ANOTHER CONTRACT'S KEY"]`

	later := bytes.Replace(encoded, []byte(`"keys":{`), []byte(`"rotated":{"at":"x"},"keys":{`+others+`,`), 1)
	w.setData(w.keysSecret(s), map[string][]byte{authurl.KeysDataKey: later})
	w.reconcile(s)
	w.expectReady(s, tokensv1alpha1.ReasonServing)
	if w.expectAuthURLs(s) != key || !bytes.Equal(w.keysSecret(s).Data[authurl.KeysDataKey], later) {
		t.Error("caller keys with more in them were changed")
	}

	without := bytes.Replace(later, []byte(`,"nginx":["`+key+`"]`), nil, 1)
	w.setData(w.keysSecret(s), map[string][]byte{authurl.KeysDataKey: without})
	w.reconcile(s)
	w.expectReady(s, tokensv1alpha1.ReasonServing)
	now := w.keysSecret(s).Data[authurl.KeysDataKey]
	if added := w.expectAuthURLs(s); added == key || !bytes.Contains(now, []byte(others)) || !bytes.Contains(now, []byte(`"rotated":{"at":"x"}`)) {
		t.Errorf("it became %s", now)
	}
	w.expectIdle(s)
}

func TestAuthURLsAreRestored(t *testing.T) {
	for name, damage := range map[string]func(w *world, s *corev1.Secret){
		"edited": func(w *world, s *corev1.Secret) {
			w.setData(s, map[string][]byte{"nginx": []byte("https://evil.example")})
		},
		"more in it":   func(w *world, s *corev1.Secret) { s.Data["more"] = []byte("x"); w.setData(s, s.Data) },
		"nothing left": func(w *world, s *corev1.Secret) { w.setData(s, nil) },
		"deleted":      func(w *world, s *corev1.Secret) { w.remove(s) },
	} {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t)
			s := w.site("main")
			w.reconcile(s)
			key := w.expectAuthURLs(s)
			damage(w, w.authURLs(s))
			w.reconcile(s)
			w.expectReady(s, tokensv1alpha1.ReasonServing)
			if w.expectAuthURLs(s) != key {
				t.Error("the caller key changed")
			}
		})
	}
}

func TestForeignAuthURLSecretIsLeftAlone(t *testing.T) {
	for name, foreign := range map[string]corev1.Secret{
		"opaque":             {Data: map[string][]byte{"nginx": []byte("x")}},
		"empty":              {},
		"labelled like ours": {ObjectMeta: metav1.ObjectMeta{Labels: map[string]string{"app.kubernetes.io/managed-by": "apitoken-operator"}}},
		"a login": {
			Type: corev1.SecretTypeBasicAuth,
			Data: map[string][]byte{"username": []byte("alice"), "password": []byte("x")},
		},
	} {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t)
			foreign.Namespace, foreign.Name = w.ns, "main-auth-urls"
			w.create(&foreign)
			s := w.site("main")
			w.reconcile(s)
			ready := w.expectReady(s, tokensv1alpha1.ReasonAuthURLConflict)
			if !strings.Contains(ready.Message, "'main-auth-urls'") || !strings.Contains(ready.Message, "delete it") {
				t.Errorf("message %q", ready.Message)
			}
			if s.Status.AuthURLSecretName != "" {
				t.Error("the status names the foreign Secret")
			}
			w.expectIdle(s)
			if now := w.authURLs(s); now == nil || now.ResourceVersion != foreign.ResourceVersion {
				t.Error("the foreign Secret was touched")
			}
			w.remove(&foreign)
			w.reconcile(s)
			w.expectReady(s, tokensv1alpha1.ReasonServing)
			w.expectAuthURLs(s)
		})
	}
}

func TestDamagedCallerKeysAreLeftAlone(t *testing.T) {
	w := newWorld(t)
	s, other := w.site("main"), w.site("other")
	w.reconcile(s)
	w.reconcile(other)
	key := w.expectAuthURLs(s)
	good, urls := w.keysSecret(s).Data, w.authURLs(s)
	encoded := good[authurl.KeysDataKey]
	for name, damage := range map[string]map[string][]byte{
		"nothing left":    nil,
		"truncated":       {authurl.KeysDataKey: encoded[:len(encoded)-2]},
		"another site's":  w.keysSecret(other).Data,
		"a shortened key": {authurl.KeysDataKey: bytes.Replace(encoded, []byte(key), []byte(key[:10]), 1)},
		"no key":          {authurl.KeysDataKey: bytes.Replace(encoded, []byte(`"`+key+`"`), nil, 1)},
		"under no key":    {"other": encoded},
	} {
		w.setData(w.keysSecret(s), damage)
		before := w.keysSecret(s)
		w.reconcile(s)
		ready := w.expectReady(s, tokensv1alpha1.ReasonCallerKeysDamaged)
		if !strings.Contains(ready.Message, "'"+before.Namespace+"/"+before.Name+"'") || !strings.Contains(ready.Message, "Restore it, or delete it") {
			t.Errorf("%s: message %q", name, ready.Message)
		}
		w.expectIdle(s)
		if w.keysSecret(s).ResourceVersion != before.ResourceVersion || w.authURLs(s).ResourceVersion != urls.ResourceVersion {
			t.Errorf("%s: caller keys or auth URLs were touched", name)
		}
	}
	w.setData(w.keysSecret(s), good)
	w.reconcile(s)
	w.expectReady(s, tokensv1alpha1.ReasonServing)
	if w.expectAuthURLs(s) != key {
		t.Error("restored keys are not used")
	}

	w.remove(w.keysSecret(s))
	w.reconcile(s)
	w.expectReady(s, tokensv1alpha1.ReasonServing)
	if w.expectAuthURLs(s) == key {
		t.Error("the deleted key came back")
	}
}

func TestForeignSecretAtTheNameOfCallerKeysIsLeftAlone(t *testing.T) {
	w := newWorld(t)
	keys := authurl.NewKeys(w.ns, "main", w.clock.Now())
	encoded, err := keys.Encode()
	if err != nil {
		t.Fatal(err)
	}
	foreign := &corev1.Secret{
		ObjectMeta: metav1.ObjectMeta{Namespace: kubetest.CredentialsNamespace, Name: keys.SecretName()},
		Data:       map[string][]byte{authurl.KeysDataKey: encoded},
	}
	w.create(foreign)
	s := w.site("main")
	w.reconcile(s)
	w.expectReady(s, tokensv1alpha1.ReasonCallerKeysDamaged)
	if w.authURLs(s) != nil {
		t.Error("an auth URL was made of somebody else's key, which the webhook does not know")
	}
	if now := w.keysSecret(s); now == nil || now.ResourceVersion != foreign.ResourceVersion {
		t.Error("the foreign Secret was touched")
	}
}

func TestDeletion(t *testing.T) {
	w := newWorld(t)
	w.jira("jira", "alice", "bob", "carol")
	w.give("alice", pat("alice", 1))
	w.give("bob", pat("bob", 1))
	w.giveTo("other", "carol", pat("carol", 1))
	s, other := w.site("main", users("alice", "bob")), w.site("other", users("carol"))
	w.reconcile(s)
	w.reconcile(other)
	w.expectCredentials(s, tokensv1alpha1.ReasonVerified)

	// None of these is the site's, despite the labels.
	var foreign []*corev1.Secret
	for name, secretType := range map[string]corev1.SecretType{"opaque": corev1.SecretTypeOpaque, "record": record.SecretType} {
		for _, namespace := range []string{kubetest.SystemNamespace, kubetest.CredentialsNamespace, w.ns} {
			foreign = append(foreign, &corev1.Secret{
				ObjectMeta: metav1.ObjectMeta{Namespace: namespace, Name: w.ns + "-" + name, Labels: ourLabels(s)}, Type: secretType,
			})
		}
	}
	for _, secret := range foreign {
		w.create(secret)
	}

	w.remove(s)
	for range 2 { // the second finds nothing to do
		if result, err := w.pass(w.reconciler, s); err != nil || result.RequeueAfter != 7*24*time.Hour {
			t.Fatalf("the pass ended with %+v, %v", result, err)
		}
		w.expectNothingKept(s, "alice", "bob")
	}
	for _, secret := range foreign {
		if w.secret(secret.Namespace, secret.Name) == nil {
			t.Errorf("the foreign Secret %s/%s was removed", secret.Namespace, secret.Name)
		}
	}
	w.expectAuthURLs(other)
	if w.held(other, "carol") != pat("carol", 1) || w.secret(w.ns, "alice-pat") == nil {
		t.Error("something of another site, or what was given, was removed")
	}
	if events := w.emitted(); len(events) != 2 {
		t.Errorf("events %q, want one for each site that came", events)
	}
}

func TestDeletionLeavesAForeignAuthURLSecret(t *testing.T) {
	w := newWorld(t)
	w.create(&corev1.Secret{ObjectMeta: metav1.ObjectMeta{Namespace: w.ns, Name: "main-auth-urls"}})
	s := w.site("main")
	w.create(&corev1.Secret{
		ObjectMeta: metav1.ObjectMeta{Namespace: kubetest.CredentialsNamespace, Name: upstream.SecretName(w.ns, "main", "alice"), Labels: ourLabels(s)},
	})
	w.reconcile(s)
	w.expectReady(s, tokensv1alpha1.ReasonAuthURLConflict)
	w.remove(s)
	if _, err := w.pass(w.reconciler, s); err != nil {
		t.Fatal(err)
	}
	w.expectUnused(s)
	if w.authURLs(s) == nil || w.copySecret(s, "alice") == nil {
		t.Error("a foreign Secret with the name of one of ours was removed")
	}
}
