//go:build cluster

package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"regexp"
	"strconv"
	"strings"
	"testing"
	"time"

	"apitokens.dev/operator/hack/lib/cluster"
	"apitokens.dev/operator/internal/servingcert"
)

// Without a controller nobody renews the certificate. Once it has ended, a gateway that verifies lets nobody in; metric and log of the
// webhook say why. The controller renews it as soon as it is back, and no pod has to be restarted.
func endedCertificate(t *testing.T, token string) {
	names := servingcert.Names("apitoken-webhook.apitoken-system.svc", "apitoken-portal.apitoken-system.svc")
	const lifetime = 90 * 24 * time.Hour
	before := plan(t, servingcert.State{}, names, time.Now().Add(-lifetime-time.Hour))
	now := plan(t, servingcert.State{Authorities: before.Authorities}, names, time.Now())

	// Gateways trust the authority of both.
	store(t, now)
	eventually(t, "the authority beside the auth URLs", time.Minute, func(ctx context.Context) error {
		urls, err := on.Secret(ctx, "jira", "main-auth-urls")
		if err == nil && !strings.Contains(string(urls.Data["ca.crt"]), string(now.Serving.Bundle)) {
			err = errors.New("it is not there")
		}
		return err
	})
	restartAll(t)
	startGateway(t)
	expect(t, token, http.StatusOK)

	scale := func(replicas int) {
		t.Helper()
		admin(t, "--namespace", cluster.System, "scale", "deployment/apitoken-controller", "--replicas", strconv.Itoa(replicas))
	}
	t.Cleanup(func() { scale(1) })
	scale(0)
	eventually(t, "the controller to end", time.Minute, func(context.Context) error {
		return expectNone(admin(t, "--namespace", cluster.System, "get", "pods", "--selector", "app.kubernetes.io/component=controller", "--output", "name"))
	})
	store(t, before)
	restartAll(t)
	expect(t, token, http.StatusInternalServerError)
	if end := servedUntil(t); time.Since(end) < 0 {
		t.Errorf("the metric says that the certificate ends at %s", end)
	}
	if log, err := on.WebhookLog(t.Context()); err != nil || !strings.Contains(log, "Clients that verify the certificate refuse it") {
		t.Errorf("the log of the webhook does not say why: %v\n%s", err, log)
	}

	scale(1)
	eventually(t, "the renewed certificate", 3*time.Minute, func(ctx context.Context) error {
		got, err := status(ctx, "/rest/api/2/myself", token)
		if err == nil && got != http.StatusOK {
			err = fmt.Errorf("HTTP %d", got)
		}
		return err
	})
	if end := servedUntil(t); time.Until(end) < lifetime/2 {
		t.Errorf("the metric says that the certificate ends at %s", end)
	}
}

func plan(t *testing.T, stored servingcert.State, names []string, now time.Time) servingcert.State {
	t.Helper()
	planned, err := servingcert.Plan(stored, names, now)
	if err != nil {
		t.Fatal(err)
	}
	return planned
}

// store writes a certificate and its authorities, as the controller does.
func store(t *testing.T, s servingcert.State) {
	t.Helper()
	authorities, err := servingcert.EncodeAuthorities(s.Authorities)
	if err != nil {
		t.Fatal(err)
	}
	for _, patch := range []struct {
		namespace, secret string
		data              map[string][]byte
		annotations       map[string]string
	}{
		{cluster.Intake, "apitoken-tls-authorities", map[string][]byte{"authorities.json": authorities}, nil},
		{cluster.System, "apitoken-tls", map[string][]byte{"tls.crt": s.Serving.Cert, "tls.key": s.Serving.Key, "ca.crt": s.Serving.Bundle},
			map[string]string{"apitokens.dev/made-certificate": servingcert.Digest(s.Serving.Cert)}},
	} {
		text, err := json.Marshal(map[string]any{"data": patch.data, "metadata": map[string]any{"annotations": patch.annotations}})
		if err != nil {
			t.Fatal(err)
		}
		admin(t, "--namespace", patch.namespace, "patch", "secret", patch.secret, "--type", "merge", "--patch", string(text))
	}
}

var expiration = regexp.MustCompile(`(?m)^apitoken_tls_certificate_expiration_timestamp_seconds(?:{[^}]*})? (\S+)$`)

// servedUntil returns when the certificate of a webhook ends, as its metric says.
func servedUntil(t *testing.T) time.Time {
	t.Helper()
	admin(t, "label", "namespace", "default", "--overwrite", "network.apitokens.dev/monitoring=true")
	defer admin(t, "label", "namespace", "default", "network.apitokens.dev/monitoring-")
	startClient(t, "default")
	for _, pod := range pods(t) {
		if pod.Labels["app.kubernetes.io/component"] != "webhook" {
			continue
		}
		metrics := admin(t, "--namespace", "default", "exec", "client", "--", "/pod", "get", "http://"+pod.Status.PodIP+":8082/metrics")
		found := expiration.FindStringSubmatch(metrics)
		if found == nil {
			t.Fatalf("there is no metric of the certificate in\n%s", metrics)
		}
		seconds, err := strconv.ParseFloat(found[1], 64)
		if err != nil {
			t.Fatal(err)
		}
		return time.Unix(int64(seconds), 0)
	}
	t.Fatal("no webhook runs")
	return time.Time{}
}

// expectNone returns an error with what there is.
func expectNone(names string) error {
	if names != "" {
		return fmt.Errorf("left: %s", names)
	}
	return nil
}
