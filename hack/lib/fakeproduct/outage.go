package fakeproduct

import (
	"bytes"
	"io"
	"net/http"
	"time"
)

// SetUnavailable makes the fake product answer every request with a 503 page, as
// a proxy in front of a stopped product does. Requests are still recorded,
// without a user.
func (p *Product) SetUnavailable(down bool) { p.unavailable.Store(down) }

// SetDelay makes the fake product wait before it handles a request. When the
// client disconnects meanwhile, the request is handled nevertheless, as by a
// server that does not notice.
func (p *Product) SetDelay(d time.Duration) { p.delay.Store(int64(d)) }

func (p *Product) wait(r *http.Request) {
	d := time.Duration(p.delay.Load())
	if d <= 0 {
		return
	}
	// Go's server notices that a client has disconnected only after the body was read.
	body, _ := io.ReadAll(io.LimitReader(r.Body, maxBody+1)) // a body that was cut short is handled as it is
	r.Body = io.NopCloser(bytes.NewReader(body))
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
	case <-r.Context().Done():
	}
}
