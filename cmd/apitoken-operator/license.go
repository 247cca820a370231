package main

import (
	"fmt"
	"os"

	"github.com/spf13/cobra"

	"apitokens.dev/operator/internal/license"
)

// licenseKeys is the flag for a file of public keys that verify licences. Every mode has it. Without it, no site needs a
// licence.
type licenseKeys struct{ file string }

func (k *licenseKeys) addTo(cmd *cobra.Command) {
	cmd.Flags().StringVar(&k.file, "license-public-keys", "",
		"PEM file with the public keys that verify the licences of sites; without it, no site needs a licence")
}

// verifier reads the file. It returns nil if the flag is not set.
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
