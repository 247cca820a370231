package page

import (
	"errors"
	"fmt"
	"mime"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"

	tokensv1alpha1 "apitokens.dev/operator/api/v1alpha1"
	"apitokens.dev/operator/webhook/portal/selfservice"
)

// maxForm is larger than every form of the page, in bytes.
const maxForm = 64 << 10

// userField is a field of every form: the user whom the page with the form shows.
const userField = "user"

// form returns the posted fields. It ignores the query. It refuses a form that was made for another user than the caller.
func (c *call) form() (url.Values, error) {
	if media, _, err := mime.ParseMediaType(c.r.Header.Get("Content-Type")); err != nil || media != "application/x-www-form-urlencoded" {
		return nil, &failure{status: http.StatusUnsupportedMediaType, message: "This address accepts only forms of the page. Nothing was done."}
	}
	c.r.Body = http.MaxBytesReader(c.w, c.r.Body, maxForm)
	err := c.r.ParseForm()
	if tooLarge := (*http.MaxBytesError)(nil); errors.As(err, &tooLarge) {
		return nil, &failure{status: http.StatusRequestEntityTooLarge, message: "This form is too large. Nothing was done."}
	}
	if err != nil {
		return nil, &selfservice.Problem{Kind: selfservice.Invalid, Message: "The form is malformed. Nothing was done."}
	}
	if !c.r.PostForm.Has(userField) {
		return nil, errForm
	}
	return c.r.PostForm, c.caller.MustBe(c.r.PostForm.Get(userField))
}

// formError is an error in a field. An empty Field means the whole form.
type formError struct{ Field, Message string }

// formErrors are the errors in a form.
type formErrors []formError

func (e *formErrors) add(field, message string) { *e = append(*e, formError{field, message}) }

// Of returns the message for a field, or an empty string.
func (e formErrors) Of(field string) string {
	for _, err := range e {
		if err.Field == field {
			return err.Message
		}
	}
	return ""
}

// createRequest reads the form to create a token. It checks the fields for which it has better words than the REST API.
func createRequest(form url.Values, site *selfservice.Site) (selfservice.CreateRequest, formErrors) {
	var errs formErrors
	r := selfservice.CreateRequest{
		Label: strings.TrimSpace(form.Get("label")), Nonce: form.Get("nonce"), Access: tokensv1alpha1.Access(form.Get("access")),
		AllowedSources: lines(form.Get("allowedSources"), network), AllowedPaths: lines(form.Get("allowedPaths"), strings.TrimSpace),
	}
	if r.Label == "" {
		errs.add("label", "Enter a label that says what the API token is for.")
	}
	chosen := slices.IndexFunc(lifetimes(site), func(c choice) bool { return c.Value == form.Get("lifetimeDays") })
	if chosen < 0 {
		errs.add("lifetimeDays", "Choose one of these lifetimes.")
	} else if days, err := strconv.ParseInt(form.Get("lifetimeDays"), 10, 32); err == nil {
		r.LifetimeDays = new(int32(days))
	}
	return r, errs
}

// lines returns the distinct lines of a text.
func lines(text string, read func(string) string) []string {
	var found []string
	for line := range strings.Lines(text) {
		if line = read(line); line != "" && !slices.Contains(found, line) {
			found = append(found, line)
		}
	}
	return found
}

func network(line string) string { return selfservice.Network(strings.TrimSpace(line)) }

// choice is an option of a select field.
type choice struct{ Value, Text string }

// siteLifetimes returns the longest lifetime and the default lifetime of a site in days. Zero means never.
func siteLifetimes(site *selfservice.Site) (limit, usual int32) {
	policy := site.Spec.TokenPolicy
	if policy.MaxLifetimeDays != nil {
		limit, usual = *policy.MaxLifetimeDays, *policy.MaxLifetimeDays
	}
	if policy.DefaultLifetimeDays != nil && (limit == 0 || *policy.DefaultLifetimeDays < limit) {
		usual = *policy.DefaultLifetimeDays
	}
	return limit, usual
}

// suggestedDays is the lifetime that the form suggests, unless the site's default is shorter. Most people keep a suggestion, so
// it is not the longest one.
const suggestedDays = 90

// suggested returns the value of the lifetime that the form suggests. An empty value is the site's default.
func suggested(site *selfservice.Site) string {
	if _, usual := siteLifetimes(site); usual > 0 && usual <= suggestedDays {
		return ""
	}
	return strconv.Itoa(suggestedDays)
}

// lifetimes returns the lifetimes that the site allows. The first is the site's default.
func lifetimes(site *selfservice.Site) []choice {
	limit, usual := siteLifetimes(site)
	var choices []choice
	switch {
	case usual > 0:
		choices = append(choices, choice{"", days(usual) + " (default of this site)"})
	case site.Spec.TokenPolicy.NeverExpiring != tokensv1alpha1.NeverExpiringForbidden:
		choices = append(choices, choice{"", "No expiry"})
	}
	offered := []int32{7, 30, 90, 365}
	if limit > 0 && limit < 365 {
		offered = append(offered, limit)
	}
	slices.Sort(offered)
	for _, n := range slices.Compact(offered) {
		if n != usual && (limit == 0 || n <= limit) {
			choices = append(choices, choice{strconv.Itoa(int(n)), days(n)})
		}
	}
	return choices
}

func days(n int32) string { return count(int(n), "day") }

// count returns a number with its noun, in the plural if needed.
func count(n int, of string) string {
	if n == 1 {
		return "1 " + of
	}
	return fmt.Sprintf("%d %ss", n, of)
}
