package config_test

import (
	"encoding/json"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/client"

	tokensv1alpha1 "apitokens.dev/operator/api/v1alpha1"
	tokensac "apitokens.dev/operator/api/v1alpha1/applyconfiguration/api/v1alpha1"
)

const condition = `[{"type": "Ready", "status": "True", "reason": "Issued", "message": "", "lastTransitionTime": "2026-01-01T00:00:00Z"}]`

// TestLastAccessPolicy changes each field of a status, alone and together with the last access.
func TestLastAccessPolicy(t *testing.T) {
	const lastAccess = `"lastAccessedTime": "2026-01-02T00:00:00Z", "lastAccessedFrom": "192.0.2.2"`
	empty := newToken(teamNamespace, "empty", "alice")
	full := newToken(teamNamespace, "full", "alice")
	create(t, empty)
	create(t, full)
	setStatus(t, full, `{"tokenID": "asp_full", "issuedTime": "2026-01-01T00:00:00Z", "conditions": `+condition+`}`)
	patchStatus(t, webhook, full, `{"lastAccessedTime": "2026-01-01T00:00:00Z", "lastAccessedFrom": "192.0.2.1"}`)

	type token = *tokensv1alpha1.APIToken
	const others, access = refusedByLastAccessPolicy, refusedAsWebhooks
	tests := []struct {
		name                string
		of                  token
		status              string // a merge patch: null removes
		webhook, controller outcome
	}{
		{"nothing", full, `{}`, allowed, allowed},
		{"a first use", empty, `{` + lastAccess + `}`, allowed, access},
		{"a first use, time alone", empty, `{"lastAccessedTime": "2026-01-02T00:00:00Z"}`, allowed, access},
		{"a first use, address alone", empty, `{"lastAccessedFrom": "192.0.2.2"}`, allowed, access},
		{"another use", full, `{` + lastAccess + `}`, allowed, access},
		{"another time", full, `{"lastAccessedTime": "2026-01-02T00:00:00Z"}`, allowed, access},
		{"another address", full, `{"lastAccessedFrom": "192.0.2.2"}`, allowed, access},
		{"no address", full, `{"lastAccessedFrom": null}`, allowed, access},
		{"the same use", full, `{"lastAccessedTime": "2026-01-01T00:00:00Z", "lastAccessedFrom": "192.0.2.1"}`, allowed, allowed},

		{"a first token id", empty, `{"tokenID": "asp_x"}`, others, allowed},
		{"another token id", full, `{"tokenID": "asp_x"}`, others, allowed},
		{"another token id, with a use", full, `{"tokenID": "asp_x", ` + lastAccess + `}`, others, access},
		{"no token id", full, `{"tokenID": null}`, others, allowed},
		{"no token id, with a use", full, `{"tokenID": null, ` + lastAccess + `}`, others, access},
		{"a first time of issue", empty, `{"issuedTime": "2026-01-02T00:00:00Z"}`, others, allowed},
		{"another time of issue", full, `{"issuedTime": "2026-01-02T00:00:00Z"}`, others, allowed},
		{"no time of issue", full, `{"issuedTime": null}`, others, allowed},
		{"another generation", empty, `{"observedGeneration": 1}`, others, allowed},
		{"no generation, with a use", full, `{"observedGeneration": null, ` + lastAccess + `}`, others, access},
		{"a first end", empty, `{"expirationTime": "2027-01-02T00:00:00Z", "nextRotationTime": "2027-01-02T00:00:00Z"}`, others, allowed},
		{"first conditions", empty, `{"conditions": ` + condition + `}`, others, allowed},
		{"other conditions", full, `{"conditions": ` + strings.ReplaceAll(condition, "Issued", "Other") + `}`, others, allowed},
		{"no conditions", full, `{"conditions": null}`, others, allowed},
		{"no conditions, with a use", full, `{"conditions": null, ` + lastAccess + `}`, others, access},
	}
	for _, test := range tests {
		for who, want := range map[string]outcome{
			webhook: test.webhook, controller: test.controller, "status-writer": refusedByStatusPolicy, clusterAdmin: refusedByStatusPolicy,
			"owner": refusedByRBAC, bystander: refusedByRBAC,
		} {
			t.Run(test.name+"/"+who, func(t *testing.T) {
				err := clients[who].Status().Patch(t.Context(), test.of.DeepCopy(), mergePatch(`{"status":`+test.status+`}`), client.DryRunAll)
				if err := want.check(err); err != nil {
					t.Error(err)
				}
			})
		}
	}
	t.Run("every field", func(t *testing.T) {
		covered := map[string]bool{}
		for _, test := range tests {
			var fields map[string]any
			if err := json.Unmarshal([]byte(test.status), &fields); err != nil {
				t.Fatal(err)
			}
			for field := range fields {
				covered[field] = true
			}
		}
		for field := range statusFields(t) {
			if !covered[field] {
				t.Errorf("no user tries to change status.%s", field)
			}
		}
	})
}

// statusFields returns the fields of the status in the installed CRD.
func statusFields(t *testing.T) map[string]any {
	t.Helper()
	crd := &unstructured.Unstructured{}
	crd.SetAPIVersion("apiextensions.k8s.io/v1")
	crd.SetKind("CustomResourceDefinition")
	if err := clients[clusterAdmin].Get(t.Context(), client.ObjectKey{Name: "apitokens.apitokens.dev"}, crd); err != nil {
		t.Fatal(err)
	}
	versions, _, _ := unstructured.NestedSlice(crd.Object, "spec", "versions")
	fields, found, err := unstructured.NestedMap(versions[0].(map[string]any), "schema", "openAPIV3Schema", "properties", "status", "properties")
	if err != nil || !found {
		t.Fatalf("reading the fields of the status: %t, %v", found, err)
	}
	return fields
}

func patchStatus(t *testing.T, who string, object client.Object, status string) {
	t.Helper()
	if err := clients[who].Status().Patch(t.Context(), object, mergePatch(`{"status":`+status+`}`)); err != nil {
		t.Fatal(err)
	}
}

// A patch of the status by the webhook changes nothing else of the object, and no object of another kind.
func TestLastAccessIsAllThatTheWebhookWrites(t *testing.T) {
	token, site := newToken(teamNamespace, "existing", "alice"), newSite(teamNamespace, "existing")
	create(t, token)
	create(t, site)
	c := clients[webhook]
	text := mergePatch(`{"metadata": {"labels": {"a": "b"}, "annotations": {"a": "b"}, "finalizers": ["a/b"]}, "spec": {"label": "another"},
		"status": {"lastAccessedTime": "2026-01-01T00:00:00Z"}}`)
	patched := token.DeepCopy()
	if err := c.Status().Patch(t.Context(), patched, text); err != nil {
		t.Fatal(err)
	}
	if len(patched.Labels)+len(patched.Annotations)+len(patched.Finalizers) > 0 || !cmp.Equal(patched.Spec, token.Spec) || patched.Status.LastAccessedTime.IsZero() {
		t.Errorf("a patch of the status left %+v", patched)
	}
	for name, err := range map[string]error{
		"update of the status": c.Status().Update(t.Context(), patched.DeepCopy(), client.DryRunAll),
		"patch of the token":   c.Patch(t.Context(), patched.DeepCopy(), text, client.DryRunAll),
		"patch of a site": c.Status().Patch(t.Context(), site.DeepCopy(),
			mergePatch(`{"status": {"lastAccessedTime": "2026-01-01T00:00:00Z"}}`), client.DryRunAll),
	} {
		if err := refusedByRBAC.check(err); err != nil {
			t.Errorf("%s: %v", name, err)
		}
	}
}

// Even with a right to write the status of a site, which this test grants, the policy refuses the webhook.
func TestLastAccessPolicyIsAboutAPITokens(t *testing.T) {
	site := newSite(otherNamespace, "existing")
	create(t, site)
	for _, field := range []string{"authURLSecretName", "lastAccessedFrom"} {
		text := mergePatch(`{"status": {"authURLSecretName": "x", "` + field + `": "x"}}`)
		err := clients[webhook].Status().Patch(t.Context(), site.DeepCopy(), text, client.DryRunAll)
		if err := refusedByStatusPolicy.check(err); err != nil {
			t.Error(err)
		}
	}
}

// The webhook sends a JSON patch with a test of the UID, so that it never writes to another APIToken of the same name.
func TestLastAccessOfAnotherUID(t *testing.T) {
	token := newToken(teamNamespace, "existing", "alice")
	create(t, token)
	send := func(uid types.UID) error {
		text := `[{"op": "test", "path": "/metadata/uid", "value": "` + string(uid) + `"},
			{"op": "add", "path": "/status/lastAccessedTime", "value": "2026-01-01T00:00:00Z"}]`
		return clients[webhook].Status().Patch(t.Context(), token.DeepCopy(), client.RawPatch(types.JSONPatchType, []byte(text)))
	}
	if err := send("another"); err == nil {
		t.Error("the last access of another APIToken was written")
	}
	if err := send(token.UID); err != nil {
		t.Error(err)
	}
}

// Server-side apply by the controller does not change the last access, because the controller does not own these fields.
func TestLastAccessSurvivesTheController(t *testing.T) {
	token := newToken(teamNamespace, "existing", "alice")
	create(t, token)
	apply := func(id string) {
		t.Helper()
		status := tokensac.APITokenStatus()
		if id != "" {
			status.WithTokenID(id)
		}
		err := clients[controller].Status().Apply(t.Context(), tokensac.APIToken(token.Name, token.Namespace).WithStatus(status),
			client.FieldOwner("apitoken-controller"), client.ForceOwnership)
		if err != nil {
			t.Fatal(err)
		}
	}
	apply("asp_1")
	patchStatus(t, webhook, token, `{"lastAccessedTime": "2026-01-01T00:00:00Z", "lastAccessedFrom": "192.0.2.1"}`)
	apply("asp_2")
	apply("")
	if err := clients[clusterAdmin].Get(t.Context(), client.ObjectKeyFromObject(token), token); err != nil {
		t.Fatal(err)
	}
	want := tokensv1alpha1.APITokenStatus{ObservedGeneration: -1, LastAccessedTime: metav1.Date(2026, 1, 1, 0, 0, 0, 0, metav1.Now().UTC().Location()), LastAccessedFrom: "192.0.2.1"}
	if diff := cmp.Diff(want, token.Status); diff != "" {
		t.Errorf("status (-want +got):\n%s", diff)
	}
}
