package product

import (
	"encoding/json"
	"net/http"
	"strings"
)

// search asks for the tokens of all users, as an administrator does.
func (k *kit) search(with option, body map[string]any, more ...option) ([]map[string]json.RawMessage, *answer, error) {
	if k.AdminPAT == "" {
		return nil, &answer{}, notTriedError("it needs --admin-pat-file")
	}
	a := k.get(patPath+"/search", append([]option{with, sends(body)}, more...)...)
	var found struct {
		Values []map[string]json.RawMessage
	}
	if a.err != nil || a.status != http.StatusOK {
		return nil, a, a.err
	}
	return found.Values, a, a.json(&found)
}

// named searches for the tokens of this run.
func (k *kit) named(name string, page, limit int) ([]map[string]json.RawMessage, error) {
	found, a, err := k.search(bearer(k.AdminPAT), map[string]any{"page": page, "limit": limit, "name": name, "userKeys": []string{k.key}})
	return found, all(err, a.is(http.StatusOK))
}

// mostFound is how many tokens a search returns at most.
const mostFound = 100

var searchChecks = []check{
	{id: "search", says: "`POST .../search` finds PATs of other users for an administrator: `values`, with `userProfileResource.username`.",
		run: func(k *kit) error {
			found, err := k.named(patPrefix, 0, mostFound)
			if err != nil {
				return err
			}
			if len(found) == 0 {
				return must(false, "the token of the run is not found")
			}
			var owner struct{ Username string }
			err = json.Unmarshal(found[0]["userProfileResource"], &owner)
			return must(err == nil && owner.Username == k.User, "it does not name the owner")
		}},
	{id: "search-part", says: "It finds a PAT by a part of its name, in any case.", run: func(k *kit) error {
		found, err := k.named(strings.ToUpper(patPrefix[3:]), 0, mostFound)
		return all(err, must(len(found) > 0, "it finds none"))
	}},
	{id: "search-pages", says: "`limit` and `page`, from 0 on, choose a part.", run: func(k *kit) error {
		first, err := k.named(patPrefix, 0, 1)
		beyond, err2 := k.named(patPrefix, mostPATs, 1)
		return all(err, err2, must(len(first) == 1, "page 0 with limit 1 has %d", len(first)), must(len(beyond) == 0, "page %d is not empty", mostPATs))
	}},
	{id: "search-most", says: "It returns 100 PATs at most.", run: func(k *kit) error {
		found, _, err := k.search(bearer(k.AdminPAT), map[string]any{"page": 0, "limit": 10 * mostFound, "name": "", "userKeys": []string{}})
		if err == nil && len(found) < mostFound {
			return notTriedError("there are too few PATs to tell")
		}
		return all(err, must(len(found) == mostFound, "it returns %d", len(found)))
	}},
	{id: "search-never", says: "A PAT that never expires has an `expiringAt` in the year 9999 there.", run: func(k *kit) error {
		if k.AdminPAT == "" {
			return notTriedError("it needs --admin-pat-file")
		}
		p, _, err := k.made(nil)
		if err != nil {
			return err
		}
		defer k.drop(p)
		found, err := k.named(patPrefix, 0, mostFound)
		for _, one := range found {
			if string(one["id"]) == string(p.ID) {
				return must(strings.HasPrefix(string(one["expiringAt"]), `"9999-`), "it has %s", one["expiringAt"])
			}
		}
		return all(err, must(false, "the token is not found"))
	}},
	{id: "search-others", says: "Other users are answered with 403.", run: func(k *kit) error {
		_, a, err := k.search(bearer(k.pat), map[string]any{"page": 0, "limit": 1, "name": "", "userKeys": []string{}})
		return all(err, a.is(http.StatusForbidden))
	}},
	{id: "search-xsrf", says: "Without `X-Atlassian-Token: no-check` the search is answered with 403.", run: func(k *kit) error {
		_, a, err := k.search(bearer(k.AdminPAT), map[string]any{"page": 0, "limit": 1, "name": "", "userKeys": []string{}}, without("X-Atlassian-Token"))
		return all(err, a.is(http.StatusForbidden))
	}},
}

func without(name string) option { return func(r *request) { r.header.Del(name) } }
