package selfservice

import (
	"net/netip"
	"regexp"
	"slices"
	"strings"
	"unicode"
	"unicode/utf8"

	tokensv1alpha1 "apitokens.dev/operator/api/v1alpha1"
)

// What an APIToken may have, as its schema says too: there it is what counts, here it is said in the words of who asks.
const (
	maxLabel        = 255
	maxLifetimeDays = 3650
	maxSources      = 32
	maxPaths        = 32
	maxPath         = 256
)

var pathForm = regexp.MustCompile(`^(/[A-Za-z0-9_~.-]+)+/?$`)

// checkWish says what of a wish cannot be, whatever the site allows.
func checkWish(t *tokensv1alpha1.APIToken) error {
	s := t.Spec
	switch {
	case strings.TrimSpace(s.Label) == "":
		return invalid("label", "label must be given: what is the API token for?")
	case utf8.RuneCountInString(s.Label) > maxLabel:
		return invalid("label", "label must have at most %d characters.", maxLabel)
	case strings.ContainsFunc(s.Label, unprintable):
		return invalid("label", "label must not contain control characters, line breaks or characters that turn the direction of text.")
	case s.LifetimeDays != nil && !s.ExpirationTime.IsZero():
		return invalid("expiresAt", "Only one of lifetimeDays and expiresAt may be given.")
	case s.LifetimeDays != nil && (*s.LifetimeDays < 1 || *s.LifetimeDays > maxLifetimeDays):
		return invalid("lifetimeDays", "lifetimeDays must be 1 to %d.", maxLifetimeDays)
	case s.Access != "" && s.Access != tokensv1alpha1.AccessReadWrite && s.Access != tokensv1alpha1.AccessReadOnly:
		return invalid("access", "access must be %s or %s.", tokensv1alpha1.AccessReadWrite, tokensv1alpha1.AccessReadOnly)
	}
	if err := checkList("allowedSources", s.AllowedSources, maxSources, isNetwork, "a network such as 192.0.2.0/24 or 2001:db8::1/128"); err != nil {
		return err
	}
	return checkList("allowedPaths", s.AllowedPaths, maxPaths, isPath, "a path such as /rest/api/2/search")
}

// checkList: an empty list would be taken for none at all, which allows everything.
func checkList(field string, list []string, most int, valid func(string) bool, what string) error {
	switch sorted := slices.Sorted(slices.Values(list)); {
	case list == nil:
		return nil
	case len(list) == 0 || len(list) > most:
		return invalid(field, "%s must have 1 to %d entries. Leave it out to allow all.", field, most)
	case !allOf(list, valid):
		return invalid(field, "Each entry of %s must be %s.", field, what)
	case len(slices.Compact(sorted)) < len(list):
		return invalid(field, "%s must not have the same entry twice.", field)
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

// unprintable characters would show a label as something else than it is.
func unprintable(r rune) bool {
	return unicode.In(r, unicode.Cc, unicode.Zl, unicode.Zp) || '\u202a' <= r && r <= '\u202e' || '\u2066' <= r && r <= '\u2069'
}
