package fakeproduct

import (
	"bytes"
	"io"
	"net/http"
	"time"
)

// SetUnavailable makes the double answer 503 with a page to everything, as
// what stands before a product that is down does, until it is switched back.
// The requests are recorded, with nobody as their user.
func (p *Product) SetUnavailable(down bool) { p.unavailable.Store(down) }

// SetDelay makes the double wait before it does what a request asks for. A
// client that loses patience is not waited for any longer, but what it asked
// for is done all the same, as by a server that does not notice.
func (p *Product) SetDelay(d time.Duration) { p.delay.Store(int64(d)) }

func (p *Product) wait(r *http.Request) {
	d := time.Duration(p.delay.Load())
	if d <= 0 {
		return
	}
	// Only with the body read does Go's server notice that a client left.
	body, _ := io.ReadAll(io.LimitReader(r.Body, maxBody+1)) // what a client leaves unsent is judged as if it were all
	r.Body = io.NopCloser(bytes.NewReader(body))
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
	case <-r.Context().Done():
	}
}
