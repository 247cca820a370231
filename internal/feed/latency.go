package feed

import (
	"errors"
	"time"

	coordinationv1 "k8s.io/api/coordination/v1"
	"k8s.io/apimachinery/pkg/fields"
	"sigs.k8s.io/controller-runtime/pkg/client"
)

// latencyProbe measures the time until this replica sees a change.
//
// A watch event does not say when the change was made. But the leading controller renews its lease every two seconds and
// writes the time into it. Revocations come from the same API server over the same connection, so they are seen as late.
type latencyProbe struct {
	now     func() time.Time
	observe func(float64)
	// last has the last renewal of each lease.
	last map[key]time.Time
}

func newLatencyProbe(m *metrics) *latencyProbe {
	return &latencyProbe{now: time.Now, observe: m.latency.Observe, last: map[key]time.Time{}}
}

var errNoLease = errors.New("not a lease that was ever renewed")

// parse implements store, as do remove, mark and retain. It does not measure the first renewal of a lease, which may be old.
func (p *latencyProbe) parse(o client.Object) parsed {
	k := keyOf(o)
	l, ok := o.(*coordinationv1.Lease)
	if !ok || l.Spec.RenewTime == nil {
		return parsed{k, func() {}, errNoLease}
	}
	return parsed{k, func() {
		last, seen := p.last[k]
		p.last[k] = l.Spec.RenewTime.Time
		if seen && l.Spec.RenewTime.After(last) {
			p.observe(max(0, p.now().Sub(l.Spec.RenewTime.Time).Seconds()))
		}
	}, nil}
}

func (p *latencyProbe) remove(k key) { delete(p.last, k) }

func (p *latencyProbe) mark(k key) mark { return k.mark() }

func (p *latencyProbe) retain(list map[mark]bool) {
	for k := range p.last {
		if !list[k.mark()] {
			p.remove(k)
		}
	}
}

func lease(namespace, name string) []client.ListOption {
	return []client.ListOption{
		client.InNamespace(namespace),
		client.MatchingFieldsSelector{Selector: fields.OneTermEqualSelector("metadata.name", name)},
	}
}
