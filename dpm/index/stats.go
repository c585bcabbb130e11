package index

import (
	"fmt"

	"github.com/dinomo-kv/dinomo/dpm/format"
)

// Stats describe the current table and what writing it took.
type Stats struct {
	Table           uint64  // the table's id
	Buckets         uint64  // main buckets
	OverflowBuckets uint64  // in chains
	Segments        int     // that the table takes
	SlotsUsed       uint64  // keys
	LoadFactor      float64 // SlotsUsed over the slots of the main buckets
	// BucketsPerLookup is the mean number of buckets read to find a key that is present, exact.
	BucketsPerLookup float64
	Grows            uint64 // since Open
	Rounds           uint64 // fences in Apply
	Retries          uint64 // mutations that had to wait for, or lost against, another batch
	// DamagedEntries counts slots whose entry could not be read when a mutation of its hash came.
	DamagedEntries uint64
}

// Stats returns the counts of now.
func (ix *Index) Stats() Stats {
	l := ix.live.Load()
	used := ix.used.Load()
	s := Stats{
		Table:           l.Root.Table,
		Buckets:         l.Buckets(),
		OverflowBuckets: uint64(l.overflow.used()),
		Segments:        len(l.Extents) + len(l.overflow.segments()),
		SlotsUsed:       uint64(used),
		Grows:           uint64(ix.grows.Load()),
		Rounds:          uint64(ix.rounds.Load()),
		Retries:         uint64(ix.retries.Load()),
		DamagedEntries:  uint64(ix.damagedEntries.Load()),
	}
	s.LoadFactor = float64(used) / float64(s.Buckets*format.SlotsPerBucket)
	if used > 0 {
		s.BucketsPerLookup = float64(ix.depths.Load()) / float64(used)
	}
	return s
}

// String shows the counts on one line.
func (s Stats) String() string {
	return fmt.Sprintf("table=%d buckets=%d overflow=%d segments=%d slots=%d load=%.3f buckets/lookup=%.3f grows=%d rounds=%d retries=%d damaged=%d",
		s.Table, s.Buckets, s.OverflowBuckets, s.Segments, s.SlotsUsed, s.LoadFactor, s.BucketsPerLookup, s.Grows, s.Rounds, s.Retries, s.DamagedEntries)
}
