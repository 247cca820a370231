package page

import (
	"net/url"
	"strings"
	"time"

	g "maragu.dev/gomponents"
	h "maragu.dev/gomponents/html"
)

// The files html*.go write the page without templates: if a program executes any, the linker keeps every method of everything in it, and
// that takes 8 MiB of each process. All texts and values of attributes are escaped. Names of tags and attributes are constants, every URL
// begins with a path of ours, and raw gets constants only.

// node returns the page.
func (v view) node() g.Node {
	return h.Doctype(h.HTML(h.Lang("en"), v.head(), h.Body(
		h.Div(h.Class("top"), v.inert(), h.A(h.Class("skip"), h.Href("#content"), g.Text("Skip to the content")), v.header()),
		h.Main(h.ID("content"), h.TabIndex("-1"), v.dialog(), h.Div(h.Class("body"), v.inert(), v.notices(), v.content())),
	)))
}

func (v view) head() g.Node {
	title := v.Title
	if v.Product != "" {
		title += " - " + string(v.Product)
	}
	return h.Head(
		h.Meta(h.Charset("utf-8")),
		h.Meta(h.Name("viewport"), h.Content("width=device-width, initial-scale=1")),
		h.Meta(h.Name("color-scheme"), h.Content("light dark")),
		h.TitleEl(g.Text(title)),
		g.If(v.Page != "", g.Group{
			h.Link(h.Rel("stylesheet"), h.Href(v.Page+"/static/page.css")),
			h.Script(h.Src(v.Page+"/static/page.js"), h.Defer()),
		}),
	)
}

// inert takes everything behind an open dialog out of reach.
func (v view) inert() g.Node { return g.If(v.Dialog != nil, g.Attr("inert")) }

const arrow = `<svg aria-hidden="true" width="16" height="16" viewBox="0 0 16 16"><path d="M10 3 5 8l5 5" fill="none" stroke="currentColor" ` +
	`stroke-width="2" stroke-linecap="round" stroke-linejoin="round"/></svg>`

func (v view) header() g.Node {
	if v.Product == "" {
		return nil
	}
	return h.Header(
		h.A(h.Class("product"), h.Href(v.Home), raw(arrow), h.Span(g.Text("Back to "+string(v.Product)))),
		g.If(v.User != "", h.P(h.Class("who"), g.Text("Signed in as "), h.B(h.Dir("auto"), g.Text(v.DisplayName)),
			g.If(v.User != v.DisplayName, g.Group{g.Text(" "), h.Span(h.Dir("auto"), g.Text("("+v.User+")"))}))),
	)
}

func (v view) notices() g.Node {
	return g.Map(v.Notices, func(notice string) g.Node { return message("warning", "note", h.P(g.Text(notice))) })
}

func (v view) content() g.Node {
	switch {
	case v.Refusal != nil:
		return v.refusal()
	case v.Created != nil:
		return v.created()
	}
	return v.list()
}

func (v view) refusal() g.Node {
	r := v.Refusal
	return h.Div(h.Class("card"), h.H1(g.Text(r.Heading)), h.P(g.Text(r.Message)), g.If(v.Page != "", h.P(h.Class("buttons"),
		g.If(r.SignIn != "", h.A(h.Class("button primary"), h.Href(r.SignIn), g.Text("Sign in to "+string(v.Product)))),
		g.If(r.Retry, h.A(h.Class("button primary"), h.Href(""), g.Text("Try again"))),
		h.A(h.Class("button"), h.Href(v.Page), g.Text("Go to your API tokens")),
	)))
}

func (v view) created() g.Node {
	c := v.Created
	heading, previous := "Your new API token", g.Node(nil)
	if c.Rotated {
		heading, previous = "The new secret of your API token", term("Previous secret", c.previous())
	}
	return h.Div(h.Class("card"),
		h.H1(g.Text(heading)),
		h.P(h.Class("label"), h.Dir("auto"), g.Text(c.Token.Label)),
		message("warning", "note", h.P(h.B(g.Text("Copy it now: you will not see it again.")),
			g.Text(" Nobody can show it to you later, not even the administrator of this site."))),
		h.Div(h.Class("secret"),
			h.H2(h.ID("token-name"), g.Text("API token")),
			copyable("token", c.Text, g.Attr("data-secret")),
			h.H2(h.ID("command-name"), g.Text("Try it out")),
			hint("", g.Text("The command asks for a password: paste the API token. This keeps it out of the history of your shell.")),
			copyable("command", c.Curl),
			h.P(h.Class("status"), h.Role("status"), h.Aria("live", "polite")),
		),
		h.P(h.Class("gone"), g.Attr("hidden"), g.Text("The API token is no longer shown.")),
		h.Dl(
			term("Id", untranslated(h.Dd, c.Token.ID)),
			term("Access", h.Dd(g.Text(access(c.Token.ReadOnly)))),
			g.If(len(c.Token.AllowedSources) > 0, term("Allowed sources", untranslated(h.Dd, strings.Join(c.Token.AllowedSources, ", ")))),
			g.If(len(c.Token.AllowedPaths) > 0, term("Allowed paths", untranslated(h.Dd, strings.Join(c.Token.AllowedPaths, ", ")))),
			term("Expires", h.Dd(orMoment("Never", c.Token.Ends))),
			previous,
		),
		h.P(h.Class("buttons"), h.A(h.Class("button primary"), h.Href(v.Page), g.Text("I have copied it"))),
	)
}

// previous says how long the secret before a new one works.
func (c *created) previous() g.Node {
	if c.Token.OlderUntil.IsZero() {
		return h.Dd(g.Text("no longer works"))
	}
	return h.Dd(g.Text("works until "), moment(c.Token.OlderUntil), g.Text(", but can no longer create or rotate API tokens"))
}

// raw is HTML that is written as it is. It is always a constant.
func raw(html string) g.Node { return g.Raw(html) }

// message is a box that says how things are. look is its class.
func message(look, role string, children ...g.Node) g.Node {
	return h.Div(h.Class("message "+look), h.Role(role), g.Group(children))
}

// hint explains a field. Its id may be empty.
func hint(id string, children ...g.Node) g.Node {
	return h.P(h.Class("hint"), g.If(id != "", h.ID(id)), g.Group(children))
}

func term(name string, value g.Node) g.Node { return h.Div(h.Dt(g.Text(name)), value) }

// copyable is a text with a button that copies it.
func copyable(id, text string, attributes ...g.Node) g.Node {
	return h.Div(h.Class("copy"), h.Code(h.ID(id), g.Attr("translate", "no"), g.Group(attributes), g.Text(text)),
		h.Button(h.Type("button"), h.Data("copy", id), h.Aria("describedby", id+"-name"), g.Attr("hidden"), g.Text("Copy")))
}

// untranslated is a text that translators of browsers leave alone.
func untranslated(tag func(...g.Node) g.Node, text string) g.Node {
	return tag(g.Attr("translate", "no"), g.Text(text))
}

func access(readOnly bool) string {
	if readOnly {
		return "Read-only"
	}
	return "Read-write"
}

// moment shows a time, in a form that browsers and people read.
func moment(t time.Time) g.Node {
	t = t.UTC()
	return h.Time(h.DateTime(t.Format("2006-01-02T15:04:05Z")), h.Span(g.Text(t.Format("2 Jan 2006")+",")), g.Text(" "), h.Span(g.Text(t.Format("15:04")+" UTC")))
}

// orMoment shows a time, or says instead that there is none.
func orMoment(none string, t time.Time) g.Node {
	if t.IsZero() {
		return g.Text(none)
	}
	return moment(t)
}

// more is a note below a text.
func more(children ...g.Node) g.Node { return h.Span(h.Class("more"), g.Group(children)) }

// opens is the URL at which a dialog is open, about a token if there is an id.
func (v view) opens(dialog, id string) string {
	if id == "" {
		return v.Page + "?dialog=" + dialog
	}
	return v.Page + "?dialog=" + dialog + "&id=" + url.QueryEscape(id)
}

// link is a link within the page.
func link(to, text string) g.Node { return h.A(h.Href(to), g.Text(text)) }
