package rest_test

import (
	"net/http"
	"strings"
	"testing"
	"time"

	tokensv1alpha1 "apitokens.dev/operator/api/v1alpha1"
	"apitokens.dev/operator/hack/lib/portaltest"
)

// A token lists, shows and revokes its owner's tokens, and rotates only itself.
func TestTokenAsCaller(t *testing.T) {
	eachProduct(t, func(t *testing.T, w *portaltest.World) {
		alice := session(t, w, "alice")
		one, text := alice.create(`{"label":"one"}`)
		two, _ := alice.create(`{"label":"two"}`)
		script := alice.withToken("alice", text)
		if err := wantIDs(script, one, two); err != nil {
			t.Error(err)
		}
		if refused := script.expect(http.StatusForbidden, "POST", "/"+two+"/rotate", ""); !refused.says(t, w, "", "may rotate only itself") {
			t.Error(refused.body)
		}
		again := script.expect(http.StatusOK, "POST", "/"+one+"/rotate", `{"overlapHours":0}`).text(t, "token")
		script.expect(http.StatusUnauthorized, "GET", "/", "")
		script = alice.withToken("alice", again)
		script.expect(http.StatusNoContent, "DELETE", "/"+two, "")
		three, child := script.create(`{"label":"three"}`)
		if err := wantIDs(alice.withToken("alice", child), one, three); err != nil {
			t.Error(err)
		}
		script.expect(http.StatusNoContent, "DELETE", "/"+one, "")
		script.expect(http.StatusUnauthorized, "GET", "/", "")
		alice.withToken("alice", child).expect(http.StatusNoContent, "DELETE", "/all", "")
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

// The limits of a token apply to the REST API too.
func TestLimitsApply(t *testing.T) {
	eachProduct(t, func(t *testing.T, w *portaltest.World) {
		alice := session(t, w, "alice")
		for name, tc := range map[string]struct {
			fields, reason string
			reads          bool
		}{
			"reads only":                {`"access":"ReadOnly"`, "ReadOnly", true},
			"from elsewhere":            {`"allowedSources":["198.51.100.0/24"]`, "SourceNotAllowed", false},
			"other paths":               {`"allowedPaths":["/rest/api"]`, "PathNotAllowed", false},
			"paths that begin alike":    {`"allowedPaths":["/rest/api-token","/rest/api-tokens2"]`, "PathNotAllowed", false},
			"reading only, at one path": {`"access":"ReadOnly","allowedPaths":["/rest/api-tokens/latest"]`, "ReadOnly", true},
		} {
			id, text := alice.create(`{"label":"` + name + `",` + tc.fields + `}`)
			script := alice.withToken("alice", text)
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
		here := alice.withToken("alice", text)
		here.expect(http.StatusOK, "GET", "/", "")
		if got := here.expect(http.StatusForbidden, "GET", "/?os_username=bob", "").header.Get("X-Api-Token-Reason"); got != "CredentialParameter" {
			t.Error(got)
		}
		policy(t, w, func(s *tokensv1alpha1.AtlassianSite) { s.Spec.AllowedSources = []string{"198.51.100.0/24"} })
		if refused := eventually(t, here, http.StatusForbidden); refused.header.Get("X-Api-Token-Reason") != "SourceNotAllowed" {
			t.Error(refused.header)
		}
		session(t, w, "alice").expect(http.StatusOK, "GET", "/", "") // a session has no limits
	})
}

// A token cannot create one with more rights than itself, or with a longer lifetime.
func TestNoMoreRights(t *testing.T) {
	eachProduct(t, func(t *testing.T, w *portaltest.World) {
		alice := session(t, w, "alice")
		_, text := alice.create(`{"label":"maker","allowedSources":["192.0.2.0/24","2001:db8::/32"],"allowedPaths":["/rest/api/2/","/rest/api-tokens"]}`)
		maker := alice.withToken("alice", text)
		for name, tc := range map[string]struct {
			fields string
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
			"in other letters":       {`,"allowedPaths":["/rest/API/2"]`, http.StatusForbidden, "allowedPaths"},
			"a path that climbs":     {`,"allowedPaths":["/rest/api/2/../../auth"]`, http.StatusBadRequest, "allowedPaths"},
			"an encoded path":        {`,"allowedPaths":["/rest/api/2/%2e%2e"]`, http.StatusBadRequest, "allowedPaths"},
			"one of the paths wider": {`,"allowedPaths":["/rest/api/2/search","/rest/api"]`, http.StatusForbidden, "allowedPaths"},
		} {
			got := maker.send("POST", "/", `{"label":"child"`+tc.fields+`}`)
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

// A token cannot create one that outlives it, not even by rotation, whether the token or the site sets the expiry.
func TestNoLongerLifetime(t *testing.T) {
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
			for fields, allowed := range tc.allowed {
				got := alice.withToken("alice", text).send("POST", "/", `{"label":"child"`+fields+`}`)
				if (got.status == http.StatusCreated) != allowed || !allowed && got.status != http.StatusForbidden {
					t.Errorf("%s: %d %s, want it allowed: %t", fields, got.status, got.body, allowed)
					continue
				}
				if !allowed || !ends {
					continue
				}
				child := alice.expect(http.StatusOK, "POST", "/"+got.text(t, "id")+"/rotate", "").fields(t)
				if end, _ := child["expiresAt"].(float64); end == 0 || end > most {
					t.Errorf("%s: rotated, it ends at %v, and its maker at %v", fields, child["expiresAt"], most)
				}
				if spec := apiToken(t, w, got.text(t, "id")).Spec; spec.LifetimeDays != nil {
					t.Errorf("%s: its lifetime begins anew with each rotation", fields)
				}
			}
		})
	}
}

func TestCreationByTokensForbidden(t *testing.T) {
	eachProduct(t, func(t *testing.T, w *portaltest.World) {
		alice := session(t, w, "alice")
		id, text := alice.create(`{"label":"maker"}`)
		script := alice.withToken("alice", text)
		if refused := script.expect(http.StatusForbidden, "POST", "/", `{"label":"child"}`); !refused.says(t, w, "", w.URL+"/plugins/servlet/api-tokens") {
			t.Errorf("not said where to go: %s", refused.body)
		}
		script.expect(http.StatusForbidden, "POST", "/"+id+"/rotate", "")
		alice.expect(http.StatusOK, "POST", "/"+id+"/rotate", "")
		alice.with("Authorization", "Bearer "+pat(t, w, "alice")).create(`{"label":"with a personal access token"}`)
	}, func(s *tokensv1alpha1.AtlassianSite) {
		s.Spec.TokenPolicy.CreationByTokens = tokensv1alpha1.CreationByTokensForbidden
	})
}

// On a read-only site tokens cannot manage tokens. Users who are signed in can.
func TestReadOnlySite(t *testing.T) {
	w := env.Jira(t, func(s *tokensv1alpha1.AtlassianSite) { s.Spec.TokenPolicy.Access = tokensv1alpha1.AccessReadOnly })
	alice := session(t, w, "alice")
	id, text := alice.create(`{"label":"maker","access":"ReadWrite"}`)
	script := alice.withToken("alice", text)
	script.expect(http.StatusOK, "GET", "/"+id, "")
	script.expect(http.StatusForbidden, "DELETE", "/"+id, "")
	alice.expect(http.StatusNoContent, "DELETE", "/"+id, "")
}

// One request revokes all tokens of a user, even while somebody creates more with a leaked token.
func TestRevokeAllDuringCreation(t *testing.T) {
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
					a, err := alice.withToken("alice", text).try("POST", "/", `{"label":"loot"}`)
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
			alice.withToken("alice", text).expect(http.StatusUnauthorized, "GET", "/", "")
		}
		if err := wantIDs(alice); err != nil {
			t.Error(err)
		}
	}
}

// A secret that a rotation replaced lists and revokes. It makes nothing: a thief must not outlive the overlap.
func TestReplacedSecret(t *testing.T) {
	eachProduct(t, func(t *testing.T, w *portaltest.World) {
		alice := session(t, w, "alice")
		id, text := alice.create(`{"label":"stolen"}`)
		other, _ := alice.create(`{"label":"other"}`)
		alice.expect(http.StatusOK, "POST", "/"+id+"/rotate", `{"overlapHours":1}`)
		thief := alice.withToken("alice", text)
		for _, request := range [][2]string{{"/", `{"label":"loot"}`}, {"/" + id + "/rotate", `{"overlapHours":0}`}} {
			refused := thief.expect(http.StatusForbidden, "POST", request[0], request[1])
			if refused.header.Get("X-Api-Token-Reason") != "ReplacedSecret" || !refused.says(t, w, "", "Send the newest secret") {
				t.Errorf("%v %s", refused.header, refused.body)
			}
		}
		if err := wantIDs(thief, id, other); err != nil {
			t.Error(err)
		}
		thief.expect(http.StatusNoContent, "DELETE", "/"+other, "")
		thief.expect(http.StatusNoContent, "DELETE", "/all", "")
	})
}

// A token rotates itself where the site allows that, and never past its end.
func TestRotationByTokens(t *testing.T) {
	allowed, forbidden := tokensv1alpha1.RotationByTokensAllowed, tokensv1alpha1.RotationByTokensForbidden
	for name, tc := range map[string]struct {
		creation tokensv1alpha1.CreationByTokens
		rotation tokensv1alpha1.RotationByTokens
		fields   string
		status   int
		reason   string
	}{
		"by default":                             {"", "", ``, http.StatusOK, ""},
		"as creation":                            {tokensv1alpha1.CreationByTokensForbidden, "", ``, http.StatusForbidden, ""},
		"allowed beside forbidden creation":      {tokensv1alpha1.CreationByTokensForbidden, allowed, ``, http.StatusOK, ""},
		"forbidden beside allowed creation":      {tokensv1alpha1.CreationByTokensAllowed, forbidden, ``, http.StatusForbidden, ""},
		"with a lifetime in days":                {"", allowed, `,"lifetimeDays":10`, http.StatusConflict, "RotationPastEnd"},
		"with a fixed end":                       {"", allowed, `,"expiresAt":` + millis(time.Now().Add(time.Hour)), http.StatusOK, ""},
		"with a lifetime, where it is forbidden": {"", forbidden, `,"lifetimeDays":10`, http.StatusForbidden, ""},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			w := env.Jira(t, func(s *tokensv1alpha1.AtlassianSite) {
				s.Spec.TokenPolicy.CreationByTokens, s.Spec.TokenPolicy.RotationByTokens = tc.creation, tc.rotation
			})
			alice := session(t, w, "alice")
			id, text := alice.create(`{"label":"self"` + tc.fields + `}`)
			got := alice.withToken("alice", text).send("POST", "/"+id+"/rotate", "")
			if got.status != tc.status || got.header.Get("X-Api-Token-Reason") != tc.reason {
				t.Errorf("%d %v %s, want %d %s", got.status, got.header, got.body, tc.status, tc.reason)
			}
			alice.expect(http.StatusOK, "POST", "/"+id+"/rotate", "") // a session may
		})
	}
}

// A new token says with which one it was created. Revoking it alone leaves what was created with it. All levels end if that is asked
// for, if its secret is presented, or if an administrator revokes it.
func TestDescendants(t *testing.T) {
	for name, tc := range map[string]struct {
		revoke func(w *portaltest.World, alice, carol client, id, text string)
		all    bool
	}{
		"alone": {func(_ *portaltest.World, alice, _ client, id, _ string) {
			alice.expect(http.StatusNoContent, "DELETE", "/"+id, "")
		}, false},
		"said so": {func(_ *portaltest.World, alice, _ client, id, _ string) {
			alice.expect(http.StatusNoContent, "DELETE", "/"+id+"?descendants=false", "")
		}, false},
		"with them": {func(_ *portaltest.World, alice, _ client, id, _ string) {
			alice.expect(http.StatusNoContent, "DELETE", "/"+id+"?descendants=true", "")
		}, true},
		"presenting": {func(w *portaltest.World, alice, _ client, _, text string) {
			client{World: w, t: alice.t}.expect(http.StatusAccepted, "POST", "/revoke", `{"token":"`+text+`"}`)
		}, true},
		"an administrator": {func(_ *portaltest.World, _, carol client, id, _ string) {
			carol.expect(http.StatusNoContent, "DELETE", "/admin/"+id, "")
		}, true},
		"with them, after it was revoked alone": {func(_ *portaltest.World, alice, _ client, id, _ string) {
			alice.expect(http.StatusNoContent, "DELETE", "/"+id, "")
			alice.expect(http.StatusNoContent, "DELETE", "/"+id+"?descendants=true", "")
			alice.expect(http.StatusNotFound, "DELETE", "/"+id+"?descendants=true", "")
		}, true},
		"presenting, after it was revoked alone": {func(w *portaltest.World, alice, _ client, id, text string) {
			alice.withToken("alice", text).expect(http.StatusNoContent, "DELETE", "/"+id, "")
			client{World: w, t: alice.t}.expect(http.StatusAccepted, "POST", "/revoke", `{"token":"`+text+`"}`)
		}, true},
		"an administrator, after it was revoked alone": {func(_ *portaltest.World, alice, carol client, id, _ string) {
			alice.expect(http.StatusNoContent, "DELETE", "/"+id, "")
			alice.expect(http.StatusNotFound, "DELETE", "/"+id, "")
			carol.expect(http.StatusNoContent, "DELETE", "/admin/"+id, "")
			carol.expect(http.StatusNotFound, "DELETE", "/admin/"+id, "")
		}, true},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			w := env.Jira(t)
			alice := session(t, w, "alice")
			one, text := alice.create(`{"label":"1"}`)
			two, child := alice.withToken("alice", text).create(`{"label":"2"}`)
			three, grandchild := alice.withToken("alice", child).create(`{"label":"3"}`)
			other, _ := alice.create(`{"label":"other"}`)
			for id, parent := range map[string]string{two: one, three: two} {
				if by := alice.expect(http.StatusOK, "GET", "/"+id, "").text(t, "createdBy"); by != parent {
					t.Errorf("%s was created with %q, want %q", id, by, parent)
				}
				if spec := apiToken(t, w, id).Spec; spec.CreatedBy.UID != string(apiToken(t, w, parent).UID) || spec.CreatedBy.Namespace != w.Site.Namespace {
					t.Errorf("%+v", spec.CreatedBy)
				}
			}
			alice.expect(http.StatusBadRequest, "DELETE", "/"+one+"?descendants=yes", "")
			tc.revoke(w, alice, session(t, w, "carol"), one, text)
			want := []string{two, three, other}
			if tc.all {
				want = []string{other}
			}
			if err := wantIDs(alice, want...); err != nil {
				t.Error(err)
			}
			status := http.StatusOK
			if tc.all {
				status = http.StatusUnauthorized
			}
			alice.withToken("alice", grandchild).expect(status, "GET", "/", "")
		})
	}
}

// A thief may delete some of the children of a stolen token: the rest of the line ends with it all the same.
func TestDescendantsBehindAGap(t *testing.T) {
	w := env.Jira(t)
	alice := session(t, w, "alice")
	one, text := alice.create(`{"label":"stolen"}`)
	two, child := alice.withToken("alice", text).create(`{"label":"2"}`)
	three, grandchild := alice.withToken("alice", child).create(`{"label":"3"}`)
	four, last := alice.withToken("alice", grandchild).create(`{"label":"4"}`)
	thief := alice.withToken("alice", last)
	for _, middle := range []string{two, three} {
		thief.expect(http.StatusNoContent, "DELETE", "/"+middle, "")
	}
	if err := wantIDs(alice, one, four); err != nil {
		t.Error(err)
	}
	alice.expect(http.StatusNoContent, "DELETE", "/"+one+"?descendants=true", "")
	if err := wantIDs(alice); err != nil {
		t.Error(err)
	}
	thief.expect(http.StatusUnauthorized, "GET", "/", "")
}

// A line of tokens ends, because each of its records has all ancestors.
func TestLinesEnd(t *testing.T) {
	w := env.Jira(t)
	alice := session(t, w, "alice")
	_, text := alice.create(`{"label":"first"}`)
	for range 32 {
		_, text = alice.withToken("alice", text).create(`{"label":"next"}`)
	}
	if refused := alice.withToken("alice", text).expect(http.StatusConflict, "POST", "/", `{"label":"too far"}`); !refused.says(t, w, "", "in a line of 33") {
		t.Error(refused.body)
	}
}
