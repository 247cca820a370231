package portal

import (
	"net/http"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/promhttp"
)

// requestMetrics count what is asked of the portal, by the face that it is asked at: the REST API or the page.
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
			Help: "Time from a request to the portal to its answer, in seconds. It waits for the product and for the API server.",
			// 1 ms to 65 s: the product has 5 s to say who somebody is.
			Buckets: prometheus.ExponentialBuckets(1e-3, 4, 9),
		}, []string{"face", "method"}),
	}
	r.MustRegister(m.requests, m.duration)
	return m
}

func (m *requestMetrics) of(face string, h http.Handler) http.Handler {
	label := prometheus.Labels{"face": face}
	return promhttp.InstrumentHandlerDuration(m.duration.MustCurryWith(label), promhttp.InstrumentHandlerCounter(m.requests.MustCurryWith(label), h))
}
