// Package plugin is the kubectl plugin as a whole: its root command, and what its commands have in common.
package plugin

import (
	"fmt"
	"strings"
	"time"

	"github.com/spf13/cobra"
	"k8s.io/cli-runtime/pkg/genericiooptions"

	"apitokens.dev/operator/internal/plugin/backup"
	"apitokens.dev/operator/internal/plugin/doctor"
	"apitokens.dev/operator/internal/plugin/exit"
	"apitokens.dev/operator/internal/plugin/explain"
	"apitokens.dev/operator/internal/plugin/importing"
	"apitokens.dev/operator/internal/plugin/product"
	"apitokens.dev/operator/internal/plugin/report"
	"apitokens.dev/operator/internal/plugin/session"
	"apitokens.dev/operator/internal/plugin/sites"
	"apitokens.dev/operator/internal/plugin/tokens"
)

// The groups of commands in the help.
const (
	groupLook   = "look"
	groupChange = "change"
)

// New returns the root command. now is the clock of this machine.
func New(streams genericiooptions.IOStreams, now func() time.Time) *cobra.Command {
	s := session.New(streams, now)
	root := &cobra.Command{
		Use:         "kubectl-apitoken",
		Annotations: map[string]string{cobra.CommandDisplayNameAnnotation: "kubectl apitoken"},
		Short:       "API tokens for Jira and Confluence",
		Long: "Look at API tokens for Jira and Confluence, and change them.\n\n" +
			"It has the rights of your kubeconfig and no others. Colours are used on a terminal only, and not if NO_COLOR is set.\n\n" +
			"Exit codes:\n" + codes(),
		Example: `  kubectl apitoken list -A
  kubectl apitoken describe ci -n jira`,
		Args:          exit.Args(cobra.NoArgs),
		RunE:          func(cmd *cobra.Command, _ []string) error { return cmd.Help() },
		SilenceUsage:  true,
		SilenceErrors: true,
	}
	root.SetIn(streams.In)
	root.SetOut(streams.Out)
	root.SetErr(streams.ErrOut)
	root.SetFlagErrorFunc(func(cmd *cobra.Command, err error) error {
		return exit.With(exit.Usage, fmt.Errorf("%w; see '%s --help'", err, cmd.CommandPath()))
	})
	s.AddFlags(root.PersistentFlags())
	root.AddGroup(&cobra.Group{ID: groupLook, Title: "Look:"}, &cobra.Group{ID: groupChange, Title: "Change:"})
	add(root, groupLook, tokens.NewList(s), tokens.NewDescribe(s), explain.New(s), doctor.New(s, product.New(s)), report.New(s), newVersion(s))
	add(root, groupLook, sites.New(s), sites.NewURLs(s), sites.NewLicense(s))
	add(root, groupChange, tokens.NewCreate(s), tokens.NewRotate(s), tokens.NewSuspend(s), tokens.NewResume(s), tokens.NewRevoke(s), importing.New(s))
	add(root, groupChange, backup.New(s), backup.NewRestore(s))
	return root
}

func add(root *cobra.Command, group string, commands ...*cobra.Command) {
	for _, c := range commands {
		c.GroupID = group
		root.AddCommand(c)
	}
}

// codes lists the exit codes with their meanings.
func codes() string {
	var b strings.Builder
	for code, meaning := range exit.Codes {
		fmt.Fprintf(&b, "  %d  %s\n", code, meaning)
	}
	return strings.TrimSuffix(b.String(), "\n")
}
