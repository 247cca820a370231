package manager

import (
	"os"
	"runtime/debug"
	"runtime/metrics"
)

const (
	// thriftyPercent is how much a process with a large heap may grow between two garbage collections, in percent of what is live. Go's
	// own value of 100 takes twice the memory of the tokens.
	thriftyPercent = 40
	// largeHeap is the live heap from which on that counts. Below, collections would come often and save nothing.
	largeHeap = 32 << 20
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
	if os.Getenv("GOGC") == "" && live[0].Value.Kind() == metrics.KindUint64 && live[0].Value.Uint64() < largeHeap {
		debug.SetGCPercent(100)
	}
}
