package page

import (
	"strconv"

	g "maragu.dev/gomponents"
	h "maragu.dev/gomponents/html"
)

// dialog returns the dialog that is open, or nil.
func (v view) dialog() g.Node {
	if v.Dialog == nil {
		return nil
	}
	form := map[string]func() g.Node{
		"create": v.createForm, "rotate": v.rotateForm, "revoke": v.revokeForm, "revoke-all": v.revokeAllForm, "paste": v.pasteForm,
	}[v.Dialog.Name]
	return h.Dialog(g.Attr("open"), h.Aria("labelledby", "dialog-title"), h.Aria("modal", "true"), g.If(v.Dialog.Name != "create", h.Class("narrow")), form())
}

// form is the form of a dialog: a heading, what is inside, and buttons.
func (v view) form(heading string, attributes g.Node, inside, buttons g.Group) g.Node {
	return h.Form(h.Method("post"), h.Action(v.Page+"/"+v.Dialog.Name), attributes, hidden(userField, v.User),
		h.Div(h.Class("head"), h.H2(h.ID("dialog-title"), g.Text(heading))),
		h.Div(h.Class("inside"), v.Dialog.Errors.summary(), inside),
		h.Div(h.Class("buttons"), buttons))
}

var withoutCompletion = h.AutoComplete("off")

// summary lists the errors in a form, with links to the fields.
func (e formErrors) summary() g.Node {
	if len(e) == 0 {
		return nil
	}
	heading := "There is a problem"
	if len(e) != 1 {
		heading = "There are " + strconv.Itoa(len(e)) + " problems"
	}
	return h.Div(h.Class("message bad"), h.Role("alert"), h.TabIndex("-1"), h.AutoFocus(), h.H3(g.Text(heading)), h.Ul(g.Map(e, func(e formError) g.Node {
		if e.Field == "" {
			return h.Li(g.Text(e.Message))
		}
		return h.Li(link("#"+e.Field, e.Message))
	})))
}

// focus is the attribute of the element that has the focus, unless errors have it.
func (e formErrors) focus() g.Node { return g.If(len(e) == 0, h.AutoFocus()) }

// field is an input with its label or legend. tag is the element around them.
func (e formErrors) field(tag func(...g.Node) g.Node, name string, children ...g.Node) g.Node {
	class := "field"
	if e.Of(name) != "" {
		class += " wrong"
	}
	return tag(h.Class(class), g.Group(children))
}

// shown is the error in a field, or nil.
func (e formErrors) shown(field string) g.Node {
	wrong := e.Of(field)
	return g.If(wrong != "", h.P(h.Class("error"), h.ID(field+"-error"), g.Text(wrong)))
}

// described names the hint of an input, if it has one, and the error in it.
func (e formErrors) described(field string, hinted bool) g.Node {
	by := ""
	if hinted {
		by = field + "-hint"
	}
	if e.Of(field) == "" {
		return g.If(hinted, h.Aria("describedby", by))
	}
	if hinted {
		by += " "
	}
	return g.Group{h.Aria("describedby", by+field+"-error"), h.Aria("invalid", "true")}
}

func hidden(name, value string) g.Node {
	return h.Input(h.Type("hidden"), h.Name(name), h.Value(value))
}

func submit(look, text string) g.Node { return h.Button(h.Type("submit"), h.Class(look), g.Text(text)) }

// cancel is the link back to the list.
func (v view) cancel(attributes ...g.Node) g.Node {
	return h.A(h.Class("button link"), g.Attr("data-back"), h.Href(v.Page), g.Group(attributes), g.Text("Cancel"))
}

// options are the choices of a field.
func options(of []choice, chosen string) g.Node {
	return g.Map(of, func(c choice) g.Node {
		return h.Option(h.Value(c.Value), g.If(c.Value == chosen, h.Selected()), g.Text(c.Text))
	})
}

// pick is one of several things to choose. kind is that of its input.
func pick(kind, id, name, value, text string, attributes ...g.Node) g.Node {
	return h.Div(h.Class("choice"), h.Input(h.Type(kind), h.ID(id), h.Name(name), h.Value(value), g.Group(attributes)), h.Label(h.For(id), g.Text(text)))
}

func (v view) createForm() g.Node {
	d := v.Dialog
	return v.form("Create API token", g.Group{withoutCompletion, hidden("nonce", d.Form.Get("nonce"))}, g.Group{
		d.labelField(), d.lifetimeField(), d.accessField(), v.advanced(), v.consent(),
	}, g.Group{submit("primary", "Create"), v.cancel()})
}

func (d *dialog) labelField() g.Node {
	return d.Errors.field(h.Div, "label",
		h.Label(h.For("label"), g.Text("Label")),
		hint("label-hint", g.Text("For example the script or the machine that uses it.")),
		d.Errors.shown("label"),
		h.Input(h.Type("text"), h.ID("label"), h.Name("label"), h.Value(d.Form.Get("label")), h.Dir("auto"), h.Required(), h.MaxLength("255"),
			withoutCompletion, d.Errors.described("label", true), d.Errors.focus()))
}

func (d *dialog) lifetimeField() g.Node {
	return d.Errors.field(h.Div, "lifetimeDays",
		h.Label(h.For("lifetimeDays"), g.Text("Lifetime")),
		d.Errors.shown("lifetimeDays"),
		h.Select(h.ID("lifetimeDays"), h.Name("lifetimeDays"), d.Errors.described("lifetimeDays", false), options(d.Lifetimes, d.Form.Get("lifetimeDays"))))
}

func (d *dialog) accessField() g.Node {
	if d.ReadOnly {
		return hint("", g.Text("API tokens of this site are read-only."))
	}
	readOnly := d.Form.Get("access") == "ReadOnly"
	wrong := d.Errors.Of("access") != ""
	return d.Errors.field(h.FieldSet, "access", h.ID("access"), g.If(wrong, h.Aria("describedby", "access-error")),
		h.Legend(g.Text("Access")),
		d.Errors.shown("access"),
		pick("radio", "access-write", "access", "ReadWrite", "Read-write: everything that you may do", g.If(!readOnly, h.Checked())),
		pick("radio", "access-read", "access", "ReadOnly", "Read-only: it changes nothing", g.If(readOnly, h.Checked())))
}

func (v view) advanced() g.Node {
	d := v.Dialog
	return h.Details(g.If(d.Form.Get("allowedSources") != "" || d.Form.Get("allowedPaths") != "", g.Attr("open")),
		h.Summary(g.Text("Advanced: limit where it may be used")),
		d.lines("allowedSources", "Allowed sources", "Addresses or networks from which it may be used, one per line, for example ", "10.0.0.0/8",
			". Empty: all."),
		d.lines("allowedPaths", "Allowed paths", "Paths that it may access, one per line, for example ", v.Example(),
			". Each includes all paths below it. Empty: all."),
	)
}

// lines is a field with several lines.
func (d *dialog) lines(field, label, before, example, after string) g.Node {
	return d.Errors.field(h.Div, field,
		h.Label(h.For(field), g.Text(label)),
		hint(field+"-hint", g.Text(before), untranslated(h.Code, example), g.Text(after)),
		d.Errors.shown(field),
		h.Textarea(h.ID(field), h.Name(field), h.Rows("2"), g.Attr("spellcheck", "false"), g.Attr("translate", "no"), d.Errors.described(field, true),
			g.Text("\n"+d.Form.Get(field)))) // browsers drop the first newline
}

func (v view) consent() g.Node {
	d, product := v.Dialog, string(v.Product)
	if !d.Consent {
		return nil
	}
	class := "consent"
	if d.Errors.Of("consent") != "" {
		class += " wrong"
	}
	return h.Section(h.Class(class), h.Aria("labelledby", "consent-title"),
		h.H3(h.ID("consent-title"), g.Text("Your consent")),
		h.P(g.Text(product+" itself does not know API tokens. So this service creates a "), h.B(g.Text("personal access token")),
			g.Text(" for you in "+product+", and stores it.")),
		h.Ul(
			h.Li(g.Text("For each request with one of your API tokens, "+product+
				" receives this personal access token instead. It is used for nothing else, and shown to nobody.")),
			h.Li(g.Text("It is renewed before it expires. Earlier ones that this service made for you here, and that it does not use, are revoked.")),
			h.Li(g.Text("It is revoked after you revoke your last API token. You also see it in your profile in "+product+
				": if you revoke it there, your API tokens stop working.")),
		),
		d.Errors.shown("consent"),
		pick("checkbox", "consent", "consent", "yes", "Yes, create a personal access token for me, and store it",
			h.Required(), g.If(d.Form.Get("consent") == "yes", h.Checked()), d.Errors.described("consent", false)),
		hint("", g.Text("Or create one yourself and "), link(v.opens("paste", ""), "paste it"), g.Text(".")))
}

func (v view) rotateForm() g.Node {
	d := v.Dialog
	label := h.P(h.Class("label"), h.Dir("auto"), g.Text(d.Token.Label))
	if d.Token.Declared {
		return v.form("Rotate API token", nil, g.Group{label,
			h.P(g.Text("This API token is declared in Kubernetes, as APIToken "), untranslated(h.Span, d.Token.Namespace+"/"+d.Token.Name),
				g.Text(", and rotated there.")),
		}, g.Group{h.A(h.Class("button primary"), g.Attr("data-back"), h.Href(v.Page), h.AutoFocus(), g.Text("Close"))})
	}
	return v.form("Rotate API token", nil, g.Group{label,
		h.P(g.Text("It gets a new secret, which is shown once. Id, label and limits stay the same. Its lifetime starts again.")),
		hidden("id", d.Token.ID), hidden("issued", d.Issued()),
		d.Errors.field(h.Div, "overlapHours",
			h.Label(h.For("overlapHours"), g.Text("How long should the current secret keep working?")),
			hint("overlapHours-hint", g.Text("Until then it works as before, but can no longer create or rotate API tokens. "+
				"Secrets that were replaced before end by then too.")),
			d.Errors.shown("overlapHours"),
			h.Select(h.ID("overlapHours"), h.Name("overlapHours"), h.AutoFocus(), d.Errors.described("overlapHours", true),
				options(d.Overlaps(), d.Form.Get("overlapHours")))),
	}, g.Group{submit("primary", "Rotate"), v.cancel()})
}

func (v view) revokeForm() g.Node {
	d := v.Dialog
	return v.form("Revoke API token", nil, g.Group{
		h.P(h.Class("label"), h.Dir("auto"), g.Text(d.Token.Label)),
		h.P(d.lastUse(), g.Text(" Everything that uses "), untranslated(h.Code, d.Token.ID), g.Text(" stops working at once. This cannot be undone.")),
		g.If(d.Token.Declared, h.P(g.Text("It is declared in Kubernetes, as APIToken "), untranslated(h.Span, d.Token.Namespace+"/"+d.Token.Name),
			g.Text(". If a tool such as Argo CD creates it from Git, it comes back with a new secret."))),
		hidden("id", d.Token.ID),
		d.descendants(),
	}, g.Group{submit("danger", "Revoke"), v.cancel(d.Errors.focus())})
}

func (d *dialog) lastUse() g.Node {
	if d.Token.Used.IsZero() {
		return g.Text("It was never used.")
	}
	return g.Group{g.Text("It was last used on "), moment(d.Token.Used),
		g.If(d.Token.UsedFrom != "", g.Group{g.Text(", from "), untranslated(h.Span, d.Token.UsedFrom)}), g.Text(".")}
}

// descendants asks about the tokens that were created with the one to revoke.
func (d *dialog) descendants() g.Node {
	if d.Descendants == 0 {
		return nil
	}
	legend, those := strconv.Itoa(d.Descendants)+" other API tokens were created with it or with those", "those"
	if d.Descendants == 1 {
		legend, those = "Another API token was created with it", "that one"
	}
	wrong := d.Errors.Of("descendants") != ""
	return d.Errors.field(h.FieldSet, "descendants", h.ID("descendants"), g.If(wrong, h.Aria("describedby", "descendants-error")),
		h.Legend(g.Text(legend)),
		d.Errors.shown("descendants"),
		pick("radio", "descendants-keep", "descendants", "keep", "Keep "+those, h.Required()),
		pick("radio", "descendants-revoke", "descendants", "revoke", "Revoke "+those+" too: choose this if somebody else may have used it", h.Required()))
}

func (v view) revokeAllForm() g.Node {
	said, button := h.P(g.Text("You have no API tokens.")), g.Node(nil)
	const rest = ", including those that are declared in Kubernetes. Everything that uses them stops working at once. This cannot be undone."
	n := strconv.Itoa(len(v.Tokens))
	switch len(v.Tokens) {
	case 0:
	case 1:
		said, button = h.P(g.Text("Your only API token will be revoked"+rest)), submit("danger", "Revoke it")
	default:
		said, button = h.P(g.Text("All "), h.B(g.Text(n)), g.Text(" of your API tokens will be revoked"+rest)), submit("danger", "Revoke all "+n)
	}
	return v.form("Revoke all API tokens", nil, g.Group{said, hidden("count", n)}, g.Group{button, v.cancel(v.Dialog.Errors.focus())})
}

func (v view) pasteForm() g.Node {
	e, product := v.Dialog.Errors, string(v.Product)
	focus := e.described("personalAccessToken", false)
	if e.Of("personalAccessToken") == "" {
		focus = h.AutoFocus()
	}
	return v.form("Paste a personal access token", withoutCompletion, g.Group{
		h.P(g.Text("Your API tokens use a personal access token of yours in " + product + ". You can create it yourself, in your profile in " + product +
			", and paste it here. It replaces the current one and is shown to nobody.")),
		h.P(g.Text("This service does not renew or revoke a token that you paste. It deletes its copy when you have had no API tokens for a day.")),
		e.field(h.Div, "personalAccessToken",
			h.Label(h.For("personalAccessToken"), g.Text("Personal access token")),
			e.shown("personalAccessToken"),
			h.Input(h.Type("password"), h.ID("personalAccessToken"), h.Name("personalAccessToken"), h.Required(), withoutCompletion,
				g.Attr("spellcheck", "false"), focus)),
	}, g.Group{submit("primary", "Save"), v.cancel()})
}
