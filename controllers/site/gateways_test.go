package site_test

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	apimeta "k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/client/interceptor"

	tokensv1alpha1 "apitokens.dev/operator/api/v1alpha1"
	"apitokens.dev/operator/hack/lib/gatewaytest"
	"apitokens.dev/operator/hack/lib/kubetest"
	"apitokens.dev/operator/internal/authurl"
)

// What an entry needs is made, kept, mended, and removed with the entry and with the site.
func TestGateways(t *testing.T) {
	for name, wired := range wirings {
		t.Run(name, func(t *testing.T) {
			w := gatewayWorld(t, gatewaytest.RightsFiles()...)
			if wired.prepare != nil {
				wired.prepare(w)
			}
			s := w.site("main", gateways(wired.entry))
			w.reconcile(s)
			w.expectGateways(s, tokensv1alpha1.ReasonConfigured)
			w.expectWired(s, wired)
			versions := w.versions(wired)
			w.expectIdle(s)
			if diff := cmp.Diff(versions, w.versions(wired)); diff != "" {
				t.Errorf("an idle pass wrote: %s", diff)
			}

			before := valueAt(t, w.drifting(wired), wired.broken)
			w.edit(w.drifting(wired), wired.drift)
			w.edit(w.drifting(wired), `{"metadata":{"annotations":{"more":"of theirs"}}}`)
			w.reconcile(s)
			if now := valueAt(t, w.drifting(wired), wired.broken); !cmp.Equal(now, before) {
				t.Errorf("the drift was not mended: %v, want %v", now, before)
			}
			if w.drifting(wired).GetAnnotations()["more"] != "of theirs" {
				t.Error("an annotation of a person is gone")
			}
			w.expectGateways(s, tokensv1alpha1.ReasonConfigured)

			for name, kind := range wired.made {
				w.remove(w.find(name, kind))
			}
			w.reconcile(s)
			w.expectWired(s, wired)

			w.change(s, gateways())
			w.reconcile(s)
			w.expectUnwired(wired)
			if c := apimeta.FindStatusCondition(s.Status.Conditions, tokensv1alpha1.ConditionGatewaysConfigured); c != nil {
				t.Errorf("there is the condition %+v", c)
			}
			w.expectIdle(s)

			w.change(s, gateways(wired.entry))
			w.reconcile(s)
			w.expectWired(s, wired)
			w.remove(s.DeepCopy())
			if _, err := w.pass(w.reconciler, s); err != nil {
				t.Fatal(err)
			}
			w.expectUnwired(wired)
		})
	}
}

// An entry that changes takes what it no longer names along: a label that stayed in a selector would open the door.
func TestChangedEntry(t *testing.T) {
	w := gatewayWorld(t, gatewaytest.RightsFiles()...)
	s := w.site("main", gateways(istioEntry(map[string]tokensv1alpha1.LabelValue{"app": "gateway", "old": "label"})))
	w.reconcile(s)
	w.change(s, gateways(istioEntry(map[string]tokensv1alpha1.LabelValue{"app": "other"})))
	w.reconcile(s)
	got := valueAt(t, w.object(authorizations, w.ns, "main-apitokens"), []string{"spec", "selector", "matchLabels"})
	if diff := cmp.Diff(map[string]any{"app": "other"}, got); diff != "" {
		t.Errorf("selector (-want +got): %s", diff)
	}
	w.change(s, gateways(middlewareEntry("first")))
	w.reconcile(s)
	w.change(s, gateways(middlewareEntry("second")))
	w.reconcile(s)
	w.expectGateways(s, tokensv1alpha1.ReasonConfigured, "Middleware 'second'", "Middleware 'second-clear'")
	if w.object(authorizations, w.ns, "main-apitokens") != nil || w.object(middlewares, w.ns, "first") != nil || w.object(middlewares, w.ns, "second-portal") == nil {
		t.Error("the objects are not those of the entry")
	}
	w.change(s, baseURL("https://main."+w.ns+".example/other"))
	w.reconcile(s)
	portal := valueAt(t, w.object(middlewares, w.ns, "second-portal"), []string{"spec"}).(map[string]any)
	if len(portal) != 1 || !strings.Contains(fmt.Sprint(portal), "/other") {
		t.Errorf("the way to the portal is %v", portal)
	}
}

// New caller keys reach the gateways by themselves. The keys before work until then.
func TestGatewaysGetNewKeys(t *testing.T) {
	w := gatewayWorld(t, gatewaytest.RightsFiles()...)
	w.ingress(nil)
	s := w.site("main", gateways(middlewareEntry("tokens"), nginxEntry()))
	w.reconcile(s)
	first := valueAt(t, w.object(middlewares, w.ns, "tokens"), []string{"spec", "forwardAuth", "address"})
	w.change(s, func(s *tokensv1alpha1.AtlassianSite) {
		s.Spec.CallerVerification.RotationRequestedTime = metav1.NewTime(w.clock.Now().Add(time.Minute))
	})
	w.clock.SetTime(w.clock.Now().Add(2 * time.Minute))
	w.reconcile(s)
	keys, err := w.storedKeys(s)
	if err != nil {
		t.Fatal(err)
	}
	now := valueAt(t, w.object(middlewares, w.ns, "tokens"), []string{"spec", "forwardAuth", "address"})
	if now == first || now != webhookURL+keys.Address(authurl.Forward).String() {
		t.Error("the Middleware does not have the new key")
	}
	if got := w.object(ingresses, w.ns, "jira-rest").GetAnnotations()["nginx.ingress.kubernetes.io/auth-url"]; got != webhookURL+keys.Address(authurl.Nginx).String() {
		t.Error("the Ingress does not have the new key")
	}
}

// A gateway without CRDs is a condition, and starts to work when they are there, in the same process.
func TestGatewayNotInstalled(t *testing.T) {
	w := gatewayWorld(t, gatewaytest.RightsFiles()...)
	for name, test := range map[string]struct {
		wired wiring
		crd   string
	}{
		"Traefik": {wirings["Traefik"], "middlewares.traefik.io"},
		// Other kinds of the group are there.
		"EnvoyGateway": {wirings["EnvoyGateway"], "securitypolicies.gateway.envoyproxy.io"},
		"Istio":        {wirings["Istio"], "authorizationpolicies.security.istio.io"},
	} {
		t.Run(name, func(t *testing.T) {
			s := w.site(strings.ToLower(name), gateways(test.wired.entry))
			if test.wired.prepare != nil {
				test.wired.prepare(w)
			}
			crd := &unstructured.Unstructured{}
			crd.SetGroupVersionKind(schema.GroupVersionKind{Group: "apiextensions.k8s.io", Version: "v1", Kind: "CustomResourceDefinition"})
			crd.SetName(test.crd)
			w.remove(crd)
			kubetest.Eventually(t, func() error {
				if err := env.Admin.Get(t.Context(), client.ObjectKeyFromObject(crd), crd); !apierrors.IsNotFound(err) {
					return fmt.Errorf("the CRD is there: %w", err)
				}
				return nil
			})
			kubetest.Eventually(t, func() error { // the API server stops serving it some time later
				if _, err := w.pass(w.reconciler, s); err != nil {
					return err
				}
				c := apimeta.FindStatusCondition(s.Status.Conditions, tokensv1alpha1.ConditionGatewaysConfigured)
				if c == nil || c.Reason != tokensv1alpha1.ReasonGatewayNotInstalled {
					return fmt.Errorf("the condition is %+v", c)
				}
				return nil
			})
			w.expectGateways(s, tokensv1alpha1.ReasonGatewayNotInstalled, "`gateways[0]` (", "with its CRDs: the operator tries again every minute.")
			if apimeta.FindStatusCondition(s.Status.Conditions, tokensv1alpha1.ConditionStalled) != nil {
				t.Error("the site is stalled, and the CRDs may still come")
			}
			gatewaytest.Install(t, env.Admin, gatewaytest.GatewayAPI, gatewaytest.Traefik, gatewaytest.EnvoyGateway, gatewaytest.Istio)
			kubetest.Eventually(t, func() error {
				if _, err := w.pass(w.reconciler, s); err != nil {
					return err
				}
				if c := apimeta.FindStatusCondition(s.Status.Conditions, tokensv1alpha1.ConditionGatewaysConfigured); c == nil || c.Status != metav1.ConditionTrue {
					return fmt.Errorf("the condition is %+v", c)
				}
				return nil
			})
			// With the CRDs gone for good, a site can be removed all the same.
			w.remove(s.DeepCopy())
			if _, err := w.pass(w.reconciler, s); err != nil {
				t.Error(err)
			}
		})
	}
}

// Missing rights are a condition in the API server's words. They count as soon as they are there.
func TestGatewayRightsMissing(t *testing.T) {
	for name, wired := range wirings {
		t.Run(name, func(t *testing.T) {
			w := gatewayWorld(t)
			if wired.prepare != nil {
				wired.prepare(w)
			}
			s := w.site("main", gateways(wired.entry))
			w.reconcile(s)
			w.expectGateways(s, tokensv1alpha1.ReasonWriteRefused, "`gateways[0]` (", "The API server refuses a request of the operator",
				`cannot get resource`, kubetest.Controller, "those of the ClusterRole 'apitoken-gateway-")
			w.expectIdle(s)

			w.allow(gatewaytest.RightsFiles()...)
			w.reconcile(s)
			w.expectGateways(s, tokensv1alpha1.ReasonConfigured)
			w.expectWired(s, wired)

			w.allow()
			w.change(s, gateways())
			w.reconcile(s)
			w.expectGateways(s, tokensv1alpha1.ReasonWriteRefused, "is no longer asked for. The API server refuses a request of the operator")
			w.remove(s.DeepCopy())
			if _, err := w.pass(w.reconciler, s); err != nil {
				t.Fatal(err)
			}
			w.expectEvent(tokensv1alpha1.ReasonWriteRefused, "cannot get resource")
			w.allow(gatewaytest.RightsFiles()...)
			if _, err := w.pass(w.reconciler, s); err != nil {
				t.Fatal(err)
			}
			w.expectUnwired(wired)
		})
	}
}

// Two sites wire objects in one namespace. Of two that want the same, the first keeps it.
func TestGatewaysOfTwoSites(t *testing.T) {
	w := gatewayWorld(t, gatewaytest.RightsFiles()...)
	w.route("jira")
	w.route("wiki")
	w.ingress(nil)
	first := w.site("first", gateways(middlewareEntry("first"), routeEntry("jira"), nginxEntry()))
	second := w.site("second", gateways(middlewareEntry("second"), routeEntry("wiki"), istioEntry(map[string]tokensv1alpha1.LabelValue{"app": "gateway"})))
	w.reconcile(first)
	w.reconcile(second)
	w.expectGateways(first, tokensv1alpha1.ReasonConfigured)
	w.expectGateways(second, tokensv1alpha1.ReasonConfigured)

	for name, entry := range map[string]tokensv1alpha1.Gateway{
		"Middleware 'first-clear'": middlewareEntry("first"), "SecurityPolicy 'jira-apitokens'": routeEntry("jira"), "Ingress 'jira-rest'": nginxEntry(),
	} {
		w.change(second, gateways(entry, middlewareEntry("second")))
		w.reconcile(second)
		w.expectGateways(second, tokensv1alpha1.ReasonGatewayConflict, "`gateways[0]`", name)
		if w.object(middlewares, w.ns, "second") == nil {
			t.Error("the other entry waits")
		}
		w.reconcile(first)
		w.expectGateways(first, tokensv1alpha1.ReasonConfigured)
	}
	w.remove(second.DeepCopy())
	if _, err := w.pass(w.reconciler, second); err != nil {
		t.Fatal(err)
	}
	w.expectIdle(first)
	for _, kind := range []struct {
		kind schema.GroupVersionKind
		name string
	}{{middlewares, "first"}, {securityPolicies, "jira-apitokens"}, {routes, "jira-apitokens"}, {ingresses, "jira-rest"}} {
		if o := w.object(kind.kind, w.ns, kind.name); o == nil || o.GetLabels()["apitokens.dev/site"] != "first" {
			t.Errorf("%s %s is not the first site's: %v", kind.kind.Kind, kind.name, o)
		}
	}
	if w.object(grants, kubetest.SystemNamespace, "apitokens."+w.ns+".second") != nil || w.object(grants, kubetest.SystemNamespace, "apitokens."+w.ns+".first") == nil {
		t.Error("the grants are not those of the first site alone")
	}
}

// What is there already and is not the operator's is left alone, and stays when the site goes.
func TestForeignGatewayObjects(t *testing.T) {
	const authURL = "nginx.ingress.kubernetes.io/auth-url"
	for name, test := range map[string]struct {
		wired   wiring
		foreign func(w *world) *unstructured.Unstructured
		says    string
		yield   string // a change with which the person makes room
	}{
		"a Middleware": {wirings["Traefik"], func(w *world) *unstructured.Unstructured {
			return w.userObject(middlewares, "tokens", map[string]any{"stripPrefix": map[string]any{"prefixes": []any{"/x"}}}, nil)
		}, "Middleware 'tokens' exists, and the operator did not make it", ""},
		"a SecurityPolicy": {wirings["EnvoyGateway"], func(w *world) *unstructured.Unstructured {
			return w.userObject(securityPolicies, "jira-apitokens", map[string]any{"targetRefs": []any{map[string]any{
				"group": "gateway.networking.k8s.io", "kind": "HTTPRoute", "name": "other"}}}, nil)
		}, "SecurityPolicy 'jira-apitokens' exists, and the operator did not make it", ""},
		"an IngressRoute": {wirings["Traefik"], func(w *world) *unstructured.Unstructured {
			return w.userObject(ingressRoutes, "tokens-portal", map[string]any{"routes": []any{map[string]any{"match": "Host(`x`)", "kind": "Rule"}}}, nil)
		}, "IngressRoute 'tokens-portal' exists, and the operator did not make it", ""},
		"an HTTPRoute": {wirings["IstioWithARoute"], func(w *world) *unstructured.Unstructured {
			return w.userObject(routes, "jira-apitokens", map[string]any{}, nil)
		}, "HTTPRoute 'jira-apitokens' exists, and the operator did not make it", ""},
		"an Ingress": {wirings["IngressNginx"], func(w *world) *unstructured.Unstructured {
			return w.userObject(ingresses, "main-apitokens", map[string]any{"defaultBackend": map[string]any{
				"service": map[string]any{"name": "x", "port": map[string]any{"number": int64(1)}}}}, nil)
		}, "Ingress 'main-apitokens' exists, and the operator did not make it", ""},
		"a Service": {wirings["HAProxyIngress"], func(w *world) *unstructured.Unstructured {
			return w.userObject(services, "apitokens-main", map[string]any{"ports": []any{map[string]any{"port": int64(1)}}}, nil)
		}, "Service 'apitokens-main' exists, and the operator did not make it", ""},
		"an AuthorizationPolicy": {wirings["Istio"], func(w *world) *unstructured.Unstructured {
			return w.userObject(authorizations, "main-apitokens", map[string]any{}, nil)
		}, "AuthorizationPolicy 'main-apitokens' exists, and the operator did not make it", ""},
		"an annotation": {wirings["IngressNginx"], func(w *world) *unstructured.Unstructured {
			return w.ingress(map[string]string{authURL: "http://somebody.else", "theirs": "stays"})
		}, `conflict with "person"`, `{"metadata":{"annotations":{"` + authURL + `":null}}}`},
		"an annotation, beside the labels of what the operator writes": {wirings["IngressNginx"], func(w *world) *unstructured.Unstructured {
			o := w.ingress(map[string]string{authURL: "http://somebody.else", "theirs": "stays"})
			w.edit(o, `{"metadata":{"labels":{"apitokens.dev/site":"main","apitokens.dev/site-namespace":"`+w.ns+`"}}}`)
			return o
		}, `conflict with "person"`, `{"metadata":{"annotations":{"` + authURL + `":null}}}`},
	} {
		t.Run(name, func(t *testing.T) {
			w := gatewayWorld(t, gatewaytest.RightsFiles()...)
			foreign := test.foreign(w)
			if test.wired.prepare != nil && foreign.GetName() != test.wired.annotated {
				test.wired.prepare(w)
			}
			s := w.site("main", gateways(test.wired.entry))
			w.reconcile(s)
			w.expectGateways(s, tokensv1alpha1.ReasonGatewayConflict, test.says, "left alone")
			w.expectIdle(s)
			gone := w.site("other", gateways(test.wired.entry))
			w.reconcile(gone)
			w.remove(gone.DeepCopy())
			if _, err := w.pass(w.reconciler, gone); err != nil {
				t.Fatal(err)
			}
			if now := w.object(foreign.GroupVersionKind(), w.ns, foreign.GetName()); now == nil || now.GetResourceVersion() != foreign.GetResourceVersion() {
				t.Fatal("the foreign object was touched")
			}
			if test.yield == "" {
				w.remove(foreign)
			} else {
				w.edit(foreign, test.yield)
			}
			w.reconcile(s)
			w.expectGateways(s, tokensv1alpha1.ReasonConfigured)
			w.expectWired(s, test.wired)
		})
	}
}

// Annotations that a person pasted before are taken over without a gap, and stay theirs.
func TestPastedAnnotations(t *testing.T) {
	w := gatewayWorld(t, gatewaytest.RightsFiles()...)
	s := w.site("main")
	w.reconcile(s)
	pasted := map[string]string{"nginx.ingress.kubernetes.io/auth-url": string(w.authURLs(s).Data["nginx"])}
	w.ingress(pasted)
	w.change(s, gateways(nginxEntry()))
	w.reconcile(s)
	w.expectGateways(s, tokensv1alpha1.ReasonConfigured, "Ingress 'jira-rest'")
	w.change(s, gateways())
	w.reconcile(s)
	if diff := cmp.Diff(pasted, w.object(ingresses, w.ns, "jira-rest").GetAnnotations()); diff != "" {
		t.Errorf("annotations (-pasted +now): %s", diff)
	}
}

// Labels that somebody takes off an Ingress, or changes, keep no annotation of the operator there, and take none of another site away.
func TestIngressWithoutItsLabels(t *testing.T) {
	const none = `{"metadata":{"labels":{"apitokens.dev/site":null,"apitokens.dev/site-namespace":null}}}`
	for name, wired := range map[string]wiring{"IngressNginx": wirings["IngressNginx"], "HAProxyIngress": wirings["HAProxyIngress"]} {
		for ending, end := range map[string]func(*world, *tokensv1alpha1.AtlassianSite){
			"the entry goes": func(w *world, s *tokensv1alpha1.AtlassianSite) {
				w.change(s, gateways())
				w.reconcile(s)
			},
			"the site goes": func(w *world, s *tokensv1alpha1.AtlassianSite) {
				w.remove(s.DeepCopy())
				if _, err := w.pass(w.reconciler, s); err != nil {
					w.Fatal(err)
				}
			},
		} {
			t.Run(name+", "+ending, func(t *testing.T) {
				w := gatewayWorld(t, gatewaytest.RightsFiles()...)
				wired.prepare(w)
				s := w.site("main", gateways(wired.entry))
				w.reconcile(s)
				w.edit(w.drifting(wired), none)
				w.reconcile(s)
				w.expectGateways(s, tokensv1alpha1.ReasonConfigured)
				if w.drifting(wired).GetLabels()["apitokens.dev/site"] != "main" {
					t.Error("the labels were not mended")
				}

				w.edit(w.drifting(wired), `{"metadata":{"labels":{"apitokens.dev/site":"other"}}}`)
				w.reconcile(s)
				w.expectGateways(s, tokensv1alpha1.ReasonGatewayConflict, "as its labels say: '"+w.ns+"/other'", "remove the labels `apitokens.dev/site-namespace` and")
				w.edit(w.drifting(wired), none)
				end(w, s)
				w.expectUnwired(wired)
			})
			for kind, labels := range map[string]string{
				"none": none, "those of the first": `{"metadata":{"labels":{"apitokens.dev/site":"main"}}}`,
			} {
				t.Run(name+" of two sites with the labels "+kind+", "+ending, func(t *testing.T) {
					w := gatewayWorld(t, gatewaytest.RightsFiles()...)
					wired.prepare(w)
					first, second := w.site("main", gateways(wired.entry)), w.site("second", gateways(wired.entry))
					w.reconcile(first)
					w.remove(w.drifting(wired))
					wired.prepare(w)
					w.reconcile(second)
					w.expectGateways(second, tokensv1alpha1.ReasonConfigured)
					w.edit(w.drifting(wired), labels)
					before := w.drifting(wired).GetAnnotations()
					end(w, first)
					if diff := cmp.Diff(before, w.drifting(wired).GetAnnotations()); diff != "" {
						t.Errorf("annotations (-before +after): %s", diff)
					}
				})
			}
		}
	}
}

// An entry that cannot be wired keeps the way to the portal from no other entry of its type.
func TestFirstEntryOfATypeHasAProblem(t *testing.T) {
	const authURL = "nginx.ingress.kubernetes.io/auth-url"
	other := nginxEntry()
	other.IngressNginx.IngressName = "first"
	class := func(w *world) any {
		if portal := w.object(ingresses, w.ns, "main-apitokens"); portal != nil {
			return valueAt(w.T, portal, []string{"spec", "ingressClassName"})
		}
		return nil
	}
	first := func(w *world, annotations map[string]string) {
		w.userObject(ingresses, "first", map[string]any{"ingressClassName": "of-the-first", "defaultBackend": map[string]any{
			"service": map[string]any{"name": "jira", "port": map[string]any{"number": int64(8080)}}}}, annotations)
	}
	for name, test := range map[string]struct {
		prepare func(*world)
		reason  string
		mend    func(*world)
	}{
		"its Ingress is missing": {func(*world) {}, tokensv1alpha1.ReasonGatewayRouteMissing, func(w *world) { first(w, nil) }},
		"its Ingress has annotations of somebody else": {
			func(w *world) { first(w, map[string]string{authURL: "http://somebody.else"}) }, tokensv1alpha1.ReasonGatewayConflict,
			func(w *world) {
				w.edit(w.object(ingresses, w.ns, "first"), `{"metadata":{"annotations":{"`+authURL+`":null}}}`)
			},
		},
	} {
		t.Run(name, func(t *testing.T) {
			w := gatewayWorld(t, gatewaytest.RightsFiles()...)
			w.ingress(nil)
			test.prepare(w)
			s := w.site("main", gateways(other, nginxEntry()))
			w.reconcile(s)
			w.expectGateways(s, test.reason, "`gateways[0]`")
			if got := class(w); got != "internal" {
				t.Errorf("the way to the portal has the class %v, want that of the second Ingress", got)
			}
			w.expectIdle(s)
			test.mend(w)
			w.reconcile(s)
			w.expectGateways(s, tokensv1alpha1.ReasonConfigured, "Ingress 'first'", "Ingress 'jira-rest'", "Ingress 'main-apitokens'")
			if got := class(w); got != "of-the-first" {
				t.Errorf("the way to the portal has the class %v, want that of the first Ingress", got)
			}
			w.expectIdle(s)
		})
	}
}

// A route that is missing, or that defeats the question, is a condition.
func TestGatewayRoutes(t *testing.T) {
	w := gatewayWorld(t, gatewaytest.RightsFiles()...)
	s := w.site("main", gateways(nginxEntry(), routeEntry("jira")))
	w.reconcile(s)
	w.expectGateways(s, tokensv1alpha1.ReasonGatewayRouteMissing,
		"`gateways[0]` (ingress-nginx): there is no Ingress 'jira-rest' in this namespace. Create it, or correct `ingressName`.",
		"`gateways[1]` (Envoy Gateway): there is no HTTPRoute 'jira' in this namespace. Create it, or correct `httpRouteName`.")
	w.ingress(map[string]string{"nginx.ingress.kubernetes.io/auth-cache-key": "$http_authorization"})
	route := w.route("jira")
	w.reconcile(s)
	w.expectGateways(s, tokensv1alpha1.ReasonGatewayUnsafe, "Ingress 'jira-rest' has the annotation `nginx.ingress.kubernetes.io/auth-cache-key`: a deleted token would live on")
	w.edit(w.object(ingresses, w.ns, "jira-rest"), `{"metadata":{"annotations":{"nginx.ingress.kubernetes.io/auth-cache-key":null}}}`)
	w.reconcile(s)
	w.expectGateways(s, tokensv1alpha1.ReasonConfigured)

	// A route that goes takes nothing along: the policy refuses until it is back.
	w.remove(route)
	w.reconcile(s)
	w.expectGateways(s, tokensv1alpha1.ReasonGatewayRouteMissing, "`gateways[1]`")
	if w.object(securityPolicies, w.ns, "jira-apitokens") == nil {
		t.Error("the policy is gone")
	}
}

// A policy that its gateway refuses protects nothing, and the condition says so.
func TestGatewayNotAccepted(t *testing.T) {
	w := gatewayWorld(t, gatewaytest.RightsFiles()...)
	w.route("jira")
	s := w.site("main", gateways(routeEntry("jira")))
	w.reconcile(s)
	policy := w.object(securityPolicies, w.ns, "jira-apitokens")
	accept := func(status metav1.ConditionStatus, message string) {
		policy = w.object(securityPolicies, w.ns, "jira-apitokens")
		policy.Object["status"] = map[string]any{"ancestors": []any{map[string]any{
			"ancestorRef": map[string]any{"name": "eg"}, "controllerName": "gateway.envoyproxy.io/gatewayclass-controller",
			"conditions": []any{map[string]any{"type": "Accepted", "status": string(status), "reason": "Conflicted", "message": message,
				"observedGeneration": policy.GetGeneration(), "lastTransitionTime": "2026-11-26T12:00:00Z"}},
		}}}
		if err := env.Admin.Status().Update(t.Context(), policy); err != nil {
			t.Fatal(err)
		}
	}
	accept(metav1.ConditionFalse, "Unable to target HTTPRoute jira, another SecurityPolicy has already attached to it.")
	w.reconcile(s)
	w.expectGateways(s, tokensv1alpha1.ReasonGatewayNotAccepted,
		"the gateway does not accept SecurityPolicy 'jira-apitokens': Unable to target HTTPRoute jira, another SecurityPolicy has already attached to it.")
	// An answer about an earlier form of the policy does not count.
	w.edit(policy, `{"spec":{"extAuth":{"timeout":"3s"}}}`)
	w.reconcile(s)
	w.expectGateways(s, tokensv1alpha1.ReasonConfigured)
	accept(metav1.ConditionTrue, "Policy has been accepted.")
	w.reconcile(s)
	w.expectGateways(s, tokensv1alpha1.ReasonConfigured)
}

// Without the objects, requests would pass unasked: a site that is not served keeps them.
func TestGatewaysOfASiteThatIsNotServed(t *testing.T) {
	w := gatewayWorld(t, gatewaytest.RightsFiles()...)
	s := w.site("main", gateways(middlewareEntry("tokens")))
	w.reconcile(s)
	w.change(s, upstreamURL("https://jira."+w.ns+".example"), gateways())
	w.reconcile(s)
	w.expectReady(s, tokensv1alpha1.ReasonUpstreamNotAllowed)
	if w.object(middlewares, w.ns, "tokens") == nil {
		t.Error("the Middleware is gone")
	}
	w.change(s, upstreamURL("http://jira."+w.ns+".svc:8080/jira"))
	w.reconcile(s)
	if w.object(middlewares, w.ns, "tokens") != nil {
		t.Error("the Middleware is there")
	}
}

// An answer of the API server, or of an admission webhook, may quote a caller key. It is nowhere to be seen.
func TestGatewayRefusalsHaveNoKey(t *testing.T) {
	for name, refuse := range map[string]func(string) error{
		"for good": func(text string) error {
			return apierrors.NewForbidden(schema.GroupResource{Group: "traefik.io", Resource: "middlewares"}, "tokens", errors.New(text))
		},
		"for now": errors.New,
	} {
		t.Run(name, func(t *testing.T) {
			w := gatewayWorld(t, gatewaytest.RightsFiles()...)
			s := w.site("main")
			w.reconcile(s)
			w.change(s, gateways(middlewareEntry("tokens")))
			refusing := *w.reconciler
			refusing.Client = interceptor.NewClient(w.api, interceptor.Funcs{
				Create: func(ctx context.Context, c client.WithWatch, o client.Object, opts ...client.CreateOption) error {
					if o.GetName() != "tokens" {
						return c.Create(ctx, o, opts...)
					}
					text, err := o.(*unstructured.Unstructured).MarshalJSON()
					return errors.Join(err, refuse(string(text)))
				},
			})
			_, err := w.pass(&refusing, s)
			if (err == nil) != (name == "for good") {
				t.Errorf("the pass ended with %v", err)
			}
			if name == "for good" {
				w.expectGateways(s, tokensv1alpha1.ReasonWriteRefused, "(removed)")
			}
			w.emitted()
		})
	}
}

// A change of what the controller wrote is mended at once.
func TestGatewaysAreWatched(t *testing.T) {
	w := gatewayWorld(t, gatewaytest.RightsFiles()...)
	w.ingress(nil)
	w.manage()
	s := w.site("main", gateways(middlewareEntry("tokens"), nginxEntry()))
	w.awaitReady(s, tokensv1alpha1.ReasonServing)
	mended := func(kind schema.GroupVersionKind, name, change string, path ...string) {
		t.Helper()
		before := valueAt(t, w.object(kind, w.ns, name), path)
		w.edit(w.object(kind, w.ns, name), change)
		kubetest.Eventually(t, func() error {
			if now := valueAt(t, w.object(kind, w.ns, name), path); !cmp.Equal(now, before) {
				return fmt.Errorf("%s is %v", name, now)
			}
			return nil
		})
	}
	mended(middlewares, "tokens", `{"spec":{"forwardAuth":{"trustForwardHeader":true}}}`, "spec", "forwardAuth", "trustForwardHeader")
	mended(ingresses, "jira-rest", `{"metadata":{"annotations":{"nginx.ingress.kubernetes.io/auth-url":"http://elsewhere"}}}`,
		"metadata", "annotations", "nginx.ingress.kubernetes.io/auth-url")
	mended(ingresses, "jira-rest", `{"metadata":{"labels":null}}`, "metadata", "labels")
	w.remove(w.object(middlewares, w.ns, "tokens-clear"))
	kubetest.Eventually(t, func() error {
		if w.object(middlewares, w.ns, "tokens-clear") == nil {
			return errors.New("the Middleware was not made again")
		}
		return nil
	})
}
