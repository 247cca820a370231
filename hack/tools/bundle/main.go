// Command bundle writes the bundle for the Operator Lifecycle Manager, and what has to be applied before it: bundle VERSION OUT.
// It reads the manifests of config/default from standard input, and runs in its own folder.
package main

import (
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"

	operatorsv1alpha1 "github.com/operator-framework/api/pkg/operators/v1alpha1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	utilyaml "k8s.io/apimachinery/pkg/util/yaml"
	"sigs.k8s.io/yaml"
)

const (
	config = "../../../config/"
	// base is the ClusterServiceVersion without what the manifests say.
	base = config + "olm/clusterserviceversion.yaml"
)

// examples are the objects that a console offers to begin with.
var examples = []string{config + "samples/site.yaml", config + "samples/apitoken.yaml"}

func main() {
	if len(os.Args) != 3 {
		fmt.Fprintln(os.Stderr, "usage: bundle VERSION OUT <MANIFESTS")
		os.Exit(2)
	}
	if err := run(os.Args[1], os.Args[2]); err != nil {
		fmt.Fprintln(os.Stderr, "bundle:", err)
		os.Exit(1)
	}
}

func run(version, out string) error {
	objects, err := decode(os.Stdin)
	if err != nil {
		return fmt.Errorf("reading the manifests: %w", err)
	}
	p, err := sort(objects)
	if err != nil {
		return err
	}
	csv, err := clusterServiceVersion(p, version)
	if err != nil {
		return fmt.Errorf("making the ClusterServiceVersion: %w", err)
	}
	return write(out, csv, p)
}

func decode(from io.Reader) (all []*unstructured.Unstructured, err error) {
	for decoder := utilyaml.NewYAMLOrJSONDecoder(from, 4096); ; {
		o := &unstructured.Unstructured{}
		if err := decoder.Decode(o); errors.Is(err, io.EOF) {
			return all, nil
		} else if err != nil {
			return nil, err
		}
		if len(o.Object) > 0 {
			all = append(all, o)
		}
	}
}

// write writes the folders of a bundle, a Dockerfile that makes its image, and beside them the prerequisites.
func write(out string, csv *operatorsv1alpha1.ClusterServiceVersion, p parts) error {
	errs := []error{
		put(out, "bundle/manifests/apitoken-operator.clusterserviceversion.yaml", csv),
		put(out, "bundle/metadata/annotations.yaml", map[string]any{"annotations": annotations}),
		put(out, "olm-prerequisites.yaml", p.before...),
		os.WriteFile(filepath.Join(out, "bundle/bundle.Dockerfile"), []byte(dockerfile()), 0o644),
	}
	for _, o := range p.bundled {
		errs = append(errs, put(out, strings.ToLower(fmt.Sprintf("bundle/manifests/%s.%s.yaml", o.GetName(), o.GetKind())), o))
	}
	return errors.Join(errs...)
}

// put writes objects into a file below a folder.
func put[T any](out, name string, objects ...T) error {
	var text []string
	for _, o := range objects {
		encoded, err := yaml.Marshal(o)
		if err != nil {
			return fmt.Errorf("encoding %s: %w", name, err)
		}
		text = append(text, string(encoded))
	}
	file := filepath.Join(out, name)
	if err := os.MkdirAll(filepath.Dir(file), 0o755); err != nil {
		return err
	}
	return os.WriteFile(file, []byte(strings.Join(text, "---\n")), 0o644)
}

// annotations say where in an image the bundle is, and in which channel. They are labels of the image too.
var annotations = map[string]string{
	"operators.operatorframework.io.bundle.mediatype.v1":       "registry+v1",
	"operators.operatorframework.io.bundle.manifests.v1":       "manifests/",
	"operators.operatorframework.io.bundle.metadata.v1":        "metadata/",
	"operators.operatorframework.io.bundle.package.v1":         "apitoken-operator",
	"operators.operatorframework.io.bundle.channels.v1":        "candidate",
	"operators.operatorframework.io.bundle.channel.default.v1": "candidate",
}

func dockerfile() string {
	lines := []string{"FROM scratch"}
	for name, value := range annotations {
		lines = append(lines, fmt.Sprintf("LABEL %s=%s", name, value))
	}
	slices.Sort(lines[1:])
	return strings.Join(append(lines, "COPY manifests /manifests/", "COPY metadata /metadata/"), "\n") + "\n"
}
