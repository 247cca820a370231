// Package lifecycle_test applies all kinds of operations and faults to APITokens in random order, on a real API server,
// and compares the outcome with a model.
package lifecycle_test

import (
	"fmt"
	"os"
	"sync"
	"testing"

	"k8s.io/client-go/rest"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"apitokens.dev/operator/hack/lib/kubetest"
)

var env kubetest.Env

func TestMain(m *testing.M) { os.Exit(env.Main(m)) }

// steps is the number of operations in one sequence.
const steps = 30

// One seed is run alone with -run 'TestLifecycle/seed=17$'. Operations and faults are then the same each time. UIDs are
// not, and they decide which of two APITokens of the same second is the older.
func TestLifecycle(t *testing.T) { lifecycles(t, 50) }

func lifecycles(t *testing.T, sequences int) {
	happened := &tally{counts: map[string]int{}}
	t.Cleanup(func() { happened.report(t, sequences) })
	for seed := range sequences {
		t.Run(fmt.Sprintf("seed=%d", seed), func(t *testing.T) {
			t.Parallel()
			w := newWorld(t, uint64(seed), happened)
			w.openSite()
			w.declare()
			w.declare()
			w.finish()
			for range steps {
				w.act()
			}
			w.settle()
			w.check()
			w.count("sequence")
		})
	}
}

// accounts are the operator's accounts, made once.
var accounts struct {
	sync.Mutex
	operator client.WithWatch
	webhook  *rest.Config
}

func operator(t *testing.T) client.WithWatch {
	t.Helper()
	accounts.Lock()
	defer accounts.Unlock()
	if accounts.operator == nil {
		accounts.operator = env.Client(t, kubetest.Controller)
	}
	return accounts.operator
}

func webhookConfig(t *testing.T) *rest.Config {
	t.Helper()
	accounts.Lock()
	defer accounts.Unlock()
	if accounts.webhook == nil {
		accounts.webhook = env.User(t, kubetest.Webhook)
	}
	return accounts.webhook
}
