package apitoken

import (
	"context"
	"strconv"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"k8s.io/utils/clock"
	"sigs.k8s.io/controller-runtime/pkg/client"

	tokensv1alpha1 "apitokens.dev/operator/api/v1alpha1"
)

var (
	expiringDesc = prometheus.NewDesc("apitoken_tokens_expiring",
		"APITokens of a site that expire within within_days days and are not rotated before. A token counts under every number of days that it is within.",
		[]string{"site", "within_days"}, nil)
	expiredDesc = prometheus.NewDesc("apitoken_tokens_expired", "Expired APITokens of a site that still exist.", []string{"site"}, nil)
)

// RecheckAge is the metric of the pace at which APITokens that do not change are looked at.
func (r *Reconciler) RecheckAge() prometheus.Collector {
	return prometheus.NewGaugeFunc(prometheus.GaugeOpts{
		Name: "apitoken_recheck_age_seconds",
		Help: "How long ago the APIToken that waited longest was looked at without a change. Its Secret is read then.",
	}, func() float64 {
		if r.settled == nil {
			return 0
		}
		return r.settled.Oldest().Seconds()
	})
}

// Expiry is a collector that counts the APITokens that expire soon, by their status.
type Expiry struct {
	Client  client.Reader
	Clock   clock.PassiveClock
	Notices []time.Duration
}

// Describe implements prometheus.Collector.
func (e *Expiry) Describe(to chan<- *prometheus.Desc) {
	to <- expiringDesc
	to <- expiredDesc
}

// Collect implements prometheus.Collector.
func (e *Expiry) Collect(to chan<- prometheus.Metric) {
	var tokens tokensv1alpha1.APITokenList
	if err := e.Client.List(context.Background(), &tokens, client.UnsafeDisableDeepCopy); err != nil {
		to <- prometheus.NewInvalidMetric(expiredDesc, err)
		return
	}
	expired, expiring := map[string]int{}, map[string]map[time.Duration]int{}
	for i := range tokens.Items {
		t := &tokens.Items[i]
		site, end, next := t.SiteNamespace()+"/"+t.Spec.SiteRef.Name, t.Status.ExpirationTime, t.Status.NextRotationTime
		if expiring[site] == nil {
			expiring[site] = map[time.Duration]int{}
		}
		switch left := end.Sub(e.Clock.Now()); {
		case end.IsZero(), !next.IsZero() && next.Before(&end):
		case left <= 0:
			expired[site]++
		default:
			for _, notice := range e.Notices {
				if left <= notice {
					expiring[site][notice]++
				}
			}
		}
	}
	for site, within := range expiring {
		to <- prometheus.MustNewConstMetric(expiredDesc, prometheus.GaugeValue, float64(expired[site]), site)
		for _, notice := range e.Notices {
			days := strconv.Itoa(int(notice / (24 * time.Hour)))
			to <- prometheus.MustNewConstMetric(expiringDesc, prometheus.GaugeValue, float64(within[notice]), site, days)
		}
	}
}
