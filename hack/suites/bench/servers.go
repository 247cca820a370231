package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"net"
	"net/http"
	"os"
	"runtime/pprof"
	"sync/atomic"
	"time"

	authv3 "github.com/envoyproxy/go-control-plane/envoy/service/auth/v3"
	"github.com/go-logr/logr"
	"github.com/prometheus/client_golang/prometheus"
	"google.golang.org/grpc"
	"k8s.io/utils/clock"

	"apitokens.dev/operator/hack/lib/authority"
	"apitokens.dev/operator/internal/audit"
	"apitokens.dev/operator/internal/manager"
	"apitokens.dev/operator/internal/serving"
	"apitokens.dev/operator/webhook/gateway"
	"apitokens.dev/operator/webhook/gateway/extauthz"
	"apitokens.dev/operator/webhook/gateway/usage"
)

// served is where a server serves, and what it accepts there.
type served struct {
	HTTP string `json:"http"`
	TLS  string `json:"tls"`
	GRPC string `json:"grpc"`
	// Credentials are values of Authorization with valid tokens. Unknown is one with a token that nobody has.
	Credentials []string `json:"credentials"`
	Unknown     string   `json:"unknown"`
}

// state is what a server says of itself.
type state struct {
	// CPU is the time that the process has used so far.
	CPU time.Duration `json:"cpu"`
	// Counts are its counters of audit lines, and Writes are those of last accesses.
	Counts map[string]int `json:"counts"`
	Writes int            `json:"writes"`
}

// serveWebhook serves as a webhook does, but from an index that it fills itself.
func serveWebhook(arguments []string) (err error) {
	flags := flag.NewFlagSet("webhook", flag.ExitOnError)
	tokens := flags.Int("tokens", usual, "number of tokens")
	measured := flags.String("pprof", "", "file for what pprof shows of the CPU time")
	_ = flags.Parse(arguments) // it exits
	w, err := newWorld(*tokens)
	if err != nil {
		return err
	}
	certificate, err := newCertificate()
	if err != nil {
		return err
	}
	defer serving.Reserve()()
	manager.SettleMemory()
	registry := prometheus.NewRegistry()
	lines := audit.NewLog(os.Stdout, registry)
	defer lines.Close()
	var writes atomic.Int64
	uses := usage.NewRecorder(func(context.Context, usage.Use) error {
		writes.Add(1)
		return nil
	}, clock.RealClock{}, 0, logr.Discard(), registry)
	go uses.Run(context.Background())
	observe := func(x *audit.Exchange) {
		lines.Observe(x)
		uses.Observe(x)
	}
	plain, secure := gateway.NewWeb(w.Index, observe, nil, nil), gateway.NewWeb(w.Index, observe, certificate, nil)
	envoy := extauthz.NewServer(w.Index, observe, func() error { return nil }, nil, false, logr.Discard())
	at, err := serve(serving.Listen, serving.HTTP{Server: plain, Brief: true}.Serve, serving.HTTP{Server: secure, Brief: true}.Serve, envoy.Serve)
	if err != nil {
		return err
	}
	at.Credentials, at.Unknown = w.credentials, w.unknown
	stop, err := startPprof(*measured)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, stop()) }()
	return control(at, func() state { return state{Counts: counts(registry), Writes: int(writes.Load())} })
}

// counts returns the sums of all counters of a registry by name.
func counts(registry *prometheus.Registry) map[string]int {
	all := map[string]int{}
	families, _ := registry.Gather() // without errors, as its tests show
	for _, family := range families {
		for _, m := range family.GetMetric() {
			all[family.GetName()] += int(m.GetCounter().GetValue())
		}
	}
	return all
}

func startPprof(name string) (stop func() error, err error) {
	if name == "" {
		return func() error { return nil }, nil
	}
	file, err := os.Create(name)
	if err != nil {
		return nil, fmt.Errorf("measuring for pprof: %w", err)
	}
	if err := pprof.StartCPUProfile(file); err != nil {
		return nil, fmt.Errorf("measuring for pprof: %w", err)
	}
	return func() error {
		pprof.StopCPUProfile()
		return file.Close()
	}, nil
}

// listenBare listens as net/http does.
func listenBare(ctx context.Context, address string) (net.Listener, error) {
	return new(net.ListenConfig).Listen(ctx, "tcp", address)
}

// serve serves with all three servers on ports of this machine.
func serve(listen func(context.Context, string) (net.Listener, error), plain, secure, envoy func(net.Listener) error) (at served, err error) {
	for _, port := range []struct {
		address *string
		serve   func(net.Listener) error
	}{
		{&at.HTTP, plain},
		{&at.TLS, secure},
		{&at.GRPC, envoy},
	} {
		listener, err := listen(context.Background(), "127.0.0.1:0")
		if err != nil {
			return served{}, fmt.Errorf("listening: %w", err)
		}
		*port.address = listener.Addr().String()
		go func() { _ = port.serve(listener) }() // it ends with the process
	}
	return at, nil
}

// newCertificate makes a certificate that nobody knows.
func newCertificate() (*serving.Certificate, error) {
	ca, err := authority.New("bench")
	if err != nil {
		return nil, err
	}
	pair, err := ca.Server(time.Now().Add(time.Hour), "localhost")
	if err != nil {
		return nil, err
	}
	certificate, key, err := authority.EncodePEM(pair)
	if err != nil {
		return nil, err
	}
	folder, err := os.MkdirTemp("", "bench")
	if err != nil {
		return nil, fmt.Errorf("writing a certificate: %w", err)
	}
	defer func() { _ = os.RemoveAll(folder) }()
	o := serving.Options{TLS: serving.TLSFiles{Cert: folder + "/tls.crt", Key: folder + "/tls.key", MinVersion: "1.3"}, Registry: prometheus.NewRegistry()}
	if err := errors.Join(os.WriteFile(o.TLS.Cert, certificate, 0o600), os.WriteFile(o.TLS.Key, key, 0o600)); err != nil {
		return nil, fmt.Errorf("writing a certificate: %w", err)
	}
	return o.Prepare(logr.Discard())
}

// serveFloor answers with the same headers as a webhook, without looking at anything but the path.
func serveFloor([]string) error {
	certificate, err := newCertificate()
	if err != nil {
		return err
	}
	handler := http.HandlerFunc(answerAll)
	plain, secure := &http.Server{Handler: handler}, &http.Server{Handler: handler, TLSConfig: certificate.Config(0)}
	envoy := grpc.NewServer()
	authv3.RegisterAuthorizationServer(envoy, bareCheck{})
	at, err := serve(listenBare, plain.Serve, func(l net.Listener) error { return secure.ServeTLS(l, "", "") }, envoy.Serve)
	if err != nil {
		return err
	}
	return control(at, func() state { return state{} })
}

func answerAll(w http.ResponseWriter, r *http.Request) {
	h := w.Header()
	h["Date"] = nil
	switch r.URL.Path {
	case floorRefused:
		h.Set("Www-Authenticate", `Basic realm="API token", charset="UTF-8"`)
		w.WriteHeader(http.StatusUnauthorized)
		return
	case floorForwarded:
		h.Set("X-Forwarded-User", "")
		h.Set("X-Api-Token-Id", "")
		h.Set("Authorization", "")
	default:
		h.Set("X-Forwarded-User", "user-1")
		h.Set("X-Api-Token-Id", "asp_DquJoZLwlsNJm6gU")
		h.Set("Authorization", "Bearer "+pat)
	}
	h.Set("X-Api-Token-Target", "/jira"+path)
	h.Set("Cookie", "")
	w.WriteHeader(http.StatusOK)
}
