//go:build long

package main

import "testing"

func TestLongRollingRestart(t *testing.T) { rollingRestart(t, 20) }
