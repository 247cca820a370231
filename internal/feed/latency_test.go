package feed

import (
	"maps"
	"slices"
	"testing"
	"time"

	coordinationv1 "k8s.io/api/coordination/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
)

func TestLatencyProbe(t *testing.T) {
	now := time.Date(2026, 11, 23, 12, 0, 0, 0, time.UTC)
	var observed []float64
	p := &latencyProbe{now: func() time.Time { return now }, observe: func(s float64) { observed = append(observed, s) }, last: map[key]time.Time{}}
	renewed := func(uid string, ago time.Duration) *coordinationv1.Lease {
		return &coordinationv1.Lease{
			ObjectMeta: metav1.ObjectMeta{Name: "leader", UID: types.UID(uid)},
			Spec:       coordinationv1.LeaseSpec{RenewTime: new(metav1.NewMicroTime(now.Add(-ago)))},
		}
	}
	for _, l := range []*coordinationv1.Lease{
		renewed("1", time.Hour),            // the first one seen
		renewed("1", 250*time.Millisecond), // a renewal
		renewed("1", 250*time.Millisecond), // the same again, as after a new list
		renewed("1", -time.Second),         // the controller's clock is ahead
		renewed("2", time.Minute),          // another lease of the same name
		renewed("2", 2*time.Second),
	} {
		if err := put(p, l); err != nil {
			t.Fatal(err)
		}
	}
	if want := []float64{0.25, 0, 2}; !slices.Equal(observed, want) {
		t.Errorf("observed %v, want %v", observed, want)
	}
	if put(p, &coordinationv1.Lease{}) == nil || put(p, &metav1.PartialObjectMetadata{}) == nil {
		t.Error("took something that was never renewed")
	}
	for _, k := range slices.Collect(maps.Keys(p.last)) {
		p.remove(k)
	}
	if len(slices.Collect(maps.Keys(p.last))) != 0 {
		t.Error("something is left")
	}
}
