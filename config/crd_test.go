package config_test

import (
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/discovery"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/yaml"

	tokensv1alpha1 "apitokens.dev/operator/api/v1alpha1"
)

func TestSelectableFields(t *testing.T) {
	for name, user := range map[string]string{"alice-1": "alice", "alice-2": "alice", "bob-1": "bob"} {
		token := newToken(otherNamespace, name, user)
		create(t, token)
		setStatus(t, token, fmt.Sprintf(`{"tokenID": "asp_%s"}`, name))
	}
	tests := []struct {
		selector client.MatchingFields
		want     []string
	}{
		{client.MatchingFields{"spec.user": "alice"}, []string{"alice-1", "alice-2"}},
		{client.MatchingFields{"spec.user": "al"}, nil},
		{client.MatchingFields{"status.tokenID": "asp_bob-1"}, []string{"bob-1"}},
		{client.MatchingFields{"spec.user": "alice", "status.tokenID": "asp_bob-1"}, nil},
	}
	for _, test := range tests {
		tokens := &tokensv1alpha1.APITokenList{}
		if err := clients[controller].List(t.Context(), tokens, test.selector, client.InNamespace(otherNamespace)); err != nil {
			t.Fatal(err)
		}
		var got []string
		for _, token := range tokens.Items {
			got = append(got, token.Name)
		}
		if diff := cmp.Diff(test.want, got); diff != "" {
			t.Errorf("%v (-want +got):\n%s", test.selector, diff)
		}
	}
}

func setStatus(t *testing.T, object client.Object, status string) {
	t.Helper()
	if err := clients[controller].Status().Patch(t.Context(), object, mergePatch(`{"status":`+status+`}`)); err != nil {
		t.Fatal(err)
	}
}

func TestColumns(t *testing.T) {
	const ready = `"conditions": [{"type": "Ready", "status": "True", "reason": "Issued", "message": "", "lastTransitionTime": "2026-01-01T00:00:00Z"}]`
	token, site := newToken(otherNamespace, "nightly-export", "alice"), newSite(otherNamespace, "jira")
	create(t, token)
	create(t, site)
	setStatus(t, token, `{"expirationTime": "2027-01-01T00:00:00Z", "tokenID": "asp_DquJoZLwlsNJm6gU", `+ready+`}`)
	used := time.Now().Add(-30*time.Minute - 30*time.Second).UTC().Format(time.RFC3339)
	if err := clients[webhook].Status().Patch(t.Context(), token, mergePatch(`{"status":{"lastAccessedTime": "`+used+`"}}`)); err != nil {
		t.Fatal(err)
	}
	setStatus(t, site, `{`+ready+`}`)
	tests := []struct {
		resource string
		columns  []string
		cells    []any // without the last cell, the age
	}{
		{"apitokens", []string{"Name", "User", "Label", "Token ID", "Ready", "Last Accessed", "Expires", "Age"}, []any{"nightly-export", "alice", "nightly export", "asp_DquJoZLwlsNJm6gU", "True", "30m", "2027-01-01T00:00:00Z"}},
		{"atlassiansites", []string{"Name", "Product", "Base URL", "Ready", "Reachable", "Credentials", "Age"}, []any{"jira", "Jira", "https://example.com/jira", "True"}},
	}
	for _, test := range tests {
		t.Run(test.resource, func(t *testing.T) {
			table := getTable(t, otherNamespace, test.resource)
			var columns []string
			for _, column := range table.ColumnDefinitions {
				if column.Priority == 0 { // kubectl shows other columns only with --output=wide.
					columns = append(columns, column.Name)
				}
			}
			if diff := cmp.Diff(test.columns, columns); diff != "" {
				t.Errorf("columns (-want +got):\n%s", diff)
			}
			if len(table.Rows) != 1 {
				t.Fatalf("%d rows, want 1", len(table.Rows))
			}
			if diff := cmp.Diff(test.cells, table.Rows[0].Cells[:len(test.cells)]); diff != "" {
				t.Errorf("cells (-want +got):\n%s", diff)
			}
		})
	}
}

// getTable returns the table that `kubectl get` prints.
func getTable(t *testing.T, namespace, resource string) *metav1.Table {
	t.Helper()
	raw, err := discoveryClient(t).RESTClient().Get().
		AbsPath("/apis", tokensv1alpha1.GroupVersion.String(), "namespaces", namespace, resource).
		SetHeader("Accept", "application/json;as=Table;v=v1;g=meta.k8s.io").Do(t.Context()).Raw()
	if err != nil {
		t.Fatal(err)
	}
	table := &metav1.Table{}
	if err := json.Unmarshal(raw, table); err != nil {
		t.Fatal(err)
	}
	return table
}

func TestShortNames(t *testing.T) {
	list, err := discoveryClient(t).ServerResourcesForGroupVersion(tokensv1alpha1.GroupVersion.String())
	if err != nil {
		t.Fatal(err)
	}
	type names struct{ Short, Categories []string }
	got := map[string]names{}
	for _, resource := range list.APIResources {
		if !strings.Contains(resource.Name, "/") {
			got[resource.Name] = names{resource.ShortNames, resource.Categories}
		}
	}
	want := map[string]names{
		"apitokens":      {[]string{"apitok"}, []string{"atlassian"}},
		"atlassiansites": {[]string{"asite"}, []string{"atlassian"}},
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("names (-want +got):\n%s", diff)
	}
}

func discoveryClient(t *testing.T) *discovery.DiscoveryClient {
	t.Helper()
	c, err := discovery.NewDiscoveryClientForConfig(adminConfig)
	if err != nil {
		t.Fatal(err)
	}
	return c
}

// Server-side apply fails on a whole object if a list without keys is a set of objects: its status could not be written.
func TestSetsHoldScalars(t *testing.T) {
	files, err := filepath.Glob("crd/apitokens.dev_*.yaml")
	if err != nil || len(files) == 0 {
		t.Fatal(files, err)
	}
	sets := 0
	var walk func(at string, schema any)
	walk = func(at string, schema any) {
		switch s := schema.(type) {
		case []any:
			for _, each := range s {
				walk(at, each)
			}
		case map[string]any:
			if s["x-kubernetes-list-type"] == "set" {
				sets++
				if items, _ := s["items"].(map[string]any); items["type"] == "object" {
					t.Errorf("%s is a set of objects", at)
				}
			}
			for name, each := range s {
				walk(at+"."+name, each)
			}
		}
	}
	for _, file := range files {
		text, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		var crd map[string]any
		if err := yaml.Unmarshal(text, &crd); err != nil {
			t.Fatal(err)
		}
		walk(file, crd)
	}
	if sets == 0 {
		t.Error("no set was found")
	}
}
