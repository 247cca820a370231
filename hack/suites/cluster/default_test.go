//go:build cluster

package main

import (
	"os/exec"
	"strings"
	"testing"

	"apitokens.dev/operator/hack/lib/controlplane"
)

// The installation that the documentation begins with, from the first pod to the last object.
func TestDefault(t *testing.T) {
	if err := on.Install(t.Context(), "default"); err != nil {
		t.Fatal(err)
	}
	expectPods(t, map[string]int{"controller": 1, "webhook": 2, "portal": 2})
	serve(t)
	t.Run("the demo's steps", func(t *testing.T) { demoSteps(t) })
	t.Run("what NetworkPolicies let through", networkPolicies)
	t.Run("the controller watches Secrets", watchedSecrets)
	if token := works(t); !testing.Short() {
		t.Run("the plugin of kubectl", func(t *testing.T) { pluginOfKubectl(t, token) })
		t.Run("rolling update under load", func(t *testing.T) { rollingUpdate(t, token) })
		t.Run("killed processes", func(t *testing.T) { killedProcesses(t, token) })
		t.Run("policies keep the gateway from the webhook", func(t *testing.T) { gatewayCutOff(t, token) })
		t.Run("the API server is away", func(t *testing.T) { apiServerAway(t, token) })
		t.Run("a full disk", func(t *testing.T) { diskFull(t, works(t)) })
		t.Run("the limit of memory", func(t *testing.T) { memoryLimit(t, works(t)) })
		t.Run("a certificate that has ended", func(t *testing.T) { endedCertificate(t, works(t)) })
		t.Run("no room in the quota", quota)
		t.Run("the namespace of site and token is deleted", deletedNamespace)
	}
	remove(t, func() { admin(t, "delete", "-k", "config/default", "--timeout=3m") })
}

// The demo is the same program that runs on the small control plane.
func demoSteps(t *testing.T, flags ...string) {
	t.Helper()
	demo := exec.CommandContext(t.Context(), "go", append([]string{"run", "./hack/suites/demo", "--cluster"}, flags...)...)
	demo.Dir = controlplane.RepositoryRoot()
	demo.Stdout, demo.Stderr = t.Output(), t.Output()
	if err := demo.Run(); err != nil {
		t.Fatal(err)
	}
}

// client is a pod that sends requests from its namespace.
const client = `
apiVersion: v1
kind: Pod
metadata: {name: client, namespace: NAMESPACE}
spec:
  automountServiceAccountToken: false
  terminationGracePeriodSeconds: 0
  securityContext: {runAsNonRoot: true, seccompProfile: {type: RuntimeDefault}}
  containers:
    - name: pod
      image: localhost/pod:test
      args: [idle]
      securityContext: {allowPrivilegeEscalation: false, readOnlyRootFilesystem: true, capabilities: {drop: [ALL]}}
`

// startClient starts the client in a namespace until the test ends.
func startClient(t *testing.T, namespace string) {
	t.Helper()
	text := strings.ReplaceAll(client, "NAMESPACE", namespace)
	adminWith(t, text, "apply", "--server-side", "-f", "-")
	t.Cleanup(func() { adminWith(t, text, "delete", "--ignore-not-found", "-f", "-") })
	admin(t, "--namespace", namespace, "wait", "pod/client", "--for=condition=Ready", "--timeout=1m")
}

// reaches reports whether the client in a namespace gets any answer at all from a URL.
func reaches(t *testing.T, namespace, url string) bool {
	t.Helper()
	out, err := on.Kubectl(t.Context(), "admin", nil, "--namespace", namespace, "exec", "client", "--", "/pod", "get", url)
	switch {
	case err == nil:
		return true
	case strings.Contains(out, "deadline exceeded") || strings.Contains(out, "connection refused"):
		return false
	}
	t.Fatalf("asking for %s from %s: %v", url, namespace, err)
	return false
}

// Only a gateway reaches webhook and portal. The same pod in another namespace reaches neither them, nor the metrics.
func networkPolicies(t *testing.T) {
	for _, namespace := range []string{"ingress", "default"} {
		startClient(t, namespace)
	}
	urls := map[string]string{
		"webhook": "http://apitoken-webhook.apitoken-system.svc.cluster.local:8080/",
		"gRPC":    "http://apitoken-webhook.apitoken-system.svc.cluster.local:9001/",
		"portal":  "http://apitoken-portal.apitoken-system.svc.cluster.local:8080/",
	}
	for what, url := range urls {
		if what != "gRPC" && !reaches(t, "ingress", url) { // it does not answer HTTP/1.1
			t.Errorf("the gateway does not reach the %s", what)
		}
		if reaches(t, "default", url) {
			t.Errorf("a pod that is no gateway reaches the %s", what)
		}
	}
	for _, pod := range pods(t) {
		for _, namespace := range []string{"ingress", "default"} {
			if reaches(t, namespace, "http://"+pod.Status.PodIP+":8082/metrics") {
				t.Errorf("the metrics of %s are reached from %s", pod.Name, namespace)
			}
		}
	}
	if !reaches(t, "default", "http://jira.jira.svc.cluster.local:8080/login.jsp") {
		t.Error("the pod reaches nothing at all")
	}
}
