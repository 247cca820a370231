package apitoken

import (
	"go/ast"
	"go/parser"
	"go/token"
	"strconv"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// Every reason of an APIToken is either in this table, or needs a person.
func TestStalled(t *testing.T) {
	want := map[string]bool{}
	for _, reason := range reasons(t, "Reasons of an APIToken's Ready condition.") {
		want[reason] = true
	}
	for _, reason := range []string{"Suspended", "UserBlocked", "Expired", "SiteNotFound", "SourceMissing", "IssuePending", "EpochPending"} {
		if !want[reason] {
			t.Errorf("there is no reason %s", reason)
		}
		want[reason] = false
	}
	got := map[string]bool{}
	for reason := range want {
		got[reason] = outcome{decision: decision{step: blocked, reason: reason}}.stalled()
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("stalled (-want +got):\n%s", diff)
	}
	if (outcome{decision: decision{step: settled, reason: "Issued"}}).stalled() {
		t.Error("an issued token is stalled")
	}
}

// reasons returns the constants in the group of conditions.go with this comment.
func reasons(t *testing.T, group string) (values []string) {
	t.Helper()
	file, err := parser.ParseFile(token.NewFileSet(), "../../api/v1alpha1/conditions.go", nil, parser.ParseComments)
	if err != nil {
		t.Fatal(err)
	}
	for _, d := range file.Decls {
		constants, ok := d.(*ast.GenDecl)
		if !ok || constants.Doc.Text() != group+"\n" {
			continue
		}
		for _, spec := range constants.Specs {
			value, err := strconv.Unquote(spec.(*ast.ValueSpec).Values[0].(*ast.BasicLit).Value)
			if err != nil {
				t.Fatal(err)
			}
			values = append(values, value)
		}
	}
	if len(values) == 0 {
		t.Fatalf("there is no group %q", group)
	}
	return values
}
