package rest_test

import (
	"net/http"
	"strings"
	"testing"
	"time"

	tokensv1alpha1 "apitokens.dev/operator/api/v1alpha1"
	"apitokens.dev/operator/hack/lib/portaltest"
)

// A token lists, shows and revokes its owner's tokens, and rotates itself and no other one.
func TestTokenAsCaller(t *testing.T) {
	eachProduct(t, func(t *testing.T, w *portaltest.World) {
		alice := session(t, w, "alice")
		one, text := alice.create(`{"label":"one"}`)
		two, _ := alice.create(`{"label":"two"}`)
		script := alice.bearer("alice", text)
		if err := wantIDs(script, one, two); err != nil {
			t.Error(err)
		}
		if refused := script.expect(http.StatusForbidden, "POST", "/"+two+"/rotate", ""); !refused.says(t, w, "", "may rotate itself") {
			t.Error(refused.body)
		}
		again := script.expect(http.StatusOK, "POST", "/"+one+"/rotate", `{"overlapHours":0}`).text(t, "token")
		script.expect(http.StatusUnauthorized, "GET", "/", "")
		script = alice.bearer("alice", again)
		script.expect(http.StatusNoContent, "DELETE", "/"+two, "")
		three, child := script.create(`{"label":"three"}`)
		if err := wantIDs(alice.bearer("alice", child), one, three); err != nil {
			t.Error(err)
		}
		script.expect(http.StatusNoContent, "DELETE", "/"+one, "")
		script.expect(http.StatusUnauthorized, "GET", "/", "")
		alice.bearer("alice", child).expect(http.StatusNoContent, "DELETE", "/all", "")
		if err := wantIDs(alice); err != nil {
			t.Error(err)
		}
		for _, line := range []string{`"action":"rotated"`, `"with":"` + one + `"`, `alice has created API Token (` + three + `)`} {
			if !strings.Contains(env.Audit(), line) {
				t.Errorf("not told: %s", line)
			}
		}
	})
}

// What a token may do and from where holds here as everywhere.
func TestLimitsHoldHere(t *testing.T) {
	eachProduct(t, func(t *testing.T, w *portaltest.World) {
		alice := session(t, w, "alice")
		for name, tc := range map[string]struct {
			wish, reason string
			reads        bool
		}{
			"reads only":                {`"access":"ReadOnly"`, "ReadOnly", true},
			"from elsewhere":            {`"allowedSources":["198.51.100.0/24"]`, "SourceNotAllowed", false},
			"other paths":               {`"allowedPaths":["/rest/api"]`, "PathNotAllowed", false},
			"paths that begin alike":    {`"allowedPaths":["/rest/api-token","/rest/api-tokens2"]`, "PathNotAllowed", false},
			"reading only, at one path": {`"access":"ReadOnly","allowedPaths":["/rest/api-tokens/latest"]`, "ReadOnly", true},
		} {
			id, text := alice.create(`{"label":"` + name + `",` + tc.wish + `}`)
			script := alice.bearer("alice", text)
			read := http.StatusForbidden
			if tc.reads {
				read = http.StatusOK
			}
			script.expect(read, "GET", "/", "")
			script.expect(read, "HEAD", "/"+id, "")
			for _, request := range [][3]string{
				{"POST", "/", `{"label":"child"}`}, {"POST", "/" + id + "/rotate", ""}, {"DELETE", "/" + id, ""}, {"DELETE", "/all", ""},
			} {
				refused := script.expect(http.StatusForbidden, request[0], request[1], request[2])
				if got := refused.header.Get("X-Api-Token-Reason"); got != tc.reason {
					t.Errorf("%s, %s %s: %q, want %q", name, request[0], request[1], got, tc.reason)
				}
			}
		}
		_, text := alice.create(`{"label":"here","allowedSources":["192.0.2.7/32"],"allowedPaths":["/rest/api-tokens"]}`)
		here := alice.bearer("alice", text)
		here.expect(http.StatusOK, "GET", "/", "")
		if got := here.expect(http.StatusForbidden, "GET", "/?os_username=bob", "").header.Get("X-Api-Token-Reason"); got != "CredentialParameter" {
			t.Error(got)
		}
		policy(t, w, func(s *tokensv1alpha1.AtlassianSite) { s.Spec.AllowedSources = []string{"198.51.100.0/24"} })
		if refused := eventually(t, here, http.StatusForbidden); refused.header.Get("X-Api-Token-Reason") != "SourceNotAllowed" {
			t.Error(refused.header)
		}
		session(t, w, "alice").expect(http.StatusOK, "GET", "/", "") // who is signed in is no token
	})
}

// A token never makes one that may more than itself, or longer.
func TestNeverWider(t *testing.T) {
	eachProduct(t, func(t *testing.T, w *portaltest.World) {
		alice := session(t, w, "alice")
		_, text := alice.create(`{"label":"maker","allowedSources":["192.0.2.0/24","2001:db8::/32"],"allowedPaths":["/rest/api/2/","/rest/api-tokens"]}`)
		maker := alice.bearer("alice", text)
		for name, tc := range map[string]struct {
			wish   string
			status int
			field  string
		}{
			"what it leaves open":    {``, http.StatusCreated, ""},
			"the same":               {`,"allowedSources":["2001:db8::/32","192.0.2.0/24"],"allowedPaths":["/rest/api/2","/rest/api-tokens/"]`, http.StatusCreated, ""},
			"within":                 {`,"allowedSources":["192.0.2.128/25","2001:db8:1::/48"],"allowedPaths":["/rest/api/2/search"]`, http.StatusCreated, ""},
			"null":                   {`,"allowedSources":null,"allowedPaths":null`, http.StatusCreated, ""},
			"empty sources":          {`,"allowedSources":[]`, http.StatusBadRequest, "allowedSources"},
			"empty paths":            {`,"allowedPaths":[]`, http.StatusBadRequest, "allowedPaths"},
			"everywhere":             {`,"allowedSources":["0.0.0.0/0"]`, http.StatusForbidden, "allowedSources"},
			"one bit wider":          {`,"allowedSources":["192.0.2.0/23"]`, http.StatusForbidden, "allowedSources"},
			"one of them elsewhere":  {`,"allowedSources":["192.0.2.0/25","198.51.100.0/24"]`, http.StatusForbidden, "allowedSources"},
			"the same in IPv6":       {`,"allowedSources":["::ffff:192.0.2.0/120"]`, http.StatusForbidden, "allowedSources"},
			"all paths":              {`,"allowedPaths":["/rest"]`, http.StatusForbidden, "allowedPaths"},
			"a path that begins so":  {`,"allowedPaths":["/rest/api/22"]`, http.StatusForbidden, "allowedPaths"},
			"in other letters":       {`,"allowedPaths":["/REST/api/2"]`, http.StatusForbidden, "allowedPaths"},
			"a path that climbs":     {`,"allowedPaths":["/rest/api/2/../../auth"]`, http.StatusBadRequest, "allowedPaths"},
			"an encoded path":        {`,"allowedPaths":["/rest/api/2/%2e%2e"]`, http.StatusBadRequest, "allowedPaths"},
			"one of the paths wider": {`,"allowedPaths":["/rest/api/2/search","/rest/api"]`, http.StatusForbidden, "allowedPaths"},
		} {
			got := maker.send("POST", "/", `{"label":"child"`+tc.wish+`}`)
			if got.status != tc.status || tc.field != "" && !got.says(t, w, tc.field, "") {
				t.Errorf("%s: %d %s, want %d", name, got.status, got.body, tc.status)
				continue
			}
			if got.status != http.StatusCreated {
				continue
			}
			spec := apiToken(t, w, got.text(t, "id")).Spec
			if len(spec.AllowedSources) == 0 || len(spec.AllowedPaths) == 0 {
				t.Errorf("%s: limits are lost: %v %v", name, spec.AllowedSources, spec.AllowedPaths)
			}
		}
	})
}

// However its end is said, by the token or by the site, a token makes none that outlives it, not even by being rotated.
func TestNeverLonger(t *testing.T) {
	days := func(n int) string { return millis(time.Now().Add(time.Duration(n) * 24 * time.Hour)) }
	for name, tc := range map[string]struct {
		site    tokensv1alpha1.TokenPolicy
		maker   string
		allowed map[string]bool
	}{
		"days": {maker: `,"lifetimeDays":10`, allowed: map[string]bool{
			``: true, `,"lifetimeDays":10`: false, `,"lifetimeDays":9`: true, `,"lifetimeDays":3650`: false, `,"expiresAt":` + days(9): true, `,"expiresAt":` + days(11): false,
		}},
		"a fixed end": {maker: `,"expiresAt":` + days(10), allowed: map[string]bool{
			``: true, `,"lifetimeDays":9`: true, `,"lifetimeDays":11`: false, `,"expiresAt":` + days(9): true, `,"expiresAt":` + days(11): false,
		}},
		"the default of the site": {site: tokensv1alpha1.TokenPolicy{DefaultLifetimeDays: new(int32(10))}, allowed: map[string]bool{
			``: true, `,"lifetimeDays":9`: true, `,"lifetimeDays":11`: false, `,"expiresAt":` + days(11): false,
		}},
		"the maximum of the site": {site: tokensv1alpha1.TokenPolicy{MaxLifetimeDays: new(int32(10))}, maker: `,"lifetimeDays":5`, allowed: map[string]bool{
			``: true, `,"lifetimeDays":4`: true, `,"lifetimeDays":6`: false, `,"expiresAt":` + days(9): false,
		}},
		"no end": {allowed: map[string]bool{``: true, `,"lifetimeDays":3650`: true, `,"expiresAt":` + days(4000): true}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			w := env.Jira(t, func(s *tokensv1alpha1.AtlassianSite) { s.Spec.TokenPolicy = tc.site })
			alice := session(t, w, "alice")
			made := alice.expect(http.StatusCreated, "POST", "/", `{"label":"maker"`+tc.maker+`}`).fields(t)
			text, _ := made["token"].(string)
			most, ends := made["expiresAt"].(float64)
			for wish, allowed := range tc.allowed {
				got := alice.bearer("alice", text).send("POST", "/", `{"label":"child"`+wish+`}`)
				if (got.status == http.StatusCreated) != allowed || !allowed && got.status != http.StatusForbidden {
					t.Errorf("%s: %d %s, want it allowed: %t", wish, got.status, got.body, allowed)
					continue
				}
				if !allowed || !ends {
					continue
				}
				child := alice.expect(http.StatusOK, "POST", "/"+got.text(t, "id")+"/rotate", "").fields(t)
				if end, _ := child["expiresAt"].(float64); end == 0 || end > most {
					t.Errorf("%s: rotated, it ends at %v, and its maker at %v", wish, child["expiresAt"], most)
				}
				if spec := apiToken(t, w, got.text(t, "id")).Spec; spec.LifetimeDays != nil {
					t.Errorf("%s: its lifetime begins anew with each rotation", wish)
				}
			}
		})
	}
}

func TestCreationByTokensForbidden(t *testing.T) {
	eachProduct(t, func(t *testing.T, w *portaltest.World) {
		alice := session(t, w, "alice")
		id, text := alice.create(`{"label":"maker"}`)
		script := alice.bearer("alice", text)
		if refused := script.expect(http.StatusForbidden, "POST", "/", `{"label":"child"}`); !refused.says(t, w, "", w.URL+"/plugins/servlet/api-tokens") {
			t.Errorf("not said where to go: %s", refused.body)
		}
		script.expect(http.StatusOK, "POST", "/"+id+"/rotate", "")
		alice.with("Authorization", "Bearer "+pat(t, w, "alice")).create(`{"label":"with a personal access token"}`)
	}, func(s *tokensv1alpha1.AtlassianSite) {
		s.Spec.TokenPolicy.CreationByTokens = tokensv1alpha1.CreationByTokensForbidden
	})
}

// Where the site makes every token read-only, none manages tokens. Who is signed in does.
func TestReadOnlySite(t *testing.T) {
	w := env.Jira(t, func(s *tokensv1alpha1.AtlassianSite) { s.Spec.TokenPolicy.Access = tokensv1alpha1.AccessReadOnly })
	alice := session(t, w, "alice")
	id, text := alice.create(`{"label":"maker","access":"ReadWrite"}`)
	script := alice.bearer("alice", text)
	script.expect(http.StatusOK, "GET", "/"+id, "")
	script.expect(http.StatusForbidden, "DELETE", "/"+id, "")
	alice.expect(http.StatusNoContent, "DELETE", "/"+id, "")
}

// Whoever found a token and makes others with it as fast as he can is rid of all of them by one request, and keeps none.
func TestRevokeAllAgainstSomebodyWhoGoesOnCreating(t *testing.T) {
	w := env.Jira(t)
	alice := session(t, w, "alice")
	for round := range 5 {
		_, leaked := alice.create(`{"label":"leaked"}`)
		loot, done := make(chan string, 1000), make(chan struct{})
		started := make(chan struct{}, 100)
		for range 4 {
			go func() {
				defer func() { done <- struct{}{} }()
				text := leaked
				for range 100 {
					a, err := alice.bearer("alice", text).try("POST", "/", `{"label":"loot"}`)
					if err != nil || a.status != http.StatusCreated {
						return
					}
					text, _ = fieldsOf(a)["token"].(string)
					loot <- text
					select {
					case started <- struct{}{}:
					default:
					}
				}
			}()
		}
		for range 4 + round {
			<-started
		}
		alice.expect(http.StatusNoContent, "DELETE", "/all", "")
		for range 4 {
			<-done
		}
		close(loot)
		for text := range loot {
			alice.bearer("alice", text).expect(http.StatusUnauthorized, "GET", "/", "")
		}
		if err := wantIDs(alice); err != nil {
			t.Error(err)
		}
	}
}
