package v1alpha1_test

import (
	"context"
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"
	"time"

	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"sigs.k8s.io/controller-runtime/pkg/client"

	tokensv1alpha1 "apitokens.dev/operator/api/v1alpha1"
)

// times are ways to write a time, and whether the schema accepts them.
var times = map[string]bool{
	"2027-06-30T00:00:00Z": true, "2027-06-30T00:00:00+02:00": true, "2027-06-30T00:00:00-11:30": true, "2028-02-29T23:59:59Z": true,
	"2027-06-30T00:00:00.5Z": true, "2027-06-30T00:00:00.000000Z": true, "2027-06-30T00:00:00.123456789012Z": true, "2027-06-30T00:00:00,5Z": true,
	"1000-01-01T00:00:00Z": true, "9999-12-31T23:59:59Z": true,

	"2027-06-30t00:00:00Z": false, "2027-06-30T00:00:00z": false, "2027-06-30t00:00:00z": false, "2027-06-30 00:00:00Z": false,
	"2016-12-31T23:59:60Z": false, "2027-06-30T23:60:00Z": false, "2027-06-30T24:00:00Z": false, "2027-02-29T00:00:00Z": false,
	"2027-13-01T00:00:00Z": false, "2027-00-01T00:00:00Z": false, "2027-06-30T00:00:00": false, "2027-06-30T00:00Z": false,
	"2027-06-30T0:00:00Z": false, "2027-6-30T00:00:00Z": false, "2027-06-30T00:00:00+0200": false, "2027-06-30T00:00:00+02": false,
	"2027-06-30T00:00:00+25:00": false, "2027-06-30T00:00:00+02:61": false, "2027-06-30T00:00:00.Z": false, "2027-06-30T00:00:00x5Z": false,
	"2027-06-30T00:00:00ZTx": false, "2027-06-30T00:00:00Z ": false, " 2027-06-30T00:00:00Z": false, "2027-06-30T00:00:00Z\n": false,
	"0000-01-01T00:00:00Z": false, "0001-01-01T00:00:00Z": false, "0999-12-31T23:59:59Z": false, "10000-01-01T00:00:00Z": false,
	"9999-12-31T23:59:59-00:01": false, "-2027-06-30T00:00:00Z": false, "+2027-06-30T00:00:00Z": false, "２０２７-06-30T00:00:00Z": false,
	"20270630T000000Z": false, "2027-181T00:00:00Z": false, "2027-W26-3T00:00:00Z": false, "2027-06-30": false, "1814313600": false, "now": false, "": false,
}

// randomTimes returns n times that differ from those in the table by a few characters.
func randomTimes(n int) (random []string) {
	const seed = 9
	r := rand.New(rand.NewPCG(seed, seed))
	const characters = "0123456789tTzZ:-+.,  x"
	known := make([]string, 0, len(times))
	for text := range times {
		known = append(known, text)
	}
	slices.Sort(known)
	for range n {
		text := []byte(known[r.IntN(len(known))])
		for range 1 + r.IntN(3) {
			at, c := r.IntN(len(text)+1), characters[r.IntN(len(characters))]
			switch {
			case at == len(text) || r.IntN(3) == 0:
				text = slices.Insert(text, at, c)
			case r.IntN(3) == 0:
				text = slices.Delete(text, at, at+1)
			default:
				text[at] = c
			}
		}
		random = append(random, strings.ToValidUTF8(string(text), "?"))
	}
	return random
}

// Every time that the schema accepts is one that our processes can decode, and read again after they have written it.
func TestAcceptedTimesCanBeDecoded(t *testing.T) {
	corpus := randomTimes(150)
	for text := range times {
		corpus = append(corpus, text)
	}
	for name, kind := range kinds {
		for _, field := range timeFields(t, name) {
			t.Run(name+"/"+field, func(t *testing.T) {
				send := sender(t, kind.base, field)
				accepted := 0
				for _, text := range corpus {
					object, err := send(text)
					if want, known := times[text]; known && want != (err == nil) {
						t.Errorf("%q: accepted %t, want %t: %v", text, err == nil, want, err)
					}
					if err == nil {
						accepted++
						checkDecodes(t, name, text, object)
					}
				}
				if accepted < 10 {
					t.Errorf("only %d times were accepted", accepted)
				}
			})
		}
	}
}

// timeFields returns the paths of the fields with a time in the CRD of a kind.
func timeFields(t *testing.T, kind string) (paths []string) {
	t.Helper()
	crds, err := readCRDs()
	if err != nil {
		t.Fatal(err)
	}
	var walk func(path string, schema map[string]any)
	walk = func(path string, schema map[string]any) {
		if schema["format"] == "date-time" {
			paths = append(paths, path)
		}
		if properties, ok := schema["properties"].(map[string]any); ok {
			for name, property := range properties {
				walk(join(path, name), property.(map[string]any))
			}
		}
		if items, ok := schema["items"].(map[string]any); ok {
			walk(path+"[]", items)
		}
	}
	for _, crd := range crds {
		if name, _, _ := unstructured.NestedString(crd.Object, "spec", "names", "kind"); name == kind {
			versions, _, _ := unstructured.NestedSlice(crd.Object, "spec", "versions")
			schema, _, _ := unstructured.NestedMap(versions[0].(map[string]any), "schema", "openAPIV3Schema")
			walk("", schema)
		}
	}
	slices.Sort(paths)
	return paths
}

// besideTime is the change that the base object needs before a time can be set in a field.
func besideTime(field string) change {
	if field == "spec.callerVerification.rotationRequestedTime" {
		return change{"spec.callerVerification.type": "SharedKey"}
	}
	return unchanged
}

// sender returns a function that sends an object with a time in a field, as a dry run, and returns the stored object.
func sender(t *testing.T, base, field string) func(text string) (*unstructured.Unstructured, error) {
	t.Helper()
	if !strings.HasPrefix(field, "status.") {
		return func(text string) (*unstructured.Unstructured, error) {
			object := besideTime(field).and(change{field: text}).of(t, base)
			return object, admin.Create(t.Context(), object, client.DryRunAll)
		}
	}
	created := unchanged.of(t, base)
	if err := admin.Create(t.Context(), created); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := admin.Delete(context.Background(), created); err != nil {
			t.Error(err)
		}
	})
	return func(text string) (*unstructured.Unstructured, error) {
		object := change{field: text}
		if field == "status.conditions[].lastTransitionTime" {
			c := condition("Ready")
			c["lastTransitionTime"] = text
			object = change{"status.conditions": list{c}}
		}
		updated := object.of(t, base)
		updated.SetResourceVersion(created.GetResourceVersion())
		return updated, admin.Status().Update(t.Context(), updated, client.DryRunAll)
	}
}

// checkDecodes decodes object, encodes it, and decodes it again.
func checkDecodes(t *testing.T, kind, text string, object *unstructured.Unstructured) {
	t.Helper()
	stored, err := object.MarshalJSON()
	if err != nil {
		t.Fatal(err)
	}
	for range 2 {
		var decoded any = &tokensv1alpha1.APIToken{}
		if kind == "AtlassianSite" {
			decoded = &tokensv1alpha1.AtlassianSite{}
		}
		if err := json.Unmarshal(stored, decoded); err != nil {
			t.Errorf("%q was accepted: %v", text, err)
			return
		}
		if stored, err = json.Marshal(decoded); err != nil {
			t.Errorf("%q was accepted: %v", text, err)
			return
		}
	}
	if at, err := time.Parse(time.RFC3339, text); err != nil || !strings.Contains(string(stored), fmt.Sprintf("%q", at.UTC().Format(time.RFC3339))) {
		t.Errorf("%q became %s (%v)", text, stored, err)
	}
}
