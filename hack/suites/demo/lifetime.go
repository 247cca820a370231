package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"strings"
	"time"

	corev1 "k8s.io/api/core/v1"

	tokensv1alpha1 "apitokens.dev/operator/api/v1alpha1"
	"apitokens.dev/operator/hack/lib/rig"
	"apitokens.dev/operator/internal/token"
)

// rotate replaces the secret. Scripts with the old one keep working until the overlap ends.
func (s *story) rotate(ctx context.Context) error {
	s.replaced = s.token
	requested, err := s.afterIssue(ctx)
	if err != nil {
		return err
	}
	patch := fmt.Sprintf(`{"spec":{"rotation":{"requestedTime":%q,"overlapHours":1}}}`, requested.Format(time.RFC3339))
	if _, err := s.kubectl(ctx, "alice", "patch", "apitoken", "alice-ci", "--type", "merge", "-p", patch); err != nil {
		return err
	}
	if err := s.awaitRotated(ctx, requested); err != nil {
		return err
	}
	if err := s.readDelivered(ctx); err != nil {
		return err
	}
	if s.token == s.replaced || s.token[:token.IDLength] != s.replaced[:token.IDLength] {
		return errors.New("the delivered token is not a new one of the same id")
	}
	if err := s.expectStatus(ctx, "the new secret of", s.token, http.StatusOK); err != nil {
		return err
	}
	return s.expectStatus(ctx, "the old secret of", s.replaced, http.StatusOK)
}

// afterIssue waits for a whole second after the issue, at which a rotation may be requested.
func (s *story) afterIssue(ctx context.Context) (now time.Time, err error) {
	t, err := s.apiToken(ctx, "alice-ci")
	if err != nil {
		return now, err
	}
	return now, s.eventually(ctx, "the second after the issue", func(context.Context) (bool, error) {
		now = time.Now().UTC().Truncate(time.Second)
		return now.After(t.Status.IssuedTime.Time), nil
	})
}

// awaitRotated waits until the status reports the rotation, and shows until when the replaced secret is valid.
func (s *story) awaitRotated(ctx context.Context, requested time.Time) error {
	err := s.eventually(ctx, "the rotation in the status", func(ctx context.Context) (bool, error) {
		t, err := s.apiToken(ctx, "alice-ci")
		return !t.Status.IssuedTime.Time.Before(requested), err
	})
	if err != nil {
		return err
	}
	out, err := s.kubectl(ctx, "alice", "get", "apitoken", "alice-ci", "-o", "jsonpath={.status.issuedTime} {.status.conditions[0].message}")
	if err != nil {
		return err
	}
	s.printf("\n")
	if !strings.Contains(out, "The one before it authenticates until ") {
		return fmt.Errorf("the status does not say until when the secret before goes on: %s", out)
	}
	return nil
}

// soon returns an expiry that leaves enough time to issue, deliver and use a token before.
func soon() time.Time { return time.Now().UTC().Add(10 * time.Second).Truncate(time.Second) }

// expire shows that a token ends at its expiry without any event or write.
func (s *story) expire(ctx context.Context) error {
	text, err := s.Sample("apitoken.yaml")
	if err != nil {
		return err
	}
	ends := soon()
	expiration := "  expirationTime: " + ends.Format(time.RFC3339)
	text = append(bytes.ReplaceAll(text, []byte("alice-ci"), []byte("alice-brief")), expiration...)
	s.printf("  alice$ (sed s/alice-ci/alice-brief/ config/samples/apitoken.yaml; echo '%s') | kubectl apply -f -\n", expiration)
	out, err := s.KubectlAs(ctx, "alice", text, "apply", "-f", "-")
	s.printf("    %s", out)
	if err != nil {
		return err
	}
	if err := s.awaitCondition(ctx, "apitoken/alice-brief", "Ready"); err != nil {
		return err
	}
	var delivered corev1.Secret
	if err := s.get(ctx, &delivered, rig.Namespace, "alice-brief-token"); err != nil {
		return err
	}
	brief := string(delivered.Data["password"])
	s.delivered = append(s.delivered, brief)
	if err := s.expiresAt(ctx, brief, ends); err != nil {
		return err
	}
	if err := s.awaitCondition(ctx, "apitoken/alice-brief", "Ready=False"); err != nil {
		return err
	}
	out, err = s.kubectl(ctx, "alice", "get", "apitokens", "-o", "wide")
	if err == nil && !strings.Contains(out, "Expired") {
		err = errors.New("the APIToken is not shown as expired")
	}
	return err
}

// expiresAt sends requests until the token has expired. Every answer must be 200 before that time and 401 after it.
func (s *story) expiresAt(ctx context.Context, password string, ends time.Time) error {
	good := 0
	return s.eventually(ctx, "the token to expire", func(ctx context.Context) (bool, error) {
		begun := time.Now()
		status, _, _, err := s.curl(ctx, "/rest/api/2/myself", "alice", password)
		switch {
		case err != nil:
			return false, err
		case status == http.StatusOK && begun.Before(ends):
			good++
			return false, nil
		case status == http.StatusUnauthorized && !time.Now().Before(ends) && good > 0:
			s.printf("    200  %d times until %s\n    401  %d ms later\n", good, ends.Format(time.RFC3339), time.Since(ends).Milliseconds())
			return true, nil
		}
		return false, fmt.Errorf("answered %d %s before it expires, after %d times 200", status, ends.Sub(begun), good)
	})
}

func (s *story) apiToken(ctx context.Context, name string) (t tokensv1alpha1.APIToken, err error) {
	out, err := s.KubectlAs(ctx, "admin", nil, "get", "apitoken", name, "-o", "json")
	if err != nil {
		return t, err
	}
	if err := json.Unmarshal([]byte(out), &t); err != nil {
		return t, fmt.Errorf("reading APIToken %s: %w", name, err)
	}
	return t, nil
}
