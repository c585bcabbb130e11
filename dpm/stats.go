package dpm

import (
	"fmt"
	"strings"
	"sync/atomic"

	"github.com/dinomo-kv/dinomo/dpm/format"
)

type counters struct {
	calls, allocBusy, allocNoSpace                            atomic.Uint64
	mergedEntries, mergedBytes, mergedBatches, mergeStalls    atomic.Uint64
	freed, compactions, movedBytes, fences, damage, handedOut atomic.Uint64
}

// Stats are a pool's figures as of now. Their order is that of the STATS call.
type Stats struct {
	Segments           uint64 // in the pool
	FreeSegments       uint64
	LogSegments        uint64 // of KN threads, sealed and merged
	UnmergedSegments   uint64 // of KN threads, open or sealed but not merged
	CompactionSegments uint64
	IndexSegments      uint64
	OverflowSegments   uint64
	HeldSegments       uint64 // kept though they may be dead: a thread may ask about them, or a fenced process write
	SegmentBytes       uint64
	LiveBytes          uint64 // about: counted in 64-byte units

	IndexTable           uint64
	IndexBuckets         uint64
	IndexSlotsUsed       uint64
	IndexOverflowBuckets uint64
	// IndexLoadPermille and IndexProbesPermille are thousandths: slots used of main-bucket slots, mean
	// buckets read per lookup of a present key.
	IndexLoadPermille   uint64
	IndexProbesPermille uint64
	IndexGrows          uint64

	IndirectWordsUsed uint64 // quarantined ones included
	WordsQuarantined  uint64 // indirect words that a fenced process may still move
	MetadataRecords   uint64
	RanksHeld         uint64
	QueuePairs        uint64

	Calls         uint64
	AllocBusy     uint64 // ALLOCs answered BUSY
	AllocNoSpace  uint64 // ALLOCs answered NO_SPACE
	HandedOut     uint64 // segments
	MergedEntries uint64
	MergedBytes   uint64
	MergedBatches uint64
	MergeStalls   uint64 // batches that waited for the index to get a segment
	FreedSegments uint64
	Compactions   uint64
	MovedBytes    uint64 // by compaction
	Fences        uint64 // ranks fenced
	Damage        uint64 // reports of damage
	ServerEpoch   uint64
	ReadOnly      uint64 // 1 after a failed write-back
}

// Stats returns the pool's figures.
func (p *Pool) Stats() Stats {
	c := &p.counters
	st := Stats{
		Segments: uint64(len(p.segments)), SegmentBytes: p.layout.SegmentBytes, ServerEpoch: p.epoch,
		Calls: c.calls.Load(), AllocBusy: c.allocBusy.Load(), AllocNoSpace: c.allocNoSpace.Load(), HandedOut: c.handedOut.Load(),
		MergedEntries: c.mergedEntries.Load(), MergedBytes: c.mergedBytes.Load(), MergedBatches: c.mergedBatches.Load(),
		MergeStalls: c.mergeStalls.Load(), FreedSegments: c.freed.Load(), Compactions: c.compactions.Load(),
		MovedBytes: c.movedBytes.Load(), Fences: c.fences.Load(), Damage: c.damage.Load(),
	}
	if p.Err() != nil {
		st.ReadOnly = 1
	}
	p.countSegments(&st)
	ix := p.index.Stats()
	st.IndexTable, st.IndexBuckets, st.IndexSlotsUsed = ix.Table, ix.Buckets, ix.SlotsUsed
	st.IndexOverflowBuckets, st.IndexGrows = ix.OverflowBuckets, ix.Grows
	st.IndexLoadPermille, st.IndexProbesPermille = uint64(ix.LoadFactor*1000), uint64(ix.BucketsPerLookup*1000)
	p.words.Lock()
	st.IndirectWordsUsed = uint64(len(p.words.used) - p.words.free)
	st.WordsQuarantined = uint64(len(p.words.quarantined))
	p.words.Unlock()
	p.meta.Lock()
	st.MetadataRecords = uint64(len(p.meta.byName))
	p.meta.Unlock()
	p.ranks.Lock()
	for i := range p.ranks.ranks {
		if p.ranks.ranks[i].entry.State == format.RankHeld {
			st.RanksHeld++
		}
	}
	for _, t := range p.ranks.qps {
		st.QueuePairs += uint64(t.qps)
	}
	p.ranks.Unlock()
	return st
}

func (p *Pool) countSegments(st *Stats) {
	p.mu.Lock()
	defer p.mu.Unlock()
	st.FreeSegments = uint64(len(p.mu.free))
	for i := range p.segments {
		s := &p.segments[i]
		st.LiveBytes += uint64(max(s.live.Load(), 0)) * format.SizeUnit
		if s.held != holdNone {
			st.HeldSegments++
		}
		switch s.header.Kind {
		case format.SegmentLog:
			if s.streamed {
				st.UnmergedSegments++
			} else {
				st.LogSegments++
			}
		case format.SegmentCompaction:
			st.CompactionSegments++
		case format.SegmentIndex:
			st.IndexSegments++
		case format.SegmentOverflow:
			st.OverflowSegments++
		}
	}
}

// SegmentInfo is a segment as the pool counts it.
type SegmentInfo struct {
	ID     format.SegmentID
	Header format.SegmentHeader
	Live   uint64 // bytes, in whole format.SizeUnits, that the index leads to directly
	Pinned int    // at most so many entries that are live otherwise
	Held   bool   // kept although it may be dead
}

// Segments lists all segments that are not free.
func (p *Pool) Segments() []SegmentInfo {
	p.mu.Lock()
	defer p.mu.Unlock()
	var list []SegmentInfo
	for i := range p.segments {
		s := &p.segments[i]
		if s.header.State == format.SegmentFree {
			continue
		}
		list = append(list, SegmentInfo{
			ID: format.SegmentID(i), Header: s.header, Live: uint64(max(s.live.Load(), 0)) * format.SizeUnit,
			Pinned: int(max(s.pinned.Load(), 0)), Held: s.held != holdNone,
		})
	}
	return list
}

// figures lists the names and values in the order of the STATS call.
func (st *Stats) figures() []figure {
	return []figure{
		{"segments", &st.Segments}, {"free_segments", &st.FreeSegments}, {"log_segments", &st.LogSegments},
		{"unmerged_segments", &st.UnmergedSegments}, {"compaction_segments", &st.CompactionSegments},
		{"index_segments", &st.IndexSegments}, {"overflow_segments", &st.OverflowSegments}, {"held_segments", &st.HeldSegments},
		{"segment_bytes", &st.SegmentBytes}, {"live_bytes", &st.LiveBytes}, {"index_table", &st.IndexTable},
		{"index_buckets", &st.IndexBuckets}, {"index_slots_used", &st.IndexSlotsUsed},
		{"index_overflow_buckets", &st.IndexOverflowBuckets}, {"index_load_permille", &st.IndexLoadPermille},
		{"index_probes_permille", &st.IndexProbesPermille}, {"index_grows", &st.IndexGrows},
		{"indirect_words_used", &st.IndirectWordsUsed}, {"words_quarantined", &st.WordsQuarantined}, {"metadata_records", &st.MetadataRecords},
		{"ranks_held", &st.RanksHeld}, {"queue_pairs", &st.QueuePairs}, {"calls", &st.Calls}, {"alloc_busy", &st.AllocBusy},
		{"alloc_no_space", &st.AllocNoSpace}, {"handed_out", &st.HandedOut}, {"merged_entries", &st.MergedEntries},
		{"merged_bytes", &st.MergedBytes}, {"merged_batches", &st.MergedBatches}, {"merge_stalls", &st.MergeStalls},
		{"freed_segments", &st.FreedSegments}, {"compactions", &st.Compactions}, {"moved_bytes", &st.MovedBytes},
		{"fences", &st.Fences}, {"damage", &st.Damage}, {"server_epoch", &st.ServerEpoch}, {"read_only", &st.ReadOnly},
	}
}

type figure struct {
	name  string
	value *uint64
}

func (st *Stats) counts() []uint64 {
	figures := st.figures()
	counts := make([]uint64, len(figures))
	for i, f := range figures {
		counts[i] = *f.value
	}
	return counts
}

// StatsOf makes Stats of what the STATS call answers. Figures that an older DPM does not know are 0, those
// of a newer one are ignored.
func StatsOf(counts []uint64) (st Stats) {
	for i, f := range st.figures() {
		if i < len(counts) {
			*f.value = counts[i]
		}
	}
	return st
}

// String shows all figures, one a line.
func (st Stats) String() string {
	var b strings.Builder
	for _, f := range st.figures() {
		fmt.Fprintf(&b, "%s %d\n", f.name, *f.value)
	}
	return b.String()
}
