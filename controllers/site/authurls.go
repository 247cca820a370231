package site

import (
	"context"
	"fmt"
	"maps"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	tokensv1alpha1 "apitokens.dev/operator/api/v1alpha1"
	"apitokens.dev/operator/controllers/internal/owned"
	"apitokens.dev/operator/internal/authurl"
)

const (
	// portalKey is the key of the portal's URL. The keys of the other URLs are the names of the contracts.
	portalKey = "portal"
	// grpcSiteKey and grpcCallerKey are the keys of the context extensions for Envoy over gRPC, which has no URL.
	grpcSiteKey, grpcCallerKey = "grpc-site", "grpc-key"
)

func authURLSecretName(site string) string { return site + "-auth-urls" }

// addresser returns the path of a site's auth URL for a contract.
type addresser func(authurl.Contract) authurl.Address

// unkeyed returns the addresses of a site that wants client certificates.
func unkeyed(s *tokensv1alpha1.AtlassianSite) addresser {
	return func(c authurl.Contract) authurl.Address {
		return authurl.Address{Contract: c, Key: authurl.NoKey, Namespace: s.Namespace, Site: s.Name}
	}
}

// writeAuthURLs writes the Secret beside the site that holds the URLs for its ingress. A Secret of another type under this
// name is foreign: only the operator can write Secrets of this type.
func (r *Reconciler) writeAuthURLs(ctx context.Context, s *tokensv1alpha1.AtlassianSite, address addresser) (*problem, error) {
	want := map[string][]byte{
		portalKey: []byte(r.PortalURL + "/portal/" + s.Namespace + "/" + s.Name), grpcSiteKey: []byte(s.Namespace + "/" + s.Name),
	}
	for _, c := range authurl.Contracts() {
		switch a := address(c); {
		case c != authurl.GRPC:
			want[string(c)] = []byte(r.WebhookURL + a.String())
		case a.Key != authurl.NoKey:
			want[grpcCallerKey] = []byte(a.Key)
		}
	}
	name := client.ObjectKey{Namespace: s.Namespace, Name: authURLSecretName(s.Name)}
	var stored corev1.Secret
	err := r.Live.Get(ctx, name, &stored)
	switch {
	case apierrors.IsNotFound(err):
		stored = corev1.Secret{
			ObjectMeta: metav1.ObjectMeta{Namespace: name.Namespace, Name: name.Name, Labels: owned.Labels(client.ObjectKeyFromObject(s))},
			Type:       authurl.SecretType,
			Data:       want,
		}
		err = r.Client.Create(ctx, &stored)
	case err != nil:
	case stored.Type != authurl.SecretType:
		return &problem{tokensv1alpha1.ReasonAuthURLConflict, fmt.Sprintf(
			"Secret '%s' exists and was not written by the operator; it is left alone. "+
				"Move what is in it elsewhere and delete it: the auth URLs of this site go there.", name.Name)}, nil
	case !maps.EqualFunc(stored.Data, want, func(a, b []byte) bool { return string(a) == string(b) }):
		stored.Data = want
		err = r.Client.Update(ctx, &stored)
	}
	if err != nil {
		return nil, fmt.Errorf("writing the auth URLs: %w", err)
	}
	return nil, nil
}
