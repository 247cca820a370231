package projection_test

import (
	"os"
	"strings"
	"testing"
	"time"

	"apitokens.dev/operator/hack/lib/formtest"
	"apitokens.dev/operator/internal/projection"
)

func TestDecodeReadsWhatEncodeWrote(t *testing.T) {
	for name, want := range map[string]projection.Projection{
		"all of it":       {Namespace: "jira", Site: "main", UpstreamCAs: "-----BEGIN CERTIFICATE-----\nMIIB+/=\n-----END CERTIFICATE-----\n", License: "a.b.c"},
		"nothing to hold": {Namespace: "jira", Site: "main"},
		"who it is":       {Namespace: "jira", Site: "main", UID: "a-b-c", IssuedAfter: time.Date(2027, 1, 2, 3, 4, 5, 6, time.UTC)},
		"no licence":      {Namespace: "jira", Site: "main", License: "<what> & \u2028 \"this\"\x00 is"},
	} {
		b, err := want.Encode()
		if err != nil {
			t.Fatal(err)
		}
		if got, err := projection.Decode(b); err != nil || got != want {
			t.Errorf("%s: read %+v, %v", name, got, err)
		}
	}
}

func TestDecodeRefuses(t *testing.T) {
	for name, text := range map[string]string{
		"nothing":         ``,
		"truncated":       `{"namespace":"jira","site":"main"`,
		"no namespace":    `{"namespace":"","site":"main"}`,
		"no site":         `{"namespace":"jira","site":""}`,
		"a field twice":   `{"namespace":"jira","site":"main","license":"a","license":"b"}`,
		"a later version": `{"version":2,"namespace":"jira","site":"main"}`,
	} {
		if got, err := projection.Decode([]byte(text)); err == nil || got != (projection.Projection{}) || !strings.Contains(err.Error(), "the projection of a site") {
			t.Errorf("%s: read %+v, %v", name, got, err)
		}
	}
}

// A rolling update or a rollback has readers of two minor versions.
func TestProjectionToleratesAdditions(t *testing.T) {
	encoded, err := projection.Projection{
		Namespace: "jira", Site: "main", UID: "a-b-c", IssuedAfter: time.Date(2027, 1, 2, 3, 4, 5, 0, time.UTC),
		LimitsSince: time.Date(2027, 1, 2, 3, 4, 5, 0, time.UTC), UpstreamURL: "https://jira.jira.svc", UpstreamCAs: "-----BEGIN CERTIFICATE-----\n", License: "a.b.c",
	}.Encode()
	if err != nil {
		t.Fatal(err)
	}
	formtest.Check(t, encoded, projection.Decode)
	later, err := os.ReadFile("testdata/later.json")
	if err != nil {
		t.Fatal(err)
	}
	if p, err := projection.Decode(later); err != nil || p.License != "a.b.c" || p.SecretName() != "site.jira.main" {
		t.Errorf("read %+v, %v", p, err)
	}
}

func TestSecretNamesDiffer(t *testing.T) {
	longest := strings.Repeat("x", 63)
	a, b := projection.Projection{Namespace: "a", Site: "b.c"}.SecretName(), projection.SecretName("a-b", "c")
	if a != "site.a.b.c" || b != "site.a-b.c" || len(projection.SecretName(longest, longest)) > 253 {
		t.Errorf("%q and %q", a, b)
	}
}
