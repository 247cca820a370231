package serving

import "runtime"

// headroom is in bytes.
const headroom = 16 << 20

// Reserve reserves memory until release is called. Nobody touches it, so it takes no room. But the garbage collector counts it as kept,
// and lets the heap grow by as much as is kept between two collections. Without it, a webhook with few tokens would collect garbage
// after each thousand requests, at a tenth of their CPU time.
func Reserve() (release func()) {
	reserved := make([]byte, headroom)
	return func() { runtime.KeepAlive(reserved) }
}
