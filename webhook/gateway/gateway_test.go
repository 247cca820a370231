package gateway

import (
	"errors"
	"io"
	"net"
	"net/http"
	"strings"
	"testing"
	"time"

	"apitokens.dev/operator/internal/audit"
	"apitokens.dev/operator/internal/authn"
	"apitokens.dev/operator/internal/serving"
	"apitokens.dev/operator/webhook/gateway/contract"
)

// Invariant 7: on the authentication port only our handler answers, also where the library has an answer of its own.
func TestServerAnswersNothingByItself(t *testing.T) {
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	server := serving.NewHTTP(contract.NewHandler(authn.NewIndex(time.Now), func(*audit.Exchange) {}), requestTimeout)
	served := make(chan error)
	go func() { served <- server.Serve(listener) }()
	defer func() {
		_ = server.Close()
		if err := <-served; !errors.Is(err, http.ErrServerClosed) {
			t.Error(err)
		}
	}()
	for _, request := range []string{"OPTIONS *", "GET /healthz", "GET /metrics", "GET /debug/pprof/", "CONNECT other:443", "GET /nginx/KEY/jira/main"} {
		conn, err := net.Dial("tcp", listener.Addr().String())
		if err != nil {
			t.Fatal(err)
		}
		if _, err := io.WriteString(conn, request+" HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n"); err != nil {
			t.Fatal(err)
		}
		answer, err := io.ReadAll(conn)
		if err != nil || !strings.HasPrefix(string(answer), "HTTP/1.1 503 ") {
			t.Errorf("%s: %q, %v", request, answer, err)
		}
		_ = conn.Close()
	}
}
