package feed

import (
	"github.com/prometheus/client_golang/prometheus"

	"apitokens.dev/operator/internal/authn"
)

type metrics struct {
	registerer prometheus.Registerer
	damaged    *prometheus.CounterVec
	latency    prometheus.Histogram
}

func newMetrics(r prometheus.Registerer, index *authn.Index) *metrics {
	m := &metrics{registerer: r, damaged: prometheus.NewCounterVec(prometheus.CounterOpts{
		Name: "apitoken_feed_damaged_objects_total",
		Help: "Objects that could not be read and therefore authenticate nothing, counted each time they are seen.",
	}, []string{"resource"}), latency: prometheus.NewHistogram(prometheus.HistogramOpts{
		Name: "apitoken_feed_latency_seconds",
		Help: "Time from a change to when this replica sees it, in seconds, measured with the lease of the leading controller.",
		// 1 ms to 65 s: a watch takes milliseconds, an outage longer.
		Buckets: prometheus.ExponentialBuckets(1e-3, 4, 9),
	})}
	r.MustRegister(m.damaged, m.latency, prometheus.NewGaugeFunc(prometheus.GaugeOpts{
		Name: "apitoken_index_tokens",
		Help: "Tokens that this replica can authenticate.",
	}, func() float64 { return float64(index.Size()) }))
	return m
}

// watch begins the metrics of a resource. Its damaged objects are counted from 0 on: an alert misses the first increase of a series
// that begins with it.
func (m *metrics) watch(resource string, staleness func() float64) {
	m.damaged.WithLabelValues(resource)
	m.registerer.MustRegister(prometheus.NewGaugeFunc(prometheus.GaugeOpts{
		Name:        "apitoken_feed_staleness_seconds",
		Help:        "Time without an open watch on a resource, in seconds. 0 while there is one.",
		ConstLabels: prometheus.Labels{"resource": resource},
	}, staleness))
}
