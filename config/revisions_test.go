package config_test

import (
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"testing"

	"github.com/google/go-cmp/cmp"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"sigs.k8s.io/yaml"

	"apitokens.dev/operator/config"
)

// revisions are the specs of CRDs and policies, by name and revision. The controller starts only with the revision that it was
// built with, or a later one. So a spec that changes after a release gets the next revision. One that was in no release keeps
// its own.
var revisions = map[string]string{
	"apitokens.apitokens.dev 1":      "29f384f6e66ccbf3",
	"atlassiansites.apitokens.dev 1": "19ef295056284ee4",
	"installation.apitokens.dev 1":   "2b306cb9386f9f3b",
	"issue.apitokens.dev 1":          "99f34525f96afa0a",
	"metadata.apitokens.dev 1":       "140dc75d317aae0e",
	"secrets.apitokens.dev 1":        "941851476fb20563",
	"status.apitokens.dev 1":         "c588e5d4c4dd304e",
}

// A change of a CRD or a policy meets this test.
func TestChangedSpecsHaveAnotherRevision(t *testing.T) {
	documents, err := config.Required(config.Namespace, config.CredentialsNamespace, config.IntakeNamespace)
	if err != nil {
		t.Fatal(err)
	}
	found := map[string]string{}
	for _, document := range documents {
		var o unstructured.Unstructured
		if err := yaml.Unmarshal([]byte(document), &o.Object); err != nil {
			t.Fatal(err)
		}
		if o.GetKind() == "ValidatingAdmissionPolicyBinding" {
			continue // compared as a whole
		}
		spec, err := json.Marshal(withoutDescriptions(o.Object["spec"]))
		if err != nil {
			t.Fatal(err)
		}
		sum := sha256.Sum256(spec)
		found[fmt.Sprintf("%s %s", o.GetName(), o.GetAnnotations()[config.RevisionAnnotation])] = hex.EncodeToString(sum[:8])
	}
	if diff := cmp.Diff(revisions, found); diff != "" {
		t.Errorf("raise the annotation %s of what was released, and enter the rest here (-entered +found):\n%s", config.RevisionAnnotation, diff)
	}
}

// withoutDescriptions leaves out the texts of a schema: they make no difference to the controller.
func withoutDescriptions(part any) any {
	switch part := part.(type) {
	case map[string]any:
		for name, value := range part {
			if _, text := value.(string); text && name == "description" {
				delete(part, name)
			} else {
				part[name] = withoutDescriptions(value)
			}
		}
	case []any:
		for i := range part {
			part[i] = withoutDescriptions(part[i])
		}
	}
	return part
}
