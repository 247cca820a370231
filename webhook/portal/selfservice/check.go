package selfservice

import (
	"net/netip"
	"regexp"
	"slices"
	"strings"
	"time"
	"unicode"
	"unicode/utf8"

	tokensv1alpha1 "apitokens.dev/operator/api/v1alpha1"
	"apitokens.dev/operator/internal/terms"
)

// These limits are those of the schema of APITokens. They are checked here too, for messages in the words of the REST API.
const (
	maxLabel        = 255
	maxLifetimeDays = 3650
	maxSources      = 32
	maxPaths        = 32
	maxPath         = 256
)

var pathForm = regexp.MustCompile(`^(/[A-Za-z0-9_~.-]+)+/?$`)

// Check returns everything that is wrong with a request, at most one Problem for each field.
func (s *Service) Check(c *Caller, r CreateRequest) []*Problem {
	t := c.apiToken(r)
	all := checkRequest(c.Site, t)
	if p := s.checkPolicy(c, t); p != nil && !slices.ContainsFunc(all, func(o *Problem) bool { return o.Field == p.Field }) {
		all = append(all, p)
	}
	return all
}

// checkRequest returns the rules that a new token breaks, at most one for each field. Without them it satisfies the schema.
func checkRequest(site *Site, t *tokensv1alpha1.APIToken) (all []*Problem) {
	s := t.Spec
	for _, p := range []*Problem{
		checkLabel(s.Label), checkLifetime(s), checkAccess(s.Access),
		checkList("allowedSources", s.AllowedSources, maxSources, isNetwork, "a network such as 192.0.2.0/24 or 2001:db8::1/128"),
		checkPaths(site, s.AllowedPaths),
	} {
		if p != nil {
			all = append(all, p)
		}
	}
	return all
}

func checkLabel(label string) *Problem {
	switch {
	case strings.TrimSpace(label) == "":
		return invalid("label", "label is required: say what the API token is for.")
	case utf8.RuneCountInString(label) > maxLabel:
		return invalid("label", "label must have at most %d characters.", maxLabel)
	case strings.ContainsFunc(label, unprintable):
		return invalid("label", "label must not contain control characters, line breaks or characters that change the direction of text.")
	}
	return nil
}

func checkLifetime(s tokensv1alpha1.APITokenSpec) *Problem {
	switch {
	case s.LifetimeDays != nil && !s.ExpirationTime.IsZero():
		return invalid("expiresAt", "Only one of lifetimeDays and expiresAt may be given.")
	case s.LifetimeDays != nil && (*s.LifetimeDays < 1 || *s.LifetimeDays > maxLifetimeDays):
		return invalid("lifetimeDays", "lifetimeDays must be a number from 1 to %d.", maxLifetimeDays)
	}
	return nil
}

func checkAccess(access tokensv1alpha1.Access) *Problem {
	if access == "" || access == tokensv1alpha1.AccessReadWrite || access == tokensv1alpha1.AccessReadOnly {
		return nil
	}
	return invalid("access", "access must be %s or %s.", tokensv1alpha1.AccessReadWrite, tokensv1alpha1.AccessReadOnly)
}

// checkPaths also refuses paths at which no API token of the site can be used: such a token would be refused everywhere.
func checkPaths(site *Site, paths []string) *Problem {
	if p := checkList("allowedPaths", paths, maxPaths, isPath, "a path such as /rest/api/2/search"); p != nil {
		return p
	}
	if len(terms.UnreachablePaths(paths, site.AtlassianSite)) > 0 {
		return invalid("allowedPaths", "Each entry of allowedPaths must be a path at which API tokens of this site can be used: at or below %s.",
			strings.Join(site.Spec.TokenPaths, ", "))
	}
	return nil
}

// checkEpoch refuses everything that is made before the revocation epoch of a site: tokens, secrets and enrolments.
func (s *Service) checkEpoch(site *Site) *Problem {
	epoch := terms.Policy(site.AtlassianSite).IssuedAfter
	if !s.Clock.Now().Before(epoch) {
		return nil
	}
	return problem(Conflict, "This site issues no API tokens before %s.", epoch.UTC().Format(time.RFC3339))
}

// checkPolicy returns the rule of the site that a token breaks, in the words of the REST API.
func (s *Service) checkPolicy(c *Caller, t *tokensv1alpha1.APIToken) *Problem {
	now, policy := s.Clock.Now(), terms.Policy(c.AtlassianSite)
	if until := t.Spec.ExpirationTime.Time; !until.IsZero() && !until.After(now) {
		return invalid("expiresAt", "expiresAt must be in the future.")
	}
	if c.Blocked() {
		return errBlocked
	}
	if p := s.checkEpoch(c.Site); p != nil {
		return p
	}
	switch terms.Violates(t, c.AtlassianSite, now) {
	case terms.LifetimeTooLong:
		return invalid("lifetimeDays", "lifetimeDays must be at most %d.", policy.MaxDays)
	case terms.ExpirationTooLate:
		return invalid("expiresAt", "expiresAt must be at most %d days away.", policy.MaxDays)
	case terms.NeverExpires:
		return invalid("lifetimeDays", "API tokens of this site must expire: set lifetimeDays or expiresAt.")
	}
	return nil
}

// checkList refuses an empty list, because an APIToken with an empty list has no limit.
func checkList(field string, list []string, maxLen int, valid func(string) bool, form string) *Problem {
	switch sorted := slices.Sorted(slices.Values(list)); {
	case list == nil:
		return nil
	case len(list) == 0 || len(list) > maxLen:
		return invalid(field, "%s must have 1 to %d entries. Leave it out to allow all.", field, maxLen)
	case !allOf(list, valid):
		return invalid(field, "Each entry of %s must be %s.", field, form)
	case len(slices.Compact(sorted)) < len(list):
		return invalid(field, "%s must not contain an entry twice.", field)
	}
	return nil
}

func allOf(list []string, valid func(string) bool) bool {
	return !slices.ContainsFunc(list, func(s string) bool { return !valid(s) })
}

func isNetwork(s string) bool {
	n, err := netip.ParsePrefix(s)
	return err == nil && n == n.Masked()
}

func isPath(s string) bool {
	dots := func(segment string) bool { return segment == "." || segment == ".." }
	return len(s) <= maxPath && pathForm.MatchString(s) && !slices.ContainsFunc(strings.Split(s, "/"), dots)
}

// unprintable reports whether a character would disguise a label.
func unprintable(r rune) bool {
	return unicode.In(r, unicode.Cc, unicode.Zl, unicode.Zp) || '\u202a' <= r && r <= '\u202e' || '\u2066' <= r && r <= '\u2069'
}
