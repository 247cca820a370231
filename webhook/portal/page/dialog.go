package page

import (
	"net/url"
	"slices"
	"strings"
	"time"
	"unicode"
	"unicode/utf8"

	tokensv1alpha1 "apitokens.dev/operator/api/v1alpha1"
	"apitokens.dev/operator/webhook/portal/selfservice"
)

// dialog is one that is open over the page.
type dialog struct {
	Name string
	// Form is what was typed, and Wrong what is wrong with it.
	Form  url.Values
	Wrong mistakes
	// Token is the one to rotate or to revoke.
	Token row

	// The rest is for "create" alone. Consent says that the owner is to be enrolled, and ReadOnly that the site allows no more.
	Lifetimes         []choice
	Consent, ReadOnly bool
}

// open opens the dialog that the query asks for. One that there is not leaves the page as it is.
func (c *call) open(query url.Values) (*dialog, error) {
	switch name := query.Get("dialog"); name {
	case "create":
		return c.createDialog(url.Values{"nonce": {selfservice.NewNonce()}, "access": {string(tokensv1alpha1.AccessReadWrite)}})
	case "rotate", "revoke":
		return c.tokenDialog(name, query)
	case "revoke-all", "paste":
		return &dialog{Name: name}, nil
	}
	return nil, nil
}

func (c *call) createDialog(form url.Values) (*dialog, error) {
	state, err := c.Enrolment(c.r.Context(), c.caller)
	if err != nil {
		return nil, err
	}
	return &dialog{
		Name: "create", Form: form, Lifetimes: lifetimes(c.site), Consent: needsConsent(state), ReadOnly: readOnly(c.site),
	}, nil
}

// needsConsent reports whether a new token has the product make a personal access token.
func needsConsent(e selfservice.Enrolment) bool {
	return e == selfservice.NotEnrolled || e == selfservice.Ended
}

// readOnly reports whether a site lets no token write.
func readOnly(s *selfservice.Site) bool {
	return s.Spec.TokenPolicy.Access == tokensv1alpha1.AccessReadOnly
}

// tokenDialog is about one of the caller's own tokens.
func (c *call) tokenDialog(name string, form url.Values) (*dialog, error) {
	t, err := c.Get(c.r.Context(), c.caller, form.Get("id"))
	if err != nil {
		return nil, err
	}
	return &dialog{Name: name, Form: form, Token: c.row(t)}, nil
}

// Issued is the secret that a form to rotate is opened for.
func (d *dialog) Issued() string { return d.Token.Token.Issued.UTC().Format(time.RFC3339Nano) }

// Overlaps are for how long a replaced secret may go on.
func (d *dialog) Overlaps() []choice {
	return []choice{{"24", "1 day"}, {"168", "7 days"}, {"720", "30 days"}, {"1", "1 hour"}, {"0", "Not at all: it stops working at once"}}
}

// field is the field of the dialog that a problem is about, or empty.
func (d *dialog) field(name string) string {
	if slices.Contains(fields[d.Name], name) {
		return name
	}
	return ""
}

// jargon are the names of fields in the REST API, by what the page calls them.
var jargon = strings.NewReplacer("Each entry of allowedSources", "Each line", "Each entry of allowedPaths", "Each line",
	"allowedSources", "allowed sources", "allowedPaths", "allowed paths", "lifetimeDays", "the lifetime in days", "overlapHours", "the overlap in hours")

// inWords is a message of the REST API in the words of the page.
func inWords(message string) string {
	message = jargon.Replace(message)
	first, size := utf8.DecodeRuneInString(message)
	return string(unicode.ToUpper(first)) + message[size:]
}
