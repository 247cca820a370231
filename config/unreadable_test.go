package config_test

import (
	"bytes"
	"fmt"
	"io"
	"net/http"
	"strings"
	"testing"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/client-go/rest"
	"sigs.k8s.io/controller-runtime/pkg/client"
)

// canary is the secret that no answer may contain.
const canary = "Q0FOQVJZ" // in base64, as in the answers

// The portal's account reads no personal access token and no caller key: not with any method, of any path of the API, with any
// kind of patch, as a dry run or not. A patch that changes nothing would show what is stored.
func TestPortalReadsNoCredential(t *testing.T) {
	secrets := []*corev1.Secret{
		newSecret(credentialsNamespace, "unreadable-pat", "apitokens.dev/upstream-credential"),
		newSecret(credentialsNamespace, "unreadable-keys", "apitokens.dev/caller-keys"),
		newSecret(credentialsNamespace, "unreadable-probe-key", "apitokens.dev/probe-key"),
		newSecret(intakeNamespace, "unreadable-intake", "apitokens.dev/intake"),
		newSecret(teamNamespace, "unreadable-given", corev1.SecretTypeOpaque),
		newSecret(teamNamespace, "unreadable-urls", "apitokens.dev/auth-urls"),
	}
	config := rest.CopyConfig(adminConfig)
	config.Impersonate = rest.ImpersonationConfig{UserName: portal, Groups: groupsOf(portal)}
	asked := 0
	for _, secret := range secrets {
		secret.Data = map[string][]byte{"credential.json": []byte("CANARY")}
		create(t, secret)
		plain := everyRequest(secret)[0]
		if _, body := answer(t, adminConfig, plain); !bytes.Contains(body, []byte(canary)) {
			t.Fatalf("%s %s does not show the Secret to the administrator: %s", plain.Method, plain.URL, body)
		}
		for _, request := range everyRequest(secret) {
			status, body := answer(t, config, request)
			what := fmt.Sprintf("%s %s with %q", request.Method, request.URL, request.Header.Get("Content-Type"))
			if bytes.Contains(body, []byte(canary)) || bytes.Contains(body, []byte("CANARY")) {
				t.Errorf("%s answers %d: %s", what, status, body)
			}
			// A right that is added to the account shows here, whatever its answer contains.
			refused := status == http.StatusForbidden
			if request.Method == http.MethodPost && secret.Namespace == intakeNamespace { // it may create there
				refused = status >= http.StatusBadRequest
			}
			if asked++; !refused {
				t.Errorf("%s answers %d: %s", what, status, body)
			}
		}
	}
	if asked < 500 {
		t.Errorf("only %d requests were sent", asked)
	}
	if err := clients[clusterAdmin].Get(t.Context(), client.ObjectKeyFromObject(secrets[0]), secrets[0]); err != nil || string(secrets[0].Data["credential.json"]) != "CANARY" {
		t.Errorf("afterwards the Secret is %v, %v", secrets[0].Data, err)
	}
}

// answer sends a request with these credentials, and returns the status and the body of the answer.
func answer(t *testing.T, as *rest.Config, request *http.Request) (status int, body []byte) {
	t.Helper()
	c, err := rest.HTTPClientFor(as)
	if err != nil {
		t.Fatal(err)
	}
	sent := request.Clone(t.Context())
	if sent.Body, err = request.GetBody(); err != nil {
		t.Fatal(err)
	}
	response, err := c.Do(sent)
	if err != nil {
		t.Fatal(err)
	}
	body, err = io.ReadAll(response.Body)
	_ = response.Body.Close()
	if err != nil {
		t.Fatalf("%s %s: %v", request.Method, request.URL, err)
	}
	return response.StatusCode, body
}

// everyRequest returns requests that could show a Secret.
func everyRequest(s *corev1.Secret) (all []*http.Request) {
	host := strings.TrimSuffix(adminConfig.Host, "/")
	collection := host + "/api/v1/namespaces/" + s.Namespace + "/secrets"
	object := collection + "/" + s.Name
	minimal := fmt.Sprintf(`{"apiVersion":"v1","kind":"Secret","metadata":{"name":%q,"namespace":%q},"type":%q}`, s.Name, s.Namespace, s.Type)
	bodies := map[string]string{
		"":                                       "",
		"application/json":                       minimal,
		"application/merge-patch+json":           `{}`,
		"application/json-patch+json":            `[]`,
		"application/strategic-merge-patch+json": `{}`,
		"application/apply-patch+yaml":           minimal,
	}
	queries := []string{"", "dryRun=All", "fieldManager=x", "fieldManager=x&force=true&dryRun=All", "fieldValidation=Ignore&dryRun=All", "limit=1", "watch=true&timeoutSeconds=1"}
	paths := []string{
		object, object + "/status", object + "/scale", object + "/token", object + "/proxy", collection, host + "/api/v1/secrets",
		host + "/api/v1/watch/namespaces/" + s.Namespace + "/secrets/" + s.Name, host + "/api/v1/watch/secrets",
		collection + "?fieldSelector=metadata.name%3D" + s.Name,
	}
	for _, path := range paths {
		for _, method := range []string{"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE"} {
			for contentType, body := range bodies {
				for _, query := range queries {
					if method == "POST" && strings.HasPrefix(path, collection) && s.Namespace == intakeNamespace && query != "dryRun=All" {
						continue // it may create there: see TestRequests
					}
					to := path + "?" + query
					if strings.Contains(path, "?") {
						to = path + "&" + query
					}
					request, err := http.NewRequest(method, to, strings.NewReader(body))
					if err != nil {
						panic(err)
					}
					if contentType != "" {
						request.Header.Set("Content-Type", contentType)
					}
					all = append(all, request)
				}
			}
		}
	}
	return all
}
