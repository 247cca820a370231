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

// admin may do everything. Like kubectl, it asks the API server to refuse unknown fields.
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
	forEachCase(t, func(t *testing.T, kind kindCases, c schemaCase) {
		if err := apply(t, kind.base, c.accepted); err != nil {
			t.Error(err)
		}
	})
}

func TestRefused(t *testing.T) {
	forEachCase(t, func(t *testing.T, kind kindCases, c schemaCase) {
		err := apply(t, kind.base, c.refused)
		if err == nil {
			t.Fatalf("accepted, want %q", c.want)
		}
		if !strings.Contains(err.Error(), c.want) {
			t.Errorf("refused with %q, want %q", err, c.want)
		}
	})
}

func forEachCase(t *testing.T, test func(*testing.T, kindCases, schemaCase)) {
	for name, kind := range kinds {
		for _, c := range kind.cases {
			t.Run(name+"/"+c.name, func(t *testing.T) { test(t, kind, c) })
		}
	}
}

// apply returns what the API server says to the last change: to a creation if it is the only one, and else to an update.
// A change of the status is an update of the status.
func apply(t *testing.T, base string, changes []change) error {
	t.Helper()
	ctx := t.Context()
	if len(changes) == 1 {
		return admin.Create(ctx, changes[0].of(t, base), client.DryRunAll)
	}
	before, last := changes[0].of(t, base), len(changes)-1
	if err := admin.Create(ctx, before); err != nil {
		t.Fatalf("creating: %v", err)
	}
	defer func() {
		if err := admin.Delete(ctx, before); err != nil {
			t.Error(err)
		}
	}()
	for i, change := range changes[1:last] {
		after := change.of(t, base)
		if err := update(ctx, before, after); err != nil {
			t.Fatalf("update %d: %v", i+1, err)
		}
		before = after
	}
	return update(ctx, before, changes[last].of(t, base))
}

func update(ctx context.Context, before, after *unstructured.Unstructured) error {
	after.SetResourceVersion(before.GetResourceVersion())
	if _, found := after.Object["status"]; found {
		return admin.Status().Update(ctx, after)
	}
	return admin.Update(ctx, after)
}

// A rule without a case could be removed and no test would fail.
func TestEveryRuleHasACase(t *testing.T) {
	wants := map[string][]string{}
	for kind, k := range kinds {
		for _, c := range k.cases {
			wants[kind] = append(wants[kind], withoutIndex(c.want))
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
					t.Errorf("no case of %s wants %q", kind, rule)
				}
			}
		}
	}
}

// ruleMessages are patterns of the message with which the API server refuses a value, by keyword of the schema.
var ruleMessages = map[string]string{
	"enum":                   "%s: Unsupported value",
	"format":                 "%s: Invalid value: .* in body must be of type",
	"maximum":                "%s: Invalid value: .* in body should be less than or equal to",
	"maxItems":               "%s: Too many",
	"maxLength":              "%s: Too long",
	"maxProperties":          "%s: Too many",
	"minimum":                "%s: Invalid value: .* in body should be greater than or equal to",
	"minItems":               "%s: Invalid value: .* in body should have at least [0-9]+ items",
	"minLength":              "%s: Invalid value: .* in body should be at least",
	"minProperties":          "%s: Invalid value: .* in body should have at least [0-9]+ properties",
	"x-kubernetes-list-type": "%s\\[]: Duplicate value",
}

// rulesOf returns, for every rule of a schema, a pattern of the API server's message when a value breaks it.
func rulesOf(path string, schema map[string]any) (rules []string, err error) {
	for keyword, value := range schema {
		switch keyword {
		case "default", "description", "type", "x-kubernetes-list-map-keys", "x-kubernetes-map-type":
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
		case "additionalProperties":
			more, moreErr := rulesOf(path+".a", value.(map[string]any))
			rules, err = append(rules, more...), errors.Join(err, moreErr)
		case "items":
			if path == "status.conditions" {
				continue // metav1.Condition, whose rules are Kubernetes' own.
			}
			more, moreErr := rulesOf(path+"[]", value.(map[string]any))
			rules, err = append(rules, more...), errors.Join(err, moreErr)
		default:
			if value == "int32" || value == "int64" || value == "atomic" {
				continue // the bounds of the first are narrower, the second is every integer, and the third refuses nothing
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
	site.Schemes = []tokensv1alpha1.Scheme{tokensv1alpha1.SchemeBasic}
	site.Handoff.Type = tokensv1alpha1.HandoffPersonalAccessToken
	site.CallerVerification.Type = tokensv1alpha1.CallerVerificationSharedKey
	site.AllowedNamespaces.From = tokensv1alpha1.NamespacesFromSame
	if diff := cmp.Diff(site, createdSite.Spec); diff != "" {
		t.Errorf("AtlassianSite (-want +got):\n%s", diff)
	}
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
