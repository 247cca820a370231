// Package doctor has the command doctor: what is wrong with an installation, and what mends it.
//
// It asks the API server with the rights of its user. A check for which they lack a right is named, and is no failure.
package doctor

import (
	"context"
	"fmt"

	"github.com/spf13/cobra"
	"sigs.k8s.io/controller-runtime/pkg/client"

	tokensv1alpha1 "apitokens.dev/operator/api/v1alpha1"
	"apitokens.dev/operator/internal/plugin/exit"
	"apitokens.dev/operator/internal/plugin/output"
	"apitokens.dev/operator/internal/plugin/selection"
	"apitokens.dev/operator/internal/plugin/session"
	"apitokens.dev/operator/internal/plugin/sites"
)

// command is the command doctor.
type command struct {
	*session.Session

	format     output.Format
	everywhere bool
}

// New returns the command doctor. Its sub-commands are bundle, and more that belong to it.
func New(s *session.Session, more ...*cobra.Command) *cobra.Command {
	c := &command{Session: s}
	cmd := &cobra.Command{
		Use:   "doctor [SITE...]",
		Short: "Say what is wrong with an installation, and what mends it",
		Long: "Say what is wrong with an installation, and what mends it: the sites and their tokens.\n\n" +
			"It has your rights and no others. A check for which you lack a right is named under NOT CHECKED, and is no failure.\n" +
			"The exit code is 5 if there is a problem. Warnings do not change it.",
		Example: `  kubectl apitoken doctor -A
  kubectl apitoken doctor main -n jira
  kubectl apitoken doctor -A -o json`,
		Args:              exit.Args(cobra.ArbitraryArgs),
		ValidArgsFunction: sites.CompleteNames(s),
		RunE: func(cmd *cobra.Command, args []string) error {
			if err := c.format.Check(); err != nil {
				return err
			}
			r, err := c.examine(cmd.Context(), args)
			if err != nil {
				return err
			}
			return c.print(r)
		},
	}
	cmd.Flags().BoolVarP(&c.everywhere, "all-namespaces", "A", false, "the sites of all namespaces")
	c.format.AddTo(cmd, output.JSON, output.YAML)
	cmd.AddCommand(more...)
	return cmd
}

// examine makes every check that is possible.
func (c *command) examine(ctx context.Context, args []string) (*report, error) {
	api, err := c.Client()
	if err != nil {
		return nil, err
	}
	all, err := c.sites(ctx, api, args)
	if err != nil {
		return nil, err
	}
	r := &report{Findings: []finding{}, Checked: []string{}, NotChecked: []gap{}}
	for i := range all {
		r.made("sites", ofSite(&all[i])...)
	}
	tokens, err := tokensOf(ctx, api, all)
	if err != nil {
		return nil, err
	}
	r.made("tokens", ofTokens(tokens)...)
	r.sort()
	return r, nil
}

// sites returns the sites that the arguments name, or all of the namespace, or of every one.
func (c *command) sites(ctx context.Context, api client.Client, args []string) ([]tokensv1alpha1.AtlassianSite, error) {
	if len(args) == 0 {
		return sites.List(ctx, c.Session, api, c.everywhere)
	}
	var all []tokensv1alpha1.AtlassianSite
	for _, arg := range args {
		site, err := sites.Get(ctx, c.Session, api, arg)
		if err != nil {
			return nil, err
		}
		all = append(all, *site)
	}
	return all, nil
}

// tokensOf returns the APITokens of sites, in the namespaces of the sites.
func tokensOf(ctx context.Context, api client.Client, all []tokensv1alpha1.AtlassianSite) (tokens []tokensv1alpha1.APIToken, err error) {
	seen := map[string]bool{}
	for i := range all {
		if seen[all[i].Namespace] {
			continue
		}
		seen[all[i].Namespace] = true
		found, err := selection.InNamespace(ctx, api, all[i].Namespace)
		if err != nil {
			return nil, err
		}
		tokens = append(tokens, found...)
	}
	return tokens, nil
}

// named names an object in a finding.
func named(o client.Object, kind string) string {
	return fmt.Sprintf("%s %s/%s", kind, o.GetNamespace(), o.GetName())
}
