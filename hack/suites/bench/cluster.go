package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"strconv"
	"strings"
	"time"

	dto "github.com/prometheus/client_model/go"
	"github.com/prometheus/common/expfmt"
	"github.com/prometheus/common/model"
	"k8s.io/client-go/kubernetes"

	"apitokens.dev/operator/hack/lib/bulk"
	"apitokens.dev/operator/hack/lib/rig"
)

// cluster is a world of stored tokens, and the processes of the operator in it.
type cluster struct {
	*bulk.World

	rig *rig.Rig
}

// startCluster starts a world without the operator, with more flags of the API server.
func startCluster(ctx context.Context, tokens int, flags map[string]string) (*cluster, error) {
	processes, err := rig.Bare(ctx)
	if err != nil {
		return nil, err
	}
	w, err := bulk.Start(ctx, processes, tokens, flags, os.Stderr)
	if err != nil {
		return nil, errors.Join(err, processes.Stop())
	}
	return &cluster{w, processes}, nil
}

func (c *cluster) stop() error { return errors.Join(c.rig.Stop(), c.Stop()) }

// writes returns how many objects the API server has written so far, but for leases: those are a matter of time.
func (c *cluster) writes(ctx context.Context) (writes float64, err error) {
	text, err := c.metrics(ctx)
	if err != nil {
		return 0, err
	}
	for _, verb := range []string{"POST", "PUT", "PATCH", "APPLY", "DELETE"} {
		for _, code := range []string{"200", "201"} {
			all, err := sum(text, "apiserver_request_total", map[string]string{"verb": verb, "code": code})
			if err != nil {
				return 0, err
			}
			leases, err := sum(text, "apiserver_request_total", map[string]string{"verb": verb, "code": code, "resource": "leases"})
			if err != nil {
				return 0, err
			}
			writes += all - leases
		}
	}
	return writes, nil
}

// metrics returns those of the API server.
func (c *cluster) metrics(ctx context.Context) (string, error) {
	api, err := kubernetes.NewForConfig(c.Admin())
	if err != nil {
		return "", fmt.Errorf("connecting to the API server: %w", err)
	}
	text, err := api.Discovery().RESTClient().Get().AbsPath("/metrics").DoRaw(ctx)
	if err != nil {
		return "", fmt.Errorf("reading the metrics of the API server: %w", err)
	}
	return string(text), nil
}

// scrape returns the sum of a metric over its series with these labels.
func scrape(ctx context.Context, url, name string, labels map[string]string) (float64, error) {
	r, err := http.NewRequestWithContext(ctx, http.MethodGet, url, http.NoBody)
	if err != nil {
		return 0, fmt.Errorf("reading metrics: %w", err)
	}
	answer, err := http.DefaultClient.Do(r)
	if err != nil {
		return 0, fmt.Errorf("reading metrics: %w", err)
	}
	defer func() { _ = answer.Body.Close() }()
	text, err := io.ReadAll(answer.Body)
	if err != nil {
		return 0, fmt.Errorf("reading metrics: %w", err)
	}
	return sum(string(text), name, labels)
}

func sum(text, name string, labels map[string]string) (total float64, err error) {
	parser := expfmt.NewTextParser(model.UTF8Validation)
	families, err := parser.TextToMetricFamilies(strings.NewReader(text))
	if err != nil {
		return 0, fmt.Errorf("reading metrics: %w", err)
	}
	for _, m := range families[name].GetMetric() {
		if !has(m, labels) {
			continue
		}
		total += m.GetCounter().GetValue() + m.GetGauge().GetValue()
	}
	return total, nil
}

// has reports whether a series has these labels.
func has(m *dto.Metric, labels map[string]string) bool {
	found := 0
	for _, l := range m.GetLabel() {
		if want, asked := labels[l.GetName()]; asked && want == l.GetValue() {
			found++
		}
	}
	return found == len(labels)
}

// memory returns the resident memory of a process in MiB: that of now, VmRSS, or the most that it ever was, VmHWM.
func memory(p *rig.Process, field string) (float64, error) {
	text, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", p.PID()))
	if err != nil {
		return 0, fmt.Errorf("reading the memory of a process: %w", err)
	}
	for line := range strings.Lines(string(text)) {
		if value, ok := strings.CutPrefix(line, field+":"); ok {
			kib, err := strconv.ParseFloat(strings.Fields(value)[0], 64)
			if err != nil {
				return 0, fmt.Errorf("reading the memory of a process: %w", err)
			}
			return kib / 1024, nil
		}
	}
	return 0, fmt.Errorf("reading the memory of a process: there is no %s", field)
}

// cpuOf returns the CPU time of a process so far.
func cpuOf(p *rig.Process) (time.Duration, error) {
	text, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", p.PID()))
	if err != nil {
		return 0, fmt.Errorf("reading the CPU time of a process: %w", err)
	}
	_, rest, _ := strings.Cut(string(text), ") ") // the name may have spaces
	fields := strings.Fields(rest)
	var ticks time.Duration
	for _, field := range fields[11:13] { // user and system
		n, err := strconv.Atoi(field)
		if err != nil {
			return 0, fmt.Errorf("reading the CPU time of a process: %w", err)
		}
		ticks += time.Duration(n)
	}
	return ticks * time.Second / 100, nil
}

// until calls done once in each period until it returns true.
func until(ctx context.Context, period time.Duration, what string, done func() bool) error {
	ctx, cancel := context.WithTimeout(ctx, startLimit)
	defer cancel()
	tick := time.NewTicker(period)
	defer tick.Stop()
	for !done() {
		select {
		case <-ctx.Done():
			return fmt.Errorf("waiting until %s: more than %s", what, startLimit)
		case <-tick.C:
		}
	}
	return nil
}

// answers reports whether a URL answers with 200.
func answers(ctx context.Context, url string) bool {
	r, err := http.NewRequestWithContext(ctx, http.MethodGet, url, http.NoBody)
	if err != nil {
		return false
	}
	answer, err := http.DefaultClient.Do(r)
	if err != nil {
		return false
	}
	_ = answer.Body.Close()
	return answer.StatusCode == http.StatusOK
}
