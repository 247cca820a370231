package feed

import (
	"errors"
	"time"

	coordinationv1 "k8s.io/api/coordination/v1"
	"k8s.io/apimachinery/pkg/fields"
	"sigs.k8s.io/controller-runtime/pkg/client"
)

// pulse measures how long it takes until this replica sees a change. An event of a watch does not say when what it is about
// was written, a deletion least of all; but the leading controller writes into its lease every two seconds when it did.
// What is seen of the lease as late is seen of a revocation as late: both come from the same API server, over one connection.
type pulse struct {
	now     func() time.Time
	observe func(float64)
	last    map[key]time.Time
}

func newPulse(m *metrics) *pulse {
	return &pulse{now: time.Now, observe: m.latency.Observe, last: map[key]time.Time{}}
}

var errNoLease = errors.New("not a lease that was ever renewed")

// put implements store, as do remove and keys. When the first one that is seen was written says nothing.
func (p *pulse) put(o client.Object) error {
	l, ok := o.(*coordinationv1.Lease)
	if !ok || l.Spec.RenewTime == nil {
		return errNoLease
	}
	k := keyOf(l)
	last, seen := p.last[k]
	p.last[k] = l.Spec.RenewTime.Time
	if seen && l.Spec.RenewTime.After(last) {
		p.observe(max(0, p.now().Sub(l.Spec.RenewTime.Time).Seconds()))
	}
	return nil
}

func (p *pulse) remove(k key) { delete(p.last, k) }

func (p *pulse) keys() []key {
	keys := make([]key, 0, len(p.last))
	for k := range p.last {
		keys = append(keys, k)
	}
	return keys
}

func lease(namespace, name string) []client.ListOption {
	return []client.ListOption{
		client.InNamespace(namespace),
		client.MatchingFieldsSelector{Selector: fields.OneTermEqualSelector("metadata.name", name)},
	}
}
