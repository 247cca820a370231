package manager

import (
	"net/http"
	"strings"
	"sync"

	apimeta "k8s.io/apimachinery/pkg/api/meta"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/client-go/rest"
	"sigs.k8s.io/controller-runtime/pkg/client/apiutil"
)

// mapper remembers where the kinds are served. The cache asks at each read whether a kind has namespaces, and finding that out takes
// more time than the read.
type mapper struct {
	apimeta.RESTMapper

	known sync.Map // from the key of asked to *apimeta.RESTMapping
}

func newMapper(config *rest.Config, client *http.Client) (apimeta.RESTMapper, error) {
	m, err := apiutil.NewDynamicRESTMapper(config, client)
	return &mapper{RESTMapper: m}, err
}

// asked is what was asked: a kind in some versions.
type asked struct {
	kind     schema.GroupKind
	versions string
}

// RESTMapping implements apimeta.RESTMapper. It does not remember failures: the kind may be installed later.
func (m *mapper) RESTMapping(kind schema.GroupKind, versions ...string) (*apimeta.RESTMapping, error) {
	question := asked{kind, strings.Join(versions, "/")}
	if found, ok := m.known.Load(question); ok {
		return found.(*apimeta.RESTMapping), nil //nolint:forcetypeassert // there is nothing else
	}
	found, err := m.RESTMapper.RESTMapping(kind, versions...)
	if err == nil {
		m.known.Store(question, found)
	}
	return found, err
}
