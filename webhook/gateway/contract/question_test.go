package contract_test

import (
	"net/http"
	"net/http/httptest"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"apitokens.dev/operator/internal/audit"
	"apitokens.dev/operator/internal/authn"
	"apitokens.dev/operator/webhook/gateway/contract"
)

// Questions are used again. Nothing of one is in the log of the next one, or in its answer.
func TestNothingIsLeftOfAQuestion(t *testing.T) {
	var observed audit.Exchange
	d := &decider{answer: authn.Decision{
		Verdict: authn.Allow, Reason: authn.ReasonAuthenticated, User: "alice", TokenID: "asp_DquJoZLwlsNJm6gU", Authorization: "Bearer pat", Target: "/rest/api",
	}}
	handler := contract.NewHandler(d, func(x *audit.Exchange) { observed = *x })
	full := httptest.NewRequest(http.MethodGet, authURL, nil)
	for _, name := range []string{"X-Original-Method", "X-Real-Ip", "X-Forwarded-For", "X-Request-Id", "Authorization", "Cookie"} {
		full.Header.Set(name, "192.0.2.1")
	}
	full.Header.Set("X-Original-Url", "https://jira.example/rest/api")
	for path, want := range map[string]audit.Exchange{
		"/":                  {},
		"/another/KEY/a/b":   {},
		"/nginx/KEY/a/b":     {Site: authn.SiteName{Namespace: "a", Name: "b"}},
		"/nginx/KEY/a/b/c":   {Site: authn.SiteName{Namespace: "a", Name: "b"}},
		"/forward/KEY/a/b?c": {Site: authn.SiteName{Namespace: "a", Name: "b"}},
	} {
		for range 100 { // the pool may return another one
			handler.ServeHTTP(httptest.NewRecorder(), full)
			if observed.Claimed.RequestID == "" || observed.Decision.User == "" {
				t.Fatalf("observed %+v", observed)
			}
			bare, w := httptest.NewRequest(http.MethodGet, path, nil), httptest.NewRecorder()
			handler.ServeHTTP(w, bare)
			want.Peer, want.Decision = bare.RemoteAddr, authn.Decision{Verdict: authn.CannotDecide, Reason: contract.ReasonUnknownContract}
			if diff := cmp.Diff(want, observed, cmpopts.EquateComparable(authn.Decision{}), cmpopts.IgnoreTypes(time.Time{}, time.Duration(0))); diff != "" {
				t.Fatalf("%s: %s", path, diff)
			}
			if w.Code != http.StatusServiceUnavailable || len(w.Header()) != 1 {
				t.Fatalf("%s: answered %d with %v", path, w.Code, w.Header())
			}
		}
	}
}
