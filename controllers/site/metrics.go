package site

import (
	"context"

	"github.com/prometheus/client_golang/prometheus"
	corev1 "k8s.io/api/core/v1"
	apimeta "k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/utils/clock"
	"sigs.k8s.io/controller-runtime/pkg/client"

	tokensv1alpha1 "apitokens.dev/operator/api/v1alpha1"
	"apitokens.dev/operator/controllers/site/credential"
	"apitokens.dev/operator/internal/license"
	"apitokens.dev/operator/internal/projection"
)

var (
	licensedDesc = prometheus.NewDesc("apitoken_site_licensed",
		"1 if the licence of a site is valid, else 0, with the reason of its condition Licensed. Only where sites need licences.",
		[]string{"site", "reason"}, nil)
	licenseEndsDesc = prometheus.NewDesc("apitoken_site_license_expiration_timestamp_seconds",
		"When the licence of a site ends, if it was verified.", []string{"site"}, nil)
)

var protectedDesc = prometheus.NewDesc("apitoken_site_ingress_protected",
	"1 if the ingress of a site asks the webhook, else 0, with the reason of the condition IngressProtected.", []string{"site", "reason"}, nil)

// Doors collects from the status of sites whether their ingresses ask the webhook.
type Doors struct{ Client client.Reader }

// Describe implements prometheus.Collector.
func (d *Doors) Describe(to chan<- *prometheus.Desc) { to <- protectedDesc }

// Collect implements prometheus.Collector.
func (d *Doors) Collect(to chan<- prometheus.Metric) {
	collectCondition(d.Client, tokensv1alpha1.ConditionIngressProtected, protectedDesc, to, func(*tokensv1alpha1.AtlassianSite) {})
}

// collectCondition collects a gauge about each site that has a condition: 1 while it is True, else 0, with its reason. It calls
// more with these sites.
func collectCondition(
	c client.Reader, conditionType string, desc *prometheus.Desc, to chan<- prometheus.Metric, more func(*tokensv1alpha1.AtlassianSite),
) {
	var sites tokensv1alpha1.AtlassianSiteList
	if err := c.List(context.Background(), &sites, client.UnsafeDisableDeepCopy); err != nil {
		to <- prometheus.NewInvalidMetric(desc, err)
		return
	}
	for i := range sites.Items {
		s := &sites.Items[i]
		c := apimeta.FindStatusCondition(s.Status.Conditions, conditionType)
		if c == nil {
			continue
		}
		value := 0.0
		if c.Status == metav1.ConditionTrue {
			value = 1
		}
		to <- prometheus.MustNewConstMetric(desc, prometheus.GaugeValue, value, s.Namespace+"/"+s.Name, c.Reason)
		more(s)
	}
}

var checkAgeDesc = prometheus.NewDesc("apitoken_upstream_credential_check_age_seconds",
	"How long ago the product last said whose the personal access token is, for the one of a site that has waited longest.", []string{"site"}, nil)

// Checks collects how old the checks of personal access tokens are.
type Checks struct {
	Memory *credential.Memory
	Clock  clock.PassiveClock
}

// Describe implements prometheus.Collector.
func (c *Checks) Describe(to chan<- *prometheus.Desc) { to <- checkAgeDesc }

// Collect implements prometheus.Collector.
func (c *Checks) Collect(to chan<- prometheus.Metric) {
	for site, oldest := range c.Memory.Oldest() {
		to <- prometheus.MustNewConstMetric(checkAgeDesc, prometheus.GaugeValue, c.Clock.Now().Sub(oldest).Seconds(), site.String())
	}
}

// Licenses collects metrics about the licences of sites from their status and projections.
type Licenses struct {
	Client   client.Reader
	Verifier *license.Verifier
	// Namespace holds the projections.
	Namespace string
}

// Describe implements prometheus.Collector.
func (l *Licenses) Describe(to chan<- *prometheus.Desc) {
	to <- licensedDesc
	to <- licenseEndsDesc
}

// Collect implements prometheus.Collector.
func (l *Licenses) Collect(to chan<- prometheus.Metric) {
	collectCondition(l.Client, tokensv1alpha1.ConditionLicensed, licensedDesc, to, func(s *tokensv1alpha1.AtlassianSite) {
		if held, ok := l.held(s); ok {
			to <- prometheus.MustNewConstMetric(licenseEndsDesc, prometheus.GaugeValue, float64(held.Expires.Unix()), s.Namespace+"/"+s.Name)
		}
	})
}

// held returns the licence of a site if its signature is valid, expired or not.
func (l *Licenses) held(s *tokensv1alpha1.AtlassianSite) (license.License, bool) {
	var stored corev1.Secret
	name := client.ObjectKey{Namespace: l.Namespace, Name: projection.SecretName(s.Namespace, s.Name)}
	if err := l.Client.Get(context.Background(), name, &stored); err != nil {
		return license.License{}, false
	}
	p, err := projection.Decode(stored.Data[projection.DataKey])
	if err != nil {
		return license.License{}, false
	}
	held, err := l.Verifier.Verify(p.License)
	return held, err == nil
}
