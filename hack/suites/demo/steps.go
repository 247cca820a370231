package main

import (
	"context"
	"crypto/rand"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"slices"
	"strings"
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/util/wait"

	"apitokens.dev/operator/hack/lib/cluster"
	"apitokens.dev/operator/hack/lib/rig"
	"apitokens.dev/operator/internal/token"
)

// story runs the main job step by step, and keeps what later steps need. TestStory runs the same steps.
type story struct {
	*rig.Rig
	// cluster is set instead where the operator runs as pods.
	cluster *cluster.Cluster

	out io.Writer
	// token is the one delivered last, replaced is the one before its rotation. callerKey is the key in the auth URL.
	token, replaced, callerKey string
	// delivered are all tokens so far.
	delivered []string
	// session is alice's session of the product, own the token that she made with it, and ownID its id.
	session    *http.Cookie
	own, ownID string
}

type step struct {
	title string
	run   func(*story, context.Context) error
}

var steps = []step{
	{"An administrator declares the site", (*story).declareSite},
	{"nginx gets the auth URL", (*story).startGateway},
	{"Alice declares a token for her CI scripts", (*story).declareToken},
	{"The token was delivered to the Secret that she asked for", (*story).readDelivered},
	{"The operator stores a salted hash, no plaintext", (*story).inspectRecord},
	{"The token works as a password, and the product sees alice's own credential", (*story).authenticate},
	{"Everything else is refused", (*story).refuse},
	{"Mallory may not declare a token for alice", (*story).refuseMallory},
	{"Every authentication is logged", (*story).readAudit},
	{"After a rotation the old secret stays valid beside the new one for an hour", (*story).rotate},
	{"A token is refused from the second of its expiry on", (*story).expire},
	{"The APIToken is deleted: the next request is refused", (*story).revoke},
	{"Declared again, it gets another token; the old one stays dead", (*story).declareAgain},
	{"Without Kubernetes: signed in to Jira, alice creates a token over REST", (*story).createOverREST},
	{"She revokes it: the next request is refused", (*story).revokeOverREST},
}

const settleTimeout = 30 * time.Second

func (s *story) kubectl(ctx context.Context, as string, args ...string) (string, error) {
	s.printf("  %s$ kubectl %s\n", as, typed(args))
	out, err := s.KubectlAs(ctx, as, nil, args...)
	for line := range strings.Lines(out) {
		s.printf("    %s", line)
	}
	return out, err
}

// typed returns the arguments as a person would type them in a shell.
func typed(args []string) string {
	args = slices.Clone(args)
	for i, arg := range args {
		if strings.ContainsAny(arg, " {") {
			args[i] = "'" + arg + "'"
		}
	}
	return strings.Join(args, " ")
}

func (s *story) printf(format string, args ...any) { _, _ = fmt.Fprintf(s.out, format, args...) }

func (s *story) apply(ctx context.Context, as string, samples ...string) error {
	for _, sample := range samples {
		text, err := s.Sample(sample)
		if err != nil {
			return err
		}
		s.printf("  %s$ kubectl apply -f config/samples/%s\n", as, sample)
		out, err := s.KubectlAs(ctx, as, text, "apply", "-f", "-")
		if err != nil {
			return err
		}
		for line := range strings.Lines(out) {
			s.printf("    %s", line)
		}
	}
	return nil
}

func (s *story) declareSite(ctx context.Context) error {
	if err := s.apply(ctx, "admin", "namespace.yaml", "issuers.yaml", "personal_access_token.yaml", "site.yaml"); err != nil {
		return err
	}
	if err := s.awaitCondition(ctx, "atlassiansite/main", "UpstreamCredentialsReady"); err != nil {
		return err
	}
	_, err := s.kubectl(ctx, "admin", "get", "atlassiansites")
	return err
}

func (s *story) startGateway(ctx context.Context) error {
	authURL, err := s.authURL(ctx)
	if err != nil {
		return err
	}
	s.printf("    The auth URL is the key `nginx` of Secret main-auth-urls. Put it into config/samples/nginx.conf.\n")
	gateway, err := rig.GatewayOf(authURL)
	if err != nil {
		return err
	}
	s.callerKey = gateway.CallerKey
	return s.place().StartGateway(ctx, authURL)
}

func (s *story) authURL(ctx context.Context) (string, error) {
	var urls corev1.Secret
	err := s.get(ctx, &urls, rig.Namespace, "main-auth-urls")
	return string(urls.Data["nginx"]), err
}

func (s *story) declareToken(ctx context.Context) error {
	if err := s.apply(ctx, "alice", "apitoken.yaml"); err != nil {
		return err
	}
	if err := s.awaitCondition(ctx, "apitoken/alice-ci", "Ready"); err != nil {
		return err
	}
	out, err := s.kubectl(ctx, "alice", "get", "apitokens")
	if err != nil {
		return err
	}
	if !strings.Contains(out, "True") || !strings.Contains(out, "asp_") {
		return errors.New("the APIToken is not shown as ready, with its id")
	}
	return nil
}

func (s *story) readDelivered(ctx context.Context) error {
	var delivered corev1.Secret
	if err := s.get(ctx, &delivered, rig.Namespace, "alice-ci-token"); err != nil {
		return err
	}
	s.token = string(delivered.Data["password"])
	s.delivered = append(s.delivered, s.token)
	if _, ok := token.Parse(delivered.Data["password"]); !ok {
		return errors.New("the delivered password is not a token")
	}
	s.printf("    type: %s, username: %s, password: %s_..., url: %s\n",
		delivered.Type, delivered.Data["username"], s.token[:token.IDLength], delivered.Data["url"])
	if delivered.Type != corev1.SecretTypeBasicAuth || string(delivered.Data["username"]) != "alice" ||
		string(delivered.Data["url"]) != s.place().BaseURL() {
		return errors.New("the delivered Secret does not hold what it should")
	}
	return nil
}

func (s *story) inspectRecord(ctx context.Context) error {
	uid, err := s.KubectlAs(ctx, "admin", nil, "get", "apitoken", "alice-ci", "-o", "jsonpath={.metadata.uid}")
	if err != nil {
		return err
	}
	var stored corev1.Secret
	if err := s.get(ctx, &stored, "apitoken-system", uid); err != nil {
		return err
	}
	text := string(stored.Data["record.json"])
	s.printf("    %s\n", text)
	if !strings.Contains(text, "$sha256$v=1$") || strings.Contains(text, s.token[token.IDLength:]) {
		return errors.New("the record has no salted hash, or it has the plaintext")
	}
	if _, err := s.KubectlAs(ctx, "alice", nil, "get", "secret", uid, "--namespace", "apitoken-system"); err == nil {
		return errors.New("alice can read the operator's records")
	}
	return nil
}

func (s *story) authenticate(ctx context.Context) error {
	if err := s.place().Reset(ctx); err != nil {
		return err
	}
	status, body, _, err := s.curl(ctx, "/rest/api/latest/configuration", "alice", s.token)
	if err != nil {
		return err
	}
	var configuration map[string]any
	if err := json.Unmarshal([]byte(body), &configuration); err != nil || status != http.StatusOK || configuration["votingEnabled"] == nil {
		return fmt.Errorf("the product answered %d: %s", status, body)
	}
	s.printf("    %s\n", strings.TrimSpace(body))
	seen, err := s.throughGateway(ctx)
	if err != nil {
		return err
	}
	if len(seen) != 1 {
		return fmt.Errorf("the product saw %d requests", len(seen))
	}
	s.printf("    The product saw: Authorization: %.20s..., user %s.\n", seen[0].Header.Get("Authorization"), seen[0].User)
	if seen[0].User != "alice" || seen[0].Header.Get("Authorization") != "Bearer "+rig.PersonalAccessToken {
		return fmt.Errorf("the product served %q", seen[0].User)
	}
	return s.sawNoToken(ctx)
}

// refusal is a request that is refused, and the expected answer.
type refusal struct {
	what, path, user, password string
	status                     int
	// byProduct means that the product refuses the request: it contains no token of ours.
	byProduct bool
	reason    string
}

// explains reports whether the gateway writes the body of a refusal. Traefik passes on the webhook's, which has none.
func (s *story) explains() bool { return s.cluster == nil || !s.cluster.Traefik }

func (s *story) refuse(ctx context.Context) error {
	const path = "/rest/api/2/myself"
	// Both are well formed. Only a comparison with the record finds that they are not valid.
	wrong, err := token.New(s.token[:token.IDLength], rand.Reader)
	if err != nil {
		return err
	}
	unknown, err := token.New("asp_0000000000000000", rand.Reader)
	if err != nil {
		return err
	}
	for _, r := range []refusal{
		{"a wrong secret", path, "alice", wrong, http.StatusUnauthorized, false, ""},
		{"a mistyped token", path, "alice", s.token[:token.Length-1], http.StatusUnauthorized, false, ""},
		{"an unknown token", path, "alice", unknown, http.StatusUnauthorized, false, ""},
		{"the wrong user", path, "bob", s.token, http.StatusUnauthorized, false, ""},
		{"no credential", path, "", "", http.StatusUnauthorized, true, ""},
		{"a password, which Jira 11 refuses", path, "alice", "alices password", http.StatusForbidden, true, ""},
		{"a path outside /rest/", "/secure/Dashboard.jspa", "alice", s.token, http.StatusUnauthorized, false, ""},
		{"a path that climbs out of /rest/", "/rest/..;/secure/Dashboard.jspa", "alice", s.token, http.StatusUnauthorized, false, ""},
		{"making a personal access token", "/rest/pat/latest/tokens", "alice", s.token, http.StatusForbidden, false, "CredentialPath"},
		{"somebody else's password beside it", path + "?os_username=bob", "alice", s.token, http.StatusForbidden, false, "CredentialParameter"},
	} {
		if err := s.refuseOne(ctx, r); err != nil {
			return fmt.Errorf("%s: %w", r.what, err)
		}
	}
	return s.refuseWrongCaller(ctx)
}

func (s *story) refuseOne(ctx context.Context, r refusal) error {
	if err := s.place().Reset(ctx); err != nil {
		return err
	}
	status, body, header, err := s.curl(ctx, r.path, r.user, r.password)
	if err != nil {
		return err
	}
	s.printf("    %d  %s\n", status, r.what)
	seen, err := s.throughGateway(ctx)
	if err != nil {
		return err
	}
	reached := len(seen) > 0
	switch {
	case status != r.status:
		return fmt.Errorf("answered %d, want %d: %s", status, r.status, body)
	case reached != r.byProduct:
		return fmt.Errorf("reached the product: %v, want %v", reached, r.byProduct)
	case header.Get("X-Api-Token-Reason") != r.reason:
		return fmt.Errorf("the reason is %q, want %q", header.Get("X-Api-Token-Reason"), r.reason)
	case !reached && status == http.StatusUnauthorized && !strings.HasPrefix(header.Get("WWW-Authenticate"), `Basic realm=`):
		return fmt.Errorf("challenged with %q", header.Values("WWW-Authenticate"))
	case !reached && s.explains() && !strings.Contains(body, `{"errorMessages":["`):
		return fmt.Errorf("not in Jira's format: %s", body)
	}
	return s.sawNoToken(ctx)
}

// refuseWrongCaller calls the webhook directly with a valid token and a wrong caller key.
func (s *story) refuseWrongCaller(ctx context.Context) error {
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, s.place().WebhookAddress()+"/nginx/AAAAAAAAAAAAAAAAAAAAAAAAAA/jira/main", http.NoBody)
	if err != nil {
		return err
	}
	request.Header.Set("X-Original-URL", s.place().BaseURL()+"/rest/api/2/myself")
	request.SetBasicAuth("alice", s.token)
	response, err := s.place().Client().Do(request)
	if err != nil {
		return err
	}
	defer func() { _ = response.Body.Close() }()
	s.printf("    %d  a call to the webhook with a wrong caller key\n", response.StatusCode)
	if response.StatusCode != http.StatusServiceUnavailable || response.Header.Get("Authorization") != "" || response.Header.Get("X-Forwarded-User") != "" {
		return errors.New("the webhook answered a caller with a wrong key")
	}
	return nil
}

func (s *story) refuseMallory(ctx context.Context) error {
	text, err := s.Sample("apitoken.yaml")
	if err != nil {
		return err
	}
	s.printf("  mallory$ kubectl apply -f another-token-for-alice.yaml\n")
	text = []byte(strings.NewReplacer("name: alice-ci", "name: mallory-ci", "alice-ci-token", "mallory-ci-token").Replace(string(text)))
	out, err := s.KubectlAs(ctx, "mallory", text, "apply", "-f", "-")
	s.printf("    %s", out)
	if err == nil || !strings.Contains(out, "may not issue tokens for the product user 'alice'") {
		return errors.New("mallory was not refused")
	}
	return nil
}

func (s *story) readAudit(ctx context.Context) error {
	return s.eventually(ctx, "the authentication in the log", func(ctx context.Context) (bool, error) {
		log, err := s.place().WebhookLog(ctx)
		if err != nil {
			return false, err
		}
		for line := range strings.Lines(log) {
			if strings.Contains(line, `"msg":"alice has been authenticated via API Token (`+s.token[:token.IDLength]+`)"`) {
				s.printf("    %s", line)
				return true, nil
			}
		}
		return false, nil
	})
}

func (s *story) revoke(ctx context.Context) error {
	if _, err := s.kubectl(ctx, "alice", "delete", "apitoken", "alice-ci"); err != nil {
		return err
	}
	for _, password := range []string{s.token, s.replaced} {
		if err := s.expectStatus(ctx, "the secret of", password, http.StatusUnauthorized); err != nil {
			return err
		}
	}
	return s.eventually(ctx, "the delivered Secret to go", func(ctx context.Context) (bool, error) {
		out, err := s.KubectlAs(ctx, "admin", nil, "get", "secret", "alice-ci-token", "--ignore-not-found", "-o", "name")
		return out == "", err
	})
}

func (s *story) declareAgain(ctx context.Context) error {
	old := s.token
	if err := s.declareToken(ctx); err != nil {
		return err
	}
	if err := s.readDelivered(ctx); err != nil {
		return err
	}
	if err := s.expectStatus(ctx, "the new token", s.token, http.StatusOK); err != nil {
		return err
	}
	return s.expectStatus(ctx, "the deleted one", old, http.StatusUnauthorized)
}

// expectStatus waits for a status and shows the time that it took: the webhook learns of a change by its watch.
func (s *story) expectStatus(ctx context.Context, what, password string, want int) error {
	var status int
	begun := time.Now()
	err := s.eventually(ctx, fmt.Sprintf("HTTP %d with %s", want, what), func(ctx context.Context) (ok bool, err error) {
		status, _, _, err = s.curl(ctx, "/rest/api/2/myself", "alice", password)
		return status == want, err
	})
	s.printf("    %d  with %s %s, after %d ms\n", status, what, password[:token.IDLength], time.Since(begun).Milliseconds())
	return err
}

// sawNoToken fails if anything that the product received contains a token.
func (s *story) sawNoToken(ctx context.Context) error {
	all, err := s.place().Requests(ctx)
	if err != nil {
		return err
	}
	for _, seen := range all {
		text := fmt.Sprint(seen.RequestURI, seen.Header)
		for _, form := range []string{s.token, base64.StdEncoding.EncodeToString([]byte("alice:" + s.token))} {
			if strings.Contains(text, form) {
				return errors.New("the product received the token")
			}
		}
	}
	return nil
}

// curl sends one request through nginx, as `curl --user` would.
func (s *story) curl(ctx context.Context, target, user, password string) (status int, body string, header http.Header, err error) {
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, s.place().BaseURL(), http.NoBody)
	if err != nil {
		return 0, "", nil, err
	}
	// Opaque is sent unchanged: the client must not clean the path.
	request.URL.Opaque = target
	if user != "" {
		request.SetBasicAuth(user, password)
	}
	response, err := s.place().Client().Do(request)
	if err != nil {
		return 0, "", nil, fmt.Errorf("asking %s: %w", request.Host, err) // an opaque URL in the error has no host
	}
	defer func() { _ = response.Body.Close() }()
	text, err := io.ReadAll(response.Body)
	return response.StatusCode, string(text), response.Header, err
}

func (s *story) get(ctx context.Context, into *corev1.Secret, namespace, name string) error {
	out, err := s.KubectlAs(ctx, "admin", nil, "get", "secret", name, "--namespace", namespace, "-o", "json")
	if err != nil {
		return err
	}
	if err := json.Unmarshal([]byte(out), into); err != nil {
		return fmt.Errorf("reading Secret %s/%s: %w", namespace, name, err)
	}
	return nil
}

func (s *story) awaitCondition(ctx context.Context, object, condition string) error {
	_, err := s.KubectlAs(ctx, "admin", nil, "wait", object, "--for=condition="+condition, "--timeout", settleTimeout.String())
	return err
}

func (s *story) eventually(ctx context.Context, what string, done wait.ConditionWithContextFunc) error {
	if err := wait.PollUntilContextTimeout(ctx, 10*time.Millisecond, settleTimeout, true, done); err != nil {
		return fmt.Errorf("waiting for %s: %w", what, err)
	}
	return nil
}
