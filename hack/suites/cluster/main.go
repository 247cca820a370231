// Command cluster runs the operator on a Kubernetes node of this machine, as a user installs it.
//
//	cluster up               starts the node with operator, nginx and a fake Jira, and declares a token; on a node that runs,
//	                         gives it the operator as it is now
//	cluster down             removes all of it
//	cluster exec COMMAND...  runs a command on the node
package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"os/signal"
	"syscall"
	"time"

	"apitokens.dev/operator/hack/lib/cluster"
	"apitokens.dev/operator/hack/lib/node"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	if err := run(ctx, os.Stdout, os.Args[1:]); err != nil {
		fmt.Fprintln(os.Stderr, "cluster:", err)
		if ended, ok := errors.AsType[*exec.ExitError](err); ok {
			os.Exit(ended.ExitCode()) //nolint:gocritic // exitAfterDefer: stop only restores signal handling
		}
		os.Exit(1)
	}
}

func run(ctx context.Context, out io.Writer, args []string) error {
	switch {
	case len(args) == 1 && args[0] == "possible":
		return node.Possible()
	case len(args) == 1 && args[0] == "up":
		return up(ctx, out)
	case len(args) == 1 && args[0] == "down":
		return node.Remove()
	case len(args) > 1 && args[0] == "exec":
		n, err := node.Open()
		if err != nil {
			return err
		}
		cmd := n.Command(ctx, args[1:]...)
		cmd.Stdin, cmd.Stdout, cmd.Stderr = os.Stdin, out, os.Stderr
		return cmd.Run()
	}
	return errors.New("usage: cluster up, cluster down, cluster exec COMMAND... or cluster possible")
}

// up starts everything. What it started before it failed stays, to be looked at.
func up(ctx context.Context, out io.Writer) error {
	var c *cluster.Cluster
	for _, part := range []struct {
		what string
		do   func() error
	}{
		{"starting the node", func() (err error) { c, err = startOrRenew(ctx); return err }},
		{"kubectl apply --server-side -k config/default", func() error { return c.Install(ctx, "default") }},
		{"starting the fake Jira", func() error { return c.StartJira(ctx) }},
		{"declaring the site of config/samples", func() error { return c.DeclareSite(ctx) }},
		{"starting nginx with config/samples/nginx.conf", func() error {
			authURL, err := c.AuthURL(ctx)
			if err != nil {
				return err
			}
			return c.StartGateway(ctx, authURL)
		}},
		{"alice declares a token", func() error { return c.DeclareToken(ctx) }},
	} {
		begun := time.Now()
		_, _ = fmt.Fprintf(out, "  %s ... ", part.what)
		if err := part.do(); err != nil {
			_, _ = fmt.Fprintln(out, "failed")
			return fmt.Errorf("%s: %w", part.what, err)
		}
		_, _ = fmt.Fprintf(out, "%.1f s\n", time.Since(begun).Seconds())
	}
	_, _ = fmt.Fprintf(out, tryNext, c.KubectlPath(), c.Kubeconfig("admin"), c.BaseURL())
	return nil
}

// startOrRenew starts a node, or gives the one that runs the operator as it is now.
func startOrRenew(ctx context.Context) (*cluster.Cluster, error) {
	if c, err := cluster.Open(); err == nil {
		return c, c.Renew(ctx)
	}
	return cluster.Start(ctx)
}

const tryNext = `
Everything runs. Try, in this or another terminal:

  alias kubectl=%[1]s
  export KUBECONFIG=%[2]s
  TOKEN=$(kubectl -n jira get secret alice-ci-token -o jsonpath='{.data.password}' | base64 -d)

  kubectl get pods -A
  kubectl -n jira describe apitoken alice-ci
  curl -s %[3]s/rest/api/2/myself --user alice:$TOKEN      # through the nginx pod
  curl -s %[3]s/rest/double/1.0/echo --user alice:$TOKEN   # what the product received
  kubectl -n apitoken-system logs deployment/apitoken-webhook
  bin/cluster/cluster exec ctr -n k8s.io images ls         # a command on the node

The page for people is %[3]s/plugins/servlet/api-tokens (bob, "bobs password").
The logs of the node's programs are in bin/cluster/run/log. The certificates of the node are for one day.

` + "`make cluster-down`" + ` removes everything.
`
