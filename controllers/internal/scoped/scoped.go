// Package scoped hides the APITokens and AtlassianSites of the namespaces that the controllers do not see.
package scoped

import (
	"context"
	"slices"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/runtime/schema"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/client"

	tokensv1alpha1 "apitokens.dev/operator/api/v1alpha1"
	"apitokens.dev/operator/internal/scope"
)

// Manager returns a manager whose clients find no APIToken and no AtlassianSite in other namespaces than these. The account may
// have no rights there. What the operator keeps for them stays: the reconcilers leave other namespaces alone.
func Manager(mgr ctrl.Manager, namespaces scope.Namespaces) ctrl.Manager {
	if len(namespaces) == 0 {
		return mgr
	}
	return manager{mgr, namespaces}
}

type manager struct {
	ctrl.Manager

	namespaces scope.Namespaces
}

// GetClient returns the client that reads from the cache.
func (m manager) GetClient() client.Client {
	return cached{m.Manager.GetClient(), live{m.Manager.GetClient(), m.namespaces}}
}

// GetAPIReader returns the client that reads from the API server.
func (m manager) GetAPIReader() client.Reader { return live{m.Manager.GetAPIReader(), m.namespaces} }

type cached struct {
	client.Client

	limited live
}

// Get reads an object. The cache knows the namespaces, so lists need no change.
func (c cached) Get(ctx context.Context, key client.ObjectKey, o client.Object, options ...client.GetOption) error {
	return c.limited.Get(ctx, key, o, options...)
}

type live struct {
	client.Reader

	namespaces scope.Namespaces
}

// Get reads an object.
func (l live) Get(ctx context.Context, key client.ObjectKey, o client.Object, options ...client.GetOption) error {
	resource := ""
	switch o.(type) {
	case *tokensv1alpha1.APIToken:
		resource = "apitokens"
	case *tokensv1alpha1.AtlassianSite:
		resource = "atlassiansites"
	}
	if resource != "" && !l.namespaces.Has(key.Namespace) {
		return apierrors.NewNotFound(schema.GroupResource{Group: tokensv1alpha1.GroupVersion.Group, Resource: resource}, key.Name)
	}
	return l.Reader.Get(ctx, key, o, options...)
}

// List lists objects. A list of all APITokens needs a right for the whole cluster, so it is one list for each namespace.
func (l live) List(ctx context.Context, list client.ObjectList, options ...client.ListOption) error {
	tokens, ofTokens := list.(*tokensv1alpha1.APITokenList)
	if !ofTokens || (&client.ListOptions{}).ApplyOptions(options).Namespace != "" {
		return l.Reader.List(ctx, list, options...)
	}
	var all tokensv1alpha1.APITokenList
	for _, namespace := range l.namespaces {
		var part tokensv1alpha1.APITokenList
		if err := l.Reader.List(ctx, &part, append(slices.Clone(options), client.InNamespace(namespace))...); err != nil {
			return err
		}
		all.Items = append(all.Items, part.Items...)
	}
	*tokens = all
	return nil
}
