// Package config holds the manifests that the cluster must have before the controller starts, as they were when it was built.
package config

import (
	"embed"
	"fmt"
	"io/fs"
	"strings"
)

// RevisionAnnotation is the revision of a CRD or an admission policy. It is raised with every change of its spec, so that a
// process can tell one that is too old from one of a later version.
const RevisionAnnotation = "apitokens.dev/revision"

// The namespaces that the manifests name.
const (
	Namespace            = "apitoken-system"
	CredentialsNamespace = "apitoken-credentials"
	IntakeNamespace      = "apitoken-intake"
)

//go:embed crd/*.yaml admission/*.yaml
var files embed.FS

// Required returns the CRDs, the admission policies and their bindings, as YAML documents for an installation in these
// namespaces.
func Required(namespace, credentialsNamespace, intakeNamespace string) ([]string, error) {
	in := strings.NewReplacer(Namespace, namespace, CredentialsNamespace, credentialsNamespace, IntakeNamespace, intakeNamespace)
	var documents []string
	err := fs.WalkDir(files, ".", func(path string, entry fs.DirEntry, err error) error {
		if err != nil || entry.IsDir() || entry.Name() == "kustomization.yaml" {
			return err
		}
		text, err := files.ReadFile(path)
		if err != nil {
			return err
		}
		for document := range strings.SplitSeq(strings.TrimPrefix(string(text), "---\n"), "\n---\n") {
			documents = append(documents, in.Replace(document))
		}
		return nil
	})
	if err != nil {
		return nil, fmt.Errorf("reading the manifests: %w", err)
	}
	return documents, nil
}
