package bundle

import (
	"bytes"
	"crypto/rand"
	"maps"
	"strings"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"sigs.k8s.io/controller-runtime/pkg/client"

	tokensv1alpha1 "apitokens.dev/operator/api/v1alpha1"
	"apitokens.dev/operator/internal/token"
)

func newToken(t *testing.T) (id, whole string) {
	t.Helper()
	id, err := token.NewID(rand.Reader)
	if err == nil {
		whole, err = token.New(id, rand.Reader)
	}
	if err != nil {
		t.Fatal(err)
	}
	return id, whole
}

// Of tokens, wherever they stand, the ids are kept. Everything else stays as it is.
func TestScrub(t *testing.T) {
	id, whole := newToken(t)
	for in, want := range map[string]string{
		"": "", "no token": "no token", whole: id + "-REMOVED", "a " + whole + " b " + whole: "a " + id + "-REMOVED b " + id + "-REMOVED", id: id,
	} {
		if got := string(scrub([]byte(in))); got != want {
			t.Errorf("%q, want %q", got, want)
		}
	}
}

func written(t *testing.T, objects ...map[string]any) []byte {
	t.Helper()
	var out bytes.Buffer
	w := NewWriter(&out, time.Unix(1_800_000_000, 0))
	list := &unstructured.UnstructuredList{Object: map[string]any{"apiVersion": "v1", "kind": "List"}}
	for _, o := range objects {
		list.Items = append(list.Items, unstructured.Unstructured{Object: o})
	}
	if err := w.AddObjects("things", list); err != nil {
		t.Fatal(err)
	}
	if err := w.Close(nil); err != nil {
		t.Fatal(err)
	}
	return out.Bytes()
}

func object(version, kind, name string, more map[string]any) map[string]any {
	o := map[string]any{"apiVersion": version, "kind": kind, "metadata": map[string]any{
		"namespace": "jira", "name": name, "annotations": map[string]any{"note": "an-annotation"},
	}}
	maps.Copy(o, more)
	return o
}

// A bundle answers like the API server, has no Secret, and lacks what could hold one.
func TestReader(t *testing.T) {
	const group = "apitokens.dev/v1alpha1"
	text := written(t,
		object(group, "APIToken", "a", map[string]any{"status": map[string]any{"tokenID": "asp_1"}}), object(group, "APIToken", "b", nil),
		object("v1", "Pod", "p", map[string]any{"spec": map[string]any{"containers": []any{
			map[string]any{"name": "c", "env": []any{map[string]any{"name": "PASSWORD", "value": "a-value"}}},
		}}}))
	b, err := Read(bytes.NewReader(text))
	if err != nil || b.Written.Unix() != 1_800_000_000 {
		t.Fatalf("%v: %+v", err, b)
	}
	var all tokensv1alpha1.APITokenList
	for want, options := range map[int][]client.ListOption{
		2: {client.InNamespace("jira")}, 0: {client.InNamespace("other")}, 1: {client.MatchingFields{"status.tokenID": "asp_1"}, client.Limit(500)},
	} {
		if err := b.List(t.Context(), &all, options...); err != nil || len(all.Items) != want {
			t.Errorf("%d APITokens, %v, want %d", len(all.Items), err, want)
		}
	}
	var pod corev1.Pod
	if err := b.Get(t.Context(), client.ObjectKey{Namespace: "jira", Name: "p"}, &pod); err != nil || pod.Annotations != nil || pod.Spec.Containers[0].Env[0].Value != "REMOVED" {
		t.Errorf("%v: %+v", err, pod)
	}
	if err := b.Get(t.Context(), client.ObjectKey{Namespace: "jira", Name: "q"}, &pod); !apierrors.IsNotFound(err) {
		t.Errorf("another Pod: %v", err)
	}
	if err := b.Get(t.Context(), client.ObjectKey{Namespace: "jira", Name: "p"}, &corev1.Secret{}); !apierrors.IsForbidden(err) {
		t.Errorf("a Secret: %v", err)
	}
}

// A file that is no bundle, or only the beginning of one, is refused.
func TestForeignFiles(t *testing.T) {
	whole := written(t)
	for name, text := range map[string][]byte{"nothing": nil, "a text": []byte("a text"), "cut off": whole[:len(whole)/2]} {
		if _, err := Read(bytes.NewReader(text)); err == nil {
			t.Errorf("%s: read", name)
		}
	}
	if _, err := Open("/does/not/exist"); err == nil || !strings.Contains(err.Error(), "reading the bundle") {
		t.Errorf("got %v", err)
	}
}
