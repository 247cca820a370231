// Package report has the command report: an inventory of the scripts that use API tokens.
package report

import (
	"encoding/csv"
	"fmt"
	"io"
	"os"
	"strings"
	"time"

	"github.com/spf13/cobra"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	tokensv1alpha1 "apitokens.dev/operator/api/v1alpha1"
	"apitokens.dev/operator/internal/plugin/exit"
	"apitokens.dev/operator/internal/plugin/output"
	"apitokens.dev/operator/internal/plugin/selection"
	"apitokens.dev/operator/internal/plugin/session"
)

// row is one token of the inventory.
type row struct {
	Owner        string `json:"owner"`
	Label        string `json:"label"`
	Site         string `json:"site"`
	TokenID      string `json:"tokenID"`
	APIToken     string `json:"apiToken"`
	Type         string `json:"type"`
	Access       string `json:"access"`
	Created      string `json:"created"`
	LastUsed     string `json:"lastUsed"`
	LastUsedFrom string `json:"lastUsedFrom"`
	Expires      string `json:"expires"`
	AllowedPaths string `json:"allowedPaths"`
	AllowedFrom  string `json:"allowedSources"`
	MadeWith     string `json:"madeWith"`
	// Requests, Paths and Clients are from a log of the webhook, or unknown.
	Requests string `json:"requests"`
	Paths    string `json:"paths"`
	Clients  string `json:"clients"`
}

// unknown stands for what no object says.
const unknown = "unknown"

// heads are the columns of the CSV, in the order of cells.
var heads = []string{
	"owner", "label", "site", "token id", "APIToken", "type", "access", "created", "last used", "last used from", "expires", "allowed paths",
	"allowed sources", "made with", "requests", "paths", "clients",
}

func (r *row) cells() []string {
	return []string{
		r.Owner, r.Label, r.Site, r.TokenID, r.APIToken, r.Type, r.Access, r.Created, r.LastUsed, r.LastUsedFrom, r.Expires, r.AllowedPaths,
		r.AllowedFrom, r.MadeWith, r.Requests, r.Paths, r.Clients,
	}
}

// New returns the command report.
func New(s *session.Session) *cobra.Command {
	var which selection.Flags
	var format formats
	var migration bool
	var log string
	cmd := &cobra.Command{
		Use:   "report --migration",
		Short: "Write an inventory of tokens, for a move to Cloud",
		Long: "Write an inventory of the scripts that use API tokens, for a move to Cloud: for each token its owner, what it is for,\n" +
			"what it may do, and when and from where it was last used.\n\n" +
			"The API server does not know what a script asks for, nor how many clients it has. Give the log of the webhook over a\n" +
			"month or more with --log: then the columns requests, paths and clients are counted from it. Without it they are\n" +
			"unknown. Passwords and personal access tokens are not in the inventory: have the site observe them first.",
		Example: `  kubectl apitoken report --migration -A > inventory.csv
  kubectl apitoken report --migration -A --log webhook.log -o json
  kubectl apitoken report --migration --site jira/main --unused-for 90d`,
		Args: exit.Args(cobra.NoArgs),
		RunE: func(cmd *cobra.Command, _ []string) error {
			if !migration {
				return exit.Usagef("which report? There is one: --migration")
			}
			c, err := s.Client()
			if err != nil {
				return err
			}
			all, err := which.List(cmd.Context(), s, c)
			if err != nil {
				return err
			}
			seen, err := readLog(s.In, log)
			if err != nil {
				return err
			}
			return format.write(s.Out, inventory(all, seen, log != ""))
		},
	}
	which.AddTo(cmd)
	cmd.Flags().BoolVar(&migration, "migration", false, "the inventory for a move to Cloud")
	cmd.Flags().StringVar(&log, "log", "", "a file with the log of the webhook; - is standard input")
	format.addTo(cmd)
	return cmd
}

// readLog counts what a log says. Without a file it counts nothing.
func readLog(in io.Reader, name string) (map[string]*usage, error) {
	if name == "" {
		return nil, nil
	}
	if name != "-" {
		file, err := os.Open(name)
		if err != nil {
			return nil, fmt.Errorf("reading the log: %w", err)
		}
		defer func() { _ = file.Close() }() // it was only read
		in = file
	}
	return count(in)
}

// inventory returns the rows of APITokens. logged says that seen is from a log.
func inventory(all []tokensv1alpha1.APIToken, seen map[string]*usage, logged bool) []row {
	rows := make([]row, len(all))
	for i := range all {
		t := &all[i]
		rows[i] = row{
			Owner: t.Spec.User, Label: t.Spec.Label, Site: t.SiteNamespace() + "/" + t.Spec.SiteRef.Name, TokenID: t.Status.TokenID,
			APIToken: t.Namespace + "/" + t.Name, Type: string(t.Spec.Credential.Type), Access: string(t.Spec.Access),
			Created: moment(t.CreationTimestamp), LastUsed: moment(t.Status.LastAccessedTime), LastUsedFrom: t.Status.LastAccessedFrom,
			Expires: moment(t.Status.ExpirationTime), AllowedPaths: strings.Join(t.Spec.AllowedPaths, " "),
			AllowedFrom: strings.Join(t.Spec.AllowedSources, " "), MadeWith: t.Spec.CreatedBy.TokenID,
			Requests: unknown, Paths: unknown, Clients: unknown,
		}
		if logged {
			rows[i].Requests, rows[i].Paths, rows[i].Clients = seen[t.Status.TokenID].cells()
		}
	}
	return rows
}

func moment(t metav1.Time) string {
	if t.IsZero() {
		return "never"
	}
	return t.UTC().Format(time.RFC3339)
}

func writeCSV(w io.Writer, rows []row) error {
	out := csv.NewWriter(w)
	lines := [][]string{heads}
	for i := range rows {
		cells := rows[i].cells()
		for j := range cells {
			cells[j] = output.Cell(cells[j])
		}
		lines = append(lines, cells)
	}
	if err := out.WriteAll(lines); err != nil {
		return fmt.Errorf("writing the report: %w", err)
	}
	return nil
}
