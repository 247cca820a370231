package plugin_test

import (
	"bytes"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/yaml"

	tokensv1alpha1 "apitokens.dev/operator/api/v1alpha1"
)

// The API server takes the manifests of an import as they are.
func TestImport(t *testing.T) {
	w := newWorld(t)
	folder := filepath.Join(t.TempDir(), "import")
	table := "user,label,password,expires\n" +
		"alice,CI scripts,PExRHkVGE5Da5BpwESbtpKJnUqUEyDmvsRt,2099-06-30\n" +
		"CORP\\Bob,Ünïcode – ✓,PExRHkVGE5Da5BpwESbtpKJnUqUEyDmvsRu,\n" +
		"carol,,PExRHkVGE5Da5BpwESbtpKJnUqUEyDmvsRv,\n報告,報告,PExRHkVGE5Da5BpwESbtpKJnUqUEyDmvsRw,\n"
	r := w.run("admin", table, "import", "-", "--site", "main", "--to", folder, "--secret-column", "password")
	if r.err != nil || !strings.Contains(r.out, "4 can be imported") || !strings.Contains(r.out, "HAS SECRETS") {
		t.Fatalf("%v: %s%s", r.err, r.out, r.errOut)
	}
	for _, file := range []string{"secrets.yaml", "tokens.yaml"} {
		text, err := os.ReadFile(filepath.Join(folder, file))
		w.must(err)
		for _, document := range bytes.Split(text, []byte("---\n"))[1:] {
			var object unstructured.Unstructured
			w.must(yaml.Unmarshal(document, &object.Object))
			w.must(env.Admin.Create(t.Context(), &object))
		}
	}
	var all tokensv1alpha1.APITokenList
	w.must(env.Admin.List(t.Context(), &all, client.InNamespace(w.namespace)))
	labels := map[string]string{}
	for _, of := range all.Items {
		labels[of.Spec.User] = of.Name + ": " + of.Spec.Label
	}
	for user, want := range map[string]string{
		"alice": "alice-ci-scripts: CI scripts", `CORP\Bob`: "corp-bob-n-code: Ünïcode – ✓", "carol": "carol: carol", "報告": "imported: 報告",
	} {
		if labels[user] != want {
			t.Errorf("the token of %s is %q, want %q", user, labels[user], want)
		}
	}
}
