package selfservice_test

import (
	"testing"

	"github.com/google/go-cmp/cmp"

	"apitokens.dev/operator/webhook/portal/selfservice"
)

// Messages of the schema are shown without the value.
func TestSchemaProblem(t *testing.T) {
	for name, tc := range map[string]struct {
		field, message string
		want           selfservice.Problem
	}{
		"a rule": {"spec.label", "Invalid value: \"secret\": `label` must not be blank",
			selfservice.Problem{Kind: selfservice.Invalid, Field: "label", Message: "label is not valid: label must not be blank."}},
		"a rule for all": {"spec", "Invalid value: \"object\": only one of `lifetimeDays` and `expirationTime` may be given",
			selfservice.Problem{Kind: selfservice.Invalid, Message: "The API token is not valid: only one of lifetimeDays and expiresAt may be given."}},
		"an entry": {"spec.allowedPaths[3]", "Invalid value: \"secret\": each of `allowedPaths` must be a path",
			selfservice.Problem{Kind: selfservice.Invalid, Field: "allowedPaths", Message: "allowedPaths is not valid: each of allowedPaths must be a path."}},
		"a time": {"spec.expirationTime", "Invalid value: \"secret\": must be a time",
			selfservice.Problem{Kind: selfservice.Invalid, Field: "expiresAt", Message: "expiresAt is not valid: must be a time."}},
		"the owner": {"spec.user", "Invalid value: \"Ärger\": `user` must not contain ':'",
			selfservice.Problem{Kind: selfservice.Conflict, Message: "Your user name cannot have API tokens: user must not contain ':'."}},
	} {
		if got := selfservice.SchemaProblem(tc.field, tc.message); !cmp.Equal(*got, tc.want) {
			t.Errorf("%s: %+v, want %+v", name, *got, tc.want)
		}
	}
}
