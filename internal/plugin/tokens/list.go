// Package tokens has the commands about APITokens: those that look, and those that change.
package tokens

import (
	"cmp"
	"time"

	"github.com/spf13/cobra"
	apimeta "k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	tokensv1alpha1 "apitokens.dev/operator/api/v1alpha1"
	"apitokens.dev/operator/internal/plugin/exit"
	"apitokens.dev/operator/internal/plugin/output"
	"apitokens.dev/operator/internal/plugin/selection"
	"apitokens.dev/operator/internal/plugin/session"
)

// NewList returns the command list.
func NewList(s *session.Session) *cobra.Command {
	var which selection.Flags
	var format output.Format
	cmd := &cobra.Command{
		Use:     "list",
		Aliases: []string{"ls"},
		Short:   "List API tokens, and whether they authenticate",
		Long: "List API tokens: whose they are, whether they authenticate, when they were last used, and when they end.\n\n" +
			"Use the same flags with revoke, suspend and rotate: look here first at what they select.",
		Example: `  kubectl apitoken list
  kubectl apitoken list -A --user alice
  kubectl apitoken list -A --site jira/main --unused-for 90d -o wide
  kubectl apitoken list -A -o json`,
		Args: exit.Args(cobra.NoArgs),
		RunE: func(cmd *cobra.Command, _ []string) error {
			if err := format.Check(); err != nil {
				return err
			}
			c, err := s.Client()
			if err != nil {
				return err
			}
			all, err := which.List(cmd.Context(), s, c)
			if err != nil {
				return err
			}
			if !format.ForPeople() {
				return format.Objects(s.Out, &tokensv1alpha1.APITokenList{Items: all})
			}
			return format.Table(s, columns(which.AllNamespaces), rows(all, which.AllNamespaces, s.Now()), "No API tokens found.")
		},
	}
	which.AddTo(cmd)
	format.AddTo(cmd, output.Wide, output.JSON, output.YAML, output.Name)
	return cmd
}

func columns(namespaces bool) []output.Column {
	all := []output.Column{
		{Name: "Namespace"}, {Name: "Name"}, {Name: "User"}, {Name: "Label"}, {Name: "Site"}, {Name: "Ready"}, {Name: "Reason"},
		{Name: "Last used"}, {Name: "Expires"}, {Name: "Token ID"}, {Name: "From", Wide: true}, {Name: "Type", Wide: true},
		{Name: "Access", Wide: true}, {Name: "Age"},
	}
	if !namespaces {
		return all[1:]
	}
	return all
}

func rows(all []tokensv1alpha1.APIToken, namespaces bool, now time.Time) (rows [][]any) {
	for i := range all {
		t := &all[i]
		ready := readyOf(t)
		row := []any{
			t.Namespace, t.Name, t.Spec.User, t.Spec.Label, siteName(t), string(ready.Status), ready.Reason,
			output.Since(now, t.Status.LastAccessedTime, "never"), output.Until(now, t.Status.ExpirationTime), t.Status.TokenID,
			t.Status.LastAccessedFrom, string(t.Spec.Credential.Type), string(t.Spec.Access),
			output.Since(now, t.CreationTimestamp, ""),
		}
		if !namespaces {
			row = row[1:]
		}
		rows = append(rows, row)
	}
	return rows
}

// siteName names the site of an APIToken: with its namespace, if that is another one.
func siteName(t *tokensv1alpha1.APIToken) string {
	if t.SiteNamespace() == t.Namespace {
		return t.Spec.SiteRef.Name
	}
	return t.SiteNamespace() + "/" + t.Spec.SiteRef.Name
}

// readyOf returns the Ready condition of an APIToken. Before the operator has written one, it is Unknown.
func readyOf(t *tokensv1alpha1.APIToken) metav1.Condition {
	return *cmp.Or(apimeta.FindStatusCondition(t.Status.Conditions, tokensv1alpha1.ConditionReady), &metav1.Condition{
		Type: tokensv1alpha1.ConditionReady, Status: metav1.ConditionUnknown, Reason: "Pending",
		Message: "The operator has not looked at it yet. If this stays, the controller does not run, or does not watch this namespace.",
	})
}
