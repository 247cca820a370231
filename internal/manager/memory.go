package manager

import (
	"os"
	"runtime/debug"
	"runtime/metrics"
)

const (
	// thriftyPercent is how much a process may grow between two garbage collections while it fills its caches, in percent of what is
	// live. Go's own value of 100 takes twice the memory of the tokens.
	thriftyPercent = 40
	// steadyGrowth is how much it may grow when they are full, in bytes. Caches stay, so a process needs no room that grows with them.
	steadyGrowth = 20 << 20
	// The least and the most that this is in percent. With less, collections take too much time; more saves none.
	leastPercent, mostPercent = 18, 100
)

// StartMemory has a process collect garbage often while it fills its caches. The environment variable GOGC overrides it, here and in
// SettleMemory.
func StartMemory() {
	if os.Getenv("GOGC") == "" {
		debug.SetGCPercent(thriftyPercent)
	}
}

// SettleMemory gives back the memory that only the start of a process needed. From then on the process collects garbage as often as
// the size of its caches asks for.
func SettleMemory() {
	debug.FreeOSMemory()
	live := []metrics.Sample{{Name: "/gc/heap/live:bytes"}}
	metrics.Read(live)
	if os.Getenv("GOGC") == "" && live[0].Value.Kind() == metrics.KindUint64 {
		debug.SetGCPercent(steadyPercent(live[0].Value.Uint64()))
	}
}

// steadyPercent returns the percentage that a process with so many live bytes may grow.
func steadyPercent(live uint64) int {
	return int(min(max(100*steadyGrowth/max(live, 1), leastPercent), mostPercent))
}
