package audit

import (
	"maps"
	"sync"
	"sync/atomic"

	"github.com/prometheus/client_golang/prometheus"
)

type metrics struct {
	authentications      *counters
	duration             prometheus.Histogram
	dropped, writeErrors prometheus.Counter
}

func newMetrics(r prometheus.Registerer) *metrics {
	m := &metrics{
		authentications: &counters{vector: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "apitoken_authentications_total",
			Help: "Requests that gateways asked about, by site, outcome and reason.",
		}, []string{"site", "outcome", "reason"})},
		duration: prometheus.NewHistogram(prometheus.HistogramOpts{
			Name: "apitoken_authentication_duration_seconds",
			Help: "Time from a gateway's parsed question to the written answer, in seconds.",
			// 1 µs to 65 ms: a verification takes about 1 µs. More than that is the machine.
			Buckets: prometheus.ExponentialBuckets(1e-6, 4, 9),
		}),
		dropped: prometheus.NewCounter(prometheus.CounterOpts{
			Name: "apitoken_audit_dropped_total",
			Help: "Audit lines lost because the queue was full. Must stay 0.",
		}),
		writeErrors: prometheus.NewCounter(prometheus.CounterOpts{
			Name: "apitoken_audit_write_errors_total",
			Help: "Failed writes of audit lines. Must stay 0.",
		}),
	}
	r.MustRegister(m.authentications.vector, m.duration, m.dropped, m.writeErrors)
	return m
}

func (m *metrics) observe(x Exchange) {
	m.authentications.of(classOf(x)).Inc()
	m.duration.Observe(x.Took.Seconds())
}

// counters are the counters of a vector by class, of which there are few. To find one takes no lock, and allocates nothing.
type counters struct {
	vector *prometheus.CounterVec
	// mu guards the replacement of known. The map itself never changes.
	mu    sync.Mutex
	known atomic.Pointer[map[class]prometheus.Counter]
}

func (c *counters) of(k class) prometheus.Counter {
	if known := c.known.Load(); known != nil {
		if counter, ok := (*known)[k]; ok {
			return counter
		}
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	more := map[class]prometheus.Counter{k: c.vector.WithLabelValues(k.label(), k.verdict.String(), string(k.reason))}
	if known := c.known.Load(); known != nil {
		maps.Copy(more, *known)
	}
	c.known.Store(&more)
	return more[k]
}
