// Command apitoken-operator runs the API token operator: its controller, its authentication webhook, or its portal.
package main

import (
	"context"
	"flag"
	"fmt"
	"os"
	"runtime/debug"
	"time"

	"github.com/go-logr/logr"
	"github.com/spf13/cobra"
	"go.uber.org/zap/zapcore"
	"k8s.io/client-go/rest"
	"k8s.io/klog/v2"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/client/config"
	"sigs.k8s.io/controller-runtime/pkg/log/zap"

	"apitokens.dev/operator/controllers"
	"apitokens.dev/operator/internal/feed"
	"apitokens.dev/operator/internal/serving"
	"apitokens.dev/operator/webhook/gateway"
	"apitokens.dev/operator/webhook/portal"
)

func main() {
	if err := newCommand().ExecuteContext(ctrl.SetupSignalHandler()); err != nil {
		fmt.Fprintln(os.Stderr, "apitoken-operator:", err)
		os.Exit(1)
	}
}

func newCommand() *cobra.Command {
	root := &cobra.Command{
		Use:   "apitoken-operator",
		Short: "API tokens for Jira and Confluence, as Kubernetes resources",
		Long: "API tokens for Jira and Confluence, as Kubernetes resources.\n\n" +
			"The controller turns APITokens into delivered tokens and salted hashes. The webhook tells the ingress who is behind a request.\n" +
			"The portal lets people and scripts manage their own tokens.\n" +
			"The exit status is 0 after SIGTERM or SIGINT, and 1 with a message on standard error otherwise.",
		SilenceUsage:  true,
		SilenceErrors: true,
	}
	logging := zap.Options{}
	flags := flag.NewFlagSet("", flag.ContinueOnError)
	logging.BindFlags(flags)
	config.RegisterFlags(flags)
	root.PersistentFlags().AddGoFlagSet(flags)
	root.PersistentPreRun = func(*cobra.Command, []string) {
		if logging.Level != nil {
			logging.Level = discreet{logging.Level}
		}
		log := zap.New(zap.UseFlagOptions(&logging))
		ctrl.SetLogger(log)
		klog.SetLogger(log) // client-go logs through klog
	}
	root.AddCommand(newControllerCommand(), newWebhookCommand(), newPortalCommand(), newVersionCommand())
	return root
}

// maxVerbosity is the highest log level that says anything. From 8 on client-go logs the bodies of its requests and
// answers, and ours are Secrets.
const maxVerbosity = 5

// discreet is a log level that never enables what would tell secrets.
type discreet struct{ zapcore.LevelEnabler }

func (d discreet) Enabled(l zapcore.Level) bool {
	return l >= -maxVerbosity && d.LevelEnabler.Enabled(l)
}

const (
	defaultNamespace            = "apitoken-system"
	defaultCredentialsNamespace = "apitoken-credentials"
)

func newControllerCommand() *cobra.Command {
	var o controllers.Options
	var keys licenseKeys
	cmd := &cobra.Command{
		Use:   "controller",
		Short: "Issue and deliver tokens, and keep sites in order",
		Args:  cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			kubeconfig, err := config.GetConfig()
			if err != nil {
				return fmt.Errorf("finding the API server: %w", err)
			}
			if o.Licenses, err = keys.verifier(); err != nil {
				return err
			}
			return controllers.Run(cmd.Context(), kubeconfig, o, ctrl.Log)
		},
	}
	keys.addTo(cmd)
	f := cmd.Flags()
	f.StringVar(&o.Namespace, "namespace", defaultNamespace, "namespace of the token records, caller keys and projections of sites")
	f.StringVar(&o.CredentialsNamespace, "credentials-namespace", defaultCredentialsNamespace, "namespace of the working copies of personal access tokens")
	f.StringVar(&o.WebhookURL, "webhook-url", "http://apitoken-webhook.apitoken-system.svc:8080",
		"where gateways reach the webhook: the beginning of every auth URL")
	f.StringVar(&o.PortalURL, "portal-url", "http://apitoken-portal.apitoken-system.svc:8080",
		"where the ingress reaches the portal: the beginning of the URL that a site's requests for it go to")
	f.BoolVar(&o.AllowExternalUpstreams, "allow-external-upstreams", false,
		"let sites have an upstreamURL that is no Service of their namespace; personal access tokens are sent there")
	f.IntSliceVar(&o.ExpiryNoticeDays, "expiry-notice-days", []int{14, 7, 1},
		"how many days before its end it is told that a token expires")
	f.BoolVar(&o.LeaderElection, "leader-elect", false, "let only one of several replicas write")
	f.StringVar(&o.Health, "health-probe-bind-address", ":8081", "address of /healthz and /readyz, 0 for none")
	f.StringVar(&o.Metrics, "metrics-bind-address", ":8082", "address of /metrics, 0 for none")
	return cmd
}

func newWebhookCommand() *cobra.Command {
	o := gateway.Options{Options: serving.Options{Audit: os.Stdout, Feed: feed.Config{Lease: controllers.LeaderElectionID}}}
	cmd := &cobra.Command{
		Use:   "webhook",
		Short: "Tell the ingress who is behind a request",
		Long: "Tell the ingress who is behind a request.\n\n" +
			"One line of JSON for each authentication and refusal goes to standard output, everything else to standard error.",
	}
	run := func(ctx context.Context, config *rest.Config, log logr.Logger) error {
		return gateway.Run(ctx, config, o, log)
	}
	serves(cmd, &o.Options, run, "address that gateways ask at; nothing else is served there")
	cmd.Flags().DurationVar(&o.FlushTimeout, "flush-timeout", 5*time.Second,
		"how long it may take after that to write when tokens were last used")
	return cmd
}

func newPortalCommand() *cobra.Command {
	o := serving.Options{Audit: os.Stdout}
	cmd := &cobra.Command{
		Use:   "portal",
		Short: "Let people and scripts manage their own tokens, on a page and over REST",
		Long: "Let people and scripts manage their own tokens, on a page and over REST.\n\n" +
			"The ingress sends it what comes for /rest/api-tokens/ and /plugins/servlet/api-tokens of a site.\n" +
			"One line of JSON for each token that was made, rotated or revoked goes to standard output, everything else to standard error.",
	}
	run := func(ctx context.Context, config *rest.Config, log logr.Logger) error {
		return portal.Run(ctx, config, o, log)
	}
	serves(cmd, &o, run, "address that the ingress sends requests to")
	return cmd
}

// serves makes a command that of a process that serves: it has the flags that all of these have.
func serves(cmd *cobra.Command, o *serving.Options, run func(context.Context, *rest.Config, logr.Logger) error, address string) {
	var keys licenseKeys
	cmd.Args = cobra.NoArgs
	cmd.RunE = func(cmd *cobra.Command, _ []string) error {
		kubeconfig, err := config.GetConfig()
		if err != nil {
			return fmt.Errorf("finding the API server: %w", err)
		}
		if o.Feed.Licenses, err = keys.verifier(); err != nil {
			return err
		}
		return run(cmd.Context(), kubeconfig, ctrl.Log)
	}
	keys.addTo(cmd)
	f := cmd.Flags()
	f.StringVar(&o.BindAddress, "bind-address", ":8080", address)
	f.StringVar(&o.Feed.Namespace, "namespace", defaultNamespace, "namespace of the token records, caller keys and projections of sites")
	f.StringVar(&o.Feed.CredentialsNamespace, "credentials-namespace", defaultCredentialsNamespace, "namespace of the working copies of personal access tokens")
	f.DurationVar(&o.DrainDelay, "drain-delay", 5*time.Second,
		"how long to go on serving after SIGTERM, not ready any more, until whoever sends requests has noticed")
	f.DurationVar(&o.ShutdownTimeout, "shutdown-timeout", 15*time.Second, "how long requests in flight may take after that")
	f.StringVar(&o.Health, "health-probe-bind-address", ":8081", "address of /healthz and /readyz, 0 for none")
	f.StringVar(&o.Metrics, "metrics-bind-address", ":8082", "address of /metrics, 0 for none")
}

func newVersionCommand() *cobra.Command {
	return &cobra.Command{
		Use:   "version",
		Short: "Print the version",
		Args:  cobra.NoArgs,
		Run: func(cmd *cobra.Command, _ []string) {
			version, goVersion := "(unknown)", "(unknown)"
			if info, ok := debug.ReadBuildInfo(); ok {
				version, goVersion = info.Main.Version, info.GoVersion
			}
			fmt.Fprintf(cmd.OutOrStdout(), "apitoken-operator %s, %s\n", version, goVersion)
		},
	}
}
