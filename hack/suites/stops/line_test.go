package stops_test

import (
	"context"
	"maps"
	"net/http"
	"net/http/httptest"
	"path"
	"strings"
	"sync"

	"k8s.io/client-go/rest"

	"apitokens.dev/operator/hack/lib/fault"
)

// line is the path of one process to the API server. Watches of one resource can lag on it, single requests can be held, and all
// of them can fail.
type line struct {
	*fault.API

	mu sync.Mutex
	// lagging is closed at the end of the lag of the resource. It is nil while nothing lags.
	lagging  chan struct{}
	resource string
	down     bool
	hold     *hold
}

// hold holds one request.
type hold struct {
	// left is how many requests pass before.
	left int
	// answered means that the API server handles the request first, and its answer is held.
	answered bool
	// lost means that the answer never arrives.
	lost              bool
	reached, released chan struct{}
}

func newLine(config *rest.Config) (*line, error) {
	l := &line{}
	var err error
	if l.API, err = fault.NewAPI(config); err != nil {
		return nil, err
	}
	l.Set(l.handle)
	return l, nil
}

func (l *line) handle(w http.ResponseWriter, r *http.Request, forward http.Handler) {
	if r.URL.Query().Get("watch") == "true" {
		forward.ServeHTTP(&lagging{w, l, resourceOf(r), r.Context()}, r)
		return
	}
	down, held := l.meet()
	switch {
	case down:
		http.Error(w, "down", http.StatusServiceUnavailable)
	case held == nil:
		forward.ServeHTTP(w, r)
	case !held.answered:
		held.wait(r.Context())
		forward.ServeHTTP(w, r)
	default:
		answer := httptest.NewRecorder()
		forward.ServeHTTP(answer, r)
		held.wait(r.Context())
		if held.lost {
			panic(http.ErrAbortHandler)
		}
		maps.Copy(w.Header(), answer.Header())
		w.WriteHeader(answer.Code)
		_, _ = w.Write(answer.Body.Bytes())
	}
}

// meet returns what happens to a request.
func (l *line) meet() (down bool, held *hold) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.hold != nil && !l.down {
		if l.hold.left--; l.hold.left < 0 {
			held, l.hold = l.hold, nil
		}
	}
	return l.down, held
}

func (h *hold) wait(ctx context.Context) {
	close(h.reached)
	select {
	case <-h.released:
	case <-ctx.Done():
	}
}

// holdNext holds a request from now on, after so many others.
func (l *line) holdNext(after int, answered, lost bool) *hold {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.hold = &hold{left: after, answered: answered, lost: lost, reached: make(chan struct{}), released: make(chan struct{})}
	return l.hold
}

// disarm holds no request that comes from now on.
func (l *line) disarm() {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.hold = nil
}

// release lets a held request go on, or holds none if it was not reached.
func (l *line) release(h *hold) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.hold == h {
		l.hold = nil
	}
	close(h.released)
}

// lag makes the watches of a resource carry nothing.
func (l *line) lag(resource string) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.lagging == nil {
		l.lagging, l.resource = make(chan struct{}), resource
	}
}

// catchUp ends the lag.
func (l *line) catchUp() {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.lagging != nil {
		close(l.lagging)
		l.lagging = nil
	}
}

func (l *line) setDown(down bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.down = down
}

// mend ends all faults.
func (l *line) mend() {
	l.catchUp()
	l.setDown(false)
}

func (l *line) lagOf(resource string) chan struct{} {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.resource == resource {
		return l.lagging
	}
	return nil
}

// lagging is the answer to a watch.
type lagging struct {
	http.ResponseWriter

	line     *line
	resource string
	ctx      context.Context
}

func (w *lagging) Unwrap() http.ResponseWriter { return w.ResponseWriter }

func (w *lagging) Write(b []byte) (int, error) {
	for lag := w.line.lagOf(w.resource); lag != nil; lag = w.line.lagOf(w.resource) {
		select {
		case <-lag:
		case <-w.ctx.Done():
			return 0, w.ctx.Err()
		}
	}
	return w.ResponseWriter.Write(b)
}

// resourceOf returns the resource of a watch. Of Secrets it is their type.
func resourceOf(r *http.Request) string {
	if _, of, ok := strings.Cut(r.URL.Query().Get("fieldSelector"), "type=apitokens.dev/"); ok {
		return of
	}
	return path.Base(r.URL.Path)
}
