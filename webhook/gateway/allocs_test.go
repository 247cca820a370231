package gateway

import (
	"context"
	"crypto/rand"
	"encoding/base64"
	"io"
	"net/http"
	"net/http/httptest"
	"testing"
	"time"

	"github.com/go-logr/logr"
	"github.com/prometheus/client_golang/prometheus"
	"k8s.io/utils/clock"

	"apitokens.dev/operator/internal/audit"
	"apitokens.dev/operator/internal/authn"
	"apitokens.dev/operator/internal/authurl"
	"apitokens.dev/operator/internal/record"
	"apitokens.dev/operator/internal/token"
	"apitokens.dev/operator/webhook/gateway/usage"
)

// discard is a ResponseWriter whose header has room.
type discard struct{ header http.Header }

func (d discard) Header() http.Header         { return d.header }
func (d discard) Write(p []byte) (int, error) { return len(p), nil }
func (d discard) WriteHeader(int)             {}

// A request allocates these and nothing else: the values of the headers of the answer, and on a refusal the token id and what is looked
// at to find it.
func TestRequestAllocates(t *testing.T) {
	ix, text, unknown := indexed(t)
	registry := prometheus.NewRegistry()
	lines := audit.NewLog(io.Discard, registry)
	defer lines.Close()
	uses := usage.NewRecorder(func(context.Context, usage.Use) error { return nil }, clock.RealClock{}, 0, logr.Discard(), registry)
	handler := NewWeb(ix, func(x *audit.Exchange) {
		lines.Observe(x)
		uses.Observe(x)
	}, nil, nil).Handler
	for name, tc := range map[string]struct {
		authorization string
		want          float64
	}{
		"valid":            {"Basic " + base64.StdEncoding.EncodeToString([]byte("alice:"+text)), 1},
		"unknown token":    {"Basic " + base64.StdEncoding.EncodeToString([]byte("alice:"+unknown)), 3},
		"failing checksum": {"Basic " + base64.StdEncoding.EncodeToString([]byte("alice:asp_garbage")), 1},
		"password":         {"Basic " + base64.StdEncoding.EncodeToString([]byte("alice:password")), 1},
		"none":             {"", 1},
	} {
		r := httptest.NewRequest(http.MethodGet, "/nginx/-/jira/main", nil)
		r.Header = http.Header{
			"X-Api-Token-Caller": {"key"}, "X-Original-Url": {"https://jira.example.com/rest/api/2/myself"}, "X-Original-Method": {"GET"},
			"X-Real-Ip": {"192.0.2.1"}, "X-Forwarded-For": {"192.0.2.1"}, "X-Request-Id": {"1"},
		}
		if tc.authorization != "" {
			r.Header["Authorization"] = []string{tc.authorization}
		}
		w := discard{http.Header{}}
		if got := testing.AllocsPerRun(1000, func() { handler.ServeHTTP(w, r) }); got != tc.want {
			t.Errorf("%s: %v allocations, want %v", name, got, tc.want)
		}
	}
}

// indexed returns an index with a token of alice, its text, and a token that is not in it.
func indexed(t *testing.T) (ix *authn.Index, text, unknown string) {
	t.Helper()
	ix = authn.NewIndex(time.Now)
	at := authn.SiteName{Namespace: "jira", Name: "main"}
	ix.PutCallerKeys(at, map[authurl.Contract][]string{authurl.Nginx: {"key"}}, nil)
	ix.PutMemory(at, authn.Memory{UID: "site"})
	ix.PutSite(authn.Site{Name: at, UID: "site", Product: "Jira", TokenPaths: []string{"/rest/"}, Origin: "http://jira:8080"})
	ix.PutUpstreamCredential(authn.UpstreamCredential{Site: at, User: "alice", Authorization: "Bearer pat", Origin: "http://jira:8080"})
	id, text := mint(t)
	hash, err := record.NewHash(text, rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	ix.PutToken(authn.Token{UID: "uid", Namespace: "jira", Name: "ci", User: "alice", Site: at})
	ix.PutRecord("uid", &record.Record{
		TokenID: id, User: "alice", Site: record.Ref(at), APIToken: record.Ref{Namespace: "jira", Name: "ci"}, DeliverySecret: "ci",
		Entries: []record.Entry{{Hash: hash, State: record.Delivered, Issued: time.Now().UTC()}},
	})
	ix.SetReady()
	_, unknown = mint(t)
	return ix, text, unknown
}

func mint(t *testing.T) (id, text string) {
	t.Helper()
	id, err := token.NewID(rand.Reader)
	if err == nil {
		text, err = token.New(id, rand.Reader)
	}
	if err != nil {
		t.Fatal(err)
	}
	return id, text
}
