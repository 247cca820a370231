package site

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/client"

	tokensv1alpha1 "apitokens.dev/operator/api/v1alpha1"
	"apitokens.dev/operator/controllers/site/gateway"
	"apitokens.dev/operator/internal/authurl"
	"apitokens.dev/operator/internal/siteurl"
)

func (r *Reconciler) gateways() gateway.Keeper {
	return gateway.Keeper{Client: r.Client, Live: r.Live, Watch: r.gatewayWatch}
}

// wire writes what the gateways of a site need, and removes what earlier entries left behind. The webhook answers for the site
// already. What is there for a site that is not served stays: without it, requests would pass unasked.
func (r *Reconciler) wire(ctx context.Context, s *tokensv1alpha1.AtlassianSite, m memory, keys authurl.Keys, o *outcome) error {
	if len(s.Spec.Gateways) == 0 && len(m.Gateways) == 0 {
		return nil
	}
	base, err := siteurl.Parse(s.Spec.BaseURL)
	if err != nil {
		return err
	}
	described := gateway.Site{
		NamespacedName: client.ObjectKeyFromObject(s), Base: base, TokenPaths: s.Spec.TokenPaths, Keys: keys,
		ClientCertificates: s.Spec.CallerVerification.Type == tokensv1alpha1.CallerVerificationClientCertificate,
		IdentityHeader:     s.Spec.Handoff.IdentityHeader.Name, Everything: asksEverything(s.Spec),
		WebhookURL: o.endpoints.webhookURL, PortalURL: o.endpoints.portalURL, Bundle: len(o.endpoints.bundle) > 0,
		GRPCPort:          int64(r.WebhookGRPCPort),
		AuthURLSecretName: authURLSecretName(s.Name), TLSSecretName: r.TLSSecret,
	}
	found, err := r.gateways().Reconcile(ctx, described, s.Spec.Gateways, m.Gateways, r.rememberGateways(ctx, &m))
	if err = o.noteRefusal(err); err == nil {
		o.gateways = &found
	}
	return err
}

// asksEverything reports whether the gateway has to ask about each request: identity comes in a header that the product trusts, or
// other credentials than tokens are judged.
func asksEverything(site tokensv1alpha1.AtlassianSiteSpec) bool {
	other := site.OtherCredentials
	return site.Handoff.Type == tokensv1alpha1.HandoffIdentityHeader ||
		slices.ContainsFunc([]tokensv1alpha1.CredentialAction{
			other.Password.Action, other.Bearer.Action, other.Session.Action, other.Anonymous.Action,
		}, func(a tokensv1alpha1.CredentialAction) bool { return a != "" && a != tokensv1alpha1.CredentialForward }) ||
		len(other.Anonymous.ChallengePaths) > 0
}

// unwire removes what was written for the gateways of a site that is gone.
func (r *Reconciler) unwire(ctx context.Context, site types.NamespacedName) error {
	m, err := r.recall(ctx, site)
	if errors.Is(err, errMemoryDamaged) || err == nil && len(m.Gateways) == 0 {
		return nil
	}
	if err != nil {
		return err
	}
	return r.gateways().Remove(ctx, gateway.Site{NamespacedName: site}, m.Gateways, r.rememberGateways(ctx, &m))
}

// rememberGateways returns a function that stores what is written for gateways.
func (r *Reconciler) rememberGateways(ctx context.Context, m *memory) func([]gateway.Ref) error {
	return func(written []gateway.Ref) (err error) {
		next := *m
		next.Gateways = written
		*m, err = r.store(ctx, *m, next)
		return err
	}
}

// gatewaysCondition returns the condition GatewaysConfigured of a pass.
func gatewaysCondition(f *gateway.Findings) metav1.Condition {
	if len(f.Problems) == 0 {
		return condition(tokensv1alpha1.ConditionGatewaysConfigured, true, tokensv1alpha1.ReasonConfigured,
			strings.Join(append([]string{fmt.Sprintf("Written and kept for the gateways: %s.", strings.Join(f.Kept, ", "))}, f.Notes...), " "))
	}
	messages := make([]string, len(f.Problems))
	for i, p := range f.Problems {
		messages[i] = p.Message
	}
	return condition(tokensv1alpha1.ConditionGatewaysConfigured, false, f.Problems[0].Reason, strings.Join(messages, " "))
}
