//go:build !planted

package planted

// Possible says whether this build can have bugs planted.
const Possible = false

// Has says whether this process has the bug.
func Has(Bug) bool { return false }
