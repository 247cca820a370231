package selfservice

import (
	"crypto/x509"
	"sync"
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"apitokens.dev/operator/internal/atlassian"
	"apitokens.dev/operator/internal/projection"
	"apitokens.dev/operator/internal/siteurl"
	"apitokens.dev/operator/internal/trust"
)

func notServed(name types.NamespacedName) *Problem {
	return problem(Unavailable, "This site is not served. The conditions of AtlassianSite '%s' in namespace '%s' say why.", name.Name, name.Namespace)
}

// locate reads the URL and the certificate authorities of a site's product from the controller's projection, and not from
// the site: sessions and passwords are sent there, and the controller checks that they may be.
func (s *Service) locate(site *Site) error {
	name := client.ObjectKeyFromObject(site.AtlassianSite)
	stored := s.Objects.Projection(s.Namespace, name)
	if stored == nil {
		s.locations.forget(name)
		return notServed(name)
	}
	at, err := s.locations.of(name, stored)
	switch {
	case err != nil:
		return err
	case at.misnamed || at.url != site.Spec.UpstreamURL:
		return notServed(name)
	case at.site != string(site.UID):
		return problem(Unavailable, "It is not known yet which API tokens of an earlier site of this name are revoked. Try again in a moment.")
	}
	site.raiseEpoch(at.epoch)
	site.origin, site.upstream = at.origin, atlassian.Upstream{Product: atlassian.Product(site.Spec.Product), URL: at.url}
	if site.Spec.UpstreamCARef.Name == "" {
		return nil
	}
	if at.authorities == nil {
		return notServed(name)
	}
	site.upstream.CAs = at.authorities
	return nil
}

// location is what a projection says of a site's product.
type location struct {
	// version is the UID and the resource version of the Secret that it was read from.
	version string
	// misnamed means that the projection belongs to another site.
	misnamed    bool
	url, origin string
	// site is the UID of the site. epoch is its highest revocation epoch, or that of an earlier site of this name.
	site  string
	epoch time.Time
	// authorities is nil if there are none that can be parsed.
	authorities *x509.CertPool
}

// locations remembers the location of each site: anonymous clients can send any number of requests, and to parse many certificate
// authorities with each is expensive. The zero value is ready for use.
type locations struct {
	mu     sync.Mutex
	bySite map[types.NamespacedName]*location
}

// of returns the location of a site. It reads the Secret only if that has changed.
func (l *locations) of(site types.NamespacedName, stored *corev1.Secret) (*location, error) {
	version := string(stored.UID) + "/" + stored.ResourceVersion
	l.mu.Lock()
	known := l.bySite[site]
	l.mu.Unlock()
	if known != nil && known.version == version {
		return known, nil
	}
	read, err := readLocation(stored)
	if err != nil {
		return nil, err
	}
	read.version = version
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.bySite == nil {
		l.bySite = map[types.NamespacedName]*location{}
	}
	l.bySite[site] = read
	return read, nil
}

func (l *locations) forget(site types.NamespacedName) {
	l.mu.Lock()
	defer l.mu.Unlock()
	delete(l.bySite, site)
}

func readLocation(stored *corev1.Secret) (*location, error) {
	projected, err := projection.Decode(stored.Data[projection.DataKey])
	if err != nil {
		return nil, err
	}
	read := &location{
		misnamed: projected.SecretName() != stored.Name, url: projected.UpstreamURL, site: projected.UID, epoch: projected.IssuedAfter,
	}
	if read.url == "" {
		return read, nil // the site is not served
	}
	url, err := siteurl.Parse(read.url)
	if err != nil {
		return nil, err
	}
	read.origin = url.Origin
	if authorities, err := trust.Parse([]byte(projected.UpstreamCAs)); err == nil {
		read.authorities = authorities
	}
	return read, nil
}
