package gateways_test

import (
	"context"
	"io"
	"net"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"

	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	apimeta "k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/client-go/tools/events"
	"k8s.io/utils/clock"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/client"

	tokensv1alpha1 "apitokens.dev/operator/api/v1alpha1"
	controller "apitokens.dev/operator/controllers/site"
	held "apitokens.dev/operator/controllers/site/credential"
	"apitokens.dev/operator/hack/lib/authority"
	"apitokens.dev/operator/hack/lib/gatewaytest"
	"apitokens.dev/operator/hack/lib/kubetest"
	"apitokens.dev/operator/internal/atlassian"
	"apitokens.dev/operator/internal/authurl"
)

// env is an API server for gateways that read their configuration from one. One gateway at a time does: all worlds have the same
// site.
var env kubetest.Env

// startTraefikInKubernetes starts Traefik with its provider for CRDs. The controller makes the Middlewares and the route to the
// portal, from `spec.gateways`. The product's own route is that of the sample.
func startTraefikInKubernetes(t *testing.T, w *world, edits ...string) string {
	t.Helper()
	env.Required(t)
	listen, dir := free(t), t.TempDir()
	gatewaytest.Install(t, env.Admin, gatewaytest.Traefik)
	asController := env.Client(t, kubetest.Controller, "system:serviceaccounts", "system:serviceaccounts:"+kubetest.SystemNamespace)
	gatewaytest.Allow(t, env.Admin, asController, "traefik")
	put(t, &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: site.Namespace}})
	lead(t, site.Namespace, "jira", w.productAt)
	lead(t, kubetest.SystemNamespace, "apitoken-portal", w.portalAt)
	sample := write(t, dir, "jira.yaml", edited(t, sample(t, "gateways/traefik/jira.yaml"), edits))
	for _, o := range gatewaytest.Read(t, sample, "[websecure]", "[web]", "jira.example.com", "127.0.0.1") {
		if o.GetKind() == "IngressRoute" && o.GetName() == "jira" {
			put(t, o)
		}
	}
	w.reconcile(t, asController, listen)
	kubeconfig := filepath.Join(dir, "kubeconfig")
	if err := env.WriteKubeconfig(kubeconfig, "traefik", "system:masters"); err != nil {
		t.Fatal(err)
	}
	runWith(t, []string{"KUBECONFIG=" + kubeconfig}, listen, "traefik", "--entryPoints.web.address="+listen, "--entryPoints.web.http.aliasHeadersStrategy=delete",
		"--log.level=ERROR", "--global.checkNewVersion=false", "--global.sendAnonymousUsage=false",
		"--providers.kubernetesCRD=true", "--providers.kubernetesCRD.allowCrossNamespace=true")
	waitForRoutes(t, w, listen)
	return listen
}

// reconcile has the controller make a pass over the site, whose gateway is Traefik, with the caller keys of the world.
func (w *world) reconcile(t *testing.T, c client.Client, gateway string) {
	t.Helper()
	keys := authurl.NewKeys(site.Namespace, site.Name, clock.RealClock{}.Now())
	for _, contract := range authurl.Contracts() {
		keys.Keys[contract] = []string{callerKey}
	}
	encoded, err := keys.Encode()
	if err != nil {
		t.Fatal(err)
	}
	stored := &corev1.Secret{
		ObjectMeta: metav1.ObjectMeta{Namespace: kubetest.CredentialsNamespace, Name: keys.SecretName()},
		Type:       authurl.KeysSecretType, Data: map[string][]byte{authurl.KeysDataKey: encoded},
	}
	if err := c.Create(t.Context(), stored); err != nil && !apierrors.IsAlreadyExists(err) {
		t.Fatal(err)
	}
	s := kubetest.Site(site.Namespace, site.Name, func(s *tokensv1alpha1.AtlassianSite) {
		s.Spec.BaseURL, s.Spec.UpstreamURL = "http://"+gateway+w.contextPath, "http://"+w.productAt+w.contextPath
		s.Spec.Gateways = []tokensv1alpha1.Gateway{{Type: tokensv1alpha1.GatewayTraefik, Traefik: tokensv1alpha1.TraefikGateway{
			MiddlewareName: "main-apitokens", IngressRouteName: "jira",
		}}}
		if w.certificate != nil {
			w.present(t, s)
		}
	})
	put(t, s)
	r := &controller.Reconciler{
		Client: c, Live: c, Events: events.NewFakeRecorder(100), Clock: clock.RealClock{}, Product: atlassian.NewClient(), Memory: held.NewMemory(),
		Namespace: kubetest.SystemNamespace, CredentialsNamespace: kubetest.CredentialsNamespace, IntakeNamespace: kubetest.IntakeNamespace,
		WebhookURL: "http://" + w.webhookAt, PortalURL: "http://apitoken-portal.apitoken-system.svc:8080", AllowExternalUpstreams: true,
	}
	if w.authority != "" {
		w.secure(t, r)
	}
	if _, err := r.Reconcile(t.Context(), ctrl.Request{NamespacedName: client.ObjectKeyFromObject(s)}); err != nil {
		t.Fatal(err)
	}
	if err := env.Admin.Get(t.Context(), client.ObjectKeyFromObject(s), s); err != nil {
		t.Fatal(err)
	}
	if c := apimeta.FindStatusCondition(s.Status.Conditions, tokensv1alpha1.ConditionGatewaysConfigured); c == nil || c.Status != metav1.ConditionTrue {
		t.Fatalf("the site has %+v", s.Status.Conditions)
	}
}

// present has a site want client certificates, and its gateway present that of the world. Whether the webhook accepts it is a matter
// of the world's index.
func (w *world) present(t *testing.T, s *tokensv1alpha1.AtlassianSite) {
	t.Helper()
	certificate, key, err := authority.EncodePEM(*w.certificate)
	if err != nil {
		t.Fatal(err)
	}
	authorities := must(os.ReadFile(w.authority))
	s.Spec.Gateways[0].Traefik.ClientCertificateSecretName = "apitoken-client"
	put(t, &corev1.Secret{
		ObjectMeta: metav1.ObjectMeta{Namespace: site.Namespace, Name: "apitoken-client"}, Type: corev1.SecretTypeTLS,
		Data: map[string][]byte{corev1.TLSCertKey: certificate, corev1.TLSPrivateKeyKey: key},
	})
	put(t, &corev1.Secret{ObjectMeta: metav1.ObjectMeta{Namespace: site.Namespace, Name: "gateway-ca"}, Data: map[string][]byte{"ca.crt": authorities}})
	s.Spec.CallerVerification = tokensv1alpha1.CallerVerification{
		Type: tokensv1alpha1.CallerVerificationClientCertificate,
		ClientCertificate: tokensv1alpha1.ClientCertificateVerification{
			AuthoritiesRef: tokensv1alpha1.CallerAuthoritiesReference{Name: "gateway-ca"}, Names: []string{gatewayName},
		},
	}
}

// secure gives a controller https URLs, and the authority of webhook and portal beside them. The site has HTTP URLs of other worlds,
// which it would keep.
func (w *world) secure(t *testing.T, r *controller.Reconciler) {
	t.Helper()
	ca, err := os.ReadFile(w.authority)
	if err != nil {
		t.Fatal(err)
	}
	put(t, &corev1.Secret{ObjectMeta: metav1.ObjectMeta{Namespace: kubetest.SystemNamespace, Name: "gateways-tls"}, Data: map[string][]byte{"ca.crt": ca}})
	earlier := &corev1.Secret{ObjectMeta: metav1.ObjectMeta{Namespace: site.Namespace, Name: site.Name + "-auth-urls"}}
	if err := env.Admin.Delete(t.Context(), earlier); client.IgnoreNotFound(err) != nil {
		t.Fatal(err)
	}
	r.TLSSecret, r.WebhookURL, r.PortalURL = "gateways-tls", "https://"+w.webhookAt, strings.Replace(r.PortalURL, "http://", "https://", 1)
}

// put creates an object, or replaces the one of its name.
func put(t *testing.T, o client.Object) {
	t.Helper()
	there := &unstructured.Unstructured{}
	gvk, err := env.Admin.GroupVersionKindFor(o)
	if err != nil {
		t.Fatal(err)
	}
	there.SetGroupVersionKind(gvk)
	switch err := env.Admin.Get(t.Context(), client.ObjectKeyFromObject(o), there); {
	case apierrors.IsNotFound(err):
		err = env.Admin.Create(t.Context(), o)
		if err != nil {
			t.Fatal(err)
		}
	case err != nil:
		t.Fatal(err)
	default:
		o.SetResourceVersion(there.GetResourceVersion())
		if err := env.Admin.Update(t.Context(), o); err != nil {
			t.Fatal(err)
		}
	}
}

// lead makes a Service that leads to an address of this machine.
func lead(t *testing.T, namespace, name, address string) {
	t.Helper()
	host, port, err := net.SplitHostPort(beyondLoopback(t, address))
	if err != nil {
		t.Fatal(err)
	}
	number, err := strconv.ParseInt(port, 10, 32)
	if err != nil {
		t.Fatal(err)
	}
	portName, to := "http", int32(number)
	put(t, &corev1.Service{ObjectMeta: metav1.ObjectMeta{Namespace: namespace, Name: name}, Spec: corev1.ServiceSpec{
		ClusterIP: corev1.ClusterIPNone, Ports: []corev1.ServicePort{{Name: portName, Port: 8080}},
	}})
	put(t, &discoveryv1.EndpointSlice{
		ObjectMeta:  metav1.ObjectMeta{Namespace: namespace, Name: name, Labels: map[string]string{discoveryv1.LabelServiceName: name}},
		AddressType: discoveryv1.AddressTypeIPv4,
		Endpoints:   []discoveryv1.Endpoint{{Addresses: []string{host}}},
		Ports:       []discoveryv1.EndpointPort{{Name: &portName, Port: &to}},
	})
}

// beyondLoopback passes connections on from another address of this machine: no EndpointSlice may have a loopback address.
func beyondLoopback(t *testing.T, address string) string {
	t.Helper()
	all, err := net.InterfaceAddrs()
	if err != nil {
		t.Fatal(err)
	}
	i := slices.IndexFunc(all, func(a net.Addr) bool {
		network, ok := a.(*net.IPNet)
		return ok && network.IP.To4() != nil && network.IP.IsGlobalUnicast()
	})
	if i < 0 {
		t.Fatal("this machine has no IPv4 address but loopback, and an EndpointSlice needs one")
	}
	listener, err := new(net.ListenConfig).Listen(t.Context(), "tcp", net.JoinHostPort(all[i].(*net.IPNet).IP.String(), "0"))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = listener.Close() })
	go func() {
		for {
			conn, err := listener.Accept()
			if err != nil {
				return
			}
			go passOn(conn, address)
		}
	}()
	return listener.Addr().String()
}

// passOn copies both directions of a connection until one of them ends.
func passOn(conn net.Conn, address string) {
	defer func() { _ = conn.Close() }()
	to, err := new(net.Dialer).DialContext(context.Background(), "tcp", address)
	if err != nil {
		return
	}
	defer func() { _ = to.Close() }()
	ended := make(chan struct{}, 2)
	for _, way := range [][2]net.Conn{{to, conn}, {conn, to}} {
		go func() {
			_, _ = io.Copy(way[0], way[1])
			ended <- struct{}{}
		}()
	}
	<-ended
}
