//go:build long

package contract_test

import (
	"bufio"
	"crypto/rand"
	"encoding/base64"
	"fmt"
	"math"
	mathrand "math/rand/v2"
	"net"
	"net/http/httptest"
	"slices"
	"strings"
	"testing"
	"time"

	"apitokens.dev/operator/internal/authn"
	"apitokens.dev/operator/internal/authurl"
	"apitokens.dev/operator/internal/lifetime"
	"apitokens.dev/operator/internal/record"
	"apitokens.dev/operator/internal/token"
	"apitokens.dev/operator/webhook/gateway/contract"
)

// samplesPerClass is the number of measurements of each kind of refusal.
const samplesPerClass = 200_000

// maxDifference bounds the difference after the slowest tenth of the samples was dropped. An early return would save a hash,
// which takes longer than this. Caches cause some tens of nanoseconds, in either direction.
const maxDifference = 150 * time.Nanosecond

// The time of a refusal does not reveal its reason to a client with a connection of its own. The test is Welch's t-test of
// interleaved samples, |t| < 4.5 (Reparaz, Balasch, Verbauwhede: "dude, is my code constant time?", 2016).
func TestLongRefusalsTakeTheSameTime(t *testing.T) {
	site, questions := refusals(t)
	sameTime(t, site, questions)
}

// Nor does it reveal whether the owner of a token has a credential of the product.
func TestLongRefusalsDoNotTellWhoIsEnrolled(t *testing.T) {
	ix, at := newSite()
	questions := map[string][][]byte{}
	for n := range variants {
		for class, user := range map[string]string{"enrolled": fmt.Sprintf("user-%05d", n), "not enrolled": fmt.Sprintf("other-%05d", n)} {
			text := newToken(t)
			put(t, ix, at, fmt.Sprintf("%s-%d", class, n), user, text)
			questions[class] = append(questions[class], basicQuestion("alice", wrongSecret(t, text)))
			if class == "enrolled" {
				ix.PutUpstreamCredential(authn.UpstreamCredential{Site: at, User: user, UserKey: "JIRAUSER" + user, Authorization: "Bearer " + user})
			}
		}
	}
	sameTime(t, ix, questions)
}

// sameTime fails if the classes of questions can be told apart by the time of their answers.
func sameTime(t *testing.T, site *authn.Index, questions map[string][][]byte) {
	t.Helper()
	server := httptest.NewServer(contract.NewHandler(site, ignore))
	defer server.Close()
	conn, err := net.Dial("tcp", server.Listener.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = conn.Close() }()
	answers := bufio.NewReader(conn)

	names := make([]string, 0, len(questions))
	for name := range questions {
		names = append(names, name)
	}
	slices.Sort(names)
	samples := map[string][]float64{}
	random := mathrand.New(mathrand.NewPCG(1, 1))
	first, buffer := "", make([]byte, 0, 1024)
	for n := range samplesPerClass * len(names) {
		name := names[random.IntN(len(names))]
		// Send from the same place in memory each time, so that the place of a question is not measured.
		buffer = append(buffer[:0], questions[name][random.IntN(variants)]...)
		begun := time.Now()
		if _, err := conn.Write(buffer); err != nil {
			t.Fatal(err)
		}
		answer := read(t, answers)
		samples[name] = append(samples[name], float64(time.Since(begun)))
		if first == "" {
			first = answer
		}
		if answer != first || !strings.HasPrefix(answer, "HTTP/1.1 401 ") {
			t.Fatalf("%s: %q, and before it was %q", name, answer, first)
		}
		if n == 10_000 {
			clear(samples) // the caches are warm now
		}
	}
	for i, a := range names {
		for _, b := range names[i+1:] {
			score, _ := welch(samples[a], samples[b])
			cropped, difference := welch(crop(samples[a]), crop(samples[b]))
			t.Logf("%-12s against %-12s t = %5.2f; cropped t = %6.2f, %+.0f ns of %.0f ns; %d and %d samples",
				a, b, score, cropped, difference, mean(samples[a]), len(samples[a]), len(samples[b]))
			if math.Abs(score) > 4.5 || math.Abs(difference) > float64(maxDifference) {
				t.Errorf("%s and %s can be told apart", a, b)
			}
		}
	}
}

// variants is the number of questions of each kind. With few, the test would measure which of them are in the caches.
const variants = 20_000

// refusals returns an index with tokens, and questions that are refused, by reason. All questions have the same length.
func refusals(t *testing.T) (*authn.Index, map[string][][]byte) {
	t.Helper()
	ix, at := newSite()
	questions := map[string][][]byte{}
	add := func(class, user, password string) {
		questions[class] = append(questions[class], basicQuestion(user, password))
	}
	for n := range variants {
		// Each class has its own tokens: tokens of two classes would be in the caches more often.
		live, others, deleted, rotated, blocked := newToken(t), newToken(t), newToken(t), newToken(t), newToken(t)
		put(t, ix, at, fmt.Sprintf("live-%d", n), "alice", live)
		put(t, ix, at, fmt.Sprintf("others-%d", n), "alice", others)
		put(t, ix, at, fmt.Sprintf("deleted-%d", n), "alice", deleted)
		add("replaced", "alice", put(t, ix, at, fmt.Sprintf("rotated-%d", n), "alice", rotated))
		put(t, ix, at, fmt.Sprintf("blocked-%d", n), "bobby", blocked)
		add("blocked", "bobby", blocked)
		ix.DeleteToken(fmt.Sprintf("deleted-%d", n))
		add("unknown id", "alice", newToken(t))
		add("wrong secret", "alice", wrongSecret(t, live))
		add("wrong user", "carol", others)
		add("deleted", "alice", deleted)
		for class, token := range map[string]authn.Token{
			"suspended": {Suspended: true}, "expired": {Lifetime: lifetime.Requested{Until: time.Unix(1, 0)}},
		} {
			text, uid := newToken(t), fmt.Sprintf("%s-%d", class, n)
			put(t, ix, at, uid, "alice", text)
			token.UID, token.Namespace, token.Name, token.User, token.Site = uid, at.Namespace, uid, "alice", at
			ix.PutToken(token)
			add(class, "alice", text)
		}
	}
	return ix, questions
}

// newSite returns an index with a site that blocks bobby.
func newSite() (ix *authn.Index, at authn.SiteName) {
	ix, at = authn.NewIndex(time.Now), authn.SiteName{Namespace: "jira", Name: "main"}
	ix.PutSite(authn.Site{Name: at, TokenPaths: []string{"/rest/"}, BlockedNames: []string{"bobby"}})
	ix.PutMemory(at, authn.Memory{})
	ix.PutCallerKeys(at, map[authurl.Contract][]string{authurl.Nginx: {"KEY"}}, nil)
	ix.SetReady()
	return ix, at
}

func basicQuestion(user, password string) []byte {
	return []byte(ask("Authorization: Basic " + base64.StdEncoding.EncodeToString([]byte(user+":"+password))))
}

// wrongSecret returns another secret with the id of a token.
func wrongSecret(t *testing.T, text string) string {
	t.Helper()
	wrong, err := token.New(text[:token.IDLength], rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	return wrong
}

// put adds a token of a user. It returns an earlier secret of the token: all records have as many hashes.
func put(t *testing.T, ix *authn.Index, at authn.SiteName, uid, user, text string) (earlier string) {
	t.Helper()
	earlier = wrongSecret(t, text)
	ix.PutToken(authn.Token{UID: uid, Namespace: at.Namespace, Name: uid, User: user, Site: at})
	ix.PutRecord(uid, &record.Record{
		TokenID: text[:token.IDLength], User: user, Site: record.Ref(at), APIToken: record.Ref{Namespace: at.Namespace, Name: uid},
		Entries: []record.Entry{{Hash: hashOf(t, text)}}, DeadEntries: []record.Entry{{Hash: hashOf(t, earlier), State: record.Dead}},
	})
	return earlier
}

func hashOf(t *testing.T, text string) record.Hash {
	t.Helper()
	hash, err := record.NewHash(text, rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	return hash
}

func newToken(t *testing.T) string {
	t.Helper()
	id, err := token.NewID(rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	text, err := token.New(id, rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	return text
}

// read reads one answer without a body.
func read(t *testing.T, from *bufio.Reader) string {
	t.Helper()
	var answer strings.Builder
	for {
		line, err := from.ReadString('\n')
		if err != nil {
			t.Fatal(fmt.Errorf("reading an answer: %w", err))
		}
		answer.WriteString(line)
		if line == "\r\n" {
			return answer.String()
		}
	}
}

// crop drops the slowest tenth, which the scheduler and the network cause.
func crop(samples []float64) []float64 {
	sorted := slices.Sorted(slices.Values(samples))
	return sorted[:len(sorted)*9/10]
}

func mean(samples []float64) float64 {
	sum := 0.0
	for _, s := range samples {
		sum += s
	}
	return sum / float64(len(samples))
}

// welch returns Welch's t and the difference of the means.
func welch(a, b []float64) (t, difference float64) {
	ma, mb := mean(a), mean(b)
	variance := func(of []float64, m float64) float64 {
		sum := 0.0
		for _, s := range of {
			sum += (s - m) * (s - m)
		}
		return sum / float64(len(of)-1)
	}
	return (ma - mb) / math.Sqrt(variance(a, ma)/float64(len(a))+variance(b, mb)/float64(len(b))), ma - mb
}
