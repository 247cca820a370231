package backup

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"

	"filippo.io/age"
	"github.com/spf13/cobra"

	"apitokens.dev/operator/internal/plugin/exit"
)

// minPassphrase is the length of the shortest passphrase. The archive can be copied and tried for ever.
const minPassphrase = 20

// keys are the flags that say with what an archive is encrypted or decrypted.
type keys struct {
	recipients     []string
	recipientFiles []string
	identityFiles  []string
	passphraseFile string
}

func (k *keys) addRecipientsTo(cmd *cobra.Command) {
	f := cmd.Flags()
	f.StringArrayVarP(&k.recipients, "recipient", "r", nil, "encrypt to this public key of age, such as age1...; may be repeated")
	f.StringArrayVarP(&k.recipientFiles, "recipients-file", "R", nil, "encrypt to the public keys in this file, one a line; may be repeated")
	f.StringVar(&k.passphraseFile, "passphrase-file", "", "encrypt with the passphrase on the first line of this file, and to no public key")
}

func (k *keys) addIdentitiesTo(cmd *cobra.Command) {
	f := cmd.Flags()
	f.StringArrayVarP(&k.identityFiles, "identity", "i", nil, "a file with the secret key of age that decrypts the archive; may be repeated")
	f.StringVar(&k.passphraseFile, "passphrase-file", "", "decrypt with the passphrase on the first line of this file")
}

// to returns the recipients of an archive.
func (k *keys) to() (to []age.Recipient, err error) {
	given := len(k.recipients) + len(k.recipientFiles)
	switch {
	case given > 0 && k.passphraseFile != "":
		return nil, exit.Usagef("--passphrase-file goes with no --recipient: age encrypts either with a passphrase or to public keys")
	case k.passphraseFile != "":
		passphrase, err := k.passphrase()
		if err != nil {
			return nil, err
		}
		r, err := age.NewScryptRecipient(passphrase)
		return []age.Recipient{r}, err
	case given == 0:
		return nil, exit.Usagef("for whom? Give --recipient, --recipients-file or --passphrase-file. 'age-keygen -o key.txt' makes a key and prints its recipient")
	}
	for _, text := range k.recipients {
		parsed, err := age.ParseRecipients(strings.NewReader(text))
		if err != nil {
			return nil, exit.Usagef("--recipient: want a public key of age, such as age1... (https://age-encryption.org)")
		}
		to = append(to, parsed...)
	}
	for _, name := range k.recipientFiles {
		text, err := os.ReadFile(name)
		if err != nil {
			return nil, fmt.Errorf("reading the recipients: %w", err)
		}
		parsed, err := age.ParseRecipients(bytes.NewReader(text))
		if err != nil {
			return nil, exit.Usagef("--recipients-file %s: want public keys of age, one a line", name)
		}
		to = append(to, parsed...)
	}
	return to, nil
}

// with returns the identities that may decrypt an archive. No error quotes a file: it has a secret key.
func (k *keys) with() (with []age.Identity, err error) {
	if len(k.identityFiles) == 0 && k.passphraseFile == "" {
		return nil, exit.Usagef("how is it decrypted? Give --identity, or --passphrase-file")
	}
	if k.passphraseFile != "" {
		passphrase, err := k.passphrase()
		if err != nil {
			return nil, err
		}
		i, err := age.NewScryptIdentity(passphrase)
		if err != nil {
			return nil, errors.New("reading the passphrase: it cannot be used")
		}
		with = append(with, i)
	}
	for _, name := range k.identityFiles {
		text, err := os.ReadFile(name)
		if err != nil {
			return nil, fmt.Errorf("reading the identity: %w", err)
		}
		parsed, err := age.ParseIdentities(bytes.NewReader(text))
		switch {
		case bytes.Contains(text, []byte("age-encryption.org")) || bytes.Contains(text, []byte("BEGIN AGE ENCRYPTED FILE")):
			return nil, exit.Usagef("--identity %s: it is encrypted itself: decrypt it first, with 'age -d'", name)
		case err != nil:
			return nil, exit.Usagef("--identity %s: want a secret key of age, as 'age-keygen' writes it", name)
		}
		with = append(with, parsed...)
	}
	return with, nil
}

func (k *keys) passphrase() (string, error) {
	file, err := os.Open(k.passphraseFile)
	if err != nil {
		return "", fmt.Errorf("reading the passphrase: %w", err)
	}
	defer func() { _ = file.Close() }() // it was only read
	text, err := io.ReadAll(io.LimitReader(file, 1<<12))
	if err != nil {
		return "", fmt.Errorf("reading the passphrase: %w", err)
	}
	line, _, _ := strings.Cut(string(text), "\n")
	if line = strings.TrimRight(line, "\r"); len(line) < minPassphrase {
		return "", exit.Usagef("--passphrase-file: its first line has fewer than %d characters: who has the archive can try short ones", minPassphrase)
	}
	return line, nil
}
