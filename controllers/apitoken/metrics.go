package apitoken

import (
	"context"
	"fmt"
	"strconv"
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	toolscache "k8s.io/client-go/tools/cache"
	"k8s.io/utils/clock"
	"sigs.k8s.io/controller-runtime/pkg/cache"
	"sigs.k8s.io/controller-runtime/pkg/client"

	tokensv1alpha1 "apitokens.dev/operator/api/v1alpha1"
	"apitokens.dev/operator/controllers/internal/packed"
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

// Expiry is a collector that counts the APITokens that expire soon, by their status. It follows the events of the cache: a scrape
// goes through those alone that expire.
type Expiry struct {
	clock   clock.PassiveClock
	notices []time.Duration

	mu sync.Mutex
	// sites has the number of APITokens by site, and ends has when they expire.
	sites map[string]int
	ends  map[types.NamespacedName]expiringToken
}

// expiringToken is when an APIToken expires. next is its next rotation, or zero.
type expiringToken struct {
	site      string
	end, next metav1.Time
}

// NewExpiry returns a collector with so many times before the end, for which it counts.
func NewExpiry(c clock.PassiveClock, notices []time.Duration) *Expiry {
	return &Expiry{clock: c, notices: notices, sites: map[string]int{}, ends: map[types.NamespacedName]expiringToken{}}
}

// Watch has the collector follow a cache.
func (e *Expiry) Watch(ctx context.Context, of cache.Cache) error {
	informer, err := of.GetInformer(ctx, &tokensv1alpha1.APIToken{}, cache.BlockUntilSynced(false))
	if err == nil {
		_, err = informer.AddEventHandler(e)
	}
	if err != nil {
		return fmt.Errorf("watching APITokens for the metrics: %w", err)
	}
	return nil
}

// OnAdd implements cache.ResourceEventHandler, as do OnUpdate and OnDelete.
func (e *Expiry) OnAdd(object any, _ bool) { e.change(nil, object) }

// OnUpdate counts an APIToken as it is now.
func (e *Expiry) OnUpdate(before, now any) { e.change(before, now) }

// OnDelete no longer counts an APIToken.
func (e *Expiry) OnDelete(object any) {
	if last, ok := object.(toolscache.DeletedFinalStateUnknown); ok {
		object = last.Obj
	}
	e.change(object, nil)
}

// change counts an APIToken as it is now, and not as it was before. Either may be nil.
func (e *Expiry) change(before, now any) {
	e.mu.Lock()
	defer e.mu.Unlock()
	if t := shown(before); t != nil {
		site := siteOf(t)
		if e.sites[site]--; e.sites[site] == 0 {
			delete(e.sites, site)
		}
		delete(e.ends, client.ObjectKeyFromObject(t))
	}
	if t := shown(now); t != nil {
		site := siteOf(t)
		if e.sites[site]++; !t.Status.ExpirationTime.IsZero() {
			e.ends[client.ObjectKeyFromObject(t)] = expiringToken{site, t.Status.ExpirationTime, t.Status.NextRotationTime}
		}
	}
}

// shown returns the APIToken of an event, or nil.
func shown(object any) *tokensv1alpha1.APIToken {
	o, ok := object.(client.Object)
	if !ok {
		return nil
	}
	return packed.APIToken(o)
}

func siteOf(t *tokensv1alpha1.APIToken) string { return t.SiteNamespace() + "/" + t.Spec.SiteRef.Name }

// Describe implements prometheus.Collector.
func (e *Expiry) Describe(to chan<- *prometheus.Desc) {
	to <- expiringDesc
	to <- expiredDesc
}

// Collect implements prometheus.Collector.
func (e *Expiry) Collect(to chan<- prometheus.Metric) {
	expired, expiring := e.count()
	for site, within := range expiring {
		to <- prometheus.MustNewConstMetric(expiredDesc, prometheus.GaugeValue, float64(expired[site]), site)
		for _, notice := range e.notices {
			days := strconv.Itoa(int(notice / (24 * time.Hour)))
			to <- prometheus.MustNewConstMetric(expiringDesc, prometheus.GaugeValue, float64(within[notice]), site, days)
		}
	}
}

// count returns the numbers of expired tokens, and of expiring ones by notice. Every site with APITokens has one.
func (e *Expiry) count() (expired map[string]int, expiring map[string]map[time.Duration]int) {
	e.mu.Lock()
	defer e.mu.Unlock()
	expired, expiring = map[string]int{}, map[string]map[time.Duration]int{}
	for site := range e.sites {
		expiring[site] = map[time.Duration]int{}
	}
	now := e.clock.Now()
	for _, t := range e.ends {
		switch left := t.end.Sub(now); {
		case !t.next.IsZero() && t.next.Before(&t.end):
		case left <= 0:
			expired[t.site]++
		default:
			for _, notice := range e.notices {
				if left <= notice {
					expiring[t.site][notice]++
				}
			}
		}
	}
	return expired, expiring
}
