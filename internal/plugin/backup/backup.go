package backup

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io/fs"
	"os"

	"github.com/spf13/cobra"

	"apitokens.dev/operator/internal/plugin/archive"
	"apitokens.dev/operator/internal/plugin/exit"
	"apitokens.dev/operator/internal/plugin/output"
	"apitokens.dev/operator/internal/plugin/session"
	"apitokens.dev/operator/internal/version"
)

// namespaces are the flags that say where the operator keeps its Secrets.
type namespaces struct{ system, credentials string }

func (n *namespaces) addTo(cmd *cobra.Command) {
	cmd.Flags().StringVar(&n.system, "operator-namespace", "apitoken-system", "where the operator keeps the records")
	cmd.Flags().StringVar(&n.credentials, "credentials-namespace", "apitoken-credentials", "where the operator keeps working copies and caller keys")
}

func (n *namespaces) connect(s *session.Session) (*cluster, error) {
	api, err := s.Client()
	if err != nil {
		return nil, err
	}
	return &cluster{Client: api, system: n.system, credentials: n.credentials}, nil
}

// backup is the command backup.
type backup struct {
	*session.Session
	namespaces
	keys

	format output.Format
}

// made says what an archive has.
type made struct {
	File    string   `json:"file"`
	SHA256  string   `json:"sha256"`
	Created string   `json:"created"`
	Sites   int      `json:"sites"`
	Tokens  int      `json:"tokens"`
	Secrets int      `json:"secrets"`
	LeftOut []string `json:"leftOut"`
}

// New returns the command backup.
func New(s *session.Session) *cobra.Command {
	b := &backup{Session: s}
	cmd := &cobra.Command{
		Use:   "backup FILE",
		Short: "Write tokens, sites and what belongs to them into an encrypted archive",
		Long: "Write all sites and APITokens with their records, the working copies of personal access tokens and the caller keys into\n" +
			"one archive, which is encrypted with age. Tokens themselves are not in it: only salted hashes of them.\n\n" +
			"The archive is a credential: who decrypts it has the personal access tokens and the caller keys. Keep the secret key\n" +
			"apart from it. Anyone who has the public key can make an archive that looks like yours: keep the printed SHA-256 too,\n" +
			"and give it to restore. FILE must not exist yet. Nothing secret is printed.\n\n" +
			"You need the right to list APITokens and AtlassianSites in all namespaces, and Secrets in the operator's two.",
		Example: `  kubectl apitoken backup tokens.age --recipient age1ql3z7hjy54pw3hyww5ayyfg7zqgvc7w3j2elw8zmrj2kg5sfn9aqmcac8p
  kubectl apitoken backup tokens.age --recipients-file recipients.txt -o json
  kubectl apitoken backup tokens.age --passphrase-file passphrase.txt`,
		Args: exit.Args(cobra.ExactArgs(1)),
		RunE: func(cmd *cobra.Command, args []string) error { return b.run(cmd.Context(), args[0]) },
	}
	b.addRecipientsTo(cmd)
	b.addTo(cmd)
	b.format.AddTo(cmd, output.JSON, output.YAML)
	return cmd
}

func (b *backup) run(ctx context.Context, file string) error {
	if err := b.format.Check(); err != nil {
		return err
	}
	to, err := b.to()
	if err != nil {
		return err
	}
	if _, err := os.Lstat(file); !errors.Is(err, fs.ErrNotExist) {
		return exit.Usagef("%s exists: an archive replaces no file", file)
	}
	c, err := b.connect(b.Session)
	if err != nil {
		return err
	}
	a := archive.New(b.Now(), version.Running().Version)
	found, err := c.read(ctx)
	if err != nil {
		return err
	}
	leftOut := found.addTo(a)
	var sealed bytes.Buffer
	if err := archive.Seal(&sealed, a, to...); err != nil {
		return err
	}
	if err := write(file, sealed.Bytes()); err != nil {
		return err
	}
	return b.say(made{
		File: file, SHA256: digest(sealed.Bytes()), Created: a.Created.Format("2006-01-02T15:04:05Z"),
		Sites: len(a.Sites), Tokens: len(a.Tokens), Secrets: len(a.Secrets), LeftOut: append([]string{}, leftOut...),
	})
}

func digest(sealed []byte) string {
	sum := sha256.Sum256(sealed)
	return hex.EncodeToString(sum[:])
}

// write writes a file that only its owner may read, whole or not at all.
func write(name string, content []byte) (err error) {
	file, err := os.OpenFile(name, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600)
	if err != nil {
		return fmt.Errorf("writing the archive: %w", err)
	}
	_, err = file.Write(content)
	if err = errors.Join(err, file.Sync(), file.Close()); err != nil {
		return errors.Join(fmt.Errorf("writing the archive: %w", err), os.Remove(name))
	}
	return nil
}

// say says what the archive has. An archive from which something is missing is one all the same, and the exit code says so.
func (b *backup) say(m made) error {
	for _, missing := range m.LeftOut {
		fmt.Fprintf(b.ErrOut, "Left out: %s\n", missing)
	}
	if b.format.ForPeople() {
		fmt.Fprintf(b.Out, "%s has %d tokens, %d sites and %d Secrets, as of %s.\nSHA-256: %s\n", m.File, m.Tokens, m.Sites, m.Secrets, m.Created, m.SHA256)
	} else if err := b.format.Value(b.Out, m); err != nil {
		return err
	}
	if len(m.LeftOut) > 0 {
		return exit.With(exit.Partial, fmt.Errorf("%d objects cannot be read and are not in the archive; the others are", len(m.LeftOut)))
	}
	return nil
}
