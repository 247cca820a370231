package kubetest

import (
	"context"

	apimeta "k8s.io/apimachinery/pkg/api/meta"
	"k8s.io/apimachinery/pkg/runtime"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/client/interceptor"

	"apitokens.dev/operator/controllers/index"
)

// Indexed returns a client that knows the indexes of the controllers' cache, so that it can stand for the cache.
func Indexed(api client.WithWatch) client.WithWatch {
	return interceptor.NewClient(api, interceptor.Funcs{
		List: func(ctx context.Context, c client.WithWatch, list client.ObjectList, opts ...client.ListOption) error {
			var o client.ListOptions
			o.ApplyOptions(opts)
			if o.FieldSelector == nil || len(o.FieldSelector.Requirements()) != 1 {
				return c.List(ctx, list, opts...)
			}
			wanted := o.FieldSelector.Requirements()[0]
			key, known := index.Keys[wanted.Field]
			if !known {
				return c.List(ctx, list, opts...)
			}
			o.FieldSelector, o.Limit = nil, 0
			if err := c.List(ctx, list, &o); err != nil {
				return err
			}
			return keep(list, func(o client.Object) bool { return key(o) == wanted.Value })
		},
	})
}

// keep leaves only the wanted objects in a list.
func keep(list client.ObjectList, wanted func(client.Object) bool) error {
	var kept []runtime.Object
	err := apimeta.EachListItem(list, func(item runtime.Object) error {
		if o, ok := item.(client.Object); ok && wanted(o) {
			kept = append(kept, o)
		}
		return nil
	})
	if err != nil {
		return err
	}
	return apimeta.SetList(list, kept)
}
