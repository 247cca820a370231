// Command license creates signing keys and issues licences in the format of internal/license, for tests and for trying
// the operator with licences.
package main

import (
	"crypto/ed25519"
	"crypto/rand"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"fmt"
	"io"
	"os"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"

	tokensv1alpha1 "apitokens.dev/operator/api/v1alpha1"
	"apitokens.dev/operator/internal/license"
)

func main() {
	if err := newCommand().Execute(); err != nil {
		fmt.Fprintln(os.Stderr, "license:", err)
		os.Exit(1)
	}
}

func newCommand() *cobra.Command {
	root := &cobra.Command{
		Use:   "license",
		Short: "Make keys for licences, and issue licences",
		Long: "Make keys for licences, and issue licences.\n\n" +
			"The operator is started with the public key (--license-public-keys). Anyone who has the private key can issue licences.",
		Example: "  license keygen --private-key private.pem --public-key public.pem\n" +
			"  license issue --private-key private.pem --licensee 'Example Inc.' --product Jira --days 365 > license.jws\n" +
			"  kubectl create secret generic jira-license --from-file=license=license.jws",
		SilenceUsage:  true,
		SilenceErrors: true,
	}
	root.AddCommand(newKeygenCommand(), newIssueCommand())
	return root
}

func newKeygenCommand() *cobra.Command {
	var private, public string
	cmd := &cobra.Command{
		Use:   "keygen",
		Short: "Make a private key to issue licences with, and the public one to verify them with",
		Args:  cobra.NoArgs,
		RunE: func(*cobra.Command, []string) error {
			return keygen(private, public)
		},
	}
	cmd.Flags().StringVar(&private, "private-key", "license-private.pem", "file to write the private key to; it must not be there yet")
	cmd.Flags().StringVar(&public, "public-key", "license-public.pem", "file to write the public key to; it must not be there yet")
	return cmd
}

func keygen(private, public string) error {
	verifies, signs, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		return fmt.Errorf("making a key: %w", err)
	}
	der, err := x509.MarshalPKCS8PrivateKey(signs)
	if err != nil {
		return fmt.Errorf("encoding the private key: %w", err)
	}
	text, err := license.EncodeKey(verifies)
	if err != nil {
		return err
	}
	if err := writeNew(private, pem.EncodeToMemory(&pem.Block{Type: privateKey, Bytes: der}), 0o600); err != nil {
		return fmt.Errorf("writing the private key: %w", err)
	}
	if err := writeNew(public, text, 0o644); err != nil {
		return fmt.Errorf("writing the public key: %w", err)
	}
	return nil
}

const privateKey = "PRIVATE KEY"

// writeNew writes a new file. It never replaces a key, because licences may be signed with it.
func writeNew(path string, text []byte, mode os.FileMode) error {
	f, err := os.OpenFile(path, os.O_WRONLY|os.O_CREATE|os.O_EXCL, mode)
	if err != nil {
		return err
	}
	_, err = f.Write(text)
	return errors.Join(err, f.Close())
}

// terms are the claims of a licence.
type terms struct {
	licensee string
	products []string
	days     int
	expires  string
}

func newIssueCommand() *cobra.Command {
	var key string
	var t terms
	cmd := &cobra.Command{
		Use:   "issue",
		Short: "Print a licence",
		Args:  cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			return issue(cmd.OutOrStdout(), key, t, time.Now())
		},
	}
	f := cmd.Flags()
	f.StringVar(&key, "private-key", "license-private.pem", "file with the private key")
	f.StringVar(&t.licensee, "licensee", "", "whose licence it is")
	f.StringSliceVar(&t.products, "product", nil, strings.Join(products(), " or ")+", for each product that it is for")
	f.IntVar(&t.days, "days", 0, "for how many days it is good")
	f.StringVar(&t.expires, "expires", "", "or until when, such as 2027-12-31T00:00:00Z, which may lie in the past")
	cmd.MarkFlagsOneRequired("days", "expires")
	cmd.MarkFlagsMutuallyExclusive("days", "expires")
	return cmd
}

func issue(out io.Writer, key string, t terms, now time.Time) error {
	private, err := readPrivateKey(key)
	if err != nil {
		return fmt.Errorf("reading the private key: %w", err)
	}
	for _, p := range t.products {
		if !slices.Contains(products(), p) {
			return fmt.Errorf("there is no product %q: want %s", p, strings.Join(products(), " or "))
		}
	}
	ends := now.Add(time.Duration(t.days) * 24 * time.Hour)
	if t.expires != "" {
		if ends, err = time.Parse(time.RFC3339, t.expires); err != nil {
			return fmt.Errorf("reading --expires: %w", err)
		}
	} else if t.days < 1 {
		return fmt.Errorf("%d days: want at least 1", t.days)
	}
	text, err := license.License{Licensee: t.licensee, Products: t.products, Expires: ends}.Sign(private)
	if err != nil {
		return err
	}
	_, err = fmt.Fprintln(out, text)
	return err
}

func readPrivateKey(path string) (ed25519.PrivateKey, error) {
	text, err := os.ReadFile(path)
	if err != nil {
		return nil, err
	}
	block, _ := pem.Decode(text)
	if block == nil || block.Type != privateKey {
		return nil, fmt.Errorf("%s: want a %s in PEM", path, privateKey)
	}
	parsed, err := x509.ParsePKCS8PrivateKey(block.Bytes)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", path, err)
	}
	key, ok := parsed.(ed25519.PrivateKey)
	if !ok {
		return nil, fmt.Errorf("%s: want a key of Ed25519", path)
	}
	return key, nil
}

func products() []string {
	return []string{string(tokensv1alpha1.ProductJira), string(tokensv1alpha1.ProductConfluence)}
}
