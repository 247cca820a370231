package packed_test

import (
	"bytes"
	"fmt"
	"maps"
	"math/rand/v2"
	"reflect"
	"runtime"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/equality"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/randfill"

	tokensv1alpha1 "apitokens.dev/operator/api/v1alpha1"
	"apitokens.dev/operator/controllers/internal/packed"
	"apitokens.dev/operator/internal/record"
)

// usualToken is what most APITokens are like.
func usualToken() *tokensv1alpha1.APIToken {
	at := metav1.NewTime(time.Unix(1_700_000_000, 0))
	return &tokensv1alpha1.APIToken{
		ObjectMeta: metav1.ObjectMeta{
			Namespace: "team", Name: "a", UID: "1", ResourceVersion: "7", Generation: 2, CreationTimestamp: at, Labels: map[string]string{"app": "x"},
			Annotations: map[string]string{"argocd.argoproj.io/sync-wave": "1"},
		},
		Spec: tokensv1alpha1.APITokenSpec{
			SiteRef: tokensv1alpha1.SiteReference{Name: "main", Namespace: "jira"}, User: "alice", Label: "CI",
			Credential: tokensv1alpha1.Credential{Type: tokensv1alpha1.CredentialGenerated}, Delivery: tokensv1alpha1.Delivery{SecretName: "a-token"},
			LifetimeDays: new(int32(90)), Rotation: tokensv1alpha1.Rotation{IntervalDays: new(int32(30))},
			Access: tokensv1alpha1.AccessReadWrite, State: tokensv1alpha1.StateActive,
		},
		Status: tokensv1alpha1.APITokenStatus{
			ObservedGeneration: 2, TokenID: "asp_1", IssuedTime: at, ExpirationTime: at, NextRotationTime: at, LastAccessedTime: at, LastAccessedFrom: "10.0.0.1",
			Conditions: []metav1.Condition{{Type: "Ready", Status: "True", Reason: "Issued", Message: "It is there.", ObservedGeneration: 2, LastTransitionTime: at}},
		},
	}
}

// usualSecret is what most of the operator's Secrets are like.
func usualSecret() *corev1.Secret {
	return &corev1.Secret{
		ObjectMeta: metav1.ObjectMeta{
			Namespace: "apitoken-system", Name: "1", UID: "2", ResourceVersion: "8", CreationTimestamp: metav1.NewTime(time.Unix(1_700_000_000, 0)),
			Labels:      map[string]string{"app.kubernetes.io/managed-by": "apitoken-operator", record.LabelTokenID: "asp_1", record.LabelSite: "main"},
			Annotations: map[string]string{"apitokens.dev/guarded": "1 2 3"},
		},
		Type: record.SecretType, Data: map[string][]byte{record.DataKey: []byte(`{"version":1}`)},
	}
}

// unpacked packs an object as the cache does, checks what its methods say, and returns the copy that a reader gets.
func unpacked(t *testing.T, object client.Object) any {
	t.Helper()
	transformed, err := packed.Transform(object.DeepCopyObject())
	if err != nil {
		t.Fatal(err)
	}
	p, ok := transformed.(client.Object)
	if !ok {
		t.Fatalf("%T is no object", transformed)
	}
	if again, err := packed.Transform(p); again != any(p) || err != nil {
		t.Errorf("packed again it is %v, %v", again, err)
	}
	for name, of := range map[string]func(client.Object) any{
		"namespace": func(o client.Object) any { return o.GetNamespace() }, "name": func(o client.Object) any { return o.GetName() },
		"UID": func(o client.Object) any { return o.GetUID() }, "version": func(o client.Object) any { return o.GetResourceVersion() },
		"generation": func(o client.Object) any { return o.GetGeneration() }, "creation": func(o client.Object) any { return o.GetCreationTimestamp().Unix() },
		"deletion": func(o client.Object) any { return o.GetDeletionTimestamp() },
	} {
		if want, got := of(object), of(p); !reflect.DeepEqual(want, got) {
			t.Errorf("%s: %v, want %v", name, got, want)
		}
	}
	if !maps.Equal(object.GetLabels(), p.GetLabels()) || !maps.Equal(object.GetAnnotations(), p.GetAnnotations()) {
		t.Errorf("labels are %v and annotations %v", p.GetLabels(), p.GetAnnotations())
	}
	return p.DeepCopyObject()
}

func TestReadersGetWhatWasSent(t *testing.T) {
	for name, object := range map[string]client.Object{
		"an APIToken": usualToken(), "a Secret": usualSecret(), "nothing in an APIToken": &tokensv1alpha1.APIToken{}, "nothing in a Secret": &corev1.Secret{},
		"a site": &tokensv1alpha1.AtlassianSite{ObjectMeta: metav1.ObjectMeta{Name: "main", Labels: map[string]string{"a": "b"}}},
	} {
		if diff := cmp.Diff(any(object), unpacked(t, object)); diff != "" {
			t.Errorf("%s: %s", name, diff)
		}
	}
	managed := usualSecret()
	managed.ManagedFields = []metav1.ManagedFieldsEntry{{Manager: "x"}}
	if diff := cmp.Diff(any(usualSecret()), unpacked(t, managed)); diff != "" {
		t.Error(diff)
	}
}

// A reader gets all fields of an object: each by itself, and any number of them.
func TestReadersGetAnything(t *testing.T) {
	random := rand.New(rand.NewPCG(1, 2))
	for seed := range int64(4000) {
		fill := randfill.NewWithSeed(seed).NilChance(random.Float64()).NumElements(0, 2).Funcs(
			func(at *metav1.Time, c randfill.Continue) { *at = metav1.NewTime(time.Unix(int64(c.Uint32()), 0)) },
			func(_ *metav1.FieldsV1, _ randfill.Continue) {},
		)
		token, secret := usualToken(), usualSecret()
		for _, part := range []any{
			&token.Spec, &token.Status, &token.ObjectMeta, &token.Malformed, &secret.Data, &secret.ObjectMeta, &secret.Immutable, &secret.Type, &secret.StringData,
		} {
			if random.IntN(3) == 0 {
				fill.Fill(part)
			}
		}
		token.ManagedFields, secret.ManagedFields = nil, nil
		for _, object := range []client.Object{token, secret} {
			if got := unpacked(t, object); !equality.Semantic.DeepEqual(any(object), got) { // an empty list is none
				t.Fatalf("seed %d: %s", seed, cmp.Diff(any(object), got))
			}
		}
	}
}

func TestEventsShowObjects(t *testing.T) {
	token, _ := packed.Transform(usualToken())
	secret, _ := packed.Transform(usualSecret())
	site := &tokensv1alpha1.AtlassianSite{}
	for _, o := range []any{token, usualToken()} {
		o, _ := o.(client.Object)
		if got := packed.APIToken(o); got == nil || got.Spec.User != "alice" || packed.Secret(o) != nil || packed.SecretType(o) != "" {
			t.Errorf("%T shows %v", o, got)
		}
	}
	for _, o := range []any{secret, usualSecret()} {
		o, _ := o.(client.Object)
		if got := packed.Secret(o); got == nil || len(got.Data) != 1 || packed.APIToken(o) != nil || packed.SecretType(o) != record.SecretType {
			t.Errorf("%T shows %v", o, got)
		}
	}
	if packed.APIToken(site) != nil || packed.Secret(site) != nil || packed.SecretType(site) != "" {
		t.Error("a site shows an APIToken or a Secret")
	}
}

// A value comes out as it went in, whether it looks like a form of the operator or not. So does an identifier that looks like a UUID.
func TestValuesComeOutAsTheyWent(t *testing.T) {
	random := rand.New(rand.NewPCG(3, 4))
	pieces := []string{"{", "}", `"`, `":`, ",", "1", "2026-01-01T00:00:00Z", "a", `\\`, "\x00", "é", "\xff", " ", "00000000-0000-4000-8000-00000000000f", `{"version":1,"user":"a"}`}
	uids := []types.UID{"", "00000000-0000-4000-8000-00000000000f", "00000000-0000-4000-8000-00000000000F", "00000000-0000-4000-8000_00000000000f"}
	for i := range 20_000 {
		s := usualSecret()
		parts := []string{`{"`[:random.IntN(3)]}
		for range random.IntN(12) {
			parts = append(parts, pieces[random.IntN(len(pieces))])
		}
		value := strings.Join(parts, "")
		if i == 0 {
			value = strings.Repeat(`{"long":""}`, 1000)
		}
		s.Data[record.DataKey], s.UID, s.Name = []byte(value), uids[i%len(uids)], string(uids[(i/3)%len(uids)])
		if diff := cmp.Diff(any(s), unpacked(t, s)); diff != "" {
			t.Fatalf("%q: %s", value, diff)
		}
	}
}

// A packed object takes a fraction of the memory, with all its texts.
func TestPackedObjectsAreSmall(t *testing.T) {
	const n = 10_000
	usual := usualRecord(t)
	for name, tc := range map[string]struct {
		object func(uid types.UID) client.Object
		most   float64 // bytes
	}{
		"an APIToken": {func(uid types.UID) client.Object {
			o := usualToken()
			o.UID = uid
			return o
		}, 200},
		"a Secret": {func(uid types.UID) client.Object {
			o := usualSecret()
			o.UID, o.Data[record.DataKey] = uid, bytes.Clone(usual)
			return o
		}, 350},
	} {
		before, kept := heap(), make([]any, n)
		for i := range kept {
			kept[i], _ = packed.Transform(tc.object(types.UID(fmt.Sprintf("00000000-0000-4000-8000-%012x", i))))
		}
		if each := float64(heap()-before) / n; each > tc.most {
			t.Errorf("%s takes %.0f bytes, want at most %.0f", name, each, tc.most)
		}
		runtime.KeepAlive(kept)
	}
}

// usualRecord is an encoded record.
func usualRecord(t *testing.T) []byte {
	t.Helper()
	random := rand.NewChaCha8([32]byte{})
	hash, err := record.NewImportedHash(strings.Repeat("secret", 6), random)
	if err != nil {
		t.Fatal(err)
	}
	r := record.Record{
		TokenID: "asp_0123456789abcdef", User: "alice", UserKey: "JIRAUSER10100", Site: record.Ref{Namespace: "jira", Name: "main"},
		APIToken: record.Ref{Namespace: "team", Name: "a"}, DeliverySecret: "a-token",
		Entries: []record.Entry{{Hash: hash, State: record.Delivered, Issued: time.Unix(1_700_000_000, 0).UTC()}},
	}
	encoded, err := r.Encode()
	if err != nil {
		t.Fatal(err)
	}
	return encoded
}

func heap() int64 {
	runtime.GC()
	runtime.GC()
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return int64(m.HeapAlloc)
}
