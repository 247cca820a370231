package gateways_test

import (
	"context"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"testing"
	"time"

	"apitokens.dev/operator/internal/authn"
	"apitokens.dev/operator/webhook/gateway/contract"
)

const echo = "/rest/double/1.0/echo"

// realPrograms are the gateways that are programs.
func realPrograms() []program {
	return slices.DeleteFunc(programs(), func(p program) bool { return p.filter })
}

// overHTTP2 sends with HTTP/2, without TLS.
func (w *world) overHTTP2(t *testing.T, gateway string) sender {
	t.Helper()
	transport := &http.Transport{Protocols: new(http.Protocols)}
	transport.Protocols.SetUnencryptedHTTP2(true)
	t.Cleanup(transport.CloseIdleConnections)
	return func(t *testing.T, method, target string, headers ...string) received {
		t.Helper()
		w.product.Reset()
		ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
		defer cancel()
		r, err := http.NewRequestWithContext(ctx, method, "http://"+gateway, http.NoBody)
		if err != nil {
			t.Fatal(err)
		}
		r.URL.Opaque = "//" + gateway + target // The target stays as it is.
		for _, header := range headers {
			name, value, _ := strings.Cut(header, ": ")
			r.Header[name] = append(r.Header[name], value)
		}
		answer, err := transport.RoundTrip(r)
		if err != nil {
			t.Fatalf("%s %s: %v", method, target, err)
		}
		if answer.ProtoMajor != 2 {
			t.Fatalf("the gateway answered with %s", answer.Proto)
		}
		return w.received(answer)
	}
}

// HTTP/2 changes no verdict: neither for the table nor for paths with which gateways were bypassed.
func TestHTTP2(t *testing.T) {
	through(t, slices.DeleteFunc(programs(), func(p program) bool { return p.http2 == nil }), func(t *testing.T, p program) {
		w := newWorld(t)
		send := w.overHTTP2(t, p.start(t, w, p.http2...))
		for _, c := range w.credentials() {
			for _, path := range []string{myself, myself + "?expand=groups", "//rest//api//2//myself"} {
				for _, method := range []string{"GET", "POST", "OPTIONS"} {
					w.check(t, p, send, c, method, path)
				}
			}
			for _, header := range forged {
				w.check(t, p, send, c.with(header), "GET", myself)
			}
		}
		for _, target := range targets {
			if !strings.ContainsAny(target, `\#`) { // Go sends no such path, or sends it again and again when the stream is refused.
				w.checkPath(t, p, send, "GET", target)
			}
		}
		p.judge(t, "two credentials", func(fail func(format string, a ...any)) {
			got := send(t, "GET", myself, "Authorization: "+basic("alice", w.token), "authorization: Bearer "+pat)
			if got.status < 400 || len(got.seen) != 0 {
				fail("%d, and the product saw %+v", got.status, got.seen)
			}
		})
	})
}

// A token acts with every method, or the gateway refuses the method. The product sees the method that the client sent.
func TestMethods(t *testing.T) {
	through(t, programs(), func(t *testing.T, p program) {
		w := newWorld(t)
		send := w.over(p.start(t, w))
		for _, method := range []string{"GET", "HEAD", "POST", "PUT", "DELETE", "OPTIONS", "PATCH", "PROPFIND", "MKCOL", "REPORT", "QUERY", "TRACE", "get"} {
			for _, c := range w.credentials()[:4] {
				p.judge(t, method+" with "+c.name, func(fail func(format string, a ...any)) {
					got := send(t, method, myself, c.headers...)
					if len(got.seen) == 0 && got.status < 400 || len(got.seen) != 0 && c.refused {
						fail("%d, and the product saw %d requests", got.status, len(got.seen))
					}
					for _, seen := range got.seen {
						w.judgeSeen(fail, p, seen, c, method)
					}
				})
			}
		}
	})
}

// A tunnel is nothing to ask about, and no gateway opens one.
func TestConnect(t *testing.T) {
	through(t, realPrograms(), func(t *testing.T, p program) {
		w := newWorld(t)
		send := w.over(p.start(t, w))
		for _, target := range []string{w.productAt, "/rest/api/2/myself", "*"} {
			p.judge(t, "CONNECT "+target, func(fail func(format string, a ...any)) {
				if got := send(t, "CONNECT", target, "Authorization: "+basic("alice", w.token)); got.status < 400 && target != "*" || len(got.seen) != 0 {
					fail("%d, and the product saw %+v", got.status, got.seen)
				}
			})
		}
	})
}

// The preflight of a browser has no credential. The product answers it, by its own allowlist.
func TestPreflight(t *testing.T) {
	through(t, programs(), func(t *testing.T, p program) {
		w := newWorld(t)
		send := w.over(p.start(t, w))
		asks := []string{"Origin: https://app.example", "Access-Control-Request-Method: PUT", "Access-Control-Request-Headers: authorization"}
		p.judge(t, "a preflight", func(fail func(format string, a ...any)) {
			got := send(t, "OPTIONS", myself, asks...)
			if len(got.seen) != 1 || got.seen[0].User != "" || got.seen[0].Method != http.MethodOptions {
				fail("%d, and the product saw %+v", got.status, got.seen)
				return
			}
			for _, ask := range asks {
				if name, value, _ := strings.Cut(ask, ": "); got.seen[0].Header.Get(name) != value {
					fail("the product got %q as %s", got.seen[0].Header.Get(name), name)
				}
			}
		})
		p.judge(t, "what follows", func(fail func(format string, a ...any)) {
			got := send(t, "GET", myself, asks[0], "Authorization: "+basic("alice", w.token))
			if got.status != 200 || len(got.seen) != 1 || got.seen[0].Header.Get("Origin") != "https://app.example" {
				fail("%d, and the product saw %+v", got.status, got.seen)
			}
		})
	})
}

// Credentials that are not ours reach the product byte for byte.
func TestOtherCredentialsPassUntouched(t *testing.T) {
	through(t, programs(), func(t *testing.T, p program) {
		w := newWorld(t)
		send := w.over(p.start(t, w))
		for name, value := range map[string]string{
			"OAuth 1.0a": `OAuth realm="", oauth_consumer_key="a%2Cb", oauth_token="x",  oauth_signature="k%3D", oauth_version="1.0"`,
			"Kerberos":   "Negotiate " + strings.Repeat("YIIJ", 3<<10), "NTLM": "NTLM TlRMTVNTUAABAAAA", "a PAT": "Bearer " + pat, "an own scheme": "JWT eyJh.b.c",
			"a password": basic("alice", password), "a lower-case scheme": "bearer " + pat, "a password with colons": basic("alice", "a:b:c"),
		} {
			for _, target := range []string{myself, "/secure/Dashboard.jspa"} {
				p.judge(t, name+" at "+target, func(fail func(format string, a ...any)) {
					got := send(t, "GET", target, "Authorization: "+value)
					if len(got.seen) != 1 || !slices.Equal(got.seen[0].Header["Authorization"], []string{value}) {
						fail("%d, and the product saw %.300v", got.status, got.seen)
					}
				})
			}
		}
	})
}

// A target may have scheme and host. Whatever host that is, a token acts as its owner at a token path alone, or not at all.
func TestAbsoluteForm(t *testing.T) {
	through(t, realPrograms(), func(t *testing.T, p program) {
		w := newWorld(t)
		gateway := p.start(t, w)
		for _, origin := range []string{"http://" + gateway, "http://other.example", "HTTP://" + gateway, "https://" + gateway, "http://u:p@" + gateway} {
			for _, c := range w.credentials()[:4] {
				for _, path := range []string{myself, "/secure/Dashboard.jspa", "/rest/pat/latest/tokens"} {
					p.judge(t, origin+path+" with "+c.name, func(fail func(format string, a ...any)) {
						got := w.send(t, gateway, "GET", origin+path, c.headers...)
						for _, seen := range got.seen {
							if path == myself {
								w.judgeSeen(fail, p, seen, c, "GET")
							} else if seen.User == "alice" || c.refused && path != "/secure/Dashboard.jspa" {
								fail("%d, and the product ran it as %q", got.status, seen.User)
							}
						}
					})
				}
			}
		}
		p.judge(t, "OPTIONS *", func(fail func(format string, a ...any)) {
			for _, seen := range w.send(t, gateway, "OPTIONS", "*", "Authorization: "+basic("alice", w.token)).seen {
				if seen.User != "" || strings.Contains(fmt.Sprint(seen.Header), basic("alice", w.token)) {
					fail("the product saw %+v", seen)
				}
			}
		})
	})
}

// spellings returns every spelling of a header's name that a product could take for it.
func spellings(name string) []string {
	all := []string{""}
	for _, c := range name {
		var longer []string
		for _, begun := range all {
			if c != '-' {
				longer = append(longer, begun+string(c))
				continue
			}
			longer = append(longer, begun+"-", begun+"_", begun+".")
		}
		all = longer
	}
	return append(all, strings.ToUpper(name), strings.ToLower(name))
}

// A client names somebody in every spelling of every identity header, once or twice, and asks intermediaries to drop headers.
func TestSpellingsOfIdentity(t *testing.T) {
	through(t, append(programs(), variants()...), func(t *testing.T, p program) {
		w := newWorld(t)
		send := w.over(p.start(t, w))
		names := []string{"X-Forwarded-User", "X-Api-Token-Id", "X-Api-Token-Target"}
		if p.untold {
			names = names[:2]
		}
		for _, name := range names {
			for _, spelled := range spellings(name) {
				for _, c := range w.credentials()[:3] {
					c = c.with(spelled + ": root")
					w.check(t, p, send, c, "GET", myself)
				}
			}
		}
		for _, c := range w.credentials()[:2] {
			w.check(t, p, send, c.with("X-Forwarded-User: root").with("X-Forwarded-User: root"), "GET", myself)
			w.check(t, p, send, c.with("X-Forwarded-User:  \troot\t"), "GET", myself)
		}
	})
}

// A client's `Connection` may drop our identity, which makes the request anonymous, and never the client somebody else.
func TestHopByHop(t *testing.T) {
	through(t, realPrograms(), func(t *testing.T, p program) {
		w := newWorld(t)
		send := w.over(p.start(t, w))
		for _, names := range []string{"Authorization", "X-Forwarded-User", "X-Api-Token-Id", "X-Forwarded-Uri, X-Forwarded-Method", "X-Original-URL", "X-Forwarded-For", "Cookie", "x-api-token-caller"} {
			p.judge(t, "Connection: "+names, func(fail func(format string, a ...any)) {
				got := send(t, "GET", myself, "Authorization: "+basic("alice", w.token), "Connection: "+names, "X-Forwarded-User: root", "X-Forwarded-Uri: /rest/pat")
				if got.status < 400 && (len(got.seen) != 1 || got.seen[0].User != "alice") {
					fail("%d, and the product saw %+v", got.status, got.seen)
				}
				for _, seen := range got.seen {
					if text := fmt.Sprint(seen.Header); strings.Contains(text, "root") || strings.Contains(text, basic("alice", w.token)) {
						fail("the product saw %v", seen.Header)
					}
				}
			})
		}
	})
}

// Lines of a header that are folded or spaced oddly never carry a token past the webhook, also where only credentials are asked about.
func TestFoldedHeaders(t *testing.T) {
	through(t, programs(), func(t *testing.T, p program) {
		w := newWorld(t)
		send := w.over(p.start(t, w))
		token := strings.TrimPrefix(basic("alice", w.token), "Basic ")
		for name, lines := range map[string][]string{
			"folded":                 {"Authorization: Basic\r\n " + token},
			"folded by a tab":        {"Authorization: Basic\r\n\t" + token},
			"a space before colon":   {"Authorization : Basic " + token},
			"a tab after colon":      {"Authorization:\tBasic " + token},
			"no space after colon":   {"Authorization:Basic " + token},
			"many spaces":            {"Authorization: Basic   " + token},
			"a space behind":         {"Authorization: Basic " + token + "  "},
			"another case":           {"aUTHORIZATION: bAsIc " + token},
			"a hidden second":        {"X-Ignored: a\r\n Authorization: Bearer " + pat, "Authorization: Basic " + token},
			"an empty one first":     {"Authorization:", "Authorization: Basic " + token},
			"a bare line feed":       {"X-Ignored: a\nAuthorization: Basic " + token},
			"an underscore":          {"Authorization_: Basic " + token, "Proxy_Authorization: Basic " + token},
			"bytes that are no text": {"Authorization: Basic " + token + "\x80\xff"},
		} {
			p.judge(t, name, func(fail func(format string, a ...any)) {
				for _, target := range p.asked() {
					for _, seen := range send(t, "GET", target, lines...).seen {
						if text := fmt.Sprint(seen.Header["Authorization"]); seen.User != "alice" && seen.User != "" || strings.Contains(text, token) {
							fail("the product served %q at %s with %q", seen.User, target, text)
						}
					}
				}
			})
		}
	})
}

// Without a verdict nothing passes that needs one, and the client learns that the fault is not theirs where the gateway can say so.
func TestNoVerdict(t *testing.T) {
	through(t, programs(), func(t *testing.T, p program) {
		w := newWorld(t)
		w.index = authn.NewIndex(time.Now) // It never hears of anything, as in a replica that starts.
		w.webhookAt = serve(t, contract.NewHandler(w.index, w.observe), 10*time.Second)
		w.checkNoVerdict(t, p, p.start(t, w), "not ready", p.unready)
		w.webhookAt = free(t)
		if !p.grpc { // Its filter starts the server.
			w.checkNoVerdict(t, p, p.start(t, w), "away", p.away)
		}
	})
}

func (w *world) checkNoVerdict(t *testing.T, p program, gateway, webhook string, status int) {
	t.Helper()
	for _, c := range w.credentials() {
		p.judge(t, "the webhook is "+webhook+", "+c.name, func(fail func(format string, a ...any)) {
			got := w.send(t, gateway, "GET", myself, c.headers...)
			if got.status != status || len(got.seen) != 0 || strings.Contains(got.body, callerKey) {
				fail("%d %.200s, want %d, and the product saw %d requests", got.status, got.body, status, len(got.seen))
			}
		})
	}
}

// Below a context path everything holds as at the root.
func TestContextPath(t *testing.T) {
	through(t, programs(), func(t *testing.T, p program) {
		w := newWorldAt(t, "/jira", "/rest/")
		gateway := p.start(t, w, p.context...)
		send := w.over(gateway)
		for _, c := range w.credentials() {
			for _, method := range []string{"GET", "POST"} {
				w.check(t, p, send, c, method, "/jira"+myself)
			}
		}
		w.checkPortal(t, p, gateway)
		for _, target := range targets {
			w.checkPath(t, p, send, "GET", "/jira"+target)
		}
		for _, target := range []string{"/rest/api/2/myself", "/jira/../jira/rest/pat/latest/tokens", "/jira;x/rest/pat", "/other/rest/api", "/JIRA/rest/api/2/myself", "/jira/jira/rest/api", "/%6aira/rest/pat/x"} {
			w.checkPath(t, p, send, "GET", target)
		}
	})
}

// A token counts below every path of `tokenPaths`, and nowhere else.
func TestTokenPaths(t *testing.T) {
	through(t, programs(), func(t *testing.T, p program) {
		w := newWorldAt(t, "", "/rest/", "/download/attachments/")
		send := w.over(p.start(t, w))
		for target, counted := range map[string]bool{
			"/download/attachments/10000/a.txt": !p.restAlone, "/rest/api/2/myself": true, "/download/other": false, "/download/attachments": false, "/download/attachments/../other": false,
			"/download/attachmentsX/1": false, "/download//attachments/1": !p.restAlone, "/secure/attachment/1/a.txt": false, "/download/attachments/%2e%2e/%2e%2e/secure/x": false,
		} {
			p.judge(t, target, func(fail func(format string, a ...any)) {
				got := send(t, "GET", target, "Authorization: "+basic("alice", w.token))
				alice := len(got.seen) == 1 && got.seen[0].User == "alice"
				if alice != counted {
					fail("%d, and the product saw %+v", got.status, got.seen)
				}
			})
		}
	})
}
