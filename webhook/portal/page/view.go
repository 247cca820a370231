package page

import (
	"bytes"
	"cmp"
	"embed"
	"fmt"
	"html/template"
	"net/http"
	"regexp"
	"strings"
	"time"

	tokensv1alpha1 "apitokens.dev/operator/api/v1alpha1"
	"apitokens.dev/operator/internal/authn"
	"apitokens.dev/operator/webhook/portal/selfservice"
)

//go:embed templates
var sources embed.FS

var templates = template.Must(template.ParseFS(sources, "templates/*.html"))

// view is all that a page shows. One of Refusal and Made, or neither, is in place of the list.
type view struct {
	Title string
	// Product is its name. Home and Page are paths, BaseURL is where the site is.
	Product             tokensv1alpha1.Product
	Home, Page, BaseURL string
	// User is who is signed in, and DisplayName what the product calls him.
	User, DisplayName string

	// Notice is what the administrator of the site should know, Note what was just done.
	Notice, Note string
	Enrolment    selfservice.Enrolment
	Tokens       []row
	// Most is how many tokens a user may have.
	Most    int
	Dialog  *dialog
	Made    *made
	Refusal *refusal
}

// Full reports whether no more tokens are possible.
func (v view) Full() bool { return len(v.Tokens) >= v.Most }

// Example is a path that a token can be limited to.
func (v view) Example() string { return whoAmI[v.Product] }

// row is a token in the list.
type row struct {
	selfservice.Token

	Standing standing
	// Soon says when it ends, if that is near.
	Soon string
	// ReadOnly is what comes of the token and its site.
	ReadOnly bool
	// Declared says that it is declared in Kubernetes, and rotated there.
	Declared bool
}

// standing is a state in words.
type standing struct{ Name, Look, Help string }

var standings = map[selfservice.State]standing{
	selfservice.Active:     {"Active", "good", ""},
	selfservice.Suspended:  {"Suspended", "waits", "It was suspended in Kubernetes, and works again once that ends."},
	selfservice.Expired:    {"Expired", "bad", ""},
	selfservice.Revoked:    {"Revoked", "bad", "All API tokens of this age were revoked by the administrator of this site."},
	selfservice.NotAllowed: {"Not allowed", "bad", "Its namespace may not have API tokens of this site."},
	selfservice.Damaged:    {"Does not work", "bad", "The administrator of this site finds the reason in Kubernetes."},
}

// made is a token that was just made, with its plaintext.
type made struct {
	Token   row
	Text    string
	Curl    string
	Rotated bool
	// Before is until when the previous secret goes on; zero means no longer.
	Before time.Time
}

// refusal says why something was not done.
type refusal struct {
	Heading, Message string
	// SignIn is where to sign in, if that helps, and Retry says that trying again may.
	SignIn string
	Retry  bool
}

// notes are what can have been done before. Nothing else that stands in the query is ever shown.
var notes = map[string]string{
	"revoked":     "The API token was revoked. It does not work any more.",
	"revoked-all": "All your API tokens were revoked. None of them works any more.",
	"pasted":      "Your personal access token was stored. Your API tokens act with it from now on.",
}

// show shows the list.
func show(c *call) error {
	query := c.r.URL.Query()
	d, err := c.open(query)
	if err != nil {
		return err
	}
	return c.overview(http.StatusOK, d, notes[query.Get("note")])
}

// overview is the list, and what is open over it.
func (c *call) overview(status int, d *dialog, note string) error {
	mine, err := c.List(c.r.Context(), c.caller)
	if err != nil {
		return err
	}
	state, err := c.Enrolment(c.r.Context(), c.caller)
	if err != nil {
		return err
	}
	v := view{Title: "API tokens", Note: note, Enrolment: state, Tokens: make([]row, len(mine)), Most: c.site.MaxTokens(), Dialog: d}
	for i, t := range mine {
		v.Tokens[i] = c.row(t)
		if t.State == selfservice.Active && needsConsent(state) {
			v.Tokens[i].Standing = standing{"Does not work", "bad", ""}
		}
	}
	if d != nil {
		v.Title = titles[d.Name]
		if d.Wrong != nil {
			v.Title = "Error: " + v.Title
		}
	}
	c.address(&v)
	return c.write(status, v)
}

var titles = map[string]string{
	"create": "Create API token", "rotate": "Rotate API token", "revoke": "Revoke API token", "revoke-all": "Revoke all API tokens",
	"paste": "Paste a personal access token",
}

// reveal shows a token that was just made. This answer is the only place where it is.
func (c *call) reveal(m made) error {
	m.Curl = curl(c.site, c.caller.User, m)
	v := view{Title: "Your new API token", Made: &m}
	c.address(&v)
	return c.write(http.StatusOK, v)
}

// address says whose page it is, and of which site.
func (c *call) address(v *view) {
	v.Product, v.Home, v.Page, v.BaseURL = c.site.Spec.Product, c.site.Base.Path+"/", c.home(), c.site.Spec.BaseURL
	v.Notice = notice(c.site)
	if c.caller != nil {
		v.User, v.DisplayName = c.caller.User, cmp.Or(c.caller.DisplayName, c.caller.User)
	}
}

// write writes a page, all of it or none.
func (c *call) write(status int, v view) error {
	var page bytes.Buffer
	if err := templates.ExecuteTemplate(&page, "page.html", v); err != nil {
		return fmt.Errorf("writing the page: %w", err)
	}
	c.w.Header().Set("Content-Type", "text/html; charset=utf-8")
	c.w.WriteHeader(status)
	_, _ = c.w.Write(page.Bytes()) // to somebody who has left, nothing can be said
	return nil
}

// row is what a token looks like in the list.
func (c *call) row(t selfservice.Token) row {
	return row{
		Token: t, Standing: standings[t.State], Soon: soon(t.Ends, c.Clock.Now()), Declared: t.Credential != tokensv1alpha1.CredentialPortal,
		ReadOnly: t.Access == tokensv1alpha1.AccessReadOnly || readOnly(c.site),
	}
}

const (
	day = 24 * time.Hour
	// soonPeriod is how long before its end a token is marked.
	soonPeriod = 14 * day
)

// soon says in how many days something ends, to the nearest, if those are few.
func soon(ends, now time.Time) string {
	left := ends.Sub(now)
	switch {
	case ends.IsZero() || left <= 0 || left > soonPeriod:
		return ""
	case left < time.Hour:
		return "expires within the hour"
	case left < 2*day:
		return "expires in " + count(int(left.Round(time.Hour)/time.Hour), "hour")
	}
	return "expires in " + count(int(left.Round(day)/day), "day")
}

// whoAmI are the resources at which the products say who asks.
var whoAmI = map[tokensv1alpha1.Product]string{
	tokensv1alpha1.ProductJira: "/rest/api/2/myself", tokensv1alpha1.ProductConfluence: "/rest/api/user/current",
}

// curl is a command that tries a token out, where it may be used.
func curl(s *selfservice.Site, user string, m made) string {
	path := whoAmI[s.Spec.Product]
	if only := m.Token.AllowedPaths; len(only) > 0 {
		path = only[0]
	}
	return "curl -s " + quoted(s.Spec.BaseURL+path) + " --user " + quoted(user+":"+m.Text)
}

var plain = regexp.MustCompile(`^[A-Za-z0-9_./:@%+,-]+$`)

// quoted is one word for a shell. Names of users can have anything in them.
func quoted(word string) string {
	if plain.MatchString(word) {
		return word
	}
	return "'" + strings.ReplaceAll(word, "'", `'\''`) + "'"
}

// unlicensed says what is wrong with the licence for the API tokens of a site.
var unlicensed = map[authn.Reason]string{
	authn.ReasonInvalidLicenseMissing:   "there is no licence for them",
	authn.ReasonInvalidLicenseMalformed: "their licence cannot be read",
	authn.ReasonInvalidLicenseSignature: "their licence is not signed by a known issuer",
	authn.ReasonInvalidLicenseExpired:   "their licence has expired",
	authn.ReasonInvalidLicenseProduct:   "their licence is for another product",
}

// notice is what is wrong with the site, for everybody who uses it.
func notice(s *selfservice.Site) string {
	if s.Unlicensed == "" {
		return ""
	}
	return fmt.Sprintf("API tokens do not work at present: %s. You can still create and revoke them. Ask the administrator of this %s.",
		unlicensed[s.Unlicensed], s.Spec.Product)
}
