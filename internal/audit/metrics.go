package audit

import (
	"github.com/prometheus/client_golang/prometheus"
)

type metrics struct {
	*classes

	duration             prometheus.Histogram
	dropped, writeErrors prometheus.Counter
}

func newMetrics(r prometheus.Registerer) *metrics {
	m := &metrics{
		classes: newClasses(prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "apitoken_authentications_total",
			Help: "Requests that gateways asked about, by site, outcome and reason.",
		}, []string{"site", "outcome", "reason"})),
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
	r.MustRegister(m.vector, m.duration, m.dropped, m.writeErrors)
	return m
}

// observe counts an exchange. It returns the requests of its class.
func (m *metrics) observe(x *Exchange) *counted {
	of := m.of(classOf(x))
	of.requests.Inc()
	m.duration.Observe(x.Took.Seconds())
	return of
}
