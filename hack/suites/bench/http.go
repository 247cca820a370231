package main

import (
	"crypto/tls"
	"fmt"
	"slices"
	"strconv"
	"time"

	"apitokens.dev/operator/internal/authurl"
)

// The floor answers at these paths as the webhook answers the same requests.
const (
	floorAllowed, floorRefused, floorForwarded = "/allowed", "/refused", "/forwarded"
	statusOK, statusUnauthorized               = "HTTP/1.1 200 ", "HTTP/1.1 401 "
)

// slice is how long each server is asked in a round.
const slice = 500 * time.Millisecond

// web compares the webhook with a bare server, each as a process of its own, by the CPU time of the process for each request.
var web = group{
	name: "web", measure: measureWeb,
	figures: []figure{
		{"http_cpu_vs_floor", atMost(1.10), "CPU of a valid request over a bare server's; worst of 10 and 100,000 tokens, 16 and 64 connections"},
		{"http_refused_cpu_vs_floor", atMost(1.05), "the same for an unknown token"},
		{"http_forward_cpu_vs_floor", atMost(1.03), "the same for a request without a token"},
		{"http_newconn_cpu_vs_floor", atMost(1.05), "the same for a valid request on a connection of its own"},
		{"tls_cpu_vs_floor", atMost(1.10), "the same for a valid request with TLS, keep-alive"},
		{"grpc_cpu_vs_floor", atMost(1.15), "the same for a valid Check of Envoy over gRPC"},
		{"http_p99_vs_floor", atMost(1.2), "99th percentile of the latency over the floor's, at half of its saturation"},
		{"http_cpu_us", goal{}, "CPU of a valid request in microseconds, 16 connections"},
		{"floor_cpu_us", goal{}, "the bare server's"},
		{"audit_lines_lost", atMost(0), "requests that were answered and are in no line and no sum of the log"},
		{"lastaccess_writes_s", atMost(50), "writes of last accesses a second, while 5,000 tokens are used at full load"},
	},
}

// contest compares one kind of request to a webhook with the same to the floor.
type contest struct {
	figure, what string
	// logged means that each request is in the audit log.
	logged  bool
	webhook *server
	// ask and askFloor send requests for a slice of time, and return how many.
	ask, askFloor func() (int, error)
}

// cost is the CPU time of a request.
type cost struct{ webhook, floor float64 }

// webStarts is how many times the web group starts its processes. Ratios differ by several percent from start to start of one program.
const webStarts = 3

func measureWeb(b *bench) (figures map[string]float64, err error) {
	all := &measured{}
	for range webStarts {
		if err := all.start(b); err != nil {
			return nil, err
		}
	}
	figures = map[string]float64{
		"http_cpu_us": median(all.cpu) / 1e3, "floor_cpu_us": median(all.floorCPU) / 1e3, "http_p99_vs_floor": median(all.latencies),
		"audit_lines_lost": float64(all.unlogged), "lastaccess_writes_s": slices.Max(all.writes),
	}
	for i, c := range all.contests {
		ratio := median(all.ratios[i])
		fmt.Fprintf(b.out, "  %-26s %10.4g   %s\n", c.figure, ratio, c.what)
		figures[c.figure] = max(figures[c.figure], ratio)
	}
	return figures, nil
}

// measured is what was measured with all processes so far.
type measured struct {
	// contests are those of the last processes, and ratios are those of each in all of its turns.
	contests []contest
	ratios   [][]float64
	// cpu and floorCPU are the costs of the first contest.
	cpu, floorCPU []float64
	// latencies are ratios of 99th percentiles, and writes are last accesses a second.
	latencies, writes []float64
	// unlogged is how many requests are in no log.
	unlogged int
}

// start starts the processes, and measures with them.
func (m *measured) start(b *bench) error {
	floor, err := startServer("floor")
	if err != nil {
		return err
	}
	defer func() { _, _ = floor.stop() }() // it has no log
	few, err := startServer("webhook", "-tokens=10")
	if err != nil {
		return err
	}
	many, err := startServer("webhook", "-tokens="+strconv.Itoa(usual), "-pprof="+b.pprof)
	if err != nil {
		return err
	}
	begun := time.Now()
	m.contests = slices.Concat(contestsAt("10 tokens", few, floor), contestsAt("100,000 tokens", many, floor), onlyAt(many, floor))
	if err := m.race(b, floor); err != nil {
		return err
	}
	if err := m.compareLatency(b, many, floor); err != nil {
		return err
	}
	st, err := many.state()
	if err != nil {
		return err
	}
	m.writes = append(m.writes, float64(st.Writes)/time.Since(begun).Seconds())
	for _, s := range []*server{few, many} {
		logged, err := s.stop()
		if err != nil {
			return err
		}
		m.unlogged -= logged
	}
	return nil
}

// race runs all contests in turn.
func (m *measured) race(b *bench, floor *server) error {
	if m.ratios == nil {
		m.ratios = make([][]float64, len(m.contests))
	}
	for round := range b.rounds + 1 {
		for i, c := range m.contests {
			paid, asked, err := c.run(floor)
			if err != nil {
				return fmt.Errorf("%s: %w", c.figure, err)
			}
			if c.logged {
				m.unlogged += asked
			}
			if round == 0 { // to warm up
				continue
			}
			m.ratios[i] = append(m.ratios[i], paid.webhook/paid.floor)
			if i == 0 {
				m.cpu, m.floorCPU = append(m.cpu, paid.webhook), append(m.floorCPU, paid.floor)
			}
		}
	}
	return nil
}

// run asks the floor and the webhook once.
func (c contest) run(floor *server) (paid cost, asked int, err error) {
	if paid.floor, _, err = costOf(floor, c.askFloor); err != nil {
		return cost{}, 0, err
	}
	paid.webhook, asked, err = costOf(c.webhook, c.ask)
	return paid, asked, err
}

// costOf returns the CPU time of a server for each request, in nanoseconds, and the number of requests.
func costOf(s *server, ask func() (int, error)) (cpu float64, asked int, err error) {
	before, err := s.state()
	if err != nil {
		return 0, 0, err
	}
	if asked, err = ask(); err != nil {
		return 0, 0, err
	}
	after, err := s.state()
	return float64(after.CPU-before.CPU) / float64(asked), asked, err
}

// compareLatency compares the 99th percentiles at half of the rate that saturates the floor.
func (m *measured) compareLatency(b *bench, webhook, floor *server) error {
	valid, floorValid := newLoad(webhook.HTTP, askedBy(webhook.Credentials), statusOK), newLoad(floor.HTTP, requests(floorAllowed, webhook.Credentials), statusOK)
	valid.connections, floorValid.connections = 16, 16
	all, err := floorValid.run(2 * slice)
	if err != nil {
		return err
	}
	rate := float64(len(all)) / (2 * slice).Seconds() / 2
	valid.rate, floorValid.rate = rate, rate
	for range 2 * b.rounds { // the slowest of a slice are often those of another machine's turn
		of, err := floorValid.run(slice)
		if err != nil {
			return err
		}
		its, err := valid.run(slice)
		if err != nil {
			return err
		}
		m.unlogged += len(its)
		m.latencies = append(m.latencies, float64(p99(its))/float64(p99(of)))
	}
	return nil
}

// contestsAt are those that are held with few tokens and with many.
func contestsAt(tokens string, webhook, floor *server) []contest {
	valid, floorValid := newLoad(webhook.HTTP, askedBy(webhook.Credentials), statusOK), newLoad(floor.HTTP, requests(floorAllowed, webhook.Credentials), statusOK)
	unknown := []string{webhook.Unknown}
	none := []string{""}
	return []contest{
		{"http_cpu_vs_floor", tokens + ", 16 connections", true, webhook, valid.over(16), floorValid.over(16)},
		{"http_cpu_vs_floor", tokens + ", 64 connections", true, webhook, valid.over(64), floorValid.over(64)},
		{"http_refused_cpu_vs_floor", tokens, true, webhook, newLoad(webhook.HTTP, askedBy(unknown), statusUnauthorized).over(16),
			newLoad(floor.HTTP, requests(floorRefused, unknown), statusUnauthorized).over(16)},
		{"http_forward_cpu_vs_floor", tokens, false, webhook, newLoad(webhook.HTTP, askedBy(none), statusOK).over(16),
			newLoad(floor.HTTP, requests(floorForwarded, none), statusOK).over(16)},
	}
}

// onlyAt are those that are held once.
func onlyAt(webhook, floor *server) []contest {
	once, floorOnce := newLoad(webhook.HTTP, askedBy(webhook.Credentials), statusOK), newLoad(floor.HTTP, requests(floorAllowed, webhook.Credentials), statusOK)
	secure, floorSecure := once, floorOnce
	once.reconnects, floorOnce.reconnects = true, true
	insecure := &tls.Config{InsecureSkipVerify: true, MinVersion: tls.VersionTLS13} // nobody knows the certificate
	secure.address, secure.secure, floorSecure.address, floorSecure.secure = webhook.TLS, insecure, floor.TLS, insecure
	envoy, floorEnvoy := newChecks(webhook.GRPC, webhook.Credentials), newChecks(floor.GRPC, webhook.Credentials)
	return []contest{
		{"http_newconn_cpu_vs_floor", "100,000 tokens", true, webhook, once.over(16), floorOnce.over(16)},
		{"tls_cpu_vs_floor", "100,000 tokens", true, webhook, secure.over(16), floorSecure.over(16)},
		{"grpc_cpu_vs_floor", "100,000 tokens", true, webhook, envoy.run, floorEnvoy.run},
	}
}

func newLoad(address string, requests [][]byte, status string) load {
	return load{address: address, requests: requests, status: status}
}

// over returns a function that sends the load over so many connections for a slice of time. They stay open: what it costs to open
// them is another figure.
func (l load) over(connections int) func() (int, error) {
	l.connections = connections
	return func() (int, error) {
		latencies, err := l.runOn(slice)
		return len(latencies), err
	}
}

// askedBy returns questions of nginx about requests with these credentials, with the headers of the sample.
func askedBy(credentials []string) [][]byte {
	return requests(authurl.Address{Contract: authurl.Nginx, Key: authurl.NoKey, Namespace: jira.Namespace, Site: jira.Name}.String(), credentials)
}

// requests returns such questions at any path.
func requests(at string, credentials []string) (all [][]byte) {
	for i, credential := range credentials {
		text := "GET " + at + " HTTP/1.1\r\nHost: api_token_webhook\r\n" +
			authurl.Header + ": " + callerKey + "\r\n" +
			"X-Original-URL: https://jira.example.com/jira" + path + "\r\nX-Original-Method: GET\r\nX-Real-IP: 192.0.2.1\r\n" +
			"X-Forwarded-For: 192.0.2.1\r\nX-Forwarded-Proto: https\r\nX-Request-ID: " + fmt.Sprintf("%032x", i) + "\r\n" +
			"User-Agent: curl/8.5.0\r\nAccept: */*\r\n"
		if credential != "" {
			text += "Authorization: " + credential + "\r\n"
		}
		all = append(all, []byte(text+"\r\n"))
	}
	return all
}
