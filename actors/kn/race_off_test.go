//go:build !race

package kn

// raceEnabled: the race detector allocates where the program does not.
const raceEnabled = false
