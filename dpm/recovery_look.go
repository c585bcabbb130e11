package dpm

import (
	"cmp"
	"errors"
	"fmt"
	"slices"

	"github.com/dinomo-kv/dinomo/dpm/format"
	"github.com/dinomo-kv/dinomo/dpm/index"
	"github.com/dinomo-kv/dinomo/dpm/pmem"
)

func (p *Pool) lookSuperblock() error {
	head := p.region.View(0, min(p.region.Bytes(), format.SuperblockBytes))
	s, err := format.DecodeSuperblock(head, p.region.Bytes())
	if err != nil {
		return err
	}
	if was := pmem.Durability(s.Durability); was != p.region.Durability() && (was == pmem.Volatile || p.region.Durability() == pmem.Volatile) {
		return fmt.Errorf("pool was created for durability %v, not %v", was, p.region.Durability())
	}
	p.superblock, p.layout = s, &s.Layout
	p.o.Shape = s.Layout.Shape
	p.reserve = p.o.reserve(s.Layout.Segments)
	if int(s.Layout.Segments) <= p.reserve+1 {
		return fmt.Errorf("a pool of %d segments with %d in reserve holds nothing: use smaller segments or a larger pool", s.Layout.Segments, p.reserve)
	}
	word := p.region.Load64(epochAt)
	epoch, ok := format.OpenServerEpoch(word)
	if !ok {
		return &format.WordError{What: "server epoch", Offset: epochAt, Word: word}
	}
	p.epoch = epoch
	return nil
}

// lookSegments reads the segment table. A free segment's header may be half written by a hand-out that a
// crash cut short; of that only the generation matters, and its word is whole, old or new.
func (p *Pool) lookSegments() error {
	p.segments = make([]segment, p.layout.Segments)
	p.mu.free = p.mu.free[:0]
	var damaged error
	for i := range p.segments {
		id := format.SegmentID(i)
		at := p.layout.SegmentHeaderOffset(id)
		h := &p.segments[i].header
		if err := format.DecodeSegmentHeader((*[format.SegmentHeaderBytes]byte)(p.region.View(at, format.SegmentHeaderBytes)), at, h); err != nil {
			damaged = errors.Join(damaged, fmt.Errorf("segment %d: %w", i, err))
			continue
		}
		if h.State == format.SegmentFree {
			*h = format.SegmentHeader{Generation: h.Generation}
			p.mu.free = append(p.mu.free, id)
			continue
		}
		if why := p.implausible(h); why != "" {
			damaged = errors.Join(damaged, fmt.Errorf("segment %d header at %#x is %w: %s", i, at, format.ErrDamaged, why))
		}
	}
	// Oldest generation first: about least recently used.
	slices.SortStableFunc(p.mu.free, func(a, b format.SegmentID) int {
		return cmp.Compare(p.segments[a].header.Generation, p.segments[b].header.Generation)
	})
	return damaged
}

// implausible says what is wrong with a sound header's contents, "" when nothing is.
func (p *Pool) implausible(h *format.SegmentHeader) string {
	switch {
	case h.Kind == format.SegmentNone:
		return "it is in use for nothing"
	case h.State == format.SegmentSealed && h.Sealed > p.layout.SegmentBytes || h.Merged > p.layout.SegmentBytes:
		return "its log is longer than a segment"
	case h.Kind == format.SegmentLog && h.State == format.SegmentSealed && h.Merged > h.Sealed:
		return "more of its log is merged than there is"
	case h.Kind == format.SegmentLog && (h.Rank == 0 || uint32(h.Rank) >= p.layout.Ranks):
		return fmt.Sprintf("its owner is rank %d of %d", h.Rank, p.layout.Ranks)
	}
	return ""
}

// lookTables reads ranks and metadata.
func (p *Pool) lookTables(found *recovery) error {
	t := &p.ranks
	t.ranks = make([]rank, p.layout.Ranks)
	t.qps = map[threadKey]*threadState{}
	t.fences = 1
	now := p.o.Clock.Now()
	var damaged error
	for i := range t.ranks {
		at := p.layout.RankEntryOffset(uint32(i))
		r := &t.ranks[i]
		*r = rank{restored: true, leased: true, wordAt: now, fencedAt: t.fences}
		if err := format.DecodeRankEntry((*[format.RankEntryBytes]byte)(p.region.View(at, format.RankEntryBytes)), at, &r.entry); err != nil {
			damaged = errors.Join(damaged, fmt.Errorf("rank %d: %w", i, err))
		}
		r.word = r.entry.Lease
		if r.entry.State != format.RankFree {
			p.report.Ranks++
		}
	}
	found.metadata = make([]metadataLook, p.layout.MetadataRecords)
	for i := range found.metadata {
		var err error
		if found.metadata[i], err = p.lookMetadata(uint32(i)); err != nil {
			damaged = errors.Join(damaged, err)
		}
		if found.metadata[i].present {
			p.report.MetadataRecords++
		}
	}
	return damaged
}

// lookIndex walks the index once: it is checked, and live bytes are counted.
func (p *Pool) lookIndex(found *recovery) error {
	found.words = make([]bool, p.layout.IndirectWords)
	var damaged error
	var err error
	p.index, err = index.Open(p.indexOptions(), func(hash uint64, pointer format.Pointer) {
		if pointer.Indirect() {
			i, ok := p.layout.IndirectOf(pointer)
			if ok {
				found.words[i] = true
				pointer, _ = p.loadWord(pointer)
				p.pin(pointer, 1)
			}
			if ok && p.plausible(pointer) {
				return
			}
		}
		if p.plausible(pointer) {
			p.countLive(pointer)
		} else if damaged == nil {
			damaged = fmt.Errorf("index slot of hash %#x holds %v, which is %w", hash, pointer, format.ErrDamaged)
		}
	})
	return errors.Join(err, damaged)
}

// plausible says whether a direct pointer leads into a segment of log entries of its generation.
func (p *Pool) plausible(pointer format.Pointer) bool {
	if _, _, ok := p.layout.EntryRange(pointer); !ok {
		return false
	}
	id, _ := p.layout.SegmentOf(pointer.Offset())
	h := &p.segments[id].header
	return (h.Kind == format.SegmentLog || h.Kind == format.SegmentCompaction) && h.Generation%format.PointerGenerations == pointer.Generation()
}

// lookLogs makes the streams of all unmerged segments, and checks the sealed ones.
func (p *Pool) lookLogs() error {
	p.mu.streams = map[streamKey]*stream{}
	var logs []format.SegmentID
	for i := range p.segments {
		if h := &p.segments[i].header; h.Kind == format.SegmentLog {
			logs = append(logs, format.SegmentID(i))
		}
	}
	slices.SortFunc(logs, func(a, b format.SegmentID) int {
		x, y := &p.segments[a].header, &p.segments[b].header
		return cmp.Or(cmp.Compare(x.Rank, y.Rank), cmp.Compare(x.Incarnation, y.Incarnation), cmp.Compare(x.Thread, y.Thread), cmp.Compare(x.Order, y.Order))
	})
	var damaged error
	for len(logs) > 0 {
		key, n := p.ownerOf(logs[0]), 1
		for n < len(logs) && p.ownerOf(logs[n]) == key {
			n++
		}
		damaged = errors.Join(damaged, p.lookStream(key, logs[:n]))
		logs = logs[n:]
	}
	return damaged
}

func (p *Pool) ownerOf(id format.SegmentID) streamKey {
	h := &p.segments[id].header
	return streamKey{h.Rank, h.Incarnation, h.Thread}
}

// lookStream finds where one thread's log stands: all its segments are given, in log order.
func (p *Pool) lookStream(key streamKey, logs []format.SegmentID) error {
	s := p.streamOf(key)
	s.mu.order = p.segments[logs[len(logs)-1]].header.Order
	p.holdLast(logs)
	first := 0
	for first < len(logs) && p.segments[logs[first]].complete() {
		first++
	}
	if first == len(logs) {
		return nil
	}
	s.mu.next = p.findNext(logs[first:])
	var damaged error
	unmerged := uint64(0)
	for _, id := range logs[first:] {
		seg := &p.segments[id]
		seg.streamed = true
		s.mu.segments = append(s.mu.segments, id)
		h := &seg.header
		limit := p.layout.SegmentBytes
		if h.State == format.SegmentSealed {
			limit = h.Sealed
		} else {
			p.report.OpenSegments++
		}
		end, _ := p.walkLog(id, h.Merged, limit)
		unmerged += end - h.Merged
		if h.State == format.SegmentSealed && end < h.Sealed {
			at := p.layout.SegmentOffset(id) + end
			damaged = errors.Join(damaged, fmt.Errorf("unmerged log entry at %#x (segment %d, byte %d of %d) is %w", at, id, end, h.Sealed, format.ErrDamaged))
		}
	}
	p.report.UnmergedBytes += unmerged
	if unmerged > 0 {
		p.report.UnmergedLogs++
	}
	if damaged != nil && p.o.AcceptDamage {
		p.report.SkippedDamage++
		damaged = nil
	}
	return damaged
}

// findNext returns which sequence number the first entry that is not merged has, of a log whose first segment is not
// complete; 0 when that entry itself decides, or there is none. What is merged may be damaged: that is for those who
// read it, and no reason to lose what comes after it.
func (p *Pool) findNext(logs []format.SegmentID) (sequence uint64) {
	seg := &p.segments[logs[0]]
	base, merged := p.layout.SegmentOffset(logs[0]), seg.header.Merged
	if merged == 0 {
		return 0
	}
	var e format.Entry
	end, last := p.walkLog(logs[0], 0, merged)
	for at := end; end < merged && at < merged; at += format.WordBytes {
		if p.entryAt(base+at, merged-at, seg.header.Generation, 0, &e) {
			end, last = p.walkLog(logs[0], at, merged)
			at = end
		}
	}
	if end == merged {
		return last.Sequence + 1
	}
	// The last merged entry is damaged: the log goes on where an entry is.
	if p.entryAt(base+merged, p.layout.SegmentBytes-merged, seg.header.Generation, 0, &e) {
		return e.Sequence
	}
	for _, id := range logs[1:] {
		if p.entryAt(p.layout.SegmentOffset(id), p.layout.SegmentBytes, p.segments[id].header.Generation, 0, &e) {
			return e.Sequence
		}
	}
	return 0
}

// holdLast holds the segments in which the thread's last batch may lie, until it has attached, and those whose replicated
// entries may still await their CAS; what of the latter is merged is pinned. What was settled when the last segment was
// handed out tells how far back that is; a batch of unknown outcome cannot reach further back than the segment
// that was current then.
func (p *Pool) holdLast(logs []format.SegmentID) {
	settled := p.segments[logs[len(logs)-1]].header.Settled
	for i := len(logs) - 1; i >= 0; i-- {
		seg := &p.segments[logs[i]]
		seg.held = holdAttach
		end := min(seg.header.Merged, p.layout.SegmentBytes)
		base := p.layout.SegmentOffset(logs[i])
		var e format.Entry
		for at := uint64(0); at < end && p.entryAt(base+at, end-at, seg.header.Generation, 0, &e); at += e.Bytes() {
			if e.Flags.Replicated() && e.Sequence >= settled {
				seg.pinned.Add(1)
			}
		}
		if p.entryAt(base, p.layout.SegmentBytes, seg.header.Generation, 0, &e) && e.Sequence <= settled {
			return // whatever comes before is settled, and was acknowledged
		}
	}
}

// walkLog returns where the valid entries of a segment from byte from on end, at most at limit, and the
// last of them; its Key is nil when there is none.
func (p *Pool) walkLog(id format.SegmentID, from, limit uint64) (end uint64, last format.Entry) {
	base := p.layout.SegmentOffset(id)
	generation := p.segments[id].header.Generation
	end = from
	sequence := uint64(0)
	for end < limit && p.entryAt(base+end, limit-end, generation, sequence, &last) {
		end += last.Bytes()
		if sequence = last.Sequence + 1; p.segments[id].header.Kind == format.SegmentCompaction {
			sequence = 0
		}
	}
	return end, last
}
