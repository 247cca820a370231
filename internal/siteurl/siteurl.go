// Package siteurl takes apart the URLs of an AtlassianSite.
package siteurl

import (
	"fmt"
	"net"
	"net/url"
	"strings"
)

// URL is a URL of a site in the one spelling that can be compared.
type URL struct {
	// Origin is scheme, host and port: a default port is left out, and the host is in lower case.
	Origin string
	// Host is the host without the port.
	Host string
	// Path is the context path, empty or with a slash before it and none behind.
	Path string
}

// Parse reads a URL as the schema of AtlassianSite admits it.
func Parse(raw string) (URL, error) {
	u, err := url.Parse(raw)
	if err != nil {
		return URL{}, fmt.Errorf("parsing the URL of a site: %w", err)
	}
	host, port := strings.ToLower(u.Hostname()), u.Port()
	if u.Scheme != "http" && u.Scheme != "https" || host == "" || u.User != nil || u.RawQuery != "" || u.Fragment != "" {
		return URL{}, fmt.Errorf("parsing the URL of a site: %q is not of the form http(s)://host[:port][/path]", u.Redacted())
	}
	origin := host
	if strings.Contains(host, ":") {
		origin = "[" + host + "]"
	}
	if port != "" && port != map[string]string{"http": "80", "https": "443"}[u.Scheme] {
		origin = net.JoinHostPort(host, port)
	}
	return URL{Origin: u.Scheme + "://" + origin, Host: host, Path: strings.TrimSuffix(u.EscapedPath(), "/")}, nil
}

// IsServiceIn reports whether the host names a Service of the namespace: "name.namespace.svc", with or without the
// cluster's domain. The short form "name.namespace" does not count: in a namespace "dev", example.dev would be one.
func (u URL) IsServiceIn(namespace string) bool {
	name, rest, ok := strings.Cut(u.Host, ".")
	if !ok || name == "" {
		return false
	}
	return rest == namespace+".svc" || rest == namespace+".svc.cluster.local"
}

// PortalPath is where users have their API tokens, below the base URL.
const PortalPath = "/plugins/servlet/api-tokens"

// Portal is the page where the users of a site have their API tokens.
func Portal(baseURL string) string { return strings.TrimSuffix(baseURL, "/") + PortalPath }
