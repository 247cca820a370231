// Package feed keeps the index in step with the API server. It lists and watches everything that the index links, and knows
// how fresh that is.
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
	"apitokens.dev/operator/internal/probe"
	"apitokens.dev/operator/internal/projection"
	"apitokens.dev/operator/internal/record"
	"apitokens.dev/operator/internal/scope"
	"apitokens.dev/operator/internal/upstream"
)

// Config says where to read from.
type Config struct {
	// Namespace is the operator's own namespace. It holds records and projections.
	Namespace string
	// CredentialsNamespace holds the upstream credentials and caller keys.
	CredentialsNamespace string
	// Scope are the namespaces of the APITokens and AtlassianSites to read.
	Scope scope.Namespaces
	// Lease is the name of the lease in Namespace that the leading controller renews.
	Lease string
	// Licenses verifies licences. Nil means that no site needs one.
	Licenses *license.Verifier
}

// Feed fills an index and keeps it filled.
type Feed struct {
	index *authn.Index
	// objects are kept beside the index. It may be nil.
	objects *Objects
	sources []*source
	// latency measures only. Readiness does not wait for it, and it may be nil.
	latency *source
	// synced is closed when the index has seen the whole initial list.
	synced  chan struct{}
	metrics *metrics
}

// New returns the feed of the gateway process: everything that the index links. It reads with the rights of config.
func New(config *rest.Config, c Config, index *authn.Index, log logr.Logger, r prometheus.Registerer) (*Feed, error) {
	f, from, err := newFeed(config, c, index, nil, log, r)
	if err != nil {
		return nil, err
	}
	f.sources = append(f.sources,
		from("callerkeys", &corev1.SecretList{}, &corev1.Secret{}, newCallerKeys(index), secrets(c.CredentialsNamespace, authurl.KeysSecretType)...),
		from("probekeys", &corev1.SecretList{}, &corev1.Secret{}, newProbeKeys(index), secrets(c.CredentialsNamespace, probe.SecretType)...),
		from("credentials", &corev1.SecretList{}, &corev1.Secret{}, newCredentials(index), secrets(c.CredentialsNamespace, upstream.SecretType)...),
	)
	f.latency = from("leases", &coordinationv1.LeaseList{}, &coordinationv1.Lease{}, newLatencyProbe(f.metrics), lease(c.Namespace, c.Lease)...)
	return f, nil
}

// NewForPortal returns the feed of the portal. It reads neither caller keys nor upstream credentials, and keeps in objects what
// the portal shows.
func NewForPortal(config *rest.Config, c Config, index *authn.Index, objects *Objects, log logr.Logger, r prometheus.Registerer) (*Feed, error) {
	f, _, err := newFeed(config, c, index, objects, log, r)
	return f, err
}

// newSourceFunc makes a source of a feed.
type newSourceFunc func(name string, list client.ObjectList, object client.Object, s store, scope ...client.ListOption) *source

func newFeed(
	config *rest.Config, c Config, index *authn.Index, objects *Objects, log logr.Logger, r prometheus.Registerer,
) (*Feed, newSourceFunc, error) {
	scheme := runtime.NewScheme()
	if err := errors.Join(tokensv1alpha1.AddToScheme(scheme), corev1.AddToScheme(scheme), coordinationv1.AddToScheme(scheme)); err != nil {
		return nil, nil, fmt.Errorf("registering the API types: %w", err)
	}
	tracker := newConnTracker()
	api, err := client.NewWithWatch(tracker.tracked(config), client.Options{Scheme: scheme})
	if err != nil {
		return nil, nil, fmt.Errorf("making the client of the feed: %w", err)
	}
	if c.Licenses != nil {
		index.RequireLicenses()
	}
	f := &Feed{index: index, objects: objects, synced: make(chan struct{}), metrics: newMetrics(r, index)}
	from := func(name string, list client.ObjectList, object client.Object, s store, scope ...client.ListOption) *source {
		return newSource(api, tracker, resource{name, list, object, s, scope}, f.metrics, log)
	}
	records, projections := store(newRecords(index)), newProjections(index, c.Licenses)
	if objects != nil {
		records, projections = newKeyed(index, &objects.records), keeping{projections, objects.projections, c.Namespace}
	}
	f.sources = []*source{
		from("namespaces", namespaces(), &metav1.PartialObjectMetadata{}, newNamespaces(index)),
		from("records", &corev1.SecretList{}, &corev1.Secret{}, records, secrets(c.Namespace, record.SecretType)...),
		from("projections", &corev1.SecretList{}, &corev1.Secret{}, projections, secrets(c.Namespace, projection.SecretType)...),
	}
	for _, namespace := range c.Scope.Each() {
		f.sources = append(f.sources, declared(from, index, objects, namespace)...)
	}
	return f, from, nil
}

// declared are the sources of the APITokens and AtlassianSites of a namespace, or of all. Each has stores of its own: a list
// replaces only what came from the same namespace.
func declared(from newSourceFunc, index *authn.Index, objects *Objects, namespace string) []*source {
	apiTokens, sites := newTokens(index, namespace), newSites(index)
	if objects != nil {
		apiTokens, sites = keepingTokens{apiTokens, objects.apiTokens, namespace}, keeping{sites, objects.sites, namespace}
	}
	name := func(kind string) string {
		if namespace == metav1.NamespaceAll {
			return kind
		}
		return kind + "/" + namespace
	}
	return []*source{
		from(name("apitokens"), &tokensv1alpha1.APITokenList{}, &tokensv1alpha1.APIToken{}, apiTokens, client.InNamespace(namespace)),
		from(name("atlassiansites"), &tokensv1alpha1.AtlassianSiteList{}, &tokensv1alpha1.AtlassianSite{}, sites, client.InNamespace(namespace)),
	}
}

// namespaces is a list of the metadata of namespaces.
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

// Start feeds the index until ctx is done. It returns no error when the API server is away.
func (f *Feed) Start(ctx context.Context) error {
	var g errgroup.Group
	sources := f.sources
	if f.latency != nil {
		sources = append([]*source{f.latency}, sources...)
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

// Ready fails until the index has seen the whole initial list of everything. After that it never fails again: without the
// API server the index is old, but still right to use.
func (f *Feed) Ready(*http.Request) error {
	select {
	case <-f.synced:
		return nil
	default:
		return errors.New("the initial list has not been seen yet")
	}
}

// Synced is closed when the index has seen the whole initial list.
func (f *Feed) Synced() <-chan struct{} { return f.synced }

func (f *Feed) awaitSync(ctx context.Context) {
	for _, s := range f.sources {
		select {
		case <-s.synced:
		case <-ctx.Done():
			return
		}
	}
	f.index.SetReady()
	if f.objects != nil {
		f.objects.loaded.Store(true)
	}
	close(f.synced)
}

// Transport settings of client-go that notice a frozen connection after 7 seconds instead of 45, so that revocations do not
// wait for a dead watch.
const (
	readIdleSeconds    = "5"
	pingTimeoutSeconds = "2"

	readIdleEnv    = "HTTP2_READ_IDLE_TIMEOUT_SECONDS"
	pingTimeoutEnv = "HTTP2_PING_TIMEOUT_SECONDS"
)

// TransportEnv returns the environment variables from which client-go reads these settings
// (k8s.io/apimachinery/pkg/util/net). Set them before the first client is made.
func TransportEnv() map[string]string {
	return map[string]string{readIdleEnv: readIdleSeconds, pingTimeoutEnv: pingTimeoutSeconds}
}

// Backoff between attempts to list and watch. client-go's own grows to 30 to 60 seconds, and revocations after an outage
// would be seen as late.
//
// We promise 10 seconds. After a restart of the API server, one attempt to resume the watch may fail before the next one
// lists everything: that is twice backoffCap with its jitter. A few replicas do not burden an API server with this.
const (
	backoffInitial = 500 * time.Millisecond
	backoffCap     = 3 * time.Second

	// dialTimeout bounds an attempt to connect over a network that loses packets. client-go would wait for 30 seconds.
	dialTimeout = 3 * time.Second
	keepAlive   = 30 * time.Second
)
