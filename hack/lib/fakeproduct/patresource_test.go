package fakeproduct

import (
	"encoding/base64"
	"fmt"
	"net/http"
	"regexp"
	"strings"
	"testing"
)

func TestMakingAndListingPATs(t *testing.T) {
	clock := newClock()
	for product, p := range bothProducts(t, Options{Now: clock.read, Users: twoUsers()}) {
		made := p.as(t, bearer("alice-pat"), "POST", "/rest/pat/latest/tokens", `{"name":"tokenName","expirationDuration":90}`)
		want := regexp.MustCompile(`^{"createdAt":"2026-09-04T22:35:14.728\+00:00","expiringAt":"2026-12-03T22:35:14.728\+00:00",` +
			`"id":3,"name":"tokenName","rawToken":"([^"]+)"}\n$`).FindStringSubmatch(made.body)
		if made.StatusCode != http.StatusCreated || want == nil {
			t.Fatalf("%s: got %d %s", product, made.StatusCode, made.body)
		}
		raw, err := base64.StdEncoding.DecodeString(want[1])
		if err != nil || len(want[1]) != 44 || len(raw) != 33 || !regexp.MustCompile(`^[0-9]{12}:`).Match(raw) {
			t.Errorf("%s: the token is %s, of %q", product, want[1], raw)
		}

		if _, id := p.make(t, bearer(want[1]), `{"name":"eternal","expirationDuration":null}`); id != 4 {
			t.Errorf("%s: the next id is %d", product, id)
		}
		const listed = `[{"createdAt":"2026-09-04T22:35:14.728+00:00","expiringAt":null,"id":1,"lastAccessedAt":"2026-09-04T22:35:14.728+00:00","name":"fixed-1"},` +
			`{"createdAt":"2026-09-04T22:35:14.728+00:00","expiringAt":"2026-12-03T22:35:14.728+00:00","id":3,"lastAccessedAt":"2026-09-04T22:35:14.728+00:00","name":"tokenName"},` +
			`{"createdAt":"2026-09-04T22:35:14.728+00:00","expiringAt":null,"id":4,"name":"eternal"}]`
		for _, path := range []string{"/rest/pat/latest/tokens", "/rest/pat/1.0/tokens/"} {
			if got := p.as(t, bearer(want[1]), "GET", path, ""); got.StatusCode != http.StatusOK || strings.TrimSpace(got.body) != listed {
				t.Errorf("%s, %s: got %d %s", product, path, got.StatusCode, got.body)
			}
		}
	}
}

func TestPATRefusals(t *testing.T) {
	const tokens = "/rest/pat/latest/tokens"
	strict := Options{NoEternalPATs: true, MaxPATDays: 30}
	long, longest := strings.Repeat("ü", 41), strings.Repeat("ü", 40)
	for name, test := range map[string]struct {
		o                  Options
		token, method, url string
		body               string
		status             int
		contains           string
	}{
		"anonymous":                {Options{}, "", "GET", tokens, "", 401, `"status-code":401`},
		"anonymous, making":        {Options{}, "", "POST", tokens, `{"name":"x"}`, 401, `"status-code":401`},
		"anonymous, deleting":      {Options{}, "", "DELETE", tokens + "/1", "", 401, `"status-code":401`},
		"anonymous, searching":     {Options{}, "", "POST", tokens + "/search", "{}", 401, `"status-code":401`},
		"no JSON":                  {Options{}, "alice-pat", "POST", tokens, "x", 400, "not a JSON object"},
		"half a day":               {Options{}, "alice-pat", "POST", tokens, `{"name":"x","expirationDuration":0.5}`, 400, "not a JSON object"},
		"no name":                  {Options{}, "alice-pat", "POST", tokens, `{"expirationDuration":1}`, 400, `"errorMessages":["The token needs a name."]`},
		"a blank name":             {Options{}, "alice-pat", "POST", tokens, `{"name":" "}`, 400, "needs a name"},
		"a long name":              {Options{}, "alice-pat", "POST", tokens, `{"name":"` + long + `"}`, 400, "longer than 40"},
		"the longest name":         {Options{}, "alice-pat", "POST", tokens, `{"name":"` + longest + `"}`, 201, longest},
		"no days":                  {Options{}, "alice-pat", "POST", tokens, `{"name":"x","expirationDuration":0}`, 400, "1 to 365 days"},
		"365 days":                 {Options{}, "alice-pat", "POST", tokens, `{"name":"x","expirationDuration":365}`, 201, "rawToken"},
		"366 days":                 {Options{}, "alice-pat", "POST", tokens, `{"name":"x","expirationDuration":366}`, 400, "1 to 365 days"},
		"30 days where 30 go":      {strict, "alice-pat", "POST", tokens, `{"name":"x","expirationDuration":30}`, 201, "rawToken"},
		"31 days where 30 go":      {strict, "alice-pat", "POST", tokens, `{"name":"x","expirationDuration":31}`, 400, "1 to 30 days"},
		"eternal where none are":   {strict, "alice-pat", "POST", tokens, `{"name":"x"}`, 400, "has to expire"},
		"somebody else's":          {Options{}, "alice-pat", "DELETE", tokens + "/2", "", 404, `"errorMessages":["There is no token 2."]`},
		"nobody's":                 {Options{}, "alice-pat", "DELETE", tokens + "/99", "", 404, "no token 99"},
		"no id":                    {Options{}, "alice-pat", "DELETE", tokens + "/01", "", 404, "no token 01"},
		"another method":           {Options{}, "alice-pat", "PUT", tokens, "", 405, "405"},
		"another method of an id":  {Options{}, "alice-pat", "GET", tokens + "/1", "", 405, "405"},
		"another version":          {Options{}, "alice-pat", "GET", "/rest/pat/2.0/tokens", "", 404, "null for uri"},
		"something below an id":    {Options{}, "alice-pat", "DELETE", tokens + "/1/x", "", 404, "null for uri"},
		"another method of search": {Options{}, "alice-pat", "GET", tokens + "/search", "", 405, "405"},
	} {
		t.Run(name, func(t *testing.T) {
			test.o.Users = twoUsers()
			for product, p := range bothProducts(t, test.o) {
				var credential change
				if test.token != "" {
					credential = bearer(test.token)
				}
				got := p.as(t, credential, test.method, test.url, test.body)
				if got.StatusCode != test.status || !strings.Contains(got.body, test.contains) {
					t.Errorf("%s: got %d %s, want %d %s", product, got.StatusCode, got.body, test.status, test.contains)
				}
			}
		})
	}
}

func TestSearchingPATs(t *testing.T) {
	const forAdmin = `"userProfileResource":{"username":"`
	for product, p := range bothProducts(t, Options{Now: newClock().read, Users: append(twoUsers(), User{Name: "root", PATs: []string{"root-pat"}, Admin: true})}) {
		p.make(t, bearer("alice-pat"), `{"name":"Nightly build","expirationDuration":90}`)
		for name, test := range map[string]struct {
			header, token, body string
			status              int
			want                []string // ids, or what a refusal says
		}{
			"all":                     {"nocheck", "root-pat", `{"page":0,"limit":100,"name":"","userKeys":[]}`, 200, []string{"1", "2", "3", "4"}},
			"all, the other word":     {"no-check", "root-pat", `{}`, 200, []string{"1", "2", "3", "4"}},
			"by name":                 {"nocheck", "root-pat", `{"name":"nightly"}`, 200, []string{"4"}},
			"by key":                  {"nocheck", "root-pat", `{"userKeys":["K1","root"]}`, 200, []string{"1", "3", "4"}},
			"the second page":         {"nocheck", "root-pat", `{"page":1,"limit":3}`, 200, []string{"4"}},
			"a page that is not":      {"nocheck", "root-pat", `{"page":9223372036854775807,"limit":3}`, 200, nil},
			"no header":               {"", "root-pat", `{}`, 403, []string{"XSRF check failed"}},
			"another header":          {"check", "root-pat", `{}`, 403, []string{"XSRF check failed"}},
			"somebody, not an admin":  {"nocheck", "alice-pat", `{}`, 403, []string{"Only administrators"}},
			"no JSON":                 {"nocheck", "root-pat", `x`, 400, []string{"not a JSON object"}},
			"a page before the first": {"nocheck", "root-pat", `{"page":-1}`, 400, []string{"not a JSON object"}},
		} {
			got := p.as(t, func(r *http.Request) { bearer(test.token)(r); r.Header.Set("X-Atlassian-Token", test.header) }, "POST", patPath+"/search", test.body)
			if got.StatusCode != test.status {
				t.Errorf("%s, %s: got %d %s", product, name, got.StatusCode, got.body)
			}
			if test.status != http.StatusOK {
				if !strings.Contains(got.body, test.want[0]) {
					t.Errorf("%s, %s: got %s", product, name, got.body)
				}
				continue
			}
			var ids []string
			for _, id := range regexp.MustCompile(`"id":([0-9]+)`).FindAllStringSubmatch(got.body, -1) {
				ids = append(ids, id[1])
			}
			if fmt.Sprint(ids) != fmt.Sprint(test.want) || strings.Contains(got.body, "rawToken") {
				t.Errorf("%s, %s: found %v in %s, want %v", product, name, ids, got.body, test.want)
			}
			if name == "all" && (!strings.Contains(got.body, forAdmin+`alice"`) || !strings.Contains(got.body, `"expiringAt":"9999-`) || !strings.Contains(got.body, `"expiringAt":"2026-12-03T`)) {
				t.Errorf("%s: got %s", product, got.body)
			}
		}
	}
}
