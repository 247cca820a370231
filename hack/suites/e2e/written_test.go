//go:build e2e

package e2e_test

import (
	"bytes"
	"context"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"io"
	"io/fs"
	"maps"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"

	"golang.org/x/sync/errgroup"
	corev1 "k8s.io/api/core/v1"

	"apitokens.dev/operator/hack/lib/canary"
	"apitokens.dev/operator/hack/lib/rig"
	"apitokens.dev/operator/internal/token"
	"apitokens.dev/operator/internal/upstream"
)

// 200 tokens are created over REST, used, rotated and revoked. Afterwards none of them is in etcd, in a log at the highest
// verbosity, in an Event or in a metric. A personal access token is only in its own Secret.
func TestNothingIsWritten(t *testing.T) {
	var tokens canary.Secrets
	texts := makeMany(t, 200)
	for _, text := range texts {
		tokens.Add("the token "+text[:token.IDLength], text[token.IDLength+1:])
	}
	pats := keptPATs(t)
	if tokens.Len() < 250 || pats.Len() < 2 {
		t.Fatalf("only %d tokens and %d personal access tokens to look for", tokens.Len(), pats.Len())
	}
	written := everythingWritten(t)
	for place, text := range written {
		report(t, place, text, &tokens, pats)
	}
	stored, files := etcdKeys(t), etcdFiles(t)
	for key, value := range stored {
		if strings.HasPrefix(key, "/registry/secrets/") && bytes.Contains(value, []byte(upstream.SecretType)) {
			report(t, key, value, &tokens)
			if len(pats.Find(value)) == 0 {
				t.Errorf("%s holds no personal access token that was looked for, so looking for them proves nothing", key)
			}
			continue
		}
		report(t, key, value, &tokens, pats)
	}
	for name, content := range files {
		report(t, name, content, &tokens)
	}
	t.Run("what was planted is found", func(t *testing.T) { plant(t, &tokens, texts[0]) })
}

func report(t *testing.T, place string, text []byte, all ...*canary.Secrets) {
	t.Helper()
	for _, secrets := range all {
		for _, what := range secrets.Find(text) {
			t.Errorf("%s contains %s", place, what)
		}
	}
}

// makeMany creates tokens at both sites, four at a time. It uses each, rotates every fourth and revokes every fifth.
func makeMany(t *testing.T, n int) (texts []string) {
	t.Helper()
	var mu sync.Mutex
	group, ctx := errgroup.WithContext(t.Context())
	group.SetLimit(4)
	for i := range n {
		at := []*site{world.jira, world.wiki}[i%2]
		cookie := at.product.SignIn("alice")
		group.Go(func() error {
			made, err := at.makeOne(ctx, cookie, i)
			mu.Lock()
			defer mu.Unlock()
			texts = append(texts, made...)
			return err
		})
	}
	if err := group.Wait(); err != nil {
		t.Fatal(err)
	}
	return texts
}

func (s *site) makeOne(ctx context.Context, cookie *http.Cookie, i int) (texts []string, err error) {
	send := func(path, body string, want int) (object struct{ ID, Token string }, err error) {
		request, err := http.NewRequestWithContext(ctx, http.MethodPost, s.url+tokensPath+path, strings.NewReader(body))
		if err != nil {
			return object, err
		}
		request.AddCookie(cookie)
		request.Header.Set("Content-Type", "application/json")
		return object, do(request, want, &object)
	}
	made, err := send("/", fmt.Sprintf(`{"label":"canary %d"}`, i), http.StatusCreated)
	if err != nil {
		return nil, err
	}
	texts = append(texts, made.Token)
	if i%4 == 0 {
		rotated, err := send("/"+made.ID+"/rotate", "{}", http.StatusOK)
		if err != nil {
			return texts, err
		}
		texts = append(texts, rotated.Token)
	}
	for _, text := range texts {
		request, err := http.NewRequestWithContext(ctx, http.MethodGet, s.url+tokensPath+"/", http.NoBody)
		if err != nil {
			return texts, err
		}
		request.SetBasicAuth("alice", text)
		if err := do(request, http.StatusOK, nil); err != nil {
			return texts, err
		}
		// Wrong places for a token. The URL is left out, because clients and gateways log it themselves.
		for name, value := range map[string]string{"Authorization": "Bearer " + text, "X-Request-ID": text, "X-Forwarded-For": text, "Cookie": "t=" + text} {
			if request, err = http.NewRequestWithContext(ctx, http.MethodPost, s.url+s.myself, strings.NewReader(text)); err != nil {
				return texts, err
			}
			request.Header.Set(name, value)
			if err := do(request, 0, nil); err != nil {
				return texts, err
			}
		}
		if _, err = send("/", `{"label":"x","token":"`+text+`"}`, http.StatusBadRequest); err != nil {
			return texts, err
		}
	}
	if i%5 == 0 {
		_, err = send("/revoke", `{"token":"`+texts[len(texts)-1]+`"}`, http.StatusAccepted)
	}
	return texts, err
}

// do sends a request. The status of the answer must be the given one, unless that is 0.
func do(request *http.Request, want int, into any) error {
	response, err := http.DefaultClient.Do(request)
	if err != nil {
		return err
	}
	defer func() { _ = response.Body.Close() }()
	body, err := io.ReadAll(response.Body)
	if err != nil {
		return err
	}
	if want != 0 && response.StatusCode != want {
		return fmt.Errorf("%s %s: %d, want %d", request.Method, request.URL.Path, response.StatusCode, want)
	}
	if into == nil || len(body) == 0 {
		return nil
	}
	return json.Unmarshal(body, into)
}

// keptPATs returns the operator's personal access tokens.
func keptPATs(t *testing.T) *canary.Secrets {
	t.Helper()
	var list corev1.SecretList
	out, err := world.KubectlAs(t.Context(), "admin", nil, "get", "secrets", "--namespace", credentialsNamespace, "-o", "json")
	if err != nil {
		t.Fatal(err)
	}
	if err := json.Unmarshal([]byte(out), &list); err != nil {
		t.Fatal(err)
	}
	var pats canary.Secrets
	for _, secret := range list.Items {
		if secret.Type != upstream.SecretType {
			continue // caller keys
		}
		held, err := upstream.Decode(secret.Data[upstream.DataKey])
		if err != nil {
			t.Fatal(err)
		}
		pats.Add("the personal access token of "+held.User+" at "+held.Site, held.Token)
	}
	return &pats
}

// everythingWritten returns the output of all processes, their metrics, and all objects except Secrets.
func everythingWritten(t *testing.T) map[string][]byte {
	t.Helper()
	written := map[string][]byte{}
	for name, p := range map[string]*rig.Process{
		"controller": world.Controller, "webhook": world.Webhook, "portal": world.Portal, "nginx": world.Nginx, "nginx of Confluence": world.Confluence.Nginx,
	} {
		log, err := p.Log()
		if err != nil {
			t.Fatal(err)
		}
		written["the log of the "+name] = []byte(log + canary.Undump(log))
	}
	for name, args := range map[string][]string{
		"the Events":    {"get", "events.v1.events.k8s.io", "--all-namespaces", "-o", "yaml"},
		"the resources": {"get", "atlassian", "--all-namespaces", "-o", "yaml", "--show-managed-fields"},
	} {
		out, err := world.KubectlAs(t.Context(), "admin", nil, args...)
		if err != nil {
			t.Fatal(err)
		}
		written[name] = []byte(out)
	}
	for name, url := range map[string]string{"controller": world.ControllerMetricsURL, "webhook": world.MetricsURL, "portal": world.PortalMetricsURL} {
		response, err := http.Get(url)
		if err != nil {
			t.Fatal(err)
		}
		text, err := io.ReadAll(response.Body)
		_ = response.Body.Close()
		if err != nil {
			t.Fatal(err)
		}
		written["the metrics of the "+name] = text
	}
	for place, text := range written {
		if len(text) < 1000 {
			t.Errorf("%s: only %d bytes to search", place, len(text))
		}
	}
	return written
}

// etcdKeys returns every key of etcd with its value.
func etcdKeys(t *testing.T) map[string][]byte {
	t.Helper()
	everything := base64.StdEncoding.EncodeToString([]byte{0})
	request, err := http.NewRequestWithContext(t.Context(), http.MethodPost, world.EtcdURL()+"/v3/kv/range",
		strings.NewReader(`{"key":"`+everything+`","range_end":"`+everything+`"}`))
	if err != nil {
		t.Fatal(err)
	}
	var answer struct {
		KVs []struct{ Key, Value []byte }
	}
	if err := do(request, http.StatusOK, &answer); err != nil {
		t.Fatal(err)
	}
	keys := map[string][]byte{}
	for _, kv := range answer.KVs {
		keys[string(kv.Key)] = kv.Value
	}
	if len(keys) < 500 {
		t.Fatalf("etcd has only %d keys", len(keys))
	}
	return keys
}

// etcdFiles returns the files of etcd. Its write-ahead log contains all former values.
func etcdFiles(t *testing.T) map[string][]byte {
	t.Helper()
	files := map[string][]byte{}
	err := filepath.WalkDir(world.EtcdFolder(), func(path string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		files[filepath.Base(path)], err = os.ReadFile(path)
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	if names := strings.Join(slices.Collect(maps.Keys(files)), " "); !strings.Contains(names, ".wal") || !strings.Contains(names, "db") {
		t.Fatalf("etcd has only %s", names)
	}
	return files
}

// plant writes a token to each place that is searched, each in another spelling, and checks that it is found.
func plant(t *testing.T, tokens *canary.Secrets, text string) {
	encoded := base64.StdEncoding.EncodeToString([]byte("alice:" + text))
	world.jira.kubectl(t, "create", "configmap", "planted", "--from-literal=header="+encoded)
	world.jira.kubectl(t, "annotate", "atlassiansite", world.jira.name, "planted="+text[:len(text)-5])
	who{site: world.jira}.curl(t, "GET", world.jira.myself+"?planted="+text, "")
	if found := tokens.Find(etcdKeys(t)["/registry/configmaps/"+world.jira.namespace+"/planted"]); len(found) == 0 {
		t.Error("not found in etcd")
	}
	for name, content := range etcdFiles(t) {
		if strings.HasSuffix(name, "0.wal") && len(tokens.Find(content)) == 0 {
			t.Errorf("not found in %s", name)
		}
	}
	written := everythingWritten(t)
	for _, place := range []string{"the log of the nginx", "the resources"} {
		if len(tokens.Find(written[place])) == 0 {
			t.Errorf("not found in %s", place)
		}
	}
}
