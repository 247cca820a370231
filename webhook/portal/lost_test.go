package portal_test

import (
	"encoding/json"
	"fmt"
	"net/http"
	"strings"
	"testing"

	"apitokens.dev/operator/hack/lib/kubetest"
)

// A change that was done although its answer was lost is found. It is finished, or taken back, and the answer says which.
func TestLostAnswers(t *testing.T) {
	for name, tc := range map[string]struct {
		// method and path are the request whose answer is lost. With off, all later ones fail until the portal has answered.
		method, path string
		off          bool
		rotates      bool
		status       int
		says         string
	}{
		"of the APIToken":                   {method: "POST", path: "/apitokens", status: http.StatusCreated},
		"of the APIToken, and then nothing": {method: "POST", path: "/apitokens", off: true, status: http.StatusServiceUnavailable, says: "it is taken back"},
		"of the record":                     {method: "POST", path: "/secrets", status: http.StatusServiceUnavailable, says: "was taken back"},
		"of the mark":                       {method: "PATCH", path: "/apitokens", status: http.StatusServiceUnavailable, says: "was taken back"},
		"of a rotation":                     {method: "PUT", path: "/secrets", rotates: true, status: http.StatusOK},
		"of a rotation, and then nothing":   {method: "PUT", path: "/secrets", off: true, rotates: true, status: http.StatusServiceUnavailable, says: "that is taken back"},
	} {
		t.Run(name, func(t *testing.T) {
			w := env.Jira(t)
			id, text := create(t, w, "alice")
			x := exchange{method: "POST", target: "/rest/api-tokens/latest/", body: `{"label":"lost"}`, header: session(w, "alice"), media: "application/json"}
			if tc.rotates {
				x.target, x.body = x.target+id+"/rotate", `{"overlapHours":0}`
			}
			found := api.lose(t, tc.method, tc.path, tc.off)
			status, said := x.answer(t, w)
			found()
			if status != tc.status || !strings.Contains(said, tc.says) {
				t.Fatalf("%d %s", status, said)
			}
			works := text
			if status < 300 {
				var made struct{ Token string }
				must(t, json.Unmarshal([]byte(said), &made))
				works = made.Token
			}
			want := 1
			if status == http.StatusCreated {
				want = 2
			}
			kubetest.Eventually(t, func() error {
				if all := apiTokens(t, w); len(all) != want {
					return fmt.Errorf("there are %d APITokens", len(all))
				}
				return accepted(t, w, works)
			})
		})
	}
}
