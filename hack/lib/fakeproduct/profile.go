package fakeproduct

import (
	"html/template"
	"net/http"
	"net/url"
)

const (
	jiraProfile       = "/secure/ViewProfile.jspa"
	confluenceProfile = "/users/viewmysettings.action"
)

// SetBanner sets the HTML that an administrator has put on every page: Jira's
// announcement banner, Confluence's custom HTML.
// https://confluence.atlassian.com/display/JIRA061/Configuring+an+Announcement+Banner
func (p *Product) SetBanner(html string) {
	p.banner.Store(template.HTML(html)) // administrators may write HTML there
}

func (p *Product) bannerHTML() template.HTML {
	html, _ := p.banner.Load().(template.HTML)
	return html
}

// userProfile is the page on which users see their profile: in Jira with the tab
// Summary, in Confluence the settings. It asks anonymous callers to log in.
func (p *Product) userProfile(w http.ResponseWriter, r *http.Request, in call) {
	if in.anonymous() {
		back := url.Values{"os_destination": {in.path}}
		http.Redirect(w, r, p.context+p.web.login+"?"+back.Encode(), http.StatusFound)
		return
	}
	shown := in.by
	if named, ok := p.accounts.named(parameter(r, "name")); ok {
		shown = named
	}
	if p.web.userProfile == confluenceProfile {
		// Reported only, as documented. The policy itself is assumed.
		// https://developer.atlassian.com/server/confluence/content-security-policy-adoption
		w.Header().Set("Content-Security-Policy-Report-Only", "script-src 'self'")
	}
	writeTemplate(w, profilePages[p.web.userProfile], map[string]any{
		"Me": in.by, "Shown": shown, "Context": p.context, "Version": p.version, "Banner": p.bannerHTML(),
	})
}

// profilePages have what scripts on such pages were seen to rely on: ids, classes
// and the names of meta elements. All else is assumed, their look too.
// https://github.com/atlassian/dc-app-performance-toolkit
var profilePages = map[string]*template.Template{
	jiraProfile: template.Must(template.New("profile").Parse(`<!DOCTYPE html>
<html lang="en" data-color-mode="light">
<head>
` + profileHead + `<title>User profile: {{.Shown.DisplayName}} - Jira</title>
</head>
<body id="jira">
<header>Jira</header>
<div id="announcement-banner">{{.Banner}}</div>
<main>
<h1 id="up-user-title">Profile: <span id="up-user-title-name">{{.Shown.DisplayName}}</span></h1>
<h2>Summary</h2>
<div id="user-profile-content">
<div id="details-profile-fragment" class="module">
<div class="mod-header"><h3 class="toggle-title">Details</h3></div>
<div class="mod-content"><ul class="item-details"><li>
<dl><dt>Username:</dt><dd id="up-d-username">{{.Shown.Name}}</dd></dl>
<dl><dt>Full name:</dt><dd id="up-d-fullname">{{.Shown.DisplayName}}</dd></dl>
<dl><dt>Groups:</dt><dd>jira-software-users</dd></dl>
</li></ul></div>
</div>
<div id="preferences-profile-fragment" class="module">
<div class="mod-header"><h3 class="toggle-title">Preferences</h3></div>
<div class="mod-content"><ul class="item-details"><li>
<dl><dt>Language:</dt><dd>English</dd></dl>
</li></ul></div>
</div>
</div>
</main>
</body>
</html>
`)),
	confluenceProfile: template.Must(template.New("profile").Parse(`<!DOCTYPE html>
<html lang="en" data-color-mode="light">
<head>
` + profileHead + `<title>Settings - Confluence</title>
</head>
<body>
<header>Confluence</header>
<main>
<h1>{{.Me.DisplayName}}</h1>
<div class="profile-main">
<form name="editUser" method="post" action="{{.Context}}/users/editmysettings.action">
<h2>Settings</h2>
<p>Site homepage: Dashboard</p>
</form>
</div>
</main>
{{.Banner}}
</body>
</html>
`)),
}

const profileHead = `<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta name="ajs-version-number" content="{{.Version}}">
<meta name="ajs-context-path" content="{{.Context}}">
<meta name="ajs-remote-user" content="{{.Me.Name}}">
<style>
body { margin: 0 auto; max-width: 640px; padding: 0 16px 48px; background: #fff; color: #172b4d; font: 14px/1.43 sans-serif; }
html[data-color-mode=dark] body { background: #1d2125; color: #c7d1db; }
ul { margin: 0; padding: 0; list-style: none; } dl { display: flex; gap: 8px; margin: 4px 0; } dd { margin: 0; }
</style>
`
