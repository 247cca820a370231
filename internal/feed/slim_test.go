package feed

import (
	"testing"
	"unsafe"

	"github.com/google/go-cmp/cmp"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/tools/cache"
	"sigs.k8s.io/controller-runtime/pkg/client"

	tokensv1alpha1 "apitokens.dev/operator/api/v1alpha1"
	"apitokens.dev/operator/internal/record"
)

// An initial list is slim while it arrives: the reflector asks the source for this.
var _ cache.TransformingStore = &source{}

// What nobody reads is dropped, and everything else stays.
func TestSlim(t *testing.T) {
	fat := metav1.ObjectMeta{
		Namespace: "jira", Name: "a", UID: "1", ResourceVersion: "7", Labels: map[string]string{"l": "1"}, Annotations: map[string]string{"a": "1"},
		ManagedFields: []metav1.ManagedFieldsEntry{{Manager: "kubectl"}}, OwnerReferences: []metav1.OwnerReference{{Name: "parent"}},
	}
	kept := metav1.ObjectMeta{Namespace: "jira", Name: "a", UID: "1", ResourceVersion: "7"}
	labelled := *kept.DeepCopy()
	labelled.Labels, labelled.Annotations = fat.Labels, fat.Annotations
	token := func(meta metav1.ObjectMeta, message string) *tokensv1alpha1.APIToken {
		return &tokensv1alpha1.APIToken{
			ObjectMeta: meta, Spec: tokensv1alpha1.APITokenSpec{User: "alice", SiteRef: tokensv1alpha1.SiteReference{Name: "main"}},
			Status: tokensv1alpha1.APITokenStatus{Conditions: []metav1.Condition{{Type: "Ready", Reason: "Issued", Message: message}}},
		}
	}
	for name, tc := range map[string]struct{ object, want client.Object }{
		"a Secret": {
			&corev1.Secret{ObjectMeta: fat, Type: "t", Data: map[string][]byte{"k": []byte("v")}},
			&corev1.Secret{ObjectMeta: kept, Type: "t", Data: map[string][]byte{"k": []byte("v")}},
		},
		"an APIToken": {token(fat, "long"), token(labelled, "")},
		"a namespace": {&metav1.PartialObjectMetadata{ObjectMeta: fat}, &metav1.PartialObjectMetadata{ObjectMeta: labelled}},
	} {
		got := tc.object.DeepCopyObject()
		object, ok := got.(client.Object)
		if !ok {
			t.Fatalf("%T is no object", got)
		}
		slim(object)
		if diff := cmp.Diff(tc.want, got); diff != "" {
			t.Errorf("%s: %s", name, diff)
		}
	}
	if got, err := (&source{}).Transformer()(1); got != 1 || err != nil {
		t.Errorf("what is no object becomes %v (%v)", got, err)
	}
}

// Records of one site share its name, so that each costs its own data alone.
func TestRecordsShare(t *testing.T) {
	copyOf := func(s string) string { return string([]byte(s)) }
	records := [2]record.Record{}
	for i := range records {
		records[i] = record.Record{
			Site:     record.Ref{Namespace: copyOf("jira"), Name: copyOf("main")},
			APIToken: record.Ref{Namespace: copyOf("jira"), Name: copyOf("a")},
		}
		slimRecord(&records[i])
	}
	a, b := records[0], records[1]
	if a.Site.Namespace != "jira" || a.Site.Name != "main" || a.APIToken != (record.Ref{Namespace: "jira", Name: "a"}) {
		t.Errorf("the record is %+v", a)
	}
	for _, pair := range [][2]string{
		{a.Site.Namespace, b.Site.Namespace}, {a.Site.Name, b.Site.Name}, {a.APIToken.Namespace, b.APIToken.Namespace},
	} {
		if unsafe.StringData(pair[0]) != unsafe.StringData(pair[1]) {
			t.Errorf("%q is kept twice", pair[0])
		}
	}
}
