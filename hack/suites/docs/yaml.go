package main

import (
	"errors"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"strings"

	"sigs.k8s.io/yaml"

	tokensv1alpha1 "apitokens.dev/operator/api/v1alpha1"
)

// manifest returns what to apply of a block of YAML. A block that has only a `spec` is a part of a site or an APIToken: it is
// put into the sample of that kind.
func manifest(root string, b block) (string, error) {
	var parts struct {
		APIVersion string         `json:"apiVersion"`
		Spec       map[string]any `json:"spec"`
	}
	first, _, _ := strings.Cut(b.text, "\n---\n")
	if err := yaml.Unmarshal([]byte(first), &parts); err != nil {
		return "", fmt.Errorf("%s: %w", b.at(), err)
	}
	if parts.APIVersion != "" {
		return b.text, nil
	}
	sample, err := sampleOf(b)
	if err != nil {
		return "", err
	}
	text, err := os.ReadFile(filepath.Join(root, "config", "samples", sample))
	if err != nil {
		return "", fmt.Errorf("reading a sample: %w", err)
	}
	var whole map[string]any
	if err := yaml.Unmarshal(text, &whole); err != nil {
		return "", fmt.Errorf("reading %s: %w", sample, err)
	}
	maps.Copy(whole["spec"].(map[string]any), parts.Spec)
	text, err = yaml.Marshal(whole)
	return string(text), err
}

// sampleOf returns the sample of the kind that has the fields of a part.
func sampleOf(b block) (string, error) {
	var site struct {
		Spec tokensv1alpha1.AtlassianSiteSpec `json:"spec"`
	}
	var token struct {
		Spec tokensv1alpha1.APITokenSpec `json:"spec"`
	}
	notSite := yaml.UnmarshalStrict([]byte(b.text), &site)
	if notSite == nil {
		return "site.yaml", nil
	}
	notToken := yaml.UnmarshalStrict([]byte(b.text), &token)
	if notToken == nil {
		return "apitoken.yaml", nil
	}
	return "", fmt.Errorf("%s: no part of a site or an APIToken, and not marked: %w", b.at(), errors.Join(notSite, notToken))
}
