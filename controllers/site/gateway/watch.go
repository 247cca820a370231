package gateway

import (
	"context"
	"fmt"
	"sync"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/watch"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/event"
	"sigs.k8s.io/controller-runtime/pkg/handler"
	"sigs.k8s.io/controller-runtime/pkg/reconcile"
	"sigs.k8s.io/controller-runtime/pkg/source"

	"apitokens.dev/operator/internal/record"
)

// Watch watches the metadata of what the operator wrote for gateways, so that a change is mended within seconds. It watches a
// kind while passes write objects of it: one without CRDs, or without a right to watch, costs nothing. It keeps nothing.
type Watch struct {
	client client.WithWatch
	kinds  chan watched
	events chan event.GenericEvent
}

// watched is a kind in all namespaces, or in one: ReferenceGrants and BackendTLSPolicies are in that of the operator.
type watched struct {
	kind      schema.GroupVersionKind
	namespace string
}

// NewWatch returns a watch for a manager to run.
func NewWatch(mgr ctrl.Manager) (*Watch, error) {
	c, err := client.NewWithWatch(mgr.GetConfig(), client.Options{HTTPClient: mgr.GetHTTPClient(), Scheme: mgr.GetScheme(), Mapper: mgr.GetRESTMapper()})
	if err != nil {
		return nil, fmt.Errorf("connecting for the watch of gateways: %w", err)
	}
	return &Watch{client: c, kinds: make(chan watched, 64), events: make(chan event.GenericEvent)}, nil
}

// Source has the sites whose objects changed.
func (w *Watch) Source() source.Source {
	return source.Channel(w.events, handler.EnqueueRequestsFromMapFunc(func(_ context.Context, o client.Object) []reconcile.Request {
		name := types.NamespacedName{Namespace: o.GetLabels()[record.LabelSiteNamespace], Name: o.GetLabels()[record.LabelSite]}
		if name.Namespace == "" || name.Name == "" {
			return nil
		}
		return []reconcile.Request{{NamespacedName: name}}
	}))
}

// use says that an object of this kind was written. It never blocks: the next pass says it again.
func (w *Watch) use(ref Ref) {
	if w == nil {
		return
	}
	k := watched{kind: ref.kind()}
	if ref.Kind == grantKind || ref.Kind == tlsPolicyKind {
		k.namespace = ref.Namespace
	}
	select {
	case w.kinds <- k:
	default:
	}
}

// Start watches the kinds that are in use until ctx is done.
func (w *Watch) Start(ctx context.Context) error {
	var (
		watches sync.WaitGroup
		running = map[watched]bool{}
		ended   = make(chan watched)
	)
	defer watches.Wait()
	for {
		select {
		case <-ctx.Done():
			return nil
		case k := <-ended:
			delete(running, k)
		case k := <-w.kinds:
			if running[k] {
				continue
			}
			running[k] = true
			watches.Go(func() {
				err := w.follow(ctx, k)
				ctrl.LoggerFrom(ctx).V(1).Info("The watch of a gateway's objects ended", "kind", k.kind.String(), "error", err)
				select {
				case ended <- k:
				case <-ctx.Done():
				}
			})
		}
	}
}

// follow watches a kind until that fails. The next pass that writes an object of the kind starts it again.
func (w *Watch) follow(ctx context.Context, k watched) error {
	for first := true; ; first = false {
		var list metav1.PartialObjectMetadataList
		list.SetGroupVersionKind(k.kind.GroupVersion().WithKind(k.kind.Kind + "List"))
		ours, err := labels.Parse(record.LabelSiteNamespace + "," + record.LabelSite)
		if err != nil {
			return fmt.Errorf("selecting: %w", err)
		}
		options := &client.ListOptions{Namespace: k.namespace, LabelSelector: ours}
		if err := w.client.List(ctx, &list, options); err != nil {
			return fmt.Errorf("listing: %w", err)
		}
		for i := range list.Items {
			if !first { // it may have changed in between
				w.enqueue(ctx, &list.Items[i])
			}
		}
		options.Raw = &metav1.ListOptions{ResourceVersion: list.ResourceVersion}
		changes, err := w.client.Watch(ctx, &list, options)
		if err != nil {
			return fmt.Errorf("watching: %w", err)
		}
		if err := w.pass(ctx, changes); err != nil {
			return err
		}
	}
}

// pass passes changes on until the API server ends the watch.
func (w *Watch) pass(ctx context.Context, changes watch.Interface) error {
	defer changes.Stop()
	for {
		select {
		case <-ctx.Done():
			return ctx.Err()
		case change, open := <-changes.ResultChan():
			if !open {
				return nil
			}
			o, ok := change.Object.(*metav1.PartialObjectMetadata)
			if change.Type == watch.Error || !ok {
				return fmt.Errorf("watching: %s", change.Type)
			}
			w.enqueue(ctx, o)
		}
	}
}

func (w *Watch) enqueue(ctx context.Context, o client.Object) {
	select {
	case w.events <- event.GenericEvent{Object: o}:
	case <-ctx.Done():
	}
}
