package dpm

import (
	"errors"
	"fmt"

	"github.com/dinomo-kv/dinomo/dpm/format"
	"github.com/dinomo-kv/dinomo/dpm/index"
)

// latticeLWW is the wire number of last-writer-wins, the one lattice type that may be overwritten unread.
const latticeLWW = 1

// merger is what merging a batch needs, kept from batch to batch by one goroutine.
type merger struct {
	entries   []merged
	mutations []index.Mutation
	results   []index.Result
}

// merged is an entry on its way into the index.
type merged struct {
	pointer  format.Pointer
	end      uint64 // within its segment
	sequence uint64
	mutation int // number of its mutation, -1 when it has none
}

// mergeStep merges the next batch of a stream, or seals what its owner has left behind. It says whether
// it did anything. REQUIRES: s.mu.
func (p *Pool) mergeStep(s *stream, m *merger) (progress bool, err error) {
	if err := p.Err(); err != nil {
		return false, err
	}
	if s.mu.broken != nil {
		return false, s.mu.broken
	}
	s.forgetComplete(p)
	if len(s.mu.segments) == 0 {
		return false, nil
	}
	id := s.mu.segments[0]
	h := &p.segments[id].header
	limit := p.layout.SegmentBytes
	if h.State == format.SegmentSealed {
		limit = h.Sealed
	}
	if p.collect(s, m, id, h.Merged, limit); len(m.entries) > 0 {
		return true, p.apply(s, m, id)
	}
	if h.State == format.SegmentSealed {
		return p.damagedLog(s, id)
	}
	if next := p.successor(s); next > 0 {
		return true, p.sealThrough(s, next)
	}
	return false, nil
}

// collect gathers the valid entries of a segment from byte from on, up to a batch.
func (p *Pool) collect(s *stream, m *merger, id format.SegmentID, from, limit uint64) {
	m.entries, m.mutations = m.entries[:0], m.mutations[:0]
	h := &p.segments[id].header
	base := p.layout.SegmentOffset(id)
	stop := min(limit, from+uint64(p.o.MergeBatchBytes))
	next := s.mu.next
	var e format.Entry
	for at := from; at < stop; {
		// Bound the bytes that a decode may look at by limit, not by the batch: one entry always fits.
		if !p.entryAt(base+at, limit-at, h.Generation, next, &e) {
			return
		}
		size := e.Bytes()
		pointer := format.PackPointer(base+at, size, h.Generation)
		at += size
		next = e.Sequence + 1
		entry := merged{pointer: pointer, end: at, sequence: e.Sequence, mutation: -1}
		hash := index.KeyHash(e.Key)
		if e.Op == format.OpPut && e.Lattice != latticeLWW {
			p.setFilter(hash)
		}
		if !e.Flags.Replicated() && (e.Op == format.OpPut || e.Op == format.OpDelete) {
			mutation := index.Mutation{Hash: hash, Key: e.Key}
			if e.Op == format.OpPut {
				mutation.New = pointer
			}
			entry.mutation = len(m.mutations)
			m.mutations = append(m.mutations, mutation)
		}
		m.entries = append(m.entries, entry)
	}
}

// entryAt decodes the entry at offset if it is one of that generation and, unless sequence is 0, of that sequence.
// At most room bytes are looked at.
func (p *Pool) entryAt(offset, room uint64, generation uint32, sequence uint64, e *format.Entry) bool {
	if room < format.EntryHeaderBytes {
		return false
	}
	size, err := format.EntryBytesAt(p.region.View(offset, format.EntryHeaderBytes))
	if err != nil || size > room {
		return false
	}
	if p.layout.Salt.DecodeEntry(p.region.View(offset, size), e) != nil {
		return false
	}
	return e.Generation == generation && (sequence == 0 || e.Sequence == sequence)
}

// setFilter sets the bits of a key that is not LWW. They are flushed with the batch, so they are durable before
// the index leads to the entry.
func (p *Pool) setFilter(hash uint64) {
	offset, bits := format.FilterWord(hash, p.layout.FilterBytes)
	offset += p.layout.FilterOffset
	for {
		word := p.region.Load64(offset)
		if word&bits == bits {
			break
		}
		if _, swapped := p.region.CompareAndSwap64(offset, word, word|bits); swapped {
			break
		}
	}
	p.region.Flush(offset, format.WordBytes)
}

// apply puts the collected entries into the index: log range and hashes, fence (within Apply); pointers, fence;
// watermark, fence. REQUIRES: s.mu.
func (p *Pool) apply(s *stream, m *merger, id format.SegmentID) error {
	seg := &p.segments[id]
	from, last := seg.header.Merged, m.entries[len(m.entries)-1]
	base := p.layout.SegmentOffset(id)
	// Its owner may have gone before it flushed; the merge takes what is visible (DPM-1).
	p.region.Flush(base+from, last.end-from)
	if cap(m.results) < len(m.mutations) {
		m.results = make([]index.Result, max(len(m.mutations), 1024))
	}
	results := m.results[:len(m.mutations)]
	applied, applyErr := p.index.Apply(m.mutations, results)
	done := len(m.entries)
	if applyErr != nil {
		for done = 0; done < len(m.entries); done++ {
			if m.entries[done].mutation >= applied {
				break
			}
		}
	}
	if err := p.fence(); err != nil {
		return err
	}
	p.accountSlots(seg, m.entries, results)
	if done == 0 {
		return p.mergeError(s, applyErr)
	}
	last = m.entries[done-1]
	p.writeWord(id, format.SegmentMergedOffset, format.SealWord(format.RoleSegmentMerged, last.end))
	if err := p.fence(); err != nil {
		return err
	}
	p.mu.Lock()
	seg.header.Merged = last.end
	p.mu.Unlock()
	s.mu.next = last.sequence + 1
	p.account(seg, from, m.entries[:done])
	if applyErr != nil {
		return p.mergeError(s, applyErr)
	}
	return nil
}

// mergeError sorts out what Apply could not do. REQUIRES: s.mu.
func (p *Pool) mergeError(s *stream, err error) error {
	if errors.Is(err, ErrNoSpace) {
		p.counters.mergeStalls.Add(1)
		p.wakeReclaimer()
		return fmt.Errorf("merge: index cannot grow: %w", err)
	}
	if errors.Is(err, format.ErrDamaged) {
		p.damageIn("index", err)
		s.mu.broken = err
	} else {
		p.failOnce(err)
	}
	return fmt.Errorf("merge: %w", err)
}

// accountSlots counts what a durable batch, whose entries lie in seg, made live and dead. That includes what
// happened beyond the first mutation that did not, after an error of Apply: applied again, it will be Unchanged.
func (p *Pool) accountSlots(seg *segment, entries []merged, results []index.Result) {
	var units int64
	for i := range entries {
		e := &entries[i]
		if e.mutation < 0 {
			continue
		}
		r := &results[e.mutation]
		if r.Outcome == index.Inserted || r.Outcome == index.Replaced {
			units += int64(e.pointer.Units())
		}
		if !r.Old.Nil() {
			p.dereference(r.Old)
		}
	}
	seg.live.Add(units)
}

// account counts the entries of seg, from byte from on, that are merged for good.
func (p *Pool) account(seg *segment, from uint64, entries []merged) {
	var pinned int64
	for i := range entries {
		if entries[i].mutation < 0 {
			pinned++
		}
	}
	seg.pinned.Add(pinned)
	p.counters.mergedEntries.Add(uint64(len(entries)))
	p.counters.mergedBatches.Add(1)
	p.counters.mergedBytes.Add(entries[len(entries)-1].end - from)
}

// dereference counts an entry as dead that the index led to until now.
func (p *Pool) dereference(old format.Pointer) {
	if old.Indirect() {
		p.abandonWord(old)
		return
	}
	if _, _, ok := p.layout.EntryRange(old); !ok { // what it led to counts as live until the next start
		p.damage(old.Offset(), "index pointer", fmt.Errorf("pointer %v is %w", old, format.ErrDamaged))
		return
	}
	id, _ := p.layout.SegmentOf(old.Offset())
	if p.segments[id].live.Add(-int64(old.Units())) <= 0 {
		p.wakeReclaimer()
	}
}

// successor returns the number of the first segment in the list whose first entry follows the log as
// merged so far, which proves that its owner is done with those before; 0 when there is none. REQUIRES: s.mu.
func (p *Pool) successor(s *stream) int {
	if s.mu.next == 0 {
		return 0
	}
	var e format.Entry
	for i, id := range s.mu.segments[1:] {
		if p.entryAt(p.layout.SegmentOffset(id), p.layout.SegmentBytes, p.segments[id].header.Generation, s.mu.next, &e) {
			return i + 1
		}
	}
	return 0
}

// sealThrough seals the segments before number next of the list: the first where its merged log ends, the others,
// which were passed over, empty. REQUIRES: s.mu, and the first is merged up to its last valid entry.
func (p *Pool) sealThrough(s *stream, next int) error {
	for _, id := range s.mu.segments[:next] {
		if h := &p.segments[id].header; h.State == format.SegmentOpen {
			if err := p.seal(id, h.Merged); err != nil {
				return err
			}
		}
	}
	s.forgetComplete(p)
	return nil
}

// sealDead seals the segments of a stream whose owner was fenced or succeeded, and whose log is merged up to its last
// valid entry. Those that the owner may still write to, because it maps the memory, are quarantined: what it stores
// there lies beyond the seal, and must not meet a later use of the segment (DPM-6). REQUIRES: s.mu.
func (p *Pool) sealDead(s *stream) error {
	if p.standingOf(s.key) == ownerLingers {
		p.mu.Lock()
		for _, id := range s.mu.segments {
			if seg := &p.segments[id]; seg.header.State == format.SegmentOpen {
				seg.held = holdQuarantine
			}
		}
		p.mu.Unlock()
	}
	return p.sealThrough(s, len(s.mu.segments))
}

// sealAll merges what is valid of the stream and seals all its segments. budget bounds the batches; done is
// false when it did not suffice. REQUIRES: s.mu.
func (p *Pool) sealAll(s *stream, m *merger, budget int) (done bool, err error) {
	for range budget {
		progress, err := p.mergeStep(s, m)
		if err != nil {
			return false, err
		}
		if !progress {
			return true, p.sealThrough(s, len(s.mu.segments))
		}
	}
	return false, nil
}

// damagedLog deals with a sealed segment whose log breaks off before its end.
func (p *Pool) damagedLog(s *stream, id format.SegmentID) (progress bool, err error) {
	h := &p.segments[id].header
	at := p.layout.SegmentOffset(id) + h.Merged
	err = fmt.Errorf("log of rank %d, thread %d: entry at %#x (segment %d, byte %d of %d) is %w",
		s.key.rank, s.key.thread, at, id, h.Merged, h.Sealed, format.ErrDamaged)
	p.damage(at, "log entry", err)
	if !p.o.AcceptDamage {
		s.mu.broken = err
		return false, err
	}
	end, next := p.afterDamage(s, id)
	p.writeWord(id, format.SegmentMergedOffset, format.SealWord(format.RoleSegmentMerged, end))
	if err := p.fence(); err != nil {
		return false, err
	}
	p.mu.Lock()
	h.Merged = end
	p.mu.Unlock()
	s.mu.next = next
	return true, nil
}

// afterDamage looks for the next sound entry of the segment and returns its place and sequence; the
// segment's end and 0 when there is none.
func (p *Pool) afterDamage(s *stream, id format.SegmentID) (at, sequence uint64) {
	h := &p.segments[id].header
	base := p.layout.SegmentOffset(id)
	var e format.Entry
	for at = h.Merged + format.WordBytes; at < h.Sealed; at += format.WordBytes {
		if p.entryAt(base+at, h.Sealed-at, h.Generation, 0, &e) && e.Sequence > s.mu.next {
			return at, e.Sequence
		}
	}
	return h.Sealed, 0
}
