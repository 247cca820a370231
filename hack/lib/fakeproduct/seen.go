package fakeproduct

import (
	"net/http"
	"slices"
)

// maxSeen is the number of requests that a fake product remembers.
const maxSeen = 1000

// Seen is one request as the product received it.
type Seen struct {
	Method string `json:"method"`
	// RequestURI is the request target as sent, undecoded.
	RequestURI string `json:"requestURI"`
	// Path is the path by which Tomcat mapped the request, with the context
	// path, or "" for a target that Tomcat refuses.
	Path string `json:"path"`
	// Forwarded is the path, inside the context path, that the product
	// forwarded the request to and ran; "" if it ran Path.
	Forwarded string `json:"forwarded,omitempty"`

	Header http.Header `json:"headers"`
	// User is the user that the request was served as, "" for anonymous.
	User string `json:"user"`
}

// Requests returns the last 1,000 requests received, oldest first.
func (p *Product) Requests() []Seen {
	p.mu.Lock()
	defer p.mu.Unlock()
	requests := slices.Clone(p.seen)
	for i := range requests {
		requests[i].Header = requests[i].Header.Clone()
	}
	return requests
}

// Reset forgets the requests received. Sessions stay.
func (p *Product) Reset() {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.seen = nil
}

func (p *Product) record(seen Seen) {
	seen.Header = seen.Header.Clone()
	p.mu.Lock()
	defer p.mu.Unlock()
	p.seen = append(p.seen, seen)
	if over := len(p.seen) - maxSeen; over > 0 {
		p.seen = slices.Delete(p.seen, 0, over)
	}
}
