package tokens

import (
	"errors"

	"github.com/spf13/cobra"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// dryRun is the flag --dry-run.
type dryRun string

const (
	dryRunNone   dryRun = "none"
	dryRunClient dryRun = "client"
	dryRunServer dryRun = "server"
)

func (d *dryRun) addTo(cmd *cobra.Command) {
	*d = dryRunNone
	cmd.Flags().Var(d, "dry-run", "client: only say what would be done; server: have the API server check it, without doing it")
	choices := []cobra.Completion{string(dryRunNone), string(dryRunClient), string(dryRunServer)}
	_ = cmd.RegisterFlagCompletionFunc("dry-run", cobra.FixedCompletions(choices, cobra.ShellCompDirectiveNoFileComp)) // the flag exists
}

// Set reads the flag.
func (d *dryRun) Set(text string) error {
	switch v := dryRun(text); v {
	case dryRunNone, dryRunClient, dryRunServer:
		*d = v
		return nil
	}
	return errors.New("want none, client or server")
}

func (d *dryRun) String() string { return string(*d) }

// Type names the flag's values in the help.
func (d *dryRun) Type() string { return "none|client|server" }

// option is what the API server is asked for: all of it, or only to check.
func (d *dryRun) option() []string {
	if *d == dryRunServer {
		return []string{metav1.DryRunAll}
	}
	return nil
}

// suffix is added to what was done.
func (d *dryRun) suffix() string {
	switch *d {
	case dryRunClient:
		return " (dry run)"
	case dryRunServer:
		return " (server dry run)"
	}
	return ""
}

// isDry reports whether nothing is done.
func (d *dryRun) isDry() bool { return *d != dryRunNone }
