//go:build cluster

package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"slices"
	"strings"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/util/wait"

	"apitokens.dev/operator/hack/lib/cluster"
	"apitokens.dev/operator/hack/lib/rig"
)

// on is the node that all tests run on, with the fake Jira. Each test installs the operator and removes it.
var on *cluster.Cluster

func TestMain(m *testing.M) { os.Exit(runTests(m)) }

func runTests(m *testing.M) (code int) {
	ctx := context.Background()
	var err error
	if on, err = cluster.Start(ctx); err == nil {
		defer func() {
			if code != 0 {
				fmt.Fprintln(os.Stderr, "The logs of the node end with:\n"+on.Logs(5))
			}
			if err := on.Stop(); err != nil {
				fmt.Fprintln(os.Stderr, "removing the node:", err)
				code = 1
			}
		}()
		err = on.StartJira(ctx)
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, "starting the node:", err)
		return 1
	}
	return m.Run()
}

// admin runs kubectl as an administrator.
func admin(t *testing.T, args ...string) string { return adminWith(t, "", args...) }

// adminWith does so with text on kubectl's standard input.
func adminWith(t *testing.T, stdin string, args ...string) string {
	t.Helper()
	// A cleanup runs after the end of the test's context.
	out, err := on.Kubectl(context.WithoutCancel(t.Context()), "admin", []byte(stdin), args...)
	if err != nil {
		t.Fatal(err)
	}
	return out
}

// eventually waits until done succeeds, and says what was the matter last if it never does.
func eventually(t *testing.T, what string, within time.Duration, done func(ctx context.Context) error) {
	t.Helper()
	var last error
	err := wait.PollUntilContextTimeout(t.Context(), 200*time.Millisecond, within, true, func(ctx context.Context) (bool, error) {
		last = done(ctx)
		return last == nil, nil
	})
	if err != nil {
		t.Fatalf("waiting for %s: %v: %v", what, err, last)
	}
}

// status sends a request of alice through the gateway and returns its status.
func status(ctx context.Context, path, password string) (int, error) {
	return statusOf(ctx, path, func(r *http.Request) { r.SetBasicAuth("alice", password) })
}

// anonymously sends one without a credential.
func anonymously(ctx context.Context, path string) (int, error) {
	return statusOf(ctx, path, func(*http.Request) {})
}

func statusOf(ctx context.Context, path string, change func(*http.Request)) (int, error) {
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, on.BaseURL()+path, http.NoBody)
	if err != nil {
		return 0, err
	}
	change(request)
	response, err := on.Client().Do(request)
	if err != nil {
		return 0, err
	}
	_, err = io.Copy(io.Discard, response.Body) // otherwise the next request needs another connection, and the node has 28,000 a minute
	return response.StatusCode, errors.Join(err, response.Body.Close())
}

// expect waits until a request of alice is answered so.
func expect(t *testing.T, password string, want int) {
	t.Helper()
	eventually(t, fmt.Sprintf("HTTP %d", want), 30*time.Second, func(ctx context.Context) error {
		got, err := status(ctx, "/rest/api/2/myself", password)
		if err == nil && got != want {
			err = fmt.Errorf("HTTP %d", got)
		}
		return err
	})
}

// serve declares site and token, starts the gateway, and waits until the delivered token works.
func serve(t *testing.T) {
	t.Helper()
	ctx := t.Context()
	if err := on.DeclareSite(ctx); err != nil {
		t.Fatal(err)
	}
	startGateway(t)
	if err := on.DeclareToken(ctx); err != nil {
		t.Fatal(err)
	}
	works(t)
}

// startGateway starts the gateway with the site's auth URL, or starts it again.
func startGateway(t *testing.T) {
	t.Helper()
	authURL, err := on.AuthURL(t.Context())
	if err == nil {
		err = on.StartGateway(t.Context(), authURL)
	}
	if err != nil {
		t.Fatal(err)
	}
}

// works returns the delivered token. It fails unless the token opens the gateway, and another does not.
func works(t *testing.T) string {
	t.Helper()
	delivered, err := on.Secret(t.Context(), rig.Namespace, "alice-ci-token")
	if err != nil {
		t.Fatal(err)
	}
	token := string(delivered.Data["password"])
	expect(t, token, http.StatusOK)
	expect(t, token[:len(token)-1], http.StatusUnauthorized)
	return token
}

// pods returns the operator's pods that are not on their way out.
func pods(t *testing.T) []corev1.Pod {
	t.Helper()
	var list corev1.PodList
	if err := json.Unmarshal([]byte(admin(t, "--namespace", cluster.System, "get", "pods", "--output", "json")), &list); err != nil {
		t.Fatal(err)
	}
	var live []corev1.Pod
	for _, pod := range list.Items {
		if pod.DeletionTimestamp == nil {
			live = append(live, pod)
		}
	}
	return live
}

// expectPods fails unless exactly so many pods of the operator run, all ready, none ever restarted, where only restricted pods may.
func expectPods(t *testing.T, want map[string]int) {
	t.Helper()
	for _, namespace := range []string{cluster.System, cluster.Credentials, cluster.Intake} {
		label := admin(t, "get", "namespace", namespace, "--output", `jsonpath={.metadata.labels.pod-security\.kubernetes\.io/enforce}`)
		if label != "restricted" {
			t.Errorf("%s enforces %q", namespace, label)
		}
	}
	got := map[string]int{}
	for _, pod := range pods(t) {
		got[pod.Labels["app.kubernetes.io/component"]]++
		for _, s := range pod.Status.ContainerStatuses {
			if !s.Ready || s.RestartCount > 0 {
				t.Errorf("%s: ready %v, %d restarts, last %+v", pod.Name, s.Ready, s.RestartCount, s.LastTerminationState.Terminated)
			}
		}
	}
	if fmt.Sprint(got) != fmt.Sprint(want) {
		t.Errorf("these pods run: %v, want %v", got, want)
	}
}

// awaitLeader waits until one of the controllers that run leads. A new one may have to wait until the lease of the last one has ended.
func awaitLeader(t *testing.T) {
	t.Helper()
	eventually(t, "the new controller to lead", time.Minute, func(context.Context) error {
		leader := admin(t, "--namespace", cluster.System, "get", "lease", "apitoken-controller", "--output", "jsonpath={.spec.holderIdentity}")
		if !slices.ContainsFunc(pods(t), func(p corev1.Pod) bool { return strings.HasPrefix(leader, p.Name+"_") }) {
			return fmt.Errorf("%s leads", leader)
		}
		return nil
	})
}

// remove removes the operator as docs/how-to/remove.md says, and fails if anything is left.
func remove(t *testing.T, uninstall func()) {
	t.Helper()
	admin(t, "delete", "apitokens", "--all", "-A", "--timeout=1m")
	admin(t, "delete", "atlassiansites", "--all", "-A", "--timeout=1m")
	uninstall()
	kinds := "namespaces,clusterroles,clusterrolebindings,validatingadmissionpolicies,validatingadmissionpolicybindings,customresourcedefinitions"
	if left := admin(t, "get", kinds, "--selector", "app.kubernetes.io/name=apitoken-operator", "--output", "name"); left != "" {
		t.Errorf("this is left of the operator:\n%s", left)
	}
	if left := admin(t, "get", "customresourcedefinitions,clusterroles,namespaces", "--output", "name"); strings.Contains(left, "apitoken") {
		t.Errorf("this is left of the operator:\n%s", left)
	}
	secrets := admin(t, "--namespace", rig.Namespace, "get", "secrets", "--output", "name")
	if want := "secret/alice-personal-access-token\n"; secrets != want {
		t.Errorf("these Secrets are left: %s", secrets)
	}
	if terminating := admin(t, "get", "namespaces", "--field-selector", "status.phase=Terminating", "--output", "name"); terminating != "" {
		t.Errorf("these namespaces are still terminating: %s", terminating)
	}
	admin(t, "delete", "namespace", "ingress", "--ignore-not-found", "--timeout=2m")
}
