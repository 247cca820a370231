//go:build long

package apitoken_test

import (
	"testing"
	"time"
)

func TestLongTwoLeadersUnderFaults(t *testing.T) { twoLeaders(t, 200, time.Minute) }
