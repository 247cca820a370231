// Package feed keeps the index in step with the API server: it lists and watches what the index joins,
// and knows how fresh that is.
package feed

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"time"

	"github.com/go-logr/logr"
	"github.com/prometheus/client_golang/prometheus"
	"golang.org/x/sync/errgroup"
	coordinationv1 "k8s.io/api/coordination/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/fields"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/client-go/rest"
	"sigs.k8s.io/controller-runtime/pkg/client"

	tokensv1alpha1 "apitokens.dev/operator/api/v1alpha1"
	"apitokens.dev/operator/internal/authn"
	"apitokens.dev/operator/internal/authurl"
	"apitokens.dev/operator/internal/license"
	"apitokens.dev/operator/internal/projection"
	"apitokens.dev/operator/internal/record"
	"apitokens.dev/operator/internal/upstream"
)

// Config says where to read from.
type Config struct {
	// Namespace is the operator's own namespace, with records, caller keys and projections;
	// CredentialsNamespace the one with the upstream credentials.
	Namespace, CredentialsNamespace string
	// Lease is the one in the operator's own namespace that the leading controller renews.
	Lease string
	// Licenses verifies licences, without which tokens may do nothing then. Nil means that none are required.
	Licenses *license.Verifier
}

// Feed fills an index and keeps it filled.
type Feed struct {
	index   *authn.Index
	sources []*source
	// pulse is no part of the index: nothing waits for it. A feed may have none.
	pulse   *source
	synced  chan struct{}
	metrics *metrics
}

// New returns the feed of a process that gateways ask: all that the index joins. It reads with the rights of config.
func New(config *rest.Config, c Config, index *authn.Index, log logr.Logger, r prometheus.Registerer) (*Feed, error) {
	f, from, err := newFeed(config, c, index, log, r)
	if err != nil {
		return nil, err
	}
	f.sources = append(f.sources,
		from("callerkeys", &corev1.SecretList{}, &corev1.Secret{}, newCallerKeys(index), secrets(c.Namespace, authurl.KeysSecretType)...),
		from("credentials", &corev1.SecretList{}, &corev1.Secret{}, newCredentials(index), secrets(c.CredentialsNamespace, upstream.SecretType)...),
	)
	f.pulse = from("leases", &coordinationv1.LeaseList{}, &coordinationv1.Lease{}, newPulse(f.metrics), lease(c.Namespace, c.Lease)...)
	return f, nil
}

// NewOfTokens returns the feed of a process that only has to know whose a token is: no caller keys, and no credentials of the product.
func NewOfTokens(config *rest.Config, c Config, index *authn.Index, log logr.Logger, r prometheus.Registerer) (*Feed, error) {
	f, _, err := newFeed(config, c, index, log, r)
	return f, err
}

// watching makes a source of a feed.
type watching func(name string, list client.ObjectList, object client.Object, s store, scope ...client.ListOption) *source

func newFeed(config *rest.Config, c Config, index *authn.Index, log logr.Logger, r prometheus.Registerer) (*Feed, watching, error) {
	scheme := runtime.NewScheme()
	if err := errors.Join(tokensv1alpha1.AddToScheme(scheme), corev1.AddToScheme(scheme), coordinationv1.AddToScheme(scheme)); err != nil {
		return nil, nil, fmt.Errorf("registering the API types: %w", err)
	}
	way := newLink()
	api, err := client.NewWithWatch(way.through(config), client.Options{Scheme: scheme})
	if err != nil {
		return nil, nil, fmt.Errorf("making the client of the feed: %w", err)
	}
	f := &Feed{index: index, synced: make(chan struct{}), metrics: newMetrics(r, index)}
	from := func(name string, list client.ObjectList, object client.Object, s store, scope ...client.ListOption) *source {
		return newSource(api, way, name, list, object, s, scope, f.metrics, log)
	}
	f.sources = []*source{
		from("apitokens", &tokensv1alpha1.APITokenList{}, &tokensv1alpha1.APIToken{}, newTokens(index)),
		from("atlassiansites", &tokensv1alpha1.AtlassianSiteList{}, &tokensv1alpha1.AtlassianSite{}, newSites(index)),
		from("namespaces", namespaces(), &metav1.PartialObjectMetadata{}, newNamespaces(index)),
		from("records", &corev1.SecretList{}, &corev1.Secret{}, newRecords(index), secrets(c.Namespace, record.SecretType)...),
	}
	if c.Licenses != nil {
		index.RequireLicenses()
		f.sources = append(f.sources,
			from("projections", &corev1.SecretList{}, &corev1.Secret{}, newLicenses(index, c.Licenses), secrets(c.Namespace, projection.SecretType)...))
	}
	return f, from, nil
}

// namespaces asks for their metadata alone.
func namespaces() *metav1.PartialObjectMetadataList {
	list := &metav1.PartialObjectMetadataList{}
	list.SetGroupVersionKind(corev1.SchemeGroupVersion.WithKind("NamespaceList"))
	return list
}

func secrets(namespace, secretType string) []client.ListOption {
	return []client.ListOption{
		client.InNamespace(namespace),
		client.MatchingFieldsSelector{Selector: fields.OneTermEqualSelector("type", secretType)},
	}
}

// Start feeds the index until ctx is done. It survives whatever happens to the API server.
func (f *Feed) Start(ctx context.Context) error {
	var g errgroup.Group
	sources := f.sources
	if f.pulse != nil {
		sources = append([]*source{f.pulse}, sources...)
	}
	for _, s := range sources {
		g.Go(func() error {
			s.run(ctx)
			return nil
		})
	}
	g.Go(func() error {
		f.awaitSync(ctx)
		return nil
	})
	return g.Wait()
}

// Ready fails until the index has seen the whole initial list of everything. From then on it never fails again:
// an API server that is away makes nothing here wrong, only old.
func (f *Feed) Ready(*http.Request) error {
	select {
	case <-f.synced:
		return nil
	default:
		return errors.New("the initial list has not been seen yet")
	}
}

func (f *Feed) awaitSync(ctx context.Context) {
	for _, s := range f.sources {
		select {
		case <-s.synced:
		case <-ctx.Done():
			return
		}
	}
	f.index.SetReady()
	close(f.synced)
}

// Transport settings of client-go that notice a frozen connection after 7 seconds instead of 45:
// a revocation must not wait for a watch that nobody serves any more.
const (
	readIdleSeconds    = "5"
	pingTimeoutSeconds = "2"

	readIdleEnv    = "HTTP2_READ_IDLE_TIMEOUT_SECONDS"
	pingTimeoutEnv = "HTTP2_PING_TIMEOUT_SECONDS"
)

// TransportEnv returns the environment variables by which client-go takes these settings
// (k8s.io/apimachinery/pkg/util/net). They must be set before the first client is made.
func TransportEnv() map[string]string {
	return map[string]string{readIdleEnv: readIdleSeconds, pingTimeoutEnv: pingTimeoutSeconds}
}

// Backoff between attempts to list and watch. client-go's own ends at 30 to 60 seconds, which is how late a revocation
// after an outage would be seen. Going on with a watch can be one failed attempt more, when the API server has restarted,
// before everything is listed: twice 3 seconds and their jitter are less than the 10 that we promise, and from a few
// replicas burden no API server.
const (
	backoffInitial = 500 * time.Millisecond
	backoffCap     = 3 * time.Second

	// A network that loses packets must not hold an attempt much longer: client-go would wait for 30 seconds.
	dialTimeout = 3 * time.Second
	keepAlive   = 30 * time.Second
)
