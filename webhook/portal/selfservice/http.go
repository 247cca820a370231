package selfservice

import (
	"fmt"
	"net/http"
	"strings"

	"k8s.io/apimachinery/pkg/types"
)

// Mount is where the ingress sends requests to: all that is below a site's context path follows.
const Mount = "/portal/{namespace}/{site}"

// Mounted returns the site that a request is for, and its target below the context path as the client wrote it.
func Mounted(r *http.Request) (site types.NamespacedName, target string) {
	site = types.NamespacedName{Namespace: r.PathValue("namespace"), Name: r.PathValue("site")}
	return site, strings.TrimPrefix(r.URL.RequestURI(), "/portal/"+site.Namespace+"/"+site.Name)
}

// NothingLoads is the content security policy of what is no page.
const NothingLoads = "default-src 'none'; frame-ancestors 'none'"

// Protect sets the headers that every answer has: nothing is stored, framed, sniffed or told to other sites.
func Protect(h http.Header, contentSecurityPolicy string) {
	h.Set("Cache-Control", "no-store")
	h.Set("Content-Security-Policy", contentSecurityPolicy)
	h.Set("X-Frame-Options", "DENY")
	h.Set("X-Content-Type-Options", "nosniff")
	h.Set("Referrer-Policy", "same-origin")
}

// SameOrigin refuses what a page of another origin has a browser send. Programs that are no browsers say nothing of origins.
// Atlassian's own mark, X-Atlassian-Token, is of no consequence: any page may have it set by a program.
func (s *Site) SameOrigin(r *http.Request) error {
	protection := http.NewCrossOriginProtection()
	// A browser that says itself how the page is related to us knows better than a comparison of names, which is for old ones.
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
