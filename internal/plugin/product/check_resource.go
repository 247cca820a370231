package product

import (
	"net/http"
	"net/url"

	"apitokens.dev/operator/internal/atlassian"
)

const (
	sessionPath = "/rest/auth/1/session"
	issuePath   = "/rest/api/2/issue"
	contentPath = "/rest/api/content"
)

// place returns an error if the run may create nothing.
func (k *kit) place() error {
	if k.Place == "" {
		return notTriedError("it needs --in, a project or a space")
	}
	return nil
}

// create creates something that is deleted at the end, and returns its id.
func (k *kit) create(path string, body any) (string, *answer) {
	a := k.get(path, bearer(k.pat), sends(body))
	var made struct{ ID string }
	if a.status/100 == 2 && a.json(&made) == nil && made.ID != "" {
		at := path + "/" + url.PathEscape(made.ID)
		k.undo = append(k.undo, undo{at, func() error {
			return k.get(at, bearer(k.pat), method(http.MethodDelete), header("X-Atlassian-Token", "no-check")).is(http.StatusNoContent, http.StatusOK)
		}})
	}
	return made.ID, a
}

// of makes checks ones about one product.
func of(p atlassian.Product, every ...check) []check {
	for i := range every {
		every[i].of = p
	}
	return every
}

var jiraChecks = of(atlassian.Jira,
	check{id: "jira-other", says: "`/rest/api/user/current`, which is Confluence's, is answered with 404.", run: func(k *kit) error {
		return k.get("/rest/api/user/current", bearer(k.pat)).is(http.StatusNotFound)
	}},
	check{id: "jira-myself", says: "`myself` has `self`, `key`, `name`, `emailAddress`, `displayName` and `active`.", run: func(k *kit) error {
		return k.get(k.who(), bearer(k.pat)).keys("self", "key", "name", "emailAddress", "displayName", "active")
	}},
	check{id: "jira-anonymous", says: "Anonymous callers of `myself` and `configuration` are answered with 401 and `errorMessages`.", run: func(k *kit) error {
		a, b := k.get(k.who()), k.get("/rest/api/2/configuration")
		return all(a.is(http.StatusUnauthorized), a.keys("errorMessages"), b.is(http.StatusUnauthorized), b.keys("errorMessages"))
	}},
	check{id: "jira-latest", says: "`/rest/api/latest` is `/rest/api/2`.", run: func(k *kit) error {
		return k.signedIn(k.get("/rest/api/latest/myself", bearer(k.pat)))
	}},
	check{id: "jira-configuration", says: "`configuration` answers users, with `votingEnabled` and `timeTrackingConfiguration`.", run: func(k *kit) error {
		a := k.get("/rest/api/2/configuration", bearer(k.pat))
		return all(a.is(http.StatusOK), a.keys("votingEnabled", "timeTrackingConfiguration"))
	}},
	check{id: "jira-server-info", says: "`serverInfo` answers anonymous callers, with `version` and `serverTime`.", run: func(k *kit) error {
		a := k.get("/rest/api/2/serverInfo")
		return all(a.is(http.StatusOK), a.keys("baseUrl", "version", "versionNumbers", "deploymentType", "serverTime", "serverTitle"))
	}},
	check{id: "jira-session-anonymous", says: "`GET` of `/rest/auth/1/session` is answered with 401 for an anonymous caller.", run: func(k *kit) error {
		return k.get(sessionPath).is(http.StatusUnauthorized)
	}},
	check{id: "jira-session", says: "`GET` of it names the user of a session.", run: func(k *kit) error {
		l, err := k.session()
		if err != nil {
			return err
		}
		a := k.get(sessionPath, l.cookies)
		var me struct{ Name string }
		return all(a.is(http.StatusOK), a.json(&me), must(me.Name == k.User, "it does not"))
	}},
	check{id: "jira-session-delete", says: "`DELETE` of it is answered with 204, and ends the session.", run: func(k *kit) error {
		l, err := k.signIn()
		if err != nil {
			return err
		}
		a := k.get(sessionPath, l.cookies, method(http.MethodDelete), header("X-Atlassian-Token", "no-check"))
		return all(a.is(http.StatusNoContent), k.notSignedIn(k.get(k.who(), l.cookies)))
	}},
	whileOff("jira-session-off", "`POST` to `/rest/auth/1/session` is refused with 403.", func(k *kit) error {
		return k.get(sessionPath, sends(map[string]string{"username": k.unknownUser, "password": "wrong"})).is(http.StatusForbidden)
	}),
	whileOn("jira-session-wrong", "`POST` to `/rest/auth/1/session` with a wrong password is answered with 401.", func(k *kit) error {
		return k.get(sessionPath, sends(map[string]string{"username": k.unknownUser, "password": "wrong"})).is(http.StatusUnauthorized)
	}),
	whileOn("jira-session-made", "`POST` to it with the right password answers with the `session`.", func(k *kit) error {
		if err := k.password(); err != nil {
			return err
		}
		a := k.get(sessionPath, sends(map[string]string{"username": k.User, "password": k.Password}))
		return all(a.is(http.StatusOK), a.keys("session", "loginInfo"))
	}),
	check{id: "jira-issue-anonymous", says: "Anonymous callers who create an issue are answered with 401.", run: func(k *kit) error {
		return k.get(issuePath, sends(map[string]any{"fields": map[string]any{}})).is(http.StatusUnauthorized)
	}},
	check{id: "jira-issue-fields", says: "An issue that lacks fields is answered with 400 and `errors` by field.", run: func(k *kit) error {
		a := k.get(issuePath, bearer(k.pat), sends(map[string]any{"fields": map[string]any{}}))
		var told struct{ Errors map[string]string }
		return all(a.is(http.StatusBadRequest), a.json(&told), must(told.Errors["project"] != "", "the errors lack the project"))
	}},
	check{id: "jira-issue-unknown", says: "An unknown issue is answered with 404, `errorMessages`: `Issue Does Not Exist`.", run: func(k *kit) error {
		a := k.get(issuePath+"/999999999999", bearer(k.pat))
		return all(a.is(http.StatusNotFound), a.keys("errorMessages"), a.shows("Issue Does Not Exist"))
	}},
	check{id: "jira-issue", says: "An issue is created with 201, `id`, `key` and `self`, and read by its id.", run: func(k *kit) error {
		if err := k.place(); err != nil {
			return err
		}
		id, a := k.create(issuePath, map[string]any{"fields": map[string]any{
			"project": map[string]string{"key": k.Place}, "issuetype": map[string]string{"name": "Task"}, "summary": "apitoken doctor: may be deleted",
		}})
		return all(a.is(http.StatusCreated), a.keys("id", "key", "self"), k.get(issuePath+"/"+id, bearer(k.pat)).is(http.StatusOK))
	}},
)

var confluenceChecks = of(atlassian.Confluence,
	check{id: "confluence-other", says: "`/rest/api/2/myself`, which is Jira's, is answered with 404.", run: func(k *kit) error {
		return k.get("/rest/api/2/myself", bearer(k.pat)).is(http.StatusNotFound)
	}},
	check{id: "confluence-current", says: "`current` has `type` `known`, `username`, `userKey` and `displayName`.", run: func(k *kit) error {
		a := k.get(k.who(), bearer(k.pat))
		var me struct{ Type string }
		return all(a.keys("type", "username", "userKey", "displayName"), a.json(&me), must(me.Type == "known", "the type is %q", me.Type))
	}},
	check{id: "confluence-current-anonymous", says: "`current` answers anonymous callers with 200 and `type` `anonymous`.", run: func(k *kit) error {
		return isAnonymous(k.get(k.who()))
	}},
	check{id: "confluence-anonymous", says: "`/rest/api/user/anonymous` answers everybody with `type` `anonymous`.", run: func(k *kit) error {
		return all(isAnonymous(k.get(k.open())), isAnonymous(k.get(k.open(), bearer(k.pat))))
	}},
	check{id: "confluence-errors", says: "Errors of its own resources have `statusCode`, `data`, `message` and `reason`.", run: func(k *kit) error {
		a := k.get(contentPath+"/999999999999", bearer(k.pat))
		return all(a.is(http.StatusNotFound), a.keys("statusCode", "data", "message", "reason"))
	}},
	check{id: "confluence-create-anonymous", says: "Anonymous callers who create content are answered with 403.", run: func(k *kit) error {
		page := map[string]any{"type": "page", "title": "apitoken doctor", "space": map[string]string{"key": "DOCTOR"}}
		return k.get(contentPath, sends(page)).is(http.StatusForbidden)
	}},
	check{id: "confluence-list", says: "`GET` of content answers with `results`, `start`, `limit`, `size` and `_links`.", run: func(k *kit) error {
		a := k.get(contentPath, bearer(k.pat))
		return all(a.is(http.StatusOK), a.keys("results", "start", "limit", "size", "_links"))
	}},
	check{id: "confluence-content", says: "A page is created with 200, and read by its id.", run: func(k *kit) error {
		if err := k.place(); err != nil {
			return err
		}
		id, a := k.create(contentPath, map[string]any{
			"type": "page", "title": "apitoken doctor: may be deleted", "space": map[string]string{"key": k.Place},
			"body": map[string]any{"storage": map[string]string{"value": "<p>apitoken doctor</p>", "representation": "storage"}},
		})
		return all(a.is(http.StatusOK), a.keys("id", "type", "status", "title", "_links"), k.get(contentPath+"/"+id, bearer(k.pat)).is(http.StatusOK))
	}},
)

func isAnonymous(a *answer) error {
	var who struct{ Type string }
	return all(a.is(http.StatusOK), a.json(&who), must(who.Type == "anonymous", "the type is %q", who.Type))
}
