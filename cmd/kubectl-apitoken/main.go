// Command kubectl-apitoken is a plugin of kubectl: it shows and changes API tokens with the rights of its user.
package main

import (
	"context"
	"fmt"
	"os"
	"os/signal"
	"syscall"
	"time"

	"github.com/go-logr/logr"
	"k8s.io/cli-runtime/pkg/genericiooptions"
	"k8s.io/klog/v2"
	ctrl "sigs.k8s.io/controller-runtime"

	"apitokens.dev/operator/internal/plugin"
	"apitokens.dev/operator/internal/plugin/exit"
	"apitokens.dev/operator/internal/plugin/output"
)

func main() { os.Exit(run()) }

func run() int {
	// Errors are returned and printed below. client-go's own lines would be noise, and at high verbosity hold Secrets.
	ctrl.SetLogger(logr.Discard())
	klog.SetLogger(logr.Discard())
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	streams := genericiooptions.IOStreams{In: os.Stdin, Out: output.TerminalOf(os.Stdout), ErrOut: output.TerminalOf(os.Stderr)}
	err := plugin.New(streams, time.Now).ExecuteContext(ctx)
	if err != nil {
		fmt.Fprintln(streams.ErrOut, "Error:", err)
	}
	return exit.CodeOf(err)
}
