package portal

import (
	"net/http"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/promhttp"
)

// requestMetrics counts and times requests by face, which is the REST API or the page.
type requestMetrics struct {
	requests *prometheus.CounterVec
	duration *prometheus.HistogramVec
}

func newMetrics(r prometheus.Registerer) *requestMetrics {
	m := &requestMetrics{
		requests: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "apitoken_portal_requests_total",
			Help: "Requests to the portal, by face, method and status.",
		}, []string{"face", "method", "code"}),
		duration: prometheus.NewHistogramVec(prometheus.HistogramOpts{
			Name: "apitoken_portal_request_duration_seconds",
			Help: "Duration of requests to the portal in seconds, including the time of the product and the API server.",
			// 1 ms to 65 s: a request to the product may take 5 s.
			Buckets: prometheus.ExponentialBuckets(1e-3, 4, 9),
		}, []string{"face", "method"}),
	}
	r.MustRegister(m.requests, m.duration)
	return m
}

// instrument counts and times the requests to a handler.
func (m *requestMetrics) instrument(face string, h http.Handler) http.Handler {
	label := prometheus.Labels{"face": face}
	return promhttp.InstrumentHandlerDuration(m.duration.MustCurryWith(label), promhttp.InstrumentHandlerCounter(m.requests.MustCurryWith(label), h))
}
