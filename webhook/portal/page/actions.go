package page

import (
	"net/http"
	"net/url"
	"strconv"
	"time"

	"apitokens.dev/operator/webhook/portal/selfservice"
)

// errForm means that a form lacks fields that every form of the page has.
var errForm = &selfservice.Problem{Kind: selfservice.Invalid, Message: "This form does not come from this page. Open the page again."}

// create creates a token. Users who are not enrolled have to consent to that.
func create(c *call) error {
	form, err := c.form()
	if err != nil {
		return err
	}
	if form.Get("nonce") == "" {
		return errForm
	}
	d, err := c.createDialog(form)
	if err != nil {
		return err
	}
	request, errs := createRequest(form, c.site)
	if d.Consent && form.Get("consent") != "yes" {
		errs.add("consent", "Tick this box: without a personal access token your API token would not work.")
	}
	for _, p := range c.Check(c.caller, request) {
		if field := d.field(p.Field); errs.Of(field) == "" {
			errs.add(field, inPageTerms(p.Message))
		}
	}
	if errs != nil {
		return c.reopen(http.StatusBadRequest, d, errs)
	}
	t, text, err := c.Create(c.r.Context(), c.caller, request)
	if err != nil {
		form.Set("nonce", selfservice.NewNonce(c.Clock.Now())) // the token of this one was taken back
		return c.failed(d, err)
	}
	return c.reveal(created{Token: c.row(t), Text: text})
}

// rotate rotates a token, once for each form: the form names the secret that it replaces.
func rotate(c *call) error {
	form, err := c.form()
	if err != nil {
		return err
	}
	d, err := c.tokenDialog("rotate", form)
	if err != nil {
		return err
	}
	issued, err := time.Parse(time.RFC3339Nano, form.Get("issued"))
	if err != nil {
		return errForm
	}
	hours, err := strconv.ParseInt(form.Get("overlapHours"), 10, 16)
	if err != nil {
		return c.reopen(http.StatusBadRequest, d, formErrors{{"overlapHours", "Choose how long the current secret keeps working."}})
	}
	overlap := time.Duration(hours) * time.Hour
	t, text, err := c.RotateOnce(c.r.Context(), c.caller, d.Token.ID, overlap, issued)
	if err != nil {
		return c.failed(d, err)
	}
	return c.reveal(created{Token: c.row(t), Text: text, Rotated: true})
}

// revoke revokes a token. The form has to say whether those are revoked too that were created with it. A token that the portal has
// not seen yet is revoked alone.
func revoke(c *call) error {
	form, err := c.form()
	if err != nil {
		return err
	}
	too := form.Get("descendants")
	if d, err := c.tokenDialog("revoke", form); err == nil && d.Descendants > 0 && too != "keep" && too != "revoke" {
		return c.reopen(http.StatusBadRequest, d, formErrors{{"descendants", "Choose whether the API tokens that were created with it are revoked too."}})
	}
	if err := c.Revoke(c.r.Context(), c.caller, form.Get("id"), too == "revoke"); err != nil {
		return err
	}
	return c.done("revoked")
}

// revokeAll revokes all tokens, if there are still as many as the form said.
func revokeAll(c *call) error {
	form, err := c.form()
	if err != nil {
		return err
	}
	own := c.List(c.caller)
	d := &dialog{Name: "revoke-all", Form: form}
	if strconv.Itoa(len(own)) != form.Get("count") {
		return c.reopen(http.StatusConflict, d, formErrors{{"", "You now have " + count(len(own), "API token") + ". None was revoked."}})
	}
	if n, err := c.RevokeAll(c.r.Context(), c.caller); err != nil {
		p := *c.problem(err)
		p.Message = strconv.Itoa(n) + " of them were revoked. " + p.Message
		return c.failed(d, &p)
	}
	return c.done("revoked-all")
}

// paste stores a personal access token. The form never shows it again.
func paste(c *call) error {
	form, err := c.form()
	if err != nil {
		return err
	}
	if err := c.Paste(c.r.Context(), c.caller, form.Get("personalAccessToken")); err != nil {
		return c.failed(&dialog{Name: "paste", Form: url.Values{}}, err)
	}
	return c.done("pasted")
}

// done redirects to the list, which shows a note.
func (c *call) done(note string) error {
	c.redirect(http.StatusSeeOther, c.home()+"?note="+note)
	return nil
}

// fields are the fields of each dialog that can show an error.
var fields = map[string][]string{
	"create": {"label", "lifetimeDays", "access", "allowedSources", "allowedPaths", "consent"},
	"rotate": {"overlapHours"},
	"revoke": {"descendants"},
	"paste":  {"personalAccessToken"},
}

// failed reopens a dialog with a problem. Forms that cannot be sent again are not shown again.
func (c *call) failed(d *dialog, err error) error {
	p := c.problem(err)
	if p.Field == selfservice.FieldNonce || p.Kind == selfservice.NotFound {
		return p
	}
	errs := formErrors{{d.field(p.Field), inPageTerms(p.Message)}}
	for _, also := range p.Also {
		errs.add(d.field(also.Field), inPageTerms(also.Message))
	}
	return c.reopen(statuses[p.Kind], d, errs)
}

// reopen shows a dialog again, with the user's input and the errors in it.
func (c *call) reopen(status int, d *dialog, errs formErrors) error {
	d.Errors = errs
	return c.overview(status, d, "")
}
