package inspect

import (
	"fmt"
	"time"

	"github.com/dinomo-kv/dinomo/dpm/look"
)

// Severity says how sure a problem is one.
type Severity string

// The severities.
const (
	// Damage: stored bytes are not what was written.
	Damage Severity = "damage"
	// Suspect: what a crash can leave, or damage can; recovery deals with it as with the former.
	Suspect Severity = "suspect"
	// Note: damage to a log entry that no key leads to any more. It costs nothing but that its segment is not compacted, and goes
	// with the segment.
	Note Severity = "note"
)

// Problem is something that Verify found.
type Problem struct {
	Severity Severity `json:"severity"`
	look.Damage
}

// String shows the problem on one line.
func (p Problem) String() string { return fmt.Sprintf("%s: %s", p.Severity, p.Damage) }

// Status is what a process that verified a pool exits with.
type Status int

// The statuses.
const (
	StatusSound   Status = 0
	StatusDamaged Status = 1
	StatusSuspect Status = 2 // no damage for certain
	StatusFailed  Status = 3 // could not look
)

// VerifyReport is what Verify checked and found.
type VerifyReport struct {
	Path     string        `json:"path"`
	OpenBy   string        `json:"open_by,omitempty"`
	Damaged  int           `json:"damaged"`
	Suspect  int           `json:"suspect"`
	Notes    int           `json:"notes"`
	Problems []Problem     `json:"problems"` // the first MaxProblems
	Checked  Checked       `json:"checked"`
	Phases   []VerifyPhase `json:"phases"`
	// Unchecked says what could not be looked at, because of damage before it or because it would not hold still.
	Unchecked []string `json:"unchecked,omitempty"`
}

// Checked counts what was looked at.
type Checked struct {
	MetadataRecords int    `json:"metadata_records"`
	Ranks           int    `json:"ranks"`
	Segments        int    `json:"segments"` // headers, free ones included
	Logs            int    `json:"log_segments"`
	LogEntries      uint64 `json:"log_entries"`
	LogBytes        uint64 `json:"log_bytes"`
	UnmergedEntries uint64 `json:"unmerged_entries"`
	Buckets         uint64 `json:"buckets"`
	Keys            uint64 `json:"keys"`
	LiveBytes       uint64 `json:"live_bytes"`
	IndirectWords   int    `json:"indirect_words"`
	LatticeEntries  uint64 `json:"lattice_entries"` // of other types than last-writer-wins
	Compressed      uint64 `json:"compressed_entries"`
	RawBytes        uint64 `json:"compressed_raw_bytes"`    // of their values, before
	StoredBytes     uint64 `json:"compressed_stored_bytes"` // and after
}

// VerifyPhase is one part of the work and how long it took.
type VerifyPhase struct {
	Name     string        `json:"name"`
	Duration time.Duration `json:"nanoseconds"`
}

// Status says what was found.
func (r *VerifyReport) Status() Status {
	switch {
	case r.Damaged > 0:
		return StatusDamaged
	case len(r.Unchecked) > 0:
		return StatusFailed
	case r.Suspect > 0:
		return StatusSuspect
	}
	return StatusSound
}
