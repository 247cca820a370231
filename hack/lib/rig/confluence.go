package rig

import (
	"context"
	"crypto/tls"
	"fmt"
	"io"
	"log"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"time"

	"apitokens.dev/operator/hack/lib/authority"
	"apitokens.dev/operator/hack/lib/fakeproduct"
	"apitokens.dev/operator/hack/lib/ports"
)

// Names in the samples for Confluence.
const (
	ConfluenceNamespace = "confluence"
	ConfluenceSite      = "wiki"
	confluenceHost      = "confluence.confluence.svc"
)

// ConfluencePersonalAccessToken is alice's personal access token of Confluence.
const ConfluencePersonalAccessToken = "MDQzNzE2NTEzOTU4OmConfluence5vKzalice"

// Confluence is a second product beside Jira, with an nginx of its own. It serves TLS with a certificate of a private
// authority.
type Confluence struct {
	// Product is a fake; it remembers the requests that it received.
	Product *fakeproduct.Confluence
	// URL is the address of nginx in front of the product.
	URL string
	// Nginx is the process of the gateway.
	Nginx *Process

	server *httptest.Server
	// ca is the file with the authority's certificate.
	ca      string
	samples *strings.Replacer
}

// StartConfluence starts the second product. StartConfluenceNginx starts its gateway later, once the site exists.
func (r *Rig) StartConfluence() error {
	signer, err := authority.New("authority of the rig")
	if err != nil {
		return err
	}
	certificate, err := signer.Server(time.Now().Add(24*time.Hour), "127.0.0.1", confluenceHost)
	if err != nil {
		return err
	}
	free, err := ports.Free(1)
	if err != nil {
		return err
	}
	c := &Confluence{
		URL: "http://" + free[0], ca: filepath.Join(r.dir, "confluence-ca.crt"),
		Product: fakeproduct.NewConfluence(fakeproduct.Options{Now: r.productTime, Users: fakeproduct.People(ConfluencePersonalAccessToken)}),
	}
	if err := os.WriteFile(c.ca, signer.PEM, 0o600); err != nil {
		return fmt.Errorf("writing the certificate of the authority: %w", err)
	}
	c.server = httptest.NewUnstartedServer(c.Product)
	c.server.Config.ErrorLog = log.New(io.Discard, "", 0)
	c.server.TLS = &tls.Config{Certificates: []tls.Certificate{certificate}, MinVersion: tls.VersionTLS12}
	c.server.StartTLS()
	c.samples = strings.NewReplacer(
		"https://confluence.example.com", c.URL,
		"https://"+confluenceHost+":8443", c.server.URL,
		"PUT-THE-PERSONAL-ACCESS-TOKEN-OF-CONFLUENCE-HERE", ConfluencePersonalAccessToken,
		"PUT-THE-CERTIFICATE-OF-THE-AUTHORITY-HERE", strings.ReplaceAll(strings.TrimSpace(string(signer.PEM)), "\n", "\n    "),
	)
	r.Confluence = c
	return nil
}

// StartConfluenceNginx starts an nginx for Confluence with the given auth URL. Its configuration is the sample, changed as
// docs/how-to/nginx.md says.
func (r *Rig) StartConfluenceNginx(ctx context.Context, authURL string) (err error) {
	c := r.Confluence
	g, err := r.gateway(authURL, c.URL, c.server.URL)
	if err != nil {
		return err
	}
	site, err := g.Config([][2]string{
		{"listen LISTEN;", "listen LISTEN;\n    proxy_ssl_verify on;\n    proxy_ssl_trusted_certificate " + c.ca + ";\n    proxy_ssl_name " +
			confluenceHost + ";\n    proxy_ssl_server_name on;"},
		{"proxy_pass http://product", "proxy_pass https://product"},
		{"#profile ", ""}, {"/secure/ViewProfile.jspa", "/users/viewmysettings.action"},
		{`return 401 '{"errorMessages":["This API token is not valid."],"errors":{}}';`,
			`return 401 '{"statusCode":401,"message":"This API token is not valid."}';`},
		{`return 403 '{"errorMessages":["$api_token_help"],"errors":{}}';`, `return 403 '{"statusCode":403,"message":"$api_token_help"}';`},
	}...)
	if err != nil {
		return err
	}
	if c.Nginx, err = r.startNginx("nginx-confluence", site); err != nil {
		return err
	}
	return c.Nginx.await(ctx, c.URL+"/login.action")
}

// fill replaces the placeholders in a sample for Confluence. Before StartConfluence it changes nothing.
func (c *Confluence) fill(text string) string {
	if c == nil {
		return text
	}
	return c.samples.Replace(text)
}

func (c *Confluence) stop() error {
	if c == nil {
		return nil
	}
	err := c.Nginx.Stop()
	c.server.Close()
	return err
}
