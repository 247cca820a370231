package rest_test

import (
	"bufio"
	"bytes"
	"net"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"testing"
	"time"

	"apitokens.dev/operator/hack/lib/portaltest"
	"apitokens.dev/operator/webhook/portal/rest"
)

// direct sends a request line to the portal as it is, bypassing the ingress, which would normalise it.
func direct(t *testing.T, w *portaltest.World, method, below string, as http.Header) answer {
	t.Helper()
	portal, err := url.Parse(w.Portal)
	if err != nil {
		t.Fatal(err)
	}
	conn, err := net.Dial("tcp", portal.Host)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = conn.Close() }()
	_ = conn.SetDeadline(time.Now().Add(time.Minute))
	request := method + " " + portal.Path + below + " HTTP/1.1\r\nHost: jira.example.com\r\nConnection: close\r\nX-Real-Ip: 192.0.2.7\r\n"
	var headers bytes.Buffer
	if err := as.Write(&headers); err != nil {
		t.Fatal(err)
	}
	if _, err := conn.Write([]byte(request + headers.String() + "\r\n")); err != nil {
		t.Fatal(err)
	}
	response, err := http.ReadResponse(bufio.NewReader(conn), &http.Request{Method: method})
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = response.Body.Close() }()
	var body strings.Builder
	_, _ = bufio.NewReader(response.Body).WriteTo(&body) // what is cut is not as described
	return answer{response.StatusCode, response.Header, strings.TrimSpace(body.String())}
}

// A path must match exactly: no spelling of it reaches another operation. Refusals have the security headers too.
func TestPathsMatchExactly(t *testing.T) {
	w := env.Jira(t)
	alice := session(t, w, "alice")
	id, text := alice.create(`{"label":"stays"}`)
	owner := alice.withToken("alice", text)
	for _, path := range []string{
		"/latest//", "//latest/", "/latest//all", "/latest/./all", "/latest/x/../all", "/latest/%2e/all", "/latest/x/%2e%2e/all", "/latest/..;/all", "/../api-tokens/latest/all",
		"/latest/%61ll", "/latest/all;x", "/latest/all%3bx", "/latest/all%00", "/latest/all%20", "/latest/all%2f", "/latest%2fall", "/latest/%2fall", "/latest/all%5c",
		"/latest/all\\", "/latest/ALL", "/latest/all/x", "/latest/all//", "/latest/all.json", "/latest;x/all", "/%6catest/all", "/Latest/all", "/latest/all%", "/latest/all%zz", "/latest/all#",
		"/latest/" + id + "%20", "/latest/" + id + ";x", "/latest/%61" + id[1:], "/latest/" + id + "//", "/latest/" + id + "/.", "/latest/" + id + "/x/..", "/latest/x/../" + id,
		"/latest/asp_", "/latest/" + strings.ToLower(id), "/latest/" + strings.Repeat("x", 10_000), "", "/", "/latest/{id}", "/latest/admin/" + id + "/", "/latest/admin/tokens/x",
	} {
		for _, as := range []client{alice, owner} {
			got := direct(t, w, "DELETE", "/rest/api-tokens"+path, as.as)
			if !slices.Contains([]int{400, 401, 403, 404, 405}, got.status) {
				t.Errorf("DELETE %q: %d %s", path, got.status, got.body)
			}
			if got.header.Get("Location") != "" {
				t.Errorf("DELETE %q leads to %s", path, got.header.Get("Location"))
			}
			if got.status != http.StatusBadRequest && (got.header.Get("Cache-Control") != "no-store" || got.header.Get("X-Frame-Options") != "DENY" ||
				!strings.Contains(got.header.Get("Content-Security-Policy"), "default-src 'none'")) {
				t.Errorf("DELETE %q: %d, not protected: %v", path, got.status, got.header)
			}
		}
	}
	if err := wantIDs(owner, id); err != nil {
		t.Error(err)
	}
	for _, path := range []string{"/latest/", "/1.0"} {
		if got := direct(t, w, "GET", "/rest/api-tokens"+path, alice.as); got.status != http.StatusOK {
			t.Errorf("GET %q: %d %s", path, got.status, got.body)
		}
	}
}

// Malformed and ambiguous queries are refused.
func TestMalformedQueries(t *testing.T) {
	w := env.Confluence(t)
	alice, carol := session(t, w, "alice"), session(t, w, "carol")
	id, _ := alice.create(`{"label":"stays"}`)
	for _, query := range []string{"?q=%zz", "?a;b", "?user=alice;x", "?user=%", "?user=bob&user=alice", "?user=alice&user=alice"} {
		for method, path := range map[string]string{"GET": "/admin", "DELETE": "/admin/tokens"} {
			if got := direct(t, w, method, "/rest/api-tokens/latest"+path+query, carol.as); got.status != http.StatusBadRequest {
				t.Errorf("%s %s%s: %d %s", method, path, query, got.status, got.body)
			}
		}
	}
	if err := wantIDs(alice, id); err != nil {
		t.Error(err)
	}
}

// Unknown parameters are refused on every route, because a misspelled one must not be ignored. Nothing is changed.
func TestUnknownParameters(t *testing.T) {
	eachProduct(t, func(t *testing.T, w *portaltest.World) {
		carol := session(t, w, "carol")
		id, text := carol.create(`{"label":"stays"}`)
		for _, route := range rest.Routes() {
			body := map[string]string{"/": `{"label":"x"}`, "/revoke": `{"token":"` + text + `"}`}[route[1]]
			if route[0] != http.MethodPost {
				body = ""
			}
			for _, query := range []string{"?maxResult=5", "?User=carol", "?user=carol&x=1", "?_=1", "?="} {
				got := carol.send(route[0], strings.Replace(route[1], "{id}", id, 1)+query, body)
				if got.status != http.StatusBadRequest || !strings.Contains(got.body, "unknown parameter") {
					t.Errorf("%s %s%s: %d %s", route[0], route[1], query, got.status, got.body)
				}
			}
		}
		if err := wantIDs(carol, id); err != nil {
			t.Error(err)
		}
	})
}

// Methods that a path does not support are 405 with Allow, without authentication.
func TestMethods(t *testing.T) {
	eachProduct(t, func(t *testing.T, w *portaltest.World) {
		alice, anonymous := session(t, w, "alice"), client{World: w, t: t}
		id, _ := alice.create(`{"label":"stays"}`)
		allowed := map[string][]string{}
		for _, r := range rest.Routes() {
			allowed[r[1]] = append(allowed[r[1]], r[0])
			if r[0] == "GET" {
				allowed[r[1]] = append(allowed[r[1]], "HEAD")
			}
		}
		for path, methods := range allowed {
			for _, method := range []string{"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS", "TRACE", "get", "delete", "PROPFIND", "X"} {
				if slices.Contains(methods, method) {
					continue
				}
				for _, as := range []client{alice, anonymous} {
					got := as.expect(http.StatusMethodNotAllowed, method, strings.Replace(path, "{id}", id, 1), "")
					if allow := strings.Split(got.header.Get("Allow"), ", "); !slices.Equal(allow, methods) {
						t.Errorf("%s %s: Allow is %q, want %q", method, path, allow, methods)
					}
				}
			}
		}
		// Headers and parameters do not change the method.
		for _, override := range []string{"X-HTTP-Method-Override", "X-HTTP-Method", "X-Method-Override", "_method"} {
			alice.expect(http.StatusOK, "GET", "/"+id, "", override, "DELETE")
			alice.expect(http.StatusBadRequest, "GET", "/"+id+"?"+override+"=DELETE", "")
			alice.expect(http.StatusMethodNotAllowed, "POST", "/all", `{"_method":"DELETE"}`, override, "DELETE")
			alice.expect(http.StatusMethodNotAllowed, "POST", "/"+id, "", override, "DELETE")
		}
		if err := wantIDs(alice, id); err != nil {
			t.Error(err)
		}
		for _, path := range []string{"/x/y", "/" + id + "/rotate/x", "/admin/x/y", "/revoke/x", "/openapi.yaml/x"} {
			anonymous.expect(http.StatusNotFound, "GET", path, "")
			anonymous.expect(http.StatusNotFound, "POST", path, "")
		}
	})
}
