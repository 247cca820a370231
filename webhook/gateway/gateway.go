// Package gateway is the process that gateways ask. It answers each contract from an index that the feed keeps fresh.
package gateway

import (
	"context"
	"fmt"
	"time"

	"github.com/go-logr/logr"
	"k8s.io/client-go/rest"
	"k8s.io/utils/clock"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/metrics"

	"apitokens.dev/operator/internal/audit"
	"apitokens.dev/operator/internal/authn"
	"apitokens.dev/operator/internal/feed"
	"apitokens.dev/operator/internal/manager"
	"apitokens.dev/operator/internal/serving"
	"apitokens.dev/operator/webhook/gateway/contract"
	"apitokens.dev/operator/webhook/gateway/usage"
)

// requestTimeout bounds one question of a gateway.
const requestTimeout = 10 * time.Second

// Options are the settings of the process.
type Options struct {
	serving.Options
	// FlushTimeout bounds the time to write last accesses after the last request.
	FlushTimeout time.Duration
}

// Run answers gateways until ctx is done.
func Run(ctx context.Context, config *rest.Config, o Options, log logr.Logger) error {
	if err := serving.SetTransportEnv(); err != nil {
		return err
	}
	mgr, err := manager.New(config, o.Addresses, ctrl.Options{
		Logger: log, GracefulShutdownTimeout: new(o.DrainDelay + o.ShutdownTimeout + o.FlushTimeout + 5*time.Second),
	})
	if err != nil {
		return err
	}
	index := authn.NewIndex(time.Now)
	fed, err := feed.New(config, o.Feed, index, log.WithName("feed"), metrics.Registry)
	if err != nil {
		return err
	}
	write, err := usage.NewWriter(config)
	if err != nil {
		return err
	}
	uses := usage.NewRecorder(write, clock.RealClock{}, o.FlushTimeout, log.WithName("usage"), metrics.Registry)
	// The log ends after the manager, so that it writes the lines of the last requests.
	lines := audit.NewLog(o.Audit, metrics.Registry)
	defer lines.Close()
	handler := contract.NewHandler(index, func(x audit.Exchange) {
		lines.Observe(x)
		uses.Observe(x)
	})
	server := serving.NewServer(o.Options, serving.NewHTTP(handler, requestTimeout), fed, uses.Run)
	if err := server.SetupWithManager(mgr); err != nil {
		return err
	}
	if err := mgr.Start(ctx); err != nil {
		return fmt.Errorf("running the gateway: %w", err)
	}
	return nil
}
