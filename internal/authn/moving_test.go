package authn_test

import (
	"fmt"
	mathrand "math/rand/v2"
	"reflect"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"apitokens.dev/operator/internal/authn"
	"apitokens.dev/operator/internal/record"
)

// changing is a token whose user key changes all the time, and with it its texts in the index.
type changing struct {
	uid, name, text string
	record          *record.Record
}

func (c *changing) put(ix *authn.Index, change int) {
	r := *c.record
	r.UserKey = fmt.Sprint(c.uid, "/", change, strings.Repeat("x", change%50))
	ix.PutRecord(c.uid, &r)
}

// is reports whether a decision is about this token and no other.
func (c *changing) is(d *authn.Decision) bool {
	return d.Verdict == authn.Allow && d.TokenID == c.record.TokenID && d.APIToken == authn.APITokenName{Namespace: jira.Namespace, Name: c.name, UID: c.uid} &&
		d.User == "alice" && strings.HasPrefix(d.UserKey, c.uid+"/")
}

// While entries come, change and go, and their texts move, each token is found as itself, and nothing changes a decision afterwards.
func TestNoDecisionHasTextsOfAnotherToken(t *testing.T) {
	ix := newIndex(t, time.Now)
	ix.PutSite(site(jira))
	all := make([]*changing, 60)
	for i := range all {
		id, text := newToken(t)
		c := &changing{uid: fmt.Sprint("uid-", i), name: fmt.Sprint("ci-", i), text: text}
		c.record = newRecord(t, c.name, id, text)
		ix.PutToken(alice(c.uid, c.name))
		c.put(ix, 0)
		all[i] = c
	}
	stay, pass := all[:40], all[40:]
	var over atomic.Bool
	var readers sync.WaitGroup
	for n := range 3 {
		readers.Go(func() {
			random := mathrand.New(mathrand.NewPCG(1, uint64(n)))
			kept, copies := make([]authn.Decision, 500), make([]authn.Decision, 500)
			for i := 0; !over.Load(); i++ {
				c := stay[random.IntN(len(stay))]
				d := ix.Decide(request(myself, basic("alice", c.text)))
				if !c.is(&d) {
					t.Errorf("%s: decided %+v", c.uid, d)
					return
				}
				at := i % len(kept)
				if kept[at] != copies[at] {
					t.Errorf("a decision became %+v, and was %+v", kept[at], copies[at])
					return
				}
				kept[at], copies[at] = d, cloned(d)
			}
		})
	}
	random := mathrand.New(mathrand.NewPCG(1, 2))
	for i := range 6_000 {
		stay[random.IntN(len(stay))].put(ix, i)
		c := pass[random.IntN(len(pass))]
		switch random.IntN(4) {
		case 0:
			ix.DeleteToken(c.uid)
			ix.DeleteRecord(c.uid)
		case 1:
			ix.PutToken(alice(c.uid, c.name))
			c.put(ix, i)
		}
	}
	over.Store(true)
	readers.Wait()
}

// cloned returns a decision with texts of its own.
func cloned(d authn.Decision) authn.Decision {
	for _, field := range reflect.ValueOf(&d).Elem().Fields() {
		if field.Kind() == reflect.String {
			field.SetString(strings.Clone(field.String()))
		}
	}
	d.APIToken = authn.APITokenName{
		Namespace: strings.Clone(d.APIToken.Namespace), Name: strings.Clone(d.APIToken.Name), UID: strings.Clone(d.APIToken.UID),
	}
	return d
}
