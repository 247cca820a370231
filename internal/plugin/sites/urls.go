package sites

import (
	"context"
	"fmt"
	"slices"
	"strings"

	"github.com/spf13/cobra"
	corev1 "k8s.io/api/core/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	tokensv1alpha1 "apitokens.dev/operator/api/v1alpha1"
	"apitokens.dev/operator/internal/authurl"
	"apitokens.dev/operator/internal/plugin/exit"
	"apitokens.dev/operator/internal/plugin/output"
	"apitokens.dev/operator/internal/plugin/session"
	"apitokens.dev/operator/internal/servingcert"
)

// wiring is what one gateway of a site needs.
type wiring struct {
	Gateway string `json:"gateway"`
	// WrittenByOperator says that `spec.gateways` of the site has an entry for this kind of gateway.
	WrittenByOperator bool             `json:"writtenByOperator"`
	Contract          authurl.Contract `json:"contract"`
	Paste             []value          `json:"paste"`
	Sample            string           `json:"sample"`
	Page              string           `json:"page"`
}

// NewURLs returns the command urls.
func NewURLs(s *session.Session) *cobra.Command {
	var format output.Format
	var only string
	var showKeys bool
	cmd := &cobra.Command{
		Use:   "urls SITE",
		Short: "Show what to paste into the configuration of each gateway",
		Long: "Show what to write into the sample for each gateway, from the Secret that the status of the site names.\n\n" +
			"You need the right to read that Secret. It holds the caller keys: anyone with a key and a token can get the personal\n" +
			"access token behind it. So keys are hidden, unless you give --show-keys. For the gateways in `spec.gateways` of the\n" +
			"site the operator writes everything, and no key passes through a terminal.",
		Example: `  kubectl apitoken urls main -n jira
  kubectl apitoken urls jira/main --gateway nginx --show-keys
  kubectl apitoken urls jira/main --gateway traefik -o json`,
		Args:              exit.Args(cobra.ExactArgs(1)),
		ValidArgsFunction: CompleteNames(s),
		RunE: func(cmd *cobra.Command, args []string) error {
			if err := format.Check(); err != nil {
				return err
			}
			if only != "" && !slices.Contains(gatewayNames(), only) {
				return exit.Usagef("--gateway %s: there is no such gateway: use one of %s", only, strings.Join(gatewayNames(), ", "))
			}
			return showURLs(cmd.Context(), s, &format, args[0], only, showKeys)
		},
	}
	cmd.Flags().StringVar(&only, "gateway", "", "only for this kind of gateway: "+strings.Join(gatewayNames(), ", "))
	_ = cmd.RegisterFlagCompletionFunc("gateway", cobra.FixedCompletions(gatewayNames(), cobra.ShellCompDirectiveNoFileComp)) // the flag exists
	cmd.Flags().BoolVar(&showKeys, "show-keys", false, "show the caller keys")
	format.AddTo(cmd, output.JSON, output.YAML, output.Name)
	return cmd
}

func showURLs(ctx context.Context, s *session.Session, format *output.Format, name, only string, showKeys bool) error {
	c, err := s.Client()
	if err != nil {
		return err
	}
	site, err := Get(ctx, s, c, name)
	if err != nil {
		return err
	}
	secret, err := readURLs(ctx, c, site)
	if err != nil {
		return err
	}
	all, err := wiringOf(site, secret, only, showKeys)
	if err != nil {
		return err
	}
	if !format.ForPeople() {
		return format.Value(s.Out, all, "secret/"+secret.Name)
	}
	printWiring(s, site, secret, all)
	return nil
}

// readURLs reads the Secret with the auth URLs of a site.
func readURLs(ctx context.Context, c client.Client, site *tokensv1alpha1.AtlassianSite) (*corev1.Secret, error) {
	name := site.Status.AuthURLSecretName
	if name == "" {
		ready := condition(site, tokensv1alpha1.ConditionReady)
		return nil, fmt.Errorf("the site %s/%s has no auth URLs: %s %s", site.Namespace, site.Name, ready.Reason, ready.Message)
	}
	var secret corev1.Secret
	if err := c.Get(ctx, client.ObjectKey{Namespace: site.Namespace, Name: name}, &secret); err != nil {
		return nil, session.Doing("reading the Secret with the auth URLs", err)
	}
	// Only the operator can write Secrets of this type.
	if secret.Type != authurl.SecretType {
		return nil, fmt.Errorf("the Secret %s/%s was not written by the operator: its type is %q", secret.Namespace, secret.Name, secret.Type)
	}
	return &secret, nil
}

func wiringOf(site *tokensv1alpha1.AtlassianSite, secret *corev1.Secret, only string, showKeys bool) (all []wiring, err error) {
	for _, g := range gateways {
		if only != "" && g.name != only {
			continue
		}
		w := wiring{
			Gateway: g.name, WrittenByOperator: g.isWritten(site), Contract: g.contract, Sample: "config/samples/" + g.sample, Page: "docs/how-to/" + g.page,
		}
		if w.Paste, err = g.values(site, secret.Data, showKeys); err != nil {
			return nil, err
		}
		all = append(all, w)
	}
	return all, nil
}

func printWiring(s *session.Session, site *tokensv1alpha1.AtlassianSite, secret *corev1.Secret, all []wiring) {
	style := output.StyleOf(s.Out)
	fmt.Fprintf(s.Out, "Site %s/%s at %s. Secret: %s\n", site.Namespace, site.Name, site.Spec.BaseURL, secret.Name)
	if len(secret.Data[servingcert.BundleKey]) > 0 {
		fmt.Fprintf(s.Out, "Gateways verify webhook and portal with the key %s of this Secret.\n", servingcert.BundleKey)
	}
	if site.Spec.CallerVerification.Type == tokensv1alpha1.CallerVerificationClientCertificate {
		fmt.Fprintln(s.Out, "Gateways present a client certificate; there are no caller keys.")
	}
	for _, w := range all {
		fmt.Fprintf(s.Out, "\n%s: %s, %s\n", style.Bold(w.Gateway), w.Sample, w.Page)
		switch {
		case w.WrittenByOperator:
			fmt.Fprintln(s.Out, "  The operator writes it: nothing to paste. The condition GatewaysConfigured says whether it is done.")
			continue
		case len(w.Paste) == 0:
			fmt.Fprintf(s.Out, "  The sample refers to the Secret %s: nothing to paste.\n", secret.Name)
		}
		for _, v := range w.Paste {
			fmt.Fprintf(s.Out, "  %-11s %s\n", v.Word, v.Value)
		}
	}
}
