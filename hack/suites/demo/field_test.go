package main

import (
	"bytes"
	"context"
	"crypto/rand"
	"mime/multipart"
	"net/http"
	"os/exec"
	"strings"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"

	"apitokens.dev/operator/hack/lib/rig"
)

// These problems were reported by users of comparable software. A real nginx is in front.
func TestFieldCases(t *testing.T) {
	s := begin(t)
	t.Run("01 upload of 2 MiB", s.uploadForm)
	t.Run("07 X-Forwarded-For with a port", s.forwardedWithPort)
	t.Run("10 asp_ in a query", s.prefixInQuery)
	t.Run("11 names of attachments", s.attachmentNames)
	t.Run("19 clients that wait for a challenge", s.challengeClients)
	t.Run("resource rewriting", s.resourceRewriting)
}

// uploadForm uploads a file as curl's -F does.
func (s *story) uploadForm(t *testing.T) {
	file := make([]byte, 2<<20)
	_, _ = rand.Read(file) // never fails
	for who, as := range s.callers() {
		var body bytes.Buffer
		form := multipart.NewWriter(&body)
		part, err := form.CreateFormFile("file", "f2m")
		if err == nil {
			_, err = part.Write(file)
		}
		if err != nil || form.Close() != nil {
			t.Fatal(err)
		}
		r := newRequest(t, http.MethodPost, s.URL+echo, &body)
		r.Header.Set("Content-Type", form.FormDataContentType())
		r.Header.Set("X-Atlassian-Token", "no-check")
		as(r)
		if response, answer := do(t, r); response.StatusCode != http.StatusOK || !strings.Contains(answer, `"user":"alice"`) {
			t.Errorf("with %s: %d %.300s", who, response.StatusCode, answer)
		}
	}
}

const officeOnly = `{apiVersion: apitokens.dev/v1alpha1, kind: APIToken, metadata: {name: office-only, namespace: jira}, spec: {
  siteRef: {name: main}, user: alice, label: from the office, allowedSources: ["203.0.113.0/24", "2001:db8::/32"],
  delivery: {secretName: office-only-token}}}`

// forwardedWithPort has a proxy before nginx that writes address:port, as Azure Application Gateway does.
func (s *story) forwardedWithPort(t *testing.T) {
	s.patchSpec(t, "admin", "atlassiansite/main", fields{"trustedHops": 1})
	defer s.patchSpec(t, "admin", "atlassiansite/main", fields{"trustedHops": nil})
	s.kubectlOrFail(t, "alice", officeOnly, "apply", "-f", "-")
	if err := s.awaitCondition(t.Context(), "apitoken/office-only", "Ready"); err != nil {
		t.Fatal(err)
	}
	var delivered corev1.Secret
	if err := s.get(t.Context(), &delivered, rig.Namespace, "office-only-token"); err != nil {
		t.Fatal(err)
	}
	var all []expect
	for _, tc := range []struct{ forwarded, want string }{
		{"203.0.113.9", "200"}, {"203.0.113.9:51234", "200"}, {"[2001:db8::7]:51234", "200"}, {"[2001:db8::7]", "200"}, {"2001:db8::7", "200"},
		{"198.51.100.9", "403 SourceNotAllowed"}, {"198.51.100.9:51234", "403 SourceNotAllowed"}, {"[2001:db9::7]:51234", "403 SourceNotAllowed"},
		{"203.0.113.9:", "403 SourceNotAllowed"}, {"203.0.113.9:http", "403 SourceNotAllowed"}, {"[203.0.113.9", "403 SourceNotAllowed"},
		{"[2001:db8::7%eth0]:51234", "403 SourceNotAllowed"}, {"unknown", "403 SourceNotAllowed"},
	} {
		all = append(all, expect{
			ask: ask{path: "/rest/api/2/myself", password: string(delivered.Data["password"]), header: forwarded(tc.forwarded)}, want: tc.want,
		})
	}
	s.await(t, all...)
}

// prefixInQuery types asp_ into search fields: only what has the shape of a token is one.
func (s *story) prefixInQuery(t *testing.T) {
	callers := s.callers()
	callers["a user name like a token"] = func(r *http.Request) { r.SetBasicAuth("asp_build", "a password") }
	for _, tc := range []struct {
		who, target string
		status      int
		byProduct   bool
	}{
		{"a session", echo + "?query=asp_net", http.StatusOK, true},
		{"a session", echo + "?username=asp_build", http.StatusOK, true},
		{"a personal access token", echo + "?fields=asp_score", http.StatusOK, true},
		{"a token", echo + "?query=asp_net", http.StatusOK, true},
		{"a user name like a token", "/rest/api/2/myself", http.StatusUnauthorized, false},
		{"a session", echo + "?query=" + s.token, http.StatusForbidden, false},
		{"a session", echo + "?query=%61sp_" + s.token[4:], http.StatusForbidden, false},
		{"a personal access token", echo + "?q=x&fields=" + s.token, http.StatusForbidden, false},
		{"a token", echo + "?query=" + s.token, http.StatusForbidden, false},
	} {
		s.Product.Reset()
		r := newRequest(t, http.MethodGet, s.URL+tc.target, http.NoBody)
		callers[tc.who](r)
		response, body := do(t, r)
		shown := strings.ReplaceAll(tc.target, s.token, "TOKEN")
		if reached := len(rig.ThroughNginx(s.Product)) == 1; response.StatusCode != tc.status || reached != tc.byProduct {
			t.Errorf("%s with %s: %d, reached the product: %v: %s", shown, tc.who, response.StatusCode, reached, body)
		}
		challenge := response.Header.Get("WWW-Authenticate")
		if tc.status == http.StatusForbidden && (challenge != "" || response.Header.Get("X-Api-Token-Reason") != "CredentialParameter") {
			t.Errorf("%s with %s: the reason is %q, the challenge %q", shown, tc.who, response.Header.Get("X-Api-Token-Reason"), challenge)
		}
	}
}

// attachmentNames downloads attachments with names that servers read differently. The product has none of them.
func (s *story) attachmentNames(t *testing.T) {
	const special, notFound = "403 PathCharacterNotAllowed", "product 404"
	s.patchSpec(t, "admin", "atlassiansite/main", fields{"tokenPaths": []string{"/rest/", "/secure/attachment/"}})
	defer s.patchSpec(t, "admin", "atlassiansite/main", fields{"tokenPaths": []string{"/rest/"}})
	var all []expect
	for name, want := range map[string]string{
		"plan.txt": notFound, "a%20b%C3%A4.txt": notFound, "C%23.txt": special, "50%25.txt": special, "a%3Bb.txt": special, "a;b.txt": special,
	} {
		all = append(all, expect{ask: ask{path: "/secure/attachment/10000/" + name}, want: want})
	}
	s.await(t, all...)
}

// waitsForChallenge sends the credential only when the server asks for Basic.
const waitsForChallenge = `
import sys, urllib.request
url, user, password = sys.argv[1:]
passwords = urllib.request.HTTPPasswordMgrWithDefaultRealm()
passwords.add_password(None, url, user, password)
opener = urllib.request.build_opener(urllib.request.ProxyHandler({}), urllib.request.HTTPBasicAuthHandler(passwords))
print(opener.open(url).read().decode())
`

// challengeClients runs programs that send Basic only after a challenge. Jira challenges where os_authType=basic asks for it.
func (s *story) challengeClients(t *testing.T) {
	const path = "/rest/api/2/myself"
	for _, tc := range []struct {
		name, target string
		works        bool
		command      []string
	}{
		{"wget", path, false, []string{"wget", "--no-proxy", "-qO-", "--user=alice", "--password=" + s.token}},
		{"wget, asking for a challenge", path + "?os_authType=basic", true, []string{"wget", "--no-proxy", "-qO-", "--user=alice", "--password=" + s.token}},
		{"wget, sending at once", path, true, []string{"wget", "--no-proxy", "-qO-", "--auth-no-challenge", "--user=alice", "--password=" + s.token}},
		{"urllib", path, false, []string{"python3", "-c", waitsForChallenge}},
		{"urllib, asking for a challenge", path + "?os_authType=basic", true, []string{"python3", "-c", waitsForChallenge}},
	} {
		t.Run(tc.name, func(t *testing.T) {
			arguments := append(tc.command[1:], s.URL+tc.target) //nolint:gocritic // appendAssign: the table is not used again
			if tc.command[0] == "python3" {
				arguments = append(arguments, "alice", s.token)
			}
			ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
			defer cancel()
			out, err := exec.CommandContext(ctx, tc.command[0], arguments...).Output()
			if worked := err == nil && strings.Contains(string(out), `"name":"alice"`); worked != tc.works {
				t.Errorf("worked: %v (%v): %s", worked, err, out)
			}
		})
	}
	if err := s.sawNoToken(t.Context()); err != nil {
		t.Error(err)
	}
}

// resourceRewriting tries to have the product run another path than the one that is judged.
func (s *story) resourceRewriting(t *testing.T) {
	before := len(s.Product.PersonalAccessTokens("alice"))
	var all []expect
	for _, path := range []string{
		"/s/..;/rest/api/_/rest/pat/latest/tokens", "/s/%2e%2e/rest/api/_/rest/pat/latest/tokens", "/s/.%2E;x/rest/api/_/rest/pat/latest/tokens",
		"/s/..;/rest/api/2/search/_/rest/api/2/issue", "/rest/../s/x/_/rest/pat/latest/tokens", "/s/x/_/rest/pat/latest/tokens", "/s//x/_//rest/pat/latest/tokens",
		"/s/x/_/plugins/servlet/oauth/authorize",
	} {
		all = append(all, expect{ask: ask{method: http.MethodPost, path: path}, want: "401"})
	}
	s.await(t, all...)
	if made := len(s.Product.PersonalAccessTokens("alice")); made != before {
		t.Errorf("alice has %d personal access tokens, not %d", made, before)
	}
	// Repeated slashes are merged on the way.
	if got, err := s.ask(t.Context(), ask{path: "/rest///double/1.0//echo?a=//b"}); err != nil || got != "200" {
		t.Fatal(got, err)
	}
	if seen := rig.ThroughNginx(s.Product); len(seen) != 1 || seen[0].RequestURI != echo+"?a=//b" {
		t.Errorf("the product received %+v", seen)
	}
}
