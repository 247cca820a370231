package main

import (
	"encoding/json"
	"fmt"
	"maps"
	"os"
	"regexp"
	"slices"
	"strings"

	"github.com/blang/semver/v4"
	"github.com/operator-framework/api/pkg/lib/version"
	operatorsv1alpha1 "github.com/operator-framework/api/pkg/operators/v1alpha1"
	appsv1 "k8s.io/api/apps/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime"
	"sigs.k8s.io/yaml"
)

var released = regexp.MustCompile(`^v(\d+\.\d+\.\d+.*)$`)

// semantic returns a version of a bundle, which has three numbers and no v.
func semantic(v string) (version.OperatorVersion, error) {
	text := "0.0.0-" + v
	if m := released.FindStringSubmatch(v); m != nil {
		text = m[1]
	}
	parsed, err := semver.Parse(text)
	return version.OperatorVersion{Version: parsed}, err
}

// clusterServiceVersion adds to the texts in config/olm what the manifests say.
func clusterServiceVersion(p parts, of string) (*operatorsv1alpha1.ClusterServiceVersion, error) {
	text, err := os.ReadFile(base)
	if err != nil {
		return nil, err
	}
	csv := &operatorsv1alpha1.ClusterServiceVersion{}
	if err := yaml.UnmarshalStrict(text, csv); err != nil {
		return nil, fmt.Errorf("reading %s: %w", base, err)
	}
	if csv.Spec.Version, err = semantic(of); err != nil {
		return nil, fmt.Errorf("the version %q: %w", of, err)
	}
	csv.Name += ".v" + csv.Spec.Version.String()
	if csv.Annotations["alm-examples"], err = almExamples(); err != nil {
		return nil, err
	}
	csv.Spec.InstallStrategy.StrategyName = operatorsv1alpha1.InstallStrategyNameDeployment
	strategy := &csv.Spec.InstallStrategy.StrategySpec
	strategy.Permissions, strategy.ClusterPermissions = p.local.permissions(), p.everywhere.permissions()
	for _, o := range p.deployments {
		var d appsv1.Deployment
		if err := runtime.DefaultUnstructuredConverter.FromUnstructured(o.Object, &d); err != nil {
			return nil, fmt.Errorf("reading Deployment %s: %w", o.GetName(), err)
		}
		strategy.DeploymentSpecs = append(strategy.DeploymentSpecs, operatorsv1alpha1.StrategyDeploymentSpec{Name: d.Name, Spec: d.Spec, Label: d.Labels})
		csv.Annotations["containerImage"] = d.Spec.Template.Spec.Containers[0].Image // the same in all
	}
	csv.Spec.RelatedImages = []operatorsv1alpha1.RelatedImage{{Name: "apitoken-operator", Image: csv.Annotations["containerImage"]}}
	return csv, nil
}

func (r rights) permissions() (all []operatorsv1alpha1.StrategyDeploymentPermissions) {
	for _, account := range slices.Sorted(maps.Keys(r)) {
		all = append(all, operatorsv1alpha1.StrategyDeploymentPermissions{ServiceAccountName: account, Rules: r[account]})
	}
	return all
}

func almExamples() (string, error) {
	var all []*unstructured.Unstructured
	for _, file := range examples {
		text, err := os.ReadFile(file)
		if err != nil {
			return "", err
		}
		objects, err := decode(strings.NewReader(string(text)))
		if err != nil {
			return "", fmt.Errorf("reading %s: %w", file, err)
		}
		all = append(all, objects...)
	}
	encoded, err := json.MarshalIndent(all, "", "  ")
	return string(encoded), err
}
