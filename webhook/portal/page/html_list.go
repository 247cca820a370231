package page

import (
	g "maragu.dev/gomponents"
	h "maragu.dev/gomponents/html"

	"apitokens.dev/operator/webhook/portal/selfservice"
)

func (v view) list() g.Node {
	return g.Group{
		h.Div(h.Class("title"), h.H1(g.Text("API tokens")), g.If(len(v.Tokens) > 0, h.P(h.Class("buttons"),
			g.If(!v.Full() && !v.Closed, v.createButton()),
			h.A(h.Class("button"), h.Href(v.opens("revoke-all", "")), g.Text("Revoke all")),
		))),
		g.If(v.Note != "", message("good", "status", h.P(g.Text(v.Note)))),
		v.enrolment(),
		h.P(h.Class("lead"), g.Text("Scripts and programs use an API token in place of your password to access "),
			h.Span(h.Class("site"), g.Attr("translate", "no"), g.Text(v.BaseURL)),
			g.Text(". It has your rights. Use a separate token for each script, and revoke tokens that you no longer need.")),
		g.If(v.Full(), h.P(g.Text("You have "+count(v.Quota, "API token")+", which is the limit here. Revoke one to create another."))),
		v.tokens(),
		v.foot(),
	}
}

func (v view) createButton() g.Node {
	return h.A(h.Class("button primary"), h.Href(v.opens("create", "")), g.Text("Create API token"))
}

// enrolment says why tokens do not work for lack of a personal access token.
func (v view) enrolment() g.Node {
	product := string(v.Product)
	switch {
	case v.Provided && lacksPAT(v.Enrolment):
		return message("bad", "note",
			h.P(h.B(g.Text("Your API tokens do not work.")), g.Text(" The personal access token that the administrator of this site provided for them is not in use: "+
				product+" does not accept it, or was not asked yet.")),
			h.P(g.Text("Ask the administrator of this site.")))
	case v.Enrolment == selfservice.Ended:
		return message("bad", "note",
			h.P(h.B(g.Text("Your API tokens do not work.")), g.Text(" "+product+
				" no longer accepts the personal access token that they use: it expired, or somebody revoked it.")),
			v.waysToEnrol("Enrol again by creating an API token"))
	case v.Enrolment == selfservice.NotEnrolled && len(v.Tokens) > 0:
		return message("bad", "note",
			h.P(h.B(g.Text("Your API tokens do not work yet.")), g.Text(" They need a personal access token to act as you in "+product+", and there is none.")),
			v.waysToEnrol("Enrol by creating an API token"))
	}
	return nil
}

func (v view) waysToEnrol(create string) g.Node {
	return h.P(link(v.opens("create", ""), create), g.Text(", or "), link(v.opens("paste", ""), "paste a personal access token"), g.Text("."))
}

const picture = `<svg aria-hidden="true" width="64" height="64" viewBox="0 0 64 64" fill="none" stroke="currentColor" stroke-width="3" ` +
	`stroke-linecap="round" stroke-linejoin="round"><circle cx="22" cy="42" r="12"/><path d="m31 33 21-21m-9 9 8 8m-14-2 5 5"/></svg>`

func (v view) tokens() g.Node {
	if len(v.Tokens) > 0 {
		return v.table()
	}
	return h.Div(h.Class("empty"), raw(picture),
		h.H2(g.Text("You have no API tokens yet")),
		h.P(g.Text("Create one and use it in your script as the password of HTTP Basic, with your user name "), h.B(h.Dir("auto"), g.Text(v.User)), g.Text(".")),
		g.If(!v.Closed, h.P(v.createButton())))
}

func (v view) foot() g.Node {
	product := string(v.Product)
	switch v.Enrolment {
	case selfservice.Enrolled:
		return h.P(h.Class("foot"), g.Text("Your API tokens use a personal access token of yours in "+product+", which this service stores for you. "),
			link(v.opens("paste", ""), "Replace it"))
	case selfservice.Given:
		return h.P(h.Class("foot"), g.Text("Your API tokens use a personal access token in "+product+" that the administrator of this site provided."))
	}
	return nil
}

// columns are the columns of the table that have a name for everybody.
var columns = []string{"Label", "Created", "Last accessed", "Expires", "State", "Access"}

func (v view) table() g.Node {
	column := func(child g.Node) g.Node { return h.Th(h.Role("columnheader"), h.Scope("col"), child) }
	return h.Table(h.Role("table"),
		h.Caption(h.Class("hidden"), g.Text("Your API tokens")),
		h.THead(h.Role("rowgroup"), h.Tr(h.Role("row"),
			g.Map(columns, func(name string) g.Node { return column(g.Text(name)) }),
			column(h.Span(h.Class("hidden"), g.Text("Actions"))),
		)),
		h.TBody(h.Role("rowgroup"), g.Map(v.Tokens, func(t row) g.Node {
			return h.Tr(h.Role("row"), t.title(), t.cells(), v.actions(t))
		})),
	)
}

func (r row) title() g.Node {
	return h.Th(h.Role("rowheader"), h.Scope("row"),
		h.Span(h.Class("label"), h.ID("label-"+r.ID), h.Dir("auto"), g.Text(r.Label)),
		h.Code(h.Class("id"), g.Attr("translate", "no"), g.Text(r.ID)),
		g.If(r.CreatedWith != "", more(g.Text("Created with "), untranslated(h.Code, r.CreatedWith))),
		g.If(r.Declared, more(g.Text("Declared in Kubernetes: "), untranslated(h.Span, r.Namespace+"/"+r.Name))),
	)
}

func (r row) cells() g.Node {
	cell := func(name string, children ...g.Node) g.Node {
		return h.Td(h.Role("cell"), h.Data("name", name), g.Group(children))
	}
	return g.Group{
		cell("Created", moment(r.Created)),
		cell("Last accessed", orMoment("Never", r.Used),
			g.If(!r.Used.IsZero() && r.UsedFrom != "", g.Group{g.Text(" "), more(g.Text("from "), untranslated(h.Span, r.UsedFrom))})),
		cell("Expires", orMoment("Never", r.Ends),
			g.If(!r.Ends.IsZero() && r.Soon != "", g.Group{g.Text(" "), more(h.Span(h.Class("lozenge waits"), g.Text(r.Soon)))}),
			g.If(r.Older > 0, g.Group{g.Text(" "), more(g.Text(r.OlderSecrets()+" until "), moment(r.OlderUntil))})),
		cell("State", h.Span(h.Class("lozenge "+r.Badge.Look), g.Text(r.Badge.Name)),
			g.If(r.Badge.Help != "", g.Group{g.Text(" "), more(g.Text(r.Badge.Help))})),
		cell("Access", g.Text(access(r.ReadOnly)), limits("from ", r.AllowedSources), limits("at ", r.AllowedPaths)),
	}
}

// limits shows where a token may be used from, or at. It shows nothing if there is no limit.
func limits(word string, allowed []string) g.Node {
	if len(allowed) == 0 {
		return nil
	}
	listed := g.Group{g.Text(word)}
	for i, one := range allowed {
		listed = append(listed, g.If(i > 0, g.Text(", ")), untranslated(h.Span, one))
	}
	return g.Group{g.Text(" "), more(listed)}
}

func (v view) actions(t row) g.Node {
	action := func(name, text string) g.Node {
		id := name + "-" + t.ID
		return h.A(h.Class("button small"), h.ID(id), h.Aria("labelledby", id+" label-"+t.ID), h.Href(v.opens(name, t.ID)), g.Text(text))
	}
	return h.Td(h.Role("cell"), h.Class("actions"), g.If(!t.Declared && !v.Closed, action("rotate", "Rotate")), action("revoke", "Revoke"))
}
