// Package invariant stops the program when the program itself is wrong.
//
// Operating errors (a full pool, a dead peer, damaged bytes) are values and never come here.
// Checks that cost something run only where Enabled is true: builds with the tag
// "invariants" or with the race detector.
package invariant
