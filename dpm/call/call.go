package call

import (
	"errors"
	"fmt"
)

// Version is the protocol version that every request carries.
const Version = 1

// ErrMalformed: the bytes are no message of this protocol.
var ErrMalformed = errors.New("malformed call")

// Op says what a request asks for.
type Op uint8

// The operations.
const (
	// Attach opens a thread's log: which of its segments are known, and how far its log reaches.
	Attach Op = iota + 1
	// Alloc asks for log segments.
	Alloc
	// Seal gives the thread's open segments back: it will not write to them any more.
	Seal
	// Progress asks how far the thread's log is merged.
	Progress
	// Drain merges what the thread has written.
	Drain
	// Root asks for the index root and directory, and says which table the thread uses.
	Root
	// MetaGet reads a metadata record.
	MetaGet
	// MetaCAS changes a metadata record if its version is the expected one.
	MetaCAS
	// Stats asks for the pool's figures.
	Stats
	// Install puts an indirect pointer in front of a key, so that several nodes may write it.
	Install
	// Remove takes a key's indirect pointer away again.
	Remove
	ops
)

var opNames = [ops]string{
	Attach: "ATTACH", Alloc: "ALLOC", Seal: "SEAL", Progress: "PROGRESS", Drain: "DRAIN", Root: "ROOT",
	MetaGet: "META_GET", MetaCAS: "META_CAS", Stats: "STATS", Install: "INSTALL", Remove: "REMOVE",
}

// Valid says whether o is one of the operations.
func (o Op) Valid() bool { return o > 0 && o < ops }

// String returns the operation's name.
func (o Op) String() string {
	if !o.Valid() {
		return fmt.Sprintf("Op(%d)", uint8(o))
	}
	return opNames[o]
}

// Status says how a call went.
type Status uint8

// The statuses. A reply carries its operation's fields only where the status's comment says so.
const (
	// OK: done; all fields are there.
	OK Status = iota
	// NoSpace: the pool has no segment for puts. Alloc's fields are there.
	NoSpace
	// Busy: not now; ask again. Alloc's fields are there.
	Busy
	// NotFound: no such record or key.
	NotFound
	// Conflict: MetaCAS found another version; its fields carry the present one.
	Conflict
	// TooLarge: a record, name or key is above its limit.
	TooLarge
	// Malformed: the request could not be decoded.
	Malformed
	// Fenced: the rank and incarnation have been fenced.
	Fenced
	// Failed: the pool could not; the text says why.
	Failed
	// Damaged: likewise, because stored bytes are not what was written.
	Damaged
	statuses
)

var statusNames = [statuses]string{
	OK: "OK", NoSpace: "NO_SPACE", Busy: "BUSY", NotFound: "NOT_FOUND", Conflict: "CONFLICT",
	TooLarge: "TOO_LARGE", Malformed: "MALFORMED", Fenced: "FENCED", Failed: "FAILED", Damaged: "DAMAGED",
}

// String returns the status's name.
func (s Status) String() string {
	if s >= statuses {
		return fmt.Sprintf("Status(%d)", uint8(s))
	}
	return statusNames[s]
}

// Segment is a log segment that was handed out.
type Segment struct {
	ID         uint32
	Generation uint32
	Order      uint64 // its place in the owner's log
}

// SegmentTail is a segment of a thread's log as Attach finds it.
type SegmentTail struct {
	Segment
	Tail         uint64 // bytes of valid entries; the segment is sealed there
	NextSequence uint64 // one more than the last entry's sequence number, 0 when there is no entry
}

// Request is one call. Only the fields that its Op names are encoded.
type Request struct {
	Op Op

	Count       uint32 // Alloc: segments wanted
	DeletesOnly bool   // Alloc: the segment will hold deletes, so a full pool gives one of its reserve
	Table       uint64 // Alloc, Progress, Root: the index table the thread reads, 0 none
	Settled     uint64 // Alloc, Progress, Drain: replicated entries with lower sequence numbers had their CAS, or never will
	Through     uint64 // Drain: first sequence number that need not be merged; 0: everything written so far
	Name        []byte // MetaGet, MetaCAS
	Expect      uint64 // MetaCAS: the version that is to be replaced, 0 for none yet
	Bytes       []byte // MetaCAS: the new record
	Key         []byte // Install, Remove
}

// Reply is the answer to a Request. Only the fields that its Op names are encoded, and only under
// the statuses that carry them.
type Reply struct {
	Status Status
	Op     Op
	Text   string // why the status is not OK

	Table         uint64        // Attach, Alloc, Progress, Drain, Root: the current index table
	NextSequence  uint64        // Attach: the log ends before it; 0: the pool knows only what Tails say
	Merged        uint64        // Attach, Alloc, Progress, Drain: every entry of the thread below this sequence number is merged
	Unmerged      uint32        // Attach, Alloc, Progress, Drain: segments of the thread that count against its limit
	UnmergedLimit uint32        // Attach
	ServerEpoch   uint64        // Attach
	LeaseMicros   uint64        // Attach: length of a lease
	Tails         []SegmentTail // Attach, in log order
	Segments      []Segment     // Alloc, in log order
	Done          bool          // Drain: merged as far as asked
	Record        uint64        // MetaGet, MetaCAS: the record's version
	Bytes         []byte        // MetaGet, MetaCAS under Conflict: the record; Root: index.DecodeTable's encoding. Aliases the decoded message
	Pointer       uint64        // Install: the indirect pointer's word
	Counts        []uint64      // Stats: figures in the order of dpm.Stats
}
