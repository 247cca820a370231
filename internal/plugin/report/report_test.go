package report

import (
	"bytes"
	"encoding/csv"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	tokensv1alpha1 "apitokens.dev/operator/api/v1alpha1"
)

func line(verdict, id, method, path, client string) string {
	return fmt.Sprintf(`{"msg":"x","verdict":%q,"tokenID":%q,"method":%q,"path":%q,"client":%q}`+"\n", verdict, id, method, path, client)
}

// What a log says about a token: its requests by kind of path, and its clients. Refusals do not count.
func TestCount(t *testing.T) {
	log := "no JSON\n" + line("allow", "asp_a", "GET", "/rest/api/2/issue/ABC-12", "10.0.0.1") + line("allow", "asp_a", "GET", "/rest/api/2/issue/XY2-7", "10.0.0.2") +
		line("allow", "asp_a", "PUT", "/rest/x/1/2/3", "10.0.0.1") + line("unauthorized", "asp_a", "GET", "/rest/refused", "10.0.0.9") +
		line("allow", "asp_b", "", "/rest/board/42", "10.0.0.3")
	seen, err := count(strings.NewReader(log))
	if err != nil {
		t.Fatal(err)
	}
	for id, want := range map[string][3]string{
		"asp_a": {"3", "GET /rest/api/2/issue/KEY; PUT /rest/x/N/N/N", "10.0.0.1; 10.0.0.2"},
		"asp_b": {"1", "/rest/board/N", "10.0.0.3"},
		"asp_c": {"0", "", ""},
	} {
		var got [3]string
		got[0], got[1], got[2] = seen[id].cells()
		if got != want {
			t.Errorf("%s: got %q, want %q", id, got, want)
		}
	}
	many := map[string]int{}
	for i := range 25 {
		many[fmt.Sprintf("p%02d", i)] = i
	}
	if got := most(many); !strings.HasPrefix(got, "p24; p23; ") || !strings.HasSuffix(got, "; and 5 more") {
		t.Errorf("got %s", got)
	}
}

// Every column has its cell. What nobody knows is said to be unknown, and no cell is a formula.
func TestInventory(t *testing.T) {
	token := tokensv1alpha1.APIToken{
		ObjectMeta: metav1.ObjectMeta{Namespace: "team", Name: "ci", CreationTimestamp: metav1.NewTime(time.Unix(0, 0))},
		Spec: tokensv1alpha1.APITokenSpec{
			SiteRef: tokensv1alpha1.SiteReference{Name: "main", Namespace: "jira"}, User: "alice", Label: `=HYPERLINK("x"), "y"`, Access: "ReadOnly",
			Credential: tokensv1alpha1.Credential{Type: "Generated"}, AllowedPaths: []string{"/a", "/b"}, AllowedSources: []string{"10.0.0.0/8"},
			CreatedBy: tokensv1alpha1.CreatedBy{TokenID: "asp_parent"},
		},
		Status: tokensv1alpha1.APITokenStatus{TokenID: "asp_a", LastAccessedTime: metav1.NewTime(time.Unix(86400, 0)), LastAccessedFrom: "10.0.0.1"},
	}
	seen, err := count(strings.NewReader(line("allow", "asp_a", "GET", "/rest/x", "10.0.0.1")))
	if err != nil {
		t.Fatal(err)
	}
	known := []string{
		"alice", `'=HYPERLINK("x"), "y"`, "jira/main", "asp_a", "team/ci", "Generated", "ReadOnly", "1970-01-01T00:00:00Z", "1970-01-02T00:00:00Z", "10.0.0.1",
		"never", "/a /b", "10.0.0.0/8", "asp_parent",
	}
	for name, tc := range map[string]struct {
		logged bool
		want   []string
	}{
		"without a log": {false, []string{unknown, unknown, unknown}},
		"with a log":    {true, []string{"1", "GET /rest/x", "10.0.0.1"}},
	} {
		var out bytes.Buffer
		if err := writeCSV(&out, inventory([]tokensv1alpha1.APIToken{token}, seen, tc.logged)); err != nil {
			t.Fatal(err)
		}
		lines, err := csv.NewReader(&out).ReadAll()
		if err != nil || len(lines) != 2 || len(lines[0]) != len(lines[1]) {
			t.Fatalf("%s: %v: %q", name, err, lines)
		}
		if diff := cmp.Diff(slices.Concat(known, tc.want), lines[1]); diff != "" {
			t.Errorf("%s: %s", name, diff)
		}
	}
}
