package fakeproduct

import (
	"errors"
	"net"
	"net/http"
	"strings"
	"testing"
	"time"
)

func TestUnavailable(t *testing.T) {
	for product, p := range bothProducts(t, Options{Users: twoUsers()}) {
		p.SetUnavailable(true)
		for _, path := range []string{p.whoAmI, "/login.jsp", "/rest/nothing", "/rest%2fapi"} {
			got := p.as(t, bearer("alice-pat"), "GET", path, "")
			if got.StatusCode != http.StatusServiceUnavailable || !strings.HasPrefix(got.Header.Get("Content-Type"), "text/html") || got.Header.Get("X-AUSERNAME") != "" {
				t.Errorf("%s, %s: got %d %s", product, path, got.StatusCode, got.body)
			}
		}
		if seen := p.Requests(); len(seen) != 4 || seen[0].Path != p.whoAmI || seen[0].User != "" {
			t.Errorf("%s: saw %+v", product, seen)
		}
		p.SetUnavailable(false)
		if got := p.as(t, bearer("alice-pat"), "GET", p.whoAmI, ""); got.StatusCode != http.StatusOK {
			t.Errorf("%s: back again: %d %s", product, got.StatusCode, got.body)
		}
	}
}

func TestDelay(t *testing.T) {
	for product, p := range bothProducts(t, Options{Users: twoUsers()}) {
		const delay = 50 * time.Millisecond
		p.SetDelay(delay)
		began := time.Now()
		if got := p.as(t, bearer("alice-pat"), "GET", p.whoAmI, ""); got.StatusCode != http.StatusOK || time.Since(began) < delay {
			t.Errorf("%s: %d after %s", product, got.StatusCode, time.Since(began))
		}
		p.SetDelay(0)
	}
}

// A client that disconnects gets no answer, and the product still handles its request.
func TestDelayOutlastsTheClient(t *testing.T) {
	for product, p := range bothProducts(t, Options{Users: twoUsers()}) {
		p.SetDelay(time.Hour)
		r := request(t, "POST", p.url+patPath, `{"name":"nobody knows of it"}`)
		r.Header.Set("Authorization", "Bearer alice-pat")
		// A cancelled request of Go's client may not have been sent at all.
		conn, err := net.Dial("tcp", r.URL.Host)
		if err == nil {
			err = errors.Join(r.Write(conn), conn.Close())
		}
		if err != nil {
			t.Fatalf("%s: %v", product, err)
		}
		deadline := time.After(10 * time.Second)
		for len(p.PersonalAccessTokens("alice")) < 2 {
			select {
			case <-time.After(time.Millisecond):
			case <-deadline:
				t.Fatalf("%s: alice has %+v", product, p.PersonalAccessTokens("alice"))
			}
		}
	}
}
