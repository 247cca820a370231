package usage

import "github.com/prometheus/client_golang/prometheus"

// result is the result of an attempt to write.
type result string

const (
	written result = "written"
	// refused means that the API server knows a later use, from another replica.
	refused result = "refused"
	gone    result = "gone"
	// rejected means that the API server does not take the status of this token: it is too large, or a policy refuses it.
	rejected result = "rejected"
	failed   result = "failed"
)

type metrics struct {
	writes *prometheus.CounterVec
	lost   prometheus.Counter
}

func newMetrics(r prometheus.Registerer, q *queue) *metrics {
	m := &metrics{
		writes: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "apitoken_last_access_writes_total",
			Help: "Attempts to write when a token was last used, by result.",
		}, []string{"result"}),
		lost: prometheus.NewCounter(prometheus.CounterOpts{
			Name: "apitoken_last_access_lost_total",
			Help: "Last uses of tokens that are never written: at the end of the process, or because memory is bounded.",
		}),
	}
	for _, r := range []result{written, refused, gone, rejected, failed} {
		m.writes.WithLabelValues(string(r))
	}
	r.MustRegister(m.writes, m.lost, prometheus.NewGaugeFunc(prometheus.GaugeOpts{
		Name: "apitoken_last_access_queue",
		Help: "Tokens whose last use is not written yet.",
	}, func() float64 { return float64(q.size()) }))
	return m
}
