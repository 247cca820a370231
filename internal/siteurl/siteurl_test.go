package siteurl_test

import (
	"testing"

	"apitokens.dev/operator/internal/siteurl"
)

func TestParse(t *testing.T) {
	for raw, want := range map[string]siteurl.URL{
		"https://Example.com":            {Origin: "https://example.com", Host: "example.com"},
		"https://example.com:443/jira":   {Origin: "https://example.com", Host: "example.com", Path: "/jira"},
		"http://example.com:80/":         {Origin: "http://example.com", Host: "example.com"},
		"http://example.com:443/a/b":     {Origin: "http://example.com:443", Host: "example.com", Path: "/a/b"},
		"http://jira.prod.svc:8080/jira": {Origin: "http://jira.prod.svc:8080", Host: "jira.prod.svc", Path: "/jira"},
		"https://[2001:DB8::1]:8443/x":   {Origin: "https://[2001:db8::1]:8443", Host: "2001:db8::1", Path: "/x"},
		"https://[2001:db8::1]":          {Origin: "https://[2001:db8::1]", Host: "2001:db8::1"},
	} {
		if got, err := siteurl.Parse(raw); err != nil || got != want {
			t.Errorf("Parse(%q) = %+v, %v; want %+v", raw, got, err, want)
		}
	}
	for _, raw := range []string{"", "example.com", "ftp://example.com", "https://", "https://u:p@example.com", "https://a?b", "https://a#b", "http://%zz"} {
		if got, err := siteurl.Parse(raw); err == nil {
			t.Errorf("Parse(%q) = %+v", raw, got)
		}
	}
}

func TestIsServiceIn(t *testing.T) {
	for host, want := range map[string]bool{
		"jira.prod": false, "jira.prod.svc": true, "jira.prod.svc.cluster.local": true,
		"jira": false, "jira.other.svc": false, "prod": false, ".prod": false, "jira.prod.svc.evil.example": false,
		"jira.prod.example.com": false, "127.0.0.1": false, "a.b.prod.svc": false,
	} {
		if got := (siteurl.URL{Host: host}).IsServiceIn("prod"); got != want {
			t.Errorf("%q is a Service in prod: %v, want %v", host, got, want)
		}
	}
}

func TestPortal(t *testing.T) {
	for baseURL, want := range map[string]string{
		"https://example.com":       "https://example.com/plugins/servlet/api-tokens",
		"https://example.com/jira":  "https://example.com/jira/plugins/servlet/api-tokens",
		"https://example.com/jira/": "https://example.com/jira/plugins/servlet/api-tokens",
	} {
		if got := siteurl.Portal(baseURL); got != want {
			t.Errorf("Portal(%q) = %q, want %q", baseURL, got, want)
		}
	}
}
