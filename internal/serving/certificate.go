package serving

import (
	"bytes"
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io/fs"
	stdlog "log"
	"net/http"
	"os"
	"sync"
	"sync/atomic"
	"time"

	"github.com/go-logr/logr"
	"github.com/prometheus/client_golang/prometheus"
	"k8s.io/utils/clock"
)

// TLSFiles says how the ports of a process speak TLS.
type TLSFiles struct {
	// Cert and Key are files in PEM: the certificate with its intermediate authorities after it, and its private key.
	Cert, Key string
	// Held takes the place of files in a process that keeps the certificate itself. It may be nil.
	Held *Held
	// MinVersion is the lowest version of TLS that is accepted, `1.3` or `1.2`. Empty means `1.3`.
	MinVersion string
	// PlainHTTP accepts plain HTTP on the same ports. Without files, nothing else is accepted.
	PlainHTTP bool
}

// Held is a certificate in memory, with its private key. Both are PEM.
type Held struct {
	mu        sync.Mutex
	cert, key []byte
}

// Hold replaces the certificate.
func (h *Held) Hold(cert, key []byte) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.cert, h.key = cert, key
}

// pair fails with fs.ErrNotExist until there is a certificate.
func (h *Held) pair() (*keyPair, error) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.cert == nil {
		return nil, fmt.Errorf("reading the certificate of --tls-secret: %w", fs.ErrNotExist)
	}
	pair, err := tls.X509KeyPair(h.cert, h.key)
	if err != nil {
		return nil, fmt.Errorf("reading the certificate of --tls-secret: %w", err)
	}
	return &keyPair{pair, h.cert, h.key}, nil
}

const (
	// renewalPeriod is how often the files are looked at. The kubelet writes a changed Secret into them within about a minute.
	renewalPeriod = 10 * time.Second
	// waitPeriod is how often they are looked for at the start. The controller makes the Secret.
	waitPeriod = time.Second
)

// The results of attempts to replace the certificate.
const (
	renewed    = "succeeded"
	notRenewed = "failed"
)

// Certificate is the server certificate in files that are read again when they change. Connections that are open stay open. Its
// methods accept nil, which means plain HTTP.
type Certificate struct {
	files      TLSFiles
	minVersion uint16
	clock      clock.Clock
	log        logr.Logger
	// served is nil until the files are there.
	served atomic.Pointer[keyPair]
	// logged is the error that was logged last.
	logged   string
	renewals *prometheus.CounterVec
}

// keyPair is a certificate with the content of its files.
type keyPair struct {
	tls.Certificate

	certPEM, keyPEM []byte
}

// loadCertificate reads the files of o.TLS, and registers the metrics of the certificate. Files that are not there yet are waited
// for. If none are named, it returns nil.
func loadCertificate(o Options, log logr.Logger) (*Certificate, error) {
	minVersion, err := o.TLS.minVersion()
	switch {
	case err != nil:
		return nil, err
	case o.TLS.Held != nil:
	case o.TLS.Cert == "" && o.TLS.Key == "" && o.TLS.PlainHTTP:
		return nil, nil
	case o.TLS.Cert == "" && o.TLS.Key == "":
		return nil, errors.New("there is no certificate to serve: set --tls-cert-file and --tls-private-key-file. With --plain-http instead, " +
			"everybody who can read the network between the gateway and this process can take tokens, caller keys and personal access tokens from it")
	case o.TLS.Cert == "" || o.TLS.Key == "":
		return nil, errors.New("--tls-cert-file and --tls-private-key-file must be set together, or neither")
	}
	c := &Certificate{files: o.TLS, minVersion: minVersion, clock: o.Clock, log: log, renewals: prometheus.NewCounterVec(prometheus.CounterOpts{
		Name: "apitoken_tls_renewals_total",
		Help: "Attempts to replace the certificate served by the one in its files, by result. A failed one is repeated every 10 seconds.",
	}, []string{"result"})}
	for _, result := range []string{renewed, notRenewed} {
		c.renewals.WithLabelValues(result) // from 0 on: an alert misses the first increase of a series that begins with it
	}
	pair, err := c.files.read()
	switch {
	case errors.Is(err, fs.ErrNotExist):
		log.Info("Waiting for the certificate: the controller makes it, unless another party does", "error", err.Error())
	case err != nil:
		return nil, err
	default:
		c.served.Store(pair)
		if err := pair.validAt(c.clock.Now()); err != nil {
			log.Error(err, "Clients that verify the certificate refuse it", "file", o.TLS.Cert)
		}
	}
	o.Registry.MustRegister(c.renewals, prometheus.NewGaugeFunc(prometheus.GaugeOpts{
		Name: "apitoken_tls_certificate_expiration_timestamp_seconds",
		Help: "When the certificate that this process serves ends.",
	}, func() float64 { return float64(c.ends().Unix()) }))
	return c, nil
}

var errNoCertificate = errors.New("there is no certificate to serve yet: its files are not there")

// ready fails until there is a certificate.
func (c *Certificate) ready() error {
	if c != nil && c.served.Load() == nil {
		return errNoCertificate
	}
	return nil
}

// ends returns when the certificate ends that is served, and 1970 if there is none.
func (c *Certificate) ends() time.Time {
	if pair := c.served.Load(); pair != nil {
		return pair.Leaf.NotAfter
	}
	return time.Unix(0, 0)
}

// AlsoPlain reports whether connections without TLS are accepted too.
func (c *Certificate) AlsoPlain() bool { return c != nil && c.files.PlainHTTP }

func (f TLSFiles) minVersion() (uint16, error) {
	switch f.MinVersion {
	case "", "1.3":
		return tls.VersionTLS13, nil
	case "1.2":
		return tls.VersionTLS12, nil
	default:
		return 0, fmt.Errorf("--tls-min-version must be 1.3 or 1.2, not %q", f.MinVersion)
	}
}

// read reads the certificate and its key. The error says which file to mend, and quotes none of its content.
func (f TLSFiles) read() (*keyPair, error) {
	if f.Held != nil {
		return f.Held.pair()
	}
	certPEM, err := os.ReadFile(f.Cert)
	if err != nil {
		return nil, fmt.Errorf("reading the certificate of --tls-cert-file: %w", err)
	}
	keyPEM, err := os.ReadFile(f.Key)
	if err != nil {
		return nil, fmt.Errorf("reading the private key of --tls-private-key-file: %w", err)
	}
	pair, err := tls.X509KeyPair(certPEM, keyPEM)
	if err != nil {
		return nil, fmt.Errorf("reading the certificate in %s with the private key in %s: %w", f.Cert, f.Key, err)
	}
	return &keyPair{pair, certPEM, keyPEM}, nil
}

func (p *keyPair) equal(other *keyPair) bool {
	return bytes.Equal(p.certPEM, other.certPEM) && bytes.Equal(p.keyPEM, other.keyPEM)
}

func (p *keyPair) validAt(now time.Time) error {
	switch {
	case now.Before(p.Leaf.NotBefore):
		return fmt.Errorf("the certificate is not valid before %s", p.Leaf.NotBefore.UTC().Format(time.RFC3339))
	case now.After(p.Leaf.NotAfter):
		return fmt.Errorf("the certificate ended at %s", p.Leaf.NotAfter.UTC().Format(time.RFC3339))
	}
	return nil
}

// Config returns the settings of a port that asks clients for a certificate as ask says, or nil.
func (c *Certificate) Config(ask tls.ClientAuthType) *tls.Config {
	if c == nil {
		return nil
	}
	return &tls.Config{
		MinVersion: c.minVersion, ClientAuth: ask, Time: c.clock.Now,
		GetCertificate: func(*tls.ClientHelloInfo) (*tls.Certificate, error) {
			if err := c.ready(); err != nil {
				return nil, err
			}
			return &c.served.Load().Certificate, nil
		},
	}
}

// Secure has a server speak TLS, and ask clients for a certificate as ask says. A nil Certificate leaves it alone.
func (c *Certificate) Secure(server *http.Server, ask tls.ClientAuthType) {
	if c == nil {
		return
	}
	server.TLSConfig = c.Config(ask)
	server.ErrorLog = FailureLog(c.clock, c.log, "A connection failed")
}

// run looks at the files every renewalPeriod until ctx is done, and every waitPeriod until they are there.
func (c *Certificate) run(ctx context.Context) {
	for {
		period := renewalPeriod
		if c.ready() != nil {
			period = waitPeriod
		}
		timer := c.clock.NewTimer(period)
		select {
		case <-ctx.Done():
			timer.Stop()
			return
		case <-timer.C():
			c.renew()
		}
	}
}

// renew serves the certificate in the files if it is another one and valid now. Otherwise the one before stays: a half-written
// renewal must not end the service.
func (c *Certificate) renew() {
	pair, err := c.files.read()
	before := c.served.Load()
	switch {
	case before == nil && errors.Is(err, fs.ErrNotExist):
		return
	case before != nil && err == nil && pair.equal(before):
		c.logged = ""
		return
	}
	if err == nil {
		err = pair.validAt(c.clock.Now())
	}
	if err != nil {
		c.renewals.WithLabelValues(notRenewed).Inc()
		if c.logged != err.Error() {
			c.logged = err.Error()
			c.log.Error(err, "Kept the certificate before, because the new one cannot be served", "ends", c.ends())
		}
		return
	}
	c.served.Store(pair)
	c.logged = ""
	c.renewals.WithLabelValues(renewed).Inc()
	c.log.Info("Replaced the certificate", "ends", pair.Leaf.NotAfter)
}

// failureLogPeriod is the least time between two lines about failures that anybody who can connect may cause.
const failureLogPeriod = 10 * time.Second

// FailureLog returns a log of such failures. Each line of it has this message, and the failure as its error.
func FailureLog(c clock.Clock, log logr.Logger, message string) *stdlog.Logger {
	return stdlog.New(&limitedLog{clock: c, log: log, message: message}, "", 0)
}

// limitedLog drops lines that come within failureLogPeriod of another, and counts them.
type limitedLog struct {
	clock   clock.Clock
	log     logr.Logger
	message string

	mu      sync.Mutex
	logged  time.Time
	skipped int
}

// Write implements io.Writer.
func (l *limitedLog) Write(line []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if now := l.clock.Now(); now.Sub(l.logged) >= failureLogPeriod {
		l.log.Info(l.message, "error", string(bytes.TrimSpace(line)), "skippedLines", l.skipped)
		l.logged, l.skipped = now, 0
	} else {
		l.skipped++
	}
	return len(line), nil
}
