//go:build !race

package runtime

// raceEnabled: the race detector allocates on its own account.
const raceEnabled = false
