package fault_test

import (
	"bufio"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"k8s.io/client-go/rest"

	"apitokens.dev/operator/hack/lib/fault"
)

// newAPI returns a proxy in front of a server that has one user and watches that never end.
func newAPI(t *testing.T) *fault.API {
	t.Helper()
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.Header.Get("Authorization") != "Bearer known" {
			w.WriteHeader(http.StatusUnauthorized)
			return
		}
		_, _ = fmt.Fprintln(w, "answer")
		if r.URL.Query().Get("watch") == "true" {
			_ = http.NewResponseController(w).Flush()
			<-r.Context().Done()
		}
	}))
	t.Cleanup(server.Close)
	api, err := fault.NewAPI(&rest.Config{Host: server.URL, BearerToken: "known"})
	must(t, err)
	t.Cleanup(api.Close)
	return api
}

func get(t *testing.T, api *fault.API, query string) *http.Response {
	t.Helper()
	response, err := http.Get(api.URL() + "/x" + query)
	must(t, err)
	t.Cleanup(func() { _ = response.Body.Close() })
	return response
}

// firstLine reads the first line of a body that goes on.
func firstLine(t *testing.T, response *http.Response) string {
	t.Helper()
	line, err := bufio.NewReader(response.Body).ReadString('\n')
	must(t, err)
	return line
}

func TestAPIPassesOnAsItsUser(t *testing.T) {
	api := newAPI(t)
	for _, query := range []string{"", "?watch=true"} {
		if line := firstLine(t, get(t, api, query)); line != "answer\n" {
			t.Errorf("%q was answered %q", query, line)
		}
	}
}

func TestAPIFails(t *testing.T) {
	api := newAPI(t)
	for name, tc := range map[string]struct {
		fault  fault.Fault
		status int
		header string
	}{
		"error":  {fault.Fail(http.StatusInternalServerError), http.StatusInternalServerError, ""},
		"busy":   {fault.Busy(3), http.StatusTooManyRequests, "3"},
		"passed": {fault.Pass, http.StatusOK, ""},
	} {
		api.Set(tc.fault)
		if response := get(t, api, ""); response.StatusCode != tc.status || response.Header.Get("Retry-After") != tc.header {
			t.Errorf("%s: answered %s, Retry-After %q", name, response.Status, response.Header.Get("Retry-After"))
		}
	}
}

func TestAPIDelays(t *testing.T) {
	api := newAPI(t)
	api.Set(fault.Delay(50 * time.Millisecond))
	begun := time.Now()
	if line := firstLine(t, get(t, api, "")); line != "answer\n" || time.Since(begun) < 50*time.Millisecond {
		t.Errorf("answered %q after %s", line, time.Since(begun))
	}
}

func TestAPICuts(t *testing.T) {
	api := newAPI(t)
	whole := get(t, api, "?watch=true")
	if line := firstLine(t, whole); line != "answer\n" {
		t.Fatalf("answered %q", line)
	}
	api.Cut()
	if _, err := io.ReadAll(whole.Body); err == nil {
		t.Error("a watch that was cut seemed to have ended by itself")
	}
	api.Set(fault.CutWatches(50 * time.Millisecond))
	if answer, err := io.ReadAll(get(t, api, "?watch=true").Body); string(answer) != "answer\n" || err == nil {
		t.Errorf("a watch that is cut after a time: %q, %v", answer, err)
	}
	if answer, err := io.ReadAll(get(t, api, "").Body); string(answer) != "answer\n" || err != nil {
		t.Errorf("what is no watch: %q, %v", answer, err)
	}
}

func TestAPIMutesWatches(t *testing.T) {
	api := newAPI(t)
	api.Set(fault.Mute)
	mute := get(t, api, "?watch=true&sendInitialEvents=true")
	api.Cut()
	if answer, err := io.ReadAll(mute.Body); len(answer) > 0 || err == nil {
		t.Errorf("a mute watch said %q, %v", answer, err)
	}
	if line := firstLine(t, get(t, api, "?watch=true&resourceVersion=7")); !strings.Contains(line, `"code":410`) {
		t.Errorf("going on from a version was answered %q", line)
	}
	if line := firstLine(t, get(t, api, "")); line != "answer\n" {
		t.Errorf("what is no watch was answered %q", line)
	}
}

func TestAPIForgetsHistory(t *testing.T) {
	api := newAPI(t)
	api.Set(fault.Forget)
	if line := firstLine(t, get(t, api, "?watch=true&resourceVersion=7")); !strings.Contains(line, `"code":410`) {
		t.Errorf("going on from a version was answered %q", line)
	}
	for _, query := range []string{"", "?watch=true&sendInitialEvents=true&resourceVersion=7"} {
		if line := firstLine(t, get(t, api, query)); line != "answer\n" {
			t.Errorf("%q was answered %q", query, line)
		}
	}
}
