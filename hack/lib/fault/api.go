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

// API is an API server on loopback whose answers can be broken: behind it is a real one. It serves plain HTTP and
// everybody who asks has the rights of one user.
type API struct {
	server  *httptest.Server
	forward http.Handler

	mu    sync.Mutex
	fault Fault
	// uncut is done when all that is being answered is cut.
	uncut context.Context
	cut   context.CancelFunc
	// answering counts it.
	answering *sync.WaitGroup
}

// Fault is what happens to requests instead of, or on, their way to the API server.
type Fault func(w http.ResponseWriter, r *http.Request, forward http.Handler)

// NewAPI returns an API server that passes requests on with the rights of config. Close must be called to end it.
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

// URL is where clients ask.
func (a *API) URL() string { return a.server.URL }

// Set breaks answers in this way from now on. What is being answered goes on.
func (a *API) Set(f Fault) {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.fault = f
}

// Cut ends everything that is being answered, in the middle of it, and returns when nothing more comes of it.
func (a *API) Cut() {
	a.mu.Lock()
	cut, answering := a.cut, a.answering
	a.uncut, a.cut = context.WithCancel(context.Background())
	a.answering = &sync.WaitGroup{}
	a.mu.Unlock()
	cut()
	answering.Wait()
}

// Close ends everything.
func (a *API) Close() {
	a.Cut()
	a.server.CloseClientConnections()
	a.server.Close()
}

// ServeHTTP answers a request, or breaks it.
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

// Pass breaks nothing.
func Pass(w http.ResponseWriter, r *http.Request, forward http.Handler) { forward.ServeHTTP(w, r) }

// Fail answers with an error.
func Fail(status int) Fault {
	return func(w http.ResponseWriter, _ *http.Request, _ http.Handler) {
		http.Error(w, http.StatusText(status), status)
	}
}

// Busy tells clients to come again after some seconds.
func Busy(seconds int) Fault {
	return func(w http.ResponseWriter, _ *http.Request, _ http.Handler) {
		w.Header().Set("Retry-After", strconv.Itoa(seconds))
		http.Error(w, http.StatusText(http.StatusTooManyRequests), http.StatusTooManyRequests)
	}
}

// Delay lets clients wait before each answer.
func Delay(d time.Duration) Fault {
	return func(w http.ResponseWriter, r *http.Request, forward http.Handler) {
		select {
		case <-time.After(d):
			forward.ServeHTTP(w, r)
		case <-r.Context().Done():
		}
	}
}

// CutWatches cuts each watch after a time.
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

// Forget knows no history, as an API server that has just started: whoever wants to go on watching from where he was
// has to begin anew.
func Forget(w http.ResponseWriter, r *http.Request, forward http.Handler) {
	if !isWatch(r) || beginsAnew(r) {
		forward.ServeHTTP(w, r)
		return
	}
	w.Header().Set("Content-Type", "application/json")
	_, _ = io.WriteString(w, `{"type":"ERROR","object":{"kind":"Status","apiVersion":"v1","metadata":{},"status":"Failure",`+
		`"message":"too old resource version","reason":"Expired","code":410}}`+"\n")
}

// Mute knows no history either, and to watches that begin anew it never says what there is.
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

// beginsAnew is about watches that first tell all there is.
func beginsAnew(r *http.Request) bool { return r.URL.Query().Get("sendInitialEvents") == "true" }
