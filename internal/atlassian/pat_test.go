package atlassian_test

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strings"
	"testing"
	"time"

	"apitokens.dev/operator/hack/lib/fakeproduct"
	"apitokens.dev/operator/internal/atlassian"
)

const days = 24 * time.Hour

// bothProducts serves both fake products with the same users and a fixed clock.
func bothProducts(t *testing.T, o fakeproduct.Options) map[atlassian.Upstream]*fakeproduct.Product {
	t.Helper()
	now := time.Date(2026, 9, 4, 22, 35, 14, 728_000_000, time.UTC)
	o.ContextPath, o.Now = "/base", func() time.Time { return now }
	o.Users = []fakeproduct.User{{Name: "alice", Key: "K1", PATs: []string{"pat-of-alice"}}, {Name: "bob", PATs: []string{"pat-of-bob"}}}
	j, c := fakeproduct.NewJira(o), fakeproduct.NewConfluence(o)
	return map[atlassian.Upstream]*fakeproduct.Product{
		{Product: atlassian.Jira, URL: serve(t, j) + "/base"}:       &j.Product,
		{Product: atlassian.Confluence, URL: serve(t, c) + "/base"}: &c.Product,
	}
}

// A session makes a personal access token, that one makes another, and the new one revokes the old one.
func TestPATIsMadeListedAndRevoked(t *testing.T) {
	c := atlassian.NewClient()
	for u, product := range bothProducts(t, fakeproduct.Options{}) {
		session := product.SignIn("alice")
		first, err := c.CreatePAT(t.Context(), u, atlassian.Credential{Cookie: session.Name + "=" + session.Value}, "ours", 90)
		if err != nil || first.Name != "ours" || first.ID == 0 || first.Token == "" || first.Expires.Sub(first.Created) != 90*days {
			t.Fatalf("%s made %+v, %v", u.Product, first, err)
		}
		second, err := c.CreatePAT(t.Context(), u, atlassian.Bearer(first.Token), "ours", 30)
		if err != nil || second.ID == first.ID || second.Token == first.Token || second.Expires.Sub(second.Created) != 30*days {
			t.Fatalf("%s: renewed with itself it is %+v, %v", u.Product, second, err)
		}
		if user, err := c.WhoAmI(t.Context(), u, atlassian.Bearer(second.Token)); err != nil || user.Name != "alice" || user.Key != "K1" {
			t.Errorf("%s: the new one is of %+v, %v", u.Product, user, err)
		}
		for range 2 { // revoking what is gone already is no error
			if err := c.DeletePAT(t.Context(), u, atlassian.Bearer(second.Token), first.ID); err != nil {
				t.Errorf("%s: revoking the old one: %v", u.Product, err)
			}
		}
		if _, err := c.WhoAmI(t.Context(), u, atlassian.Bearer(first.Token)); !errors.Is(err, atlassian.ErrRefused) {
			t.Errorf("%s: with the old one: %v", u.Product, err)
		}
		listed, err := c.ListPATs(t.Context(), u, atlassian.Bearer(second.Token))
		if err != nil || len(listed) != 2 || !listed[0].Expires.IsZero() || listed[0].Token != "" {
			t.Fatalf("%s lists %+v, %v", u.Product, listed, err)
		}
		if second.Token = ""; listed[1] != second {
			t.Errorf("%s lists %+v, want %+v", u.Product, listed[1], second)
		}
	}
}

// The personal access token of another user does not exist for the caller: it is neither revoked nor shown.
func TestForeignPATIsNotRevoked(t *testing.T) {
	c := atlassian.NewClient()
	for u, product := range bothProducts(t, fakeproduct.Options{}) {
		bobs := product.PersonalAccessTokens("bob")[0]
		if err := c.DeletePAT(t.Context(), u, atlassian.Bearer("pat-of-alice"), bobs.ID); err != nil {
			t.Errorf("%s: %v", u.Product, err)
		}
		if _, err := c.WhoAmI(t.Context(), u, atlassian.Bearer("pat-of-bob")); err != nil {
			t.Errorf("%s: bob's was revoked by alice: %v", u.Product, err)
		}
	}
}

func TestPATIsRefused(t *testing.T) {
	c := atlassian.NewClient()
	for u, product := range bothProducts(t, fakeproduct.Options{MaxPATs: 2, MaxPATDays: 30}) {
		alice := atlassian.Bearer("pat-of-alice")
		if made, err := c.CreatePAT(t.Context(), u, alice, "ours", 90); !errors.Is(err, atlassian.ErrPATRefused) || made != (atlassian.PAT{}) {
			t.Errorf("%s: for too long: %+v, %v", u.Product, made, err)
		}
		if _, err := c.CreatePAT(t.Context(), u, alice, "ours", 30); err != nil {
			t.Errorf("%s: for the longest time: %v", u.Product, err)
		}
		if _, err := c.CreatePAT(t.Context(), u, alice, "ours", 30); !errors.Is(err, atlassian.ErrPATRefused) {
			t.Errorf("%s: one too many: %v", u.Product, err)
		}
		product.RevokePAT("pat-of-bob")
		bob := atlassian.Bearer("pat-of-bob")
		_, createErr := c.CreatePAT(t.Context(), u, bob, "ours", 1)
		_, listErr := c.ListPATs(t.Context(), u, bob)
		for what, err := range map[string]error{"making": createErr, "listing": listErr, "revoking": c.DeletePAT(t.Context(), u, bob, 1)} {
			if !errors.Is(err, atlassian.ErrRefused) || errors.Is(err, atlassian.ErrPATRefused) {
				t.Errorf("%s: %s with one that was revoked: %v", u.Product, what, err)
			}
		}
		product.SetUnavailable(true)
		_, createErr = c.CreatePAT(t.Context(), u, alice, "ours", 1)
		_, listErr = c.ListPATs(t.Context(), u, alice)
		for what, err := range map[string]error{"making": createErr, "listing": listErr, "revoking": c.DeletePAT(t.Context(), u, alice, 1)} {
			if !errors.Is(err, atlassian.ErrUnexpected) {
				t.Errorf("%s: %s at a product that is down: %v", u.Product, what, err)
			}
		}
	}
}

// Public recordings differ in how times are written, and in the status of success.
func TestPATAnswers(t *testing.T) {
	at := time.Date(2026, 9, 4, 22, 35, 14, 728_000_000, time.UTC)
	for name, tc := range map[string]struct {
		status int
		body   string
		want   atlassian.PAT
		err    error
	}{
		"zone with a colon": {201, `{"id":7,"name":"n","createdAt":"2026-09-05T00:35:14.728+02:00","rawToken":"t"}`, atlassian.PAT{ID: 7, Name: "n", Created: at, Token: "t"}, nil},
		"without":           {200, `{"id":7,"name":"n","createdAt":"2026-09-04T22:35:14.728+0000","rawToken":"t"}`, atlassian.PAT{ID: 7, Name: "n", Created: at, Token: "t"}, nil},
		"no end":            {200, `{"id":7,"createdAt":null,"expiringAt":null,"rawToken":"t"}`, atlassian.PAT{ID: 7, Token: "t"}, nil},
		"an empty time":     {200, `{"id":7,"createdAt":"","rawToken":"t"}`, atlassian.PAT{ID: 7, Token: "t"}, nil},
		"another time":      {200, `{"id":7,"createdAt":"yesterday","rawToken":"t"}`, atlassian.PAT{}, atlassian.ErrUnexpected},
		"no id":             {201, `{"name":"n","rawToken":"t"}`, atlassian.PAT{}, atlassian.ErrUnexpected},
		"no token":          {201, `{"id":7,"name":"n"}`, atlassian.PAT{}, atlassian.ErrUnexpected},
		"a page":            {200, `<html>`, atlassian.PAT{}, atlassian.ErrUnexpected},
		"conflict":          {409, `{}`, atlassian.PAT{}, atlassian.ErrPATRefused},
		"bad request":       {400, `{}`, atlassian.PAT{}, atlassian.ErrPATRefused},
		"forbidden":         {403, `{}`, atlassian.PAT{}, atlassian.ErrRefused},
		"no such resource":  {404, `{}`, atlassian.PAT{}, atlassian.ErrUnexpected},
		"redirect":          {302, ``, atlassian.PAT{}, atlassian.ErrUnexpected},
		"too many requests": {429, ``, atlassian.PAT{}, atlassian.ErrUnexpected},
	} {
		u := jira(serve(t, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			var sent struct {
				Name               string
				ExpirationDuration int
			}
			if err := json.NewDecoder(r.Body).Decode(&sent); err != nil || sent.Name != "n" || sent.ExpirationDuration != 90 ||
				r.Header.Get("Content-Type") != "application/json" || r.Header.Get("X-Atlassian-Token") != "no-check" {
				t.Errorf("%s: sent %+v, %v with %v", name, sent, err, r.Header)
			}
			w.WriteHeader(tc.status)
			_, _ = io.WriteString(w, tc.body)
		})))
		if got, err := atlassian.NewClient().CreatePAT(t.Context(), u, atlassian.Bearer("pat"), "n", 90); got != tc.want || !errors.Is(err, tc.err) {
			t.Errorf("%s: %+v, %v; want %+v, %v", name, got, err, tc.want, tc.err)
		}
	}
}

// An answer may repeat the credential, or hold a new one. Neither goes into an error.
func TestPATErrorsQuoteNoToken(t *testing.T) {
	const mine, made = "CANARY-mine", "CANARY-made"
	for name, answer := range map[string]http.HandlerFunc{
		"dropped": func(http.ResponseWriter, *http.Request) { panic(http.ErrAbortHandler) },
		"a redirect": func(w http.ResponseWriter, r *http.Request) {
			w.Header().Set("Location", "http://["+r.Header.Get("Authorization")+made)
			w.WriteHeader(http.StatusTemporaryRedirect)
		},
		"a header that is none": func(w http.ResponseWriter, r *http.Request) {
			conn, buffer, err := http.NewResponseController(w).Hijack()
			if err == nil {
				_, _ = fmt.Fprintf(buffer, "HTTP/1.1 %s %s\r\n\r\n", r.Header.Get("Authorization"), made)
				_ = buffer.Flush()
				_ = conn.Close()
			}
		},
		"refused":     echo(http.StatusUnauthorized, made),
		"bad request": echo(http.StatusBadRequest, made),
		"unavailable": echo(http.StatusServiceUnavailable, made),
		"no JSON":     echo(http.StatusOK, made),
		"no id":       echo(http.StatusOK, `{"rawToken":"`+made+`"}`),
		"a time":      echo(http.StatusOK, `{"id":1,"rawToken":"`+made+`","createdAt":"`+made+`"}`),
		"times":       echo(http.StatusOK, `[{"id":1,"rawToken":"`+made+`","createdAt":"`+made+`"}]`),
	} {
		u, c := jira(serve(t, answer)), atlassian.NewClient()
		as := atlassian.Bearer(mine)
		_, createErr := c.CreatePAT(t.Context(), u, as, "n", 1)
		_, listErr := c.ListPATs(t.Context(), u, as)
		for _, err := range []error{createErr, listErr, c.DeletePAT(t.Context(), u, as, 1)} {
			if err != nil && strings.Contains(err.Error(), "CANARY") {
				t.Errorf("%s: the error quotes a token: %v", name, err)
			}
		}
		if createErr == nil || listErr == nil {
			t.Errorf("%s: it passed for an answer", name)
		}
	}
}

// echo repeats the credential that it received.
func echo(status int, body string) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("X-Echo", r.Header.Get("Authorization"))
		w.WriteHeader(status)
		_, _ = io.WriteString(w, body)
	}
}
