package site

import (
	"fmt"
	"slices"
	"strings"

	tokensv1alpha1 "apitokens.dev/operator/api/v1alpha1"
	"apitokens.dev/operator/internal/siteurl"
)

// problem is why a site is not served, and what to do.
type problem struct{ reason, message string }

// baseURLConflict finds the older site with the same base URL: it keeps being served, this one is not.
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

// older orders sites by age; those of the same second by name, so that both judge alike.
func older(a, b *tokensv1alpha1.AtlassianSite) bool {
	if !a.CreationTimestamp.Equal(&b.CreationTimestamp) {
		return a.CreationTimestamp.Before(&b.CreationTimestamp)
	}
	return strings.Compare(a.Namespace+"/"+a.Name, b.Namespace+"/"+b.Name) < 0
}

// upstreamNotAllowed refuses to send personal access tokens anywhere but to a Service of the site's own namespace.
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

// rejection is why the personal access token of one user is not in use, or will not be.
type rejection struct{ reason, user, why string }

// maxRejections bounds what a condition's message lists.
const maxRejections = 10

// credentialsCondition sums up the rejections. Its message depends on what is wrong, not on when it was found.
func credentialsCondition(rejected []rejection) (reason, message string) {
	if len(rejected) == 0 {
		return tokensv1alpha1.ReasonVerified, "The product confirmed the owner of every personal access token."
	}
	reason = rejected[0].reason
	var unused, ending []string
	for _, r := range rejected {
		if r.reason != reason {
			reason = tokensv1alpha1.ReasonCredentialUnusable
		}
		line := fmt.Sprintf("'%s': %s", r.user, r.why)
		if r.reason == tokensv1alpha1.ReasonRenewalRefused {
			ending = append(ending, line)
		} else {
			unused = append(unused, line)
		}
	}
	more := ""
	if n := len(rejected) - maxRejections; n > 0 {
		more = fmt.Sprintf("; and %d more", n)
	}
	unused = unused[:min(len(unused), maxRejections)]
	ending = ending[:min(len(ending), maxRejections-len(unused))]
	var parts []string
	if len(unused) > 0 {
		parts = append(parts, "Not in use: "+strings.Join(unused, "; "))
	}
	if len(ending) > 0 {
		parts = append(parts, "Not renewed: "+strings.Join(ending, "; "))
	}
	return reason, strings.Join(parts, ". ") + more + "."
}
