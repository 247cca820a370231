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

// dialog is the dialog that is open over the list.
type dialog struct {
	Name string
	// Form is the input of the user. Errors are the errors in it.
	Form   url.Values
	Errors formErrors
	// Token is the token to rotate or revoke. Descendants is how many tokens were created with it, with those, and so on.
	Token       row
	Descendants int

	// The other fields are for "create". Consent says that the owner has to enrol with it. ReadOnly says that the site allows only reading.
	Lifetimes         []choice
	Consent, ReadOnly bool
}

// open returns the dialog that the query names, or nil if there is none of that name.
func (c *call) open(query url.Values) (*dialog, error) {
	switch name := query.Get("dialog"); name {
	case "create":
		return c.createDialog(url.Values{
			"nonce": {selfservice.NewNonce(c.Clock.Now())}, "lifetimeDays": {suggested(c.site)}, "access": {string(tokensv1alpha1.AccessReadWrite)},
		})
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
		Name: "create", Form: form, Lifetimes: lifetimes(c.site), Consent: lacksPAT(state) && !c.caller.Provided(), ReadOnly: readOnly(c.site),
	}, nil
}

// lacksPAT reports whether the caller's API tokens do not work for lack of a personal access token.
func lacksPAT(e selfservice.Enrolment) bool {
	return e == selfservice.NotEnrolled || e == selfservice.Ended
}

// readOnly reports whether a site makes all tokens read-only.
func readOnly(s *selfservice.Site) bool {
	return s.Spec.TokenPolicy.Access == tokensv1alpha1.AccessReadOnly
}

// tokenDialog returns a dialog about one of the caller's own tokens.
func (c *call) tokenDialog(name string, form url.Values) (*dialog, error) {
	t, err := c.Get(c.caller, form.Get("id"))
	if err != nil {
		return nil, err
	}
	return &dialog{Name: name, Form: form, Token: c.row(t), Descendants: c.Descendants(c.caller, t)}, nil
}

// Issued is when the newest secret was issued. The form to rotate sends it back.
func (d *dialog) Issued() string { return d.Token.Token.Issued.UTC().Format(time.RFC3339Nano) }

// Overlaps are the choices for how long the previous secret stays valid, in hours.
func (d *dialog) Overlaps() []choice {
	return []choice{{"24", "1 day"}, {"168", "7 days"}, {"720", "30 days"}, {"1", "1 hour"}, {"0", "Not at all: it stops working at once"}}
}

// field returns the name of a field if the dialog has it, or an empty string.
func (d *dialog) field(name string) string {
	if slices.Contains(fields[d.Name], name) {
		return name
	}
	return ""
}

// pageTerms replaces the names of fields in the REST API by their labels on the page.
var pageTerms = strings.NewReplacer("Each entry of allowedSources", "Each line", "Each entry of allowedPaths", "Each line",
	"allowedSources", "allowed sources", "allowedPaths", "allowed paths", "lifetimeDays", "the lifetime in days", "overlapHours", "the overlap in hours")

// inPageTerms translates a message of the REST API.
func inPageTerms(message string) string {
	message = pageTerms.Replace(message)
	first, size := utf8.DecodeRuneInString(message)
	return string(unicode.ToUpper(first)) + message[size:]
}
