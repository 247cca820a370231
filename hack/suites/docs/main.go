// Command docs runs every command of README.md and of the pages below docs, and applies every block of YAML, on a whole
// installation: a real API server, the operator, nginx and a fake Jira. A block that cannot run here is marked in its page:
//
//	<!-- docs-check: the reason -->
//
// The files in the folder before prepare single pages.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"os"
	"os/signal"
	"syscall"
	"time"

	"github.com/go-logr/logr"
	ctrl "sigs.k8s.io/controller-runtime"

	"apitokens.dev/operator/hack/lib/controlplane"
	"apitokens.dev/operator/hack/lib/rig"
)

func main() {
	only := flag.String("page", "", "check only this page, such as docs/how-to/rotate.md")
	flag.Parse()
	ctrl.SetLogger(logr.Discard())
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	if err := run(ctx, *only); err != nil {
		fmt.Fprintln(os.Stderr, "docs-check: failed:", err)
		os.Exit(1) //nolint:gocritic // exitAfterDefer: stop only restores signal handling
	}
}

func run(ctx context.Context, only string) (err error) {
	root, begun := controlplane.RepositoryRoot(), time.Now()
	paths, err := pages(root)
	if err != nil {
		return fmt.Errorf("looking for pages: %w", err)
	}
	if only != "" {
		paths = []string{only}
	}
	fmt.Println("Starting the parts:")
	r, err := rig.Start(ctx, os.Stdout)
	defer func() { err = errors.Join(err, r.Stop()) }()
	if err != nil {
		return err
	}
	s, err := newShell(ctx, r, root)
	if err != nil {
		return err
	}
	defer s.remove()
	var all tally
	for _, page := range paths {
		blocks, err := readPage(root, page)
		if err != nil {
			return err
		}
		t := s.check(ctx, page, blocks)
		all.add(t)
		if t != (tally{}) {
			fmt.Printf("%-42s %3d run, %d marked, %d failed\n", page, t.run, t.marked, t.failed)
		}
	}
	fmt.Printf("docs-check: %d blocks run, %d marked, %d failed, in %.0f s\n", all.run, all.marked, all.failed, time.Since(begun).Seconds())
	if all.failed > 0 || all.run == 0 {
		return errors.New("not every block does what its page says")
	}
	return nil
}
