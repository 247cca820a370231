// Package atlassian is the client for Jira and Confluence: who-am-I, a probe, and personal access tokens.
package atlassian

import (
	"bytes"
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"time"
)

const (
	timeout = 10 * time.Second
	// A product that is slow or down must not get a request from every worker at once.
	maxConnsPerProduct = 4
	maxAnswer          = 1 << 20
)

var (
	// ErrRefused means that the product does not accept the credential.
	ErrRefused = errors.New("the product does not accept the credential")
	// ErrUnexpected means that something answered, but not as the product does.
	ErrUnexpected = errors.New("the answer is not the product's")
)

// Upstream is a product and its address.
type Upstream struct {
	Product Product
	// URL is the URL of the product's Service, with the context path.
	URL string
	// CAs are the trusted authorities. Nil means those of the system.
	CAs *x509.CertPool
}

// Client sends requests to products. It never follows a redirect, because a credential is for one origin only.
type Client struct{ http *http.Client }

// NewClient returns a client. For the same reason it ignores proxies from the environment.
func NewClient() *Client {
	return newClient(&http.Transport{MaxConnsPerHost: maxConnsPerProduct, TLSHandshakeTimeout: timeout, ForceAttemptHTTP2: true})
}

func newClient(t *http.Transport) *Client {
	return &Client{http: &http.Client{
		Timeout:       timeout,
		Transport:     t,
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}}
}

// Wrap wraps the transport of the client, and returns it.
func (c *Client) Wrap(wrap func(http.RoundTripper) http.RoundTripper) *Client {
	c.http.Transport = wrap(c.http.Transport)
	return c
}

// Credential holds the headers with which a request authenticates at the product.
type Credential struct{ Authorization, Cookie string }

// Bearer returns the credential for a personal access token.
func Bearer(token string) Credential { return Credential{Authorization: "Bearer " + token} }

func (c Credential) empty() bool { return c.Authorization == "" && c.Cookie == "" }

// User is a user of the product. Their name can change, their key cannot.
type User struct{ Name, Key, DisplayName string }

// WhoAmI returns the user that a credential authenticates. It returns ErrRefused if the product does not accept it.
func (c *Client) WhoAmI(ctx context.Context, u Upstream, as Credential) (User, error) {
	status, body, err := c.whoAmI(ctx, u, u.Product, as)
	if err != nil {
		return User{}, err
	}
	user, err := u.Product.user(status, body)
	if err != nil {
		return User{}, fmt.Errorf("asking %s who somebody is: %w (HTTP %d)", u.URL, err, status)
	}
	return user, nil
}

// Probe sends a request without a credential, and returns nil if the product answers. A refusal is an answer.
func (c *Client) Probe(ctx context.Context, u Upstream) error {
	status, body, err := c.whoAmI(ctx, u, u.Product, Credential{})
	if err != nil {
		return err
	}
	if u.Product.answered(status, body) {
		return nil
	}
	// Without the resource it may be another product. Both write JSON when they refuse a request.
	if status == http.StatusNotFound {
		for _, other := range Products() {
			if other == u.Product {
				continue
			}
			if status, body, err := c.whoAmI(ctx, u, other, Credential{}); err == nil && other.answered(status, body) && json.Valid(body) {
				return fmt.Errorf("probing %s: %w", u.URL, &OtherProductError{Product: other})
			}
		}
	}
	return fmt.Errorf("probing %s: %w (HTTP %d)", u.URL, ErrUnexpected, status)
}

// whoAmI sends the who-am-I request of a product, which may differ from u.Product.
func (c *Client) whoAmI(ctx context.Context, u Upstream, of Product, as Credential) (status int, body []byte, err error) {
	path, err := of.WhoAmIPath()
	if err != nil {
		return 0, nil, err
	}
	return c.ask(ctx, u, http.MethodGet, path, as, nil)
}

// ask sends one request, and returns every answer without judging it.
func (c *Client) ask(ctx context.Context, u Upstream, method, path string, as Credential, send []byte) (status int, body []byte, err error) {
	request, err := http.NewRequestWithContext(ctx, method, u.URL+path, bytes.NewReader(send))
	if err != nil {
		return 0, nil, fmt.Errorf("asking the product: %w", err)
	}
	request.Header.Set("Accept", "application/json")
	for name, value := range map[string]string{"Authorization": as.Authorization, "Cookie": as.Cookie} {
		if value != "" {
			request.Header.Set(name, value)
		}
	}
	if send != nil {
		request.Header.Set("Content-Type", "application/json")
	}
	if method != http.MethodGet {
		// Without it a session cannot change anything (https://developer.atlassian.com/server/framework/atlassian-sdk/form-token-handling/).
		request.Header.Set("X-Atlassian-Token", "no-check")
	}
	if u.CAs != nil {
		c = trusting(u.CAs)
	}
	response, err := c.http.Do(request)
	if err != nil && !as.empty() && ctx.Err() == nil {
		// The error of net/http may quote a header of the answer, such as Location, and so the credential.
		return 0, nil, fmt.Errorf("asking %s: %w", u.URL, ErrUnexpected)
	}
	if err != nil {
		return 0, nil, fmt.Errorf("asking the product: %w", networkError(certificateError(err)))
	}
	defer func() { _ = response.Body.Close() }()
	if body, err = io.ReadAll(io.LimitReader(response.Body, maxAnswer)); err != nil {
		return 0, nil, fmt.Errorf("reading the answer of %s: %w", u.URL, networkError(err))
	}
	return response.StatusCode, body, nil
}

// trusting returns a client for one request. A kept connection would outlive the trust in its authorities.
func trusting(authorities *x509.CertPool) *Client {
	return newClient(&http.Transport{
		TLSClientConfig:     &tls.Config{RootCAs: authorities, MinVersion: tls.VersionTLS12},
		TLSHandshakeTimeout: timeout, ForceAttemptHTTP2: true, DisableKeepAlives: true,
	})
}
