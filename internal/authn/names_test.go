package authn

import (
	"fmt"
	"testing"
)

// Steps and their results have names, for logs and failures of tests.
func TestNames(t *testing.T) {
	for named, want := range map[fmt.Stringer]string{
		gatewayRequest: "gateway request", ownAPIRequest: "own API request",
		malformed: "malformed", foreign: "foreign", misplaced: "misplaced", inQuery: "in query", ours: "ours",
		faultless: "faultless", specialCharacter: "special character", ambiguous: "ambiguous",
		classAnonymous: "anonymous", classPassword: "password", classBearer: "bearer", classSession: "session",
		ActionForward: "forward", ActionObserve: "observe", ActionRefuse: "refuse",
	} {
		if got := named.String(); got != want {
			t.Errorf("%T is called %q, want %q", named, got, want)
		}
	}
}
