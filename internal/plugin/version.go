package plugin

import (
	"fmt"

	"github.com/spf13/cobra"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/client-go/discovery"

	tokensv1alpha1 "apitokens.dev/operator/api/v1alpha1"
	"apitokens.dev/operator/internal/plugin/exit"
	"apitokens.dev/operator/internal/plugin/output"
	"apitokens.dev/operator/internal/plugin/session"
	"apitokens.dev/operator/internal/version"
)

// versions are those of the plugin and of the cluster.
type versions struct {
	Plugin  version.Build `json:"plugin"`
	Cluster *cluster      `json:"cluster,omitempty"`
}

// cluster is what the API server says.
type cluster struct {
	Kubernetes string `json:"kubernetes"`
	// API is the version of apitokens.dev that the plugin uses. Served says whether the cluster has it.
	API    string `json:"api"`
	Served bool   `json:"served"`
}

func newVersion(s *session.Session) *cobra.Command {
	var clientOnly bool
	var format output.Format
	cmd := &cobra.Command{
		Use:   "version",
		Short: "Print the versions of the plugin, of Kubernetes and of the API",
		Long: "Print the version of the plugin, that of Kubernetes, and whether the cluster has the API that the plugin uses.\n\n" +
			"The version of the operator is in the image of its Deployments, which not everybody may read.",
		Example: `  kubectl apitoken version
  kubectl apitoken version --client
  kubectl apitoken version -o json`,
		Args: exit.Args(cobra.NoArgs),
		RunE: func(*cobra.Command, []string) error {
			if err := format.Check(); err != nil {
				return err
			}
			v := versions{Plugin: version.Running()}
			var err error
			if !clientOnly {
				v.Cluster, err = ask(s)
			}
			if printErr := printVersions(s, &format, v); printErr != nil {
				return printErr
			}
			return err
		},
	}
	cmd.Flags().BoolVar(&clientOnly, "client", false, "ask no API server")
	format.AddTo(cmd, output.JSON, output.YAML)
	return cmd
}

// ask asks the API server. Everybody who is signed in may do that.
func ask(s *session.Session) (*cluster, error) {
	config, err := s.Config()
	if err != nil {
		return nil, err
	}
	d, err := discovery.NewDiscoveryClientForConfig(config)
	if err != nil {
		return nil, fmt.Errorf("connecting to the API server: %w", err)
	}
	server, err := d.ServerVersion()
	if err != nil {
		return nil, fmt.Errorf("asking the API server for its version: %w", err)
	}
	c := &cluster{Kubernetes: server.GitVersion, API: tokensv1alpha1.GroupVersion.String()}
	_, err = d.ServerResourcesForGroupVersion(c.API)
	switch {
	case err == nil:
		c.Served = true
	case !apierrors.IsNotFound(err):
		return c, fmt.Errorf("asking the API server for its kinds: %w", err)
	}
	return c, nil
}

func printVersions(s *session.Session, format *output.Format, v versions) error {
	if !format.ForPeople() {
		return format.Value(s.Out, v)
	}
	fmt.Fprintln(s.Out, v.Plugin.Line("kubectl-apitoken"))
	switch c := v.Cluster; {
	case c == nil:
	case c.Served:
		fmt.Fprintf(s.Out, "Kubernetes %s, with %s\n", c.Kubernetes, c.API)
	default:
		fmt.Fprintf(s.Out, "Kubernetes %s, without %s: the operator is not installed\n", c.Kubernetes, c.API)
	}
	return nil
}
