package invariant

import "fmt"

// Check panics with the formatted text when ok is false. It is always on: use it for cheap
// checks of programmer errors. Guard dear ones with Enabled.
func Check(ok bool, format string, args ...any) {
	if !ok {
		panic("invariant violated: " + fmt.Sprintf(format, args...))
	}
}

// Mangle overwrites a buffer that its owner has given back, so that a reader who kept it is
// found out. It does nothing unless Enabled.
func Mangle(b []byte) {
	if !Enabled {
		return
	}
	for i := range b {
		b[i] = 0xcc
	}
}
