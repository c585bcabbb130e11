// Package policy decides when the cluster should change: add a KN, remove one, give a hot key more owners, take
// them away again (Dinomo §4, "policy engine"; after Anna's).
//
// It is pure. Decide takes a Snapshot of the last period and the State that the last call returned, and gives back
// decisions with the figures that led to them; somebody else carries them out. Every constant is an Option with the
// original's default.
//
// MON-1 (its part): no decision inside the grace period after a reconfiguration.
//
// It does not measure, does not send, and does not know whether a decision succeeded: the next snapshot tells.
package policy
