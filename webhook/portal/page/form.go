package page

import (
	"errors"
	"fmt"
	"mime"
	"net/http"
	"net/netip"
	"net/url"
	"slices"
	"strconv"
	"strings"

	tokensv1alpha1 "apitokens.dev/operator/api/v1alpha1"
	"apitokens.dev/operator/webhook/portal/selfservice"
)

// maxForm is more than the largest form of the page has.
const maxForm = 64 << 10

// form reads the fields that were posted. What stands in the query is none of them.
func (c *call) form() (url.Values, error) {
	if media, _, err := mime.ParseMediaType(c.r.Header.Get("Content-Type")); err != nil || media != "application/x-www-form-urlencoded" {
		return nil, &failure{status: http.StatusUnsupportedMediaType, message: "This address takes forms of the page alone. Nothing was done."}
	}
	c.r.Body = http.MaxBytesReader(c.w, c.r.Body, maxForm)
	err := c.r.ParseForm()
	if tooLarge := (*http.MaxBytesError)(nil); errors.As(err, &tooLarge) {
		return nil, &failure{status: http.StatusRequestEntityTooLarge, message: "This form is too large. Nothing was done."}
	}
	if err != nil {
		return nil, &selfservice.Problem{Kind: selfservice.Invalid, Message: "The form cannot be read. Nothing was done."}
	}
	return c.r.PostForm, nil
}

// mistake is what is wrong with a field of a form, or with all of it.
type mistake struct{ Field, Message string }

// mistakes are what is wrong with a form.
type mistakes []mistake

func (m *mistakes) add(field, message string) { *m = append(*m, mistake{field, message}) }

// Of is what is wrong with a field.
func (m mistakes) Of(field string) string {
	for _, wrong := range m {
		if wrong.Field == field {
			return wrong.Message
		}
	}
	return ""
}

// wish reads what a new token is to be. What can be said in better words than those of the REST API is checked here.
func wish(form url.Values, site *selfservice.Site) (selfservice.Wish, mistakes) {
	var wrong mistakes
	w := selfservice.Wish{
		Label: strings.TrimSpace(form.Get("label")), Nonce: form.Get("nonce"), Access: tokensv1alpha1.Access(form.Get("access")),
		AllowedSources: lines(form.Get("allowedSources"), network), AllowedPaths: lines(form.Get("allowedPaths"), strings.TrimSpace),
	}
	if w.Label == "" {
		wrong.add("label", "Give it a label: what is the API token for?")
	}
	chosen := slices.IndexFunc(lifetimes(site), func(c choice) bool { return c.Value == form.Get("lifetimeDays") })
	if chosen < 0 {
		wrong.add("lifetimeDays", "Choose one of these lifetimes.")
	} else if days, err := strconv.ParseInt(form.Get("lifetimeDays"), 10, 32); err == nil {
		w.LifetimeDays = new(int32(days))
	}
	return w, wrong
}

// lines are what stands in the lines of a text, each once.
func lines(text string, read func(string) string) []string {
	var found []string
	for line := range strings.Lines(text) {
		if line = read(line); line != "" && !slices.Contains(found, line) {
			found = append(found, line)
		}
	}
	return found
}

// network reads one. An address stands for the network that has no other.
func network(line string) string {
	line = strings.TrimSpace(line)
	if a, err := netip.ParseAddr(line); err == nil && a.Zone() == "" {
		return netip.PrefixFrom(a, a.BitLen()).String()
	}
	return line
}

// choice is one of several things to choose from.
type choice struct{ Value, Text string }

// lifetimes are those that the site allows. The first one is what it gives to who asks for none.
func lifetimes(site *selfservice.Site) []choice {
	policy := site.Spec.TokenPolicy
	var most, usual int32
	if policy.MaxLifetimeDays != nil {
		most, usual = *policy.MaxLifetimeDays, *policy.MaxLifetimeDays
	}
	if policy.DefaultLifetimeDays != nil && (most == 0 || *policy.DefaultLifetimeDays < most) {
		usual = *policy.DefaultLifetimeDays
	}
	var choices []choice
	switch {
	case usual > 0:
		choices = append(choices, choice{"", days(usual) + ", as is usual here"})
	case policy.NeverExpiring != tokensv1alpha1.NeverExpiringForbidden:
		choices = append(choices, choice{"", "No expiry"})
	}
	offered := []int32{7, 30, 90, 365}
	if most > 0 && most < 365 {
		offered = append(offered, most)
	}
	slices.Sort(offered)
	for _, n := range slices.Compact(offered) {
		if n != usual && (most == 0 || n <= most) {
			choices = append(choices, choice{strconv.Itoa(int(n)), days(n)})
		}
	}
	return choices
}

func days(n int32) string { return count(int(n), "day") }

// count says how many there are of something.
func count(n int, of string) string {
	if n == 1 {
		return "1 " + of
	}
	return fmt.Sprintf("%d %ss", n, of)
}
