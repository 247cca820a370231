//go:build long

package stops_test

import "testing"

func TestLongStops(t *testing.T) { histories(t, 2000) }
