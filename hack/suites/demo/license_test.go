package main

import (
	"crypto/ed25519"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"apitokens.dev/operator/internal/license"
)

// issuer issues licences. An operator that is started with its file of public keys accepts them.
type issuer struct {
	key    ed25519.PrivateKey
	public string
}

func newIssuer(t *testing.T) issuer {
	t.Helper()
	i := issuer{key: ed25519.NewKeyFromSeed([]byte(strings.Repeat("a", ed25519.SeedSize))), public: filepath.Join(t.TempDir(), "keys.pem")}
	text, err := license.EncodeKey(i.key.Public().(ed25519.PublicKey))
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(i.public, text, 0o600); err != nil {
		t.Fatal(err)
	}
	return i
}

func (i issuer) issue(t *testing.T, until time.Time, products ...string) string {
	t.Helper()
	text, err := license.License{Licensee: "Example Inc.", Products: products, Expires: until}.Sign(i.key)
	if err != nil {
		t.Fatal(err)
	}
	return text
}

// licenses takes a site from no licence to a valid one. Tokens are refused until then, with a message for the user, and
// requests without a token pass.
func (s *story) licenses(t *testing.T, ours issuer) {
	others := issuer{key: ed25519.NewKeyFromSeed([]byte(strings.Repeat("b", ed25519.SeedSize)))}
	later := time.Now().Add(time.Hour)
	password := expect{ask: ask{password: "no token"}, want: toProduct}
	refused := func(reason string) []expect {
		return []expect{
			{want: "403 " + reason}, password,
			{ask: ask{user: "bob"}, want: "401"},
			{ask: ask{path: "/rest/pat/latest/tokens"}, want: "403 CredentialPath"},
		}
	}
	s.await(t, refused("InvalidLicenseMissing")...)
	for _, step := range []struct{ name, license, reason string }{
		{"words", "not a licence", "InvalidLicenseMalformed"},
		{"signed-by-others", others.issue(t, later, "Jira"), "InvalidLicenseWrongSignature"},
		{"expired", ours.issue(t, time.Now().Add(-time.Second), "Jira"), "InvalidLicenseExpired"},
		{"for-confluence", ours.issue(t, later, "Confluence"), "InvalidLicenseWrongProduct"},
	} {
		s.license(t, step.name, step.license)
		s.await(t, refused(step.reason)...)
	}
	s.license(t, "valid", ours.issue(t, later, "Jira"))
	s.await(t, expect{want: "200"}, password, expect{ask: ask{method: http.MethodPost}, want: "200"})
	s.kubectlOrFail(t, "admin", "", "wait", "atlassiansite/main", "--for=condition=Licensed", "--timeout", settleTimeout.String())
	s.countsBy(t, "InvalidLicenseMissing", "InvalidLicenseMalformed", "InvalidLicenseWrongSignature", "InvalidLicenseExpired", "InvalidLicenseWrongProduct")
}

// countsBy checks that the webhook has counted refusals for each of these reasons.
func (s *story) countsBy(t *testing.T, reasons ...string) {
	t.Helper()
	response, err := http.Get(s.MetricsURL)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = response.Body.Close() }()
	body, err := io.ReadAll(response.Body)
	if err != nil {
		t.Fatal(err)
	}
	for _, reason := range reasons {
		if !strings.Contains(string(body), `apitoken_authentications_total{outcome="forbidden",reason="`+reason+`",site="jira/main"}`) {
			t.Errorf("%s is not counted", reason)
		}
	}
}

// license puts a licence into a Secret of this name, and the site refers to it: the operator reads it at once.
func (s *story) license(t *testing.T, name, text string) {
	t.Helper()
	s.kubectlOrFail(t, "admin", "", "create", "secret", "generic", name, "--from-literal=license="+text)
	s.patchSpec(t, "admin", "atlassiansite/main", fields{"licenseSecretRef": fields{"name": name}})
}
