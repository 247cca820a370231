package fakeproduct

import (
	"encoding/json"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"time"
)

const (
	patPath = "/rest/pat/1.0/tokens"
	// patTime is the format of tokens' times, recorded from Jira 10.3. Other
	// sources show "+0000", so a client must read both.
	// https://github.com/carbonscott/slac-jira-search/blob/HEAD/docs/findings.md
	patTime = "2006-01-02T15:04:05.000-07:00"
	// never is the year in which tokens without an expiry expire in the answer
	// to an administrator's search; only the year is known.
	// https://github.com/Mr128Bit/JIRAudit/blob/HEAD/apis/jira_api/JiraAPI.py
	never = "9999-12-31T23:59:59.999+00:00"
	// mostFound is the number of tokens that a search without a limit returns.
	mostFound = 100
)

// patEndpoints are the same in both products, since the same plugin has them:
// https://confluence.atlassian.com/enterprise/using-personal-access-tokens-1026032365.html
func (p *Product) patEndpoints() map[string]endpoint {
	return map[string]endpoint{
		patPath:             {methods: []string{http.MethodGet, http.MethodHead, http.MethodPost}, refuse: restUnauthorized, answer: p.tokens},
		patPath + "/*":      {methods: []string{http.MethodDelete}, refuse: restUnauthorized, answer: p.deleteToken},
		patPath + "/search": {methods: []string{http.MethodPost}, refuse: restUnauthorized, answer: p.searchTokens},
	}
}

// tokens lists the caller's tokens, or creates one.
func (p *Product) tokens(w http.ResponseWriter, r *http.Request, in call) {
	if r.Method == http.MethodPost {
		p.makeToken(w, r, in)
		return
	}
	listed := []any{}
	for _, pat := range p.pats.list(func(t ownedPAT) bool { return t.owner == in.by.Key }) {
		listed = append(listed, described(pat.PAT))
	}
	writeJSON(w, http.StatusOK, listed)
}

// makeToken creates a token for the caller. There is no way to create one for
// another user.
// https://developer.atlassian.com/server/jira/platform/personal-access-token
// The status is 201: https://github.com/matthewrosse/jira-server-mcp
// (tests/JiraServerMcp.JiraIntegration.Tests/Harness/PersonalAccessTokenMinter.cs)
func (p *Product) makeToken(w http.ResponseWriter, r *http.Request, in call) {
	var sent struct {
		Name               string
		ExpirationDuration *int
	}
	if err := json.NewDecoder(r.Body).Decode(&sent); err != nil {
		writeErrors(w, http.StatusBadRequest, "The request body is not a JSON object with name and expirationDuration.")
		return
	}
	if reason := p.patRules.refuse(sent.Name, sent.ExpirationDuration); reason != "" {
		writeErrors(w, http.StatusBadRequest, reason)
		return
	}
	made := ownedPAT{owner: in.by.Key, token: newToken(), PAT: PAT{Name: sent.Name, CreatedAt: p.now().UTC()}}
	if days := sent.ExpirationDuration; days != nil {
		made.ExpiresAt = made.CreatedAt.AddDate(0, 0, *days)
	}
	pat, ok := p.pats.add(made, p.patRules.max)
	if !ok {
		writeErrors(w, http.StatusBadRequest, "You have as many tokens as you may, "+strconv.Itoa(p.patRules.max)+".")
		return
	}
	answer := described(pat)
	answer["rawToken"] = made.token
	writeJSON(w, http.StatusCreated, answer)
}

// described returns a token as its owner sees it. expiringAt is null for a token
// without an expiry, as one client expects. It is assumed that lastAccessedAt is
// missing before the first use.
// https://github.com/benjaminLedel/covey-plugin-pack/blob/HEAD/jira/credential.go
func described(t PAT) map[string]any {
	told := map[string]any{"id": t.ID, "name": t.Name, "createdAt": patDate(t.CreatedAt), "expiringAt": nil}
	if !t.ExpiresAt.IsZero() {
		told["expiringAt"] = patDate(t.ExpiresAt)
	}
	if !t.LastUsedAt.IsZero() {
		told["lastAccessedAt"] = patDate(t.LastUsedAt)
	}
	return told
}

func patDate(t time.Time) string { return t.UTC().Format(patTime) }

// deleteToken deletes a token of the caller, also the one that authenticates the
// request. Another user's token is 404.
func (p *Product) deleteToken(w http.ResponseWriter, _ *http.Request, in call) {
	id := in.last()
	if !p.pats.remove(func(t ownedPAT) bool { return t.owner == in.by.Key && strconv.FormatInt(t.ID, 10) == id }) {
		writeErrors(w, http.StatusNotFound, "There is no token "+id+".")
		return
	}
	w.WriteHeader(http.StatusNoContent)
}

// searchTokens finds the tokens of all users, for administrators. Paths, header
// and fields are those of its one public client. It is assumed that it refuses
// requests without the header, and how it filters.
// https://github.com/Mr128Bit/JIRAudit/blob/HEAD/apis/jira_api/JiraAPI.py
func (p *Product) searchTokens(w http.ResponseWriter, r *http.Request, in call) {
	var sent struct {
		Page, Limit int
		Name        string
		UserKeys    []string
	}
	switch {
	case !slices.Contains([]string{"nocheck", "no-check"}, r.Header.Get("X-Atlassian-Token")):
		// https://support.atlassian.com/atlassian-cloud/kb/xsrf-check-failed-when-calling-cloud-apis
		http.Error(w, "XSRF check failed", http.StatusForbidden)
		return
	case !in.by.Admin:
		writeErrors(w, http.StatusForbidden, "Only administrators may search the tokens of all users.")
		return
	case json.NewDecoder(r.Body).Decode(&sent) != nil || sent.Page < 0 || sent.Limit < 0:
		writeErrors(w, http.StatusBadRequest, "The request body is not a JSON object with page, limit, name and userKeys.")
		return
	}
	found := p.pats.list(func(t ownedPAT) bool {
		return strings.Contains(strings.ToLower(t.Name), strings.ToLower(sent.Name)) &&
			(len(sent.UserKeys) == 0 || slices.Contains(sent.UserKeys, t.owner))
	})
	values := []any{}
	for _, pat := range paged(found, sent.Page, sent.Limit) {
		told := described(pat.PAT)
		if told["expiringAt"] == nil {
			told["expiringAt"] = never
		}
		told["userProfileResource"] = map[string]string{"username": p.accounts.known(pat.owner).Name}
		values = append(values, told)
	}
	writeJSON(w, http.StatusOK, map[string]any{"values": values})
}

// paged returns one page of the tokens found. The first page is 0.
func paged(found []ownedPAT, page, limit int) []ownedPAT {
	if limit == 0 || limit > mostFound {
		limit = mostFound
	}
	page = min(page, len(found)) // every page beyond the last is empty
	return found[min(page*limit, len(found)):min((page+1)*limit, len(found))]
}
