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
	"apitokens.dev/operator/internal/servingcert"
	"apitokens.dev/operator/internal/trust"
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

// endpoints are where the gateways of a site reach webhook and portal.
type endpoints struct {
	webhookURL, portalURL string
	// bundle has the authorities with which they verify both, in PEM. Without one, those that they trust anyway.
	bundle []byte
	// kept means that a URL is one of plain HTTP from before TLS.
	kept bool
}

// urls returns the content of the Secret with the auth URLs.
func (e endpoints) urls(s *tokensv1alpha1.AtlassianSite, address addresser) map[string][]byte {
	urls := map[string][]byte{
		authurl.PortalDataKey: []byte(e.portalURL + "/portal/" + s.Namespace + "/" + s.Name), authurl.GRPCSiteDataKey: []byte(s.Namespace + "/" + s.Name),
	}
	for _, c := range authurl.Contracts() {
		switch a := address(c); {
		case c != authurl.GRPC:
			urls[string(c)] = []byte(e.webhookURL + a.String())
		case a.Key != authurl.NoKey:
			urls[authurl.GRPCCallerDataKey] = []byte(a.Key)
		}
	}
	if len(e.bundle) > 0 {
		urls[servingcert.BundleKey] = e.bundle
	}
	return urls
}

// endpointsFor returns the endpoints of a site. stored is its Secret with the auth URLs, or empty.
func (r *Reconciler) endpointsFor(ctx context.Context, s *tokensv1alpha1.AtlassianSite, stored map[string][]byte) (endpoints, error) {
	e := endpoints{webhookURL: r.WebhookURL, portalURL: r.PortalURL}
	if s.Spec.CallerVerification.Type != tokensv1alpha1.CallerVerificationClientCertificate {
		e.webhookURL = keptURL(r.WebhookURL, string(stored[string(authurl.Forward)]), "/"+string(authurl.Forward)+"/")
		e.portalURL = keptURL(r.PortalURL, string(stored[authurl.PortalDataKey]), "/portal/")
		e.kept = e.webhookURL != r.WebhookURL || e.portalURL != r.PortalURL
	}
	if r.TLSSecret == "" || !isHTTPS(e.webhookURL) && !isHTTPS(e.portalURL) {
		return e, nil
	}
	var serving corev1.Secret
	err := r.Client.Get(ctx, client.ObjectKey{Namespace: r.Namespace, Name: r.TLSSecret}, &serving)
	switch {
	case apierrors.IsNotFound(err): // it comes back in a moment
		e.bundle = stored[servingcert.BundleKey]
	case err != nil:
		return e, fmt.Errorf("reading the certificate of webhook and portal: %w", err)
	default:
		if _, err := trust.Parse(serving.Data[servingcert.BundleKey]); err == nil {
			e.bundle = serving.Data[servingcert.BundleKey]
		}
	}
	return e, nil
}

// writeAuthURLs writes the Secret beside the site that holds the URLs for its ingress. A Secret of another type under this
// name is foreign: only the operator can write Secrets of this type.
func (r *Reconciler) writeAuthURLs(ctx context.Context, s *tokensv1alpha1.AtlassianSite, address addresser) (at endpoints, conflict *problem, err error) {
	name := client.ObjectKey{Namespace: s.Namespace, Name: authURLSecretName(s.Name)}
	var stored corev1.Secret
	readErr := r.Live.Get(ctx, name, &stored)
	var before map[string][]byte
	if stored.Type == authurl.SecretType {
		before = stored.Data
	}
	if at, err = r.endpointsFor(ctx, s, before); err != nil {
		return at, nil, err
	}
	want := at.urls(s, address)
	switch err = readErr; {
	case apierrors.IsNotFound(err):
		stored = corev1.Secret{
			ObjectMeta: metav1.ObjectMeta{Namespace: name.Namespace, Name: name.Name, Labels: owned.Labels(client.ObjectKeyFromObject(s))},
			Type:       authurl.SecretType,
			Data:       want,
		}
		err = r.Client.Create(ctx, &stored)
	case err != nil:
	case stored.Type != authurl.SecretType:
		return at, &problem{tokensv1alpha1.ReasonAuthURLConflict, fmt.Sprintf(
			"Secret '%s' exists and was not written by the operator; it is left alone. "+
				"Move what is in it elsewhere and delete it: the auth URLs of this site go there.", name.Name)}, nil
	case !maps.EqualFunc(stored.Data, want, func(a, b []byte) bool { return string(a) == string(b) }):
		stored.Data = want
		err = r.Client.Update(ctx, &stored)
	}
	if err != nil {
		return at, nil, fmt.Errorf("writing the auth URLs: %w", err)
	}
	return at, nil, nil
}
