package dpm

import (
	"time"

	"github.com/dinomo-kv/dinomo/dpm/fabric"
	"github.com/dinomo-kv/dinomo/dpm/format"
)

// EventListener is told what the pool does. Its functions may be called from any goroutine, at any rate up to one
// a segment, and must not call the pool. Nil ones are not called.
type EventListener struct {
	// RecoveryEnd: the pool was opened.
	RecoveryEnd func(RecoveryReport)
	// RankAdmitted: a node got a rank and incarnation.
	RankAdmitted func(RankInfo)
	// RankFenced: a rank's incarnation, and all before, were fenced.
	RankFenced func(RankInfo)
	// SegmentsFreed: dead segments may be handed out again.
	SegmentsFreed func(ids []format.SegmentID)
	// CompactionEnd: a mostly dead segment's live entries were moved.
	CompactionEnd func(CompactionInfo)
	// SmallPool: there are too few segments for the threads that are attached.
	SmallPool func(SizeInfo)
	// Damage: stored bytes are not what was written.
	Damage func(DamageInfo)
	// ReadOnly: a write-back failed; the pool accepts nothing more.
	ReadOnly func(err error)
}

// RankInfo names a rank's holder.
type RankInfo struct {
	Rank        fabric.Rank
	Incarnation fabric.Incarnation
	Identity    string // "" when only its hash is known (since before the DPM's start)
}

// CompactionInfo says what one compaction did.
type CompactionInfo struct {
	Segment     format.SegmentID
	Entries     int    // moved
	BytesMoved  uint64 // of entries
	BytesGained uint64 // of the segment beyond that
	Duration    time.Duration
}

// DamageInfo says where damage was found.
type DamageInfo struct {
	Offset uint64 // in the pool
	What   string
	Err    error
}

// EnsureDefaults fills nil functions.
func (l *EventListener) EnsureDefaults() {
	if l.RecoveryEnd == nil {
		l.RecoveryEnd = func(RecoveryReport) {}
	}
	if l.RankAdmitted == nil {
		l.RankAdmitted = func(RankInfo) {}
	}
	if l.RankFenced == nil {
		l.RankFenced = func(RankInfo) {}
	}
	if l.SegmentsFreed == nil {
		l.SegmentsFreed = func([]format.SegmentID) {}
	}
	if l.CompactionEnd == nil {
		l.CompactionEnd = func(CompactionInfo) {}
	}
	if l.SmallPool == nil {
		l.SmallPool = func(SizeInfo) {}
	}
	if l.Damage == nil {
		l.Damage = func(DamageInfo) {}
	}
	if l.ReadOnly == nil {
		l.ReadOnly = func(error) {}
	}
}
