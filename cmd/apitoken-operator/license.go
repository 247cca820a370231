package main

import (
	"fmt"
	"os"

	"github.com/spf13/cobra"

	"apitokens.dev/operator/internal/license"
)

// licenseKeys is a flag of every mode: a file with the keys that licences are verified with. Without it, none are needed.
type licenseKeys struct{ file string }

func (k *licenseKeys) addTo(cmd *cobra.Command) {
	cmd.Flags().StringVar(&k.file, "license-public-keys", "",
		"file with the public keys, in PEM, that licences of sites are verified with; without it no site needs a licence")
}

// verifier reads the keys, once. It is nil if there are none to read.
func (k *licenseKeys) verifier() (*license.Verifier, error) {
	if k.file == "" {
		return nil, nil
	}
	text, err := os.ReadFile(k.file)
	if err != nil {
		return nil, fmt.Errorf("reading the keys of --license-public-keys: %w", err)
	}
	keys, err := license.ParseKeys(text)
	if err != nil {
		return nil, fmt.Errorf("reading the keys of --license-public-keys: %s: %w", k.file, err)
	}
	return license.NewVerifier(keys...), nil
}
