package remote

import "slices"

// Replicated entries are written to the log first and published by a CAS on the key's pointer word. Until
// the CAS has been tried, the pool must not take the entry for garbage, though nothing leads to it yet: the
// appender tells the pool, along with other calls, below which sequence number all is settled.

// Settle notes that the replicated entry of that sequence number has had its CAS, or never will.
func (a *Appender) Settle(sequence uint64) {
	if i, ok := slices.BinarySearch(a.unsettled, sequence); ok {
		a.unsettled = slices.Delete(a.unsettled, i, i+1)
	}
}

// settled is the first sequence number whose entry may yet be published.
func (a *Appender) settled() uint64 {
	switch {
	case a.unresolved || a.collected:
		// The batch itself may hold replicated entries that nobody has noted yet.
		if len(a.unsettled) == 0 || a.unsettled[0] > a.batch.firstSequence {
			return a.batch.firstSequence
		}
		return a.unsettled[0]
	case len(a.unsettled) > 0:
		return a.unsettled[0]
	}
	return a.next
}
