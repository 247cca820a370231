package record_test

import (
	"math/rand/v2"
	"slices"
	"strings"
	"testing"
	"time"

	"apitokens.dev/operator/internal/record"
)

// Each secret of a record is live or dead until its Retention is over, and what was dropped never authenticates again.
func TestDroppedSecretsAreKeptDead(t *testing.T) {
	id, text := newToken(t)
	random := rand.New(rand.NewPCG(1, 2))
	now := time.Date(2026, 11, 24, 10, 0, 0, 0, time.FixedZone("", 3600))
	r := sample(t, id, text)
	dropped := map[record.Hash]time.Time{}
	for range 500 {
		now = now.Add(time.Duration(random.IntN(96)) * time.Hour)
		var kept []record.Entry
		for _, e := range r.Entries {
			switch e = e.EndingBy(now.Add(time.Hour).UTC()); {
			case len(kept) < record.MaxEntries-1 && random.IntN(2) == 0:
				kept = append(kept, e)
			default:
				dropped[e.Hash] = now.UTC()
				if e.Ends.Before(now) {
					dropped[e.Hash] = e.Ends
				}
			}
		}
		kept = append(kept, record.Entry{Hash: newHash(t, text), State: record.Delivered, Issued: now.UTC()})
		r.Keep(kept, now)
		r = decodeEncoded(t, r)
		checkDead(t, r, dropped, now)
	}
}

func checkDead(t *testing.T, r *record.Record, dropped map[record.Hash]time.Time, now time.Time) {
	t.Helper()
	var expected []time.Time
	for _, ends := range dropped {
		if now.Before(ends.Add(record.Retention)) {
			expected = append(expected, ends)
		}
	}
	slices.SortFunc(expected, time.Time.Compare)
	expected = expected[max(0, len(expected)-8):]
	var got []time.Time
	for _, e := range r.DeadEntries {
		if got = append(got, e.Ends); e.State != record.Dead || !e.Ends.Equal(dropped[e.Hash]) {
			t.Fatalf("a dead entry is %s until %v, want %v", e.State, e.Ends, dropped[e.Hash])
		}
	}
	if !slices.EqualFunc(got, expected, time.Time.Equal) {
		t.Fatalf("at %v the ends are %v, want %v", now, got, expected)
	}
	for _, e := range r.Entries {
		if _, ok := dropped[e.Hash]; ok || e.State == record.Dead {
			t.Fatalf("a dropped secret authenticates: %+v", e)
		}
	}
}

// A secret that is dead is found by VerifyDead, and not by Verify.
func TestDeadSecretsAreToldApart(t *testing.T) {
	id, old := newToken(t)
	_, current := newToken(t)
	r := sample(t, id, old, current)
	r.Keep(r.Entries[1:], r.Entries[1].Issued)
	r = decodeEncoded(t, r)
	for text, want := range map[string][2]int{old: {-1, 0}, current: {0, -1}, "x": {-1, -1}} {
		if live, dead := r.Verify([]byte(text)), r.VerifyDead([]byte(text)); [2]int{live, dead} != want {
			t.Errorf("verified as %d of the live and %d of the dead entries, want %v", live, dead, want)
		}
	}
}

// Pruning tells whether it forgot something: a record that is the same needs no write.
func TestPruneTells(t *testing.T) {
	id, text := newToken(t)
	r := sample(t, id, text, text)
	end := r.Entries[0].Issued
	r.Keep(r.Entries[1:], end)
	for _, step := range []struct {
		after  time.Duration
		forgot bool
		left   int
	}{{record.Retention - 1, false, 1}, {record.Retention, true, 0}, {record.Retention, false, 0}} {
		if forgot := r.Prune(end.Add(step.after)); forgot != step.forgot || len(r.DeadEntries) != step.left {
			t.Errorf("after %v: forgot %t, %d are left", step.after, forgot, len(r.DeadEntries))
		}
	}
}

func TestRetentionOfADeadRecord(t *testing.T) {
	id, text := newToken(t)
	r, now := sample(t, id, text), time.Date(2026, 11, 24, 10, 0, 0, 0, time.FixedZone("", 3600))
	if r.RetentionOver(now.AddDate(100, 0, 0)) {
		t.Error("the retention of a live record is over")
	}
	r.Kill(now)
	r.Kill(now.Add(time.Hour))
	r = decodeEncoded(t, r)
	if !r.Dead.Equal(now) || r.RetentionOver(now.Add(30*24*time.Hour-1)) || !r.RetentionOver(now.Add(30*24*time.Hour)) {
		t.Errorf("dead since %v, and kept for another time than 30 days", r.Dead)
	}
}

func TestUserKeyNeverChanges(t *testing.T) {
	id, text := newToken(t)
	r := sample(t, id, text)
	for _, step := range []struct {
		key     string
		changed bool
		want    string
	}{{"", false, ""}, {"JIRAUSER10100", true, "JIRAUSER10100"}, {"JIRAUSER10200", false, "JIRAUSER10100"}, {"", false, "JIRAUSER10100"}} {
		if changed := r.LearnUserKey(step.key); changed != step.changed || decodeEncoded(t, r).UserKey != step.want {
			t.Errorf("learnt %q: changed %t, key %q", step.key, changed, r.UserKey)
		}
	}
}

func TestDamagedDeadParts(t *testing.T) {
	id, text := newToken(t)
	r := sample(t, id, text, text)
	r.Keep(r.Entries[1:], r.Entries[1].Issued.Add(time.Hour))
	r.Kill(r.Entries[0].Issued.Add(2 * time.Hour))
	encoded, err := r.Encode()
	if err != nil {
		t.Fatal(err)
	}
	good := string(encoded)
	end := `,"ends":"` + r.DeadEntries[0].Ends.Format(time.RFC3339Nano) + `"`
	for name, bad := range map[string]string{
		"a dead entry that authenticates": strings.Replace(good, `"state":"Delivered"`, `"state":"Dead"`, 1),
		"a live entry that is dead":       strings.Replace(good, `"state":"Dead"`, `"state":"Delivered"`, 1),
		"an ending one among the dead":    strings.Replace(good, `"state":"Dead"`, `"state":"Ending"`, 1),
		"dead, and no end":                strings.Replace(good, end, "", 1),
		"dead in another zone":            strings.Replace(good, `"dead":"2026-11-23T12:00:01.123456789Z"`, `"dead":"2026-11-23T13:00:01.123456789+01:00"`, 1),
		"another hash":                    strings.Replace(good, `"deadEntries":[{"hash":"$sha256`, `"deadEntries":[{"hash":"$sha512`, 1),
		"too many dead entries":           strings.Replace(good, `"deadEntries":[`, `"deadEntries":[`+strings.Repeat(deadEntryIn(good)+",", 8), 1),
		"a second dead one that is alive": strings.Replace(good, `"deadEntries":[`, `"deadEntries":[`+deadEntryIn(good)+","+
			strings.Replace(deadEntryIn(good), `"Dead"`, `"Candidate"`, 1)+",", 1),
	} {
		if bad == good {
			t.Fatalf("%s: nothing was replaced in %s", name, good)
		}
		got, err := record.Decode([]byte(bad))
		if err == nil {
			t.Errorf("%s: read as %+v", name, got)
		} else if name == "another hash" && !strings.Contains(err.Error(), ": dead entry 0: ") {
			t.Errorf("%s: the error does not say where: %v", name, err)
		}
	}
}

// deadEntryIn returns the first dead entry of an encoded record.
func deadEntryIn(encoded string) string {
	_, rest, _ := strings.Cut(encoded, `"deadEntries":[`)
	entry, _, _ := strings.Cut(rest, "]")
	return entry
}
