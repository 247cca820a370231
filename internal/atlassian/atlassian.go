// Package atlassian asks a product who somebody is.
package atlassian

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"time"
)

const (
	timeout = 10 * time.Second
	// A product that is slow or down must not be asked by every worker at once.
	maxConnsPerProduct = 4
	maxAnswer          = 1 << 20

	// whoAmI is Jira's "Get current user" (REST API 2, myself).
	whoAmI = "/rest/api/2/myself"
)

var (
	// ErrRefused means that the product does not accept the credential.
	ErrRefused = errors.New("the product does not accept the credential")
	// ErrUnexpected means that something answered, but not as the product does.
	ErrUnexpected = errors.New("the answer is not the product's")
)

// Client asks products. It never follows a redirect: the credential is for one origin alone.
type Client struct{ http *http.Client }

// NewClient returns a client that also ignores proxies from the environment, for the same reason.
func NewClient() *Client {
	return &Client{http: &http.Client{
		Timeout:       timeout,
		Transport:     &http.Transport{MaxConnsPerHost: maxConnsPerProduct, TLSHandshakeTimeout: timeout, ForceAttemptHTTP2: true},
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}}
}

// WhoAmI returns the username whom the product at baseURL takes the bearer of a credential for.
func (c *Client) WhoAmI(ctx context.Context, baseURL, authorization string) (string, error) {
	status, body, err := c.get(ctx, baseURL, authorization)
	if err != nil {
		return "", err
	}
	switch status {
	case http.StatusOK:
	case http.StatusUnauthorized, http.StatusForbidden:
		return "", fmt.Errorf("asking %s who somebody is: %w (HTTP %d)", baseURL, ErrRefused, status)
	default:
		return "", fmt.Errorf("asking %s who somebody is: %w (HTTP %d)", baseURL, ErrUnexpected, status)
	}
	name := named(body)
	if name == "" {
		return "", fmt.Errorf("asking %s who somebody is: %w (it names nobody)", baseURL, ErrUnexpected)
	}
	return name, nil
}

func named(body []byte) string {
	var me struct {
		Name string `json:"name"`
	}
	if err := json.Unmarshal(body, &me); err != nil {
		return ""
	}
	return me.Name
}

// Probe reports whether the product answers at baseURL. Being refused is an answer.
func (c *Client) Probe(ctx context.Context, baseURL string) error {
	status, body, err := c.get(ctx, baseURL, "")
	if err != nil {
		return err
	}
	if status == http.StatusUnauthorized || status == http.StatusForbidden || status == http.StatusOK && named(body) != "" {
		return nil
	}
	return fmt.Errorf("probing %s: %w (HTTP %d)", baseURL+whoAmI, ErrUnexpected, status)
}

func (c *Client) get(ctx context.Context, baseURL, authorization string) (status int, body []byte, err error) {
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, baseURL+whoAmI, http.NoBody)
	if err != nil {
		return 0, nil, fmt.Errorf("asking the product: %w", err)
	}
	request.Header.Set("Accept", "application/json")
	if authorization != "" {
		request.Header.Set("Authorization", authorization)
	}
	response, err := c.http.Do(request)
	if err != nil && authorization != "" && ctx.Err() == nil {
		// net/http quotes what the server sent, such as a Location: that may be the credential.
		return 0, nil, fmt.Errorf("asking %s who somebody is: %w", baseURL, ErrUnexpected)
	}
	if err != nil {
		return 0, nil, fmt.Errorf("asking the product: %w", err)
	}
	defer func() { _ = response.Body.Close() }()
	if body, err = io.ReadAll(io.LimitReader(response.Body, maxAnswer)); err != nil {
		return 0, nil, fmt.Errorf("reading the answer of %s: %w", baseURL, err)
	}
	return response.StatusCode, body, nil
}
