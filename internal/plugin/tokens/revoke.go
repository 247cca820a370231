package tokens

import (
	"context"
	"fmt"
	"strings"

	"github.com/spf13/cobra"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"sigs.k8s.io/controller-runtime/pkg/client"

	tokensv1alpha1 "apitokens.dev/operator/api/v1alpha1"
	"apitokens.dev/operator/internal/plugin/selection"
	"apitokens.dev/operator/internal/plugin/session"
)

// NewRevoke returns the command revoke.
func NewRevoke(s *session.Session) *cobra.Command {
	c := &change{Session: s, past: "revoked", infinitive: "revoke", asks: true}
	c.apply = c.revoke
	c.warn = c.warnOfLimits
	cmd := &cobra.Command{
		Use:     "revoke [NAME|TOKEN-ID...]",
		Aliases: []string{"delete"},
		Short:   "End tokens for good",
		Long: "End API tokens for good, by deleting their APITokens. All their secrets are refused from the next request on.\n\n" +
			"It asks before it does so: type the name of the token, or the number of tokens. It deletes one after the other, and\n" +
			"says what became of each. Tokens that were made with these, or are made meanwhile, live on. To end all of a person or\n" +
			"of a site at once, set `blockedUsers` or `issuedAfter` of the site: docs/how-to/stop.md.",
		Example: `  kubectl apitoken revoke ci -n jira
  kubectl apitoken revoke asp_CEMdV8w5tmJF87Qp --yes
  kubectl apitoken revoke -A --user alice --dry-run=server
  kubectl apitoken revoke -A --site jira/main --unused-for 180d`,
		RunE: c.run,
		Args: cobra.ArbitraryArgs,
	}
	c.addTo(cmd)
	return cmd
}

// revoke deletes an APIToken, and no other one that has its name meanwhile. One that is gone already is revoked.
func (c *change) revoke(ctx context.Context, api client.Client, t *tokensv1alpha1.APIToken) error {
	err := api.Delete(ctx, t, client.Preconditions{UID: &t.UID}, &client.DeleteOptions{DryRun: c.dry.option()})
	if apierrors.IsNotFound(err) {
		return nil
	}
	return session.Doing("deleting the APIToken "+t.Namespace+"/"+t.Name, err)
}

// warnOfLimits says what revoking these APITokens does not reach.
func (c *change) warnOfLimits(ctx context.Context, api client.Client, targets []tokensv1alpha1.APIToken) {
	for i := range targets {
		if by := managedBy(&targets[i]); by != "" {
			fmt.Fprintf(c.ErrOut, "Warning: %s/%s is declared by GitOps (%s). Remove it there: else it comes back as another token.\n",
				targets[i].Namespace, targets[i].Name, by)
		}
	}
	if children := childrenOf(ctx, api, targets); len(children) > 0 {
		fmt.Fprintf(c.ErrOut, "Warning: these were made with them and live on: %s. Revoke them too, if you do not know them.\n", strings.Join(children, ", "))
	}
	if c.which.Given() && len(targets) > 1 {
		fmt.Fprintln(c.ErrOut, "Note: tokens that are made meanwhile live on. 'blockedUsers' of a site ends all of a person at once, and 'issuedAfter' all of "+
			"the site: docs/how-to/stop.md.")
	}
}

// childrenOf names the APITokens, in the same namespaces, that were made with one of these and are none of them. It is a help: without
// the right to list, it names none.
func childrenOf(ctx context.Context, api client.Client, targets []tokensv1alpha1.APIToken) (names []string) {
	revoked, namespaces := map[string]bool{}, map[string]bool{}
	for i := range targets {
		revoked[string(targets[i].UID)] = true
		namespaces[targets[i].Namespace] = true
		namespaces[targets[i].SiteNamespace()] = true // where the portal makes tokens
	}
	for namespace := range namespaces {
		all, err := selection.InNamespace(ctx, api, namespace)
		if err != nil {
			continue
		}
		for i := range all {
			if revoked[all[i].Spec.CreatedBy.UID] && !revoked[string(all[i].UID)] {
				names = append(names, all[i].Namespace+"/"+all[i].Name)
			}
		}
	}
	return names
}
