//go:build long

package oracle

import "testing"

func TestLongOracle(t *testing.T) { ask(t, 10_000_000) }
