package v1alpha1_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/util/wait"
	"k8s.io/apimachinery/pkg/util/yaml"
	"sigs.k8s.io/controller-runtime/pkg/client"

	tokensv1alpha1 "apitokens.dev/operator/api/v1alpha1"
	"apitokens.dev/operator/hack/lib/controlplane"
	"apitokens.dev/operator/hack/lib/kubetest"
)

// wantPrefix begins the first line of every refused file; a part of the API server's message follows.
const wantPrefix = "# want: "

// admin may do everything and, like kubectl, has fields refused that the API does not have.
var admin client.Client

func TestMain(m *testing.M) { os.Exit(kubetest.Run(m, prepare)) }

func prepare(cp *controlplane.ControlPlane) error {
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	if err := cp.Install("config/crd"); err != nil {
		return err
	}
	scheme := runtime.NewScheme()
	if err := tokensv1alpha1.AddToScheme(scheme); err != nil {
		return err
	}
	config := cp.Admin()
	config.QPS = -1
	c, err := client.New(config, client.Options{Scheme: scheme})
	if err != nil {
		return err
	}
	admin = client.NewNamespacedClient(client.WithFieldValidation(c, metav1.FieldValidationStrict), metav1.NamespaceDefault)
	for _, kind := range []string{"APIToken", "AtlassianSite"} {
		if err := waitUntilServed(ctx, c, kind); err != nil {
			return err
		}
	}
	return nil
}

func waitUntilServed(ctx context.Context, c client.Client, kind string) error {
	list := &unstructured.UnstructuredList{}
	list.SetAPIVersion(tokensv1alpha1.GroupVersion.String())
	list.SetKind(kind + "List")
	var last error
	err := wait.PollUntilContextCancel(ctx, 50*time.Millisecond, true, func(ctx context.Context) (bool, error) {
		last = c.List(ctx, list)
		return last == nil, nil
	})
	if err != nil {
		return fmt.Errorf("waiting for %s: %w", kind, errors.Join(err, last))
	}
	return nil
}

func TestAccepted(t *testing.T) {
	for name, file := range readFiles(t, "accepted") {
		t.Run(name, func(t *testing.T) {
			if err := apply(t, file.documents); err != nil {
				t.Error(err)
			}
		})
	}
}

func TestRefused(t *testing.T) {
	for name, file := range readFiles(t, "refused") {
		t.Run(name, func(t *testing.T) {
			err := apply(t, file.documents)
			if err == nil {
				t.Fatalf("accepted, want %q", file.want)
			}
			if !strings.Contains(err.Error(), file.want) {
				t.Errorf("refused with %q, want %q", err, file.want)
			}
		})
	}
}

// apply answers with what the API server says to the last document: to a create if there is one,
// and else to the last update of the first by each of the others, of its status by one that has a status.
func apply(t *testing.T, documents []*unstructured.Unstructured) error {
	t.Helper()
	ctx := t.Context()
	if len(documents) == 1 {
		return admin.Create(ctx, documents[0], client.DryRunAll)
	}
	before, last := documents[0], len(documents)-1
	if err := admin.Create(ctx, before); err != nil {
		t.Fatalf("creating the first document: %v", err)
	}
	defer func() {
		if err := admin.Delete(ctx, documents[0]); err != nil {
			t.Error(err)
		}
	}()
	for i, after := range documents[1:last] {
		if err := update(ctx, before, after); err != nil {
			t.Fatalf("updating by document %d: %v", i+2, err)
		}
		before = after
	}
	return update(ctx, before, documents[last])
}

func update(ctx context.Context, before, after *unstructured.Unstructured) error {
	after.SetResourceVersion(before.GetResourceVersion())
	if _, found := after.Object["status"]; found {
		return admin.Status().Update(ctx, after)
	}
	return admin.Update(ctx, after)
}

// A rule that nothing refuses by, or that nothing passes, may as well not be there.
func TestEveryRuleHasItsFiles(t *testing.T) {
	accepted, refused := readFiles(t, "accepted"), readFiles(t, "refused")
	wants := map[string][]string{}
	for name, file := range refused {
		if _, found := accepted[name]; !found {
			t.Errorf("there is testdata/refused/%s, but no testdata/accepted/%s", name, name)
		}
		wants[file.kind] = append(wants[file.kind], withoutIndex(file.want))
	}
	for name := range accepted {
		if _, found := refused[name]; !found {
			t.Errorf("there is testdata/accepted/%s, but no testdata/refused/%s", name, name)
		}
	}
	crds, err := readCRDs()
	if err != nil {
		t.Fatal(err)
	}
	for _, crd := range crds {
		kind, _, _ := unstructured.NestedString(crd.Object, "spec", "names", "kind")
		versions, _, _ := unstructured.NestedSlice(crd.Object, "spec", "versions")
		for _, version := range versions {
			schema, _, err := unstructured.NestedMap(version.(map[string]any), "schema", "openAPIV3Schema")
			if err != nil {
				t.Fatal(err)
			}
			rules, err := rulesOf("", schema)
			if err != nil {
				t.Error(err)
			}
			for _, rule := range rules {
				if !slices.ContainsFunc(wants[kind], regexp.MustCompile(rule).MatchString) {
					t.Errorf("no %s in testdata/refused wants %q", kind, rule)
				}
			}
		}
	}
}

// ruleMessages are patterns of what the API server says when a keyword of a schema is not kept to.
var ruleMessages = map[string]string{
	"enum":                   "%s: Unsupported value",
	"format":                 "%s: Invalid value: .* in body must be of type",
	"maximum":                "%s: Invalid value: .* in body should be less than or equal to",
	"maxItems":               "%s: Too many",
	"maxLength":              "%s: Too long",
	"minimum":                "%s: Invalid value: .* in body should be greater than or equal to",
	"minItems":               "%s: Invalid value: .* in body should have at least [0-9]+ items",
	"minLength":              "%s: Invalid value: .* in body should be at least",
	"minProperties":          "%s: Invalid value: .* in body should have at least [0-9]+ properties",
	"x-kubernetes-list-type": "%s\\[]: Duplicate value",
}

// rulesOf lists for every rule of a schema a pattern of what the API server says when it is broken.
func rulesOf(path string, schema map[string]any) (rules []string, err error) {
	for keyword, value := range schema {
		switch keyword {
		case "default", "description", "type", "x-kubernetes-list-map-keys":
		case "required":
			for _, name := range value.([]any) {
				rules = append(rules, regexp.QuoteMeta(join(path, name.(string))+": Required value"))
			}
		case "x-kubernetes-validations":
			for _, rule := range value.([]any) {
				message, _ := rule.(map[string]any)["message"].(string)
				if message == "" {
					err = errors.Join(err, fmt.Errorf("a validation of %q has no message", path))
				}
				rules = append(rules, regexp.QuoteMeta(message))
			}
		case "properties":
			for name, property := range value.(map[string]any) {
				if join(path, name) == "spec.allowedNamespaces.selector" {
					continue // metav1.LabelSelector, whose rules are Kubernetes' own.
				}
				more, moreErr := rulesOf(join(path, name), property.(map[string]any))
				rules, err = append(rules, more...), errors.Join(err, moreErr)
			}
		case "items":
			if path == "status.conditions" {
				continue // metav1.Condition, whose rules are Kubernetes' own.
			}
			more, moreErr := rulesOf(path+"[]", value.(map[string]any))
			rules, err = append(rules, more...), errors.Join(err, moreErr)
		default:
			if value == "int32" {
				continue // the bounds are narrower
			}
			message, found := ruleMessages[keyword]
			if !found {
				err = errors.Join(err, fmt.Errorf("this test does not know the keyword %q of %q", keyword, path))
				continue
			}
			rules = append(rules, fmt.Sprintf(message, regexp.QuoteMeta(path)))
		}
	}
	return rules, err
}

func join(path, name string) string { return strings.TrimPrefix(path+"."+name, ".") }

var index = regexp.MustCompile(`\[[0-9]+\]`)

func withoutIndex(message string) string { return index.ReplaceAllString(message, "[]") }

func TestDefaults(t *testing.T) {
	token := tokensv1alpha1.APITokenSpec{
		SiteRef:  tokensv1alpha1.SiteReference{Name: "jira"},
		User:     "alice",
		Label:    "nightly export",
		Delivery: tokensv1alpha1.Delivery{SecretName: "nightly-export"},
	}
	createdToken := &tokensv1alpha1.APIToken{ObjectMeta: metav1.ObjectMeta{Name: "minimal"}, Spec: token}
	if err := admin.Create(t.Context(), createdToken, client.DryRunAll); err != nil {
		t.Fatal(err)
	}
	token.Credential.Type = tokensv1alpha1.CredentialGenerated
	token.Access, token.State = tokensv1alpha1.AccessReadWrite, tokensv1alpha1.StateActive
	if diff := cmp.Diff(token, createdToken.Spec); diff != "" {
		t.Errorf("APIToken (-want +got):\n%s", diff)
	}

	site := tokensv1alpha1.AtlassianSiteSpec{
		Product:     tokensv1alpha1.ProductJira,
		BaseURL:     "https://example.com/jira",
		UpstreamURL: "http://jira.atlassian.svc:8080/jira",
	}
	createdSite := &tokensv1alpha1.AtlassianSite{ObjectMeta: metav1.ObjectMeta{Name: "minimal"}, Spec: site}
	if err := admin.Create(t.Context(), createdSite, client.DryRunAll); err != nil {
		t.Fatal(err)
	}
	site.TokenPaths = []string{"/rest/"}
	site.Handoff.Type = tokensv1alpha1.HandoffPersonalAccessToken
	site.CallerVerification.Type = tokensv1alpha1.CallerVerificationSharedKey
	site.AllowedNamespaces.From = tokensv1alpha1.NamespacesFromSame
	if diff := cmp.Diff(site, createdSite.Spec); diff != "" {
		t.Errorf("AtlassianSite (-want +got):\n%s", diff)
	}
}

type testFile struct {
	want, kind string
	documents  []*unstructured.Unstructured
}

// readFiles reads the files of a folder of testdata, by name.
func readFiles(t *testing.T, folder string) map[string]testFile {
	t.Helper()
	files := map[string]testFile{}
	paths, err := filepath.Glob(filepath.Join("testdata", folder, "*.yaml"))
	if err != nil || len(paths) == 0 {
		t.Fatalf("no files in testdata/%s: %v", folder, err)
	}
	for _, path := range paths {
		text, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		documents, err := decode(text)
		if err != nil || len(documents) == 0 {
			t.Fatalf("%s: %d documents: %v", path, len(documents), err)
		}
		line, _, _ := strings.Cut(string(text), "\n")
		want, _ := strings.CutPrefix(line, wantPrefix)
		if refused := folder == "refused"; refused != strings.HasPrefix(line, wantPrefix) || refused && want == "" {
			t.Fatalf("%s begins with %q", path, line)
		}
		files[filepath.Base(path)] = testFile{want: want, kind: documents[0].GetKind(), documents: documents}
	}
	return files
}

func readCRDs() (crds []*unstructured.Unstructured, err error) {
	paths, err := filepath.Glob("../../config/crd/" + tokensv1alpha1.GroupVersion.Group + "_*.yaml")
	if err != nil || len(paths) == 0 {
		return nil, errors.Join(errors.New("there are no CRDs"), err)
	}
	for _, path := range paths {
		text, err := os.ReadFile(path)
		if err != nil {
			return nil, err
		}
		documents, err := decode(text)
		if err != nil {
			return nil, fmt.Errorf("%s: %w", path, err)
		}
		crds = append(crds, documents...)
	}
	return crds, nil
}

func decode(text []byte) (documents []*unstructured.Unstructured, err error) {
	decoder := yaml.NewYAMLOrJSONDecoder(bytes.NewReader(text), 4096)
	for {
		document := &unstructured.Unstructured{}
		if err := decoder.Decode(document); errors.Is(err, io.EOF) {
			return documents, nil
		} else if err != nil {
			return nil, err
		}
		documents = append(documents, document)
	}
}
