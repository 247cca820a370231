package main

import (
	"crypto/ed25519"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/spf13/cobra"

	"apitokens.dev/operator/internal/license"
)

func TestLicenseKeys(t *testing.T) {
	private := ed25519.NewKeyFromSeed([]byte(strings.Repeat("a", ed25519.SeedSize)))
	public, err := license.EncodeKey(private.Public().(ed25519.PublicKey))
	if err != nil {
		t.Fatal(err)
	}
	file := filepath.Join(t.TempDir(), "keys.pem")
	if err := os.WriteFile(file, public, 0o600); err != nil {
		t.Fatal(err)
	}
	signed, err := license.License{Licensee: "Example Inc.", Products: []string{"Jira"}, Expires: time.Now()}.Sign(private)
	if err != nil {
		t.Fatal(err)
	}
	v, err := (&licenseKeys{file}).verifier()
	if err != nil {
		t.Fatal(err)
	}
	if l, err := v.Verify(signed); err != nil || l.Licensee != "Example Inc." {
		t.Errorf("read %+v, %v", l, err)
	}
	if v, err := (&licenseKeys{}).verifier(); v != nil || err != nil {
		t.Errorf("without the flag: %v, %v", v, err)
	}
}

// If the file cannot be read, the process does not start.
func TestLicenseKeysRefuse(t *testing.T) {
	dir := t.TempDir()
	for name, text := range map[string]string{"empty": "", "words": "a key"} {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	for _, name := range []string{"empty", "words", "not there", "."} {
		v, err := (&licenseKeys{filepath.Join(dir, name)}).verifier()
		if v != nil || err == nil || !strings.Contains(err.Error(), "reading the keys of --license-public-keys: ") {
			t.Errorf("%s: %v, %v", name, v, err)
		}
	}
}

// Every mode has the flag. Otherwise the processes could disagree about licences.
func TestEveryModeHasTheLicenseFlag(t *testing.T) {
	for _, mode := range []*cobra.Command{newController().cmd, newWebhook().cmd, newPortal().cmd, newRunCommand()} {
		if mode.Flags().Lookup("license-public-keys") == nil {
			t.Errorf("%s has no flag --license-public-keys", mode.Name())
		}
	}
}
