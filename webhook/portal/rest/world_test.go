package rest_test

import (
	"crypto/rand"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	kube "sigs.k8s.io/controller-runtime/pkg/client"

	tokensv1alpha1 "apitokens.dev/operator/api/v1alpha1"
	"apitokens.dev/operator/hack/lib/kubetest"
	"apitokens.dev/operator/hack/lib/portaltest"
	"apitokens.dev/operator/internal/record"
	"apitokens.dev/operator/internal/recordstore"
	"apitokens.dev/operator/internal/token"
	"apitokens.dev/operator/internal/username"
)

// records returns the records of the tokens of a site.
func records(t *testing.T, w *portaltest.World) (all []*record.Record) {
	t.Helper()
	var list corev1.SecretList
	if err := env.Admin.List(t.Context(), &list, kube.InNamespace(kubetest.SystemNamespace), kube.MatchingFields{"type": record.SecretType}); err != nil {
		t.Fatal(err)
	}
	for _, s := range list.Items {
		r, err := record.Decode(s.Data[record.DataKey])
		if err != nil {
			t.Fatal(err)
		}
		if r.Site.Namespace == w.Site.Namespace {
			all = append(all, r)
		}
	}
	return all
}

// declared is the id and plaintext of a token that is declared in Kubernetes.
type declared struct{ id, text string }

func declare(t *testing.T, w *portaltest.World, of *tokensv1alpha1.APIToken) declared {
	t.Helper()
	if err := env.Admin.Create(t.Context(), of); err != nil {
		t.Fatal(err)
	}
	id, err := token.NewID(rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	text, err := token.New(id, rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	makeHash := record.NewHash
	imported := of.Spec.Credential.Type == tokensv1alpha1.CredentialImported
	if imported {
		text, makeHash = "Imported"+rand.Text()+rand.Text(), record.NewImportedHash
	}
	hash, err := makeHash(text, rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	r := &record.Record{
		TokenID: id, User: username.Fold(of.Spec.User), DeliverySecret: of.Spec.Delivery.SecretName, Imported: imported,
		Site: record.Ref{Namespace: w.Site.Namespace, Name: w.Site.Name}, APIToken: record.Ref{Namespace: of.Namespace, Name: of.Name},
		Entries: []record.Entry{{Hash: hash, State: record.Delivered, Issued: time.Now().UTC()}},
	}
	must(t, recordstore.Store{Client: w.Controller, Namespace: kubetest.SystemNamespace}.Create(t.Context(), of.UID, r))
	return declared{id, text}
}

// policy changes a site as an administrator of Kubernetes does. The cache of the portal follows.
func policy(t *testing.T, w *portaltest.World, change func(*tokensv1alpha1.AtlassianSite)) {
	t.Helper()
	if err := env.Admin.Get(t.Context(), kube.ObjectKeyFromObject(w.Site), w.Site); err != nil {
		t.Fatal(err)
	}
	change(w.Site)
	if err := env.Admin.Update(t.Context(), w.Site); err != nil {
		t.Fatal(err)
	}
}

// terminate deletes a namespace, which stays terminating in a test.
func terminate(t *testing.T, namespace string) {
	t.Helper()
	n := &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: namespace}}
	if err := env.Admin.Delete(t.Context(), n); err != nil {
		t.Fatal(err)
	}
}
