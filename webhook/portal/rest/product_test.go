package rest_test

import (
	"net/http"
	"runtime"
	"sync"
	"testing"
	"time"

	"apitokens.dev/operator/hack/lib/kubetest"
	"apitokens.dev/operator/hack/lib/portaltest"
)

// While the product is away, its users get 503. API tokens still work.
func TestProductAway(t *testing.T) {
	eachProduct(t, func(t *testing.T, w *portaltest.World) {
		alice := session(t, w, "alice")
		id, text := alice.create(`{"label":"CI scripts"}`)
		w.Product.SetUnavailable(true)
		for _, request := range [][3]string{
			{"GET", "/", ""}, {"POST", "/", `{"label":"x"}`}, {"GET", "/" + id, ""}, {"DELETE", "/" + id, ""}, {"DELETE", "/all", ""}, {"GET", "/admin", ""},
			{"POST", "/" + id + "/rotate", ""},
		} {
			if got := alice.expect(http.StatusServiceUnavailable, request[0], request[1], request[2]); !got.says(t, w, "", "does not answer in time") {
				t.Error(got.body)
			}
		}
		script := alice.withToken("alice", text)
		script.expect(http.StatusOK, "GET", "/", "")
		again := script.expect(http.StatusOK, "POST", "/"+id+"/rotate", "").text(t, "token")
		alice.withToken("alice", again).create(`{"label":"child"}`)
		alice.with().expect(http.StatusAccepted, "POST", "/revoke", `{"token":"`+text+`"}`)
		w.Product.SetUnavailable(false)
		alice.expect(http.StatusNotFound, "GET", "/"+id, "")
	})
}

// A product that hangs gets few requests at the same time. Requests beyond the limit fail at once, all others within the timeout.
// Other sites are not affected.
func TestProductHangs(t *testing.T) {
	w, other := env.Jira(t), env.Confluence(t)
	alice, elsewhere := session(t, w, "alice"), session(t, other, "alice")
	_, text := alice.create(`{"label":"CI scripts"}`)
	idle := runtime.NumGoroutine()
	before := len(w.Product.Requests())
	w.Product.SetDelay(time.Hour)
	defer w.Product.SetDelay(0)
	const askers = 300
	var mu sync.Mutex
	atOnce := 0
	var group sync.WaitGroup
	for range askers {
		group.Go(func() {
			begun := time.Now()
			a, err := alice.try("GET", "/", "")
			took := time.Since(begun)
			if err != nil || a.status != http.StatusServiceUnavailable || took > 15*time.Second {
				t.Errorf("%d %s %v after %v", a.status, a.body, err, took)
			}
			mu.Lock()
			defer mu.Unlock()
			if took < 4*time.Second {
				atOnce++
			}
		})
	}
	// In the meantime:
	elsewhere.create(`{"label":"of a product that answers"}`)
	alice.withToken("alice", text).expect(http.StatusOK, "GET", "/", "")
	group.Wait()
	if asked := len(w.Product.Requests()) - before; asked > askers/2 {
		t.Errorf("the product was asked %d times", asked)
	}
	if atOnce < askers/2 {
		t.Errorf("only %d of %d were told at once", atOnce, askers)
	}
	w.Product.SetDelay(0)
	http.DefaultTransport.(*http.Transport).CloseIdleConnections()
	kubetest.Eventually(t, func() error {
		if n := runtime.NumGoroutine(); n > idle+100 {
			return &tooMany{n}
		}
		return nil
	})
	alice.expect(http.StatusOK, "GET", "/", "")
}

type tooMany struct{ goroutines int }

func (e *tooMany) Error() string { return "too many goroutines are left" }

// Requests to a slow product wait and succeed.
func TestSlowProduct(t *testing.T) {
	w := env.Confluence(t)
	alice := session(t, w, "alice")
	w.Product.SetDelay(300 * time.Millisecond)
	var group sync.WaitGroup
	for range 12 {
		group.Go(func() {
			if a, err := alice.try("GET", "/", ""); err != nil || a.status != http.StatusOK {
				t.Errorf("%d %s %v", a.status, a.body, err)
			}
		})
	}
	group.Wait()
	alice.create(`{"label":"x"}`)
}
