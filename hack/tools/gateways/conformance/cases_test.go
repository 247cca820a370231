// Package conformance has cases of the HTTPRoute filter ExternalAuth (GEP-1494), in the types of Gateway API's conformance tests.
// Gateway API itself has none for this filter, up to v1.7.0. The tests of gateways run them, each with its own gateway.
package conformance

import (
	"encoding/json"
	"os"
	"testing"

	"sigs.k8s.io/gateway-api/conformance/utils/config"
	"sigs.k8s.io/gateway-api/conformance/utils/http"
	"sigs.k8s.io/gateway-api/conformance/utils/roundtripper"
)

// given is the gateway to try, and what its webhook knows.
type given struct {
	// Gateway is its address, as host:port. Behind it is an echo server.
	Gateway string
	// Token is a Basic credential with an API token, Wrong one with a wrong token, Password one with a password, and Owner is what
	// the product gets in place of the token.
	Token, Wrong, Password, Owner string
	// Undecided means that the webhook cannot decide. Failed is the status of a gateway that gets no verdict.
	Undecided bool
	Failed    int
	// Narrow means that tokens may only read, and only below /rest/api/2/.
	Narrow bool
}

// none are the headers with an identity. One that is empty counts as absent: gateways differ there.
var none = map[string]string{"X-Forwarded-User": "", "X-Api-Token-Id": ""}

// at returns a request to a path.
func at(method, path string, headers map[string]string) http.Request {
	return http.Request{Host: "jira.example.com", Method: method, Path: path, Headers: headers}
}

// passed returns a case in which the product gets the request with these headers, and without others.
func passed(name string, request http.Request, headers map[string]string, absent ...string) http.ExpectedResponse {
	return http.ExpectedResponse{TestCaseName: name, Request: request, ExpectedRequest: &http.ExpectedRequest{
		Request: http.Request{Host: request.Host, Method: request.Method, Path: request.Path, Headers: headers}, AbsentHeaders: absent,
	}}
}

// refused returns a case in which the product gets nothing.
func refused(name string, request http.Request, status int, headers map[string]string) http.ExpectedResponse {
	return http.ExpectedResponse{TestCaseName: name, Request: request, Response: http.Response{StatusCodes: []int{status}, Headers: headers}}
}

func cases(g given) (all []http.ExpectedResponse) {
	const myself, forged = "/rest/api/2/myself", "root"
	if g.Undecided {
		return []http.ExpectedResponse{
			refused("a token fails closed", at("GET", myself, map[string]string{"Authorization": g.Token}), g.Failed, nil),
			refused("no credential fails closed", at("GET", myself, nil), g.Failed, nil),
			passed("beside the filter", at("GET", "/login.jsp", nil), nil, "X-Forwarded-User", "X-Api-Token-Id"),
		}
	}
	token := map[string]string{"Authorization": g.Token}
	if g.Narrow {
		return []http.ExpectedResponse{
			passed("reading", at("GET", myself+"?a=/rest/other", token), map[string]string{"Authorization": g.Owner}),
			refused("writing", at("POST", myself, token), 403, nil),
			refused("deleting with a query", at("DELETE", myself+"?method=GET", token), 403, nil),
			refused("reading elsewhere", at("GET", "/rest/agile/1.0/board?a=/rest/api/2/", token), 403, nil),
		}
	}
	identity := map[string]string{"Authorization": g.Owner, "X-Forwarded-User": "alice"}
	for _, method := range []string{"GET", "POST", "PUT", "DELETE", "PATCH"} {
		all = append(all, passed(method+" with a token", at(method, myself+"?expand=groups&a=%2F", map[string]string{"Authorization": g.Token}), identity))
	}
	challenge := map[string]string{"Www-Authenticate": `Basic realm="API token", charset="UTF-8"`}
	return append(all,
		refused("a wrong token", at("GET", myself, map[string]string{"Authorization": g.Wrong}), 401, challenge),
		refused("a token beside a user in the query", at("GET", myself+"?os_username=bob", map[string]string{"Authorization": g.Token}), 403, nil),
		passed("a password", at("GET", myself, map[string]string{"Authorization": g.Password}), map[string]string{"Authorization": g.Password}, "X-Api-Token-Id"),
		passed("no credential", at("GET", myself, nil), nil, "Authorization", "X-Api-Token-Id"),
		passed("a forged identity", at("GET", myself, map[string]string{"X-Forwarded-User": forged, "X-Api-Token-Id": forged}), none, "Authorization"),
		passed("a forged identity beside a token", at("GET", myself, map[string]string{"Authorization": g.Token, "X-Forwarded-User": forged}), identity),
		passed("a session beside a token", at("GET", myself, map[string]string{"Authorization": g.Token, "Cookie": "JSESSIONID=bobs"}),
			map[string]string{"Authorization": g.Owner, "Cookie": ""}),
		passed("another path and method of the client's", at("GET", myself, map[string]string{
			"Authorization": g.Token, "Path": "/login.jsp", "Method": "DELETE", "X-Original-Url": "http://x/login.jsp", "X-Forwarded-Uri": "/login.jsp",
		}), identity),
		passed("beside the filter", at("GET", "/login.jsp", map[string]string{"X-Forwarded-User": forged}), none),
	)
}

func TestExternalAuth(t *testing.T) {
	var g given
	if err := json.Unmarshal([]byte(os.Getenv("EXTERNAL_AUTH")), &g); err != nil {
		t.Fatal("EXTERNAL_AUTH has no gateway: the tests of gateways run this one. ", err)
	}
	client := &roundtripper.DefaultRoundTripper{TimeoutConfig: config.DefaultTimeoutConfig()}
	for _, c := range cases(g) {
		t.Run(c.TestCaseName, func(t *testing.T) {
			request := http.MakeRequest(t, &c, g.Gateway, "HTTP", "http")
			delete(request.Headers, "X-Echo-Set-Header")
			captured, response, err := client.CaptureRoundTrip(request)
			if err != nil {
				t.Fatal(err)
			}
			for name, want := range c.Response.Headers { // CompareRoundTrip looks at those of a 200 alone
				if got := response.Headers[name]; len(got) == 0 || got[0] != want {
					t.Errorf("%s is %q, want %q", name, got, want)
				}
			}
			lacksEmpty(&c, captured)
			if err := http.CompareRoundTrip(t, &request, captured, response, c); err != nil {
				t.Error(err)
			}
		})
	}
}

// lacksEmpty takes an empty header for an absent one, and an absent one for an empty one that is expected.
func lacksEmpty(c *http.ExpectedResponse, captured *roundtripper.CapturedRequest) {
	if c.ExpectedRequest == nil {
		return
	}
	for name, value := range c.ExpectedRequest.Headers {
		if value == "" && captured.Headers != nil && len(captured.Headers[name]) == 0 {
			captured.Headers[name] = []string{""}
		}
	}
	for _, name := range c.ExpectedRequest.AbsentHeaders {
		if values := captured.Headers[name]; len(values) == 1 && values[0] == "" {
			delete(captured.Headers, name)
		}
	}
}
