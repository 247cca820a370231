// Package chart_test renders the Helm chart with Helm's engine, and compares it with the kustomizations.
package chart_test

import (
	"bytes"
	"encoding/json"
	"errors"
	"io"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"helm.sh/helm/v3/pkg/chart"
	"helm.sh/helm/v3/pkg/chart/loader"
	"helm.sh/helm/v3/pkg/chartutil"
	"helm.sh/helm/v3/pkg/engine"
	"sigs.k8s.io/yaml"

	utilyaml "k8s.io/apimachinery/pkg/util/yaml"
)

const (
	root = "../../.."
	// version is that of the manifests' image.
	version = "dev"
)

type (
	values  = map[string]any
	objects = map[string]map[string]any
)

// load returns the chart as a release has it.
func load(t *testing.T) *chart.Chart {
	t.Helper()
	folder := t.TempDir()
	if out, err := exec.CommandContext(t.Context(), root+"/hack/release/chart.sh", version, folder).CombinedOutput(); err != nil {
		t.Fatalf("making the chart: %v: %s", err, out)
	}
	loaded, err := loader.Load(folder)
	if err != nil {
		t.Fatal(err)
	}
	return loaded
}

// render returns the objects of the chart with values, in a release in a namespace.
func render(t *testing.T, c *chart.Chart, namespace string, v values) (objects, error) {
	t.Helper()
	all, err := chartutil.ToRenderValues(c, v, chartutil.ReleaseOptions{Name: "tokens", Namespace: namespace, IsInstall: true}, chartutil.DefaultCapabilities)
	if err != nil {
		return nil, err
	}
	rendered, err := engine.Render(c, all)
	if err != nil {
		return nil, err
	}
	return decode(t, rendered["apitoken-operator/templates/manifests.yaml"]), nil
}

func mustRender(t *testing.T, c *chart.Chart, namespace string, v values) objects {
	t.Helper()
	found, err := render(t, c, namespace, v)
	if err != nil {
		t.Fatal(err)
	}
	return found
}

func kustomized(t *testing.T, name string) objects {
	t.Helper()
	kubectl := filepath.Join(root, "bin/kube")
	if assets := os.Getenv("KUBEBUILDER_ASSETS"); assets != "" {
		kubectl = assets
	}
	text, err := exec.CommandContext(t.Context(), filepath.Join(kubectl, "kubectl"), "kustomize", filepath.Join(root, "config", name)).Output()
	if err != nil {
		t.Fatal(err)
	}
	return decode(t, string(text))
}

func decode(t *testing.T, text string) objects {
	t.Helper()
	found := objects{}
	for decoder := utilyaml.NewYAMLOrJSONDecoder(strings.NewReader(text), 4096); ; {
		object := map[string]any{}
		if err := decoder.Decode(&object); errors.Is(err, io.EOF) {
			return found
		} else if err != nil {
			t.Fatal(err)
		}
		if len(object) == 0 {
			continue
		}
		meta := object["metadata"].(map[string]any)
		namespace, _ := meta["namespace"].(string)
		found[object["kind"].(string)+" "+namespace+"/"+meta["name"].(string)] = object
	}
}

// With its default values, the chart has the objects of the kustomization. Helm makes the namespace of the release, and leaves
// CRDs and namespaces when it is uninstalled, because APITokens and records are in them.
func TestChartIsTheKustomization(t *testing.T) {
	c := load(t)
	for _, kind := range []string{"default", "high-availability", "namespaced", "single"} {
		want, v := kustomized(t, kind), values{"kind": kind}
		if kind == "namespaced" {
			v["watchNamespaces"] = []any{"jira"}
			for name, binding := range kustomized(t, "access") {
				binding["metadata"].(map[string]any)["namespace"] = "jira"
				want[strings.Replace(name, " /", " jira/", 1)] = binding
			}
		}
		got := mustRender(t, c, "apitoken-system", v)
		delete(want, "Namespace /apitoken-system")
		kept := 0
		for name, object := range got {
			meta := object["metadata"].(map[string]any)
			annotations, _ := meta["annotations"].(map[string]any)
			if annotations["helm.sh/resource-policy"] == "keep" {
				kept++
				if delete(annotations, "helm.sh/resource-policy"); len(annotations) == 0 {
					delete(meta, "annotations")
				}
				if !strings.HasPrefix(name, "CustomResourceDefinition ") && !strings.HasPrefix(name, "Namespace ") {
					t.Errorf("%s: %s stays when the chart is uninstalled", kind, name)
				}
			}
		}
		if kept != 4 {
			t.Errorf("%s: %d objects stay when the chart is uninstalled, want two CRDs and two namespaces", kind, kept)
		}
		if diff := cmp.Diff(want, got); diff != "" {
			t.Errorf("%s (-kustomization +chart):\n%s", kind, diff)
		}
		if len(got) < 40 {
			t.Errorf("%s has only %d objects", kind, len(got))
		}
	}
}

// The namespaces are in policies and arguments too.
func TestNamespacesAreValues(t *testing.T) {
	c := load(t)
	got := mustRender(t, c, "tokens", values{"namespaces": values{"credentials": "tokens-credentials", "intake": "apitoken-system"}})
	text, err := json.Marshal(got)
	if err != nil {
		t.Fatal(err)
	}
	want, err := json.Marshal(kustomized(t, "default"))
	if err != nil {
		t.Fatal(err)
	}
	if bytes.Contains(text, []byte("apitoken-credentials")) || bytes.Contains(text, []byte("apitoken-intake")) {
		t.Error("a default namespace is left")
	}
	// The namespace of the release is no object of the chart, hence one less.
	count := func(in []byte, namespace string) int { return bytes.Count(in, []byte(namespace)) }
	if a, b := count(text, "apitoken-system"), count(want, "apitoken-intake"); a != b {
		t.Errorf("the intake namespace is named %d times, want %d", a, b)
	}
	if _, err := render(t, c, "apitoken-intake", nil); err == nil || !strings.Contains(err.Error(), "have to be three") {
		t.Errorf("two namespaces in one: %v", err)
	}
}

func TestValuesOfAProcess(t *testing.T) {
	c := load(t)
	digest := "sha256:" + strings.Repeat("0a", 32)
	got := mustRender(t, c, "apitoken-system", values{
		"image":            values{"repository": "registry.example.com/operator", "digest": digest, "pullPolicy": "Always"},
		"imagePullSecrets": []any{values{"name": "pull"}},
		"webhook": values{
			"replicas": 5, "args": []any{"--zap-log-level=debug"}, "env": []any{values{"name": "OTEL_TRACES_SAMPLER", "value": "x"}}, "nodeSelector": values{"pool": "edge"},
			"tolerations": []any{values{"key": "edge", "operator": "Exists"}},
			"volumes":     []any{values{"name": "more", "secret": values{"secretName": "more"}}}, "volumeMounts": []any{values{"name": "more", "mountPath": "/more"}},
			"resources": values{"requests": values{"cpu": "1", "memory": "1Gi"}, "limits": values{"cpu": "2", "memory": "2Gi"}},
		},
		"networkPolicies": false,
	})
	webhook := got["Deployment apitoken-system/apitoken-webhook"]["spec"].(map[string]any)
	pod := webhook["template"].(map[string]any)["spec"].(map[string]any)
	container := pod["containers"].([]any)[0].(map[string]any)
	args, env := container["args"].([]any), container["env"].([]any)
	volumes, mounts := pod["volumes"].([]any), container["volumeMounts"].([]any)
	found := []any{
		len(volumes), volumes[len(volumes)-1].(map[string]any)["name"], len(mounts), mounts[len(mounts)-1].(map[string]any)["mountPath"],
		webhook["replicas"], container["image"], container["imagePullPolicy"], args[0], args[len(args)-1], pod["nodeSelector"].(map[string]any)["pool"],
		len(pod["tolerations"].([]any)), pod["imagePullSecrets"].([]any)[0].(map[string]any)["name"],
		container["resources"].(map[string]any)["limits"].(map[string]any)["memory"], env[0].(map[string]any)["name"], env[len(env)-1].(map[string]any)["value"],
	}
	want := []any{
		2, "more", 2, "/more", float64(5), "registry.example.com/operator@" + digest, "Always", "webhook", "--zap-log-level=debug", "edge", 1, "pull", "2Gi", "GOMEMLIMIT", "x",
	}
	if diff := cmp.Diff(want, found); diff != "" {
		t.Errorf("settings (-want +got):\n%s", diff)
	}
	for name := range got {
		if strings.HasPrefix(name, "NetworkPolicy ") {
			t.Errorf("%s is there", name)
		}
	}
}

// Each namespace that is served has the bindings of config/access, and every process is told of it.
func TestWatchedNamespaces(t *testing.T) {
	c := load(t)
	got := mustRender(t, c, "tokens", values{"kind": "namespaced", "watchNamespaces": []any{"jira", "team-a"}})
	for name := range kustomized(t, "access") {
		for _, namespace := range []string{"jira", "team-a"} {
			binding := got[strings.Replace(name, " /", " "+namespace+"/", 1)]
			if binding == nil || binding["subjects"].([]any)[0].(map[string]any)["namespace"] != "tokens" {
				t.Errorf("the binding %s in %s is %v", name, namespace, binding)
			}
		}
	}
	for _, process := range []string{"controller", "webhook", "portal"} {
		text, err := json.Marshal(got["Deployment tokens/apitoken-"+process])
		if err != nil || bytes.Count(text, []byte("--watch-namespaces")) != 1 || !bytes.Contains(text, []byte(`"--watch-namespaces=jira,team-a"`)) {
			t.Errorf("the %s is %s, %v", process, text, err)
		}
	}
	for _, v := range []values{{"watchNamespaces": []any{"jira"}}, {"kind": "namespaced"}} {
		if _, err := render(t, c, "tokens", v); err == nil || !strings.Contains(err.Error(), "need each other") {
			t.Errorf("%v: %v", v, err)
		}
	}
}

// The value watchSecrets adds the role and the argument of the component, in each kind.
func TestWatchSecrets(t *testing.T) {
	c := load(t)
	component := kustomized(t, "components/watch-secrets")
	for kind, process := range map[string]string{"default": "controller", "high-availability": "controller", "namespaced": "controller", "single": "operator"} {
		v := values{"kind": kind}
		if kind == "namespaced" {
			v["watchNamespaces"] = []any{"jira"}
		}
		want := mustRender(t, c, "tokens", v)
		container := want["Deployment tokens/apitoken-"+process]["spec"].(values)["template"].(values)["spec"].(values)["containers"].([]any)[0].(values)
		container["args"] = append(container["args"].([]any), "--watch-secrets")
		maps.Copy(want, component)
		v["watchSecrets"] = true
		if diff := cmp.Diff(want, mustRender(t, c, "tokens", v)); diff != "" || len(component) != 1 {
			t.Errorf("%s (-component +chart):\n%s", kind, diff)
		}
	}
}

// The ServiceMonitor and the alerts are those of the component, with the labels that Prometheus wants.
func TestMonitoring(t *testing.T) {
	c := load(t)
	plain := mustRender(t, c, "tokens", nil)
	got := mustRender(t, c, "tokens", values{"monitoring": values{"enabled": true, "labels": values{"release": "prometheus"}}})
	maps.DeleteFunc(got, func(name string, _ map[string]any) bool { return plain[name] != nil })
	want := objects{}
	for name, object := range kustomized(t, "components/monitoring") {
		meta := object["metadata"].(map[string]any)
		meta["namespace"] = "tokens"
		meta["labels"].(map[string]any)["release"] = "prometheus"
		want[strings.Replace(name, " apitoken-system/", " tokens/", 1)] = object
	}
	if diff := cmp.Diff(want, got); diff != "" || len(want) < 3 {
		t.Errorf("monitoring (-component +chart):\n%s", diff)
	}
}

// A value that the chart does not know is a mistake, and is refused.
func TestSchemaRefuses(t *testing.T) {
	c := load(t)
	for name, v := range map[string]values{
		"an unknown value":         {"replicas": 2},
		"an unknown kind":          {"kind": "large"},
		"a namespace in capitals":  {"namespaces": values{"credentials": "Tokens"}},
		"a tag as a digest":        {"image": values{"digest": "v1"}},
		"a mode as an argument":    {"webhook": values{"args": []any{"portal"}}},
		"a second limit of memory": {"portal": values{"env": []any{values{"name": "GOMEMLIMIT", "value": "1GiB"}}}},
		"half of the resources":    {"portal": values{"resources": values{"limits": values{"cpu": "1"}}}},
	} {
		if _, err := render(t, c, "tokens", v); err == nil || !strings.Contains(err.Error(), "schema") {
			t.Errorf("%s: %v", name, err)
		}
	}
}

// Every value has a comment, and the schema knows it.
func TestValuesAreDocumented(t *testing.T) {
	text, err := os.ReadFile(root + "/config/chart/values.yaml")
	if err != nil {
		t.Fatal(err)
	}
	var known struct{ Properties map[string]any }
	schema, err := os.ReadFile(root + "/config/chart/values.schema.json")
	if err != nil {
		t.Fatal(err)
	}
	var defaults values
	if err := errors.Join(json.Unmarshal(schema, &known), yaml.Unmarshal(text, &defaults)); err != nil {
		t.Fatal(err)
	}
	delete(known.Properties, "global")
	if diff := cmp.Diff(slices.Sorted(maps.Keys(known.Properties)), slices.Sorted(maps.Keys(defaults))); diff != "" {
		t.Errorf("values (-schema +values.yaml):\n%s", diff)
	}
	lines := strings.Split(string(text), "\n")
	for i, line := range lines {
		value := strings.TrimSpace(line)
		group := strings.HasSuffix(value, ":") || strings.Contains(value, "process")
		if value == "" || strings.HasPrefix(value, "#") || group {
			continue
		}
		if i == 0 || !strings.HasPrefix(strings.TrimSpace(lines[i-1]), "#") {
			t.Errorf("values.yaml:%d: %s has no comment", i+1, value)
		}
	}
}
