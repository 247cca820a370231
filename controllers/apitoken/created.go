package apitoken

import (
	"sync"

	"sigs.k8s.io/controller-runtime/pkg/event"
	"sigs.k8s.io/controller-runtime/pkg/predicate"
)

// created has the names of records that this process creates, until an event shows them. The pass that creates a record has more to
// say about it than its event, for which another pass would read the delivered Secret again. A nil one has none.
type created struct {
	mu    sync.Mutex
	names map[string]struct{}
}

func (c *created) note(name string) {
	if c == nil {
		return
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	c.names[name] = struct{}{}
}

// take removes a name, and reports whether it was there.
func (c *created) take(name string) bool {
	if c == nil {
		return false
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	_, was := c.names[name]
	delete(c.names, name)
	return was
}

// byOthers passes everything but the creation of these records, which are in a namespace.
func (c *created) byOthers(namespace string) predicate.Predicate {
	return predicate.Funcs{CreateFunc: func(e event.CreateEvent) bool {
		return e.Object.GetNamespace() != namespace || !c.take(e.Object.GetName())
	}}
}
