//go:build cluster

package main

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"strconv"
	"strings"
	"testing"
	"time"

	"apitokens.dev/operator/hack/lib/cluster"
	"apitokens.dev/operator/hack/lib/rig"
)

// On a full disk the logs of pods cannot be written. Nobody waits for them: requests are judged as before, and the lines that are
// written once there is room are complete.
func diskFull(t *testing.T, token string) {
	free := func() { execOnNode(t, "rm", "-f", "/etc/node/disk/full") }
	t.Cleanup(free)
	execOnNode(t, "sh", "-c", "head -c 2G /dev/zero >/etc/node/disk/full || df /etc/node/disk | grep 100%")
	withoutFailure(t, func() {
		for range 1000 {
			if got, err := status(t.Context(), "/rest/api/2/myself", token[:len(token)-1]); err != nil || got != http.StatusUnauthorized {
				t.Fatalf("a wrong token, while the disk is full: HTTP %d, %v", got, err)
			}
		}
	}, token)
	if said := execOnNode(t, "sh", "-c", "grep -c 'no space left on device' /etc/node/log/containerd.log || true"); strings.TrimSpace(said) == "0" {
		t.Error("no program of the node says that the disk is full")
	}
	free()
	eventually(t, "lines of the log after that", time.Minute, func(ctx context.Context) error {
		if got, err := status(ctx, "/rest/api/2/myself", token); err != nil || got != http.StatusOK {
			t.Fatalf("once there is room: HTTP %d, %v", got, err)
		}
		since, err := on.Kubectl(ctx, "admin", nil, "--namespace", cluster.System, "logs", "--selector", "app.kubernetes.io/component=webhook", "--since=5s")
		if err == nil && !strings.Contains(since, "alice has been authenticated") {
			err = fmt.Errorf("the log has %q", since)
		}
		return err
	})
}

// A webhook that reaches its limit of memory is killed and comes back. The other replica answers meanwhile, if the gateway knows both.
func memoryLimit(t *testing.T, token string) {
	authURL, err := on.AuthURL(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	var replicas []string
	var container string
	for _, pod := range pods(t) {
		if pod.Labels["app.kubernetes.io/component"] == "webhook" {
			replicas = append(replicas, net.JoinHostPort(pod.Status.PodIP, "8080"))
			_, container, _ = strings.Cut(pod.Status.ContainerStatuses[0].ContainerID, "://")
		}
	}
	if err := on.StartNginx(t.Context(), authURL, replicas...); err != nil {
		t.Fatal(err)
	}
	expect(t, token, http.StatusOK)
	withoutFailure(t, func() {
		// The limit comes down as far as the kernel lets it, until what the next requests need is too much.
		execOnNode(t, "timeout", "60", "sh", "-c", squeeze, "squeeze", container)
		eventually(t, "a restart", time.Minute, func(context.Context) error { return killedForMemory(t) })
		if err := on.AwaitOperator(t.Context()); err != nil {
			t.Fatal(err)
		}
	}, token, token, token, token)
	startGateway(t)
	expect(t, token, http.StatusOK)
}

// squeeze lowers the limit of a container, whose id is $1, to what it uses until it has ended.
const squeeze = `cd "$(find /sys/fs/cgroup/memory -type d -name "$1")"
while [ -n "$(cat cgroup.procs)" ]; do
    echo $(($(cat memory.usage_in_bytes) - 65536)) >memory.limit_in_bytes || true
done 2>/dev/null`

func killedForMemory(t *testing.T) error {
	t.Helper()
	for _, pod := range pods(t) {
		if ended := pod.Status.ContainerStatuses[0].LastTerminationState.Terminated; ended != nil && ended.Reason == "OOMKilled" {
			return nil
		}
	}
	return errors.New("no container ended for want of memory")
}

// A full quota in the namespace of a token refuses its Secret. The APIToken says so in the words of the API server, and is finished
// once there is room.
func quota(t *testing.T) {
	secrets := strings.Fields(admin(t, "--namespace", rig.Namespace, "get", "secrets", "--output", "name"))
	full := fmt.Sprintf("count/secrets=%d", len(secrets))
	admin(t, "--namespace", rig.Namespace, "create", "quota", "few-secrets", "--hard", full)
	t.Cleanup(func() { admin(t, "--namespace", rig.Namespace, "delete", "quota", "few-secrets", "--ignore-not-found") })
	admin(t, "--namespace", rig.Namespace, "wait", "quota/few-secrets", `--for=jsonpath={.status.used.count/secrets}=`+strconv.Itoa(len(secrets)), "--timeout=1m")

	declared, err := on.Sample("apitoken.yaml")
	if err != nil {
		t.Fatal(err)
	}
	another := strings.ReplaceAll(string(declared), "alice-ci", "alice-quota")
	if _, err := on.KubectlAs(t.Context(), "alice", []byte(another), "apply", "--server-side", "-f", "-"); err != nil {
		t.Fatal(err)
	}
	admin(t, "--namespace", rig.Namespace, "wait", "apitoken/alice-quota", `--for=jsonpath={.status.conditions[?(@.type=="Ready")].reason}=WriteRefused`, "--timeout=1m")
	message := admin(t, "--namespace", rig.Namespace, "get", "apitoken", "alice-quota", "--output", `jsonpath={.status.conditions[?(@.type=="Ready")].message}`)
	if want := "exceeded quota: few-secrets, requested: count/secrets=1, used: " + full + ", limited: " + full; !strings.Contains(message, want) {
		t.Errorf("the APIToken says %q, want %q in it", message, want)
	}
	works(t) // the token before goes on

	admin(t, "--namespace", rig.Namespace, "delete", "quota", "few-secrets")
	admin(t, "--namespace", rig.Namespace, "wait", "apitoken/alice-quota", "--for=condition=Ready", "--timeout=2m")
	delivered, err := on.Secret(t.Context(), rig.Namespace, "alice-quota-token")
	if err != nil {
		t.Fatal(err)
	}
	expect(t, string(delivered.Data["password"]), http.StatusOK)
	admin(t, "--namespace", rig.Namespace, "delete", "apitoken", "alice-quota", "--timeout=1m")
}
