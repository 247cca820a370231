package rest_test

import (
	"context"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"apitokens.dev/operator/hack/lib/portaltest"
)

// from sends a request to the portal as an ingress does that got it from this address.
func from(ctx context.Context, w *portaltest.World, address, cookie string) (status int, err error) {
	r, err := http.NewRequestWithContext(ctx, http.MethodGet, w.Portal+"/rest/api-tokens/latest/", http.NoBody)
	if err != nil {
		return 0, err
	}
	r.Header.Set("X-Real-Ip", address)
	r.Header.Set("Cookie", cookie)
	response, err := http.DefaultClient.Do(r)
	if err != nil {
		return 0, err
	}
	return response.StatusCode, response.Body.Close()
}

// Unknown sessions on 100 connections do not delay a user by more than a few answers of a product that takes 100 ms.
func TestFloodDelaysUsersByFewAnswers(t *testing.T) {
	const answers, connections, requests = 100 * time.Millisecond, 100, 20
	hosts := func(n int) func(int) string { return func(i int) string { return fmt.Sprintf("198.51.100.%d", i%n) } }
	for name, tc := range map[string]struct {
		cookie  string
		address func(int) string
		// known says that the product accepted the user's session before. most is how many answers they may wait for.
		known bool
		most  int
	}{
		"with other cookies":                    {"a=b; atlassian.xsrf.token=c", hosts(1), false, 2},
		"with sessions of their own":            {"JSESSIONID=unknown", hosts(1), false, 4},
		"from many addresses":                   {"JSESSIONID=unknown", hosts(100), true, 2},
		"from the user's address":               {"JSESSIONID=unknown", func(int) string { return "192.0.2.7" }, true, 2},
		"from the user's address, with Crowd's": {"crowd.token_key=unknown", func(int) string { return "192.0.2.7" }, true, 2},
	} {
		t.Run(name, func(t *testing.T) {
			w := env.Jira(t)
			alice := w.Product.SignIn("alice").String()
			if tc.known {
				_, _ = from(t.Context(), w, "192.0.2.7", alice)
			}
			w.Product.SetDelay(answers)
			flooded, stop := context.WithCancel(t.Context())
			var flood sync.WaitGroup
			for i := range connections {
				flood.Go(func() {
					for flooded.Err() == nil {
						_, _ = from(flooded, w, tc.address(i), tc.cookie) // whatever the answer is
						select {
						case <-time.After(20 * time.Millisecond): // the time of a network
						case <-flooded.Done():
						}
					}
				})
			}
			var took []time.Duration
			var others []int // how many answers others got while alice waited
			for range requests {
				began, before := time.Now(), len(w.Product.Requests())
				if status, err := from(t.Context(), w, "192.0.2.7", alice); status != http.StatusOK {
					t.Errorf("alice gets %d, %v", status, err)
				}
				took, others = append(took, time.Since(began)), append(others, len(w.Product.Requests())-before-1)
			}
			stop()
			flood.Wait()
			slices.Sort(took)
			slices.Sort(others)
			t.Logf("alice waits %s in the middle and %s at most; others get %d and %d answers meanwhile",
				took[requests/2], took[requests-1], others[requests/2], others[requests-1])
			// The bound is one of answers and not of time, because the machine that tests may be busy.
			if n := others[requests/2]; n > 4*tc.most {
				t.Errorf("others get %d answers while alice waits, want at most %d times the 4 that the product gives at the same time", n, tc.most)
			}
			if asked := len(w.Product.Requests()); strings.HasPrefix(tc.cookie, "a=b") && asked > requests+1 {
				t.Errorf("the product was asked %d times", asked)
			}
		})
	}
}
