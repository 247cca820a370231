//go:build cluster

package main

import (
	"context"
	"fmt"
	"net/http"
	"strings"
	"sync"
	"testing"
	"time"

	"apitokens.dev/operator/hack/lib/cluster"
	"apitokens.dev/operator/hack/lib/rig"
	"apitokens.dev/operator/internal/upstream"
)

// load sends requests until it is stopped, and counts the answers.
type load struct {
	stop   context.CancelFunc
	done   sync.WaitGroup
	mu     sync.Mutex
	counts map[string]int
}

// startLoad sends 200 requests a second, with each token: some that the webhook judges, some that the portal answers.
func startLoad(t *testing.T, tokens ...string) *load {
	t.Helper()
	ctx, stop := context.WithCancel(t.Context())
	l := &load{stop: stop, counts: map[string]int{}}
	for i, token := range append(tokens, tokens...) {
		for _, path := range []string{"/rest/api/2/myself", "/rest/api-tokens/latest/"} {
			l.done.Go(func() {
				for tick := time.NewTicker(time.Duration(len(tokens)) * 20 * time.Millisecond); ; {
					select {
					case <-ctx.Done():
						tick.Stop()
						return
					case <-tick.C:
					}
					got, err := status(context.WithoutCancel(ctx), path, token)
					l.count(fmt.Sprintf("%s with token %d: %d %v", path, i%len(tokens), got, err))
				}
			})
		}
	}
	return l
}

func (l *load) count(answer string) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.counts[answer]++
}

// end stops the load, and returns how often each answer came.
func (l *load) end() map[string]int {
	l.stop()
	l.done.Wait()
	return l.counts
}

// withoutFailure fails unless every request with the tokens gets 200 while something is done.
func withoutFailure(t *testing.T, do func(), tokens ...string) {
	t.Helper()
	l := startLoad(t, tokens...)
	do()
	good := 0
	for answer, n := range l.end() {
		if strings.HasSuffix(answer, " 200 <nil>") {
			good += n
		} else {
			t.Errorf("%d times: %s", n, answer)
		}
	}
	t.Logf("%d requests were answered with 200", good)
	if good < 100 {
		t.Error("there was no load")
	}
}

// An update of all three Deployments fails no request.
func rollingUpdate(t *testing.T, token string) {
	withoutFailure(t, func() { restartAll(t) }, token)
}

// restartAll replaces every pod of the operator, and waits until those before have ended.
func restartAll(t *testing.T) {
	t.Helper()
	before := pods(t)
	admin(t, "--namespace", cluster.System, "rollout", "restart", "deployment")
	err := on.AwaitOperator(t.Context())
	eventually(t, "the old pods to end", 2*time.Minute, func(context.Context) error {
		for _, old := range before {
			if got := admin(t, "--namespace", cluster.System, "get", "pod", old.Name, "--ignore-not-found", "--output", "name"); got != "" {
				return fmt.Errorf("%s is there", old.Name)
			}
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
}

// A process that is killed comes back, and lets nobody in meanwhile.
func killedProcesses(t *testing.T, token string) {
	for _, mode := range []string{"webhook", "portal", "controller"} {
		pid := strings.TrimSpace(execOnNode(t, "pgrep", "--oldest", "--full", "^/apitoken-operator "+mode))
		l := startLoad(t, token[:len(token)-1])
		execOnNode(t, "kill", "-9", pid)
		eventually(t, "a restart", time.Minute, func(context.Context) error {
			for _, pod := range pods(t) {
				if pod.Labels["app.kubernetes.io/component"] == mode && pod.Status.ContainerStatuses[0].RestartCount > 0 {
					return nil
				}
			}
			return fmt.Errorf("no %s was restarted", mode)
		})
		if err := on.AwaitOperator(t.Context()); err != nil {
			t.Fatal(err)
		}
		expect(t, token, http.StatusOK)
		for answer, n := range l.end() {
			if strings.HasSuffix(answer, " 200 <nil>") {
				t.Errorf("with a wrong token, while the %s was away, %d times: %s", mode, n, answer)
			}
		}
	}
}

func execOnNode(t *testing.T, args ...string) string {
	t.Helper()
	out, err := on.Exec(context.WithoutCancel(t.Context()), args...) // a cleanup comes after the end of the context
	if err != nil {
		t.Fatal(err)
	}
	return out
}

// The controller manager deletes what is in the namespace in any order: APITokens, their site, the Secrets of both. Nothing hangs,
// and of the namespace no credential is left.
func deletedNamespace(t *testing.T) {
	if credentials := admin(t, "--namespace", cluster.Credentials, "get", "secrets",
		"--field-selector", "type="+upstream.SecretType, "--output", "name"); credentials == "" {
		t.Fatal("there are no credentials")
	}
	admin(t, "delete", "namespace", rig.Namespace, "--timeout=2m")
	eventually(t, "the working copies to go", time.Minute, func(context.Context) error {
		left := admin(t, "--namespace", cluster.Credentials, "get", "secrets", "--field-selector", "type="+upstream.SecretType, "--output", "name")
		if left != "" {
			return fmt.Errorf("left: %s", left)
		}
		return nil
	})
	if err := on.StartJira(t.Context()); err != nil {
		t.Fatal(err)
	}
	serve(t)
}
