// Package doctor has the command doctor: what is wrong with an installation, and what mends it.
//
// It asks the API server with the rights of its user. A check for which they lack a right is named, and is no failure.
package doctor

import (
	"context"
	"fmt"
	"time"

	"github.com/spf13/cobra"
	appsv1 "k8s.io/api/apps/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"sigs.k8s.io/controller-runtime/pkg/client"

	tokensv1alpha1 "apitokens.dev/operator/api/v1alpha1"
	"apitokens.dev/operator/config"
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
	// The namespaces of the operator.
	system, credentials, intake string
	// metrics are addresses of replicas that are asked without the API server.
	metrics []string
	// noIngress means that baseURL is not asked.
	noIngress bool
	// tokenFile has a token to ask with, and createFor is a user for whom one is made.
	tokenFile, createFor string
}

// New returns the command doctor. more are sub-commands beside bundle.
func New(s *session.Session, more ...*cobra.Command) *cobra.Command {
	c := &command{Session: s}
	cmd := &cobra.Command{
		Use:   "doctor [SITE...]",
		Short: "Say what is wrong with an installation, and what mends it",
		Long: "Say what is wrong with an installation, and what mends it: sites and tokens, admission policies, rights, Deployments,\n" +
			"stored forms, the replicas and their clocks, and the ingress of each site, which is asked through baseURL as a client.\n\n" +
			"It has your rights and no others. A check for which you lack a right is named under NOT CHECKED, and is no failure.\n" +
			"Without a token it sends GET requests without a credential, with a forged identity header and with a token that does\n" +
			"not exist, and one POST that announces a body of 10 MiB with such a token. With --token-file it asks with your token\n" +
			"too. With --create-token it creates a read-only APIToken for the user in the namespace of the site, asks with it,\n" +
			"deletes it, and sees that it is refused then. It says so before.\n\n" +
			"docs/how-to/doctor.md has every finding. The exit code is 5 if there is a problem. Warnings do not change it.",
		Example: `  kubectl apitoken doctor -A
  kubectl apitoken doctor main -n jira --create-token ci-bot
  kubectl apitoken doctor main -n jira --no-ingress -o json`,
		Args:              exit.Args(cobra.ArbitraryArgs),
		ValidArgsFunction: sites.CompleteNames(s),
		RunE: func(cmd *cobra.Command, args []string) error {
			if err := c.check(); err != nil {
				return err
			}
			e, err := c.examine(cmd.Context(), args)
			if err != nil {
				return err
			}
			return c.print(&e.report)
		},
	}
	c.addTo(cmd)
	cmd.AddCommand(newBundle(s))
	cmd.AddCommand(more...)
	return cmd
}

func (c *command) addTo(cmd *cobra.Command) {
	c.addShared(cmd)
	f := cmd.Flags()
	f.StringVar(&c.tokenFile, "token-file", "", "a file with USER:TOKEN, to ask the ingress with")
	f.StringVar(&c.createFor, "create-token", "", "create a token for this product user, ask with it, and revoke it")
}

// addShared adds the flags that bundle has too.
func (c *command) addShared(cmd *cobra.Command) {
	f := cmd.Flags()
	f.BoolVarP(&c.everywhere, "all-namespaces", "A", false, "the sites of all namespaces")
	f.StringVar(&c.system, "operator-namespace", config.Namespace, "the namespace of the operator")
	f.StringVar(&c.credentials, "credentials-namespace", config.CredentialsNamespace, "the namespace of its caller keys and personal access tokens")
	f.StringVar(&c.intake, "intake-namespace", config.IntakeNamespace, "the namespace of personal access tokens on their way")
	f.StringSliceVar(&c.metrics, "metrics-url", nil, "the /metrics of a replica, in place of those of the pods through the API server; may be repeated")
	f.BoolVar(&c.noIngress, "no-ingress", false, "do not ask the ingress: only what the cluster knows")
	c.format.AddTo(cmd, output.JSON, output.YAML)
}

// check refuses flags that do not go together.
func (c *command) check() error {
	switch {
	case c.tokenFile != "" && c.createFor != "":
		return exit.Usagef("--token-file and --create-token: give one of them")
	case c.noIngress && (c.tokenFile != "" || c.createFor != ""):
		return exit.Usagef("--no-ingress asks nothing with a token: leave --token-file and --create-token out")
	}
	return c.format.Check()
}

// exam is one run of the checks.
type exam struct {
	*command
	report

	api   client.Client
	sites []tokensv1alpha1.AtlassianSite
	// deployments are those of the operator, as far as they may be read.
	deployments []appsv1.Deployment
	// clocks say how far each clock is ahead of that of this machine, by its name.
	clocks map[string]time.Duration
	// texts are the metrics of each replica, by its name.
	texts map[string]string
}

// examine makes every check that is possible.
func (c *command) examine(ctx context.Context, args []string) (*exam, error) {
	api, err := c.Client()
	if err != nil {
		return nil, err
	}
	all, err := c.sitesOf(ctx, api, args)
	if err != nil {
		return nil, err
	}
	e := &exam{
		command: c, api: api, sites: all, clocks: map[string]time.Duration{}, texts: map[string]string{},
		report: report{Findings: []finding{}, Checked: []string{}, NotChecked: []gap{}},
	}
	for _, check := range []func(context.Context) error{
		e.checkSites, e.checkTokens, e.checkPolicies, e.checkDeployments, e.checkRights, e.checkForms, e.checkReplicas, e.checkIngresses,
	} {
		if err := check(ctx); err != nil {
			return nil, err
		}
	}
	e.checkClocks()
	e.sort()
	return e, nil
}

// sitesOf returns the sites that the arguments name, or all of the namespace, or of every one.
func (c *command) sitesOf(ctx context.Context, api client.Client, args []string) ([]tokensv1alpha1.AtlassianSite, error) {
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

// checkSites looks at the conditions of the sites.
func (e *exam) checkSites(context.Context) error {
	if len(e.sites) == 0 {
		e.missed(checkSites, "There is no AtlassianSite here.", "use -A for those of all namespaces, or create one: docs/how-to/install.md#add-a-site")
	}
	for i := range e.sites {
		e.made(checkSites, ofSite(&e.sites[i])...)
	}
	return nil
}

// checkTokens looks at the conditions of the APITokens in the namespaces of the sites.
func (e *exam) checkTokens(ctx context.Context) error {
	var tokens []tokensv1alpha1.APIToken
	seen := map[string]bool{}
	for i := range e.sites {
		namespace := e.sites[i].Namespace
		if seen[namespace] {
			continue
		}
		seen[namespace] = true
		found, err := selection.InNamespace(ctx, e.api, namespace)
		if err != nil {
			if err = e.unless(err, checkTokens, "list", "apitokens", namespace); err != nil {
				return err
			}
			continue
		}
		tokens = append(tokens, found...)
	}
	e.made(checkTokens, ofTokens(tokens)...)
	return nil
}

// unless notes a check that the user may not make. It returns every other error.
func (e *exam) unless(err error, check, verb, resource, namespace string) error {
	if !apierrors.IsForbidden(err) {
		return err
	}
	at, flag := "", ""
	if namespace != "" {
		at, flag = " in the namespace "+namespace, " -n "+namespace
	}
	e.missed(check, fmt.Sprintf("You may not %s %s%s.", verb, resource, at),
		fmt.Sprintf("have somebody run doctor for whom this says yes: kubectl auth can-i %s %s%s", verb, resource, flag))
	return nil
}

// named names an object in a finding.
func named(o client.Object, kind string) string {
	return fmt.Sprintf("%s %s/%s", kind, o.GetNamespace(), o.GetName())
}
