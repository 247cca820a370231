package record_test

import (
	"bytes"
	"errors"
	"strings"
	"testing"
	"testing/iotest"
	"time"

	"apitokens.dev/operator/internal/record"
	"apitokens.dev/operator/internal/storedjson"
	"apitokens.dev/operator/internal/token"
)

// Objects in clusters, admission policies and RBAC use these names.
func TestNamesInTheCluster(t *testing.T) {
	for got, want := range map[string]string{
		record.SecretType: "apitokens.dev/hash", record.DataKey: "record.json", record.LabelTokenID: "apitokens.dev/token-id",
		record.LabelSiteNamespace: "apitokens.dev/site-namespace", record.LabelSite: "apitokens.dev/site",
	} {
		if got != want {
			t.Errorf("%s has become %s", want, got)
		}
	}
}

func TestNewHashNeedsRandomness(t *testing.T) {
	_, text := newToken(t)
	broken := errors.New("no entropy")
	if _, err := record.NewHash(text, iotest.ErrReader(broken)); !errors.Is(err, broken) {
		t.Errorf("hashed without a salt: %v", err)
	}
}

// Two texts never mean one hash, and no text means one by accident.
func TestHashHasOneSpelling(t *testing.T) {
	_, text := newToken(t)
	good := newHash(t, text).String()
	const digits = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/"
	scheme := len("$sha256$v=1$")
	for name, end := range map[string]int{"salt": strings.LastIndexByte(good, '$'), "hash": len(good)} {
		last := strings.IndexByte(digits, good[end-1])
		for other := range digits {
			if other == last {
				continue
			}
			same := good[:end-1] + digits[other:other+1] + good[end:]
			if h, err := record.ParseHash(same); err == nil && h.String() != same {
				t.Errorf("the %s has another spelling: %s for %s", name, same, h.String())
			}
		}
	}
	for name, bad := range map[string]string{
		"no scheme": good[scheme:], "no version": "$sha256$" + good[scheme:], "twice": good + good[scheme-1:], "nothing but the scheme": good[:scheme],
	} {
		if _, err := record.ParseHash(bad); !errors.Is(err, record.ErrHash) {
			t.Errorf("%s: %q: %v", name, bad, err)
		}
	}
}

func decodeEncoded(t *testing.T, r *record.Record) *record.Record {
	t.Helper()
	b, err := r.Encode()
	if err != nil {
		t.Fatal(err)
	}
	got, err := record.Decode(b)
	if err != nil {
		t.Fatal(err)
	}
	return got
}

func TestRecordOfSeveralSecrets(t *testing.T) {
	id, first := newToken(t)
	texts := []string{first}
	for range record.MaxEntries - 1 {
		text, err := token.New(id, bytes.NewReader(bytes.Repeat([]byte{byte(len(texts))}, 40)))
		if err != nil {
			t.Fatal(err)
		}
		texts = append(texts, text)
	}
	if len(texts) != 4 {
		t.Fatalf("a record has up to %d entries, docs/reference/token-format.md says 4", len(texts))
	}
	r := sample(t, id, texts...)
	r.Entries[3].State = record.Candidate
	got := decodeEncoded(t, r)
	for i, text := range texts {
		if at := got.Verify([]byte(text)); at != i {
			t.Errorf("secret %d verifies against entry %d", i, at)
		}
	}
	if got.Entries[0].State != record.Delivered || got.Entries[3].State != record.Candidate {
		t.Errorf("the states became %s and %s", got.Entries[0].State, got.Entries[3].State)
	}
	b, err := r.Encode()
	if err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{`"state":"Delivered"`, `"state":"Candidate"`} {
		if !bytes.Contains(b, []byte(name)) {
			t.Errorf("the stored form has no %s", name)
		}
	}
}

// The same moment is stored the same, wherever the clock stands.
func TestIssueTimeIsStoredInUTC(t *testing.T) {
	id, text := newToken(t)
	r := sample(t, id, text)
	want := r.Entries[0].Issued
	r.Entries[0].Issued = want.In(time.FixedZone("", 7200))
	if got := decodeEncoded(t, r).Entries[0].Issued; got != want {
		t.Errorf("issued %v, want %v", got, want)
	}
}

func TestIncompleteRecordIsNeitherWrittenNorRead(t *testing.T) {
	id, text := newToken(t)
	for name, tc := range map[string]struct {
		change   func(*record.Record)
		old, new string
	}{
		"namespace of the site":     {func(r *record.Record) { r.Site.Namespace = "" }, `"site":{"namespace":"jira"`, `"site":{"namespace":""`},
		"name of the site":          {func(r *record.Record) { r.Site.Name = "" }, `"name":"main"`, `"name":""`},
		"namespace of the APIToken": {func(r *record.Record) { r.APIToken.Namespace = "" }, `"apiToken":{"namespace":"jira"`, `"apiToken":{"namespace":""`},
		"name of the APIToken":      {func(r *record.Record) { r.APIToken.Name = "" }, `"name":"alice-ci"`, `"name":""`},
		"delivered Secret":          {func(r *record.Record) { r.DeliverySecret = "" }, `"alice-ci-token"`, `""`},
		"id":                        {func(r *record.Record) { r.TokenID = "" }, `"tokenID":"` + id + `"`, `"tokenID":""`},
		"state of the first":        {func(r *record.Record) { r.Entries[0].State = "" }, `"state":"Delivered"`, `"state":""`},
		"state of the second":       {func(r *record.Record) { r.Entries[1].State = "" }, `"state":"Delivered","issued":"2026-11-23T10:00:01`, `"state":"","issued":"2026-11-23T10:00:01`},
		"time of the second":        {func(r *record.Record) { r.Entries[1].Issued = time.Time{} }, `2026-11-23T10:00:01.123456789Z`, `0001-01-01T00:00:00Z`},
		"time that JSON can hold":   {func(r *record.Record) { r.Entries[0].Issued = time.Date(10000, 1, 1, 0, 0, 0, 0, time.UTC) }, `2026-11-23T10:00:00`, `12026-11-23T10:00:00`},
	} {
		r := sample(t, id, text, text)
		good, err := r.Encode()
		if err != nil {
			t.Fatal(err)
		}
		if !strings.Contains(string(good), tc.old) {
			t.Fatalf("%s: the record has no %s", name, tc.old)
		}
		if r, err := record.Decode([]byte(strings.Replace(string(good), tc.old, tc.new, 1))); err == nil {
			t.Errorf("read without %s: %+v", name, r)
		}
		tc.change(r)
		if b, err := r.Encode(); err == nil {
			t.Errorf("written without %s: %s", name, b)
		}
	}
}

// A secret that was replaced ends at the moment that is stored, wherever the clock stands.
func TestEndOfAReplacedSecret(t *testing.T) {
	const end = `,"ends":"2026-11-24T10:00:00.123456789Z"`
	id, text := newToken(t)
	want := time.Date(2026, 11, 24, 10, 0, 0, 123456789, time.UTC)
	replaced := func() *record.Record {
		r := sample(t, id, text, text)
		r.Entries[0].State, r.Entries[0].Ends = record.Ending, want.In(time.FixedZone("", 7200))
		return r
	}
	r := replaced()
	got := decodeEncoded(t, r).Entries
	if got[0].State != record.Ending || got[0].Ends != want || got[1].State != record.Delivered || !got[1].Ends.IsZero() {
		t.Errorf("read %+v, want an end at %v of the first", got, want)
	}
	b, err := r.Encode()
	if err != nil {
		t.Fatal(err)
	}
	good := string(b)
	if strings.Count(good, `"state":"Ending"`) != 1 || strings.Count(good, `"ends"`) != 1 || strings.Count(good, end) != 1 {
		t.Fatalf("the stored form is %s", good)
	}
	for name, bad := range map[string]string{
		"replaced, and no end":      strings.Replace(good, end, "", 1),
		"an end of a delivered one": strings.Replace(good, `"Ending"`, `"Delivered"`, 1),
		"an end of a candidate":     strings.Replace(good, `"Ending"`, `"Candidate"`, 1),
		"an end in another zone":    strings.Replace(good, "24T10:00:00.123456789Z", "24T12:00:00.123456789+02:00", 1),
	} {
		if r, err := record.Decode([]byte(bad)); err == nil {
			t.Errorf("%s: read %+v", name, r)
		}
	}
	for name, change := range map[string]func(*record.Record){
		"replaced, and no end":      func(r *record.Record) { r.Entries[0].Ends = time.Time{} },
		"an end of a delivered one": func(r *record.Record) { r.Entries[0].State = record.Delivered },
		"an end of a candidate":     func(r *record.Record) { r.Entries[0].State = record.Candidate },
	} {
		r := replaced()
		change(r)
		if b, err := r.Encode(); err == nil {
			t.Errorf("%s: written: %s", name, b)
		}
	}
}

// The error distinguishes damage from a record of another version.
func TestDamageIsToldApart(t *testing.T) {
	if _, err := record.Decode([]byte("{")); !errors.Is(err, storedjson.ErrForeign) {
		t.Errorf("half a record: %v", err)
	}
	id, text := newToken(t)
	good, err := sample(t, id, text).Encode()
	if err != nil {
		t.Fatal(err)
	}
	for old, want := range map[string]error{id: token.ErrInvalidID, "$sha256$v=1$": record.ErrHash} {
		bad := bytes.Replace(good, []byte(old), []byte("x"+old[1:]), 1)
		if _, err := record.Decode(bad); !errors.Is(err, want) {
			t.Errorf("damaged %q: %v, want %v", old, err, want)
		}
	}
	newer := strings.NewReplacer(`"version":1`, `"version":2`, id, "x").Replace(string(good))
	if _, err := record.Decode([]byte(newer)); err == nil || errors.Is(err, token.ErrInvalidID) {
		t.Errorf("the id of a record of another version was judged: %v", err)
	}
}
