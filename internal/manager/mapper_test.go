package manager

import (
	"errors"
	"testing"

	apimeta "k8s.io/apimachinery/pkg/api/meta"
	"k8s.io/apimachinery/pkg/runtime/schema"
)

// asking counts the questions. It knows one kind in one version, from the second question on.
type asking struct {
	apimeta.RESTMapper

	asked int
}

func (a *asking) RESTMapping(kind schema.GroupKind, versions ...string) (*apimeta.RESTMapping, error) {
	if a.asked++; a.asked == 1 || kind.Kind != "APIToken" {
		return nil, errors.New("not served")
	}
	return &apimeta.RESTMapping{GroupVersionKind: kind.WithVersion(versions[0])}, nil
}

// What is served is asked once, and what is not each time: it may be installed later.
func TestMapperRemembers(t *testing.T) {
	server := &asking{}
	m, kind := &mapper{RESTMapper: server}, schema.GroupKind{Group: "apitokens.dev", Kind: "APIToken"}
	if _, err := m.RESTMapping(kind, "v1"); err == nil {
		t.Error("a failure is no failure")
	}
	for range 3 {
		for _, version := range []string{"v1", "v2"} {
			if found, err := m.RESTMapping(kind, version); err != nil || found.GroupVersionKind != kind.WithVersion(version) {
				t.Errorf("%v, %v", found, err)
			}
		}
	}
	if server.asked != 3 {
		t.Errorf("%d questions, want 3", server.asked)
	}
}
