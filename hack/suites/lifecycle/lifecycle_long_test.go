//go:build long

package lifecycle_test

import "testing"

func TestLongLifecycle(t *testing.T) { lifecycles(t, 2000) }
