package servingcert

import (
	"crypto/tls"
	"crypto/x509"
	"encoding/pem"
	"fmt"
	"math/rand/v2"
	"reflect"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

var (
	start = time.Date(2026, 11, 26, 12, 0, 0, 0, time.UTC)
	names = Names("apitoken-webhook.apitoken-system.svc", "apitoken-portal.apitoken-system.svc")
)

func mustPlan(t *testing.T, stored State, names []string, now time.Time) State {
	t.Helper()
	next, err := Plan(stored, names, now)
	if err != nil {
		t.Fatal(err)
	}
	return next
}

func leaf(t *testing.T, s State) *x509.Certificate {
	t.Helper()
	pair, err := tls.X509KeyPair(s.Serving.Cert, s.Serving.Key)
	if err != nil {
		t.Fatal(err)
	}
	return pair.Leaf
}

// verifies does what a client with a bundle does.
func verifies(t *testing.T, bundle []byte, of State, name string, now time.Time) error {
	t.Helper()
	roots := x509.NewCertPool()
	if !roots.AppendCertsFromPEM(bundle) {
		t.Fatal("the bundle is empty")
	}
	_, err := leaf(t, of).Verify(x509.VerifyOptions{Roots: roots, DNSName: name, CurrentTime: now})
	return err
}

func TestNames(t *testing.T) {
	for host, want := range map[string]string{
		"a.b.svc":               "a.b.svc a.b.svc.cluster.local",
		"a.b.svc.cluster.local": "a.b.svc a.b.svc.cluster.local",
		"webhook.example":       "webhook.example",
	} {
		if got := strings.Join(Names(host, host), " "); got != want {
			t.Errorf("%s has the names %s, want %s", host, got, want)
		}
	}
}

func TestFirstCertificate(t *testing.T) {
	made := mustPlan(t, State{}, names, start)
	for _, name := range names {
		// A client's clock may be behind.
		for _, now := range []time.Time{start, start.Add(-backdate), start.Add(90*day - time.Second)} {
			if err := verifies(t, made.Serving.Bundle, made, name, now); err != nil {
				t.Errorf("%s at %s: %v", name, now, err)
			}
		}
	}
	if err := verifies(t, made.Serving.Bundle, made, names[0], start.Add(90*day+time.Second)); err == nil {
		t.Error("the certificate has no end")
	}
	if err := verifies(t, made.Serving.Bundle, made, "jira.example", start); err == nil {
		t.Error("the certificate is good for every name")
	}
	if len(made.Authorities) != 1 || strings.Contains(string(made.Serving.Bundle), "PRIVATE") || string(made.Serving.Bundle) != made.Authorities[0].Cert {
		t.Errorf("%d authorities, the bundle is %s", len(made.Authorities), made.Serving.Bundle)
	}
	if again := mustPlan(t, made, names, start.Add(59*day)); !reflect.DeepEqual(again, made) {
		t.Error("the certificate changed before it was due")
	}
}

// With the authority's key somebody can be webhook or portal, and nobody else.
func TestAuthoritySignsOnlyForItsNames(t *testing.T) {
	made := mustPlan(t, State{}, names, start)
	a, err := made.Authorities[0].parse()
	if err != nil {
		t.Fatal(err)
	}
	for _, foreign := range []string{"jira.example", "apitoken-system.svc", "svc"} {
		var bad State
		if bad.Serving.Cert, bad.Serving.Key, err = a.issue([]string{foreign}, start); err != nil {
			t.Fatal(err)
		}
		if err := verifies(t, made.Serving.Bundle, bad, foreign, start); err == nil {
			t.Errorf("a certificate for %s verifies", foreign)
		}
	}
}

// The certificate is replaced after two thirds of its life, with a new key, by the same authority.
func TestRenewal(t *testing.T) {
	made := mustPlan(t, State{}, names, start)
	renewed := mustPlan(t, made, names, start.Add(60*day))
	if leaf(t, renewed).NotAfter != start.Add(150*day) || cmp.Equal(made.Serving.Key, renewed.Serving.Key) || !cmp.Equal(made.Authorities, renewed.Authorities) {
		t.Errorf("renewed until %s", leaf(t, renewed).NotAfter)
	}
	if err := verifies(t, made.Serving.Bundle, renewed, names[0], start.Add(60*day)); err != nil {
		t.Error(err)
	}
}

// In 25 years, with two rotations of the authority, no client that read the bundle within the last 360 days refuses a certificate
// that was current at some time in the last five days.
func TestRotationWithOverlap(t *testing.T) {
	const step = 5 * day
	random := rand.New(rand.NewPCG(1, 2))
	var history []State
	authorities, certificates := map[string]bool{}, map[string]bool{}
	for now := start; now.Before(start.Add(25 * 365 * day)); now = now.Add(step) {
		var before State
		if len(history) > 0 {
			before = history[len(history)-1]
		}
		history = append(history, mustPlan(t, before, names, now))
		at := func(age time.Duration) State { return history[max(0, len(history)-1-int(age/step))] }
		for _, a := range at(0).Authorities {
			authorities[a.Cert] = true
		}
		certificates[string(at(0).Serving.Cert)] = true
		for range 2 {
			read := time.Duration(random.Int64N(int64(360 * day)))
			for _, lag := range []time.Duration{0, step} {
				if err := verifies(t, at(read).Serving.Bundle, at(lag), names[0], now); err != nil {
					t.Fatalf("%s after the start, bundle of %s ago, certificate of %s ago: %v", now.Sub(start), read, lag, err)
				}
			}
		}
	}
	if len(authorities) < 3 || len(certificates) < 25*6 {
		t.Errorf("%d authorities and %d certificates", len(authorities), len(certificates))
	}
}

// What is missing, damaged or for other names is made again, and what is good stays.
func TestDamage(t *testing.T) {
	made := mustPlan(t, State{}, names, start)
	other := mustPlan(t, State{}, names, start)
	now := start.Add(day)
	for name, tc := range map[string]struct {
		damage               func(*State)
		certificate, trusted bool // stay
	}{
		"the Secret of the certificate deleted": {func(s *State) { s.Serving = Serving{} }, false, true},
		"the key of another certificate":        {func(s *State) { s.Serving.Key = other.Serving.Key }, false, true},
		"the certificate of another authority":  {func(s *State) { s.Serving.Cert, s.Serving.Key = other.Serving.Cert, other.Serving.Key }, false, true},
		"a certificate that is no PEM":          {func(s *State) { s.Serving.Cert = []byte("?") }, false, true},
		"a truncated certificate":               {func(s *State) { s.Serving.Cert = s.Serving.Cert[:200] }, false, true},
		"no bundle":                             {func(s *State) { s.Serving.Bundle = nil }, true, true},
		"a strange bundle":                      {func(s *State) { s.Serving.Bundle = other.Serving.Bundle }, true, true},
		"the authorities deleted":               {func(s *State) { s.Authorities = nil }, true, true},
		"an authority without its key":          {func(s *State) { s.Authorities[0].Key = "" }, true, true},
		"an authority with another key":         {func(s *State) { s.Authorities[0].Key = other.Authorities[0].Key }, true, true},
		"an authority that is no PEM":           {func(s *State) { s.Authorities[0].Cert = "?" }, true, true},
		"everything deleted":                    {func(s *State) { *s = State{} }, false, false},
	} {
		t.Run(name, func(t *testing.T) {
			damaged := State{append([]Authority{}, made.Authorities...), made.Serving}
			tc.damage(&damaged)
			mended := mustPlan(t, damaged, names, now)
			if err := verifies(t, mended.Serving.Bundle, mended, names[1], now); err != nil {
				t.Error(err)
			}
			if kept := cmp.Equal(mended.Serving.Cert, made.Serving.Cert); kept != tc.certificate {
				t.Errorf("the certificate stayed: %t", kept)
			}
			if err := verifies(t, mended.Serving.Bundle, made, names[1], now); (err == nil) != tc.trusted {
				t.Errorf("the certificate before, which is served until the next is loaded: %v", err)
			}
			if again := mustPlan(t, mended, names, now); !reflect.DeepEqual(again, mended) {
				t.Error("the second pass changes something")
			}
			// Nothing is forgotten when the certificate is due.
			renewed := mustPlan(t, mended, names, start.Add(62*day))
			if err := verifies(t, renewed.Serving.Bundle, mended, names[1], start.Add(62*day)); err != nil {
				t.Errorf("the certificate before the renewal: %v", err)
			}
		})
	}
}

// With another host in --webhook-url, the authority cannot sign: it is replaced, and stays trusted.
func TestOtherNames(t *testing.T) {
	made := mustPlan(t, State{}, names, start)
	moved := Names("webhook.example")
	next := mustPlan(t, made, moved, start.Add(day))
	if err := verifies(t, next.Serving.Bundle, next, "webhook.example", start.Add(day)); err != nil {
		t.Error(err)
	}
	if err := verifies(t, next.Serving.Bundle, made, names[0], start.Add(day)); err != nil {
		t.Errorf("the certificate before: %v", err)
	}
	fewer := mustPlan(t, made, names[:1], start.Add(day))
	if !reflect.DeepEqual(fewer, made) {
		t.Error("a name that is no longer wanted costs a renewal")
	}
}

// A clock that was wrong leaves certificates of the future or of the past behind.
func TestClockThatWasWrong(t *testing.T) {
	for _, wrong := range []time.Duration{-20 * 365 * day, -400 * day, 400 * day, 20 * 365 * day} {
		made := mustPlan(t, State{}, names, start.Add(wrong))
		next := mustPlan(t, made, names, start)
		if err := verifies(t, next.Serving.Bundle, next, names[0], start); err != nil {
			t.Errorf("wrong by %s: %v", wrong, err)
		}
		if again := mustPlan(t, next, names, start.Add(time.Hour)); !reflect.DeepEqual(again, next) {
			t.Errorf("wrong by %s: the second pass changes something", wrong)
		}
	}
}

func TestAuthoritiesForm(t *testing.T) {
	made := mustPlan(t, State{}, names, start)
	text, err := EncodeAuthorities(made.Authorities)
	if err != nil {
		t.Fatal(err)
	}
	if got, err := DecodeAuthorities(text); err != nil || !cmp.Equal(got, made.Authorities) {
		t.Error(got, err)
	}
	later := strings.Replace(string(text), `{"authorities"`, `{"later":1,"authorities"`, 1)
	if got, err := DecodeAuthorities([]byte(later)); err != nil || !cmp.Equal(got, made.Authorities) {
		t.Error(got, err)
	}
	for _, bad := range []string{"", "[]", `{"authorities":[{"cert":1}]}`, strings.Replace(string(text), "{", `{"version":"2",`, 1)} {
		if _, err := DecodeAuthorities([]byte(bad)); err == nil || strings.Contains(err.Error(), "PRIVATE") {
			t.Errorf("%.20s: %v", bad, err)
		}
	}
}

// The stored form of authorities may be damaged in every place. No error quotes a key.
func FuzzParse(f *testing.F) {
	made, err := Plan(State{}, names, start)
	if err != nil {
		f.Fatal(err)
	}
	f.Add(made.Authorities[0].Cert, made.Authorities[0].Key)
	f.Add(made.Authorities[0].Cert, string(pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY"})))
	f.Fuzz(func(t *testing.T, cert, key string) {
		a, err := Authority{cert, key}.parse()
		if err == nil && (a.cert == nil || a.key == nil && key != "") {
			t.Fatal("read without a certificate or key")
		}
		if err != nil && len(key) > 20 && strings.Contains(fmt.Sprint(err), key) {
			t.Fatal(err)
		}
	})
}
