package selfservice

import (
	"fmt"
	"net/http"
	"strings"

	"k8s.io/apimachinery/pkg/types"
)

// Mount is the prefix to which the ingress rewrites requests. The path below the site's context path follows it.
const Mount = "/portal/{namespace}/{site}"

// Mounted returns the site of a request, and the request's target below the context path as the client wrote it.
func Mounted(r *http.Request) (site types.NamespacedName, target string) {
	site = types.NamespacedName{Namespace: r.PathValue("namespace"), Name: r.PathValue("site")}
	return site, strings.TrimPrefix(r.URL.RequestURI(), "/portal/"+site.Namespace+"/"+site.Name)
}

// NothingLoads is the content security policy of every answer that is not a page.
const NothingLoads = "default-src 'none'; frame-ancestors 'none'"

// Protect sets the headers of every answer. They forbid storing, framing and sniffing it, and referring to it from other sites.
func Protect(h http.Header, contentSecurityPolicy string) {
	h.Set("Cache-Control", "no-store")
	h.Set("Content-Security-Policy", contentSecurityPolicy)
	h.Set("X-Frame-Options", "DENY")
	h.Set("X-Content-Type-Options", "nosniff")
	h.Set("Referrer-Policy", "same-origin")
}

// RetryAfter sets the header of an answer with 503.
func RetryAfter(h http.Header) { h.Set("Retry-After", "5") }

// SameOrigin refuses requests that a page of another origin made a browser send. Clients that are not browsers send no
// origin and pass. `X-Atlassian-Token: no-check` changes nothing, because scripts of any page can set it.
func (s *Site) SameOrigin(r *http.Request) error {
	protection := http.NewCrossOriginProtection()
	// `Sec-Fetch-Site` is more reliable than a comparison of origins, which is for old browsers.
	if r.Header.Get("Sec-Fetch-Site") == "" {
		if err := protection.AddTrustedOrigin(s.Base.Origin); err != nil {
			return fmt.Errorf("reading the origin of a site: %w", err)
		}
	}
	if protection.Check(r) != nil {
		return problem(Forbidden, "This request comes from a page of another site.")
	}
	return nil
}
