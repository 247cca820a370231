package config_test

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	networkingv1 "k8s.io/api/networking/v1"
	policyv1 "k8s.io/api/policy/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/util/yaml"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"apitokens.dev/operator/hack/lib/controlplane"
)

// installations are the kustomizations that install the whole operator. What is after a + is a component.
var installations = []string{
	"default", "high-availability", "namespaced", "single", "default+plain-http", "single+plain-http",
	"default+watch-secrets", "single+watch-secrets", "namespaced+watch-secrets",
}

// manifests are the objects of a kustomization.
type manifests []*unstructured.Unstructured

// build renders config/NAME, or config/NAME with config/components/COMPONENT.
func build(t *testing.T, name string) (text []byte, objects manifests) {
	t.Helper()
	folder := filepath.Join(controlplane.RepositoryRoot(), "config", name)
	if base, component, with := strings.Cut(name, "+"); with {
		folder = compose(t, base, "components/"+component)
	}
	kustomize := exec.CommandContext(t.Context(), cluster.Kubectl(), "kustomize", folder)
	var problems bytes.Buffer
	kustomize.Stderr = &problems
	text, err := kustomize.Output()
	if err != nil || problems.Len() > 0 {
		t.Fatalf("building config/%s: %v: %s", name, err, &problems)
	}
	decoder := yaml.NewYAMLOrJSONDecoder(bytes.NewReader(text), 4096)
	for {
		var object unstructured.Unstructured
		if err := decoder.Decode(&object.Object); errors.Is(err, io.EOF) {
			return text, objects
		} else if err != nil {
			t.Fatal(err)
		}
		objects = append(objects, &object)
	}
}

// compose returns a kustomization of a user, with folders of config as its resource and component.
func compose(t *testing.T, resource, component string) string {
	t.Helper()
	folder, err := filepath.EvalSymlinks(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	root, err := filepath.Abs(controlplane.RepositoryRoot())
	if err != nil {
		t.Fatal(err)
	}
	config, err := filepath.Rel(folder, filepath.Join(root, "config"))
	if err != nil {
		t.Fatal(err)
	}
	text := fmt.Sprintf("resources: [%s]\ncomponents: [%s]\nsortOptions: {order: fifo}\n", filepath.Join(config, resource), filepath.Join(config, component))
	if err := os.WriteFile(filepath.Join(folder, "kustomization.yaml"), []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	return folder
}

// objectsOf returns the objects of T's kind.
func objectsOf[T any](t *testing.T, all manifests, kind string) (found []T) {
	t.Helper()
	for _, object := range all {
		if object.GetKind() != kind {
			continue
		}
		var into T
		if err := runtime.DefaultUnstructuredConverter.FromUnstructuredWithValidation(object.Object, &into, true); err != nil {
			t.Fatalf("%s %s: %v", kind, object.GetName(), err)
		}
		found = append(found, into)
	}
	return found
}

// Every object is one that the API server accepts. The namespaces and CRDs are installed already.
func TestInstallationsApply(t *testing.T) {
	for _, name := range installations {
		t.Run(name, func(t *testing.T) {
			_, all := build(t, name)
			for _, object := range all {
				config := client.ApplyConfigurationFromUnstructured(object)
				if err := clients[clusterAdmin].Apply(t.Context(), config, client.DryRunAll, client.ForceOwnership, client.FieldOwner("test")); err != nil {
					t.Errorf("%s %s: %v", object.GetKind(), object.GetName(), err)
				}
			}
		})
	}
}

// kubectl applies in this order. Pods that start before the policies would issue nothing, and find their own accounts missing.
func TestDeploymentsComeLast(t *testing.T) {
	for _, name := range installations {
		_, all := build(t, name)
		first := slices.IndexFunc(all, func(o *unstructured.Unstructured) bool { return o.GetKind() == "Deployment" })
		for _, object := range all[first:] {
			if kind := object.GetKind(); strings.HasPrefix(kind, "ValidatingAdmission") || kind == "CustomResourceDefinition" || kind == "ServiceAccount" && !strings.HasPrefix(name, "single") {
				t.Errorf("%s: the %s %s comes after a Deployment", name, kind, object.GetName())
			}
		}
	}
}

// The namespace enforces Pod Security `restricted`, and the API server applies it to pods, not to Deployments.
func TestPodsAreRestricted(t *testing.T) {
	pod := func(d appsv1.Deployment) *corev1.Pod {
		return &corev1.Pod{ObjectMeta: metav1.ObjectMeta{Namespace: d.Namespace, Name: d.Name, Labels: d.Spec.Template.Labels}, Spec: *d.Spec.Template.Spec.DeepCopy()}
	}
	for _, name := range installations {
		_, all := build(t, name)
		for _, d := range objectsOf[appsv1.Deployment](t, all, "Deployment") {
			if err := clients[clusterAdmin].Create(t.Context(), pod(d), client.DryRunAll); err != nil {
				t.Errorf("%s: a pod of %s: %v", name, d.Name, err)
			}
			loose := pod(d)
			loose.Spec.Containers[0].SecurityContext.Capabilities = nil
			if err := clients[clusterAdmin].Create(t.Context(), loose, client.DryRunAll); !apierrors.IsForbidden(err) {
				t.Errorf("%s: a pod of %s that keeps its capabilities: %v", name, d.Name, err)
			}
		}
	}
}

// What Pod Security does not ask for.
func TestPodsAreBounded(t *testing.T) {
	for _, name := range installations {
		_, all := build(t, name)
		deployments := objectsOf[appsv1.Deployment](t, all, "Deployment")
		if len(deployments) == 0 {
			t.Errorf("%s has no Deployment", name)
		}
		for _, d := range deployments {
			c := d.Spec.Template.Spec.Containers[0]
			if ro := c.SecurityContext.ReadOnlyRootFilesystem; ro == nil || !*ro {
				t.Errorf("%s %s may write to its image", name, d.Name)
			}
			for _, list := range []corev1.ResourceList{c.Resources.Requests, c.Resources.Limits} {
				if list.Cpu().IsZero() || list.Memory().IsZero() {
					t.Errorf("%s %s has the resources %v", name, d.Name, c.Resources)
				}
			}
			for env, resource := range map[string]string{"GOMEMLIMIT": "limits.memory", "GOMAXPROCS": "limits.cpu"} {
				if !slices.ContainsFunc(c.Env, func(e corev1.EnvVar) bool {
					return e.Name == env && e.ValueFrom.ResourceFieldRef.Resource == resource && e.ValueFrom.ResourceFieldRef.ContainerName == c.Name
				}) {
					t.Errorf("%s %s does not take %s from %s", name, d.Name, env, resource)
				}
			}
			if c.LivenessProbe == nil || c.ReadinessProbe == nil {
				t.Errorf("%s %s has no probes", name, d.Name)
			}
			// preStop, and the flags --drain-delay, --shutdown-timeout and --flush-timeout; 30 s for the controller.
			if grace := *d.Spec.Template.Spec.TerminationGracePeriodSeconds; d.Name != "apitoken-controller" && (c.Lifecycle == nil || grace <= 5+5+15+5) || grace <= 30 {
				t.Errorf("%s %s is killed after %d s", name, d.Name, grace)
			}
		}
	}
}

// References lead to objects of the same installation: a Service to pods and their ports, a pod to its account.
func TestReferencesResolve(t *testing.T) {
	for _, name := range installations {
		_, all := build(t, name)
		deployments := objectsOf[appsv1.Deployment](t, all, "Deployment")
		matching := func(namespace string, s labels.Selector) (found []appsv1.Deployment) {
			for _, d := range deployments {
				if d.Namespace == namespace && s.Matches(labels.Set(d.Spec.Template.Labels)) {
					found = append(found, d)
				}
			}
			return found
		}
		for _, d := range deployments {
			own, err := metav1.LabelSelectorAsSelector(d.Spec.Selector)
			if found := matching(d.Namespace, own); err != nil || len(found) != 1 || found[0].Name != d.Name {
				t.Errorf("%s %s: its selector matches %d Deployments, %v", name, d.Name, len(found), err)
			}
			account := d.Spec.Template.Spec.ServiceAccountName
			if !slices.ContainsFunc(all, func(o *unstructured.Unstructured) bool {
				return o.GetKind() == "ServiceAccount" && o.GetName() == account && o.GetNamespace() == d.Namespace
			}) {
				t.Errorf("%s %s: there is no account %q", name, d.Name, account)
			}
		}
		services := objectsOf[corev1.Service](t, all, "Service")
		if len(services) < 2 {
			t.Errorf("%s has %d Services", name, len(services))
		}
		for _, s := range services {
			found := matching(s.Namespace, labels.SelectorFromSet(s.Spec.Selector))
			if len(found) != 1 {
				t.Errorf("%s: the Service %s selects %d Deployments", name, s.Name, len(found))
				continue
			}
			for _, port := range s.Spec.Ports {
				if !hasPort(found[0], port.TargetPort.StrVal) {
					t.Errorf("%s: the Service %s leads to the port %s of %s, which is not there", name, s.Name, port.TargetPort.String(), found[0].Name)
				}
			}
		}
		for _, p := range objectsOf[policyv1.PodDisruptionBudget](t, all, "PodDisruptionBudget") {
			if s, err := metav1.LabelSelectorAsSelector(p.Spec.Selector); err != nil || len(matching(p.Namespace, s)) != 1 {
				t.Errorf("%s: the budget %s: %v", name, p.Name, err)
			}
		}
	}
}

func hasPort(d appsv1.Deployment, name string) bool {
	return slices.ContainsFunc(d.Spec.Template.Spec.Containers[0].Ports, func(p corev1.ContainerPort) bool { return p.Name == name })
}

// Without a NetworkPolicy that selects it, a pod could reach everything, and be reached. Each port but the one for probes, which
// the kubelet asks, is open to one kind of namespace.
func TestNetworkPolicies(t *testing.T) {
	const gateway, monitoring, product = "network.apitokens.dev/gateway", "network.apitokens.dev/monitoring", "network.apitokens.dev/product"
	opens := map[string]string{"http": gateway, "portal": gateway, "grpc": gateway, "metrics": monitoring, "probes": ""}
	for _, name := range installations {
		_, all := build(t, name)
		policies := objectsOf[networkingv1.NetworkPolicy](t, all, "NetworkPolicy")
		if !slices.ContainsFunc(policies, func(p networkingv1.NetworkPolicy) bool {
			return len(p.Spec.PodSelector.MatchLabels)+len(p.Spec.PodSelector.MatchExpressions) == 0 &&
				len(p.Spec.PolicyTypes) == 2 && len(p.Spec.Ingress)+len(p.Spec.Egress) == 0
		}) {
			t.Errorf("%s: no policy denies by default", name)
		}
		for _, d := range objectsOf[appsv1.Deployment](t, all, "Deployment") {
			c := d.Spec.Template.Spec.Containers[0]
			for _, port := range c.Ports {
				if got := admits(t, policies, d, port); got != opens[port.Name] {
					t.Errorf("%s %s: the port %s is open to namespaces with the label %q", name, d.Name, port.Name, got)
				}
			}
			if got, want := reaches(t, policies, d, product), d.Name != "apitoken-webhook"; got != want {
				t.Errorf("%s %s reaches the product: %t", name, d.Name, got)
			}
		}
	}
}

// admits returns the label of the namespaces to which policies open a port, separated by commas.
func admits(t *testing.T, policies []networkingv1.NetworkPolicy, d appsv1.Deployment, port corev1.ContainerPort) string {
	t.Helper()
	var from []string
	for _, p := range policies {
		for _, rule := range p.Spec.Ingress {
			if selects(t, p, d) && slices.ContainsFunc(rule.Ports, func(r networkingv1.NetworkPolicyPort) bool {
				return r.Port.StrVal == port.Name || r.Port.IntVal == port.ContainerPort
			}) {
				from = append(from, peers(rule.From)...)
			}
		}
	}
	return strings.Join(from, ",")
}

func reaches(t *testing.T, policies []networkingv1.NetworkPolicy, d appsv1.Deployment, label string) bool {
	t.Helper()
	return slices.ContainsFunc(policies, func(p networkingv1.NetworkPolicy) bool {
		return selects(t, p, d) && slices.ContainsFunc(p.Spec.Egress, func(r networkingv1.NetworkPolicyEgressRule) bool {
			return slices.Contains(peers(r.To), label)
		})
	})
}

func selects(t *testing.T, p networkingv1.NetworkPolicy, d appsv1.Deployment) bool {
	t.Helper()
	s, err := metav1.LabelSelectorAsSelector(&p.Spec.PodSelector)
	if err != nil {
		t.Fatal(err)
	}
	return p.Namespace == d.Namespace && s.Matches(labels.Set(d.Spec.Template.Labels))
}

func peers(of []networkingv1.NetworkPolicyPeer) (found []string) {
	for _, peer := range of {
		if peer.NamespaceSelector != nil {
			for label := range peer.NamespaceSelector.MatchLabels {
				found = append(found, label)
			}
		}
	}
	return found
}

// Webhook and portal serve the certificate that the controller makes, and all URLs begin with https. Plain HTTP is a component.
func TestTLSIsServedByDefault(t *testing.T) {
	for _, name := range installations {
		_, all := build(t, name)
		serves, says, plain := 0, 0, 0
		for _, d := range objectsOf[appsv1.Deployment](t, all, "Deployment") {
			pod := d.Spec.Template.Spec
			args := strings.Join(pod.Containers[0].Args, " ")
			says += strings.Count(args, "=https://apitoken-")
			both := 1 + strings.Count(pod.Containers[0].Args[0], "run") // one that serves both counts twice
			plain += both * strings.Count(args, "--plain-http")
			if both == 2 && !strings.Contains(args, "--tls-") && len(pod.Volumes) == 0 {
				serves += both // what it makes, without files
			}
			if !strings.Contains(args, "--tls-cert-file=/tls/tls.crt --tls-private-key-file=/tls/tls.key") {
				continue
			}
			serves++
			if m := pod.Containers[0].VolumeMounts; len(m) != 1 || m[0].MountPath != "/tls" || m[0].SubPath != "" || m[0].Name != pod.Volumes[0].Name {
				t.Errorf("%s %s mounts %v", name, d.Name, m)
			}
			if secret := pod.Volumes[0].Secret; secret.SecretName != "apitoken-tls" || secret.Optional != nil {
				t.Errorf("%s %s has the Secret %v", name, d.Name, secret)
			}
		}
		if serves != 2 || says != 2 || plain != 2*strings.Count(name, "+plain-http") {
			t.Errorf("%s: %d serve TLS, %d URLs say so, and %d accept plain HTTP", name, serves, says, plain)
		}
	}
}

// Prometheus finds the metrics of every pod.
func TestMonitoring(t *testing.T) {
	for _, name := range []string{"default+monitoring", "single+monitoring"} {
		_, all := build(t, name)
		if !slices.ContainsFunc(all, func(o *unstructured.Unstructured) bool { return o.GetKind() == "ServiceMonitor" }) {
			t.Errorf("%s has no ServiceMonitor", name)
		}
		services := objectsOf[corev1.Service](t, all, "Service")
		metrics := slices.IndexFunc(services, func(s corev1.Service) bool { return s.Name == "apitoken-metrics" })
		if metrics < 0 {
			t.Errorf("%s has no Service for the metrics", name)
			continue
		}
		s := services[metrics]
		for _, d := range objectsOf[appsv1.Deployment](t, all, "Deployment") {
			if !labels.SelectorFromSet(s.Spec.Selector).Matches(labels.Set(d.Spec.Template.Labels)) || !hasPort(d, s.Spec.Ports[0].TargetPort.StrVal) {
				t.Errorf("%s: the metrics of %s are not found", name, d.Name)
			}
		}
	}
}

// A second installation would share CRDs and policies with the first.
func TestSecondInstallationIsRefused(t *testing.T) {
	text, all := build(t, "default")
	second := strings.NewReplacer("apitoken-system", "tokens-system", "apitoken-credentials", "tokens-credentials", "apitoken-intake", "tokens-intake").
		Replace(string(text))
	kubeconfig := filepath.Join(t.TempDir(), "admin")
	if err := cluster.WriteKubeconfig(kubeconfig, clusterAdmin, "system:masters"); err != nil {
		t.Fatal(err)
	}
	// A dry run refuses what the real one refuses, and leaves the other tests their policies.
	apply := exec.CommandContext(t.Context(), cluster.Kubectl(), "--kubeconfig", kubeconfig, "apply", "--server-side", "--dry-run=server", "-f", "-")
	apply.Stdin = strings.NewReader(second)
	out, err := apply.CombinedOutput()
	if err == nil {
		t.Errorf("a second installation succeeded: %s", out)
	}
	refusal := "the API token operator is installed already, in the namespaces apitoken-system, apitoken-credentials and apitoken-intake"
	want := 3
	for _, object := range all {
		if object.GetKind() == "ClusterRoleBinding" {
			want++
		}
	}
	if got := strings.Count(string(out), refusal); got != want || want < 6 {
		t.Errorf("%d objects were refused, want %d:\n%s", got, want, out)
	}
}
