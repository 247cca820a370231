package product

import (
	"net/http"
	"net/url"
	"strings"
)

const (
	userHeader   = "X-Ausername"
	reasonHeader = "X-Seraph-Loginreason"
	challenge    = "Www-Authenticate"
	sessionID    = "JSESSIONID"
)

// parameters are os_username and os_password.
func parameters(user, password string) url.Values {
	return url.Values{"os_username": {user}, "os_password": {password}}
}

// password returns an error if the run has no password of the user.
func (k *kit) password() error {
	if k.Password == "" {
		return notTriedError("it needs --password-file")
	}
	return nil
}

// anonymous returns an error unless an answer was made for nobody.
func anonymous(a *answer) error {
	if a.err != nil {
		return a.err
	}
	name := a.header.Get(userHeader)
	return must(name == "" || name == "anonymous", "%s is %q", userHeader, name)
}

var headerChecks = []check{
	{id: "user-header", says: "`X-AUSERNAME` names the user that a request was served as.", run: func(k *kit) error {
		return k.get(k.who(), bearer(k.pat)).has(userHeader, k.User)
	}},
	{id: "user-header-anonymous", says: "`X-AUSERNAME` is `anonymous` for a request without a credential.", run: func(k *kit) error {
		return k.get(k.open()).has(userHeader, "anonymous")
	}},
	{id: "login-reason", says: "A login by a PAT is answered with `X-Seraph-LoginReason: OK`.", run: func(k *kit) error {
		return k.get(k.who(), bearer(k.pat)).has(reasonHeader, "OK")
	}},
	{id: "challenge", says: "A 401 for an anonymous caller has `WWW-Authenticate: OAuth realm=\"...\"`.", run: func(k *kit) error {
		a := k.get(patPath)
		return all(a.is(http.StatusUnauthorized), must(strings.HasPrefix(a.header.Get(challenge), "OAuth realm="), "the challenge is %q", a.header.Get(challenge)))
	}},
	{id: "session-cookie", says: "A login by a PAT sets `JSESSIONID`, which is `HttpOnly` and has the context path.", run: func(k *kit) error {
		a := k.get(k.who(), bearer(k.pat))
		for _, c := range a.cookies() {
			if c.Name == sessionID {
				path := strings.TrimSuffix(c.Path, "/")
				return all(must(c.HttpOnly, "the cookie is not HttpOnly"), must(path == k.base.Path, "the path of the cookie is %q", c.Path))
			}
		}
		return all(a.err, must(false, "the answer sets no %s", sessionID))
	}},
	{id: "pat-session-ends", says: "The session that a PAT opens ends with the request.", run: func(k *kit) error {
		for _, c := range k.get(k.who(), bearer(k.pat)).cookies() {
			if c.Name == sessionID {
				return k.notSignedIn(k.get(k.who(), cookie(sessionID, c.Value)))
			}
		}
		return notTriedError("the answer to a PAT sets no session")
	}},
}

var credentialChecks = []check{
	{id: "bearer-resource", says: "A PAT as Bearer signs its owner in under `/rest`, and who-am-I tells their key.", run: func(k *kit) error {
		a := k.get(k.who(), bearer(k.pat))
		var me struct{ Key, UserKey string }
		return all(k.signedIn(a), a.json(&me), must(me.Key+me.UserKey == k.key && k.key != "", "it does not tell the key of the user"))
	}},
	{id: "bearer-page", says: "A PAT signs its owner in on pages outside `/rest` too.", run: func(k *kit) error {
		return k.get(k.page(dashboard), bearer(k.pat)).has(userHeader, k.User)
	}},
	{id: "bearer-case", says: "The case of `Bearer` does not matter.", run: func(k *kit) error {
		return k.signedIn(k.get(k.who(), bearer(k.pat), header("Authorization", "bEARER "+k.pat)))
	}},
	{id: "pat-wrong", says: "A wrong PAT is answered with 401 under `/rest`, even where anonymous callers are answered.",
		run: func(k *kit) error {
			return k.get(k.open(), bearer(k.wrong)).is(http.StatusUnauthorized)
		}},
	{id: "pat-wrong-page", says: "A wrong PAT is answered with 401 on pages too.", run: func(k *kit) error {
		return k.get(k.page(loginPage), bearer(k.wrong)).is(http.StatusUnauthorized)
	}},
	{id: "pat-wrong-form", says: "The 401 for a wrong PAT is JSON with `message` and `status-code`.", run: func(k *kit) error {
		return k.get(k.who(), bearer(k.wrong)).keys("message", "status-code")
	}},
	{id: "pat-wrong-reason", says: "The 401 for a wrong PAT has no `X-Seraph-LoginReason`.", run: func(k *kit) error {
		return k.get(k.who(), bearer(k.wrong)).has(reasonHeader, "")
	}},
	{id: "parameters-sign-in", says: "`os_username` and `os_password` in a posted form sign in on any page.", run: func(k *kit) error {
		if err := k.password(); err != nil {
			return err
		}
		return k.get(k.page(dashboard), form(parameters(k.User, k.Password))).has(userHeader, k.User)
	}},
	{id: "parameters-first", says: "`os_username` and `os_password` come before `Authorization`.", run: func(k *kit) error {
		if err := k.password(); err != nil {
			return err
		}
		return k.get(k.page(dashboard), form(parameters(k.User, k.Password)), bearer(k.wrong)).has(userHeader, k.User)
	}},
	{id: "parameters-query-first", says: "A parameter in the query comes before one in the posted form.", run: func(k *kit) error {
		if err := k.password(); err != nil {
			return err
		}
		wrong := parameters(k.unknownUser, "wrong").Encode()
		return anonymous(k.get(k.page(dashboard)+"?"+wrong, form(parameters(k.User, k.Password))))
	}},
	{id: "parameters-fail", says: "After `os_username` and `os_password` that are wrong, the next credential is tried.",
		run: func(k *kit) error {
			return k.signedIn(k.get(k.who()+"?"+parameters(k.unknownUser, "wrong").Encode(), bearer(k.pat)))
		}},
	{id: "session-first", says: "A session comes before a PAT: the PAT is not looked at, even if it is wrong.", run: func(k *kit) error {
		l, err := k.session()
		if err != nil {
			return err
		}
		return k.signedIn(k.get(k.who(), l.cookies, bearer(k.wrong)))
	}},
	{id: "stale-session", says: "Under `/rest`, the cookie of a session that is not there is answered with 401.", run: func(k *kit) error {
		return k.get(k.open(), cookie(sessionID, "apitoken-doctor")).is(http.StatusUnauthorized)
	}},
	{id: "stale-session-page", says: "On pages, the cookie of a session that is not there does not matter.", run: func(k *kit) error {
		return k.get(k.page(loginPage), cookie(sessionID, "apitoken-doctor")).is(http.StatusOK)
	}},
	{id: "auth-type-none", says: "With `os_authType=none` it does not matter under `/rest` either.", run: func(k *kit) error {
		return k.get(k.open()+"?os_authType=none", cookie(sessionID, "apitoken-doctor")).is(http.StatusOK)
	}},
	{id: "auth-type-cookie", says: "With `os_authType=cookie` it is answered with 401 on pages too.", run: func(k *kit) error {
		return k.get(k.page(loginPage)+"?os_authType=cookie", cookie(sessionID, "apitoken-doctor")).is(http.StatusUnauthorized)
	}},
	{id: "auth-type-basic", says: "`os_authType=basic` without a credential is answered with 401 that asks for Basic.", run: func(k *kit) error {
		a := k.get(k.open() + "?os_authType=basic")
		return all(a.is(http.StatusUnauthorized), must(strings.HasPrefix(a.header.Get(challenge), "Basic "), "the challenge is %q", a.header.Get(challenge)))
	}},
	{id: "auth-type-basic-realm", says: "The realm of that challenge is `protected-area`.", run: func(k *kit) error {
		a := k.get(k.open() + "?os_authType=basic")
		_, realm, found := strings.Cut(a.header.Get(challenge), "realm=")
		if a.err == nil && !found {
			return notTriedError("there is no such challenge")
		}
		return all(a.err, must(realm == `"protected-area"`, "the realm is %s", realm))
	}},
}

// basicChecks are about Basic authentication. They use a name that nobody has: wrong passwords of a user lead to a CAPTCHA.
var basicChecks = []check{
	{id: "basic-default", says: "Basic authentication is as the product comes: off from Jira 11.0 on, else on.", run: func(k *kit) error {
		switch r, known := releaseOf(k.product, k.version); {
		case !known || r.basic == "":
			return notTriedError("it is not documented for this version; here it is " + k.isBasic())
		case k.basic == "":
			return notTriedError("the answer to Basic authentication does not tell")
		default:
			return must(k.basic == r.basic, "it is %s, unless an administrator has changed it", k.basic)
		}
	}},
	whileOff("basic-off", "Basic authentication is refused with 403, and never taken for anonymous.", func(k *kit) error {
		return k.get(k.open(), basicAuth(k.unknownUser, "wrong")).is(http.StatusForbidden)
	}),
	whileOff("basic-off-words", "Its `message` is `Basic Authentication has been disabled on this instance.`", func(k *kit) error {
		a := k.get(k.who(), basicAuth(k.unknownUser, "wrong"))
		return all(a.keys("message"), a.shows("Basic Authentication has been disabled on this instance."))
	}),
	whileOff("basic-off-page", "Pages outside `/rest` refuse it too.", func(k *kit) error {
		return k.get(k.page(loginPage), basicAuth(k.unknownUser, "wrong")).is(http.StatusForbidden)
	}),
	whileOff("basic-off-right", "The right password is refused with 403 too.", func(k *kit) error {
		if err := k.password(); err != nil {
			return err
		}
		return k.get(k.who(), basicAuth(k.User, k.Password)).is(http.StatusForbidden)
	}),
	whileOn("basic-on-wrong", "A wrong password is answered with 401 and a page.", func(k *kit) error {
		a := k.get(k.who(), basicAuth(k.unknownUser, "wrong"))
		return all(a.is(http.StatusUnauthorized), a.isPage())
	}),
	whileOn("basic-on-reason", "That answer has `X-Seraph-LoginReason: AUTHENTICATED_FAILED`.", func(k *kit) error {
		return k.get(k.open(), basicAuth(k.unknownUser, "wrong")).has(reasonHeader, "AUTHENTICATED_FAILED")
	}),
	whileOn("basic-on-right", "The right password signs in.", func(k *kit) error {
		if err := k.password(); err != nil {
			return err
		}
		return k.signedIn(k.get(k.who(), basicAuth(k.User, k.Password)))
	}),
}

func (k *kit) isBasic() string {
	if k.basic == "" {
		return "unknown"
	}
	return k.basic
}

func whileOff(id, says string, run func(*kit) error) check { return whileBasic(id, says, off, run) }

func whileOn(id, says string, run func(*kit) error) check { return whileBasic(id, says, on, run) }

func whileBasic(id, says, is string, run func(*kit) error) check {
	return check{id: id, says: "While Basic authentication is " + is + ": " + says, run: func(k *kit) error {
		if k.basic != is {
			return notTriedError("Basic authentication is " + k.isBasic())
		}
		return run(k)
	}}
}
