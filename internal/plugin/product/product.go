// Package product has the command doctor product: it tries, at a real Jira or Confluence, what the fake products assume.
package product

import (
	"bufio"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"strings"

	"github.com/spf13/cobra"

	"apitokens.dev/operator/internal/plugin/exit"
	"apitokens.dev/operator/internal/plugin/output"
	"apitokens.dev/operator/internal/plugin/session"
	"apitokens.dev/operator/internal/trust"
)

// command is the command doctor product.
type command struct {
	*session.Session

	options                                               Options
	passwordFile, patFile, adminFile, expiredFile, caFile string
	byHand, yes                                           bool
	format                                                output.Format
}

// New returns the command product.
func New(s *session.Session) *cobra.Command {
	c := &command{Session: s}
	cmd := &cobra.Command{
		Use:   "product --url URL --user USER",
		Short: "Try at a real Jira or Confluence what this project assumes about it",
		Long: "Try at a real Jira or Confluence what this project assumes about it, and write a report that can be published.\n\n" +
			"The operator is tested against fake products, which are made from documentation. Each of their assumptions is a\n" +
			"check here. Give a user who is made for it and may be deleted afterwards, and ask the product directly, without a\n" +
			"gateway before it. The run makes personal access tokens of this user and deletes them again; it says first what it\n" +
			"will do, and asks. It asks no cluster. The report has neither secrets nor the names of the user and of the product.\n\n" +
			"Jira 9.12, 10.3 and 11, Confluence 8.5, 9.2 and 10. The exit code is 5 if an assumption is refuted.",
		Example: `  kubectl apitoken doctor product --url https://jira.example.com --user doctor --pat-file pat.txt > report.md
  kubectl apitoken doctor product --url https://wiki.example.com/wiki --user doctor --password-file password.txt --by-hand
  kubectl apitoken doctor product --url https://jira.example.com --user doctor --pat-file pat.txt --in TEST --yes -o json`,
		Args: exit.Args(cobra.NoArgs),
		RunE: c.run,
	}
	flags := cmd.Flags()
	flags.StringVar(&c.options.URL, "url", "", "the address of the product, with its context path")
	flags.StringVar(&c.options.User, "user", "", "the name of the throw-away user")
	flags.StringVar(&c.passwordFile, "password-file", "", "a file with the user's password; some checks need it")
	flags.StringVar(&c.patFile, "pat-file", "", "a file with a personal access token of the user; needed where Basic authentication is off")
	flags.StringVar(&c.adminFile, "admin-pat-file", "", "a file with a personal access token of an administrator, to try the search for tokens")
	flags.StringVar(&c.expiredFile, "expired-pat-file", "", "a file with a personal access token of the user that has expired")
	flags.StringVar(&c.options.Place, "in", "", "the key of a project or space in which the user may create an issue or page, and delete it")
	flags.StringVar(&c.caFile, "ca-file", "", "a file with the certificates of the authorities that the product's is signed by")
	flags.BoolVar(&c.byHand, "by-hand", false, "ask you to rename, deactivate and activate the user meanwhile")
	flags.BoolVarP(&c.yes, "yes", "y", false, "do not ask before the run")
	c.format.AddTo(cmd, output.JSON, output.YAML)
	return cmd
}

func (c *command) run(cmd *cobra.Command, _ []string) error {
	if err := c.check(); err != nil {
		return err
	}
	if err := c.read(); err != nil {
		return err
	}
	answers := bufio.NewReader(c.In)
	if err := c.confirm(answers); err != nil {
		return err
	}
	if c.byHand {
		c.options.Hand = func(s Step) bool {
			fmt.Fprintf(c.ErrOut, string(s)+" Then press Enter; or type s to skip this: ", c.options.User)
			answer, err := answers.ReadString('\n')
			return err == nil && strings.TrimSpace(answer) == ""
		}
	}
	c.options.Progress = func(id string, n, of int) { fmt.Fprintf(c.ErrOut, "%d/%d %s\n", n, of, id) }
	r, err := Run(cmd.Context(), c.options)
	if err != nil {
		return err
	}
	return c.print(r)
}

func (c *command) check() error {
	switch {
	case c.options.URL == "" || c.options.User == "":
		return exit.Usagef("which product, and as whom? Give --url and --user")
	case c.passwordFile == "" && c.patFile == "":
		return exit.Usagef("give --password-file or --pat-file of %s, or both", c.options.User)
	}
	return c.format.Check()
}

// read reads the files.
func (c *command) read() error {
	for _, file := range []struct {
		name string
		into *string
	}{
		{c.passwordFile, &c.options.Password}, {c.patFile, &c.options.PAT}, {c.adminFile, &c.options.AdminPAT}, {c.expiredFile, &c.options.ExpiredPAT},
	} {
		if file.name == "" {
			continue
		}
		text, err := os.ReadFile(file.name)
		if err != nil {
			return fmt.Errorf("reading a credential: %w", err)
		}
		if *file.into = strings.TrimRight(string(text), "\r\n"); *file.into == "" {
			return fmt.Errorf("reading a credential: %s is empty", file.name)
		}
	}
	return c.connect()
}

// connect sets how the product is reached: by HTTP/1.1, which sends paths as they are, and by no proxy, to which it would show credentials.
func (c *command) connect() error {
	transport := &http.Transport{TLSHandshakeTimeout: timeout, DisableCompression: true, Protocols: new(http.Protocols)}
	transport.Protocols.SetHTTP1(true)
	if c.caFile != "" {
		text, err := os.ReadFile(c.caFile)
		if err != nil {
			return fmt.Errorf("reading --ca-file: %w", err)
		}
		authorities, err := trust.Parse(text)
		if err != nil {
			return fmt.Errorf("reading --ca-file: %w", err)
		}
		transport.TLSClientConfig = &tls.Config{RootCAs: authorities, MinVersion: tls.VersionTLS12}
	}
	c.options.Transport = transport
	return nil
}

// confirm says what the run will do, and asks.
func (c *command) confirm(answers *bufio.Reader) error {
	fmt.Fprintf(c.ErrOut, "About to send some 200 requests to %s as %s, and:\n%s", c.options.URL, c.options.User, c.plan())
	if c.yes {
		return nil
	}
	fmt.Fprintf(c.ErrOut, "Is this a user made for it, and shall it begin? Type yes: ")
	answer, err := answers.ReadString('\n')
	if err != nil && !errors.Is(err, io.EOF) {
		return fmt.Errorf("reading the answer: %w", err)
	}
	if strings.TrimSpace(answer) != "yes" {
		return exit.Usagef("not confirmed: nothing was sent; without a terminal, give --yes")
	}
	return nil
}

// plan lists what the run changes, and what the product may write about it.
func (c *command) plan() string {
	lines := []string{
		"make up to ten personal access tokens of this user, and delete them again",
		"send wrong tokens, and wrong passwords of a user whom nobody knows",
		"send malformed paths: a firewall before the product may complain",
	}
	for _, more := range []struct {
		given bool
		line  string
	}{
		{c.options.Password != "", "sign in with the password, several times, and out again"},
		{c.options.AdminPAT != "", "search for tokens as the administrator, and make and delete one of theirs"},
		{c.options.Place != "", "create an issue or a page in " + c.options.Place + ", and delete it again"},
		{c.byHand, "ask you to rename, deactivate and activate the user"},
	} {
		if more.given {
			lines = append(lines, more.line)
		}
	}
	return "  - " + strings.Join(lines, "\n  - ") + "\n"
}

func (c *command) print(r *Report) error {
	write := r.Write
	if !c.format.ForPeople() {
		write = func(w io.Writer) error { return c.format.Value(w, r) }
	}
	if err := write(c.Out); err != nil {
		return err
	}
	for _, left := range r.Left {
		fmt.Fprintln(c.ErrOut, "Warning: left behind:", left)
	}
	fmt.Fprintf(c.ErrOut, "%d assumptions are confirmed, %d refuted, %d not tried. Look the report through before you publish it.\n",
		r.Count(Confirmed), r.Count(Refuted), r.Count(NotTried))
	if n := r.Count(Refuted); n > 0 {
		return exit.With(exit.No, fmt.Errorf("%d assumptions are refuted", n))
	}
	return nil
}
