package main

import (
	"context"
	"net/http"

	"apitokens.dev/operator/hack/lib/cluster"
	"apitokens.dev/operator/hack/lib/fakeproduct"
	"apitokens.dev/operator/hack/lib/rig"
)

// place is where the story happens: processes of the rig, or pods on a node.
type place interface {
	Sample(name string) ([]byte, error)
	KubectlAs(ctx context.Context, as string, stdin []byte, args ...string) (string, error)
	// StartGateway starts nginx for the auth URL of the site.
	StartGateway(ctx context.Context, authURL string) error
	// BaseURL is that of the site, which Client reaches. WebhookAddress is where Client reaches the webhook without the gateway.
	BaseURL() string
	WebhookAddress() string
	Client() *http.Client
	WebhookLog(ctx context.Context) (string, error)
	// Requests returns what the product has received since Reset.
	Requests(ctx context.Context) ([]fakeproduct.Seen, error)
	Reset(ctx context.Context) error
	// SignIn returns the cookie of a session of a user at the product.
	SignIn(ctx context.Context, user string) (*http.Cookie, error)
}

var _ place = (*cluster.Cluster)(nil)

func (s *story) place() place {
	if s.cluster != nil {
		return s.cluster
	}
	return onRig{s.Rig}
}

// KubectlAs and Sample are those of the place.
func (s *story) KubectlAs(ctx context.Context, as string, stdin []byte, args ...string) (string, error) {
	return s.place().KubectlAs(ctx, as, stdin, args...)
}

func (s *story) Sample(name string) ([]byte, error) { return s.place().Sample(name) }

// seen are requests that the product has received.
type seen []fakeproduct.Seen

func (s seen) Requests() []fakeproduct.Seen { return s }

// throughGateway returns what has reached the product through the gateway since the last Reset.
func (s *story) throughGateway(ctx context.Context) ([]fakeproduct.Seen, error) {
	all, err := s.place().Requests(ctx)
	return rig.ThroughNginx(seen(all)), err
}

// onRig is a place without pods.
type onRig struct{ *rig.Rig }

func (r onRig) StartGateway(ctx context.Context, authURL string) error {
	return r.StartNginx(ctx, authURL)
}

func (r onRig) BaseURL() string { return r.URL }

func (r onRig) WebhookAddress() string { return r.WebhookURL }

func (r onRig) Client() *http.Client { return http.DefaultClient }

func (r onRig) WebhookLog(context.Context) (string, error) { return r.Webhook.Log() }

func (r onRig) Requests(context.Context) ([]fakeproduct.Seen, error) {
	return r.Product.Requests(), nil
}

func (r onRig) Reset(context.Context) error {
	r.Product.Reset()
	return nil
}

func (r onRig) SignIn(_ context.Context, user string) (*http.Cookie, error) {
	return r.Product.SignIn(user), nil
}
