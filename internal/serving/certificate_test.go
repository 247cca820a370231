package serving

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptrace"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/go-logr/logr"
	"github.com/go-logr/logr/funcr"
	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/testutil"
	clocktesting "k8s.io/utils/clock/testing"

	"apitokens.dev/operator/hack/lib/authority"
)

const host = "apitoken-webhook.apitoken-system.svc"

// files are those of a certificate, in a folder of their own.
type files struct {
	*testing.T
	TLSFiles

	ours *authority.Authority
	// brief is that of HTTP.
	brief bool
}

func newFiles(t *testing.T) *files {
	t.Helper()
	dir := t.TempDir()
	return &files{T: t, TLSFiles: TLSFiles{Cert: filepath.Join(dir, "tls.crt"), Key: filepath.Join(dir, "tls.key")}, ours: authority.ForTest(t, "ours")}
}

// issue writes a certificate that is valid for the two days before until.
func (f *files) issue(until time.Time) { f.write(f.made(until)) }

func (f *files) made(until time.Time) (certificate, key []byte) {
	f.Helper()
	c, err := f.ours.Server(until, host)
	if err != nil {
		f.Fatal(err)
	}
	certificate, key, err = authority.EncodePEM(c)
	if err != nil {
		f.Fatal(err)
	}
	return certificate, key
}

func (f *files) write(certificate, key []byte) {
	f.Helper()
	if err := errors.Join(os.WriteFile(f.Cert, certificate, 0o600), os.WriteFile(f.Key, key, 0o600)); err != nil {
		f.Fatal(err)
	}
}

// lines are those of a log.
type lines struct {
	mu  sync.Mutex
	all []string
}

func (l *lines) logger() logr.Logger {
	return funcr.New(func(_, args string) {
		l.mu.Lock()
		defer l.mu.Unlock()
		l.all = append(l.all, args)
	}, funcr.Options{})
}

func (l *lines) with(text string) (n int) {
	l.mu.Lock()
	defer l.mu.Unlock()
	for _, line := range l.all {
		if strings.Contains(line, text) {
			n++
		}
	}
	return n
}

// A process does not start with files that cannot be served, and says which of them to mend. It waits for those that are not there.
func TestCertificateAtStart(t *testing.T) {
	now := time.Now()
	for name, tc := range map[string]struct {
		change func(*files)
		want   string // "" if it starts
	}{
		"right":                 {func(*files) {}, ""},
		"ended":                 {func(f *files) { f.issue(now.Add(-time.Second)) }, ""},
		"TLS 1.2":               {func(f *files) { f.MinVersion = "1.2" }, ""},
		"no certificate":        {func(f *files) { f.Cert += ".old" }, ""},
		"no key":                {func(f *files) { f.Key += ".old" }, ""},
		"a folder":              {func(f *files) { f.Cert = filepath.Dir(f.Cert) }, "reading the certificate of --tls-cert-file: read "},
		"neither TLS nor plain": {func(f *files) { f.Cert, f.Key = "", "" }, "set --tls-cert-file and --tls-private-key-file. With --plain-http instead, everybody"},
		"a key alone":           {func(f *files) { f.Cert = "" }, "--tls-cert-file and --tls-private-key-file must be set together"},
		"a certificate alone":   {func(f *files) { f.Key = "" }, "--tls-cert-file and --tls-private-key-file must be set together"},
		"the key of another":    {func(f *files) { _, key := f.made(now); c, _ := f.made(now); f.write(c, key) }, "private key does not match public key"},
		"files exchanged":       {func(f *files) { f.Cert, f.Key = f.Key, f.Cert }, "PEM inputs may have been switched"},
		"garbled":               {func(f *files) { f.write([]byte("SECRET"), []byte("SECRET")) }, "failed to find any PEM data in certificate input"},
		"another version":       {func(f *files) { f.MinVersion = "1.1" }, `--tls-min-version must be 1.3 or 1.2, not "1.1"`},
		"a version without TLS": {func(f *files) { f.Cert, f.Key, f.MinVersion = "", "", "TLS1.3" }, "--tls-min-version must be 1.3 or 1.2"},
	} {
		t.Run(name, func(t *testing.T) {
			f, registry, log := newFiles(t), prometheus.NewRegistry(), &lines{}
			f.issue(now.Add(time.Hour))
			tc.change(f)
			o := Options{TLS: f.TLSFiles, Registry: registry}
			c, err := o.Prepare(log.logger())
			if (err == nil) != (tc.want == "") || err != nil && (!strings.Contains(err.Error(), tc.want) || strings.Contains(err.Error(), "SECRET")) {
				t.Fatalf("started with %v, want %q", err, tc.want)
			}
			if said := log.with("the certificate ended at"); (name == "ended") != (said == 1) {
				t.Errorf("logged %v", log.all)
			}
			if waits := log.with("Waiting for the certificate"); (name == "no certificate" || name == "no key") != (waits == 1) {
				t.Errorf("logged %v", log.all)
			}
			if served, _ := testutil.GatherAndCount(registry, "apitoken_tls_certificate_expiration_timestamp_seconds"); (c != nil) != (served == 1) {
				t.Errorf("has a certificate: %t, and %d metrics of it", c != nil, served)
			}
		})
	}
}

func TestWithoutFilesItIsPlainHTTP(t *testing.T) {
	o := Options{TLS: TLSFiles{PlainHTTP: true}, Registry: prometheus.NewRegistry()}
	c, err := o.Prepare(logr.Discard())
	if err != nil || c != nil || c.Config(tls.NoClientCert) != nil {
		t.Fatalf("made %v, %v", c, err)
	}
	server := &http.Server{ReadHeaderTimeout: time.Second}
	if c.Secure(server, tls.NoClientCert); server.TLSConfig != nil {
		t.Error("the server speaks TLS")
	}
}

// served is a server with the certificate in files, until the test ends.
type served struct {
	*files

	certificate *Certificate
	clock       *clocktesting.FakeClock
	registry    *prometheus.Registry
	log         *lines
	address     string
}

func serve(t *testing.T, minVersion string) *served {
	t.Helper()
	return serveFiles(t, func(f *files) { f.MinVersion = minVersion })
}

// serveFiles serves a certificate that is valid for an hour, after a change of its files.
func serveFiles(t *testing.T, change func(*files)) *served {
	t.Helper()
	s := &served{files: newFiles(t), clock: clocktesting.NewFakeClock(time.Now().Truncate(time.Second)), registry: prometheus.NewRegistry(), log: &lines{}}
	s.issue(s.clock.Now().Add(time.Hour))
	change(s.files)
	o := Options{TLS: s.TLSFiles, Registry: s.registry, Clock: s.clock}
	var err error
	if s.certificate, err = o.Prepare(s.log.logger()); err != nil {
		t.Fatal(err)
	}
	web := NewHTTP(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		_, _ = fmt.Fprintf(w, "%s, TLS: %t", r.Proto, r.TLS != nil && r.TLS.HandshakeComplete)
	}), 10*time.Second)
	s.certificate.Secure(web, tls.NoClientCert)
	listener, err := new(net.ListenConfig).Listen(t.Context(), "tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	s.address = listener.Addr().String()
	done := make(chan error, 1)
	go func() {
		done <- HTTP{Server: web, AlsoPlain: s.certificate.AlsoPlain(), Brief: s.brief}.Serve(listener)
	}()
	ctx, stop := context.WithCancel(t.Context())
	watched := make(chan struct{})
	go func() {
		s.certificate.run(ctx)
		close(watched)
	}()
	t.Cleanup(func() {
		stop()
		<-watched
		if err := errors.Join(web.Shutdown(context.WithoutCancel(t.Context())), <-done); err != nil {
			t.Error(err)
		}
	})
	return s
}

// pass lets so much time pass, in steps in which the files are looked at.
func (s *served) pass(d time.Duration) {
	s.Helper()
	for ; d > 0; d -= renewalPeriod {
		s.await("the watch waits", s.clock.HasWaiters)
		s.clock.Step(renewalPeriod)
		s.await("the watch has looked", s.clock.HasWaiters)
	}
}

func (s *served) await(what string, is func() bool) {
	s.Helper()
	for deadline := time.Now().Add(10 * time.Second); !is(); {
		if time.Now().After(deadline) {
			s.Fatalf("waited in vain: %s", what)
		}
		<-time.After(time.Millisecond)
	}
}

// ends is when the certificate ends that a new connection gets.
func (s *served) ends() time.Time {
	s.Helper()
	conn, err := (&tls.Dialer{Config: s.trusting()}).DialContext(s.Context(), "tcp", s.address)
	if err != nil {
		s.Fatal(err)
	}
	defer func() { _ = conn.Close() }()
	return conn.(*tls.Conn).ConnectionState().PeerCertificates[0].NotAfter
}

func (s *served) trusting() *tls.Config {
	return &tls.Config{RootCAs: s.ours.Pool(), ServerName: host, Time: s.clock.Now, MinVersion: tls.VersionTLS12}
}

func (s *served) metric() float64 {
	s.Helper()
	families, err := s.registry.Gather()
	if err != nil {
		s.Fatal(err)
	}
	for _, f := range families {
		if f.GetName() == "apitoken_tls_certificate_expiration_timestamp_seconds" {
			return f.GetMetric()[0].GetGauge().GetValue()
		}
	}
	s.Fatal("there is no metric of the certificate")
	return 0
}

// A certificate that is renewed is served from the next connection on. Connections that are open stay open and are answered.
func TestCertificateIsReloaded(t *testing.T) {
	s := serve(t, "")
	first := s.clock.Now().Add(time.Hour)
	client := &http.Client{Transport: &http.Transport{TLSClientConfig: s.trusting()}}
	defer client.CloseIdleConnections()
	get := func() (reused bool) {
		trace := &httptrace.ClientTrace{GotConn: func(i httptrace.GotConnInfo) { reused = i.Reused }}
		request, err := http.NewRequestWithContext(httptrace.WithClientTrace(t.Context(), trace), http.MethodGet, "https://"+s.address, http.NoBody)
		if err != nil {
			t.Fatal(err)
		}
		answer, err := client.Do(request)
		if err != nil {
			t.Fatal(err)
		}
		defer func() { _ = answer.Body.Close() }()
		if _, err := io.Copy(io.Discard, answer.Body); err != nil {
			t.Fatal(err)
		}
		return reused
	}
	get()
	for _, end := range []time.Time{first.Add(time.Hour), first.Add(2 * time.Hour)} {
		s.issue(end)
		s.pass(renewalPeriod)
		s.await("the renewed certificate is served", func() bool { return s.ends().Equal(end) })
		if !get() {
			t.Error("the connection that was open has been dropped")
		}
		if got := s.metric(); got != float64(end.Unix()) {
			t.Errorf("the metric says %.0f, want %d", got, end.Unix())
		}
	}
	succeeded := s.certificate.renewals.WithLabelValues("succeeded")
	s.await("both are counted and logged", func() bool {
		return testutil.ToFloat64(succeeded) == 2 && s.log.with("Replaced the certificate") == 2
	})
}

// Pods start before the controller has made the certificate. Until it is there, no connection succeeds and the process is not ready.
func TestProcessWaitsForTheCertificate(t *testing.T) {
	var certificate, key []byte
	s := serveFiles(t, func(f *files) {
		certificate, key = f.made(time.Now().Add(24 * time.Hour))
		_ = os.Remove(f.Cert)
		f.write(nil, nil)
		_ = errors.Join(os.Remove(f.Cert), os.Remove(f.Key))
	})
	server := NewServer(Options{}, HTTP{Server: &http.Server{ReadHeaderTimeout: time.Second}}, s.certificate, nil, nil)
	for _, present := range []func(){func() {}, func() { _ = os.WriteFile(s.Cert, certificate, 0o600) }} {
		present()
		s.await("the watch waits", s.clock.HasWaiters)
		s.clock.Step(waitPeriod)
		if conn, err := (&tls.Dialer{Config: s.trusting()}).DialContext(t.Context(), "tcp", s.address); err == nil {
			_ = conn.Close()
			t.Error("a connection without a certificate")
		}
		if err := server.Ready(nil); !errors.Is(err, errNoCertificate) || s.metric() != 0 {
			t.Errorf("ready: %v, the metric is %v", err, s.metric())
		}
	}
	s.write(certificate, key)
	s.await("the watch waits", s.clock.HasWaiters)
	s.clock.Step(waitPeriod)
	s.await("the certificate is served", func() bool { return s.certificate.ready() == nil })
	s.ends()
	if s.log.with("Replaced the certificate") != 1 || s.log.with("Kept the certificate") != 0 {
		t.Errorf("logged %v", s.log.all)
	}
}

// A process that makes the certificate itself serves it without files, from a second after it was made, and what follows it. One
// without a key that fits does not take its place.
func TestHeldCertificate(t *testing.T) {
	held := &Held{}
	s := serveFiles(t, func(f *files) { f.TLSFiles = TLSFiles{Held: held} })
	if s.certificate.ready() == nil || s.log.with("Waiting for the certificate") != 1 {
		t.Fatalf("ready without a certificate; logged %v", s.log.all)
	}
	first := s.clock.Now().Add(time.Hour)
	held.Hold(s.made(first))
	s.await("the watch waits", s.clock.HasWaiters)
	s.clock.Step(waitPeriod)
	s.await("the certificate is served", func() bool { return s.certificate.ready() == nil })
	if got := s.ends(); !got.Equal(first) {
		t.Errorf("it ends at %s, want %s", got, first)
	}
	certificate, _ := s.made(first.Add(time.Hour))
	_, key := s.made(first.Add(time.Hour))
	held.Hold(certificate, key)
	s.pass(renewalPeriod)
	if got := s.ends(); !got.Equal(first) || s.log.with("Kept the certificate before") != 1 {
		t.Errorf("with the key of another one it ends at %s; logged %v", got, s.log.all)
	}
	held.Hold(s.made(first.Add(time.Hour)))
	s.pass(renewalPeriod)
	s.await("the next one is served", func() bool { return s.ends().Equal(first.Add(time.Hour)) })
}

// A port takes connections with TLS, of HTTP/1.1 and 2, and with --plain-http also those without. One that sends nothing holds up no other.
func TestPlainHTTPBesideTLS(t *testing.T) {
	for _, plain := range []bool{false, true} {
		for _, brief := range []bool{false, true} {
			s := serveFiles(t, func(f *files) { f.PlainHTTP, f.brief = plain, brief })
			silent, err := new(net.Dialer).DialContext(t.Context(), "tcp", s.address)
			if err != nil {
				t.Fatal(err)
			}
			defer func() { _ = silent.Close() }()
			if plain {
				s.answers("http", "HTTP/1.1", false)
			}
			s.answers("https", "HTTP/1.1", false)
			s.answers("https", "HTTP/2.0", true)
		}
	}
}

// answers fails if the server answers in another protocol, or another one than that of the scheme.
func (s *served) answers(scheme, proto string, two bool) {
	s.Helper()
	client := &http.Client{Transport: &http.Transport{TLSClientConfig: s.trusting(), ForceAttemptHTTP2: two}}
	for range 3 {
		answer, err := client.Get(scheme + "://" + s.address)
		if err != nil {
			s.Fatal(err)
		}
		body, _ := io.ReadAll(answer.Body)
		_ = answer.Body.Close()
		if want := fmt.Sprintf("%s, TLS: %t", proto, scheme == "https"); string(body) != want {
			s.Errorf("%s (plain too: %t, brief: %t) answers %q, want %q", scheme, s.PlainHTTP, s.brief, body, want)
		}
		client.CloseIdleConnections()
	}
}

// A renewal that cannot be served keeps the certificate before. It is logged once, counted as long as it lasts, and over when it is
// mended.
func TestBadRenewals(t *testing.T) {
	for name, tc := range map[string]struct {
		renew func(*served)
		says  string
	}{
		"a half-written pair": {func(s *served) {
			c, _ := s.made(s.clock.Now().Add(2 * time.Hour))
			if err := os.WriteFile(s.Cert, c, 0o600); err != nil {
				s.Fatal(err)
			}
		}, "private key does not match public key"},
		"nothing":        {func(s *served) { s.write(nil, nil) }, "failed to find any PEM data"},
		"files are gone": {func(s *served) { _ = os.Remove(s.Key) }, "reading the private key of --tls-private-key-file"},
		"ended":          {func(s *served) { s.issue(s.clock.Now().Add(-time.Minute)) }, "the certificate ended at"},
		"of the future":  {func(s *served) { s.issue(s.clock.Now().Add(49 * time.Hour)) }, "the certificate is not valid before"},
	} {
		t.Run(name, func(t *testing.T) {
			s := serve(t, "")
			before := s.ends()
			tc.renew(s)
			s.pass(3 * renewalPeriod)
			failed := s.certificate.renewals.WithLabelValues("failed")
			s.await("three attempts are counted", func() bool { return testutil.ToFloat64(failed) == 3 })
			if now := s.ends(); !now.Equal(before) {
				t.Errorf("serves a certificate until %s, want the one before, until %s", now, before)
			}
			if s.log.with(tc.says) != 1 || s.log.with("Kept the certificate before") != 1 {
				t.Errorf("logged %v, want one line with %q", s.log.all, tc.says)
			}
			mended := s.clock.Now().Add(3 * time.Hour)
			s.issue(mended)
			s.pass(renewalPeriod)
			s.await("the mended certificate is served", func() bool { return s.ends().Equal(mended) })
		})
	}
}

// Gateways that cannot speak TLS 1.3 are refused unless a flag allows them, and those that speak plain HTTP always.
func TestVersionsOfTLS(t *testing.T) {
	for minVersion, tc := range map[string]struct {
		offered  uint16
		accepted bool
	}{
		"":    {tls.VersionTLS12, false},
		"1.3": {tls.VersionTLS13, true},
		"1.2": {tls.VersionTLS12, true},
	} {
		s := serve(t, minVersion)
		config := s.trusting()
		config.MaxVersion = tc.offered
		conn, err := (&tls.Dialer{Config: config}).DialContext(t.Context(), "tcp", s.address)
		if (err == nil) != tc.accepted {
			t.Errorf("minimum %q, offered %x: %v", minVersion, tc.offered, err)
		}
		if err == nil {
			_ = conn.Close()
		}
	}
}

// A client without TLS is told so. Only one line in ten seconds is logged: everybody who can connect could fill the log.
func TestPlainHTTPIsRefused(t *testing.T) {
	for _, brief := range []bool{false, true} {
		s := serveFiles(t, func(f *files) { f.brief = brief })
		for range 5 {
			conn, err := new(net.Dialer).DialContext(t.Context(), "tcp", s.address)
			if err != nil {
				t.Fatal(err)
			}
			_, _ = io.WriteString(conn, "GET / HTTP/1.1\r\nHost: x\r\n\r\n")
			answer, err := io.ReadAll(conn)
			if err != nil || !strings.HasPrefix(string(answer), "HTTP/1.0 400 Bad Request\r\n") {
				t.Errorf("brief: %t, plain HTTP is answered %q, %v", brief, answer, err)
			}
			_ = conn.Close()
		}
		if n := s.log.with("A connection failed"); n != 1 {
			t.Errorf("brief: %t, logged %d failed connections, want 1 in %s: %v", brief, n, failureLogPeriod, s.log.all)
		}
	}
}
