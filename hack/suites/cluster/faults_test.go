//go:build cluster

package main

import (
	"context"
	"fmt"
	"net/http"
	"testing"
	"time"

	"apitokens.dev/operator/hack/lib/cluster"
)

// While pods do not reach the API server, tokens go on working. What happened meanwhile counts once they reach it again.
func apiServerAway(t *testing.T, token string) {
	cut := []string{"INPUT", "--source", "10.88.0.0/24", "--protocol", "tcp", "--dport", "6443", "--jump", "REJECT", "--reject-with", "tcp-reset"}
	iptables := func(action string) {
		t.Helper()
		if out, err := on.Exec(context.WithoutCancel(t.Context()), append([]string{"iptables", "--wait", action}, cut...)...); err != nil {
			t.Fatal(err, out)
		}
	}
	iptables("--insert")
	restore := func() { iptables("--delete") }
	t.Cleanup(func() { restore() })
	for range 100 {
		if got, err := status(t.Context(), "/rest/api/2/myself", token); err != nil || got != http.StatusOK {
			t.Fatalf("without the API server: HTTP %d, %v", got, err)
		}
	}
	admin(t, "--namespace", "jira", "delete", "apitoken", "alice-ci", "--wait=false")
	restore()
	restore = func() {}
	eventually(t, "the deletion to count", 2*time.Minute, func(ctx context.Context) error {
		got, err := status(ctx, "/rest/api/2/myself", token)
		if err == nil && got != http.StatusUnauthorized {
			err = fmt.Errorf("HTTP %d", got)
		}
		return err
	})
	admin(t, "--namespace", "jira", "wait", "apitoken/alice-ci", "--for=delete", "--timeout=1m")
	if err := on.AwaitOperator(t.Context()); err != nil {
		t.Fatal(err)
	}
	if err := on.DeclareToken(t.Context()); err != nil {
		t.Fatal(err)
	}
	works(t)
}

// A gateway that policies keep from the webhook lets nobody in. What needs no verdict goes on.
func gatewayCutOff(t *testing.T, token string) {
	label := func(value string) {
		admin(t, "label", "namespace", "ingress", "--overwrite", "network.apitokens.dev/gateway="+value)
	}
	t.Cleanup(func() { label("true") })
	label("false")
	// Connections that were open would go on, so the webhook gets new pods.
	admin(t, "--namespace", cluster.System, "rollout", "restart", "deployment/apitoken-webhook")
	if err := on.AwaitOperator(t.Context()); err != nil {
		t.Fatal(err)
	}
	expect(t, token, http.StatusInternalServerError)
	for range 5 {
		if got, err := status(t.Context(), "/rest/api/2/myself", token); err != nil || got != http.StatusInternalServerError {
			t.Errorf("without the webhook: HTTP %d, %v", got, err)
		}
	}
	if got, err := anonymously(t.Context(), "/login.jsp"); err != nil || got != http.StatusOK {
		t.Errorf("the page to sign in: HTTP %d, %v", got, err)
	}
	label("true")
	expect(t, token, http.StatusOK)
}
