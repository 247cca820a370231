package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"net/http"
	"strings"
	"time"

	"apitokens.dev/operator/hack/lib/rig"
	"apitokens.dev/operator/internal/token"
)

// send sends one request with alice's token and the given headers through nginx.
func (s *story) send(ctx context.Context, header http.Header) (*http.Response, error) {
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, s.URL+"/rest/api/2/myself", http.NoBody)
	if err != nil {
		return nil, err
	}
	request.Header = header
	request.SetBasicAuth("alice", s.token)
	response, err := http.DefaultClient.Do(request)
	if err != nil {
		return nil, err
	}
	return response, response.Body.Close()
}

// A token of alice with a session of bob must not become bob, and a session must not outlive the token.
func (s *story) checkCookies(ctx context.Context) error {
	s.Product.Reset()
	response, err := s.send(ctx, http.Header{"Cookie": {"JSESSIONID=bobs"}})
	if err != nil {
		return err
	}
	seen := rig.ThroughNginx(s.Product)
	switch {
	case response.StatusCode != http.StatusOK || len(seen) != 1 || seen[0].User != "alice":
		return fmt.Errorf("answered %d, the product saw %+v", response.StatusCode, seen)
	case seen[0].Header.Get("Cookie") != "":
		return errors.New("the cookie reached the product")
	case response.Header.Get("Set-Cookie") != "":
		return errors.New("the product's cookie reached the client")
	}
	login, err := http.NewRequestWithContext(ctx, http.MethodGet, s.URL+"/login.jsp?os_username=alice&os_password=alices+password", http.NoBody)
	if err != nil {
		return err
	}
	if response, err = http.DefaultTransport.RoundTrip(login); err != nil {
		return err
	}
	_ = response.Body.Close()
	if response.Header.Get("Set-Cookie") == "" {
		return errors.New("without a token the product's cookie does not reach the client, so its absence proves nothing")
	}
	return nil
}

func (s *story) checkIdentityHeaders(ctx context.Context) error {
	forged := http.Header{}
	for _, name := range []string{"X-Forwarded-User", "x-forwarded-user", "X_Forwarded_User", "X-FORWARDED-USER", "X-Api-Token-Id", "X_Api_Token_Id"} {
		forged[name] = []string{"bob"}
	}
	s.Product.Reset()
	if _, err := s.send(ctx, forged.Clone()); err != nil {
		return err
	}
	for _, path := range []string{"/rest/double/1.0/echo", "/secure/Dashboard.jspa"} {
		request, err := http.NewRequestWithContext(ctx, http.MethodGet, s.URL+path, http.NoBody)
		if err != nil {
			return err
		}
		request.Header = forged
		response, err := http.DefaultClient.Do(request)
		if err != nil {
			return err
		}
		_ = response.Body.Close()
	}
	if n := len(rig.ThroughNginx(s.Product)); n != 3 {
		return fmt.Errorf("the product saw %d of 3 requests", n)
	}
	for _, seen := range rig.ThroughNginx(s.Product) {
		if strings.Contains(fmt.Sprint(seen.Header), "bob") {
			return fmt.Errorf("the product received %v", seen.Header)
		}
	}
	return nil
}

// checkDoor waits for the controller to look at nginx, which it does every minute until it is protected.
func (s *story) checkDoor(ctx context.Context) error {
	_, err := s.KubectlAs(ctx, "admin", nil, "-n", "jira", "wait", "--for=condition=IngressProtected", "--timeout=150s", "atlassiansite/main")
	return err
}

func (s *story) checkWithoutController(ctx context.Context) error {
	text, err := s.Sample("apitoken.yaml")
	if err != nil {
		return err
	}
	text = bytes.ReplaceAll(text, []byte("alice-ci"), []byte("alice-other"))
	if _, err := s.KubectlAs(ctx, "alice", text, "apply", "-f", "-"); err != nil {
		return err
	}
	if err := s.awaitCondition(ctx, "apitoken/alice-other", "Ready"); err != nil {
		return err
	}
	password, err := s.KubectlAs(ctx, "admin", nil, "get", "secret", "alice-other-token", "-o", "go-template={{.data.password | base64decode}}")
	if err != nil {
		return err
	}
	if err := s.expectStatus(ctx, "the token", password, http.StatusOK); err != nil {
		return err
	}
	if err := s.Controller.Stop(); err != nil {
		return err
	}
	s.Controller = nil
	if _, err := s.KubectlAs(ctx, "alice", nil, "delete", "apitoken", "alice-other"); err != nil {
		return err
	}
	return s.expectStatus(ctx, "the token", password, http.StatusUnauthorized)
}

func (s *story) checkWithoutAPIServer(ctx context.Context) error {
	ends, err := s.limitShortly(ctx)
	if err != nil {
		return err
	}
	if err := s.StopAPIServer(); err != nil {
		return err
	}
	dead, err := token.New(s.token[:token.IDLength], strings.NewReader(strings.Repeat("x", 100)))
	if err != nil {
		return err
	}
	for range 100 {
		if status, _, _, err := s.curl(ctx, "/rest/api/2/myself", "alice", dead); err != nil || status != http.StatusUnauthorized {
			return fmt.Errorf("a dead token was answered %d: %w", status, err)
		}
	}
	if err := s.expiresAt(ctx, s.token, ends); err != nil {
		return err
	}
	response, err := http.Get(s.HealthURL + "/readyz")
	if err != nil {
		return err
	}
	_ = response.Body.Close()
	if response.StatusCode != http.StatusOK {
		return fmt.Errorf("not ready: %d", response.StatusCode)
	}
	return nil
}

// limitShortly sets an expiry for alice's token, and waits until the webhook knows it: the same change makes the token
// read-only.
func (s *story) limitShortly(ctx context.Context) (time.Time, error) {
	ends := soon()
	patch := fmt.Sprintf(`{"spec":{"access":"ReadOnly","expirationTime":%q}}`, ends.Format(time.RFC3339))
	if _, err := s.KubectlAs(ctx, "alice", nil, "patch", "apitoken", "alice-ci", "--type", "merge", "-p", patch); err != nil {
		return ends, err
	}
	return ends, s.eventually(ctx, "the limits to be known", func(ctx context.Context) (bool, error) {
		got, err := s.ask(ctx, ask{method: http.MethodPost, path: echo})
		return got == "403 ReadOnly", err
	})
}
