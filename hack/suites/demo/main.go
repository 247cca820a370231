// Command demo shows the main job on a real API server and through a real nginx: tokens are declared, delivered, used,
// refused and rotated, expire and are revoked, by kubectl and over REST. It stays up until Ctrl-C. With --check it checks
// every step and exits; with --cluster it does so on the node of `make cluster`.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"os/signal"
	"strings"
	"syscall"
	"time"

	"github.com/go-logr/logr"
	ctrl "sigs.k8s.io/controller-runtime"

	"apitokens.dev/operator/hack/lib/cluster"
	"apitokens.dev/operator/hack/lib/fakeproduct"
	"apitokens.dev/operator/hack/lib/rig"
)

func main() {
	check := flag.Bool("check", false, "check every step, then end")
	onCluster := flag.Bool("cluster", false, "check every step on the node that `make cluster` started")
	traefik := flag.Bool("traefik", false, "with --cluster: through Traefik instead of nginx")
	flag.Parse()
	ctrl.SetLogger(logr.Discard())
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	start := run
	if *onCluster {
		start = func(ctx context.Context, out io.Writer, _ bool) error { return runOnCluster(ctx, out, *traefik) }
	}
	err := start(ctx, os.Stdout, *check)
	switch {
	case err == nil:
	case ctx.Err() != nil:
		fmt.Fprintln(os.Stderr, "demo: interrupted")
		os.Exit(130) //nolint:gocritic // exitAfterDefer: stop only restores signal handling
	default:
		fmt.Fprintln(os.Stderr, "demo: failed:", err)
		os.Exit(1)
	}
}

func run(ctx context.Context, out io.Writer, check bool) (err error) {
	begun := time.Now()
	_, _ = fmt.Fprintln(out, "Starting the parts:")
	r, err := rig.Start(ctx, out)
	defer func() {
		_, _ = fmt.Fprintln(out, "\nStopping everything ...")
		err = errors.Join(err, r.Stop())
		if err == nil && check {
			_, _ = fmt.Fprintf(out, "%d steps checked in %.0f s\ndemo: ok\n", len(steps), time.Since(begun).Seconds())
		}
	}()
	if err != nil {
		return err
	}
	s := &story{Rig: r, out: out}
	if err := s.takeSteps(ctx); err != nil {
		return err
	}
	if check {
		return nil
	}
	s.printf(tryNext, r.Kubectl(), r.Kubeconfig("admin"), r.URL, r.MetricsURL, pagePath, tokensPath, r.Product.SignIn("alice").Value,
		logins(fakeproduct.People(rig.PersonalAccessToken)))
	<-ctx.Done()
	return nil
}

// runOnCluster takes every step on the node, through one of the two gateways.
func runOnCluster(ctx context.Context, out io.Writer, traefik bool) error {
	c, err := cluster.Open()
	if err != nil {
		return err
	}
	c.Traefik = traefik
	if err := (&story{cluster: c, out: out}).takeSteps(ctx); err != nil {
		return err
	}
	_, _ = fmt.Fprintf(out, "\n%d steps checked\ndemo: ok\n", len(steps))
	return nil
}

// takeSteps takes every step.
func (s *story) takeSteps(ctx context.Context) error {
	for i, step := range steps {
		s.printf("\n%d. %s\n", i+1, step.title)
		if err := step.run(s, ctx); err != nil {
			return fmt.Errorf("step %d, %s: %w", i+1, step.title, err)
		}
	}
	return nil
}

// logins lists the users who can sign in, with their passwords.
func logins(users []fakeproduct.User) string {
	var b strings.Builder
	for _, u := range users {
		_, _ = fmt.Fprintf(&b, "  %-8s %s\n", u.Name, u.Password)
	}
	return b.String()
}

const tryNext = `
Everything is up. In a browser, open

  %[3]s%[5]s

and sign in as one of these. alice has tokens. The page asks the others for their consent to a personal access token.

%[8]s
Or try, in another terminal:

  alias kubectl=%[1]s
  export KUBECONFIG=%[2]s
  TOKEN=$(kubectl -n jira get secret alice-ci-token -o jsonpath='{.data.password}' | base64 -d)

  curl -s %[3]s/rest/api/latest/configuration --user alice:$TOKEN   # the main job
  curl -s %[3]s/rest/double/1.0/echo --user alice:$TOKEN            # what the product received
  kubectl -n jira describe apitoken alice-ci
  kubectl -n jira describe atlassiansite main
  kubectl -n jira patch apitoken alice-ci --type merge -p '{"spec":{"state":"Suspended"}}'   # 401 until it is Active
  kubectl -n jira delete secret alice-ci-token                      # a new secret comes within a minute
  kubectl -n jira delete apitoken alice-ci                          # the next request is 401
  curl -s %[4]s | grep apitoken_
  curl -s --cookie JSESSIONID=%[7]s -H 'Content-Type: application/json' \
    -d '{"label":"My own token"}' %[3]s%[6]s   # a token without Kubernetes

Ctrl-C stops everything and leaves nothing behind.
`
