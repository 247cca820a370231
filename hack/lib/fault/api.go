package fault

import (
	"context"
	"fmt"
	"io"
	"log"
	"net/http"
	"net/http/httptest"
	"net/http/httputil"
	"net/url"
	"strconv"
	"sync"
	"time"

	"k8s.io/client-go/rest"
)

// API is a reverse proxy on loopback in front of a real API server. It serves plain HTTP, gives every client the rights
// of one user, and breaks answers on request.
type API struct {
	server  *httptest.Server
	forward http.Handler

	mu    sync.Mutex
	fault Fault
	// uncut is cancelled to cut all requests in flight.
	uncut context.Context
	cut   context.CancelFunc
	// answering counts the requests in flight.
	answering *sync.WaitGroup
}

// Fault handles a request instead of, or before, the API server.
type Fault func(w http.ResponseWriter, r *http.Request, forward http.Handler)

// NewAPI starts a proxy that forwards requests with the rights of config. The caller must call Close.
func NewAPI(config *rest.Config) (*API, error) {
	target, err := url.Parse(config.Host)
	if err != nil {
		return nil, fmt.Errorf("reading the address of the API server: %w", err)
	}
	transport, err := rest.TransportFor(config)
	if err != nil {
		return nil, fmt.Errorf("connecting to the API server: %w", err)
	}
	a := &API{fault: Pass, forward: &httputil.ReverseProxy{
		Rewrite:       func(r *httputil.ProxyRequest) { r.SetURL(target) },
		Transport:     transport,
		FlushInterval: -1, // events of a watch go out as they come in
		ErrorLog:      log.New(io.Discard, "", 0),
	}}
	a.uncut, a.cut = context.WithCancel(context.Background())
	a.answering = &sync.WaitGroup{}
	a.server = httptest.NewUnstartedServer(a)
	a.server.Config.ErrorLog = log.New(io.Discard, "", 0)
	a.server.Start()
	return a, nil
}

// URL returns the URL for clients.
func (a *API) URL() string { return a.server.URL }

// Set applies a fault to every request from now on. Requests in flight go on.
func (a *API) Set(f Fault) {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.fault = f
}

// Cut aborts all requests in flight, and returns when they have ended.
func (a *API) Cut() {
	a.mu.Lock()
	cut, answering := a.cut, a.answering
	a.uncut, a.cut = context.WithCancel(context.Background())
	a.answering = &sync.WaitGroup{}
	a.mu.Unlock()
	cut()
	answering.Wait()
}

// Close aborts all requests and stops the proxy.
func (a *API) Close() {
	a.Cut()
	a.server.CloseClientConnections()
	a.server.Close()
}

// ServeHTTP forwards a request, or applies the fault to it.
func (a *API) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	a.mu.Lock()
	fault, uncut, answering := a.fault, a.uncut, a.answering
	answering.Add(1)
	a.mu.Unlock()
	defer answering.Done()
	ctx, cancel := context.WithCancel(r.Context())
	defer cancel()
	defer context.AfterFunc(uncut, cancel)()
	fault(w, r.WithContext(ctx), a.forward)
	if ctx.Err() != nil {
		panic(http.ErrAbortHandler) // a client must not take what it has for all there is
	}
}

// Pass forwards the request unchanged.
func Pass(w http.ResponseWriter, r *http.Request, forward http.Handler) { forward.ServeHTTP(w, r) }

// Fail answers with an error status.
func Fail(status int) Fault {
	return func(w http.ResponseWriter, _ *http.Request, _ http.Handler) {
		http.Error(w, http.StatusText(status), status)
	}
}

// Busy answers 429 with a Retry-After of some seconds.
func Busy(seconds int) Fault {
	return func(w http.ResponseWriter, _ *http.Request, _ http.Handler) {
		w.Header().Set("Retry-After", strconv.Itoa(seconds))
		http.Error(w, http.StatusText(http.StatusTooManyRequests), http.StatusTooManyRequests)
	}
}

// Delay waits before each answer.
func Delay(d time.Duration) Fault {
	return func(w http.ResponseWriter, r *http.Request, forward http.Handler) {
		select {
		case <-time.After(d):
			forward.ServeHTTP(w, r)
		case <-r.Context().Done():
		}
	}
}

// CutWatches aborts each watch after a time.
func CutWatches(after time.Duration) Fault {
	return func(w http.ResponseWriter, r *http.Request, forward http.Handler) {
		if isWatch(r) {
			ctx, cancel := context.WithTimeout(r.Context(), after)
			defer cancel()
			r = r.WithContext(ctx)
		}
		forward.ServeHTTP(w, r)
	}
}

// Forget answers 410 Gone to a watch from an old resource version, as an API server does that has just started: the
// client has to list again.
func Forget(w http.ResponseWriter, r *http.Request, forward http.Handler) {
	if !isWatch(r) || beginsAnew(r) {
		forward.ServeHTTP(w, r)
		return
	}
	w.Header().Set("Content-Type", "application/json")
	_, _ = io.WriteString(w, `{"type":"ERROR","object":{"kind":"Status","apiVersion":"v1","metadata":{},"status":"Failure",`+
		`"message":"too old resource version","reason":"Expired","code":410}}`+"\n")
}

// Mute does the same as Forget, and never sends the initial objects to a watch that asks for them.
func Mute(w http.ResponseWriter, r *http.Request, forward http.Handler) {
	if !isWatch(r) || !beginsAnew(r) {
		Forget(w, r, forward)
		return
	}
	w.Header().Set("Content-Type", "application/json")
	_ = http.NewResponseController(w).Flush()
	<-r.Context().Done()
}

func isWatch(r *http.Request) bool { return r.URL.Query().Get("watch") == "true" }

// beginsAnew reports whether a request is a watch that asks for the initial objects first.
func beginsAnew(r *http.Request) bool { return r.URL.Query().Get("sendInitialEvents") == "true" }
