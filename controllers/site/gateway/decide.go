// Package gateway writes what the gateways in front of a site need to ask the webhook: annotations of an Ingress, or objects of
// the gateway's own kinds. The decide files say what to write, from the site alone.
package gateway

import (
	"fmt"
	"maps"
	"slices"
	"strings"

	"k8s.io/apimachinery/pkg/api/equality"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/types"

	tokensv1alpha1 "apitokens.dev/operator/api/v1alpha1"
	"apitokens.dev/operator/internal/authurl"
	"apitokens.dev/operator/internal/record"
	"apitokens.dev/operator/internal/siteurl"
)

// Site is what the objects of a site's gateways are made of.
type Site struct {
	types.NamespacedName

	// Base is the URL that users open.
	Base siteurl.URL
	// TokenPaths are the path prefixes, below the context path, at which tokens count.
	TokenPaths []string
	// IdentityHeader is the header with the user's name. Empty means the default one.
	IdentityHeader string
	// Everything means that each request has to be asked about: an answer depends on more than a token.
	Everything bool
	// Keys are the caller keys. There are none with ClientCertificates.
	Keys authurl.Keys
	// ClientCertificates means that callers prove with a certificate who they are.
	ClientCertificates bool
	// WebhookURL and PortalURL are where gateways reach the webhook and the portal.
	WebhookURL, PortalURL string
	// GRPCPort is the port of the webhook's Service for gRPC. Zero means that it has none.
	GRPCPort int64
	// AuthURLSecretName is the Secret beside the site with its auth URLs. Bundle means that it has the authorities of webhook and
	// portal too, under the key servingcert.BundleKey.
	AuthURLSecretName string
	Bundle            bool
	// TLSSecretName is the Secret beside webhook and portal with their certificate and, if there is a Bundle, these authorities.
	TLSSecretName string
}

// Ref names an object that the operator made for a site, or an Ingress that it annotated.
type Ref struct {
	APIVersion string `json:"apiVersion"`
	Kind       string `json:"kind"`
	Namespace  string `json:"namespace"`
	Name       string `json:"name"`
	// Made tells an Ingress that the operator made from one that it annotated.
	Made bool `json:"made,omitempty"`
}

// managedBy is the label of what the operator made.
const managedBy, operator = "app.kubernetes.io/managed-by", "apitoken-operator"

func refOf(o *unstructured.Unstructured) Ref {
	made := o.GetKind() == ingressKind && o.GetLabels()[managedBy] == operator
	return Ref{o.GetAPIVersion(), o.GetKind(), o.GetNamespace(), o.GetName(), made}
}

func (r Ref) kind() schema.GroupVersionKind {
	return schema.FromAPIVersionAndKind(r.APIVersion, r.Kind)
}

// annotated reports whether the object is a person's, and only annotations of it are the operator's.
func (r Ref) annotated() bool { return r.Kind == ingressKind && !r.Made }

// object returns the Ref of the object, whatever the operator does with it.
func (r Ref) object() Ref {
	r.Made = false
	return r
}

// in returns the words for the object, as seen from a namespace.
func (r Ref) in(namespace string) string {
	if r.Namespace == namespace {
		return fmt.Sprintf("%s '%s'", r.Kind, r.Name)
	}
	return fmt.Sprintf("%s '%s/%s'", r.Kind, r.Namespace, r.Name)
}

// Problem says why an entry of `gateways` is not wired, and what to do.
type Problem struct{ Reason, Message string }

// plan is what an entry of `gateways` leads to.
type plan struct {
	// gateway is the name of the gateway, and role the ClusterRole with the rights for it.
	gateway, role string
	// route is the object of a person that the entry names in field. It has to be there before anything is written. Most gateways
	// have none.
	route Ref
	field string
	// unsafe has annotations of the route that defeat the question, and why.
	unsafe []unsafe
	// objects returns the objects to write, in this order. Their names do not depend on the route, which may be nil.
	objects func(route *unstructured.Unstructured) []*unstructured.Unstructured
	// portal returns objects that lead to the portal. All entries of a type have the same, made from the route of one of them. It may
	// be nil.
	portal func(route *unstructured.Unstructured) []*unstructured.Unstructured
	// certificate names the Secret with the certificate that the gateway presents. presents says where else the gateway has it from,
	// for those that have it from elsewhere.
	certificate, presents string
	// note returns what a person should know of an entry without a problem. It may be nil.
	note func(route *unstructured.Unstructured) string
	// mute reports whether the gateway cannot present its certificate, as the note says. It may be nil.
	mute func(route *unstructured.Unstructured) bool
	// problem is set if nothing can be written, and lacking if something is missing in what can be.
	problem, lacking *Problem
}

// unsafe is an annotation that defeats the question to the webhook. If value is empty, each value does.
type unsafe struct{ annotation, value, why string }

// refs returns what the entry leads to.
func (p plan) refs() (all []Ref) {
	for _, o := range p.all(nil) {
		all = append(all, refOf(o))
	}
	return all
}

// all returns the objects to write, what asks the webhook first.
func (p plan) all(route *unstructured.Unstructured) []*unstructured.Unstructured {
	all := p.own(route)
	if p.portal != nil {
		all = append(all, p.portal(route)...)
	}
	return all
}

// own returns the objects of this entry alone.
func (p plan) own(route *unstructured.Unstructured) []*unstructured.Unstructured {
	if p.objects == nil {
		return nil
	}
	return p.objects(route)
}

// planFor returns what an entry leads to.
func planFor(s Site, entry tokensv1alpha1.Gateway) plan {
	switch entry.Type {
	case tokensv1alpha1.GatewayIngressNginx:
		return s.ingressNginx(entry.IngressNginx)
	case tokensv1alpha1.GatewayHAProxyIngress:
		return s.haproxyIngress(entry.HAProxyIngress)
	case tokensv1alpha1.GatewayTraefik:
		return s.traefik(entry.Traefik)
	case tokensv1alpha1.GatewayEnvoyGateway:
		return s.envoyGateway(entry.EnvoyGateway)
	case tokensv1alpha1.GatewayIstio:
		return s.istio(entry.Istio)
	default:
		return plan{gateway: string(entry.Type), problem: &Problem{tokensv1alpha1.ReasonGatewayUnsupported,
			"this version of the operator does not know the `type`. Upgrade it, or remove the entry."}}
	}
}

// plansFor returns what each entry leads to. Of two that lead to one object, the later has a problem. known is false if an entry
// may lead to objects that this version does not know.
func plansFor(s Site, entries []tokensv1alpha1.Gateway) (plans []plan, known bool) {
	known = true
	owner, leads, services := map[Ref]int{}, map[tokensv1alpha1.GatewayType]bool{}, map[Ref]*unstructured.Unstructured{}
	for i, entry := range entries {
		p := planFor(s, entry)
		objects := p.all(nil)
		if leads[entry.Type] {
			objects = p.own(nil)
		}
		leads[entry.Type] = true
		if p.objects == nil {
			known = false
		}
		if s.ClientCertificates && p.certificate == "" && p.presents == "" && p.problem == nil {
			p.problem = &Problem{tokensv1alpha1.ReasonGatewayUnsupported, "the site wants client certificates of its callers, and the entry names none. " +
				"Set `clientCertificateSecretName` to a Secret of this namespace with the gateway's certificate, in `tls.crt`, and its key, in `tls.key`."}
		}
		for _, o := range objects {
			ref := refOf(o)
			first, taken := owner[ref.object()]
			if shared := ref.Namespace != s.Namespace || ref.shared() || equality.Semantic.DeepEqual(o, services[ref]); !taken || shared {
				owner[ref.object()] = i
				if ref.Kind == serviceKind { // two entries may ask, and lead to the portal, through one
					services[ref] = o
				}
			} else if p.problem == nil {
				p.problem = &Problem{tokensv1alpha1.ReasonGatewayConflict, fmt.Sprintf(
					"`gateways[%d]` leads to %s too. Remove one of the two entries, or change a name.", first, ref.in(s.Namespace))}
			}
		}
		plans = append(plans, p)
	}
	return plans, known
}

// labels returns the labels with which the operator finds what it wrote for the site.
func (s Site) labels() map[string]string {
	return map[string]string{record.LabelSiteNamespace: s.Namespace, record.LabelSite: s.Name}
}

// identityHeaders are the headers that only an answer of the webhook may set. Every answer has the default, and many products believe
// it, whatever header the site names beside it.
func (s Site) identityHeaders() []string {
	names := []string{tokensv1alpha1.DefaultIdentityHeader, "X-Api-Token-Id"}
	if s.IdentityHeader != "" && !strings.EqualFold(s.IdentityHeader, tokensv1alpha1.DefaultIdentityHeader) {
		names = append(names, s.IdentityHeader)
	}
	return names
}

// answerHeaders are the headers of the request that an answer of the webhook replaces.
func (s Site) answerHeaders() []string {
	return append([]string{"Authorization", "Cookie"}, s.identityHeaders()...)
}

// authURL returns the URL at which a gateway asks the webhook. It contains the caller key.
func (s Site) authURL(c authurl.Contract) string {
	if s.ClientCertificates {
		return s.WebhookURL + authurl.Address{Contract: c, Key: authurl.NoKey, Namespace: s.Namespace, Site: s.Name}.String()
	}
	return s.WebhookURL + s.Keys.Address(c).String()
}

func (s Site) webhookIsSecure() bool { return strings.HasPrefix(s.WebhookURL, "https://") }

// portalPaths are the paths, as clients send them, at which users manage their tokens.
func (s Site) portalPaths() []string {
	return []string{s.Base.Path + siteurl.APIPath, s.Base.Path + siteurl.PortalPath}
}

// object returns an object of the site's namespace with its labels.
func (s Site) object(apiVersion, kind, name string, spec map[string]any) *unstructured.Unstructured {
	o := &unstructured.Unstructured{Object: map[string]any{"spec": spec}}
	o.SetAPIVersion(apiVersion)
	o.SetKind(kind)
	o.SetNamespace(s.Namespace)
	o.SetName(name)
	labels := s.labels()
	maps.Copy(labels, map[string]string{managedBy: operator})
	o.SetLabels(labels)
	return o
}

// copySpec copies fields of the spec of a person's route, if it has them.
func copySpec(spec map[string]any, route *unstructured.Unstructured, fields ...string) {
	if route == nil {
		return
	}
	from, _, _ := unstructured.NestedMap(route.Object, "spec") // A copy; a route without a spec has nothing to say.
	for _, field := range fields {
		if value, found := from[field]; found {
			spec[field] = value
		}
	}
}

// values returns a list as it stands in an unstructured object.
func values(items ...string) []any {
	list := make([]any, len(items))
	for i, item := range items {
		list[i] = item
	}
	return list
}

// missing returns the refs that are not among others.
func missing(refs, others []Ref) []Ref {
	return slices.DeleteFunc(slices.Clone(refs), func(r Ref) bool { return slices.Contains(others, r) })
}
