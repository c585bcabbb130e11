package dpm

import (
	"fmt"

	"github.com/dinomo-kv/dinomo/dpm/format"
)

// Audit compares everything that the pool counts with what is stored, and returns what does not add up. The pool must be
// at rest.
func (p *Pool) Audit() (problems []string) {
	say := func(f string, args ...any) { problems = append(problems, fmt.Sprintf(f, args...)) }
	live := make([]int64, len(p.segments))
	pinned := make([]int64, len(p.segments))
	words := make([]bool, p.layout.IndirectWords)
	err := p.index.Scan(func() { say("index was replaced meanwhile") }, func(hash uint64, pointer format.Pointer) bool {
		if pointer.Indirect() {
			i, ok := p.layout.IndirectOf(pointer)
			if !ok {
				say("slot of %#x: %v", hash, pointer)
				return true
			}
			words[i] = true
			target, _ := p.loadWord(pointer)
			id, _ := p.layout.SegmentOf(target.Offset())
			var e format.Entry
			if err := p.readEntry(target, &e); err != nil {
				say("word %d of hash %#x: %v", i, hash, err)
				return true
			}
			pinned[id]++
			return true
		}
		var e format.Entry
		if err := p.readEntry(pointer, &e); err != nil {
			say("slot of %#x: %v", hash, err)
			return true
		}
		id, _ := p.layout.SegmentOf(pointer.Offset())
		live[id] += int64(pointer.Units())
		if h := &p.segments[id].header; h.State == format.SegmentSealed && pointer.Offset()+e.Bytes() > p.layout.SegmentOffset(id)+h.Sealed {
			say("slot of %#x: %v lies beyond its segment's log of %d bytes", hash, pointer, h.Sealed)
		}
		return true
	})
	if err != nil {
		say("scan: %v", err)
	}
	for i, used := range words {
		if _, quarantined := p.words.quarantined[uint32(i)]; p.words.used[i] != (used || quarantined) || used && quarantined {
			say("indirect word %d: in use %v, quarantined %v, counted as %v", i, used, quarantined, p.words.used[i])
		}
	}
	p.auditSegments(live, pinned, say)
	p.auditMetadata(say)
	return problems
}

func (p *Pool) auditSegments(live, pinned []int64, say func(string, ...any)) {
	free := map[format.SegmentID]bool{}
	for _, id := range p.mu.free {
		if free[id] {
			say("segment %d is free twice", id)
		}
		free[id] = true
	}
	streamed := map[format.SegmentID]bool{}
	for _, s := range p.mu.streamList {
		for _, id := range s.mu.segments {
			streamed[id] = true
		}
	}
	for i := range p.segments {
		id, s := format.SegmentID(i), &p.segments[i]
		at := p.layout.SegmentHeaderOffset(id)
		var stored format.SegmentHeader
		if err := format.DecodeSegmentHeader((*[format.SegmentHeaderBytes]byte)(p.region.View(at, format.SegmentHeaderBytes)), at, &stored); err != nil {
			say("segment %d: %v", id, err)
		}
		if stored.State == format.SegmentFree {
			stored = format.SegmentHeader{Generation: stored.Generation}
		}
		if stored != s.header {
			say("segment %d: stored %v, in memory %v", id, &stored, &s.header)
		}
		if free[id] != (stored.State == format.SegmentFree) {
			say("segment %d is %v, in the free list: %v", id, stored.State, free[id])
		}
		if streamed[id] != s.streamed {
			say("segment %d: in a stream %v, counted as %v", id, streamed[id], s.streamed)
		}
		if s.busy {
			say("segment %d is busy", id)
		}
		if s.live.Load() != live[i] {
			say("segment %d (%v): %d units live, counted %d", id, &s.header, live[i], s.live.Load())
		}
		if s.pinned.Load() < pinned[i] {
			say("segment %d: %d entries pinned, counted %d", id, pinned[i], s.pinned.Load())
		}
		if stored.State == format.SegmentFree && (live[i] > 0 || pinned[i] > 0) {
			say("segment %d is free and has live entries", id)
		}
	}
}

func (p *Pool) auditMetadata(say func(string, ...any)) {
	for i := range p.meta.records {
		look, err := p.lookMetadata(uint32(i))
		if err != nil {
			say("%v", err)
		}
		if look.present && (look.record != p.meta.records[i] || look.strike) {
			say("metadata record %d: stored %+v, in memory %+v", i, look, p.meta.records[i])
		}
	}
}
