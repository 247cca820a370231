package main

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"strings"

	"apitokens.dev/operator/internal/token"
	"apitokens.dev/operator/webhook/portal/selfservice"
)

const (
	tokensPath = selfservice.APIPath + "/latest/"
	pagePath   = selfservice.PagePath
)

// createOverREST creates a token as users of the plugin did: signed in to Jira, without any right in Kubernetes.
func (s *story) createOverREST(ctx context.Context) error {
	var err error
	if s.session, err = s.place().SignIn(ctx, "alice"); err != nil {
		return err
	}
	s.printf("  alice$ curl -X POST %s%s --cookie JSESSIONID=... --json '{\"label\":\"from my laptop\"}'\n", s.place().BaseURL(), tokensPath)
	var made struct{ ID, Token string }
	body, err := s.callREST(ctx, http.MethodPost, tokensPath, `{"label":"from my laptop"}`, http.StatusCreated)
	if err != nil {
		return err
	}
	if err := json.Unmarshal(body, &made); err != nil {
		return fmt.Errorf("reading what was made: %w", err)
	}
	if _, ok := token.Parse([]byte(made.Token)); !ok || !strings.HasPrefix(made.Token, made.ID) {
		return fmt.Errorf("the token of %s is not one", made.ID)
	}
	s.printf("    %s\n", strings.Replace(string(body), made.Token, made.ID+"_...", 1))
	s.delivered = append(s.delivered, made.Token)
	s.ownID, s.own = made.ID, made.Token
	return s.expectStatus(ctx, "the token", s.own, http.StatusOK)
}

func (s *story) revokeOverREST(ctx context.Context) error {
	s.printf("  alice$ curl -X DELETE %s%s%s --cookie JSESSIONID=...\n", s.place().BaseURL(), tokensPath, s.ownID)
	if _, err := s.callREST(ctx, http.MethodDelete, tokensPath+s.ownID, "", http.StatusNoContent); err != nil {
		return err
	}
	return s.expectStatus(ctx, "the token", s.own, http.StatusUnauthorized)
}

// callREST sends a request with alice's session.
func (s *story) callREST(ctx context.Context, method, path, body string, want int) ([]byte, error) {
	request, err := http.NewRequestWithContext(ctx, method, s.place().BaseURL()+path, strings.NewReader(body))
	if err != nil {
		return nil, err
	}
	request.AddCookie(s.session)
	request.Header.Set("Content-Type", "application/json")
	response, err := s.place().Client().Do(request)
	if err != nil {
		return nil, err
	}
	defer func() { _ = response.Body.Close() }()
	text, err := io.ReadAll(response.Body)
	if err != nil {
		return nil, err
	}
	if response.StatusCode != want {
		return nil, fmt.Errorf("%s %s: %d %s", method, path, response.StatusCode, text)
	}
	return text[:len(strings.TrimSpace(string(text)))], nil
}
