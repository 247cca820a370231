package site_test

import (
	"maps"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	apimeta "k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/client"

	tokensv1alpha1 "apitokens.dev/operator/api/v1alpha1"
	"apitokens.dev/operator/hack/lib/gatewaytest"
	"apitokens.dev/operator/hack/lib/kubetest"
)

// The kinds that gateways need.
var (
	middlewares      = schema.GroupVersionKind{Group: "traefik.io", Version: "v1alpha1", Kind: "Middleware"}
	securityPolicies = schema.GroupVersionKind{Group: "gateway.envoyproxy.io", Version: "v1alpha1", Kind: "SecurityPolicy"}
	routes           = schema.GroupVersionKind{Group: "gateway.networking.k8s.io", Version: "v1", Kind: "HTTPRoute"}
	grants           = schema.GroupVersionKind{Group: "gateway.networking.k8s.io", Version: "v1", Kind: "ReferenceGrant"}
	authorizations   = schema.GroupVersionKind{Group: "security.istio.io", Version: "v1", Kind: "AuthorizationPolicy"}
	ingresses        = schema.GroupVersionKind{Group: "networking.k8s.io", Version: "v1", Kind: "Ingress"}
	ingressRoutes    = schema.GroupVersionKind{Group: "traefik.io", Version: "v1alpha1", Kind: "IngressRoute"}
	services         = schema.GroupVersionKind{Version: "v1", Kind: "Service"}
)

func middlewareEntry(name string) tokensv1alpha1.Gateway {
	return tokensv1alpha1.Gateway{Type: tokensv1alpha1.GatewayTraefik, Traefik: tokensv1alpha1.TraefikGateway{MiddlewareName: name}}
}

func routeEntry(name string) tokensv1alpha1.Gateway {
	return tokensv1alpha1.Gateway{Type: tokensv1alpha1.GatewayEnvoyGateway, EnvoyGateway: tokensv1alpha1.EnvoyGateway{HTTPRouteName: name}}
}

func nginxEntry() tokensv1alpha1.Gateway {
	return tokensv1alpha1.Gateway{Type: tokensv1alpha1.GatewayIngressNginx, IngressNginx: tokensv1alpha1.IngressGateway{IngressName: "jira-rest"}}
}

func haproxyEntry() tokensv1alpha1.Gateway {
	return tokensv1alpha1.Gateway{Type: tokensv1alpha1.GatewayHAProxyIngress, HAProxyIngress: tokensv1alpha1.IngressGateway{IngressName: "jira-rest"}}
}

func ingressRouteEntry(name, route string) tokensv1alpha1.Gateway {
	return tokensv1alpha1.Gateway{Type: tokensv1alpha1.GatewayTraefik, Traefik: tokensv1alpha1.TraefikGateway{MiddlewareName: name, IngressRouteName: route}}
}

// istioRouteEntry is for a product with an HTTPRoute.
func istioRouteEntry(route string) tokensv1alpha1.Gateway {
	return tokensv1alpha1.Gateway{Type: tokensv1alpha1.GatewayIstio, Istio: tokensv1alpha1.IstioGateway{
		ProviderName: "apitokens", Selector: map[string]tokensv1alpha1.LabelValue{"app": "gateway"}, HTTPRouteName: route}}
}

func istioEntry(labels map[string]tokensv1alpha1.LabelValue) tokensv1alpha1.Gateway {
	return tokensv1alpha1.Gateway{Type: tokensv1alpha1.GatewayIstio, Istio: tokensv1alpha1.IstioGateway{ProviderName: "apitokens", Selector: labels}}
}

func gateways(entries ...tokensv1alpha1.Gateway) func(*tokensv1alpha1.AtlassianSite) {
	return func(s *tokensv1alpha1.AtlassianSite) { s.Spec.Gateways = entries }
}

// gatewayWorld is a world whose API server has the CRDs of gateways, and whose controller has the rights in the given files.
func gatewayWorld(t *testing.T, files ...string) *world {
	t.Helper()
	w := newWorld(t)
	gatewaytest.Install(t, env.Admin, gatewaytest.GatewayAPI, gatewaytest.Traefik, gatewaytest.EnvoyGateway, gatewaytest.Istio)
	w.allow(files...)
	return w
}

// allow gives the controller the rights in files of config/rbac/gateways, and no others for gateways.
func (w *world) allow(files ...string) {
	w.Helper()
	gatewaytest.Allow(w.T, env.Admin, w.api, files...)
}

// object reads an object, nil if there is none.
func (w *world) object(kind schema.GroupVersionKind, namespace, name string) *unstructured.Unstructured {
	w.Helper()
	o := &unstructured.Unstructured{}
	o.SetGroupVersionKind(kind)
	switch err := env.Admin.Get(w.Context(), client.ObjectKey{Namespace: namespace, Name: name}, o); {
	case apierrors.IsNotFound(err):
		return nil
	case err != nil:
		w.Fatal(err)
	}
	return o
}

// userObject creates an object of a person.
func (w *world) userObject(kind schema.GroupVersionKind, name string, spec map[string]any, annotations map[string]string) *unstructured.Unstructured {
	w.Helper()
	o := &unstructured.Unstructured{Object: map[string]any{"spec": spec}}
	o.SetGroupVersionKind(kind)
	o.SetNamespace(w.ns)
	o.SetName(name)
	o.SetAnnotations(annotations)
	if err := env.Admin.Create(w.Context(), o, client.FieldOwner("person")); err != nil {
		w.Fatal(err)
	}
	return o
}

func (w *world) ingress(annotations map[string]string) *unstructured.Unstructured {
	w.Helper()
	return w.userObject(ingresses, "jira-rest", map[string]any{"ingressClassName": "internal", "defaultBackend": map[string]any{
		"service": map[string]any{"name": "jira", "port": map[string]any{"number": int64(8080)}}}}, annotations)
}

// parents are the Gateways of a route, as the API server stores them.
var parents = []any{map[string]any{"group": "gateway.networking.k8s.io", "kind": "Gateway", "name": "eg", "namespace": "gateways"}}

func (w *world) ingressRoute(name string) *unstructured.Unstructured {
	w.Helper()
	return w.userObject(ingressRoutes, name, map[string]any{"entryPoints": []any{"internal"}, "tls": map[string]any{"secretName": "jira-tls"},
		"routes": []any{map[string]any{"match": "Host(`jira`)", "kind": "Rule"}}}, nil)
}

func (w *world) route(name string) *unstructured.Unstructured {
	w.Helper()
	return w.userObject(routes, name, map[string]any{"parentRefs": parents}, nil)
}

// edit changes an object as a person.
func (w *world) edit(o *unstructured.Unstructured, merge string) {
	w.Helper()
	if err := env.Admin.Patch(w.Context(), o, client.RawPatch(types.MergePatchType, []byte(merge)), client.FieldOwner("person")); err != nil {
		w.Fatal(err)
	}
}

func (w *world) expectGateways(s *tokensv1alpha1.AtlassianSite, reason string, says ...string) {
	w.Helper()
	c := apimeta.FindStatusCondition(s.Status.Conditions, tokensv1alpha1.ConditionGatewaysConfigured)
	if c == nil || c.Reason != reason || (c.Status == metav1.ConditionTrue) != (reason == tokensv1alpha1.ReasonConfigured) {
		w.Fatalf("%s has the condition %+v, want %s", s.Name, c, reason)
	}
	for _, text := range says {
		if !strings.Contains(c.Message, text) {
			w.Errorf("the message does not have %q: %q", text, c.Message)
		}
	}
	if reason == tokensv1alpha1.ReasonConfigured {
		w.expectReady(s, tokensv1alpha1.ReasonServing)
	} else {
		w.expectReady(s, reason)
	}
}

// A wiring is what an entry needs, and leads to.
type wiring struct {
	entry tokensv1alpha1.Gateway
	// prepare creates what a person has to have.
	prepare func(w *world)
	// made are the objects that the controller makes, in the namespace of the site but for ReferenceGrants.
	made map[string]schema.GroupVersionKind
	// annotated is the Ingress that it annotates.
	annotated string
	// portal is what leads to the portal, and like has the values that it takes from the person's route.
	portal objectName
	like   map[string]any
	// drift is a change of one of the objects, and broken the path that it changes.
	drifting, drift string
	broken          []string
}

// objectName names an object of the site's namespace.
type objectName struct {
	kind schema.GroupVersionKind
	name string
}

var wirings = map[string]wiring{
	"Traefik": {
		entry:    ingressRouteEntry("tokens", "jira"),
		prepare:  func(w *world) { w.ingressRoute("jira") },
		made:     map[string]schema.GroupVersionKind{"tokens": middlewares, "tokens-clear": middlewares, "tokens-portal": middlewares, "its route": ingressRoutes},
		portal:   objectName{ingressRoutes, "tokens-portal"},
		like:     map[string]any{"entryPoints": []any{"internal"}, "tls": map[string]any{"secretName": "jira-tls"}},
		drifting: "tokens", drift: `{"spec":{"forwardAuth":{"trustForwardHeader":true,"authResponseHeaders":["Authorization"]}}}`,
		broken: []string{"spec", "forwardAuth", "trustForwardHeader"},
	},
	"TraefikMiddlewares": {
		entry:    middlewareEntry("tokens"),
		made:     map[string]schema.GroupVersionKind{"tokens": middlewares, "tokens-clear": middlewares, "tokens-portal": middlewares},
		drifting: "tokens-clear", drift: `{"spec":{"headers":{"customRequestHeaders":{"X-Forwarded-User":"root"}}}}`,
		broken: []string{"spec", "headers", "customRequestHeaders", "X-Forwarded-User"},
	},
	"EnvoyGateway": {
		entry:    routeEntry("jira"),
		prepare:  func(w *world) { w.route("jira") },
		made:     map[string]schema.GroupVersionKind{"jira-apitokens": securityPolicies, "its route": routes, "grant": grants},
		portal:   objectName{routes, "jira-apitokens"},
		like:     map[string]any{"parentRefs": parents},
		drifting: "jira-apitokens", drift: `{"spec":{"extAuth":{"failOpen":true}}}`,
		broken: []string{"spec", "extAuth", "failOpen"},
	},
	"Istio": {
		entry:    istioEntry(map[string]tokensv1alpha1.LabelValue{"app": "gateway"}),
		made:     map[string]schema.GroupVersionKind{"main-apitokens": authorizations},
		drifting: "main-apitokens", drift: `{"spec":{"action":"ALLOW","provider":null}}`,
		broken: []string{"spec", "action"},
	},
	"IstioWithARoute": {
		entry:    istioRouteEntry("jira"),
		prepare:  func(w *world) { w.route("jira") },
		made:     map[string]schema.GroupVersionKind{"main-apitokens": authorizations, "its route": routes, "grant": grants},
		portal:   objectName{routes, "jira-apitokens"},
		like:     map[string]any{"parentRefs": parents},
		drifting: "its route", drift: `{"spec":{"hostnames":["elsewhere.example.com"]}}`,
		broken: []string{"spec", "hostnames"},
	},
	"IngressNginx": {
		entry: nginxEntry(), annotated: "jira-rest",
		prepare: func(w *world) { w.ingress(map[string]string{"theirs": "stays"}) },
		made:    map[string]schema.GroupVersionKind{"main-apitokens": ingresses, "apitokens-main": services},
		portal:  objectName{ingresses, "main-apitokens"}, like: map[string]any{"ingressClassName": "internal"},
		drift:  `{"metadata":{"annotations":{"nginx.ingress.kubernetes.io/auth-url":"http://elsewhere"}}}`,
		broken: []string{"metadata", "annotations", "nginx.ingress.kubernetes.io/auth-url"},
	},
	"HAProxyIngress": {
		entry: haproxyEntry(), annotated: "jira-rest",
		prepare: func(w *world) { w.ingress(map[string]string{"theirs": "stays"}) },
		made:    map[string]schema.GroupVersionKind{"main-apitokens-rest": ingresses, "main-apitokens-page": ingresses, "apitokens-main": services},
		portal:  objectName{ingresses, "main-apitokens-page"}, like: map[string]any{"ingressClassName": "internal"},
		drift:  `{"metadata":{"annotations":{"haproxy-ingress.github.io/headers":"X-Original-URL: /"}}}`,
		broken: []string{"metadata", "annotations", "haproxy-ingress.github.io/headers"},
	},
}

// find returns an object that a wiring leads to, nil if there is none.
func (w *world) find(name string, kind schema.GroupVersionKind) *unstructured.Unstructured {
	w.Helper()
	if kind == grants {
		return w.object(kind, kubetest.SystemNamespace, "apitokens."+w.ns+".main")
	}
	switch kind {
	case routes:
		name = "jira-apitokens"
	case ingressRoutes:
		name = "tokens-portal"
	}
	return w.object(kind, w.ns, name)
}

// drifting returns the object that drifts.
func (w *world) drifting(wired wiring) *unstructured.Unstructured {
	w.Helper()
	if wired.annotated != "" {
		return w.object(ingresses, w.ns, wired.annotated)
	}
	return w.find(wired.drifting, wired.made[wired.drifting])
}

func valueAt(t *testing.T, o *unstructured.Unstructured, path []string) any {
	t.Helper()
	value, _, err := unstructured.NestedFieldNoCopy(o.Object, path...)
	if err != nil {
		t.Fatal(err)
	}
	return value
}

func (w *world) all(wired wiring) (all []*unstructured.Unstructured) {
	w.Helper()
	for name, kind := range wired.made {
		if o := w.find(name, kind); o != nil {
			all = append(all, o)
		}
	}
	if wired.annotated != "" {
		all = append(all, w.object(ingresses, w.ns, wired.annotated))
	}
	return all
}

func (w *world) versions(wired wiring) map[string]string {
	w.Helper()
	versions := map[string]string{}
	for _, o := range w.all(wired) {
		versions[o.GetKind()+o.GetName()] = o.GetResourceVersion()
	}
	return versions
}

func (w *world) expectWired(s *tokensv1alpha1.AtlassianSite, wired wiring) {
	w.Helper()
	for name, kind := range wired.made {
		o := w.find(name, kind)
		if o == nil {
			w.Fatalf("there is no %s %s", kind.Kind, name)
		}
		for _, entry := range o.GetManagedFields() {
			if entry.Manager == "apitoken-gateways" && entry.Operation != metav1.ManagedFieldsOperationApply && entry.Subresource == "" {
				w.Errorf("%s %s has fields that no later pass can remove", kind.Kind, name)
			}
		}
	}
	if wired.portal != (objectName{}) {
		portal := w.object(wired.portal.kind, w.ns, wired.portal.name)
		for field, want := range wired.like {
			if got := valueAt(w.T, portal, []string{"spec", field}); !cmp.Equal(got, want) {
				w.Errorf("%s of the way to the portal is %v, that of the product is %v", field, got, want)
			}
		}
	}
	if wired.annotated == "" {
		return
	}
	annotations := w.object(ingresses, w.ns, wired.annotated).GetAnnotations()
	i := slices.IndexFunc(slices.Collect(maps.Keys(annotations)), func(key string) bool { return strings.HasSuffix(key, "/auth-url") })
	if i < 0 || annotations["theirs"] != "stays" {
		w.Errorf("the annotations are %v", annotations)
	}
	for key, value := range annotations {
		if strings.HasSuffix(key, "/auth-url") && value != string(w.authURLs(s).Data["nginx"]) {
			w.Errorf("%s is not the auth URL of the Secret", key)
		}
	}
}

func (w *world) expectUnwired(wired wiring) {
	w.Helper()
	for _, o := range w.all(wired) {
		if o.GetKind() != "Ingress" || o.GetName() != wired.annotated {
			w.Errorf("%s %s is there", o.GetKind(), o.GetName())
			continue
		}
		if len(o.GetLabels()) > 0 || o.GetAnnotations()["theirs"] != "stays" || slices.ContainsFunc(slices.Collect(maps.Keys(o.GetAnnotations())), func(key string) bool {
			return strings.Contains(key, "ingress")
		}) {
			w.Errorf("%s has labels %v and annotations %v", o.GetName(), o.GetLabels(), o.GetAnnotations())
		}
	}
}
