package gateways_test

import (
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"
	"unicode/utf8"

	"google.golang.org/grpc/codes"

	"apitokens.dev/operator/internal/authn"
	"apitokens.dev/operator/internal/authurl"
	"apitokens.dev/operator/webhook/gateway/contract"
)

// FuzzContracts asks about one request through every contract. The credential and the raw target are anything. All contracts
// reach the same decision, and no answer has the token, unless it forwards what the client sent.
func FuzzContracts(f *testing.F) {
	w := &world{index: authn.NewIndex(time.Now), productAt: "jira:8080"}
	w.issue(f, []string{"/rest/"})
	w.index.SetReady()
	handler, grpc := contract.NewHandler(w.index, w.observe), grpcClient(f, w)
	for i, target := range append([]string{"/rest/?os_username={t}", "/rest/?a=%2e", "/", "/rest/\x80", "/rest/é"}, targets...) {
		f.Add("Basic {b}", target, "GET")
		f.Add([]string{"Bearer {t}", "Basic", "basic {b}=", "Basic {b}, Bearer x", "Negotiate {t}", "", "Basic YTpi", "Basic  {b}", "{t}"}[i%9], target, "POST")
	}
	f.Fuzz(func(t *testing.T, authorization, target, method string) {
		fill := strings.NewReplacer("{t}", w.token, "{b}", strings.TrimPrefix(basic("alice", w.token), "Basic "))
		authorization, target = fill.Replace(authorization), fill.Replace(target)
		if !strings.HasPrefix(target, "/") || strings.ContainsFunc(authorization+target+method, func(c rune) bool { return c < ' ' || c == 0x7f }) {
			return // No gateway asks about it.
		}
		if path, _, _ := strings.Cut(target, "?"); strings.Contains(path, w.token) {
			return // No credential stands there, and the answer repeats the target.
		}
		var first authn.Decision
		for i, r := range questions(authorization, target, method) {
			answer := httptest.NewRecorder()
			handler.ServeHTTP(answer, r)
			w.judgeExchange(t, &first, i == 0, r.RequestURI)
			for name, values := range answer.Header() {
				if first.Verdict != authn.Forward && strings.Contains(strings.Join(values, "\n"), w.token) {
					t.Errorf("%s: the answer has the token in %s", r.RequestURI, name)
				}
			}
		}
		if !utf8.ValidString(authorization) || !utf8.ValidString(target) || !utf8.ValidString(method) {
			return // Protocol Buffers hold no such text.
		}
		client := &http.Request{Method: method, Host: "h"}
		answer, err := grpc.Check(t.Context(), checkRequest(client, target, http.Header{"Authorization": {authorization}}, len(target)%2 == 0))
		if err != nil {
			t.Fatal(err)
		}
		w.judgeExchange(t, &first, false, "gRPC")
		if first.Verdict != authn.Forward && strings.Contains(answer.String(), w.token) {
			t.Error("the answer over gRPC has the token")
		}
	})
}

// judgeExchange compares the last decision with that of the first contract.
func (w *world) judgeExchange(t *testing.T, first *authn.Decision, isFirst bool, of string) {
	t.Helper()
	exchanges, _ := w.asked()
	if len(exchanges) != 1 {
		t.Fatalf("%s: observed %d exchanges", of, len(exchanges))
	}
	got := exchanges[0].Decision
	if strings.HasPrefix(of, "/"+string(authurl.Fabric)+"/") { // It is told no address.
		if got.Client.IsValid() {
			t.Errorf("%s: the client is at %s", of, got.Client)
		}
		got.Client = first.Client
	}
	if isFirst {
		*first = got
	} else if got != *first {
		t.Errorf("%s: decided\n%+v, another contract\n%+v", of, got, *first)
	}
	if got.Verdict == authn.Allow && (got.User != "alice" || got.Authorization != "Bearer "+pat) {
		t.Errorf("%s: allowed %+v", of, got)
	}
}

// questions are the questions of all contracts over HTTP about one request.
func questions(authorization, target, method string) (all []*http.Request) {
	for _, c := range authurl.Contracts() {
		h := http.Header{"Authorization": {authorization}, "X-Forwarded-For": {"127.0.0.1"}}
		r := &http.Request{Method: http.MethodGet, RequestURI: "/" + string(c) + "/" + callerKey + "/" + site.String(), Header: h}
		switch c {
		case authurl.Nginx:
			h["X-Original-Url"], h["X-Original-Method"], h["X-Real-Ip"] = []string{"http://h" + target}, []string{method}, []string{"127.0.0.1"}
		case authurl.Forward:
			h["X-Forwarded-Uri"], h["X-Forwarded-Method"] = []string{target}, []string{method}
		case authurl.Fabric:
			h["Path"], h["Method"] = []string{target}, []string{method}
		case authurl.Envoy:
			r.Method, r.RequestURI = method, r.RequestURI+target
		default:
			continue
		}
		all = append(all, r)
	}
	return all
}

// FuzzContextExtensions asks over gRPC about a request with a token, where the site, the caller key and one more extension are
// anything. There is a verdict for the site's own name and key alone, whatever else the extensions say. Without them nothing passes,
// and the answer tells nothing.
func FuzzContextExtensions(f *testing.F) {
	w := &world{index: authn.NewIndex(time.Now), productAt: "jira:8080"}
	w.issue(f, []string{"/rest/"})
	w.index.SetReady()
	grpc := grpcClient(f, w)
	for _, seed := range [][4]string{
		{site.String(), callerKey, "x", "y"}, {site.String(), callerKey, "Site", "jira/other"}, {site.String(), callerKey, "KEY", "x"}, {site.String(), "", "key ", callerKey},
		{site.String(), "-", "X-Api-Token-Caller", callerKey}, {"jira/main/", callerKey, "", ""}, {"/jira/main", callerKey, "contract", "nginx"}, {"jira", callerKey, "a", "b"},
		{"", "", "site", site.String()}, {"JIRA/main", callerKey, "a", "b"}, {"jira/main", strings.ToLower(callerKey), "a", "b"}, {"jira/main ", callerKey + ",", "a", "b"},
	} {
		f.Add(seed[0], seed[1], seed[2], seed[3])
	}
	f.Fuzz(func(t *testing.T, name, key, more, value string) {
		if !utf8.ValidString(name) || !utf8.ValidString(key) || !utf8.ValidString(more) || !utf8.ValidString(value) {
			return // Protocol Buffers hold no such text.
		}
		client := &http.Request{Method: http.MethodGet, Host: "h"}
		question := checkRequest(client, myself, http.Header{"Authorization": {basic("alice", w.token)}}, false)
		question.Attributes.ContextExtensions = map[string]string{more: value, "site": name, "key": key}
		answer, err := grpc.Check(t.Context(), question)
		if err != nil {
			t.Fatal(err)
		}
		w.asked()
		ours, text := name == site.String() && key == callerKey, answer.String()
		if passes := codes.Code(answer.GetStatus().GetCode()) == codes.OK && answer.GetErrorResponse() == nil; passes != ours {
			t.Errorf("with %q and %q: %s", name, key, text)
		}
		if !ours && (strings.Contains(text, pat) || strings.Contains(text, "alice") || answer.GetErrorResponse() == nil) {
			t.Errorf("without a verdict, the answer is %s", text)
		}
		if strings.Contains(text, callerKey) || strings.Contains(text, w.token) {
			t.Errorf("the answer has a secret: %s", text)
		}
	})
}
