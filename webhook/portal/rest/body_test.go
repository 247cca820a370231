package rest_test

import (
	"encoding/json"
	"fmt"
	"net/http"
	"strings"
	"testing"
	"time"

	"apitokens.dev/operator/hack/lib/portaltest"
	"apitokens.dev/operator/webhook/portal/rest"
)

// Errors in a request have the format of the product and name the field. Nothing is created.
func TestInvalidBodies(t *testing.T) {
	many := func(n int, format string) string {
		all := make([]string, n)
		for i := range all {
			all[i] = fmt.Sprintf(format, i)
		}
		encoded, _ := json.Marshal(all) // strings can be encoded
		return string(encoded)
	}
	deep := strings.Repeat(`{"a":`, 5000) + "1" + strings.Repeat("}", 5000)
	eachProduct(t, func(t *testing.T, w *portaltest.World) {
		alice := session(t, w, "alice")
		for body, field := range map[string]string{
			`null`: "", `[]`: "", `[{"label":"x"}]`: "", `"label"`: "", `1`: "", `true`: "", `{`: "", `{"label":"x"`: "", `{"label":"x"}}`: "", `{"label":"x"} {}`: "",
			`{"label":"x"}x`: "", `{"label":"x",}`: "", `{label:"x"}`: "", `{'label':'x'}`: "", "{\"label\":\"x\ny\"}": "", "\ufeff" + `{"label":"x"}`: "", `{"label":"x"}` + "\x00": "",
			"{\"label\":\"\xff\"}": "", `// {"label":"x"}`: "",
			`{}`: "label", `{"label":null}`: "label", `{"label":""}`: "label", `{"label":"  "}`: "label", `{"label":1}`: "label", `{"label":true}`: "label", `{"label":["x"]}`: "label",
			`{"label":{"x":1}}`: "label", `{"label":"x\u0000"}`: "label", `{"label":"a\nb"}`: "label", `{"label":"a\u202eb"}`: "label", `{"label":"a\u2028b"}`: "label",
			`{"label":"` + strings.Repeat("x", 256) + `"}`: "label", `{"label":"` + strings.Repeat("報", 256) + `"}`: "label",
			`{"label":"x","label":"y"}`: "label", `{"label":"x","label":null}`: "label",
			`{"Label":"x"}`: "Label", `{"label":"x","LABEL":"y"}`: "LABEL", `{"label":"x","user":"bob"}`: "user", `{"label":"x","token":"x"}`: "token", `{"label":"x","":1}`: "",
			`{"label":"x","siteRef":{"name":"other"}}`: "siteRef", `{"label":"x","` + strings.Repeat("y", 1000) + `":1}`: strings.Repeat("y", 64) + "…",
			`{"label":"x","x":` + deep + `}`: "x", `{"label":` + deep + `}`: "label", `{"label":"x","__proto__":{}}`: "__proto__",
			`{"label":"x","access":"Admin"}`: "access", `{"label":"x","access":"readonly"}`: "access", `{"label":"x","access":1}`: "access",
			`{"label":"x","lifetimeDays":0}`: "lifetimeDays", `{"label":"x","lifetimeDays":-1}`: "lifetimeDays", `{"label":"x","lifetimeDays":3651}`: "lifetimeDays",
			`{"label":"x","lifetimeDays":2147483647}`: "lifetimeDays", `{"label":"x","lifetimeDays":2147483648}`: "lifetimeDays", `{"label":"x","lifetimeDays":1e2}`: "lifetimeDays",
			`{"label":"x","lifetimeDays":1e99}`: "lifetimeDays", `{"label":"x","lifetimeDays":30.0}`: "lifetimeDays", `{"label":"x","lifetimeDays":"30"}`: "lifetimeDays",
			`{"label":"x","lifetimeDays":` + strings.Repeat("9", 10_000) + `}`: "lifetimeDays", `{"label":"x","lifetimeDays":01}`: "",
			`{"label":"x","expiresAt":0}`: "expiresAt", `{"label":"x","expiresAt":-1}`: "expiresAt", `{"label":"x","expiresAt":1}`: "expiresAt", `{"label":"x","expiresAt":1e99}`: "expiresAt",
			`{"label":"x","expiresAt":-62135596800000}`: "expiresAt", `{"label":"x","expiresAt":-9223372036854775808}`: "expiresAt", `{"label":"x","expiresAt":9223372036854775807}`: "expiresAt",
			`{"label":"x","expiresAt":9223372036854775808}`: "expiresAt", `{"label":"x","expiresAt":253402300800000}`: "expiresAt", `{"label":"x","expiresAt":"2030-01-01"}`: "expiresAt",
			`{"label":"x","expiresAt":1.5}`: "expiresAt", `{"label":"x","expiresAt":` + millis(time.Now().Add(-time.Second)) + `}`: "expiresAt",
			`{"label":"x","lifetimeDays":1,"expiresAt":` + millis(time.Now().Add(time.Hour)) + `}`: "expiresAt",
			`{"label":"x","allowedSources":[]}`:                                                    "allowedSources", `{"label":"x","allowedSources":"192.0.2.0/24"}`: "allowedSources", `{"label":"x","allowedSources":{"0":"192.0.2.0/24"}}`: "allowedSources",
			`{"label":"x","allowedSources":[1]}`: "allowedSources", `{"label":"x","allowedSources":[null]}`: "allowedSources", `{"label":"x","allowedSources":["192.0.2.1","192.0.2.1/32"]}`: "allowedSources",
			`{"label":"x","allowedSources":["192.0.2.1/24"]}`: "allowedSources", `{"label":"x","allowedSources":["192.0.2.0/33"]}`: "allowedSources", `{"label":"x","allowedSources":["::1%eth0/128"]}`: "allowedSources",
			`{"label":"x","allowedSources":["192.0.2.0/24","192.0.2.0/24"]}`: "allowedSources", `{"label":"x","allowedSources":` + many(33, "10.0.%d.0/24") + `}`: "allowedSources",
			`{"label":"x","allowedPaths":[]}`: "allowedPaths", `{"label":"x","allowedPaths":["rest"]}`: "allowedPaths", `{"label":"x","allowedPaths":["/browse"]}`: "allowedPaths", `{"label":"x","allowedPaths":["/rest/api","/restx"]}`: "allowedPaths", `{"label":"x","allowedPaths":["/"]}`: "allowedPaths", `{"label":"x","allowedPaths":[""]}`: "allowedPaths",
			`{"label":"x","allowedPaths":["/rest/../x"]}`: "allowedPaths", `{"label":"x","allowedPaths":["/rest/;x"]}`: "allowedPaths", `{"label":"x","allowedPaths":["/rest//x"]}`: "allowedPaths",
			`{"label":"x","allowedPaths":["/rest","/rest"]}`: "allowedPaths", `{"label":"x","allowedPaths":["/` + strings.Repeat("x", 256) + `"]}`: "allowedPaths",
			`{"label":"x","allowedPaths":` + many(33, "/rest/%d") + `}`: "allowedPaths", `{"label":"x","allowedPaths":` + many(5000, "/%d") + `}`: "allowedPaths",
		} {
			got := alice.send("POST", "/", body)
			if got.status != http.StatusBadRequest || !got.says(t, w, field, "") {
				t.Errorf("%.200s: %d %.300s, want it refused for %q", body, got.status, got.body, field)
			}
			if len(got.body) > 500 {
				t.Errorf("%.200s: it is told in %d bytes", body, len(got.body))
			}
		}
		if err := wantIDs(alice); err != nil {
			t.Error(err)
		}
		for _, body := range []string{
			`{"label":"` + strings.Repeat("x", 255) + `"}`, `{"label":"` + strings.Repeat("報", 255) + `"}`, " \r\n\t{\"label\" : \"\\u00fc \\ud83d\\ude00\"} \n",
			`{"label":"x","expiresAt":253402300799999}`, `{"label":"x","lifetimeDays":3650,"access":null,"allowedPaths":null,"allowedSources":null,"expiresAt":null}`,
			`{"label":"x","allowedSources":` + many(32, "10.0.%d.0/24") + `,"allowedPaths":` + many(32, "/rest/%d") + `}`,
			`{"label":"x","allowedSources":["192.0.2.1","2001:db8::1"],"allowedPaths":["/rest"]}`,
			`{"label":"x","allowedPaths":["/rest/` + strings.Repeat("x", 250) + `"],"allowedSources":["0.0.0.0/0","::/0"]}`, `{"label":"<script>alert(1)</script>"}`, `{"label":"'; drop table --"}`,
		} {
			alice.expect(http.StatusCreated, "POST", "/", body)
		}
	})
}

// Every wrong field is named in one answer.
func TestAllErrorsAtOnce(t *testing.T) {
	eachProduct(t, func(t *testing.T, w *portaltest.World) {
		got := session(t, w, "alice").expect(http.StatusBadRequest, "POST", "/",
			`{"label":" ","lifetimeDays":0,"access":"Admin","allowedSources":["home"],"allowedPaths":["/browse"]}`)
		for _, field := range []string{"label", "lifetimeDays", "access", "allowedSources", "allowedPaths"} {
			if !got.says(t, w, field, field) {
				t.Errorf("%s is not named in %s", field, got.body)
			}
		}
	})
}

// A single address is accepted as on the page.
func TestSingleAddress(t *testing.T) {
	w := env.Jira(t)
	got := session(t, w, "alice").expect(http.StatusCreated, "POST", "/", `{"label":"x","allowedSources":["10.1.2.3","2001:db8::7","192.0.2.0/24"]}`)
	if want := `"allowedSources":["10.1.2.3/32","2001:db8::7/128","192.0.2.0/24"]`; !strings.Contains(got.body, want) {
		t.Errorf("%s, want %s", got.body, want)
	}
}

func TestInvalidBodiesOfOtherOperations(t *testing.T) {
	eachProduct(t, func(t *testing.T, w *portaltest.World) {
		alice := session(t, w, "alice")
		id, text := alice.create(`{"label":"stays"}`)
		for path, bodies := range map[string]map[string]string{
			"/" + id + "/rotate": {
				`null`: "", `[]`: "", `0`: "", `{"overlapHours":"1"}`: "overlapHours", `{"overlapHours":1.0}`: "overlapHours", `{"overlapHours":1e1}`: "overlapHours", `{"overlapHours":-1}`: "overlapHours",
				`{"overlapHours":1e99}`: "overlapHours", `{"overlapHours":true}`: "overlapHours", `{"overlapHours":1,"overlapHours":1}`: "overlapHours", `{"overlaphours":1}`: "overlaphours", `{"label":"x"}`: "label",
				`{"overlapHours":4294967296}`: "overlapHours", ` `: "",
			},
			"/revoke": {
				``: "", `{}`: "token", `{"token":null}`: "token", `{"token":1}`: "token", `{"token":["` + text + `"]}`: "token", `{"Token":"x"}`: "Token", `{"token":"x","user":"alice"}`: "user",
				`["` + text + `"]`: "", `"` + text + `"`: "", `null`: "",
			},
		} {
			for body, field := range bodies {
				if got := alice.send("POST", path, body, "Content-Type", "application/json"); got.status != http.StatusBadRequest || !got.says(t, w, field, "") {
					t.Errorf("%s %s: %d %s, want it refused for %q", path, body, got.status, got.body, field)
				}
			}
		}
		alice.withToken("alice", text).expect(http.StatusOK, "GET", "/", "")
	})
}

func TestLargeBodies(t *testing.T) {
	eachProduct(t, func(t *testing.T, w *portaltest.World) {
		alice := session(t, w, "alice")
		id, _ := alice.create(`{"label":"stays"}`)
		for _, path := range []string{"/", "/" + id + "/rotate", "/revoke"} {
			for _, size := range []int{rest.MaxBody + 1, 10 * rest.MaxBody} {
				if got := alice.expect(http.StatusRequestEntityTooLarge, "POST", path, strings.Repeat(" ", size)); !got.says(t, w, "", "65536") {
					t.Error(got.body)
				}
			}
		}
		body := `{"label":"x"}`
		alice.expect(http.StatusCreated, "POST", "/", body+strings.Repeat(" ", rest.MaxBody-len(body)))
	})
}

// Errors do not quote secrets, even if they were sent in the wrong place.
func TestErrorsQuoteNoSecrets(t *testing.T) {
	w := env.Jira(t)
	alice := session(t, w, "alice")
	_, text := alice.create(`{"label":"x"}`)
	for path, body := range map[string]string{
		"/": `{"label":1,"x":"` + text + `"}`, "/revoke": `{"token":{"` + text + `":1}}`, "/revoke/": `{"token":"` + text + ``, "/" + text: "", "/" + text + "/rotate": "",
	} {
		if got := alice.send("POST", path, body); got.status < 400 || strings.Contains(got.body, text) {
			t.Errorf("%s: %d %s", path, got.status, got.body)
		}
	}
	if strings.Contains(env.Audit(), text) {
		t.Error("it is in the log")
	}
}
