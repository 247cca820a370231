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

const (
	callerKey = "7OI5HWGC3PTLSKOXVRZ2AMNEQ4"
	// pat is a personal access token, and path a resource of the product.
	pat  = "MjUyNTQ1NjM1NzQ5Oo0MSWNMBp8h4YHuQmXsPnpRhT4w"
	path = "/rest/api/2/myself"
	// inUse is how many tokens are used.
	inUse = 5000
)

var jira = authn.SiteName{Namespace: "jira", Name: "main"}

// world is an index with many tokens of one site, ten for each user.
type world struct {
	*authn.Index

	// valid asks with the last token.
	valid *authn.Request
	// credentials are those of the last tokens, as Authorization has them. unknown is one with a token that no APIToken has.
	credentials []string
	unknown     string
	// change puts an APIToken in again, as a write of its status does.
	change func()
	// bytes is the live heap for each token.
	bytes float64
}

func newWorld(tokens int) (*world, error) {
	w := &world{Index: authn.NewIndex(time.Now)}
	w.PutCallerKeys(jira, map[authurl.Contract][]string{authurl.Nginx: {callerKey}, authurl.GRPC: {callerKey}}, nil)
	w.PutMemory(jira, authn.Memory{UID: "site"})
	w.PutSite(authn.Site{
		Name: jira, UID: "site", Product: "Jira", ContextPath: "/jira", TokenPaths: []string{"/rest/"}, Origin: "http://jira.jira.svc:8080",
	})
	before := heap()
	for i := range tokens {
		text, err := w.add(i)
		if err != nil {
			return nil, err
		}
		if tokens-i <= inUse {
			w.credentials = append(w.credentials, basic(user(i), text))
		}
	}
	w.bytes = float64(heap()-before) / float64(tokens)
	for i := range min(tokens, inUse) {
		w.PutUpstreamCredential(authn.UpstreamCredential{
			Site: jira, User: user(tokens - 1 - i), Authorization: "Bearer " + pat, Origin: "http://jira.jira.svc:8080",
		})
	}
	w.SetReady()
	_, unknown, err := mint()
	w.valid, w.unknown = ask(w.credentials[len(w.credentials)-1]), basic("alice", unknown)
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

func basic(user, password string) string {
	return "Basic " + base64.StdEncoding.EncodeToString([]byte(user+":"+password))
}

func ask(authorization string) *authn.Request {
	return &authn.Request{
		Contract: authurl.Nginx, CallerKey: callerKey, Site: jira, Method: "GET", Target: "/jira" + path, Authorization: []string{authorization},
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
