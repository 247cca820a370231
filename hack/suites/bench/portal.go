package main

import (
	"context"
	"fmt"
	"io"
	"net/http"
	"strings"

	"apitokens.dev/operator/hack/lib/bulk"
)

// portal sends a request of a user to the portal, and returns the answer if that is a success.
func (c *cluster) portal(ctx context.Context, method, path, user, body string) ([]byte, error) {
	url := c.rig.PortalURL + "/portal/" + bulk.Namespace + "/" + bulk.Site + path
	r, err := http.NewRequestWithContext(ctx, method, url, strings.NewReader(body))
	if err != nil {
		return nil, fmt.Errorf("asking the portal: %w", err)
	}
	r.Header.Set("Authorization", "Bearer "+bulk.PersonalAccessToken(user))
	if body != "" {
		r.Header.Set("Content-Type", "application/json")
	}
	answer, err := http.DefaultClient.Do(r)
	if err != nil {
		return nil, fmt.Errorf("asking the portal: %w", err)
	}
	defer func() { _ = answer.Body.Close() }()
	text, err := io.ReadAll(answer.Body)
	if err != nil {
		return nil, fmt.Errorf("reading the answer of the portal: %w", err)
	}
	if answer.StatusCode/100 != 2 {
		return nil, fmt.Errorf("asking the portal for %s: HTTP %d: %.300s", path, answer.StatusCode, text)
	}
	return text, nil
}
