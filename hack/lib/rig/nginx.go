package rig

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"

	"apitokens.dev/operator/hack/lib/controlplane"
	"apitokens.dev/operator/internal/authurl"
)

// Gateway is an nginx with the sample configuration: it has the values of the words in capitals there. All addresses are
// host:port.
type Gateway struct {
	// URL is the address of nginx, and what users type.
	URL string
	// Listen is the address that nginx listens at; that of URL when empty.
	Listen string
	// Product is the address of the product.
	Product string
	// Webhooks are the addresses of the webhook's replicas.
	Webhooks []string
	// Portal is the address of the portal.
	Portal string
	// CallerKey is the key in the auth URL.
	CallerKey string
	// Site is namespace/name.
	Site string
	// Edits are changes of the filled sample, from one text to another, for a gateway that is set up wrongly.
	Edits [][2]string
	// Authority is the file with the authorities of webhook and portal. Empty means plain HTTP.
	Authority string
}

// Gateway returns the gateway of the rig's Jira for the auth URL of the site.
func (r *Rig) Gateway(authURL string) (Gateway, error) {
	return r.gateway(authURL, r.URL, r.product.URL)
}

func (r *Rig) gateway(authURL, own, product string) (Gateway, error) {
	g, err := GatewayOf(authURL)
	if err != nil {
		return Gateway{}, err
	}
	g.URL = own
	_, g.Portal, _ = strings.Cut(r.PortalURL, "://")
	_, g.Product, _ = strings.Cut(product, "://")
	return g, nil
}

// GatewayOf returns what an auth URL says of a gateway: webhook, site and caller key.
func GatewayOf(authURL string) (Gateway, error) {
	u, err := url.Parse(authURL)
	if err != nil {
		return Gateway{}, fmt.Errorf("reading an auth URL: %w", err)
	}
	address, ok := authurl.Parse(u.Path)
	if !ok {
		return Gateway{}, errors.New("reading an auth URL: it does not have four parts")
	}
	return Gateway{Webhooks: []string{u.Host}, CallerKey: address.Key, Site: address.Namespace + "/" + address.Site}, nil
}

// Config returns the sample configuration for the gateway, with changes from one text to another.
func (g Gateway) Config(changes ...[2]string) ([]byte, error) {
	text, err := os.ReadFile(filepath.Join(controlplane.RepositoryRoot(), "config", "samples", "nginx.conf"))
	if err != nil {
		return nil, fmt.Errorf("reading a sample: %w", err)
	}
	u, err := url.Parse(g.URL)
	if err != nil {
		return nil, fmt.Errorf("reading the URL of a gateway: %w", err)
	}
	site := string(text)
	if g.Authority != "" {
		changes = append(changes, [2]string{"#tls ", ""}, [2]string{"/etc/nginx/apitoken-ca.crt", g.Authority},
			[2]string{"proxy_pass http://api_token_", "proxy_pass https://api_token_"})
	}
	changes = append(changes,
		[2]string{"server PRODUCT;", "server " + g.Product + ";"},
		[2]string{"server WEBHOOK max_fails=0;", "server " + strings.Join(g.Webhooks, " max_fails=0;\n    server ") + " max_fails=0;"},
		[2]string{"server PORTAL max_fails=0;", "server " + g.Portal + " max_fails=0;"},
		[2]string{"/portal/SITE/", "/portal/" + g.Site + "/"},
		[2]string{"/nginx/-/SITE;", "/nginx/-/" + g.Site + ";"},
		[2]string{`X-Api-Token-Caller "CALLER_KEY";`, `X-Api-Token-Caller "` + g.CallerKey + `";`},
		[2]string{"open BASE_URL", "open " + g.URL},
		[2]string{"listen LISTEN;", "listen " + cmp.Or(g.Listen, u.Host) + ";"},
		[2]string{"server_name HOST;", "server_name " + u.Hostname() + ";"},
	)
	for _, change := range slices.Concat(changes, g.Edits) {
		if !strings.Contains(site, change[0]) {
			return nil, fmt.Errorf("changing the sample for nginx: there is no %q in it", change[0])
		}
		site = strings.ReplaceAll(site, change[0], change[1])
	}
	return []byte(site), nil
}

// StartNginx starts nginx with the sample configuration and the given auth URL. more is put before the sample.
func (r *Rig) StartNginx(ctx context.Context, authURL string, more ...string) error {
	g, err := r.Gateway(authURL)
	if err != nil {
		return err
	}
	return r.StartGateway(ctx, g, more...)
}

// StartGateway starts the nginx of the rig as the given gateway. more is put before the sample.
func (r *Rig) StartGateway(ctx context.Context, g Gateway, more ...string) (err error) {
	r.Nginx, err = r.StartAnother(ctx, "nginx", g, more...)
	return err
}

// StartAnother starts an nginx beside that of the rig. The caller must stop it.
func (r *Rig) StartAnother(ctx context.Context, name string, g Gateway, more ...string) (*Process, error) {
	site, err := g.Config()
	if err != nil {
		return nil, err
	}
	p, err := r.startNginx(name, append([]byte(strings.Join(more, "\n")+"\n"), site...))
	if err != nil {
		return nil, err
	}
	return p, p.await(ctx, g.URL+"/login.jsp")
}

// startNginx starts an nginx for one site. Its folder and its log have the given name.
func (r *Rig) startNginx(name string, site []byte) (*Process, error) {
	dir := filepath.Join(r.dir, name)
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return nil, fmt.Errorf("making nginx's folder: %w", err)
	}
	logs := "error_log stderr warn;\naccess_log off;"
	if r.logsRequests {
		logs = "error_log stderr info;\naccess_log /dev/stdout;"
	}
	for file, content := range map[string][]byte{"nginx.conf": []byte(nginxMain(dir, logs)), "site.conf": site} {
		if err := os.WriteFile(filepath.Join(dir, file), content, 0o600); err != nil {
			return nil, fmt.Errorf("writing nginx's configuration: %w", err)
		}
	}
	binary, err := nginxBinary()
	if err != nil {
		return nil, err
	}
	return startProcess(filepath.Join(r.dir, name+".log"), nil, binary, "-e", "stderr", "-c", filepath.Join(dir, "nginx.conf"))
}

// LogRequests makes every nginx that starts from now on log each request.
func (r *Rig) LogRequests() { r.logsRequests = true }

// nginxMain is the configuration around the sample. It keeps all files of nginx in one folder.
func nginxMain(dir, logs string) string {
	user := ""
	if os.Geteuid() == 0 {
		user = "user root;\n" // a worker of another user could not enter the folder
	}
	return user + `daemon off;
worker_processes 2;
pid ` + dir + `/nginx.pid;
events { worker_connections 1024; }
http {
    ` + logs + `
    client_body_temp_path ` + dir + `/body;
    proxy_temp_path ` + dir + `/proxy;
    fastcgi_temp_path ` + dir + `/fastcgi;
    uwsgi_temp_path ` + dir + `/uwsgi;
    scgi_temp_path ` + dir + `/scgi;
    include ` + dir + `/site.conf;
}
`
}

// nginxBinary finds nginx in PATH, or where Debian installs it.
func nginxBinary() (string, error) {
	for _, name := range []string{"nginx", "/usr/sbin/nginx"} {
		if path, err := exec.LookPath(name); err == nil {
			return path, nil
		}
	}
	return "", errors.New("nginx is not installed: run `make prerequisites`, or install it (Debian: apt-get install nginx-light)")
}
