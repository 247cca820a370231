// Command pod is what the tests run in pods beside operator and gateway: the fake Jira, and a client.
//
//	pod jira PAT  serves the fake Jira at :8080, and what tests ask of it at :8081; PAT is alice's personal access token
//	pod idle      waits for its end, for `kubectl exec`
//	pod get URL   sends one request and prints status and body
package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"os/signal"
	"strings"
	"syscall"
	"time"

	"apitokens.dev/operator/hack/lib/fakeproduct"
)

func main() {
	if err := run(os.Args[1:]); err != nil {
		fmt.Fprintln(os.Stderr, "pod:", err)
		os.Exit(1)
	}
}

func run(args []string) error {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	switch {
	case len(args) == 2 && args[0] == "jira":
		return serve(ctx, args[1])
	case len(args) == 1 && args[0] == "idle":
		<-ctx.Done()
		return nil
	case len(args) == 2 && args[0] == "get":
		return get(ctx, args[1])
	}
	return errors.New("usage: pod jira PAT, pod idle or pod get URL")
}

// serve serves the fake Jira, and beside it what tests ask of it.
func serve(ctx context.Context, pat string) error {
	jira := fakeproduct.NewJira(fakeproduct.Options{Users: fakeproduct.People(pat)})
	control := http.NewServeMux()
	control.HandleFunc("GET /requests", func(w http.ResponseWriter, _ *http.Request) { _ = json.NewEncoder(w).Encode(jira.Requests()) })
	control.HandleFunc("POST /reset", func(http.ResponseWriter, *http.Request) { jira.Reset() })
	control.HandleFunc("POST /session/{user}", func(w http.ResponseWriter, r *http.Request) {
		_ = json.NewEncoder(w).Encode(jira.SignIn(r.PathValue("user")))
	})
	ended := make(chan error, 2)
	for address, handler := range map[string]http.Handler{":8080": jira, ":8081": control} {
		server := &http.Server{Addr: address, Handler: handler, ReadHeaderTimeout: 10 * time.Second}
		go func() { ended <- server.ListenAndServe() }()
	}
	select {
	case err := <-ended:
		return err
	case <-ctx.Done():
		return nil
	}
}

func get(ctx context.Context, url string) error {
	ctx, cancel := context.WithTimeout(ctx, 3*time.Second)
	defer cancel()
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, url, http.NoBody)
	if err != nil {
		return err
	}
	response, err := http.DefaultClient.Do(request)
	if err != nil {
		return err
	}
	defer response.Body.Close()
	body, err := io.ReadAll(io.LimitReader(response.Body, 1<<20))
	fmt.Println(response.StatusCode, strings.TrimSpace(string(body)))
	return err
}
