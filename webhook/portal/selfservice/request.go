package selfservice

import (
	"crypto/rand"
	"net/netip"
	"regexp"
	"slices"
	"strings"
	"time"
	"unicode"
	"unicode/utf8"

	tokensv1alpha1 "apitokens.dev/operator/api/v1alpha1"
)

// CreateRequest asks for a new token.
type CreateRequest struct {
	Label string
	// At most one of Expires and LifetimeDays is set. Neither means the default of the site.
	Expires      time.Time
	LifetimeDays *int32
	Access       tokensv1alpha1.Access
	// AllowedSources and AllowedPaths limit the token. Nil means no limit.
	AllowedSources, AllowedPaths []string
	// Nonce makes the request idempotent: of two with the same nonce only one succeeds. It may be empty.
	Nonce string
}

// FieldNonce is the field of a Problem whose form was sent before or does not come from the page.
const FieldNonce = "nonce"

// NewNonce returns the nonce of one CreateRequest.
func NewNonce() string { return strings.ToLower(rand.Text()) }

var nonceForm = regexp.MustCompile(`^[a-z2-7]{26}$`)

// These limits are those of the schema of APITokens. They are checked here too, for messages in the words of the REST API.
const (
	maxLabel        = 255
	maxLifetimeDays = 3650
	maxSources      = 32
	maxPaths        = 32
	maxPath         = 256
)

var pathForm = regexp.MustCompile(`^(/[A-Za-z0-9_~.-]+)+/?$`)

// checkRequest returns the first rule of the schema that a new token breaks.
func checkRequest(t *tokensv1alpha1.APIToken) error {
	s := t.Spec
	switch {
	case strings.TrimSpace(s.Label) == "":
		return invalid("label", "label is required: say what the API token is for.")
	case utf8.RuneCountInString(s.Label) > maxLabel:
		return invalid("label", "label must have at most %d characters.", maxLabel)
	case strings.ContainsFunc(s.Label, unprintable):
		return invalid("label", "label must not contain control characters, line breaks or characters that change the direction of text.")
	case s.LifetimeDays != nil && !s.ExpirationTime.IsZero():
		return invalid("expiresAt", "Only one of lifetimeDays and expiresAt may be given.")
	case s.LifetimeDays != nil && (*s.LifetimeDays < 1 || *s.LifetimeDays > maxLifetimeDays):
		return invalid("lifetimeDays", "lifetimeDays must be a number from 1 to %d.", maxLifetimeDays)
	case s.Access != "" && s.Access != tokensv1alpha1.AccessReadWrite && s.Access != tokensv1alpha1.AccessReadOnly:
		return invalid("access", "access must be %s or %s.", tokensv1alpha1.AccessReadWrite, tokensv1alpha1.AccessReadOnly)
	}
	if err := checkList("allowedSources", s.AllowedSources, maxSources, isNetwork, "a network such as 192.0.2.0/24 or 2001:db8::1/128"); err != nil {
		return err
	}
	return checkList("allowedPaths", s.AllowedPaths, maxPaths, isPath, "a path such as /rest/api/2/search")
}

// checkList refuses an empty list, because an APIToken with an empty list has no limit.
func checkList(field string, list []string, maxLen int, valid func(string) bool, form string) error {
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
