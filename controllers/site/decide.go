package site

import (
	"fmt"
	"slices"
	"strings"

	tokensv1alpha1 "apitokens.dev/operator/api/v1alpha1"
	"apitokens.dev/operator/internal/siteurl"
)

// problem says why a site is not served, and what to do.
type problem struct{ reason, message string }

// malformed returns the problem of a site that got past the schema, or nil.
func malformed(s *tokensv1alpha1.AtlassianSite) *problem {
	if s.Malformed == "" {
		return nil
	}
	return &problem{tokensv1alpha1.ReasonInvalid, fmt.Sprintf(
		"This AtlassianSite cannot be read (%s), so its tokens do not authenticate. Correct the value, or delete the AtlassianSite and create it again.",
		s.Malformed)}
}

// notServed returns why the spec of a site, beside all others, must not be served, or nil.
func notServed(s *tokensv1alpha1.AtlassianSite, all []tokensv1alpha1.AtlassianSite, allowExternal bool) *problem {
	if conflict := baseURLConflict(s, all); conflict != nil {
		return conflict
	}
	return upstreamNotAllowed(s, allowExternal)
}

// shutOut returns why no client certificate of a site's ingress can be accepted, or nil. webhookURL is where gateways reach the
// webhook, and authorities are those that the site names.
func shutOut(s *tokensv1alpha1.AtlassianSite, webhookURL string, authorities authorities) *problem {
	switch {
	case s.Spec.CallerVerification.Type != tokensv1alpha1.CallerVerificationClientCertificate:
		return nil
	case !isHTTPS(webhookURL):
		return &problem{tokensv1alpha1.ReasonWebhookWithoutTLS, fmt.Sprintf(
			"`callerVerification` asks for client certificates, and the webhook at %s receives none, because it speaks plain HTTP. Start the webhook with "+
				"--tls-cert-file and --tls-private-key-file, and the controller with an https --webhook-url. Until then no ingress of this site is answered.",
			webhookURL)}
	case authorities.problem != nil:
		return &problem{tokensv1alpha1.ReasonCallerAuthoritiesUnusable, authorities.problem.Error()}
	}
	return nil
}

func isHTTPS(url string) bool { return strings.HasPrefix(url, "https://") }

// keptURL returns the URL with which those of a site begin. A site that has HTTP URLs keeps them, because its gateway may not be
// ready for TLS, until the Secret with them is deleted. stored is one of them, and path follows its beginning.
func keptURL(configured, stored, path string) string {
	kept, _, found := strings.Cut(stored, path)
	if found && isHTTPS(configured) && strings.HasPrefix(kept, "http://") {
		return kept
	}
	return configured
}

// baseURLConflict finds an older site with the same base URL. The older one is served, this one is not.
func baseURLConflict(s *tokensv1alpha1.AtlassianSite, all []tokensv1alpha1.AtlassianSite) *problem {
	mine, err := siteurl.Parse(s.Spec.BaseURL)
	if err != nil {
		return &problem{tokensv1alpha1.ReasonBaseURLConflict, err.Error()}
	}
	i := slices.IndexFunc(all, func(other tokensv1alpha1.AtlassianSite) bool {
		theirs, err := siteurl.Parse(other.Spec.BaseURL)
		return err == nil && other.UID != s.UID && theirs == mine && older(&other, s)
	})
	if i < 0 {
		return nil
	}
	return &problem{tokensv1alpha1.ReasonBaseURLConflict, fmt.Sprintf(
		"AtlassianSite '%s' in namespace '%s' is older and has the same `baseURL`, so this one is not served. Delete one of them, or correct its `baseURL`.",
		all[i].Name, all[i].Namespace)}
}

// older orders sites by age, and those of the same second by name, so that both sites come to the same result.
func older(a, b *tokensv1alpha1.AtlassianSite) bool {
	if !a.CreationTimestamp.Equal(&b.CreationTimestamp) {
		return a.CreationTimestamp.Before(&b.CreationTimestamp)
	}
	return strings.Compare(a.Namespace+"/"+a.Name, b.Namespace+"/"+b.Name) < 0
}

// upstreamNotAllowed refuses an `upstreamURL` that is not a Service of the site's own namespace, because personal access
// tokens are sent there.
func upstreamNotAllowed(s *tokensv1alpha1.AtlassianSite, allowAny bool) *problem {
	u, err := siteurl.Parse(s.Spec.UpstreamURL)
	if err != nil {
		return &problem{tokensv1alpha1.ReasonUpstreamNotAllowed, err.Error()}
	}
	if allowAny || u.IsServiceIn(s.Namespace) {
		return nil
	}
	return &problem{tokensv1alpha1.ReasonUpstreamNotAllowed, fmt.Sprintf(
		"This site is not served: `upstreamURL` must be a Service in the namespace of the site, such as 'http://jira.%s.svc:8080': "+
			"personal access tokens are sent there. An operator started with --allow-external-upstreams allows other hosts.", s.Namespace)}
}
