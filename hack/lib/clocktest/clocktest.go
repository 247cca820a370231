// Package clocktest has a clock for tests of what waits.
package clocktest

import (
	"time"

	clocktesting "k8s.io/utils/clock/testing"
)

// Hurried is a clock that nobody waits for: it is moved on instead.
type Hurried struct{ *clocktesting.FakeClock }

// NewHurried returns a clock that begins now.
func NewHurried() Hurried { return Hurried{clocktesting.NewFakeClock(time.Now())} }

// After moves the clock on, and fires at once.
func (c Hurried) After(d time.Duration) <-chan time.Time {
	after := c.FakeClock.After(d)
	c.Step(d)
	return after
}
