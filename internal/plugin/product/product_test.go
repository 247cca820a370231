package product_test

import (
	"encoding/base64"
	"encoding/json"
	"maps"
	"net/http"
	"net/http/httptest"
	"os"
	"regexp"
	"slices"
	"strings"
	"testing"

	"apitokens.dev/operator/internal/atlassian"
	"apitokens.dev/operator/internal/plugin/product"
)

// The fake products do all that this project assumes about the real ones, in every version.
func TestFakesConfirmEveryAssumption(t *testing.T) {
	confirmed := map[string]bool{}
	for _, s := range settings {
		t.Run(s.String(), func(t *testing.T) {
			w := newWorld(t, s)
			r := w.run(t)
			for _, result := range r.Results {
				switch result.Outcome {
				case product.Refuted:
					t.Errorf("%s: %s: %+v", result.ID, result.Detail, result.Traffic)
				case product.Confirmed:
					confirmed[result.ID] = true
					if len(result.Traffic) == 0 && result.ID != "basic-default" {
						t.Errorf("%s is confirmed without a request", result.ID)
					}
				}
			}
			if r.Product != s.product || r.Version != s.version || r.Note != "" || len(r.Left) > 0 {
				t.Errorf("%s %s, %s, left %v", r.Product, r.Version, r.Note, r.Left)
			}
			if pats := w.PersonalAccessTokens(user); len(pats) != 2 {
				t.Errorf("the user has tokens of the run: %v", pats)
			}
		})
	}
	for _, id := range ids(t) {
		if !confirmed[id] {
			t.Errorf("no fake product confirms %s", id)
		}
	}
}

// ids are those of all checks.
func ids(t *testing.T) (ids []string) {
	t.Helper()
	for _, s := range settings {
		for _, result := range newWorld(t, s).run(t).Results {
			ids = append(ids, result.ID)
		}
	}
	slices.Sort(ids)
	return slices.Compact(ids)
}

// A product that breaks one assumption fails there, and nowhere else.
func TestEachAssumptionIsNoticed(t *testing.T) {
	every := ids(t)
	if found := slices.Sorted(maps.Keys(broken())); !slices.Equal(found, every) {
		t.Fatalf("broken are %v, checks are %v", found, every)
	}
	tried := map[string]bool{}
	for _, s := range settings {
		whole := outcomes(newWorld(t, s).run(t), product.Confirmed)
		for _, id := range whole {
			key := id + string(s.product)
			if tried[key] {
				continue
			}
			tried[key] = true
			t.Run(s.String()+"/"+id, func(t *testing.T) {
				w := newWorld(t, s)
				w.breaks = broken()[id]
				r := w.run(t)
				if refuted := outcomes(r, product.Refuted); !slices.Equal(refuted, []string{id}) {
					t.Errorf("refuted are %v", refuted)
					for _, result := range r.Results {
						if result.Outcome == product.Refuted && result.ID != id {
							t.Errorf("%s: %s", result.ID, result.Detail)
						}
					}
				}
			})
		}
	}
}

// The report names neither secrets nor the user nor the product, in any form, also where the product breaks what is assumed.
func TestReportIsFitToPublish(t *testing.T) {
	for _, s := range settings {
		for name, b := range map[string]breaker{"whole": nil, "single sign-on": singleSignOn, "secrets come back": echo, "no JSON": text(`\}`, "")} {
			t.Run(s.String()+"/"+name, func(t *testing.T) {
				w := newWorld(t, s)
				w.breaks, w.host = b, "jira.secret-corp.net:8444"
				w.given.Add("ticket of single sign-on", singleSignOnTicket)
				if name == "no JSON" {
					w.breaks = during("pat-list", b)
				}
				r := w.run(t)
				var written strings.Builder
				if err := r.Write(&written); err != nil {
					t.Fatal(err)
				}
				encoded, err := json.Marshal(r)
				if err != nil {
					t.Fatal(err)
				}
				basic := base64.StdEncoding.EncodeToString([]byte(user + ":" + password))
				for _, text := range []string{written.String(), string(encoded)} {
					if found := w.given.Find([]byte(text)); len(found) > 0 {
						t.Errorf("the report has %v", found)
					}
					for _, name := range []string{user, basic, "The Doctor", "JIRAUSER10042", "intranet", "8443", "secret-corp", "8444", "10.11.12.13"} {
						if strings.Contains(text, name) {
							t.Errorf("the report has %q", name)
						}
					}
				}
				if whole := name == "whole"; whole && written.Len() > 60_000 {
					t.Errorf("the report has %d bytes: an issue takes 65,536", written.Len())
				}
				if !strings.Contains(written.String(), "> GET "+s.context+"/rest/api/") || strings.Count(written.String(), "```")%2 != 0 {
					t.Errorf("the report lacks its requests: %s", written.String())
				}
			})
		}
	}
}

// What a run may not do is not tried, and says why; it makes and changes nothing else.
func TestRunsWithLess(t *testing.T) {
	for _, s := range settings {
		w := newWorld(t, s)
		r := w.run(t, func(o *product.Options) {
			o.Password, o.AdminPAT, o.ExpiredPAT, o.Place, o.Hand = "", "", "", "", nil
		})
		if refuted := outcomes(r, product.Refuted); len(refuted) > 0 {
			t.Errorf("%s: refuted are %v", s, refuted)
		}
		for id, want := range map[string]string{
			"session-first": "--password-file", "search": "--admin-pat-file", "pat-expired": "--expired-pat-file", "renamed": "--by-hand", "deactivated": "--by-hand",
			strings.ToLower(string(s.product)) + map[atlassian.Product]string{atlassian.Jira: "-issue", atlassian.Confluence: "-content"}[s.product]: "--in",
		} {
			i := slices.IndexFunc(r.Results, func(r product.Result) bool { return r.ID == id })
			if r.Results[i].Outcome != product.NotTried || !strings.Contains(r.Results[i].Detail, want) {
				t.Errorf("%s: %s is %s: %s", s, id, r.Results[i].Outcome, r.Results[i].Detail)
			}
		}
		only := newWorld(t, s)
		r = only.run(t, func(o *product.Options) { o.PAT = "" })
		if pats := only.PersonalAccessTokens(user); len(outcomes(r, product.Refuted)) > 0 || len(r.Left) > 0 || len(pats) != 2 {
			t.Errorf("%s, without a PAT: refuted are %v, left behind %v, the user has %v", s, outcomes(r, product.Refuted), r.Left, pats)
		}
	}
}

// Newer versions sign in by a resource in place of the form: sessions are tried all the same, and the form is told to be another.
func TestNewerLoginPage(t *testing.T) {
	for _, s := range settings {
		w := newWorld(t, s)
		w.breaks = newerLogin
		r := w.run(t)
		refuted := outcomes(r, product.Refuted)
		if want := []string{"parameters-sign-in", "parameters-first", "login-form", "login-by-form"}; !slices.Equal(refuted, want) {
			t.Errorf("%s: refuted are %v", s, refuted)
		}
		if !slices.Contains(outcomes(r, product.Confirmed), "session-first") || len(r.Left) > 0 {
			t.Errorf("%s: no session, or left behind: %v", s, r.Left)
		}
	}
}

// A run that cannot begin says why, and leaves nothing.
func TestRunCannotBegin(t *testing.T) {
	for name, tc := range map[string]struct {
		mod  func(*product.Options)
		want string
	}{
		"no context path":             {func(o *product.Options) { o.URL = "https://product.intranet.corp" }, "with its context path"},
		"a wrong PAT":                 {func(o *product.Options) { o.PAT, o.Password = adminPAT+"x", "" }, "give --pat-file"},
		"another user":                {func(o *product.Options) { o.PAT, o.Password = adminPAT, "" }, "do the credentials work"},
		"no address":                  {func(o *product.Options) { o.URL = "product.intranet.corp/jira" }, "such as https://"},
		"a credential in the address": {func(o *product.Options) { o.URL = "https://a:b@product.intranet.corp/jira" }, "and nothing else"},
	} {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t, settings[0])
			o := w.options()
			tc.mod(&o)
			_, err := product.Run(t.Context(), o)
			if err == nil || !strings.Contains(err.Error(), tc.want) || len(w.given.Find([]byte(err.Error()))) > 0 {
				t.Errorf("%v", err)
			}
		})
	}
	w := newWorld(t, settings[0])
	w.breaks = during("start", on("POST", status(400)))
	if _, err := product.Run(t.Context(), w.options()); err == nil || !strings.Contains(err.Error(), "fewer than ten") {
		t.Errorf("no token can be made: %v", err)
	}
}

// A limit on requests, or a product that is away for a while, refutes nothing.
func TestNoAnswerRefutesNothing(t *testing.T) {
	for _, code := range []int{http.StatusTooManyRequests, http.StatusBadGateway, http.StatusServiceUnavailable, http.StatusGatewayTimeout} {
		w := newWorld(t, settings[0])
		w.breaks = func(w *world, answer *httptest.ResponseRecorder, r *http.Request) bool {
			return !strings.Contains(r.UserAgent(), "(start)") && !strings.Contains(r.UserAgent(), "(undo)") && status(code)(w, answer, r)
		}
		r := w.run(t)
		if refuted := outcomes(r, product.Refuted); len(refuted) > 0 || r.Count(product.Confirmed) > 1 || len(r.Left) > 0 {
			t.Errorf("%d: refuted are %v, confirmed %v, left %v", code, refuted, outcomes(r, product.Confirmed), r.Left)
		}
	}
}

// What cannot be deleted is named.
func TestLeftBehind(t *testing.T) {
	w := newWorld(t, settings[0])
	w.breaks = on("DELETE", status(403))
	r := w.run(t)
	if len(r.Left) == 0 || !strings.Contains(r.Left[0], "personal access token") && !strings.Contains(r.Left[0], "issue") {
		t.Errorf("left behind is %v", r.Left)
	}
	w = newWorld(t, settings[0])
	r = w.run(t, func(o *product.Options) {
		o.Hand = func(s product.Step) bool { return s != product.Activate && w.hand(s) }
	})
	if !slices.ContainsFunc(r.Left, func(s string) bool { return strings.Contains(s, "deactivated") }) {
		t.Errorf("left behind is %v", r.Left)
	}
}

// Every behaviour of the page about the fake products names the check that tries it, and every check is named.
func TestPageNamesTheChecks(t *testing.T) {
	text, err := os.ReadFile("../../../docs/explanation/fake-products.md")
	if err != nil {
		t.Fatal(err)
	}
	every, named := ids(t), map[string]bool{}
	checked := regexp.MustCompile(`(?s)\*Checked by:\*(.*?)(\.\s|$)`)
	quoted := regexp.MustCompile("`([a-z-]+)`")
	for _, item := range strings.Split(string(text), "\n- ")[1:] {
		item, _, _ = strings.Cut(item, "\n\n")
		if !strings.Contains(item, "*From:*") || strings.Contains(item, "**the fake's own**") {
			continue
		}
		by := checked.FindStringSubmatch(item)
		if by == nil {
			t.Errorf("no check tries: %s", item)
			continue
		}
		for _, id := range quoted.FindAllStringSubmatch(by[1], -1) {
			named[id[1]] = true
			if !slices.Contains(every, id[1]) {
				t.Errorf("there is no check %s", id[1])
			}
		}
	}
	for _, id := range every {
		if !named[id] {
			t.Errorf("the page does not name %s", id)
		}
	}
}
