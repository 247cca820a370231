// Package scope limits a process to the APITokens and AtlassianSites of some namespaces.
package scope

import (
	"fmt"
	"slices"
	"strings"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/validation"
)

// Namespaces are the namespaces whose APITokens and AtlassianSites a process sees. Without any, it sees those of all. It is the
// value of a flag.
type Namespaces []string

// Has reports whether the process sees what is in a namespace.
func (n Namespaces) Has(namespace string) bool { return len(n) == 0 || slices.Contains(n, namespace) }

// Each returns the namespaces to ask about one by one. The empty name stands for all.
func (n Namespaces) Each() []string {
	if len(n) == 0 {
		return []string{metav1.NamespaceAll}
	}
	return n
}

// String returns the names, separated by commas.
func (n *Namespaces) String() string { return strings.Join(*n, ",") }

// Set reads names that are separated by commas. The empty text means all namespaces.
func (n *Namespaces) Set(s string) error {
	var names Namespaces
	for name := range strings.SplitSeq(s, ",") {
		if s == "" {
			break
		}
		if problems := validation.IsDNS1123Label(name); len(problems) > 0 {
			return fmt.Errorf("%q cannot be the name of a namespace: %s", name, strings.Join(problems, "; "))
		}
		if !slices.Contains(names, name) {
			names = append(names, name)
		}
	}
	*n = names
	return nil
}

// Type names the kind of value in the help of a flag.
func (*Namespaces) Type() string { return "namespaces" }
