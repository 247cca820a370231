package page

import (
	"bytes"
	"cmp"
	"fmt"
	"net/http"
	"regexp"
	"strings"
	"time"

	tokensv1alpha1 "apitokens.dev/operator/api/v1alpha1"
	"apitokens.dev/operator/internal/authn"
	"apitokens.dev/operator/internal/terms"
	"apitokens.dev/operator/webhook/portal/selfservice"
)

// view is the content of a page. It shows Refusal or Created if they are set, and else the list.
type view struct {
	Title string
	// Home and Page are the paths of the product and of this page. BaseURL is the URL of the site.
	Product             tokensv1alpha1.Product
	Home, Page, BaseURL string
	// User is the user who is signed in. DisplayName is the product's display name of them.
	User, DisplayName string

	// Notices are warnings about the site. Note says what the last action did.
	Notices   []string
	Note      string
	Enrolment selfservice.Enrolment
	// Provided says that the administrator of the site provides the user's personal access token.
	Provided bool
	Tokens   []row
	// Quota is how many tokens a user may have. Closed says that none is created at the moment.
	Quota   int
	Closed  bool
	Dialog  *dialog
	Created *created
	Refusal *refusal
}

// Full reports whether the user has reached the quota.
func (v view) Full() bool { return len(v.Tokens) >= v.Quota }

// Example returns a path for the hint of `allowedPaths`.
func (v view) Example() string { return whoAmI[v.Product] }

// row is a token in the list.
type row struct {
	selfservice.Token

	Badge badge
	// Soon says when the token expires, if that is soon.
	Soon string
	// ReadOnly says that the token or its site allows only reading.
	ReadOnly bool
	// Declared says that the token is declared in Kubernetes and rotated there.
	Declared bool
}

// OlderSecrets says how many replaced secrets work. It is empty if none does.
func (r row) OlderSecrets() string {
	switch r.Older {
	case 0:
		return ""
	case 1:
		return "1 older secret works"
	}
	return count(r.Older, "older secret") + " work"
}

// badge shows a state. Look is a CSS class.
type badge struct{ Name, Look, Help string }

var badges = map[selfservice.State]badge{
	selfservice.Active:           {"Active", "good", ""},
	selfservice.Suspended:        {"Suspended", "waits", "It was suspended in Kubernetes. It works again when it is resumed there."},
	selfservice.Expired:          {"Expired", "bad", ""},
	selfservice.Revoked:          {"Revoked", "bad", "The administrator of this site revoked all API tokens of this age."},
	selfservice.NotAllowed:       {"Not allowed", "bad", "The site does not accept API tokens from its namespace."},
	selfservice.Blocked:          {"Blocked", "bad", ""}, // the notice says why
	selfservice.OwnerChanged:     {"Does not work", "bad", "Its user name belongs to somebody else now. Revoke it, and create another one."},
	selfservice.Damaged:          {"Does not work", "bad", "Ask the administrator of this site: its conditions in Kubernetes say why."},
	selfservice.Unlicensed:       {"Does not work", "bad", ""}, // the notice says why
	selfservice.StateNotEnrolled: {"Does not work", "bad", "It needs a personal access token of yours."},
}

// created is a new or rotated token with its plaintext.
type created struct {
	Token   row
	Text    string
	Curl    string
	Rotated bool
}

// refusal says why a request failed.
type refusal struct {
	Heading, Message string
	// SignIn is the path of the login page, if signing in helps. Retry says that trying again may help.
	SignIn string
	Retry  bool
}

// notes are the messages that the query can select. No other text of the query is shown.
var notes = map[string]string{
	"revoked":     "The API token was revoked. It no longer works.",
	"revoked-all": "All your API tokens were revoked. None of them works any more.",
	"pasted":      "Your personal access token was saved. Your API tokens now use it.",
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

// overview shows the list and the dialog that is open over it.
func (c *call) overview(status int, d *dialog, note string) error {
	own := c.List(c.caller)
	state, err := c.Enrolment(c.r.Context(), c.caller)
	if err != nil {
		return err
	}
	v := view{
		Title: "API tokens", Note: note, Enrolment: state, Provided: c.caller.Provided(), Tokens: make([]row, len(own)), Quota: c.site.MaxTokens(), Dialog: d,
	}
	for i, t := range own {
		v.Tokens[i] = c.row(t)
		if t.State == selfservice.Active && lacksPAT(state) {
			v.Tokens[i].Badge = badges[selfservice.StateNotEnrolled]
		}
	}
	if d != nil {
		v.Title = titles[d.Name]
		if d.Errors != nil {
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

// reveal shows a new secret. It is shown only in this answer.
func (c *call) reveal(t created) error {
	t.Curl = curl(c.site, c.caller.User, t.Token.AllowedPaths)
	v := view{Title: "Your new API token", Created: &t}
	c.address(&v)
	return c.write(http.StatusOK, v)
}

// address fills in the site and the user.
func (c *call) address(v *view) {
	v.Product, v.Home, v.Page, v.BaseURL = c.site.Spec.Product, c.site.Base.Path+"/", c.home(), c.site.Spec.BaseURL
	v.Notices, v.Closed = notices(c.site, c.Clock.Now())
	if c.caller != nil && c.caller.Blocked() {
		v.Notices, v.Closed, v.Enrolment = append(v.Notices, blocked), true, ""
	}
	if c.caller != nil {
		v.User, v.DisplayName = c.caller.User, cmp.Or(c.caller.DisplayName, c.caller.User)
	}
}

// write renders a page before it sends the status, so that a fault is no half page.
func (c *call) write(status int, v view) error {
	var page bytes.Buffer
	if err := v.node().Render(&page); err != nil {
		return fmt.Errorf("rendering the page: %w", err)
	}
	c.w.Header().Set("Content-Type", "text/html; charset=utf-8")
	if status == http.StatusServiceUnavailable {
		selfservice.RetryAfter(c.w.Header())
	}
	c.w.WriteHeader(status)
	_, _ = c.w.Write(page.Bytes()) // the client may have disconnected
	return nil
}

// row returns the token's row in the list.
func (c *call) row(t selfservice.Token) row {
	return row{
		Token: t, Badge: badges[t.State], Soon: soon(t.Ends, c.Clock.Now()), Declared: t.Credential != tokensv1alpha1.CredentialPortal,
		ReadOnly: t.Access == tokensv1alpha1.AccessReadOnly || readOnly(c.site),
	}
}

const (
	day = 24 * time.Hour
	// soonPeriod is how long before its expiry a token is marked.
	soonPeriod = 14 * day
)

// soon returns the time until ends, rounded to days or hours. It is empty if more than soonPeriod is left.
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

// whoAmI are the products' resources that return the current user.
var whoAmI = map[tokensv1alpha1.Product]string{
	tokensv1alpha1.ProductJira: "/rest/api/2/myself", tokensv1alpha1.ProductConfluence: "/rest/api/user/current",
}

// curl returns a command that tries out a token, at a path where it may be used. It asks for the token, so that the token is not
// in the shell's history or in the list of processes.
func curl(s *selfservice.Site, user string, allowed []string) string {
	path := whoAmI[s.Spec.Product]
	if len(allowed) > 0 {
		path = allowed[0]
	}
	return "curl --user " + quoted(user) + " " + quoted(s.Spec.BaseURL+path)
}

var plain = regexp.MustCompile(`^[A-Za-z0-9_./:@%+,-]+$`)

// quoted returns one word of a shell command. User names may contain any character.
func quoted(word string) string {
	if plain.MatchString(word) {
		return word
	}
	return "'" + strings.ReplaceAll(word, "'", `'\''`) + "'"
}

// unlicensed says what is wrong with the licence, in the words of the condition Licensed.
var unlicensed = map[authn.Reason]string{
	authn.ReasonInvalidLicenseMissing:        "their licence is missing",
	authn.ReasonInvalidLicenseMalformed:      "their licence is malformed",
	authn.ReasonInvalidLicenseWrongSignature: "their licence has a wrong signature",
	authn.ReasonInvalidLicenseExpired:        "their licence has expired",
	authn.ReasonInvalidLicenseWrongProduct:   "their licence is for the wrong product",
}

// blocked is the warning that only the users see whom the site blocks.
const blocked = "You are blocked here: your API tokens do not work, and none is created or rotated for you. You can still revoke them. " +
	"Ask the administrator of this site."

// notices returns the warnings that all users of the site see, and whether no token is created at the moment.
func notices(s *selfservice.Site, now time.Time) (all []string, closed bool) {
	if s.Unlicensed != "" {
		all = append(all, fmt.Sprintf("API tokens do not work at the moment: %s. You can still create and revoke them. Ask the administrator of this %s.",
			unlicensed[s.Unlicensed], s.Spec.Product))
	}
	if until := terms.Policy(s.AtlassianSite).IssuedAfter; until.After(now) {
		closed = true
		all = append(all, fmt.Sprintf("The administrator of this site has ended all API tokens. New ones can be created from %s on. "+
			"Those that Kubernetes delivers are delivered anew only then.", until.UTC().Format("2 Jan 2006, 15:04:05 UTC")))
	}
	return all, closed
}
