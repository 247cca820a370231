package main

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strings"
	"testing"

	corev1 "k8s.io/api/core/v1"

	"apitokens.dev/operator/hack/lib/canary"
	"apitokens.dev/operator/hack/lib/rig"
	"apitokens.dev/operator/internal/token"
)

// Canary tokens go through every step and error path at the highest verbosity. Outside the Secrets that are meant for
// them, no output contains one of them in any spelling.
func TestNothingIsWrittenThatShouldNotBe(t *testing.T) {
	r, err := rig.Start(t.Context(), t.Output(), "--zap-log-level", "10")
	t.Cleanup(func() {
		if err := r.Stop(); err != nil {
			t.Error(err)
		}
	})
	if err != nil {
		t.Fatal(err)
	}
	s := &story{Rig: r, out: io.Discard}
	canaries := map[string]string{"personal access token": rig.PersonalAccessToken}
	for _, step := range steps {
		if err := step.run(s, t.Context()); err != nil {
			t.Fatalf("%s: %v", step.title, err)
		}
	}
	for i, delivered := range s.delivered {
		canaries[fmt.Sprintf("token %s, delivery %d", delivered[:token.IDLength], i)] = delivered[token.IDLength+1:]
	}
	canaries["caller key"] = s.callerKey
	if err := s.strayTokens(t.Context()); err != nil {
		t.Fatal(err)
	}
	if err := s.damage(t.Context(), canaries); err != nil {
		t.Fatal(err)
	}
	written, err := s.everythingWritten(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if len(canaries) < 8 {
		t.Fatalf("only %d canaries", len(canaries))
	}
	var secrets canary.Secrets
	for what, secret := range canaries {
		secrets.Add(what, secret)
	}
	for place, text := range written {
		if len(text) < 200 {
			t.Errorf("%s: only %d bytes to search", place, len(text))
		}
		for _, what := range secrets.Find([]byte(text)) {
			t.Errorf("%s contains a %s", place, what)
		}
	}
}

// strayTokens sends a live token in every wrong place of a request.
func (s *story) strayTokens(ctx context.Context) error {
	const path = "/rest/api/2/myself"
	for _, target := range []string{path + "/" + s.token, path + "?os_password=" + s.token, path + "?x=" + url.QueryEscape(s.token), "/" + s.token + "?" + s.token} {
		for _, user := range []string{"", "alice", s.token} {
			if _, _, _, err := s.curl(ctx, target, user, s.token); err != nil {
				return err
			}
		}
	}
	for name, value := range map[string]string{
		"Authorization": "Bearer " + s.token, "X-Request-ID": s.token, "User-Agent": s.token, "X-Real-IP": s.token, "Cookie": "t=" + s.token, "Referer": s.token,
	} {
		for _, to := range []string{s.URL + path, s.WebhookURL + "/nginx/" + s.callerKey + "/jira/main", s.WebhookURL + "/" + s.token} {
			request, err := http.NewRequestWithContext(ctx, s.token[:3], to, http.NoBody)
			if err != nil {
				return err
			}
			request.Header.Set("X-Original-URL", s.URL+path+"?"+s.token)
			request.Header.Set("X-Original-Method", s.token)
			request.Header.Set(name, value)
			response, err := http.DefaultClient.Do(request)
			if err != nil {
				return err
			}
			_ = response.Body.Close()
		}
	}
	return nil
}

// damage breaks a record, a delivered Secret and a personal access token, and waits until the operator reports each.
func (s *story) damage(ctx context.Context, canaries map[string]string) error {
	uid, err := s.KubectlAs(ctx, "admin", nil, "get", "apitoken", "alice-ci", "-o", "jsonpath={.metadata.uid}")
	if err != nil {
		return err
	}
	var stored corev1.Secret
	if err := s.get(ctx, &stored, "apitoken-system", uid); err != nil {
		return err
	}
	var record struct {
		Entries []struct{ Hash string } `json:"entries"`
	}
	if err := json.Unmarshal(stored.Data["record.json"], &record); err != nil {
		return err
	}
	salted := strings.Split(record.Entries[0].Hash, "$")
	canaries["salt and hash"] = salted[3] + "$" + salted[4]
	const brokenPAT = "Q2FuYXJ5UEFUdGhhdElzQnJva2VuMTIzNDU2"
	canaries["broken personal access token"] = brokenPAT
	for _, patch := range [][]string{
		{"secret", uid, "--namespace", "apitoken-system", "-p", `{"stringData":{"record.json":"` + s.token + `"}}`},
		{"secret", "alice-personal-access-token", "-p", `{"stringData":{"token":"` + brokenPAT + `\n"}}`},
		{"atlassiansite", "main", "--type", "merge", "-p", `{"spec":{"tokenPaths":["/rest/","/more/"]}}`},
		{"apitoken", "alice-ci", "--type", "merge", "-p", `{"spec":{"label":"damaged"}}`},
	} {
		if _, err := s.KubectlAs(ctx, "admin", nil, append([]string{"patch"}, patch...)...); err != nil {
			return err
		}
	}
	return s.eventually(ctx, "the damage to be noticed", func(ctx context.Context) (bool, error) {
		out, err := s.KubectlAs(ctx, "admin", nil, "get", "apitoken/alice-ci", "atlassiansite/main", "-o", "jsonpath={.items[*].status.conditions[*].reason}")
		return strings.Contains(out, "RecordDamaged") && strings.Contains(out, "CredentialUnusable"), err
	})
}

// everythingWritten returns all output of the operator except Secrets.
func (s *story) everythingWritten(ctx context.Context) (map[string]string, error) {
	written := map[string]string{}
	for name, p := range map[string]*rig.Process{"the controller's log": s.Controller, "the webhook's log": s.Webhook, "the portal's log": s.Portal, "nginx's log": s.Nginx} {
		log, err := p.Log()
		if err != nil {
			return nil, err
		}
		if name != "nginx's log" || log != "" {
			written[name] = log + canary.Undump(log)
		}
	}
	for name, args := range map[string][]string{
		"events":    {"get", "events.v1.events.k8s.io", "--all-namespaces", "-o", "yaml"},
		"resources": {"get", "atlassian", "--all-namespaces", "-o", "yaml", "--show-managed-fields"},
	} {
		out, err := s.KubectlAs(ctx, "admin", nil, args...)
		if err != nil {
			return nil, err
		}
		written[name] = out
	}
	response, err := http.Get(s.MetricsURL)
	if err != nil {
		return nil, err
	}
	defer func() { _ = response.Body.Close() }()
	metrics, err := io.ReadAll(response.Body)
	written["metrics"] = string(metrics)
	return written, err
}
