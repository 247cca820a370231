package config_test

import (
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"strconv"
	"strings"
	"testing"

	admissionv1 "k8s.io/api/admissionregistration/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"apitokens.dev/operator/hack/lib/kubetest"
)

// The limits of the policy of metadata.
const (
	maxLabels      = 64
	maxNotes       = 1024
	maxAnnotations = 64 << 10
	maxReferences  = 64
	maxManagers    = 16
)

func numbered(n int) map[string]string {
	values := map[string]string{}
	for i := range n {
		values[fmt.Sprintf("example.com/key-%d", i)] = "x"
	}
	return values
}

// annotations returns annotations of n bytes. A character of them has more than one byte.
func annotations(n int) map[string]string {
	const key = "note"
	n -= len(key)
	return map[string]string{key: strings.Repeat("é", n/2) + strings.Repeat("x", n%2)}
}

func finalizers(n int) (names []string) {
	for i := range n {
		names = append(names, fmt.Sprintf("example.com/%d", i))
	}
	return names
}

// checkMetadata checks whether the policy of metadata refused a request with this message, or, if that is empty, allowed it.
func checkMetadata(t *testing.T, name, want string, err error) {
	t.Helper()
	switch {
	case want == "" && err != nil:
		t.Errorf("%s: %v", name, err)
	case want != "" && (!apierrors.IsInvalid(err) || !strings.Contains(err.Error(), "'metadata.apitokens.dev' with binding 'metadata.apitokens.dev' denied request: "+want)):
		t.Errorf("%s: %v, want %s", name, err, want)
	}
}

func TestMetadataPolicy(t *testing.T) {
	const few = `{"metadata": {"labels": {"a": "b"}, "annotations": {"a": "b"}}}`
	for name, test := range map[string]struct {
		change func(client.Object)
		want   string
	}{
		"no metadata":                {func(client.Object) {}, ""},
		"as many labels":             {func(o client.Object) { o.SetLabels(numbered(maxLabels)) }, ""},
		"too many labels":            {func(o client.Object) { o.SetLabels(numbered(maxLabels + 1)) }, "at most 64 labels are allowed, and there are 65"},
		"as many annotations":        {func(o client.Object) { o.SetAnnotations(annotations(maxAnnotations)) }, ""},
		"too many annotations":       {func(o client.Object) { o.SetAnnotations(annotations(maxAnnotations + 1)) }, "at most 64 KiB of annotations are allowed, and there are 65537 bytes"},
		"as many small annotations":  {func(o client.Object) { o.SetAnnotations(numbered(maxNotes)) }, ""},
		"too many small annotations": {func(o client.Object) { o.SetAnnotations(numbered(maxNotes + 1)) }, "at most 1024 annotations are allowed, and there are 1025"},
		"as many finalizers":         {func(o client.Object) { o.SetFinalizers(finalizers(maxReferences)) }, ""},
		"too many finalizers":        {func(o client.Object) { o.SetFinalizers(finalizers(maxReferences + 1)) }, "at most 64 finalizers and owner references are allowed, and there are 65"},
		"a finalizer and many owners": {func(o client.Object) {
			o.SetFinalizers(finalizers(1))
			var owners []metav1.OwnerReference
			for _, name := range finalizers(maxReferences) {
				owners = append(owners, metav1.OwnerReference{APIVersion: "v1", Kind: "ConfigMap", Name: "x", UID: types.UID(name)})
			}
			o.SetOwnerReferences(owners)
		}, "at most 64 finalizers and owner references are allowed, and there are 65"},
	} {
		t.Run(name, func(t *testing.T) {
			for kind, object := range map[string]client.Object{"APIToken": newToken(teamNamespace, "new", "alice"), "AtlassianSite": newSite(teamNamespace, "new")} {
				changed := copyOf(object)
				test.change(changed)
				checkMetadata(t, kind+" created", test.want, clients[clusterAdmin].Create(t.Context(), changed, client.DryRunAll))

				stored := copyOf(object)
				create(t, stored)
				changed = copyOf(stored)
				test.change(changed)
				checkMetadata(t, kind+" updated", test.want, clients[clusterAdmin].Update(t.Context(), changed, client.DryRunAll))
				checkMetadata(t, kind+" patched to few", "", clients[clusterAdmin].Patch(t.Context(), stored, mergePatch(few), client.DryRunAll))
			}
		})
	}
}

// Any number of field managers may apply the same label, and each adds to the object. Managers beyond the limit are refused.
func TestFieldManagersAreLimited(t *testing.T) {
	c := clients[clusterAdmin]
	for kind, stored := range map[string]client.Object{"APIToken": newToken(teamNamespace, "managers", "alice"), "AtlassianSite": newSite(teamNamespace, "managers")} {
		create(t, stored)
		apply := func(i int) error {
			patch := fmt.Sprintf(`{"apiVersion": "apitokens.dev/v1alpha1", "kind": %q, "metadata": {"labels": {"shared": "x"}}}`, kind)
			return c.Patch(t.Context(), stored, client.RawPatch(types.ApplyPatchType, []byte(patch)), client.FieldOwner(fmt.Sprintf("manager-%d", i)))
		}
		before := len(stored.GetManagedFields())
		for i := range maxManagers - before {
			checkMetadata(t, fmt.Sprintf("%s, manager %d", kind, before+i+1), "", apply(i))
		}
		checkMetadata(t, kind+", one manager more", "at most 16 field managers may own parts of this object, and there would be 17", apply(maxManagers))
		checkMetadata(t, kind+", one of those that there are", "", apply(0))
		if err := c.Patch(t.Context(), stored, mergePatch(`{"metadata": {"managedFields": [{}]}}`)); err != nil {
			t.Errorf("%s, without managed fields: %v", kind, err)
		}
	}
}

// An object that is at every limit can still be written: the last access of its token is shown.
func TestStatusFitsAtTheLimits(t *testing.T) {
	token := newToken(teamNamespace, "at-the-limits", "alice")
	create(t, token)
	notes := map[string]string{}
	for i := range maxNotes {
		notes[fmt.Sprintf("example.com/%052d", i)] = "" // 64 bytes
	}
	metadata, err := json.Marshal(map[string]any{"labels": numbered(maxLabels), "annotations": notes})
	if err != nil {
		t.Fatal(err)
	}
	patch := fmt.Appendf(nil, `{"apiVersion": "apitokens.dev/v1alpha1", "kind": "APIToken", "metadata": %s}`, metadata)
	for i := range maxManagers - len(token.GetManagedFields()) {
		err := clients[clusterAdmin].Patch(t.Context(), token, client.RawPatch(types.ApplyPatchType, patch), client.FieldOwner(strings.Repeat("m", 120)+strconv.Itoa(i)))
		checkMetadata(t, fmt.Sprintf("manager %d", i), "", err)
	}
	checkMetadata(t, "used", "", clients[webhook].Status().Patch(t.Context(), token, mergePatch(`{"status":{"lastAccessedTime":"2026-01-01T00:00:00Z"}}`)))
	if n := len(token.GetManagedFields()); n != maxManagers+1 {
		t.Errorf("%d field managers", n)
	}
}

// An object that is over a limit, from before the policy, may be changed and made smaller, but not larger, and be deleted.
func TestMetadataOverTheLimit(t *testing.T) {
	token := newToken(teamNamespace, "large", "alice")
	token.Labels, token.Annotations, token.Finalizers = numbered(5000), annotations(100<<10), finalizers(100)
	withoutMetadataPolicy(t, func() { create(t, token) })
	t.Cleanup(func() { dropFinalizers(t, token) })
	c := clients[clusterAdmin]
	for name, test := range map[string]struct{ patch, want string }{
		"suspended":            {`{"spec": {"state": "Suspended"}}`, ""},
		"one label less":       {`{"metadata": {"labels": {"example.com/key-0": null}}}`, ""},
		"another label":        {`{"metadata": {"labels": {"example.com/key-0": null, "example.com/other": "x"}}}`, ""},
		"one label more":       {`{"metadata": {"labels": {"example.com/other": "x"}}}`, "at most 64 labels are allowed, and there are 5001"},
		"no labels":            {`{"metadata": {"labels": null}}`, ""},
		"one annotation more":  {`{"metadata": {"annotations": {"other": "x"}}}`, "at most 64 KiB of annotations"},
		"a shorter annotation": {`{"metadata": {"annotations": {"note": "x"}}}`, ""},
		"one finalizer less":   {`{"metadata": {"finalizers": ["example.com/0"]}}`, ""},
	} {
		checkMetadata(t, name, test.want, c.Patch(t.Context(), token.DeepCopy(), mergePatch(test.patch), client.DryRunAll))
	}
	many := newToken(teamNamespace, "many-annotations", "alice")
	many.Annotations = numbered(9000)
	withoutMetadataPolicy(t, func() { create(t, many) })
	for name, test := range map[string]struct{ patch, want string }{
		"suspended":           {`{"spec": {"state": "Suspended"}}`, ""},
		"one annotation less": {`{"metadata": {"annotations": {"example.com/key-0": null}}}`, ""},
		"another annotation":  {`{"metadata": {"annotations": {"example.com/key-0": "y"}}}`, "at most 1024 annotations are allowed, and there are 9000"},
		"no annotations":      {`{"metadata": {"annotations": null}}`, ""},
	} {
		checkMetadata(t, "of many annotations, "+name, test.want, c.Patch(t.Context(), many.DeepCopy(), mergePatch(test.patch), client.DryRunAll))
	}
	checkMetadata(t, "deleted", "", c.Delete(t.Context(), token.DeepCopy(), client.DryRunAll))
	checkMetadata(t, "used", "", clients[webhook].Status().Patch(t.Context(), token.DeepCopy(), mergePatch(`{"status":{"lastAccessedTime":"2026-01-01T00:00:00Z"}}`)))
}

// withoutMetadataPolicy calls do while the policy of metadata is not bound.
func withoutMetadataPolicy(t *testing.T, do func()) {
	t.Helper()
	binding := &admissionv1.ValidatingAdmissionPolicyBinding{ObjectMeta: metav1.ObjectMeta{Name: "metadata.apitokens.dev"}}
	c := clients[clusterAdmin]
	if err := c.Get(t.Context(), client.ObjectKeyFromObject(binding), binding); err != nil {
		t.Fatal(err)
	}
	if err := c.Delete(t.Context(), binding.DeepCopy()); err != nil {
		t.Fatal(err)
	}
	probe := newToken(teamNamespace, "probe", "alice")
	probe.Labels = maps.Clone(numbered(maxLabels + 1))
	kubetest.Eventually(t, func() error { return c.Create(t.Context(), probe.DeepCopy(), client.DryRunAll) })
	do()
	binding.ResourceVersion, binding.UID = "", ""
	if err := c.Create(t.Context(), binding); err != nil {
		t.Fatal(err)
	}
	kubetest.Eventually(t, func() error {
		if c.Create(t.Context(), probe.DeepCopy(), client.DryRunAll) == nil {
			return errors.New("the policy is not in force yet")
		}
		return nil
	})
}
