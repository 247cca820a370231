// Package siteurl reads the URLs of an AtlassianSite.
package siteurl

import (
	"fmt"
	"net"
	"net/url"
	"strings"
)

// URL is a URL of a site. Equal URLs have equal fields.
type URL struct {
	// Origin has scheme, host and port. The host is in lower case, and a default port is left out.
	Origin string
	// Host is the host without the port.
	Host string
	// Path is the context path: empty, or with a slash at the start and none at the end.
	Path string
}

// Parse reads a URL that the schema of AtlassianSite admits.
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

// IsServiceIn reports whether the host names a Service of the namespace: "name.namespace.svc", with or without
// ".cluster.local". The short form "name.namespace" does not count: in a namespace "dev", example.dev would be a Service.
func (u URL) IsServiceIn(namespace string) bool {
	name, rest, ok := strings.Cut(u.Host, ".")
	if !ok || name == "" {
		return false
	}
	return rest == namespace+".svc" || rest == namespace+".svc.cluster.local"
}

// PortalPath is the path of the page on which users manage their API tokens, below the base URL.
const PortalPath = "/plugins/servlet/api-tokens"

// APIPath is the path of the REST API with which users manage their API tokens, below the base URL.
const APIPath = "/rest/api-tokens"

// Portal returns the URL of the page on which the users of a site manage their API tokens.
func Portal(baseURL string) string { return strings.TrimSuffix(baseURL, "/") + PortalPath }
