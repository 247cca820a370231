// Command apitoken-operator runs the API token operator: its controller, its authentication webhook, its portal, or all three.
package main

import (
	"context"
	"flag"
	"fmt"
	"os"
	"time"

	"github.com/go-logr/logr"
	"github.com/spf13/cobra"
	"k8s.io/client-go/rest"
	"k8s.io/klog/v2"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/client/config"
	"sigs.k8s.io/controller-runtime/pkg/log/zap"

	"apitokens.dev/operator/controllers"
	"apitokens.dev/operator/internal/feed"
	"apitokens.dev/operator/internal/manager"
	"apitokens.dev/operator/internal/serving"
	"apitokens.dev/operator/internal/tracing"
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
			"The controller makes tokens for APITokens, delivers them and stores their salted hashes. The webhook authenticates the\n" +
			"requests that the ingress asks about. The portal lets people and scripts manage their own tokens.\n" +
			"The exit status is 0 after SIGTERM or SIGINT. Otherwise it is 1, with a message on standard error.",
		SilenceUsage:  true,
		SilenceErrors: true,
	}
	logging := zap.Options{}
	flags := flag.NewFlagSet("", flag.ContinueOnError)
	logging.BindFlags(flags)
	config.RegisterFlags(flags)
	root.PersistentFlags().AddGoFlagSet(flags)
	root.PersistentPreRun = func(*cobra.Command, []string) {
		log := newLogger(logging)
		ctrl.SetLogger(log)
		klog.SetLogger(log) // client-go logs through klog
	}
	root.AddCommand(newController().cmd, newWebhook().cmd, newPortal().cmd, newRunCommand(), newVersionCommand())
	return root
}

const (
	defaultNamespace            = "apitoken-system"
	defaultCredentialsNamespace = "apitoken-credentials"
	defaultIntakeNamespace      = "apitoken-intake"
)

const (
	namespaceUsage            = "namespace of the token records, and of the projections and enrolments of sites"
	credentialsNamespaceUsage = "namespace of the caller keys, and of the working copies of personal access tokens"
	watchNamespacesUsage      = "namespaces of the APITokens and AtlassianSites to serve, separated by commas; all if empty"
	intakeNamespaceUsage      = "namespace in which the portal hands over personal access tokens to the controller"
)

// A mode is what one process does.
type mode struct {
	cmd       *cobra.Command
	telemetry *manager.Telemetry
	// serving is nil for a mode that serves no requests.
	serving *serving.Options
	// controller is nil for all modes but the controller.
	controller *controllers.Options
	// run runs the mode until the context is done. The flags are parsed.
	run func(context.Context, *rest.Config, logr.Logger) error
}

// withCommand completes the command of a mode that is a process of its own.
func (m mode) withCommand() mode {
	m.cmd.Args = cobra.NoArgs
	m.cmd.RunE = func(cmd *cobra.Command, _ []string) error {
		kubeconfig, err := config.GetConfig()
		if err != nil {
			return fmt.Errorf("finding the API server: %w", err)
		}
		tracer, stop, err := tracing.Start(cmd.Context(), m.cmd.Name(), ctrl.Log.WithName("tracing"))
		if err != nil {
			return err
		}
		defer stop()
		m.telemetry.Tracer = tracer
		return m.run(cmd.Context(), kubeconfig, ctrl.Log)
	}
	f := m.cmd.Flags()
	f.StringVar(&m.telemetry.Health, "health-probe-bind-address", ":8081", "address of /healthz and /readyz; 0 turns it off")
	f.StringVar(&m.telemetry.Metrics, "metrics-bind-address", ":8082", "address of /metrics; 0 turns it off")
	return m
}

func newController() mode {
	var o controllers.Options
	var keys licenseKeys
	cmd := &cobra.Command{
		Use:   "controller",
		Short: "Issue and deliver tokens, and reconcile sites",
	}
	keys.addTo(cmd)
	f := cmd.Flags()
	f.StringVar(&o.Namespace, "namespace", defaultNamespace, namespaceUsage)
	f.StringVar(&o.CredentialsNamespace, "credentials-namespace", defaultCredentialsNamespace, credentialsNamespaceUsage)
	f.StringVar(&o.IntakeNamespace, "intake-namespace", defaultIntakeNamespace, intakeNamespaceUsage)
	f.Var(&o.Scope, "watch-namespaces", watchNamespacesUsage)
	f.BoolVar(&o.WatchSecrets, "watch-secrets", false,
		"watch the Secrets of these namespaces by their names, to see changed tokens within seconds; it takes the right to list and watch Secrets")
	f.StringVar(&o.WebhookURL, "webhook-url", "https://apitoken-webhook.apitoken-system.svc:8080",
		"URL at which gateways reach the webhook; every auth URL begins with it")
	f.Uint16Var(&o.WebhookGRPCPort, "webhook-grpc-port", 9001,
		"port of the webhook's Service for Envoy's external authorization over gRPC, to be written for gateways; 0: it has none")
	f.StringVar(&o.PortalURL, "portal-url", "https://apitoken-portal.apitoken-system.svc:8080",
		"URL at which the ingress reaches the portal; every portal URL of a site begins with it")
	f.StringVar(&o.TLSSecret, "tls-secret", "apitoken-tls",
		"Secret in --namespace with the certificate of webhook and portal, if their URLs begin with https; the controller makes and renews it, "+
			"unless another party, such as cert-manager, writes it; empty: it makes none")
	f.BoolVar(&o.AllowExternalUpstreams, "allow-external-upstreams", false,
		"allow sites whose upstreamURL is not a Service of their namespace; personal access tokens are sent there")
	f.IntSliceVar(&o.ExpiryNoticeDays, "expiry-notice-days", []int{14, 7, 1},
		"days before expiry at which to warn")
	f.BoolVar(&o.LeaderElection, "leader-elect", false, "elect a leader among several replicas; only the leader writes")
	run := func(ctx context.Context, config *rest.Config, log logr.Logger) (err error) {
		if o.Licenses, err = keys.verifier(); err != nil {
			return err
		}
		return controllers.Run(ctx, config, o, log)
	}
	return mode{cmd: cmd, telemetry: &o.Telemetry, controller: &o, run: run}.withCommand()
}

func newWebhook() mode {
	o := gateway.Options{Options: serving.Options{Audit: os.Stdout, Feed: feed.Config{Lease: controllers.LeaderElectionID}}}
	cmd := &cobra.Command{
		Use:   "webhook",
		Short: "Authenticate requests for the ingress",
		Long: "Authenticate requests for the ingress.\n\n" +
			"It writes one line of JSON for each authentication and refusal to standard output, and all other logs to standard error.",
	}
	run := func(ctx context.Context, config *rest.Config, log logr.Logger) error {
		return gateway.Run(ctx, config, o, log)
	}
	cmd.Flags().StringVar(&o.Feed.CredentialsNamespace, "credentials-namespace", defaultCredentialsNamespace, credentialsNamespaceUsage)
	cmd.Flags().StringVar(&o.GRPCBindAddress, "grpc-bind-address", ":9001", "address for Envoy's external authorization over gRPC; 0 turns it off")
	cmd.Flags().DurationVar(&o.FlushTimeout, "flush-timeout", 5*time.Second,
		"maximum time after --shutdown-timeout to write when tokens were last used")
	return serve(cmd, &o.Options, run, "address for the questions of gateways; nothing else is served there")
}

func newPortal() mode {
	o := portal.Options{Options: serving.Options{Audit: os.Stdout, Feed: feed.Config{Lease: controllers.LeaderElectionID}}}
	cmd := &cobra.Command{
		Use:   "portal",
		Short: "Let people and scripts manage their own tokens, on a page and over REST",
		Long: "Let people and scripts manage their own tokens, on a page and over REST.\n\n" +
			"The ingress sends it the requests for /rest/api-tokens/ and /plugins/servlet/api-tokens of a site.\n" +
			"It writes one line of JSON for each token that is created, rotated or revoked to standard output, and all other logs to\n" +
			"standard error.",
	}
	run := func(ctx context.Context, config *rest.Config, log logr.Logger) error {
		return portal.Run(ctx, config, o, log)
	}
	f := cmd.Flags()
	f.StringVar(&o.IntakeNamespace, "intake-namespace", defaultIntakeNamespace, intakeNamespaceUsage)
	f.StringVar(&o.Leaks.GitHubKeys, "leak-github-keys", "",
		"JSON file with the public keys of GitHub's secret scanning, read for each message; without it, GitHub's messages about leaked tokens are not taken")
	f.StringVar(&o.Leaks.GitLabToken, "leak-gitlab-token", "",
		"file with the token that GitLab's token revocation sends, of at least 32 characters, read for each message; without it, GitLab's messages are not taken")
	return serve(cmd, &o.Options, run, "address for the requests that the ingress sends")
}

// serve completes a mode that serves requests, with the flags that all of them share.
func serve(cmd *cobra.Command, o *serving.Options, run func(context.Context, *rest.Config, logr.Logger) error, address string) mode {
	var keys licenseKeys
	keys.addTo(cmd)
	f := cmd.Flags()
	f.StringVar(&o.BindAddress, "bind-address", ":8080", address)
	f.StringVar(&o.TLS.Cert, "tls-cert-file", "",
		"file of the certificate to serve, in PEM, with its intermediate authorities after it; read again when it changes")
	f.StringVar(&o.TLS.Key, "tls-private-key-file", "", "file of the private key of --tls-cert-file, in PEM")
	f.StringVar(&o.TLS.MinVersion, "tls-min-version", "1.3", "lowest version of TLS to accept: 1.3, or 1.2 for gateways that cannot do better")
	f.BoolVar(&o.TLS.PlainHTTP, "plain-http", false,
		"accept plain HTTP on the same ports, or alone without a certificate; everybody who can read the network between the gateway and "+
			"this process can then take tokens, caller keys and personal access tokens from it")
	f.StringVar(&o.Feed.Namespace, "namespace", defaultNamespace, namespaceUsage)
	f.Var(&o.Feed.Scope, "watch-namespaces", watchNamespacesUsage)
	f.DurationVar(&o.DrainDelay, "drain-delay", 5*time.Second,
		"time to keep serving after SIGTERM while reporting not ready, so that clients notice")
	f.DurationVar(&o.ShutdownTimeout, "shutdown-timeout", 15*time.Second, "maximum time for requests in flight after --drain-delay")
	return mode{cmd: cmd, telemetry: &o.Telemetry, serving: o, run: func(ctx context.Context, config *rest.Config, log logr.Logger) (err error) {
		if o.Feed.Licenses, err = keys.verifier(); err != nil {
			return err
		}
		return run(ctx, config, log)
	}}.withCommand()
}
