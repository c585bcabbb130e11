package dpm

import (
	"fmt"
	"slices"
	"sync/atomic"
	"time"

	"github.com/dinomo-kv/dinomo/dpm/format"
)

// segment is a segment as the pool has it in memory: a mirror of its header, and what is only in memory.
type segment struct {
	header format.SegmentHeader // guarded by Pool.mu; Merged also by the stream that owns it
	// live counts the bytes, in format.SizeUnits, of entries that an index slot leads to directly.
	live atomic.Int64
	// pinned counts entries that may be live otherwise: behind a pointer word, or not yet behind one. It may
	// be too high; the reclaimer counts anew before it believes it.
	pinned atomic.Int64
	// held keeps the segment from reuse though nothing in it is live.
	held hold
	// streamed: the segment is in its stream's list.
	streamed bool
	// deletes: out of the reserve, for deletes only. Not known of segments handed out before the DPM's start.
	deletes bool
	// busy: the reclaimer or a hand-out is at it.
	busy bool
	// damaged: its log cannot be walked, so it is not compacted, and freed only when all its entries are known to be dead.
	damaged bool
	// total is the size of all its entries in format.SizeUnits, 0 while that is not known.
	total int64
	// recounted is when its pins were counted last.
	recounted time.Time
}

// hold says why a segment may not be reused.
type hold uint8

const (
	holdNone hold = iota
	// holdAttach: its thread may ask, when it reconnects, what of its last batch is in the log.
	holdAttach
	// holdQuarantine: a fenced process that still lives may write to it.
	holdQuarantine
)

// writeWord changes one word of a segment's header: store and flush. A fence is the caller's.
func (p *Pool) writeWord(id format.SegmentID, at, word uint64) {
	offset := p.layout.SegmentHeaderOffset(id) + at
	p.region.Store64(offset, word)
	p.region.Flush(offset, format.WordBytes)
}

// fence makes everything flushed so far durable. After a failure the pool is read-only for good.
func (p *Pool) fence() error {
	err := p.region.Fence()
	if err != nil {
		p.failOnce(err)
	}
	return err
}

// handOut gives n free segments to an owner, at most as many as are there beyond keep, in the order of
// header.Order, which counts up from what template says. The steps: identity is free; everything
// else of the header, fence; the identity, fence. A crash before the last fence leaves the segment free.
func (p *Pool) handOut(template format.SegmentHeader, n, keep int) ([]format.SegmentID, error) {
	ids := p.takeFree(n, keep)
	if len(ids) == 0 {
		return nil, nil
	}
	for i, id := range ids {
		h := template
		h.Order += uint64(i)
		p.mu.Lock()
		h.Generation = p.segments[id].header.Generation + 1
		p.segments[id].header = h
		p.mu.Unlock()
		var encoded [format.SegmentHeaderBytes]byte
		h.Encode(&encoded)
		offset := p.layout.SegmentHeaderOffset(id)
		p.region.Write(offset+format.WordBytes, encoded[format.WordBytes:])
		p.region.Flush(offset, format.SegmentHeaderBytes)
	}
	if err := p.fence(); err != nil {
		return nil, fmt.Errorf("hand out %d segments: %w", n, err)
	}
	for _, id := range ids {
		p.writeWord(id, format.SegmentStateOffset, template.SegmentIdentity.Word())
	}
	if err := p.fence(); err != nil {
		return nil, fmt.Errorf("hand out %d segments: %w", n, err)
	}
	p.mu.Lock()
	for _, id := range ids {
		p.segments[id].busy = false
	}
	p.mu.Unlock()
	p.counters.handedOut.Add(uint64(len(ids)))
	return ids, nil
}

// takeFree removes up to n segments from the free list, leaving keep.
func (p *Pool) takeFree(n, keep int) []format.SegmentID {
	p.mu.Lock()
	defer p.mu.Unlock()
	n = min(n, len(p.mu.free)-keep)
	if n <= 0 {
		return nil
	}
	// From the front, oldest free first: a stale pointer meets a reused segment as late as possible.
	ids := slices.Clone(p.mu.free[:n])
	p.mu.free = append(p.mu.free[:0], p.mu.free[n:]...)
	for _, id := range ids {
		s := &p.segments[id]
		s.live.Store(0)
		s.pinned.Store(0)
		s.held, s.busy, s.deletes, s.total, s.recounted = holdNone, true, false, 0, time.Time{}
	}
	return ids
}

// seal ends an open segment's log at length bytes. The length is durable before the state is.
func (p *Pool) seal(id format.SegmentID, length uint64) error {
	s := &p.segments[id]
	p.writeWord(id, format.SegmentSealedOffset, format.SealWord(format.RoleSegmentSealed, length))
	if err := p.fence(); err != nil {
		return fmt.Errorf("seal segment %d: %w", id, err)
	}
	identity := s.header.SegmentIdentity
	identity.State = format.SegmentSealed
	p.writeWord(id, format.SegmentStateOffset, identity.Word())
	if err := p.fence(); err != nil {
		return fmt.Errorf("seal segment %d: %w", id, err)
	}
	p.mu.Lock()
	s.header.Sealed, s.header.SegmentIdentity = length, identity
	p.mu.Unlock()
	return nil
}

// free gives segments back, which nothing leads to and nobody writes. They may be handed out again once
// that is durable.
func (p *Pool) free(ids []format.SegmentID) error {
	if len(ids) == 0 {
		return nil
	}
	for _, id := range ids {
		p.writeWord(id, format.SegmentStateOffset, format.SegmentIdentity{}.Word())
	}
	if err := p.fence(); err != nil {
		return fmt.Errorf("free %d segments: %w", len(ids), err)
	}
	p.mu.Lock()
	for _, id := range ids {
		s := &p.segments[id]
		s.header = format.SegmentHeader{Generation: s.header.Generation}
		s.busy, s.streamed, s.damaged, s.held = false, false, false, holdNone
		p.mu.free = append(p.mu.free, id)
	}
	p.mu.Unlock()
	p.counters.freed.Add(uint64(len(ids)))
	p.o.Events.SegmentsFreed(ids)
	return nil
}

// complete says whether everything the segment's owner wrote is in the index. REQUIRES: Pool.mu or the
// stream's lock.
func (s *segment) complete() bool {
	return s.header.State == format.SegmentSealed && (s.header.Merged >= s.header.Sealed || s.header.Kind == format.SegmentCompaction)
}
