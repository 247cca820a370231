package manager

import "testing"

func TestSteadyPercent(t *testing.T) {
	for live, want := range map[uint64]int{0: 100, 1 << 20: 100, 20 << 20: 100, 40 << 20: 50, 80 << 20: 25, 120 << 20: 18, 1 << 40: 18} {
		if got := steadyPercent(live); got != want {
			t.Errorf("with %d live bytes: %d percent, want %d", live, got, want)
		}
	}
}
