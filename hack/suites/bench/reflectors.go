package main

import (
	"context"
	"errors"
	"fmt"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/fields"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/watch"
	"k8s.io/client-go/tools/cache"
	"k8s.io/client-go/tools/clientcmd"
	kube "sigs.k8s.io/controller-runtime/pkg/client"

	tokensv1alpha1 "apitokens.dev/operator/api/v1alpha1"
	"apitokens.dev/operator/internal/record"
	"apitokens.dev/operator/internal/upstream"
)

// runReflectors ends when bare reflectors have seen all APITokens, records and working copies: what a webhook lists too. Its only
// argument is a kubeconfig.
func runReflectors(arguments []string) error {
	config, err := clientcmd.BuildConfigFromFlags("", arguments[0])
	if err != nil {
		return fmt.Errorf("reading a kubeconfig: %w", err)
	}
	s := runtime.NewScheme()
	if err := errors.Join(tokensv1alpha1.AddToScheme(s), corev1.AddToScheme(s)); err != nil {
		return fmt.Errorf("registering the API types: %w", err)
	}
	api, err := kube.NewWithWatch(config, kube.Options{Scheme: s})
	if err != nil {
		return fmt.Errorf("connecting to the API server: %w", err)
	}
	ctx, stop := context.WithCancel(context.Background())
	defer stop()
	var all []*bareStore
	for _, of := range []struct {
		list      kube.ObjectList
		object    kube.Object
		namespace string
		kind      string
	}{
		{&tokensv1alpha1.APITokenList{}, &tokensv1alpha1.APIToken{}, "", ""},
		{&corev1.SecretList{}, &corev1.Secret{}, "apitoken-system", record.SecretType},
		{&corev1.SecretList{}, &corev1.Secret{}, "apitoken-credentials", upstream.SecretType},
	} {
		scope := []kube.ListOption{kube.InNamespace(of.namespace)}
		if of.kind != "" {
			scope = append(scope, kube.MatchingFieldsSelector{Selector: fields.OneTermEqualSelector("type", of.kind)})
		}
		store := &bareStore{Store: cache.NewStore(cache.MetaNamespaceKeyFunc), synced: make(chan struct{})}
		all = append(all, store)
		go cache.NewReflectorWithOptions(bareListWatch(api, of.list, scope), of.object, store, cache.ReflectorOptions{}).RunWithContext(ctx)
	}
	for _, store := range all {
		<-store.synced
	}
	return nil
}

// bareStore is a store that tells when it has the first list.
type bareStore struct {
	cache.Store

	synced chan struct{}
}

// Replace implements cache.Store.
func (s *bareStore) Replace(list []any, version string) error {
	err := s.Store.Replace(list, version)
	close(s.synced)
	return err
}

func bareListWatch(api kube.WithWatch, list kube.ObjectList, scope []kube.ListOption) *cache.ListWatch {
	return &cache.ListWatch{
		ListWithContextFunc: func(ctx context.Context, o metav1.ListOptions) (runtime.Object, error) {
			into, _ := list.DeepCopyObject().(kube.ObjectList)
			return into, api.List(ctx, into, append(scope, &kube.ListOptions{Raw: &o})...)
		},
		WatchFuncWithContext: func(ctx context.Context, o metav1.ListOptions) (watch.Interface, error) {
			return api.Watch(ctx, list, append(scope, &kube.ListOptions{Raw: &o})...)
		},
	}
}
