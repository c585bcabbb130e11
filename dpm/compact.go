package dpm

import (
	"fmt"
	"sync"

	"github.com/dinomo-kv/dinomo/dpm/format"
	"github.com/dinomo-kv/dinomo/dpm/index"
)

// compactor moves live entries out of mostly dead segments, into segments of the DPM's own. One
// goroutine at a time uses it; who holds the lock also keeps entries from being moved.
//
// An entry is copied and flushed; the index slot moves by a conditional mutation, whose fence makes the copy durable
// before the slot leads to it; a fence makes the slots durable; only then is the old segment's share
// counted as dead. A crash leaves each slot at the old place or at the new one, both whole. The
// log is not replayed from moved segments: they were merged, durably, before.
type compactor struct {
	sync.Mutex
	open     bool
	segment  format.SegmentID // where copies go
	used     uint64
	start    uint64 // of the copies that are not flushed yet
	sequence uint64
	buffer   []byte

	mutations []index.Mutation
	results   []index.Result
	sizes     []uint64
}

// compactSegment moves what is live in segment id elsewhere. It says how many entries it moved. The segment is marked
// busy by the caller. REQUIRES: compact locked.
func (p *Pool) compactSegment(id format.SegmentID) (info CompactionInfo, err error) {
	began := p.o.Clock.Now()
	c := &p.compact
	s := &p.segments[id]
	base := p.layout.SegmentOffset(id)
	defer func() {
		if err != nil { // copies that were not flushed are dropped; those of a batch whose moves failed stay, as dead weight
			c.used = c.start
		}
	}()
	var e format.Entry
	for at := uint64(0); at < s.header.Sealed; {
		c.mutations, c.sizes, c.start = c.mutations[:0], c.sizes[:0], c.used
		for at < s.header.Sealed && (len(c.mutations) == 0 || c.used-c.start < uint64(p.o.MergeBatchBytes)) {
			if !p.entryAt(base+at, s.header.Sealed-at, s.header.Generation, 0, &e) {
				return info, p.damagedVictim(id, at)
			}
			size := e.Bytes()
			from := format.PackPointer(base+at, size, s.header.Generation)
			if live, err := p.directlyLive(&e, from); err != nil {
				return info, err
			} else if live {
				full, err := p.copyEntry(&e, from, size)
				if err != nil {
					return info, err
				}
				if full { // the batch goes first, then this entry again
					break
				}
			}
			at += size
		}
		moved, bytes, err := p.moveSlots(id)
		if err != nil {
			return info, err
		}
		info.Entries += moved
		info.BytesMoved += bytes
	}
	info.Segment, info.Duration = id, p.o.Clock.Now().Sub(began)
	info.BytesGained = s.header.Sealed - min(info.BytesMoved, s.header.Sealed)
	return info, nil
}

// directlyLive says whether the key's index slot leads straight to the entry at from.
func (p *Pool) directlyLive(e *format.Entry, from format.Pointer) (bool, error) {
	if e.Op != format.OpPut {
		return false, nil
	}
	current, err := p.lookup(index.KeyHash(e.Key), e.Key)
	return current == from, err
}

// copyEntry appends a copy of e to the compaction segment and plans the move of its slot. full says that
// the segment cannot take it, and that copies in it have to be flushed and counted first. REQUIRES: compact locked.
func (p *Pool) copyEntry(e *format.Entry, from format.Pointer, size uint64) (full bool, err error) {
	c := &p.compact
	if !c.open || c.used+size > p.layout.SegmentBytes {
		if len(c.mutations) > 0 {
			return true, nil
		}
		if err := p.openCompaction(); err != nil {
			return false, err
		}
	}
	pointer := p.placeEntry(e, size)
	c.mutations = append(c.mutations, index.Mutation{Hash: index.KeyHash(e.Key), Key: e.Key, New: pointer, Conditional: true, If: from})
	c.sizes = append(c.sizes, size)
	return false, nil
}

// placeEntry writes e, under a sequence number of the compactor's own, to the open compaction segment,
// which has room. It is neither flushed nor counted. REQUIRES: compact locked.
func (p *Pool) placeEntry(e *format.Entry, size uint64) format.Pointer {
	c := &p.compact
	h := &p.segments[c.segment].header
	copied := *e
	c.sequence++
	copied.Sequence, copied.Generation = c.sequence, h.Generation
	copied.Flags &^= format.FlagReplicated // it was, when it was written
	if uint64(cap(c.buffer)) < size {
		c.buffer = make([]byte, max(size, 4096))
	}
	offset := p.layout.SegmentOffset(c.segment) + c.used
	p.layout.Salt.EncodeEntry(c.buffer[:size], &copied)
	p.region.Write(offset, c.buffer[:size])
	c.used += size
	return format.PackPointer(offset, size, h.Generation)
}

// openCompaction seals the full compaction segment and takes a new one. REQUIRES: compact locked, all
// copies counted.
func (p *Pool) openCompaction() error { return p.openCompactionKeeping(0) }

// openCompactionKeeping is openCompaction that leaves keep segments free.
func (p *Pool) openCompactionKeeping(keep int) error {
	c := &p.compact
	if c.open {
		if err := p.seal(c.segment, c.used); err != nil {
			return err
		}
		c.open = false
		p.wakeReclaimer()
	}
	ids, err := p.handOut(format.SegmentHeader{
		SegmentIdentity: format.SegmentIdentity{State: format.SegmentOpen, Kind: format.SegmentCompaction},
	}, 1, keep)
	if err != nil {
		return err
	}
	if len(ids) == 0 {
		return fmt.Errorf("segment for compaction: %w", ErrNoSpace)
	}
	c.open, c.segment, c.used, c.start = true, ids[0], 0, 0
	return nil
}

// moveSlots publishes the planned moves and counts them. REQUIRES: compact locked.
func (p *Pool) moveSlots(from format.SegmentID) (moved int, bytes uint64, err error) {
	c := &p.compact
	if len(c.mutations) == 0 {
		return 0, 0, nil
	}
	p.region.Flush(p.layout.SegmentOffset(c.segment)+c.start, c.used-c.start)
	c.start = c.used // from here on slots may lead to them
	if cap(c.results) < len(c.mutations) {
		c.results = make([]index.Result, max(len(c.mutations), 1024))
	}
	results := c.results[:len(c.mutations)]
	if _, err := p.index.Apply(c.mutations, results); err != nil {
		return 0, 0, fmt.Errorf("compact segment %d: %w", from, err)
	}
	if err := p.fence(); err != nil {
		return 0, 0, err
	}
	var units int64
	for i := range results {
		if results[i].Outcome == index.Replaced {
			units += int64(c.mutations[i].New.Units())
			bytes += c.sizes[i]
			moved++
		}
	}
	p.segments[c.segment].live.Add(units)
	p.segments[from].live.Add(-units) // the same sizes
	return moved, bytes, nil
}

// damagedVictim reports that a segment cannot be walked; it is left alone from then on.
func (p *Pool) damagedVictim(id format.SegmentID, at uint64) error {
	offset := p.layout.SegmentOffset(id) + at
	err := fmt.Errorf("log entry at %#x (segment %d, byte %d) is %w", offset, id, at, format.ErrDamaged)
	p.damage(offset, "log entry", err)
	return err
}

// writeTombstone puts a delete of key into the compaction segment and flushes it. REQUIRES: compact locked.
func (p *Pool) writeTombstone(key []byte) (format.Pointer, error) {
	e := format.Entry{Op: format.OpDelete, Key: key}
	size := e.Bytes()
	if c := &p.compact; !c.open || c.used+size > p.layout.SegmentBytes {
		if err := p.openCompaction(); err != nil {
			return 0, err
		}
	}
	pointer := p.placeEntry(&e, size)
	p.region.Flush(pointer.Offset(), size)
	return pointer, nil
}
