// Package planted holds the names of bugs that a build with the tag "planted" has on request, one at a time: the checker of
// histories is itself checked by whether it finds them (make mutants). In every other build there are none, and the
// compiler drops what asks for them.
package planted

// Bug is a bug that can be planted, by its name.
type Bug string

// The bugs. Each breaks a named invariant.
const (
	// LeaseIgnored: a KN serves whether or not it holds its lease (OWN-1).
	LeaseIgnored Bug = "lease-ignored"
	// OldOwnerNotMerged: a KN that gives ranges up says that its log is merged without waiting for it (OWN-2).
	OldOwnerNotMerged Bug = "old-owner-not-merged"
	// CacheNotDropped: a KN keeps what it has cached of ranges that it loses (DAC-2).
	CacheNotDropped Bug = "cache-not-dropped"
	// StoreForCAS: the word of a key with several owners is moved by a store.
	StoreForCAS Bug = "cas-replaced-by-store"
	// LateRemoval: the DPM removes an indirect pointer whenever it is asked to, however late.
	LateRemoval Bug = "late-removal"
)

// All lists the bugs.
var All = []Bug{LeaseIgnored, OldOwnerNotMerged, CacheNotDropped, StoreForCAS, LateRemoval}

// Variable is the environment variable that names the bug to have.
const Variable = "DINOMO_PLANTED"
