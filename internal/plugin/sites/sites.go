// Package sites has the commands about AtlassianSites: their state, their URLs for gateways, and their licences.
package sites

import (
	"cmp"
	"context"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"
	apimeta "k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	tokensv1alpha1 "apitokens.dev/operator/api/v1alpha1"
	"apitokens.dev/operator/internal/plugin/exit"
	"apitokens.dev/operator/internal/plugin/output"
	"apitokens.dev/operator/internal/plugin/session"
)

// New returns the command sites.
func New(s *session.Session) *cobra.Command {
	var everywhere bool
	var format output.Format
	cmd := &cobra.Command{
		Use:     "sites",
		Aliases: []string{"site"},
		Short:   "List the sites, and whether tokens work there",
		Long: "List the AtlassianSites: whether their tokens work, whether the product answers, whether every personal access token is\n" +
			"usable, whether the ingress asks the webhook (PROTECTED), and whether the licence is valid.\n\n" +
			"An empty column means that this is not checked. 'kubectl describe atlassiansite NAME' says more.",
		Example: `  kubectl apitoken sites -A
  kubectl apitoken sites -n jira -o wide
  kubectl apitoken sites -A -o json`,
		Args: exit.Args(cobra.NoArgs),
		RunE: func(cmd *cobra.Command, _ []string) error {
			if err := format.Check(); err != nil {
				return err
			}
			all, err := listOf(cmd.Context(), s, everywhere)
			if err != nil {
				return err
			}
			if !format.ForPeople() {
				return format.Objects(s.Out, &tokensv1alpha1.AtlassianSiteList{Items: all})
			}
			return format.Table(s, columns, rows(all, s.Now()), "No sites found.")
		},
	}
	cmd.Flags().BoolVarP(&everywhere, "all-namespaces", "A", false, "in all namespaces")
	format.AddTo(cmd, output.Wide, output.JSON, output.YAML, output.Name)
	return cmd
}

var columns = []output.Column{
	{Name: "Namespace"}, {Name: "Name"}, {Name: "Product"}, {Name: "Base URL"}, {Name: "Ready"}, {Name: "Reason"}, {Name: "Reachable"},
	{Name: "Credentials"}, {Name: "Protected"}, {Name: "Licensed"}, {Name: "Gateways", Wide: true}, {Name: "Auth URLs", Wide: true},
	{Name: "Blocked users", Wide: true}, {Name: "Issued after", Wide: true}, {Name: "Age"},
}

func rows(all []tokensv1alpha1.AtlassianSite, now time.Time) (rows [][]any) {
	for i := range all {
		s := &all[i]
		epoch := ""
		if !s.Spec.IssuedAfter.IsZero() {
			epoch = s.Spec.IssuedAfter.UTC().Format(time.RFC3339)
		}
		ready := condition(s, tokensv1alpha1.ConditionReady)
		rows = append(rows, []any{
			s.Namespace, s.Name, string(s.Spec.Product), s.Spec.BaseURL, string(cmp.Or(ready.Status, metav1.ConditionUnknown)), cmp.Or(ready.Reason, "Pending"),
			string(condition(s, tokensv1alpha1.ConditionUpstreamReachable).Status), string(condition(s, tokensv1alpha1.ConditionUpstreamCredentialsReady).Status),
			string(condition(s, tokensv1alpha1.ConditionIngressProtected).Status), string(condition(s, tokensv1alpha1.ConditionLicensed).Status),
			gatewayTypes(s), s.Status.AuthURLSecretName, len(s.Spec.BlockedUsers), epoch, output.Since(now, s.CreationTimestamp, ""),
		})
	}
	return rows
}

// condition returns a condition of a site. Without one it returns an empty condition.
func condition(s *tokensv1alpha1.AtlassianSite, of string) metav1.Condition {
	return *cmp.Or(apimeta.FindStatusCondition(s.Status.Conditions, of), &metav1.Condition{})
}

// gatewayTypes names the gateways for which the operator writes objects.
func gatewayTypes(s *tokensv1alpha1.AtlassianSite) string {
	types := make([]string, len(s.Spec.Gateways))
	for i, g := range s.Spec.Gateways {
		types[i] = string(g.Type)
	}
	return strings.Join(types, ",")
}

// listOf is List with a client of its own.
func listOf(ctx context.Context, s *session.Session, everywhere bool) ([]tokensv1alpha1.AtlassianSite, error) {
	c, err := s.Client()
	if err != nil {
		return nil, err
	}
	return List(ctx, s, c, everywhere)
}

// List returns the sites of the namespace of the command, or of all, by namespace and name.
func List(ctx context.Context, s *session.Session, c client.Reader, everywhere bool) ([]tokensv1alpha1.AtlassianSite, error) {
	namespace, err := s.Namespace()
	if err != nil {
		return nil, err
	}
	var options []client.ListOption
	if !everywhere {
		options = append(options, client.InNamespace(namespace))
	}
	var all tokensv1alpha1.AtlassianSiteList
	if err := c.List(ctx, &all, options...); err != nil {
		return nil, session.Doing("listing AtlassianSites", err)
	}
	slices.SortFunc(all.Items, func(a, b tokensv1alpha1.AtlassianSite) int {
		return strings.Compare(a.Namespace+"\x00"+a.Name, b.Namespace+"\x00"+b.Name)
	})
	return all.Items, nil
}

// Get returns the site that an argument names: NAME in the namespace of the command, or NAMESPACE/NAME.
func Get(ctx context.Context, s *session.Session, c client.Reader, arg string) (*tokensv1alpha1.AtlassianSite, error) {
	namespace, name, ok := strings.Cut(arg, "/")
	if !ok {
		var err error
		if namespace, err = s.Namespace(); err != nil {
			return nil, err
		}
		name = arg
	}
	var site tokensv1alpha1.AtlassianSite
	if err := c.Get(ctx, client.ObjectKey{Namespace: namespace, Name: name}, &site); err != nil {
		return nil, session.Doing(fmt.Sprintf("reading the AtlassianSite %s/%s", namespace, name), err)
	}
	return &site, nil
}

// CompleteNames completes the names of the sites in the namespace of the command, as the only argument.
func CompleteNames(s *session.Session) cobra.CompletionFunc {
	return func(cmd *cobra.Command, args []string, _ string) ([]cobra.Completion, cobra.ShellCompDirective) {
		all, err := listOf(cmd.Context(), s, false)
		if err != nil || len(args) > 0 {
			return nil, cobra.ShellCompDirectiveNoFileComp
		}
		names := make([]cobra.Completion, len(all))
		for i := range all {
			names[i] = cobra.CompletionWithDesc(all[i].Name, all[i].Spec.BaseURL)
		}
		return names, cobra.ShellCompDirectiveNoFileComp
	}
}
