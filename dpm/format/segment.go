package format

import (
	"errors"
	"fmt"
)

// A segment header in the segment table. Every word is a checked word (48 bits of payload and a
// 16-bit check) that changes by one 8-byte store:
//
//	 byte  payload
//	  0    state u8 | kind u8 | rank u16 | thread u16
//	  8    generation u32: one more at each hand-out
//	 16    order u48: place in its owner's log
//	 24    incarnation u32 of the owner
//	 32    merged u48: bytes from the segment's start that are in the index durably
//	 40    sealed u48: bytes that are log; meaningful once the state is SegmentSealed
//	 48    table u48: the index table an index or overflow segment belongs to
//	 56    settled u48: when it was handed out, the owner's replicated entries with lower sequences had had their CAS
//
// Hand-out writes words 1 to 7 first (flush, fence), then the state word (flush, fence). So a state
// other than SegmentFree vouches for the rest, and 64 zero bytes are a segment that was never used.

// SegmentHeaderBytes is the size of one entry of the segment table.
const SegmentHeaderBytes = 64

// Offsets of a segment header's words.
const (
	SegmentStateOffset       = 0
	SegmentGenerationOffset  = 8
	SegmentOrderOffset       = 16
	SegmentIncarnationOffset = 24
	SegmentMergedOffset      = 32
	SegmentSealedOffset      = 40
	SegmentTableOffset       = 48
	SegmentSettledOffset     = 56
)

// SegmentID counts segments from 0. It is an index into the segment table.
type SegmentID uint32

// NoSegment is no segment.
const NoSegment SegmentID = 1<<32 - 1

// SegmentState is where a segment is in its life.
type SegmentState uint8

// States. Values are durable.
const (
	// SegmentFree may be handed out.
	SegmentFree SegmentState = iota
	// SegmentOpen is being written by its owner.
	SegmentOpen
	// SegmentSealed gets no further entries.
	SegmentSealed
	// SegmentQuarantined is a dead owner's, who may still be able to write to it. It is not reused.
	SegmentQuarantined
	segmentStateEnd
)

var segmentStateNames = [...]string{"free", "open", "sealed", "quarantined"}

// String returns the state's name.
func (s SegmentState) String() string {
	if s < segmentStateEnd {
		return segmentStateNames[s]
	}
	return fmt.Sprintf("state%d", uint8(s))
}

// SegmentKind is what a segment holds.
type SegmentKind uint8

// Kinds. Values are durable.
const (
	// SegmentNone: nothing; the segment is free.
	SegmentNone SegmentKind = iota
	// SegmentLog: log entries of a KN thread.
	SegmentLog
	// SegmentCompaction: entries that the DPM moved.
	SegmentCompaction
	// SegmentIndex: an extent of main buckets.
	SegmentIndex
	// SegmentOverflow: overflow buckets.
	SegmentOverflow
	segmentKindEnd
)

var segmentKindNames = [...]string{"none", "log", "compaction", "index", "overflow"}

// String returns the kind's name.
func (k SegmentKind) String() string {
	if k < segmentKindEnd {
		return segmentKindNames[k]
	}
	return fmt.Sprintf("kind%d", uint8(k))
}

// SegmentIdentity is the payload of a segment's state word.
type SegmentIdentity struct {
	State  SegmentState
	Kind   SegmentKind
	Rank   uint16 // owner; 0 is the DPM
	Thread uint16
}

// Word returns the state word.
func (i SegmentIdentity) Word() uint64 {
	return SealWord(RoleSegmentState, uint64(i.State)|uint64(i.Kind)<<8|uint64(i.Rank)<<16|uint64(i.Thread)<<32)
}

// OpenSegmentIdentity decodes a state word; ok is false when it is damaged.
func OpenSegmentIdentity(word uint64) (i SegmentIdentity, ok bool) {
	p, ok := OpenWord(RoleSegmentState, word)
	i = SegmentIdentity{State: SegmentState(p), Kind: SegmentKind(p >> 8), Rank: uint16(p >> 16), Thread: uint16(p >> 32)}
	return i, ok && i.State < segmentStateEnd && i.Kind < segmentKindEnd
}

// SegmentHeader is a decoded entry of the segment table.
type SegmentHeader struct {
	SegmentIdentity
	Generation  uint32
	Order       uint64
	Incarnation uint32
	Merged      uint64
	Sealed      uint64
	Table       uint64
	Settled     uint64
}

// Encode writes the header's eight words to dst.
func (h *SegmentHeader) Encode(dst *[SegmentHeaderBytes]byte) {
	put64(dst[SegmentStateOffset:], h.SegmentIdentity.Word())
	put64(dst[SegmentGenerationOffset:], SealWord(RoleSegmentGeneration, uint64(h.Generation)))
	put64(dst[SegmentOrderOffset:], SealWord(RoleSegmentOrder, h.Order))
	put64(dst[SegmentIncarnationOffset:], SealWord(RoleSegmentIncarnation, uint64(h.Incarnation)))
	put64(dst[SegmentMergedOffset:], SealWord(RoleSegmentMerged, h.Merged))
	put64(dst[SegmentSealedOffset:], SealWord(RoleSegmentSealed, h.Sealed))
	put64(dst[SegmentTableOffset:], SealWord(RoleSegmentTable, h.Table))
	put64(dst[SegmentSettledOffset:], SealWord(RoleSegmentSettled, h.Settled))
}

// DecodeSegmentHeader decodes src, which was read at offset of the pool; offset is only named in errors,
// which are all the damaged words (*WordError) joined. Words that are sound are filled in even then. Without
// error it does not allocate.
func DecodeSegmentHeader(src *[SegmentHeaderBytes]byte, offset uint64, h *SegmentHeader) error {
	*h = SegmentHeader{}
	var damaged error
	word := func(role Role, at uint64, what string, limit uint64) uint64 {
		payload, ok := OpenWord(role, le64(src[at:]))
		if !ok || payload > limit {
			damaged = errors.Join(damaged, &WordError{What: what, Offset: offset + at, Word: le64(src[at:])})
			return 0
		}
		return payload
	}
	identity, ok := OpenSegmentIdentity(le64(src[SegmentStateOffset:]))
	if ok {
		h.SegmentIdentity = identity
	} else {
		damaged = &WordError{What: "segment state", Offset: offset, Word: le64(src[:])}
	}
	h.Generation = uint32(word(RoleSegmentGeneration, SegmentGenerationOffset, "segment generation", 1<<32-1))
	h.Order = word(RoleSegmentOrder, SegmentOrderOffset, "segment order", MaxPayload)
	h.Incarnation = uint32(word(RoleSegmentIncarnation, SegmentIncarnationOffset, "segment incarnation", 1<<32-1))
	h.Merged = word(RoleSegmentMerged, SegmentMergedOffset, "segment merged", MaxPayload)
	h.Sealed = word(RoleSegmentSealed, SegmentSealedOffset, "segment sealed", MaxPayload)
	h.Table = word(RoleSegmentTable, SegmentTableOffset, "segment table id", MaxPayload)
	h.Settled = word(RoleSegmentSettled, SegmentSettledOffset, "segment settled", MaxPayload)
	return damaged
}

// String shows the header on one line, for people.
func (h *SegmentHeader) String() string {
	return fmt.Sprintf("%s %s rank=%d.%d thread=%d gen=%d order=%d settled=%d merged=%d sealed=%d table=%d",
		h.State, h.Kind, h.Rank, h.Incarnation, h.Thread, h.Generation, h.Order, h.Settled, h.Merged, h.Sealed, h.Table)
}
