package format

import (
	"errors"
	"fmt"
)

// An entry of the rank (lease) table:
//
//	 byte
//	  0    lease: a counter that the KN holding the rank counts up by one-sided CAS; the DPM sets it to incarnation<<32 when
//	       it admits a new incarnation and fences by a CAS to LeaseFenced; unchecked, only a change means something
//	  8    state u8 | incarnation u32     checked word
//	 16    identity u48                   checked word: low bits of the hash of the node's name
//	 24    process id u32 | tag u16       checked word; tag: the low bits of the process's incarnation
//	 32    process start u48              checked word: clock ticks since boot
//	 40    reserved, zero
//
// The DPM writes words 1 to 4: 2 to 4 first (flush, fence), then the state word. A crash in between leaves a process whose
// tag is not the state's incarnation's: it was never admitted, and the entry reads as one of no known process. The lease word has
// the cache line's first place, so that a KN's store and the DPM's never share a word.

// RankEntryBytes is the size of one entry of the rank table.
const RankEntryBytes = 64

// Offsets of a rank entry's words.
const (
	RankLeaseOffset    = 0
	RankStateOffset    = 8
	RankIdentityOffset = 16
	RankProcessOffset  = 24
	RankStartOffset    = 32
)

// LeaseFenced is the lease word of a fenced rank: no renewal by CAS succeeds any more.
const LeaseFenced = ^uint64(0)

// RankState is what a rank is to the DPM.
type RankState uint8

// States. Values are durable.
const (
	// RankFree was never given out.
	RankFree RankState = iota
	// RankHeld belongs to the incarnation named.
	RankHeld
	// RankFenced: the incarnation named, and all before, may change nothing.
	RankFenced
	rankStateEnd
)

// String returns the state's name.
func (s RankState) String() string {
	switch s {
	case RankFree:
		return "free"
	case RankHeld:
		return "held"
	case RankFenced:
		return "fenced"
	}
	return fmt.Sprintf("state%d", uint8(s))
}

// RankEntry is a decoded entry of the rank table.
type RankEntry struct {
	Lease        uint64
	State        RankState
	Incarnation  uint32
	Identity     uint64 // at most MaxPayload: mask the hash
	Process      uint32
	ProcessStart uint64 // at most MaxPayload
}

// StateWord returns the word that says state and incarnation.
func (r *RankEntry) StateWord() uint64 {
	return SealWord(RoleRankState, uint64(r.State)|uint64(r.Incarnation)<<8)
}

// Encode writes the entry, lease word included, to dst.
func (r *RankEntry) Encode(dst *[RankEntryBytes]byte) {
	clear(dst[:])
	put64(dst[RankLeaseOffset:], r.Lease)
	put64(dst[RankStateOffset:], r.StateWord())
	put64(dst[RankIdentityOffset:], SealWord(RoleRankIdentity, r.Identity))
	put64(dst[RankProcessOffset:], SealWord(RoleRankProcess, r.processWord()))
	put64(dst[RankStartOffset:], SealWord(RoleRankStart, r.ProcessStart))
}

// processWord is the payload of the process word: 0 when there is no process, which is sound for every incarnation.
func (r *RankEntry) processWord() uint64 {
	if r.Process == 0 {
		return 0
	}
	return uint64(r.Process) | uint64(uint16(r.Incarnation))<<32
}

// DecodeRankEntry decodes src, which was read at offset of the pool. Errors are like DecodeSegmentHeader's.
func DecodeRankEntry(src *[RankEntryBytes]byte, offset uint64, r *RankEntry) error {
	*r = RankEntry{Lease: le64(src[RankLeaseOffset:])}
	var damaged error
	word := func(role Role, at uint64, what string, limit uint64) uint64 {
		payload, ok := OpenWord(role, le64(src[at:]))
		if !ok || payload > limit {
			damaged = errors.Join(damaged, &WordError{What: what, Offset: offset + at, Word: le64(src[at:])})
			return 0
		}
		return payload
	}
	state := word(RoleRankState, RankStateOffset, "rank state", 1<<40-1)
	if RankState(state) >= rankStateEnd {
		damaged = errors.Join(damaged, &WordError{What: "rank state", Offset: offset + RankStateOffset, Word: le64(src[RankStateOffset:])})
		state = 0
	}
	r.State, r.Incarnation = RankState(state), uint32(state>>8)
	r.Identity = word(RoleRankIdentity, RankIdentityOffset, "rank identity", MaxPayload)
	process := word(RoleRankProcess, RankProcessOffset, "rank process", MaxPayload)
	start := word(RoleRankStart, RankStartOffset, "rank process start", MaxPayload)
	if uint16(process>>32) == uint16(r.Incarnation) {
		r.Process, r.ProcessStart = uint32(process), start
	}
	return damaged
}
