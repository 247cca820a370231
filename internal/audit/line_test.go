package audit

import (
	"bytes"
	"cmp"
	"context"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"net/netip"
	"strings"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/testutil"

	"apitokens.dev/operator/internal/authn"
)

// reference returns the line that slog makes.
func reference(t *testing.T, now time.Time, level slog.Level, message string, attributes ...slog.Attr) string {
	t.Helper()
	var out bytes.Buffer
	r := slog.NewRecord(now, level, message, 0)
	r.AddAttrs(attributes...)
	if err := slog.NewJSONHandler(&out, nil).Handle(context.Background(), r); err != nil {
		t.Fatal(err)
	}
	return out.String()
}

// texts are parts of what clients send.
var texts = []string{
	"", "alice", "/rest/api/2/myself", "/a//b/../c;x=1/%2e%2e/%41", "\r\n", "\t", `"}`, `\`, "\x00\x1b\x7f", "\b\f", "\u2028\u2029", "\xff\xfe", "\xe2\x80",
	"ä€😀", "<script>&", "asp_DquJoZLwlsNJm6gU_" + strings.Repeat("x", 46), strings.Repeat("long ", 200), "\u202e", "\ufffd",
}

// Each line is, byte by byte, the one that slog makes of the same fields.
func TestLinesAreThoseOfSlog(t *testing.T) {
	random := rand.New(rand.NewPCG(1, 2))
	text := func() string {
		var all strings.Builder
		for range random.IntN(4) {
			all.WriteString(texts[random.IntN(len(texts))])
		}
		return all.String()
	}
	zones := []*time.Location{time.UTC, time.FixedZone("east", 5*3600+1800), time.FixedZone("west", -8*3600)}
	for range 5000 {
		now := time.Unix(random.Int64N(1<<33), random.Int64N(1e9)).In(zones[random.IntN(len(zones))])
		x := Exchange{
			Site: authn.SiteName{Namespace: text(), Name: text()}, Peer: text(), At: now,
			Claimed: Claimed{Client: text(), Method: text(), Path: text(), RequestID: text()},
			Decision: authn.Decision{
				Verdict: authn.Verdict(random.IntN(5)), Reason: authn.Reason(text()), User: text(), TokenID: text(), Claimed: text(),
			},
		}
		if random.IntN(2) == 0 {
			x.Decision.Client = netip.MustParseAddr("2001:db8::1")
		}
		w := newWords(classOf(&x))
		same(t, string(x.appendTo(nil, &w)), referenceOf(t, x))
		e := Event{Action: Revoked, TokenID: text(), Owner: text(), Actor: text(), With: text(), Site: x.Site, Client: text(), RequestID: text()}
		same(t, string(e.appendTo(nil, now)), referenceOfEvent(t, e, now))
		sum := tally{class{x.Site, x.Decision.Verdict, x.Decision.Reason}, random.Uint64()}
		same(t, string(sum.appendTo(nil, now)), referenceOfSum(t, sum, now))
	}
}

func same(t *testing.T, got, want string) {
	t.Helper()
	if got != want {
		t.Fatalf("the line is\n%s, want\n%s", got, want)
	}
}

func slogLevel(v authn.Verdict) slog.Level {
	if v == authn.CannotDecide {
		return slog.LevelWarn
	}
	return slog.LevelInfo
}

func referenceOf(t *testing.T, x Exchange) string {
	return reference(t, x.At, slogLevel(x.Decision.Verdict), referenceMessage(x.Decision),
		slog.String("verdict", x.Decision.Verdict.String()),
		slog.String("reason", string(x.Decision.Reason)),
		slog.String("site", clean(x.Site.String())),
		slog.String("user", x.Decision.User),
		slog.String("claimedUser", clean(visible(x.Decision.Claimed))),
		slog.String("tokenID", x.Decision.TokenID),
		slog.String("client", referenceClient(x)),
		slog.String("method", clean(x.Claimed.Method)),
		slog.String("path", clean(canonical(x.Claimed.Path))),
		slog.String("requestID", clean(x.Claimed.RequestID)),
		slog.String("peer", x.Peer))
}

func referenceMessage(d authn.Decision) string {
	switch {
	case others[d.Reason] != "":
		return others[d.Reason]
	case d.Verdict == authn.Allow:
		return fmt.Sprintf("%s has been authenticated via API Token (%s)", d.User, d.TokenID)
	case d.Verdict == authn.Forbidden && d.User != "":
		return fmt.Sprintf("%s has been refused with API Token (%s)", d.User, d.TokenID)
	}
	return map[authn.Verdict]string{
		authn.Forbidden: "An API Token has been refused", authn.Unauthorized: "An API Token has been refused",
		authn.Forward: "A dead imported secret has been forwarded as a password", authn.CannotDecide: "A gateway has been refused",
	}[d.Verdict]
}

func referenceClient(x Exchange) string {
	if x.Decision.Client.IsValid() {
		return x.Decision.Client.String()
	}
	return clean(x.Claimed.Client)
}

func referenceOfEvent(t *testing.T, e Event, now time.Time) string {
	return reference(t, now, slog.LevelInfo, cmp.Or(e.Actor, "The holder of the token")+" has "+string(e.Action)+" API Token ("+e.TokenID+")",
		slog.String("action", string(e.Action)),
		slog.String("site", e.Site.String()),
		slog.String("user", e.Owner),
		slog.String("tokenID", e.TokenID),
		slog.String("actor", e.Actor),
		slog.String("with", e.With),
		slog.String("client", clean(e.Client)),
		slog.String("requestID", clean(e.RequestID)))
}

func referenceOfSum(t *testing.T, sum tally, now time.Time) string {
	return reference(t, now, slogLevel(sum.verdict), sum.message(),
		slog.String("verdict", sum.verdict.String()),
		slog.String("reason", string(sum.reason)),
		slog.String("site", sum.label()),
		slog.Uint64("count", sum.count))
}

// The line of an authentication takes no allocation.
func TestLineAllocates(t *testing.T) {
	x := Exchange{
		Site: authn.SiteName{Namespace: "jira", Name: "main"}, Peer: "10.0.0.1:4711", At: time.Now(), Claimed: Claimed{Method: "GET", Path: "/rest/api/2/myself", RequestID: "r1"},
		Decision: authn.Decision{
			Verdict: authn.Allow, Reason: authn.ReasonAuthenticated, User: "alice", TokenID: "asp_DquJoZLwlsNJm6gU", Client: netip.MustParseAddr("192.0.2.1"),
		},
	}
	w := newWords(classOf(&x))
	line := x.appendTo(nil, &w)
	if got := testing.AllocsPerRun(100, func() { line = x.appendTo(line[:0], &w) }); got != 0 {
		t.Errorf("a line takes %v allocations", got)
	}
}

// To count a request allocates nothing, once one of its class was counted.
func TestCountingAllocatesNothing(t *testing.T) {
	m := newMetrics(prometheus.NewRegistry())
	x := Exchange{Site: authn.SiteName{Namespace: "jira", Name: "main"}, Decision: authn.Decision{Verdict: authn.Allow, Reason: authn.ReasonAuthenticated}}
	m.observe(&x)
	if got := testing.AllocsPerRun(100, func() { m.observe(&x) }); got != 0 {
		t.Errorf("counting takes %v allocations", got)
	}
	if got := testutil.ToFloat64(m.vector.WithLabelValues("jira/main", "allow", "authenticated")); got != 102 {
		t.Errorf("%v were counted", got)
	}
}
