package config_test

import (
	"bytes"
	"errors"
	"io"
	"maps"
	"os"
	"path/filepath"
	"regexp"
	"testing"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/util/yaml"
	"k8s.io/client-go/rest"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"apitokens.dev/operator/hack/lib/kubetest"
)

// fenced matches YAML in a document, with its indentation.
var fenced = regexp.MustCompile("(?ms)^( *)```yaml\n(.*?)\n *```$")

// examples are the objects in the YAML of a document.
func examples(t *testing.T, document string) (objects []*unstructured.Unstructured) {
	t.Helper()
	page, err := os.ReadFile(document)
	if err != nil {
		t.Fatal(err)
	}
	for _, block := range fenced.FindAllSubmatch(page, -1) {
		text := bytes.ReplaceAll(append([]byte("\n"), block[2]...), append([]byte("\n"), block[1]...), []byte("\n"))
		decoder := yaml.NewYAMLToJSONDecoder(bytes.NewReader(text))
		for {
			o := &unstructured.Unstructured{}
			if err := decoder.Decode(&o.Object); errors.Is(err, io.EOF) {
				break
			} else if err != nil {
				t.Fatalf("%s: %v", document, err)
			}
			objects = append(objects, o)
		}
	}
	return objects
}

// Every APIToken and AtlassianSite that a document shows is one that the API server accepts.
func TestDocumentedObjectsAreAccepted(t *testing.T) {
	documents, err := filepath.Glob("../docs/*/*.md")
	if err != nil {
		t.Fatal(err)
	}
	accepted := 0
	for _, document := range append(documents, "../README.md") {
		for _, o := range examples(t, document) {
			if o.GetKind() == "" && o.Object["spec"] != nil {
				o.SetUnstructuredContent(partOf(t, o.Object))
			}
			if o.GroupVersionKind().Group != group {
				continue
			}
			o.SetNamespace(teamNamespace)
			if err := clients[clusterAdmin].Create(t.Context(), o, client.DryRunAll); err != nil {
				t.Errorf("%s: %v", document, err)
			}
			accepted++
		}
	}
	if accepted < 5 {
		t.Errorf("found only %d objects", accepted)
	}
}

// partOf completes what a document shows of an APIToken's spec.
func partOf(t *testing.T, shown map[string]any) map[string]any {
	t.Helper()
	whole, err := runtime.DefaultUnstructuredConverter.ToUnstructured(newToken(teamNamespace, "documented", "alice"))
	if err != nil {
		t.Fatal(err)
	}
	whole["apiVersion"], whole["kind"] = group+"/v1alpha1", "APIToken"
	spec, _ := whole["spec"].(map[string]any)
	part, _ := shown["spec"].(map[string]any)
	maps.Copy(spec, part)
	return whole
}

// The examples in docs/how-to/grant-rights.md give the rights that the page describes, and no others.
func TestAccessExamples(t *testing.T) {
	var token *unstructured.Unstructured
	for _, o := range examples(t, "../docs/how-to/grant-rights.md") {
		if o.GetKind() == "APIToken" {
			token = o
			continue
		}
		if o.GetKind() == "Namespace" { // it stays: no controller here would end its removal
			if err := clients[clusterAdmin].Create(t.Context(), o); err != nil && !apierrors.IsAlreadyExists(err) {
				t.Fatal(err)
			}
			continue
		}
		create(t, o)
	}
	if token == nil {
		t.Fatal("there is no APIToken in docs/how-to/grant-rights.md")
	}
	const deployer = serviceAccountPrefix + "team-a:deployer"
	people := map[string]client.Client{"alice": as(t, "alice"), deployer: as(t, deployer), "root": as(t, "root", "jira-admins"), "bob": as(t, "bob")}
	issue := func(who, namespace, site, user string) error {
		declared := newToken(namespace, "new", user)
		declared.Spec.SiteRef.Namespace = site
		return people[who].Create(t.Context(), declared, client.DryRunAll)
	}
	kubetest.Eventually(t, func() error { return issue("root", teamNamespace, "", "anybody") }) // the last binding
	for _, test := range []struct {
		who, namespace, site, user string
		want                       outcome
	}{
		{"alice", teamNamespace, "", "alice", allowed},
		{"alice", teamNamespace, "", "bob", refusedByIssuePolicy},
		{"alice", "team-a", teamNamespace, "alice", refusedByRBAC},
		{deployer, "team-a", teamNamespace, "ci-bot", allowed},
		{deployer, "team-a", teamNamespace, "alice", refusedByIssuePolicy},
		{deployer, "team-a", "", "ci-bot", refusedByIssuePolicy},
		{deployer, teamNamespace, "", "ci-bot", refusedByRBAC},
		{"root", teamNamespace, "", "alice", allowed},
		{"root", "team-a", teamNamespace, "alice", refusedByRBAC},
		{"bob", teamNamespace, "", "bob", refusedByRBAC},
	} {
		if err := test.want.check(issue(test.who, test.namespace, test.site, test.user)); err != nil {
			t.Errorf("%s for %s in %s: %v", test.who, test.user, test.namespace, err)
		}
	}
	if err := people[deployer].Create(t.Context(), token, client.DryRunAll); err != nil {
		t.Errorf("the example's own token: %v", err)
	}
	readsDelivered(t, people)
}

// readsDelivered expects that a person reads the Secrets that their own tokens are delivered to, and no others.
func readsDelivered(t *testing.T, people map[string]client.Client) {
	t.Helper()
	for name, reader := range map[string]string{"alice-ci-token": "alice", "alice-laptop-token": "alice", "bob-ci-token": ""} {
		delivered := &corev1.Secret{ObjectMeta: metav1.ObjectMeta{Namespace: teamNamespace, Name: name}}
		create(t, delivered)
		for who, person := range people {
			err := person.Get(t.Context(), client.ObjectKeyFromObject(delivered), &corev1.Secret{})
			if who == reader && err != nil || who != reader && !apierrors.IsForbidden(err) {
				t.Errorf("%s reads Secret %s: %v", who, name, err)
			}
		}
	}
	if err := people["alice"].List(t.Context(), &corev1.SecretList{}, client.InNamespace(teamNamespace)); !apierrors.IsForbidden(err) {
		t.Errorf("alice lists Secrets: %v", err)
	}
}

func as(t *testing.T, who string, groups ...string) client.Client {
	t.Helper()
	config := rest.CopyConfig(adminConfig)
	config.Impersonate = rest.ImpersonationConfig{UserName: who, Groups: append(groups, "system:authenticated")}
	c, err := connect(config)
	if err != nil {
		t.Fatal(err)
	}
	return c
}
