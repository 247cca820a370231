// Package gatewaytest prepares the API server of a test for `gateways` of a site: with the CRDs of gateways, as their own Go modules
// have them, and with rights of the controller.
package gatewaytest

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"sync"
	"testing"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime/schema"
	kjson "k8s.io/apimachinery/pkg/util/json"
	"k8s.io/apimachinery/pkg/util/yaml"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"apitokens.dev/operator/hack/lib/kubetest"
)

// The gateways that have CRDs.
const (
	GatewayAPI   = "Gateway API"
	Traefik      = "Traefik"
	EnvoyGateway = "Envoy Gateway"
	Contour      = "Contour"
	Istio        = "Istio"
	Kgateway     = "kgateway"
	Agentgateway = "agentgateway"
)

// definitions are the Go modules that have the CRDs of gateways, with the sum of each, and the files in it.
var definitions = map[string]struct{ module, sum, files string }{
	GatewayAPI: {"sigs.k8s.io/gateway-api@v1.6.1", "h1:mock6phZbI6rvZerwrVNk7hVNymQgHo+6sJ81Ia7ftY=",
		"config/crd/experimental/gateway.networking.k8s.io_[bhr]*.yaml"},
	Traefik: {"github.com/traefik/traefik/v3@v3.7.13", "h1:T8wy9KuaFzCkmXCqAzDy7t73pBDR1DHrJe3pqXpNXTw=", "integration/fixtures/k8s/01-traefik-crd.yml"},
	EnvoyGateway: {"github.com/envoyproxy/gateway@v1.9.1", "h1:vAVp6/AlBXJ1aOhp1mxL7fNEzVEfjADUguUhm2wzxQY=",
		"charts/gateway-helm/charts/crds/crds/generated/gateway.envoyproxy.io_[bcs]*.yaml"},
	Contour: {"github.com/projectcontour/contour@v1.33.8", "h1:QoOfwqWws+CVRFpsRC2+f1DmB5IdurtyUtepIsiWfE0=", "examples/contour/01-crds.yaml"},
	Istio:   {"istio.io/api@v1.31.1", "h1:5Yb5ihcz4YQsCkciusK7DnFpBMwRB6EFWeUKH1Atuyk=", "kubernetes/customresourcedefinitions.gen.yaml"},
	Kgateway: {"github.com/kgateway-dev/kgateway/v2@v2.2.0", "h1:0g/OevXOJVJCNl64Ph6s2C6+NI4uo0JgPN8+pcOyh/o=",
		"install/helm/kgateway-crds/templates/gateway.kgateway.dev_[gt]*.yaml"},
	Agentgateway: {"github.com/kgateway-dev/kgateway/v2@v2.2.0", "h1:0g/OevXOJVJCNl64Ph6s2C6+NI4uo0JgPN8+pcOyh/o=",
		"install/helm/agentgateway-crds/templates/agentgateway.dev_agentgatewaypolicies.yaml"},
}

// All returns every gateway that has CRDs.
func All() []string {
	return []string{GatewayAPI, Traefik, EnvoyGateway, Contour, Istio, Kgateway, Agentgateway}
}

var (
	// installing lets one test after the other install CRDs.
	installing sync.Mutex
	// read has the CRDs that were read, by gateway. There are megabytes of them, which many tests need.
	read = map[string][]*unstructured.Unstructured{}
)

// Install installs the CRDs of gateways, unless they are there, and waits until the API server serves them.
func Install(t *testing.T, admin client.Client, gateways ...string) {
	t.Helper()
	installing.Lock()
	defer installing.Unlock()
	there, created := installed(t, admin), []string{}
	for _, gateway := range gateways {
		for _, crd := range definitionsOf(t, gateway) {
			if there[crd.GetName()] {
				continue
			}
			if err := admin.Create(t.Context(), crd.DeepCopy()); err != nil {
				t.Fatal(err)
			}
			created = append(created, crd.GetName())
		}
	}
	for _, name := range created {
		kubetest.Eventually(t, func() error { return established(t, admin, name) })
	}
}

// installed returns the names of the CRDs of the API server. It has a CRD validated whole before it says that there is one.
func installed(t *testing.T, admin client.Client) map[string]bool {
	t.Helper()
	var all metav1.PartialObjectMetadataList
	all.SetGroupVersionKind(schema.GroupVersionKind{Group: "apiextensions.k8s.io", Version: "v1", Kind: "CustomResourceDefinitionList"})
	if err := admin.List(t.Context(), &all); err != nil {
		t.Fatal(err)
	}
	names := map[string]bool{}
	for i := range all.Items {
		names[all.Items[i].Name] = true
	}
	return names
}

// definitionsOf returns the CRDs of a gateway.
func definitionsOf(t *testing.T, gateway string) []*unstructured.Unstructured {
	t.Helper()
	if crds, is := read[gateway]; is {
		return crds
	}
	var crds []*unstructured.Unstructured
	d := definitions[gateway]
	for _, file := range moduleFiles(t, d.module, d.sum, d.files) {
		for _, o := range Read(t, file) {
			if o.GetKind() != "CustomResourceDefinition" {
				continue
			}
			if gateway == Kgateway || gateway == Agentgateway {
				dropDurationRules(o.Object) // Kubernetes 1.37 estimates that they are too expensive
			}
			crds = append(crds, o)
		}
	}
	read[gateway] = crds
	return crds
}

// dropDurationRules removes the CEL rules for texts with durations from a CRD. The other rules stay.
func dropDurationRules(node any) {
	switch n := node.(type) {
	case map[string]any:
		if rules, found := n["x-kubernetes-validations"].([]any); found && strings.Contains(fmt.Sprint(rules...), "duration(") {
			delete(n, "x-kubernetes-validations")
		}
		for _, child := range n {
			dropDurationRules(child)
		}
	case []any:
		for _, child := range n {
			dropDurationRules(child)
		}
	}
}

func established(t *testing.T, c client.Client, name string) error {
	t.Helper()
	var crd unstructured.Unstructured
	crd.SetAPIVersion("apiextensions.k8s.io/v1")
	crd.SetKind("CustomResourceDefinition")
	if err := c.Get(t.Context(), client.ObjectKey{Name: name}, &crd); err != nil {
		return err
	}
	conditions, _, err := unstructured.NestedSlice(crd.Object, "status", "conditions")
	if err != nil {
		return err
	}
	for _, condition := range conditions {
		if m, _ := condition.(map[string]any); m["type"] == "Established" && m["status"] == string(metav1.ConditionTrue) {
			return nil
		}
	}
	return fmt.Errorf("%s is not established", name)
}

// moduleFiles downloads a Go module, unless it is cached, and returns files of it.
func moduleFiles(t *testing.T, module, sum, pattern string) []string {
	t.Helper()
	var got struct{ Dir, Sum, Error string }
	out, err := exec.CommandContext(t.Context(), "go", "mod", "download", "-json", module).Output()
	if decodeErr := json.Unmarshal(out, &got); decodeErr != nil || err != nil || got.Sum != sum {
		t.Fatalf("%s: %v, %s, sum %s", module, err, got.Error, got.Sum)
	}
	files, err := filepath.Glob(filepath.Join(got.Dir, pattern))
	if err != nil || len(files) == 0 {
		t.Fatalf("%s has no %s: %v", module, pattern, err)
	}
	return files
}

// helm matches the lines of a chart's template that are no YAML.
var helm = regexp.MustCompile(`(?m)^\{\{.*\}\}\n`)

// Read reads the objects of a file. Pairs of an old and a new text are replaced first.
func Read(t *testing.T, path string, oldnew ...string) (all []*unstructured.Unstructured) {
	t.Helper()
	text, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	text = []byte(strings.NewReplacer(oldnew...).Replace(string(text)))
	decoder := yaml.NewYAMLOrJSONDecoder(bytes.NewReader(helm.ReplaceAll(text, nil)), 4096)
	for {
		var text json.RawMessage
		o := &unstructured.Unstructured{}
		switch err := decoder.Decode(&text); {
		case errors.Is(err, io.EOF):
			return all
		case err != nil:
			t.Fatalf("%s: %v", path, err)
		}
		if err := kjson.Unmarshal(text, &o.Object); err != nil { // whole numbers stay whole
			t.Fatalf("%s: %v", path, err)
		}
		if o.Object != nil {
			all = append(all, o)
		}
	}
}
