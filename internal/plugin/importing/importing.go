// Package importing has the command import: it moves what other products know of tokens into manifests, and into letters to owners.
package importing

import (
	"fmt"
	"io"
	"os"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"

	tokensv1alpha1 "apitokens.dev/operator/api/v1alpha1"
	"apitokens.dev/operator/internal/plugin/exit"
	"apitokens.dev/operator/internal/plugin/output"
	"apitokens.dev/operator/internal/plugin/session"
)

// command is the command import.
type command struct {
	*session.Session

	site, secret, folder, page, until string
	columns                           []string
	format                            output.Format
}

// New returns the command import.
func New(s *session.Session) *cobra.Command {
	c := &command{Session: s}
	cmd := &cobra.Command{
		Use:   "import FILE --site SITE --to FOLDER",
		Short: "Turn a table of tokens of another product into manifests, and into letters to their owners",
		Long: "Read a table in CSV of the tokens that another product has, and write a new folder with\n\n" +
			"  report.csv    what becomes of each row, and why something cannot be imported\n" +
			"  tokens.yaml   an APIToken for each row with a secret that can be imported\n" +
			"  secrets.yaml  the Secrets that these take their secrets from\n" +
			"  letters.txt   a text for each owner who has to create tokens anew\n\n" +
			"It asks no API server and applies nothing. FILE is - for standard input. Its first line has the names of the columns:\n" +
			"user, label, created, last used, expires, or those that other products use for them. Other columns are passed over.\n\n" +
			"Secrets are imported only from the column that --secret-column names. Products store hashes, and somebody who has read\n" +
			"a hash must not be able to use it: so name no column of a product's database. secrets.yaml can only be read by you.\n" +
			"Delete it when it is applied. No secret is in another file or on the terminal.",
		Example: `  kubectl apitoken import plugin.csv -n jira --site main --to import --page https://jira.example.com/plugins/servlet/api-tokens
  kubectl apitoken import vault.csv -n jira --site main --to import --secret-column password
  kubectl apitoken import tokens.csv -n team-a --site jira/main --to import --column user=LOGIN --column label=PURPOSE`,
		Args: exit.Args(cobra.ExactArgs(1)),
		RunE: func(_ *cobra.Command, args []string) error { return c.run(args[0]) },
	}
	f := cmd.Flags()
	f.StringVar(&c.site, "site", "", "the AtlassianSite: NAME or NAMESPACE/NAME")
	f.StringVar(&c.folder, "to", "", "the folder to write; it must not be there yet")
	f.StringVar(&c.secret, "secret-column", "", "the column with secrets to import; without it, none are")
	f.StringSliceVar(&c.columns, "column", nil, "a column of another name, such as user=LOGIN; may be repeated")
	f.StringVar(&c.page, "page", "the page for API tokens", "the URL of the page, for the letters")
	f.StringVar(&c.until, "until", "", "the day on which the old tokens stop working, such as 2027-06-30, for the letters")
	c.format.AddTo(cmd, output.JSON, output.YAML)
	return cmd
}

func (c *command) run(file string) error {
	from, until, err := c.check()
	if err != nil {
		return err
	}
	to := target{now: c.Now()}
	if to.namespace, err = c.Namespace(); err != nil {
		return err
	}
	if at, site, ok := strings.Cut(c.site, "/"); ok {
		to.site = tokensv1alpha1.SiteReference{Namespace: at, Name: site}
	} else {
		to.site.Name = c.site
	}
	entries, err := c.read(from, file)
	if err != nil {
		return err
	}
	p := to.makePlan(entries)
	if err := p.writeTo(c.folder, c.page, until); err != nil {
		return err
	}
	if !c.format.ForPeople() {
		return c.format.Value(c.Out, p.lines)
	}
	c.say(&p)
	return nil
}

// check reads the flags.
func (c *command) check() (from source, until time.Time, err error) {
	switch {
	case c.site == "":
		return from, until, exit.Usagef("--site is missing: the AtlassianSite that the tokens are for")
	case c.folder == "":
		return from, until, exit.Usagef("--to is missing: the folder to write")
	}
	if until, err = time.Parse(time.DateOnly, c.until); c.until != "" && err != nil {
		return from, until, exit.Usagef("--until: want a day such as 2027-06-30")
	}
	from = source{named: map[string]string{}, secret: c.secret}
	for _, one := range c.columns {
		ours, theirs, ok := strings.Cut(one, "=")
		if _, known := columns[fold(ours)]; !ok || !known || theirs == "" {
			return from, until, exit.Usagef("--column: want NAME=COLUMN, where NAME is one of %s", strings.Join(columnNames(), ", "))
		}
		from.named[fold(ours)] = theirs
	}
	if name := fold(c.secret); strings.Contains(name, "hash") || strings.Contains(name, "salt") {
		return from, until, exit.Usagef("--secret-column: nobody can send a hash, so it cannot be imported")
	}
	return from, until, c.format.Check()
}

func columnNames() (names []string) {
	for name := range columns {
		names = append(names, name)
	}
	slices.Sort(names)
	return names
}

func (c *command) read(from source, file string) ([]entry, error) {
	if file == "-" {
		return from.read(c.In)
	}
	in, err := os.Open(file)
	if err != nil {
		return nil, fmt.Errorf("reading the table: %w", err)
	}
	defer func() { _ = in.Close() }() // it was only read
	return from.read(in)
}

// say tells people what was written, and what to do with it.
func (c *command) say(p *plan) {
	users, _ := p.owners()
	say := func(n int, what string) {
		if n > 0 {
			fmt.Fprintf(c.Out, "%6d %s\n", n, what)
		}
	}
	fmt.Fprintf(c.Out, "%d rows:\n", len(p.lines))
	say(p.count(imported), "can be imported")
	say(p.count(invited), fmt.Sprintf("cannot: their owners (%d) have to create tokens", len(users)))
	say(p.count(impossible), "become nothing")
	fmt.Fprintln(c.Out)
	c.next(p)
}

// next says what to do with each file.
func (c *command) next(p *plan) {
	step := func(w io.Writer, file, what string) { fmt.Fprintf(w, "%s/%s  %s\n", c.folder, file, what) }
	step(c.Out, reportFile, "has a line for each row: look at it first")
	if len(p.tokens) > 0 {
		step(c.Out, secretsFile, "HAS SECRETS: kubectl apply --server-side -f it, then delete it")
		step(c.Out, tokensFile, "then apply this")
	}
	if p.count(invited) > 0 {
		step(c.Out, lettersFile, "has a text for each owner")
	}
}
