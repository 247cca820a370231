package tokens

import (
	"context"

	"github.com/spf13/cobra"
	"sigs.k8s.io/controller-runtime/pkg/client"

	tokensv1alpha1 "apitokens.dev/operator/api/v1alpha1"
	"apitokens.dev/operator/internal/plugin/session"
)

// NewSuspend returns the command suspend.
func NewSuspend(s *session.Session) *cobra.Command {
	c := &change{Session: s, past: "suspended", infinitive: "suspend"}
	c.apply = func(ctx context.Context, api client.Client, t *tokensv1alpha1.APIToken) error {
		return c.patch(ctx, api, t, `{"state":"Suspended"}`)
	}
	cmd := &cobra.Command{
		Use:   "suspend [NAME|TOKEN-ID...]",
		Short: "Stop tokens for a while: requests with them are 401 until they are resumed",
		Long: "Stop API tokens for a while. Requests with them are 401, from the next request on, until they are resumed.\n\n" +
			"It needs only the right to update APITokens. It asks before it suspends tokens that flags select.",
		Example: `  kubectl apitoken suspend ci -n jira
  kubectl apitoken suspend -A --unused-for 90d --dry-run=client
  kubectl apitoken suspend -A --unused-for 90d`,
		RunE: c.run,
		Args: cobra.ArbitraryArgs,
	}
	c.addTo(cmd)
	return cmd
}

// NewResume returns the command resume.
func NewResume(s *session.Session) *cobra.Command {
	c := &change{Session: s, past: "resumed", infinitive: "resume"}
	c.apply = func(ctx context.Context, api client.Client, t *tokensv1alpha1.APIToken) error {
		return c.patch(ctx, api, t, `{"state":"Active"}`)
	}
	cmd := &cobra.Command{
		Use:   "resume [NAME|TOKEN-ID...]",
		Short: "Let suspended tokens authenticate again",
		Long: "Let suspended API tokens authenticate again, with the secrets that they had.\n\n" +
			"It needs the right to issue tokens for their users. It asks before it resumes tokens that flags select.",
		Example: `  kubectl apitoken resume ci -n jira
  kubectl apitoken resume --user alice --site jira/main`,
		RunE: c.run,
		Args: cobra.ArbitraryArgs,
	}
	c.addTo(cmd)
	return cmd
}
