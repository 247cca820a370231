package v1alpha1_test

import (
	"encoding/json"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	tokensv1alpha1 "apitokens.dev/operator/api/v1alpha1"
)

// An object that cannot be decoded is marked as such, and its list and neighbours are decoded as before.
func TestMalformedIsAMarkAndNoError(t *testing.T) {
	const good = `{"metadata":{"name":"good","uid":"1"},"spec":{"user":"bob","lifetimeDays":3},"status":{"tokenID":"x"}}`
	for name, test := range map[string]struct {
		item string
		want tokensv1alpha1.APIToken
		mark string
	}{
		"a time": {`{"spec":{"siteRef":{"name":"main"},"user":"alice","label":"x","expirationTime":"2027-06-30t00:00:00z"},"status":{"tokenID":"a"}}`,
			token("main", "alice", "a"), "decoding `spec`: parsing time"},
		"a number":            {`{"spec":{"siteRef":{"name":"main"},"user":"alice","lifetimeDays":"3"}}`, token("main", "alice", ""), "decoding `spec`: "},
		"a large number":      {`{"spec":{"user":"alice","lifetimeDays":1e40}}`, token("", "alice", ""), "decoding `spec`: "},
		"a name":              {`{"spec":{"siteRef":{"name":"main"},"user":["alice"]}}`, token("main", "", ""), "decoding `spec`: "},
		"a spec of text":      {`{"spec":"none","status":{"tokenID":"a"}}`, token("", "", "a"), "decoding `spec`: "},
		"a long value":        {`{"spec":{"expirationTime":"` + strings.Repeat("é", 500) + `"}}`, token("", "", ""), "decoding `spec`: "},
		"a status":            {`{"spec":{"user":"alice"},"status":{"tokenID":"a","issuedTime":"now"}}`, token("", "alice", ""), ""},
		"a status of numbers": {`{"spec":{"user":"alice"},"status":[1]}`, token("", "alice", ""), ""},
		"nothing":             {`{}`, token("", "", ""), ""},
		"null":                {`{"spec":null,"status":null}`, token("", "", ""), ""},
	} {
		t.Run(name, func(t *testing.T) {
			test.item = strings.Replace(test.item, "{", `{"metadata":{"name":"bad","uid":"2","creationTimestamp":null},`, 1)
			test.item = strings.Replace(test.item, ",}", "}", 1)
			var list tokensv1alpha1.APITokenList
			if err := json.Unmarshal([]byte(`{"items":[`+good+`,`+test.item+`,`+good+`]}`), &list); err != nil {
				t.Fatal(err)
			}
			if len(list.Items) != 3 || list.Items[0].Spec.User != "bob" || !cmp.Equal(list.Items[0], list.Items[2]) || list.Items[0].Malformed != "" {
				t.Errorf("the neighbours: %+v", list.Items)
			}
			got := list.Items[1]
			if got.UID != "2" || !strings.HasPrefix(got.Malformed, test.mark) || (test.mark == "") != (got.Malformed == "") || len(got.Malformed) > 256 {
				t.Errorf("UID %q, malformed: %q", got.UID, got.Malformed)
			}
			if diff := cmp.Diff(test.want.Spec, got.Spec); diff != "" {
				t.Errorf("spec (-want +got):\n%s", diff)
			}
			if diff := cmp.Diff(test.want.Status, got.Status); diff != "" {
				t.Errorf("status (-want +got):\n%s", diff)
			}
		})
	}
}

func token(site, user, id string) (t tokensv1alpha1.APIToken) {
	t.Spec.SiteRef.Name, t.Spec.User, t.Status.TokenID = site, user, id
	return t
}

func TestMalformedSite(t *testing.T) {
	var list tokensv1alpha1.AtlassianSiteList
	text := `{"items":[{"metadata":{"uid":"1"},"spec":{"product":"Jira","issuedAfter":"2027-06-30t00:00:00z"},"status":{"authURLSecretName":"a"}},
		{"spec":{"product":"Jira"},"status":{"conditions":[{"lastTransitionTime":"now"}]}}]}`
	if err := json.Unmarshal([]byte(text), &list); err != nil {
		t.Fatal(err)
	}
	bad, good := list.Items[0], list.Items[1]
	if bad.UID != "1" || bad.Malformed == "" || bad.Spec.Product != "" || bad.Status.AuthURLSecretName != "a" {
		t.Errorf("malformed: %+v", bad)
	}
	if good.Malformed != "" || good.Spec.Product != "Jira" || len(good.Status.Conditions) > 0 {
		t.Errorf("not malformed: %+v", good)
	}
}
