package v1alpha1_test

import (
	"fmt"
	"maps"
	"slices"
	"strings"
	"testing"

	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/util/json"
)

// A schemaCase is what the schema of a kind says to one accepted and one refused object. Each is the base object of the
// kind with a change. Of several changes the first is created, and each of the others is an update of the one before.
type schemaCase struct {
	name              string
	accepted, refused []change
	// want is a part of the message of the refusal.
	want string
}

// A kindCases is the base object of a kind, in JSON, and the cases of its schema.
type kindCases struct {
	base  string
	cases []schemaCase
}

var kinds = map[string]kindCases{
	"APIToken":      {base: apiToken, cases: apiTokenCases},
	"AtlassianSite": {base: atlassianSite, cases: atlassianSiteCases},
}

// A change sets fields, named by their path, of an object. The value nil removes the field.
type change map[string]any

type (
	fields = map[string]any
	list   = []any
)

// unchanged leaves the base object as it is.
var unchanged = change{}

func (c change) and(more change) change {
	all := maps.Clone(c)
	maps.Copy(all, more)
	return all
}

// of returns the object that base becomes by the change.
func (c change) of(t *testing.T, base string) *unstructured.Unstructured {
	t.Helper()
	object := &unstructured.Unstructured{}
	if err := json.Unmarshal([]byte(base), &object.Object); err != nil {
		t.Fatal(err)
	}
	for path, value := range normalized(t, c) {
		names := strings.Split(path, ".")
		if value == nil {
			unstructured.RemoveNestedField(object.Object, names...)
		} else if err := unstructured.SetNestedField(object.Object, value, names...); err != nil {
			t.Fatal(err)
		}
	}
	return object
}

// normalized returns a copy of c with the types that values of an unstructured object have.
func normalized(t *testing.T, c change) (copied change) {
	t.Helper()
	text, err := json.Marshal(c)
	if err != nil {
		t.Fatal(err)
	}
	if err := json.Unmarshal(text, &copied); err != nil {
		t.Fatal(err)
	}
	return copied
}

// A row is an accepted and a refused value of one field.
type row struct {
	name              string
	accepted, refused any
	want              string
}

type rows = []row

// keep as the value of a row leaves the field as it is in the base object.
var keep = &struct{}{}

// field makes a case of creation of each row about the field at path.
func field(path string, rows rows) []schemaCase { return fieldOf(unchanged, path, rows) }

// fieldOf is field for a base object with a change.
func fieldOf(base change, path string, rows rows) (cases []schemaCase) {
	for _, row := range rows {
		cases = append(cases, schemaCase{
			name:     path + "/" + row.name,
			accepted: []change{withValue(base, path, row.accepted)},
			refused:  []change{withValue(base, path, row.refused)},
			want:     row.want,
		})
	}
	return cases
}

// statusField is field for updates of the status.
func statusField(path string, rows rows) (cases []schemaCase) {
	for _, c := range field(path, rows) {
		c.accepted, c.refused = slices.Insert(c.accepted, 0, unchanged), slices.Insert(c.refused, 0, unchanged)
		cases = append(cases, c)
	}
	return cases
}

func withValue(base change, path string, value any) change {
	if value == keep {
		return base
	}
	return base.and(change{path: value})
}

// numbered returns n values: the format with the numbers from first on.
func numbered(first, n int, format string) (values list) {
	for i := range n {
		values = append(values, fmt.Sprintf(format, first+i))
	}
	return values
}

// withTimes adds to rows those that every field with a time has.
func withTimes(name string, rows rows) rows {
	want := fmt.Sprintf("`%s` must be a time such as '2026-01-31T12:00:00Z'", name)
	return append(rows, row{"lower-case", "2027-06-30T00:00:00Z", "2027-06-30t00:00:00z", want},
		row{"too-early", "1000-01-01T00:00:00Z", "0999-12-31T23:59:59Z", want},
		row{"too-late", "9999-12-31T23:59:59Z", "9999-12-31T23:59:59-00:01", want})
}

func condition(kind string) fields {
	return fields{"type": kind, "status": "True", "reason": "Issued", "message": "", "lastTransitionTime": "2026-01-01T00:00:00Z"}
}

func numberedConditions(n int) (conditions list) {
	for _, kind := range numbered(1, n, "Condition%d") {
		conditions = append(conditions, condition(kind.(string)))
	}
	return conditions
}

// wantSource is the refusal of an element of allowedSources.
const wantSource = "each of `allowedSources` must be a network such as '10.0.0.0/8' or '2001:db8::1/128', with no bit set after its prefix"

// allowedSources are the rows of the field of that name, which both kinds have.
var allowedSources = rows{
	{"address", list{"10.0.0.1/32"}, list{"10.0.0.1"}, wantSource},
	{"bits-after-the-prefix", list{"10.0.0.0/8"}, list{"10.0.0.1/8"}, wantSource},
	{"empty", list{"0.0.0.0/0"}, list{}, "spec.allowedSources: Invalid value: 0: spec.allowedSources in body should have at least 1 items"},
	{"element-empty", list{"::/0"}, list{""}, `spec.allowedSources[0]: Invalid value: "": spec.allowedSources[0] in body should be at least 1 chars long`},
	{"ipv4-in-ipv6", list{"2001:db8::/32"}, list{"::ffff:10.0.0.0/104"}, wantSource},
	{"prefix-too-long", list{"10.0.0.0/32"}, list{"10.0.0.0/33"}, wantSource},
	{"too-long", list{"2001:db8:1111:2222:3333:4444:5555:6666/128"}, list{strings.Repeat("0", 61) + "::/8"}, "spec.allowedSources[0]: Too long: may not be more than 64 bytes"},
	{"too-many", numbered(0, 32, "10.%d.0.0/16"), numbered(0, 33, "10.%d.0.0/16"), "spec.allowedSources: Too many: 33: must have at most 32 items"},
	{"twice", list{"10.0.0.0/8", "10.0.0.0/9"}, list{"10.0.0.0/8", "10.0.0.0/8"}, `spec.allowedSources[1]: Duplicate value: "10.0.0.0/8"`},
}

// conditions are the rows of the field of that name in the status of both kinds.
var conditions = rows{
	{
		"transition-too-early", list{condition("Ready")}, list{fields{"type": "Ready", "status": "True", "reason": "Issued", "message": "", "lastTransitionTime": "0001-01-01T00:00:00Z"}},
		"`lastTransitionTime` must be a time such as '2026-01-31T12:00:00Z'",
	},
	{"condition-twice", list{condition("Ready"), condition("Condition2")}, list{condition("Ready"), condition("Ready")}, "status.conditions[1]: Duplicate value: "},
	{"too-many", numberedConditions(8), numberedConditions(9), "status.conditions: Too many: 9: must have at most 8 items"},
}
