package page

import (
	"net/http"
	"net/url"
	"strconv"
	"time"

	"apitokens.dev/operator/webhook/portal/selfservice"
)

// errForm means that what was sent lacks what every form of the page has.
var errForm = &selfservice.Problem{Kind: selfservice.Invalid, Message: "The form is not one of this page. Open the page again."}

// create makes a token. Whoever is not enrolled has to agree that he will be.
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
	wanted, wrong := wish(form, c.site)
	if d.Consent && form.Get("consent") != "yes" {
		wrong.add("consent", "Tick this box: without a personal access token your API token would not work.")
	}
	if wrong != nil {
		return c.again(http.StatusBadRequest, d, wrong)
	}
	t, text, err := c.Create(c.r.Context(), c.caller, wanted)
	if err != nil {
		return c.failed(d, err)
	}
	return c.reveal(made{Token: c.row(t), Text: text})
}

// rotate makes a new secret of a token, once for each form: it says which secret it was opened for.
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
		return c.again(http.StatusBadRequest, d, mistakes{{"overlapHours", "Choose for how long the present secret goes on working."}})
	}
	overlap := time.Duration(hours) * time.Hour
	t, text, err := c.RotateOnce(c.r.Context(), c.caller, d.Token.ID, overlap, issued)
	if err != nil {
		return c.failed(d, err)
	}
	m := made{Token: c.row(t), Text: text, Rotated: true}
	if overlap > 0 {
		m.Before = t.Issued.Add(overlap)
	}
	return c.reveal(m)
}

func revoke(c *call) error {
	form, err := c.form()
	if err != nil {
		return err
	}
	if err := c.Revoke(c.r.Context(), c.caller, form.Get("id")); err != nil {
		return err
	}
	return c.done("revoked")
}

// revokeAll revokes as many as the form said there are. If there are others by now, that is said first.
func revokeAll(c *call) error {
	form, err := c.form()
	if err != nil {
		return err
	}
	mine, err := c.List(c.r.Context(), c.caller)
	if err != nil {
		return err
	}
	d := &dialog{Name: "revoke-all", Form: form}
	if strconv.Itoa(len(mine)) != form.Get("count") {
		return c.again(http.StatusConflict, d, mistakes{{"", "You have " + count(len(mine), "API token") + " by now. None of them was revoked yet."}})
	}
	if n, err := c.RevokeAll(c.r.Context(), c.caller); err != nil {
		p := *c.problem(err)
		p.Message = strconv.Itoa(n) + " of them were revoked. " + p.Message
		return c.failed(d, &p)
	}
	return c.done("revoked-all")
}

// paste stores a personal access token. What was typed is not shown again.
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

// done leads back to the page, where a note says what was done.
func (c *call) done(note string) error {
	c.redirect(http.StatusSeeOther, c.home()+"?note="+note)
	return nil
}

// fields are those of each dialog that a mistake can be beside of.
var fields = map[string][]string{
	"create": {"label", "lifetimeDays", "access", "allowedSources", "allowedPaths", "consent"},
	"rotate": {"overlapHours"},
	"paste":  {"personalAccessToken"},
}

// failed opens a dialog again because of a problem. A form that cannot be sent again is not shown again.
func (c *call) failed(d *dialog, err error) error {
	p := c.problem(err)
	if p.Field == selfservice.FieldNonce || p.Kind == selfservice.NotFound {
		return p
	}
	return c.again(statuses[p.Kind], d, mistakes{{d.field(p.Field), inWords(p.Message)}})
}

// again opens a dialog again, with what was typed and what is wrong with it.
func (c *call) again(status int, d *dialog, wrong mistakes) error {
	d.Wrong = wrong
	return c.overview(status, d, "")
}
