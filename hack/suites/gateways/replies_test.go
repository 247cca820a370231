package gateways_test

import (
	"fmt"
	"io"
	"maps"
	"net/http"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"
)

// replying is a webhook that answers everything in the same way: it is broken, or something else in its place.
type replying struct {
	status atomic.Int64
	header http.Header
}

func (r *replying) ServeHTTP(w http.ResponseWriter, _ *http.Request) {
	maps.Copy(w.Header(), r.header)
	w.Header().Set("Retry-After", "7")
	w.Header().Set("Location", "/login")
	w.Header().Add("WWW-Authenticate", `Basic realm="first"`)
	w.Header().Add("WWW-Authenticate", "Bearer")
	status := int(r.status.Load())
	w.WriteHeader(status)
	if status != http.StatusNoContent {
		_, _ = io.WriteString(w, "from the webhook")
	}
}

// replies are what the client gets of an answer that is not 200, by the gateway. 0 means that the request passes.
var replies = map[string]map[int]int{
	"nginx":         {202: 0, 204: 0, 302: 500, 401: 401, 403: 403, 404: 500, 429: 500, 500: 500, 503: 500},
	"ingress-nginx": {202: 0, 204: 0, 302: 500, 401: 401, 403: 403, 404: 500, 429: 500, 500: 500, 503: 500},
	"haproxy":       {202: 503, 204: 503, 302: 503, 401: 401, 403: 403, 404: 503, 429: 503, 500: 503, 503: 503},
	"caddy":         {202: 0, 204: 0, 302: 302, 401: 401, 403: 403, 404: 404, 429: 429, 500: 500, 503: 503},
	"traefik":       {202: 0, 204: 0, 302: 302, 401: 401, 403: 403, 404: 404, 429: 429, 500: 500, 503: 503},
}

// Whatever answers in the place of the webhook, a request passes only after a 2xx, and without a forged identity. An answer that
// names nobody makes the request anonymous, and one of another service lets nothing pass, where the gateway can tell. No gateway takes a
// large answer for a failure.
func TestReplies(t *testing.T) {
	through(t, realPrograms(), func(t *testing.T, p program) {
		w, webhook := newWorld(t), &replying{header: http.Header{"X-Api-Token-Target": {myself}}}
		w.webhookAt = serve(t, webhook, 0)
		gateway := p.start(t, w)
		ask := func(name string, judge func(fail func(format string, a ...any), got received)) {
			p.judge(t, name, func(fail func(format string, a ...any)) {
				got := w.send(t, gateway, "GET", myself, "Authorization: "+basic("alice", w.token), "X-Forwarded-User: root", "X-Api-Token-Id: root")
				text := fmt.Sprint(got.seen)
				if strings.Contains(text, "root") || strings.Contains(text, basic("alice", w.token)) {
					fail("a token or a forged identity reached the product: %s", text)
				}
				judge(fail, got)
			})
		}
		for status, want := range replies[strings.TrimSuffix(p.name, "-kubernetes")] {
			webhook.status.Store(int64(status))
			ask(strconv.Itoa(status), func(fail func(format string, a ...any), got received) {
				switch challenge := got.header.Get("WWW-Authenticate"); {
				case want == 0 && (len(got.seen) != 1 || got.seen[0].User != ""):
					fail("%d, and the product saw %+v", got.status, got.seen)
				case want != 0 && (len(got.seen) != 0 || got.status != want):
					fail("%d, want %d, and the product saw %+v", got.status, want, got.seen)
				case want == 401 && challenge != `Basic realm="first"`:
					fail("the challenge is %q", challenge)
				}
			})
		}
		webhook.status.Store(http.StatusOK)
		ask("200 that names nobody", func(fail func(format string, a ...any), got received) {
			if len(got.seen) != 1 || got.seen[0].User != "" {
				fail("%d, and the product saw %+v", got.status, got.seen)
			}
		})
		delete(webhook.header, "X-Api-Token-Target")
		ask("200 of another service", func(fail func(format string, a ...any), got received) {
			switch {
			case p.believes && (len(got.seen) != 1 || got.seen[0].User != ""):
				fail("%d, and the product saw %+v", got.status, got.seen)
			case !p.believes && (len(got.seen) != 0 || got.status != p.unready):
				fail("%d, want %d, and the product saw %+v", got.status, p.unready, got.seen)
			}
		})
		webhook.header["X-Api-Token-Target"] = []string{myself}
		webhook.header["X-Api-Token-Id"] = []string{"asp_1111111111111111"}
		webhook.header["X-Forwarded-User"] = []string{strings.Repeat("a", 6<<10)}
		ask("200 with 6 KiB", func(fail func(format string, a ...any), got received) {
			if len(got.seen) != 1 || got.seen[0].Header.Get("X-Forwarded-User") != webhook.header.Get("X-Forwarded-User") {
				fail("%d, and the product saw %d requests", got.status, len(got.seen))
			}
		})
	})
}

// HAProxy goes on after an error of our script. Nothing passes then that the script should have judged.
func TestHAProxyScriptFails(t *testing.T) {
	for name, edits := range map[string][]string{
		"no URL":     {"    setenv API_TOKEN_URL http://WEBHOOK/forward/-/SITE\n", ""},
		"no scheme":  {"API_TOKEN_URL http://WEBHOOK", "API_TOKEN_URL WEBHOOK"},
		"no address": {"    lua-load-per-thread", "    setenv API_TOKEN_VIA nonsense\n    lua-load-per-thread"},
	} {
		w := newWorld(t)
		gateway := startHAProxy(t, w, edits...)
		for _, c := range w.credentials() {
			if got := w.send(t, gateway, "GET", myself, c.headers...); got.status != 503 || len(got.seen) != 0 {
				t.Errorf("%s, %s: %d, and the product saw %+v", name, c.name, got.status, got.seen)
			}
		}
		if got := w.send(t, gateway, "GET", "/rest/api-tokens/latest/"); got.body != "the portal" {
			t.Errorf("%s: the portal answers %d", name, got.status)
		}
	}
}

// A webhook that hangs holds a request, or the gateway gives up: the request passes in neither case.
func TestSlowWebhook(t *testing.T) {
	through(t, realPrograms(), func(t *testing.T, p program) {
		w := newWorld(t)
		asked, release := make(chan struct{}, 1), make(chan struct{})
		free := sync.OnceFunc(func() { close(release) })
		w.webhookAt = serve(t, http.HandlerFunc(func(answer http.ResponseWriter, r *http.Request) {
			select {
			case asked <- struct{}{}:
			default:
			}
			select {
			case <-release:
			case <-r.Context().Done():
			}
			answer.WriteHeader(http.StatusServiceUnavailable)
		}), 0)
		t.Cleanup(free) // before the server closes
		gateway := p.start(t, w)
		p.judge(t, "a webhook that hangs", func(fail func(format string, a ...any)) {
			begun, givesUp := time.Now(), p.name == "nginx" || p.name == "haproxy"
			if !givesUp {
				go func() {
					<-asked
					if seen := w.product.Requests(); len(seen) != 0 {
						t.Errorf("the product saw %+v", seen)
					}
					free()
				}()
			}
			got := w.send(t, gateway, "GET", myself, "Authorization: "+basic("alice", w.token))
			if got.status != p.unready || len(got.seen) != 0 {
				fail("%d, want %d, and the product saw %+v", got.status, p.unready, got.seen)
			}
			if took := time.Since(begun); givesUp && took < 4*time.Second {
				fail("gave up after %s", took)
			}
		})
	})
}
