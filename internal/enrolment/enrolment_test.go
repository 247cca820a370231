package enrolment_test

import (
	"strings"
	"testing"
	"time"

	"apitokens.dev/operator/internal/enrolment"
	"apitokens.dev/operator/internal/upstream"
)

func TestStoredForm(t *testing.T) {
	full := enrolment.Enrolment{
		Namespace: "jira", Site: "main", User: "alice", State: enrolment.Held, UserKey: "JIRAUSER1", PAT: 7,
		Checked: time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC), Intake: "intake-x",
	}
	for name, e := range map[string]enrolment.Enrolment{
		"full": full, "least": {Namespace: "jira", Site: "main", User: "alice", State: enrolment.None},
	} {
		b, err := e.Encode()
		if err != nil {
			t.Fatal(err)
		}
		if got, err := enrolment.Decode(b); err != nil || got != e {
			t.Errorf("%s: got %+v, %v", name, got, err)
		}
	}
	if full.SecretName() != enrolment.OfCopy(upstream.SecretName("jira", "main", "alice")) || full.SecretName() == enrolment.SecretName("jira", "main", "bob") {
		t.Errorf("name %s", full.SecretName())
	}
}

func TestDecodeRefuses(t *testing.T) {
	const good = `{"namespace":"jira","site":"main","user":"alice","state":"Held"}`
	if _, err := enrolment.Decode([]byte(good)); err != nil {
		t.Fatal(err)
	}
	for _, change := range [][2]string{
		{`"Held"`, `"Sold"`}, {`"Held"`, `""`}, {`alice`, ``}, {`alice`, `Alice`}, {`jira`, ``}, {`main`, ``}, {`}`, ``}, {`"alice"`, `7`},
	} {
		if e, err := enrolment.Decode([]byte(strings.Replace(good, change[0], change[1], 1))); err == nil {
			t.Errorf("%s for %s: read %+v", change[1], change[0], e)
		}
	}
}

// Only what the gateway can hand over is usable.
func TestUsable(t *testing.T) {
	for state, want := range map[enrolment.State]bool{
		enrolment.None: false, enrolment.Pending: false, enrolment.Held: true, enrolment.Given: true, enrolment.Ended: false, "": false,
	} {
		if got := (enrolment.Enrolment{State: state}).Usable(); got != want {
			t.Errorf("%s: %t", state, got)
		}
	}
}
