package dpm

import (
	"fmt"
	"strings"
	"time"
)

// RecoveryReport says what opening a pool found and did.
type RecoveryReport struct {
	Created bool // there was none before
	Phases  []RecoveryPhase

	Segments        int // in the pool
	FreeSegments    int // after recovery
	OpenSegments    int // that a KN was writing when the DPM stopped
	UnmergedLogs    int // threads whose log had entries to merge
	UnmergedBytes   uint64
	MergedEntries   uint64
	MergedBytes     uint64
	OrphanedTables  int // index segments of tables half built or replaced
	IndexSlots      uint64
	IndirectWords   int
	MetadataRecords int
	Ranks           int
	SkippedDamage   int // damaged log entries that AcceptDamage let pass
}

// RecoveryPhase is one step and how long it took.
type RecoveryPhase struct {
	Name     string
	Duration time.Duration
}

// Duration is the sum of the phases.
func (r RecoveryReport) Duration() (d time.Duration) {
	for _, phase := range r.Phases {
		d += phase.Duration
	}
	return d
}

// String shows the report on a few lines.
func (r RecoveryReport) String() string {
	var b strings.Builder
	if r.Created {
		b.WriteString("created a pool")
	} else {
		b.WriteString("recovered the pool")
	}
	fmt.Fprintf(&b, " in %v: %d of %d segments free, %d keys\n", r.Duration().Round(time.Microsecond), r.FreeSegments, r.Segments, r.IndexSlots)
	fmt.Fprintf(&b, "merged %d entries, %d bytes, of %d logs; %d open segments; %d orphaned index segments; %d ranks; %d metadata records; %d indirect words\n",
		r.MergedEntries, r.MergedBytes, r.UnmergedLogs, r.OpenSegments, r.OrphanedTables, r.Ranks, r.MetadataRecords, r.IndirectWords)
	for i, phase := range r.Phases {
		if i > 0 {
			b.WriteString(", ")
		}
		fmt.Fprintf(&b, "%s %v", phase.Name, phase.Duration.Round(time.Microsecond))
	}
	return b.String()
}

// phase runs one step of recovery and notes its time.
func (p *Pool) phase(name string, step func() error) error {
	began := p.o.Clock.Now()
	err := step()
	p.report.Phases = append(p.report.Phases, RecoveryPhase{name, p.o.Clock.Now().Sub(began)})
	return err
}

// recovery is what the read-only look found.
type recovery struct {
	metadata []metadataLook
	words    []bool
}

// recover brings the pool from whatever state a crash left to one that serves (DPM-5). Up to "epoch" nothing is
// written, and what is damaged is refused.
func (p *Pool) recover(fresh bool) error {
	p.report.Created = fresh
	var found recovery
	steps := []struct {
		name string
		step func() error
	}{
		{"superblock", p.lookSuperblock},
		{"segment table", p.lookSegments},
		{"ranks and metadata", func() error { return p.lookTables(&found) }},
		{"index scan", func() error { return p.lookIndex(&found) }},
		{"log scan", p.lookLogs},
		{"epoch", p.raiseEpoch},
		{"repair", func() error { return p.repair(&found) }},
		{"merge", p.mergeAll},
		{"reclaim", p.reclaimAtOpen},
	}
	for _, s := range steps {
		if err := p.phase(s.name, s.step); err != nil {
			return err
		}
	}
	p.report.Segments, p.report.FreeSegments = len(p.segments), p.freeSegments()
	p.report.IndexSlots = p.index.Stats().SlotsUsed
	p.o.Events.RecoveryEnd(p.report)
	p.checkSize(1)
	return nil
}
