//go:build long

package main

import (
	"io"
	"net/http"
	"testing"
	"time"
)

// Long polling, and exports that begin late, outlast nginx's own limit of a minute.
func TestLongPolling(t *testing.T) {
	const silent = 70 * time.Second
	s := begin(t)
	product := http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path == "/login.jsp" {
			return
		}
		select {
		case <-time.After(silent):
			_, _ = io.WriteString(w, "answered late")
		case <-r.Context().Done():
		}
	})
	gateway, _ := s.beside(t, product, ok)
	for who, as := range s.callers() {
		t.Run(who, func(t *testing.T) {
			t.Parallel()
			r := newRequest(t, http.MethodGet, gateway.URL+"/rest/x", http.NoBody)
			as(r)
			if response, body := do(t, r); response.StatusCode != http.StatusOK || body != "answered late" {
				t.Errorf("answered %d %s", response.StatusCode, body)
			}
		})
	}
}
