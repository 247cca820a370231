package rest_test

import (
	"net/http"
	"net/url"
	"strings"
	"testing"

	"apitokens.dev/operator/hack/lib/portaltest"
)

// A page of another origin cannot change anything with the cookies of its visitor.
func TestCrossOrigin(t *testing.T) {
	eachProduct(t, func(t *testing.T, w *portaltest.World) {
		alice := session(t, w, "carol")
		base, err := url.Parse(w.URL)
		if err != nil {
			t.Fatal(err)
		}
		own, other := base.Scheme+"://"+base.Host, "https://evil.example"
		for _, tc := range []struct {
			site, origin string
			same         bool
		}{
			{"", "", true}, // no browser
			{"same-origin", own, true},
			{"same-origin", "", true},
			{"none", "", true},
			{"", own, true},
			{"", other, false},
			{"", "null", false},
			{"", own + ".evil.example", false},
			{"", strings.TrimSuffix(own, base.Port()) + "1", false},
			{"cross-site", "", false},
			{"cross-site", other, false},
			{"cross-site", own, false},
			{"cross-site", "null", false},
			{"same-site", "", false},
			{"same-site", own, false},
			{"same-site", "https://wiki.example.com", false},
			{"SAME-ORIGIN", own, false},
			{"something new", own, false},
		} {
			id, _ := alice.create(`{"label":"stays"}`)
			for _, request := range [][3]string{
				{"POST", "/", `{"label":"made by another page"}`}, {"POST", "/" + id + "/rotate", ""}, {"POST", "/" + id + "/rotate", `{"overlapHours":0}`},
				{"DELETE", "/" + id, ""}, {"DELETE", "/admin/" + id, ""}, {"DELETE", "/all", ""}, {"DELETE", "/admin/tokens?user=carol", ""},
			} {
				for _, mark := range []string{"", "no-check", "nocheck"} {
					var headers []string
					for name, value := range map[string]string{"Sec-Fetch-Site": tc.site, "Origin": tc.origin, "X-Atlassian-Token": mark} {
						if value != "" {
							headers = append(headers, name, value)
						}
					}
					got := alice.send(request[0], request[1], request[2], headers...)
					if refused := got.status == http.StatusForbidden && got.says(t, w, "", "page of another site"); refused == tc.same {
						t.Errorf("%v, X-Atlassian-Token %q, %s %s: %d %s", tc, mark, request[0], request[1], got.status, got.body)
					}
				}
			}
			if !tc.same {
				alice.expect(http.StatusOK, "GET", "/"+id, "")
			}
			alice.expect(http.StatusNoContent, "DELETE", "/all", "")
		}
		// Reads are answered, but a page of another origin cannot see the answer.
		if got := alice.expect(http.StatusOK, "GET", "/", "", "Origin", other, "Sec-Fetch-Site", "cross-site"); got.header.Get("Access-Control-Allow-Origin") != "" {
			t.Error(got.header)
		}
	})
}

// Forms of other pages cannot send JSON.
func TestMediaTypes(t *testing.T) {
	eachProduct(t, func(t *testing.T, w *portaltest.World) {
		alice := session(t, w, "alice")
		id, text := alice.create(`{"label":"stays"}`)
		for _, media := range []string{
			"", "text/plain", "application/x-www-form-urlencoded", "multipart/form-data; boundary=x", "text/json", "application/json, text/plain", "application/jsonp",
			"application/vnd.api+json", "application", "*/*", "application/json;;", "application/json; charset", "json", ";",
		} {
			for path, body := range map[string]string{
				"/": `{"label":"x"}`, "/" + id + "/rotate": `{"overlapHours":0}`, "/revoke": `{"token":"` + text + `"}`,
			} {
				if got := alice.expect(http.StatusUnsupportedMediaType, "POST", path, body, "Content-Type", media); !got.says(t, w, "", "application/json") {
					t.Errorf("%q: %s", media, got.body)
				}
			}
		}
		alice.withToken("alice", text).expect(http.StatusOK, "GET", "/", "")
		for _, media := range []string{"application/json", "Application/JSON", "application/json; charset=utf-8", `application/json;charset="UTF-8"`} {
			alice.expect(http.StatusCreated, "POST", "/", `{"label":"x"}`, "Content-Type", media)
		}
		alice.expect(http.StatusUnsupportedMediaType, "POST", "/", "", "Content-Type", "text/plain")
		alice.expect(http.StatusOK, "POST", "/"+id+"/rotate", "", "Content-Type", "application/x-www-form-urlencoded") // as `curl -d ''` sends it
	})
}
