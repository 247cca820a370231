package product

import (
	"encoding/base64"
	"encoding/json"
	"fmt"
	"net/http"
	"regexp"
	"slices"
	"strings"
	"time"
)

const (
	patPath   = "/rest/pat/latest/tokens"
	mostPATs  = 10
	longest   = 40
	mostDays  = 365
	patPrefix = "apitoken doctor"
)

// pat is a personal access token, as the product describes it.
type pat struct {
	ID                                    json.Number
	Name                                  string
	CreatedAt, ExpiringAt, LastAccessedAt *string
	RawToken                              string
}

// makePAT asks for a token; days is nil for one that never expires. It is deleted at the end of the run.
func (k *kit) makePAT(name string, days any, with option) *answer {
	body := map[string]any{"name": name}
	if days != nil {
		body["expirationDuration"] = days
	}
	a := k.get(patPath, with, sends(body))
	var made pat
	if a.status/100 == 2 && a.json(&made) == nil {
		k.hide.secret(made.RawToken, "PAT")
		k.undo = append(k.undo, undo{patOf(made.ID), func() error {
			gone := []int{http.StatusNoContent, http.StatusOK, http.StatusNotFound}
			if k.deletePAT(made, with).is(gone...) == nil {
				return nil
			}
			return k.deletePAT(made, bearer(made.RawToken)).is(gone...) // the session that made it may have ended
		}})
	}
	return a
}

// made makes a token, and returns it as the product described it.
func (k *kit) made(days any) (pat, *answer, error) {
	a := k.makePAT(patPrefix+" check", days, bearer(k.pat))
	var p pat
	if a.err != nil {
		return p, a, a.err
	}
	if a.status/100 != 2 {
		return p, a, notTriedError(fmt.Sprintf("no token could be made: HTTP %d", a.status))
	}
	return p, a, a.json(&p)
}

// drop deletes a token that a check made, as soon as the check is done with it: a user may have few.
func (k *kit) drop(p pat) { k.deletePAT(p, bearer(k.pat)) }

func (k *kit) deletePAT(p pat, with option) *answer {
	a := k.get(patPath+"/"+string(p.ID), with, method(http.MethodDelete), header("X-Atlassian-Token", "no-check"))
	if a.is(http.StatusNoContent, http.StatusOK) == nil {
		k.undone(patOf(p.ID))
	}
	return a
}

// patOf says in the list of what is to be undone which token it is.
func patOf(id json.Number) string { return "personal access token " + string(id) }

// listed returns the user's tokens.
func (k *kit) listed() ([]pat, *answer, error) {
	a := k.get(patPath, bearer(k.pat))
	var found []pat
	return found, a, all(a.is(http.StatusOK), a.json(&found))
}

// find returns a token in a list.
func find(found []pat, p pat) (pat, error) {
	i := slices.IndexFunc(found, func(one pat) bool { return one.ID == p.ID })
	if i < 0 {
		return pat{}, must(false, "the list lacks the token")
	}
	return found[i], nil
}

// withPAT runs a check with a token that it has for itself.
func withPAT(id, says string, days any, run func(*kit, pat, *answer) error) check {
	return check{id: id, says: says, run: func(k *kit) error {
		p, a, err := k.made(days)
		if err != nil {
			return err
		}
		defer k.drop(p)
		return run(k, p, a)
	}}
}

// refusesPAT is a check that a token is not made.
func refusesPAT(id, says, name string, days any) check {
	return check{id: id, says: says, run: func(k *kit) error {
		a := k.makePAT(name, days, bearer(k.pat))
		var p pat
		if a.status/100 == 2 && a.json(&p) == nil {
			k.drop(p)
		}
		return a.is(http.StatusBadRequest)
	}}
}

var (
	rawForm  = regexp.MustCompile(`^[0-9]{12}:`)
	timeForm = regexp.MustCompile(`^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}[+-]\d\d:\d\d$`)
)

// moment reads a time, in every form that is known.
func moment(text *string) time.Time {
	if text == nil {
		return time.Time{}
	}
	for _, layout := range []string{time.RFC3339, "2006-01-02T15:04:05.999-0700"} {
		if t, err := time.Parse(layout, *text); err == nil {
			return t
		}
	}
	return time.Time{}
}

func patChecks() []check { return slices.Concat(madeChecks, listChecks, deleteChecks, limitChecks) }

var madeChecks = []check{
	withPAT("pat-made", "A PAT makes another: 201 with `id`, `name`, `createdAt`, `expiringAt` and `rawToken`.", 1, func(_ *kit, _ pat, a *answer) error {
		return all(a.is(http.StatusCreated), a.keys("id", "name", "createdAt", "expiringAt", "rawToken"))
	}),
	withPAT("pat-id", "The `id` of a PAT is a number.", 1, func(_ *kit, _ pat, a *answer) error {
		var object struct{ ID json.RawMessage }
		return all(a.json(&object), must(len(object.ID) > 0 && object.ID[0] != '"', "it is a text"))
	}),
	withPAT("pat-form", "A PAT is base64 of 12 digits, `:` and 20 bytes, in 44 characters.", 1, func(_ *kit, p pat, _ *answer) error {
		decoded, err := base64.StdEncoding.DecodeString(p.RawToken)
		return all(must(len(p.RawToken) == 44, "it has %d characters", len(p.RawToken)),
			must(err == nil && rawForm.Match(decoded) && len(decoded) == 33, "it is of another form"))
	}),
	withPAT("pat-time", "Times are written as in `2026-09-04T22:35:14.728+00:00`.", 1, func(_ *kit, p pat, _ *answer) error {
		return must(p.CreatedAt != nil && timeForm.MatchString(*p.CreatedAt), "createdAt is of another form")
	}),
	withPAT("pat-days", "`expirationDuration` is in days of 24 hours.", 2, func(_ *kit, p pat, _ *answer) error {
		lives := moment(p.ExpiringAt).Sub(moment(p.CreatedAt))
		return must(lives.Round(time.Minute) == 48*time.Hour, "a token for two days lives %s", lives.Round(time.Second))
	}),
	withPAT("pat-never", "`expiringAt` is null for a PAT that never expires.", nil, func(_ *kit, p pat, _ *answer) error {
		return must(p.ExpiringAt == nil, "it is a time")
	}),
	withPAT("pat-same-name", "Two PATs of a user may have the same name.", 1, func(k *kit, _ pat, _ *answer) error {
		a := k.makePAT(patPrefix+" check", 1, bearer(k.pat))
		var second pat
		if a.status/100 == 2 && a.json(&second) == nil {
			k.drop(second)
		}
		return a.is(http.StatusCreated, http.StatusOK)
	}),
	{id: "pat-version", says: "`/rest/pat/1.0/tokens` is the same as `/rest/pat/latest/tokens`.", run: func(k *kit) error {
		return k.get("/rest/pat/1.0/tokens", bearer(k.pat)).is(http.StatusOK)
	}},
	{id: "pat-anonymous", says: "Anonymous callers are answered with 401.",
		run: func(k *kit) error { return k.get(patPath).is(http.StatusUnauthorized) }},
}

var listChecks = []check{
	withPAT("pat-list", "`GET` lists the caller's PATs in an array.", 1, func(k *kit, p pat, _ *answer) error {
		found, _, err := k.listed()
		if err != nil {
			return err
		}
		_, err = find(found, p)
		return err
	}),
	withPAT("pat-list-secret", "The list has no `rawToken`.", 1, func(k *kit, _ pat, _ *answer) error {
		a := k.get(patPath, bearer(k.pat))
		return all(a.err, must(!strings.Contains(string(a.body), "rawToken"), "it has one"))
	}),
	withPAT("pat-list-used", "The list has `lastAccessedAt` of a PAT that was used.", 1, func(k *kit, p pat, _ *answer) error {
		if err := k.signedIn(k.get(k.who(), bearer(p.RawToken))); err != nil {
			return err
		}
		found, _, err := k.listed()
		if err != nil {
			return err
		}
		listed, err := find(found, p)
		fresh := moment(listed.LastAccessedAt).After(moment(p.CreatedAt).Add(-time.Minute))
		return all(err, must(fresh, "it has none, or an old one"))
	}),
	withPAT("pat-list-unused", "A PAT that was not used has no `lastAccessedAt`.", 1, func(k *kit, p pat, _ *answer) error {
		found, _, err := k.listed()
		if err != nil {
			return err
		}
		listed, err := find(found, p)
		return all(err, must(listed.LastAccessedAt == nil, "it has one"))
	}),
	{id: "pat-expired", says: "A PAT that expired is answered with 401, `message` and `status-code`.", run: func(k *kit) error {
		if k.ExpiredPAT == "" {
			return notTriedError("it needs --expired-pat-file")
		}
		a := k.get(k.who(), bearer(k.ExpiredPAT))
		return all(a.is(http.StatusUnauthorized), a.keys("message", "status-code"))
	}},
	{id: "pat-expired-listed", says: "A PAT that expired is listed until it is pruned.", run: (*kit).hasExpired},
}

// hasExpired returns an error unless the list has a token that expired.
func (k *kit) hasExpired() error {
	if k.ExpiredPAT == "" {
		return notTriedError("it needs --expired-pat-file")
	}
	found, a, err := k.listed()
	if err != nil {
		return err
	}
	now, err := http.ParseTime(a.header.Get("Date"))
	if err != nil {
		return notTriedError("the product does not tell its time")
	}
	expired := slices.ContainsFunc(found, func(p pat) bool { return p.ExpiringAt != nil && moment(p.ExpiringAt).Before(now) })
	return must(expired, "the list has none")
}

var deleteChecks = []check{
	{id: "pat-deleted", says: "`DELETE` of a PAT is answered with 204, and the PAT is refused with 401 at once.", run: func(k *kit) error {
		p, _, err := k.made(1)
		if err != nil {
			return err
		}
		if err := k.signedIn(k.get(k.who(), bearer(p.RawToken))); err != nil {
			return err
		}
		return all(k.deletePAT(p, bearer(k.pat)).is(http.StatusNoContent), k.get(k.who(), bearer(p.RawToken)).is(http.StatusUnauthorized))
	}},
	{id: "pat-deletes-itself", says: "A PAT may delete itself.", run: func(k *kit) error {
		p, _, err := k.made(1)
		if err != nil {
			return err
		}
		return k.deletePAT(p, bearer(p.RawToken)).is(http.StatusNoContent, http.StatusOK)
	}},
	{id: "pat-unknown", says: "`DELETE` of an unknown PAT is answered with 404.", run: func(k *kit) error {
		return k.deletePAT(pat{ID: "999999999999"}, bearer(k.pat)).is(http.StatusNotFound)
	}},
	{id: "pat-of-others", says: "`DELETE` of somebody else's PAT is answered with 404.", run: func(k *kit) error {
		if k.AdminPAT == "" {
			return notTriedError("it needs --admin-pat-file")
		}
		a := k.makePAT(patPrefix+" check", 1, bearer(k.AdminPAT))
		var p pat
		if a.status/100 != 2 || a.json(&p) != nil {
			return notTriedError("the administrator could make no token")
		}
		defer k.deletePAT(p, bearer(k.AdminPAT))
		return k.deletePAT(p, bearer(k.pat)).is(http.StatusNotFound)
	}},
}

var limitChecks = []check{
	refusesPAT("pat-name", "A PAT without a name is answered with 400.", " ", 1),
	refusesPAT("pat-name-length", "A name of 41 characters is answered with 400.", strings.Repeat("x", longest+1), 1),
	{id: "pat-name-longest", says: "A name of 40 characters is taken.", run: func(k *kit) error {
		a := k.makePAT(strings.Repeat("x", longest), 1, bearer(k.pat))
		var p pat
		if a.status/100 == 2 && a.json(&p) == nil {
			k.drop(p)
		}
		return a.is(http.StatusCreated, http.StatusOK)
	}},
	refusesPAT("pat-days-most", "A PAT for 366 days is answered with 400, unless an administrator changed the limit.", patPrefix+" check", mostDays+1),
	refusesPAT("pat-days-none", "A PAT for 0 days is answered with 400.", patPrefix+" check", 0),
	{id: "pat-errors", says: "Such an answer has `errorMessages`.", run: func(k *kit) error {
		a := k.makePAT(" ", 1, bearer(k.pat))
		if a.err == nil && a.status != http.StatusBadRequest {
			return notTriedError("there was no such answer")
		}
		return a.keys("errorMessages")
	}},
	{id: "pat-most", says: "The eleventh PAT of a user is answered with 400, unless an administrator changed the limit.", run: (*kit).fillUp},
	{id: "pat-most-expired", says: "A PAT that expired counts among these ten.", run: func(k *kit) error {
		if err := k.hasExpired(); err != nil {
			return notTriedError("the list has no PAT that expired")
		}
		return k.fillUp()
	}},
}

// fillUp makes tokens until one is refused, and deletes them again.
func (k *kit) fillUp() error {
	found, _, err := k.listed()
	for have := len(found); err == nil; have++ {
		a := k.makePAT(patPrefix+" check", 1, bearer(k.pat))
		var p pat
		switch {
		case a.err != nil:
			err = a.err
		case a.status/100 != 2:
			return all(a.is(http.StatusBadRequest), must(have == mostPATs, "with %d tokens", have))
		case a.json(&p) != nil || have >= mostPATs:
			err = must(false, "with %d tokens there is another", have)
		}
		if p.ID != "" {
			defer k.drop(p)
		}
	}
	return err
}
