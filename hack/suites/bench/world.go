package main

import (
	"crypto/rand"
	"encoding/base64"
	"fmt"
	"runtime"
	"strings"
	"time"

	"apitokens.dev/operator/internal/authn"
	"apitokens.dev/operator/internal/authurl"
	"apitokens.dev/operator/internal/record"
	"apitokens.dev/operator/internal/token"
)

const callerKey = "the-key-of-the-caller"

var jira = authn.SiteName{Namespace: "jira", Name: "main"}

// world is an index with many tokens of one site, ten for each user.
type world struct {
	*authn.Index

	// valid asks with the last token, and unknown with one that no APIToken has.
	valid, unknown *authn.Request
	// change puts an APIToken in again, as a write of its status does.
	change func()
	// bytes is the live heap for each token.
	bytes float64
}

func newWorld(tokens int) (*world, error) {
	w := &world{Index: authn.NewIndex(time.Now)}
	w.PutCallerKeys(jira, map[authurl.Contract][]string{authurl.Nginx: {callerKey}}, nil)
	w.PutMemory(jira, authn.Memory{UID: "site"})
	w.PutSite(authn.Site{
		Name: jira, UID: "site", Product: "Jira", ContextPath: "/jira", TokenPaths: []string{"/rest/"}, Origin: "http://jira.jira.svc:8080",
	})
	before := heap()
	var text string
	for i := range tokens {
		var err error
		if text, err = w.add(i); err != nil {
			return nil, err
		}
	}
	w.bytes = float64(heap()-before) / float64(tokens)
	last := user(tokens - 1)
	w.PutUpstreamCredential(authn.UpstreamCredential{Site: jira, User: last, Authorization: "Bearer pat", Origin: "http://jira.jira.svc:8080"})
	w.SetReady()
	_, unknown, err := mint()
	w.valid, w.unknown = ask(last, text), ask(last, unknown)
	w.change = func() { w.PutToken(apiToken(0)) }
	return w, err
}

func user(i int) string { return fmt.Sprintf("user-%d", i/10) }

func mint() (id, text string, err error) {
	if id, err = token.NewID(rand.Reader); err == nil {
		text, err = token.New(id, rand.Reader)
	}
	return id, text, err
}

// apiToken returns an APIToken with memory of its own, as the API server sends it, but for what the feed shares.
func apiToken(i int) authn.Token {
	return authn.Token{
		UID: fmt.Sprintf("00000000-0000-4000-8000-%012d", i), Namespace: jira.Namespace, Name: fmt.Sprintf("token-%d", i), User: user(i), Site: jira,
	}
}

// add adds a token, and returns its secret.
func (w *world) add(i int) (string, error) {
	id, text, err := mint()
	if err != nil {
		return "", err
	}
	hash, err := record.NewHash(text, rand.Reader)
	if err != nil {
		return "", err
	}
	t := apiToken(i)
	w.PutToken(t)
	w.PutRecord(strings.Clone(t.UID), &record.Record{
		TokenID: id, User: strings.Clone(t.User), DeliverySecret: t.Name + "-secret",
		Site: record.Ref(jira), APIToken: record.Ref{Namespace: jira.Namespace, Name: strings.Clone(t.Name)},
		Entries: []record.Entry{{Hash: hash, State: record.Delivered, Issued: time.Now().Add(-time.Hour)}},
	})
	return text, nil
}

func ask(user, password string) *authn.Request {
	return &authn.Request{
		Contract: authurl.Nginx, CallerKey: callerKey, Site: jira, Method: "GET", Target: "/jira/rest/api/2/myself",
		Authorization: []string{"Basic " + base64.StdEncoding.EncodeToString([]byte(user+":"+password))},
	}
}

// heap returns the bytes in use after two collections: the first only finds what the second frees.
func heap() int64 {
	runtime.GC()
	runtime.GC()
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return int64(m.HeapAlloc)
}
