package double

import (
	"net/http"
	"slices"
)

// maxSeen bounds what the double remembers.
const maxSeen = 1000

// Seen is one request as the product received it.
type Seen struct {
	Method string `json:"method"`
	// RequestURI is the request target as sent, undecoded.
	RequestURI string `json:"requestURI"`
	// Path is the path by which Tomcat mapped the request, with the context
	// path, or "" for a target that Tomcat refuses.
	Path   string      `json:"path"`
	Header http.Header `json:"headers"`
	// User is who the request was served as, "" for anonymous.
	User string `json:"user"`
}

// Requests returns the last 1,000 requests received, oldest first.
func (j *Jira) Requests() []Seen {
	j.mu.Lock()
	defer j.mu.Unlock()
	requests := slices.Clone(j.seen)
	for i := range requests {
		requests[i].Header = requests[i].Header.Clone()
	}
	return requests
}

// Reset forgets the requests received. Sessions stay.
func (j *Jira) Reset() {
	j.mu.Lock()
	defer j.mu.Unlock()
	j.seen = nil
}

func (j *Jira) record(seen Seen) {
	seen.Header = seen.Header.Clone()
	j.mu.Lock()
	defer j.mu.Unlock()
	j.seen = append(j.seen, seen)
	if over := len(j.seen) - maxSeen; over > 0 {
		j.seen = slices.Delete(j.seen, 0, over)
	}
}
