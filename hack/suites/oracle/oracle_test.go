package oracle

import (
	"flag"
	"fmt"
	"go/build"
	"maps"
	"math/rand/v2"
	"runtime"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"
)

var (
	seed     = flag.Uint64("seed", 1, "with which all lives begin")
	onlyLife = flag.Int("life", -1, "the one life to run, as a failure names it")
)

const (
	// batches is the number of changes of a world in one life. asked is the number of questions between two changes.
	batches, asked = 40, 125
	// One in weakLives lives has slow hashes.
	weakLives = 20
	// loading is the number of batches that are asked while the webhook still loads, in one of eight lives.
	loading = 1
)

// The oracle could not find a fault that it shares.
func TestOracleSharesNoCode(t *testing.T) {
	of, err := build.ImportDir(".", 0)
	if err != nil {
		t.Fatal(err)
	}
	for _, path := range of.Imports {
		if strings.Contains(path, ".") {
			t.Errorf("the oracle imports %s", path)
		}
	}
	if len(of.GoFiles) < 3 {
		t.Errorf("looked at %q", of.GoFiles)
	}
}

func TestOracle(t *testing.T) { ask(t, 200_000) }

// ask runs as many lives as it takes to ask so many questions, and stops soon after the first wrong answer.
func ask(t *testing.T, questions int) {
	lives := questions / (batches * asked)
	var next, failed atomic.Int64
	var wait sync.WaitGroup
	begun := time.Now()
	shards := make([]tally, runtime.GOMAXPROCS(0))
	for i := range shards {
		shards[i] = newTally()
		wait.Go(func() {
			for failed.Load() == 0 {
				n := int(next.Add(1)) - 1
				if n >= lives {
					return
				}
				if *onlyLife >= 0 && *onlyLife != n {
					continue
				}
				if report := runLife(*seed, n, shards[i]); report != "" {
					failed.Add(1)
					t.Errorf("life %d, again with -seed %d -life %d:\n%s", n, *seed, n, report)
				}
			}
		})
	}
	wait.Wait()
	if *onlyLife < 0 && !t.Failed() {
		total := newTally()
		for _, of := range shards {
			total.merge(of)
		}
		total.report(t, questions, time.Since(begun))
	}
}

// runLife asks all questions of one life. It returns what is wrong.
func runLife(seed uint64, n int, counts tally) string {
	l := newLife(random{rand.New(rand.NewPCG(seed, uint64(n)))}, n%weakLives == weakLives-1)
	first := 0
	if n%8 == 7 {
		first = loading
	} else {
		l.load()
	}
	for batch := range batches {
		if batch == first && !l.world.ready {
			l.load()
		}
		l.step()
		for range asked {
			q := l.question()
			want := l.world.judge(q)
			if got, wrong := l.core.ask(q); !got.is(want) || wrong != "" {
				return l.explain(q, got, want, wrong)
			}
			if path := l.world.exceeded(q, want); path != "" {
				return l.explain(q, want, want, "the product would run "+path)
			}
			counts.add(l.world, q, want)
		}
	}
	return ""
}

// explain returns the details of a wrong answer, for the person who reads the failure.
func (l *life) explain(q question, got, want answer, wrong string) string {
	kind := "answered wrongly"
	switch {
	case got.status == 200 && (want.status != 200 || got.user != want.user):
		kind = "wrongly accepted"
	case got.status != 200 && want.status == 200:
		kind = "wrongly refused"
	}
	var b strings.Builder
	fmt.Fprintf(&b, "%s %s\n%s\n", kind, wrong, q.uri)
	for _, name := range slices.Sorted(maps.Keys(q.header)) {
		fmt.Fprintf(&b, "%s: %q\n", name, q.header[name])
	}
	if q.certificate != nil {
		fmt.Fprintf(&b, "(over a connection with the certificate %+v)\n", *q.certificate)
	}
	if c := credentialOf(q.header["Authorization"], true); c.user != "" {
		fmt.Fprintf(&b, "(that is %q with %q)\n", c.user, c.password)
	}
	fmt.Fprintf(&b, "\ngot  %+v\nwant %+v\n\n%s", got, want, l.world)
	return b.String()
}
