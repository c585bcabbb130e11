package look

import (
	"cmp"
	"fmt"
	"slices"

	"github.com/dinomo-kv/dinomo/dpm/format"
)

// Segment is a segment's id and header as of some moment.
type Segment struct {
	ID format.SegmentID
	format.SegmentHeader
}

// Log is what of one KN thread's log is not known to be in the index: its segments, in log order.
type Log struct {
	Rank        uint16
	Incarnation uint32
	Thread      uint16
	Segments    []Segment
}

// String names the log.
func (l *Log) String() string {
	return fmt.Sprintf("log of rank %d, incarnation %d, thread %d", l.Rank, l.Incarnation, l.Thread)
}

// Complete says whether everything that a log segment's owner wrote is in the index.
func Complete(h *format.SegmentHeader) bool {
	return h.State == format.SegmentSealed && (h.Kind != format.SegmentLog || h.Merged >= h.Sealed)
}

// limit is where a segment's log ends at the latest.
func (p *Pool) limit(h *format.SegmentHeader) uint64 {
	if h.State == format.SegmentSealed {
		return min(h.Sealed, p.layout.SegmentBytes)
	}
	return p.layout.SegmentBytes
}

// Logs lists the logs that are not merged, sorted by owner.
func (p *Pool) Logs() ([]Log, error) {
	var all []Segment
	for i := range p.layout.Segments {
		id := format.SegmentID(i)
		h, err := p.Segment(id)
		if err != nil {
			return nil, fmt.Errorf("segment %d: %w", id, err)
		}
		if h.State != format.SegmentFree && h.Kind == format.SegmentLog && !Complete(&h) {
			all = append(all, Segment{id, h})
		}
	}
	slices.SortFunc(all, func(a, b Segment) int {
		return cmp.Or(cmp.Compare(a.Rank, b.Rank), cmp.Compare(a.Incarnation, b.Incarnation), cmp.Compare(a.Thread, b.Thread), cmp.Compare(a.Order, b.Order))
	})
	var logs []Log
	for _, s := range all {
		if n := len(logs); n == 0 || logs[n-1].Rank != s.Rank || logs[n-1].Incarnation != s.Incarnation || logs[n-1].Thread != s.Thread {
			logs = append(logs, Log{Rank: s.Rank, Incarnation: s.Incarnation, Thread: s.Thread})
		}
		last := &logs[len(logs)-1]
		last.Segments = append(last.Segments, s)
	}
	return logs, nil
}

// Placed is an entry and where it lies.
type Placed struct {
	format.Entry
	Offset  uint64
	Pointer format.Pointer
}

// Entries calls visit with the valid entries of segment s from byte from of it on, until visit returns false or the log
// ends: at limit, or before an entry that does not prove itself, or is not of the segment's generation, or (unless next
// is 0) has another sequence number than the one before it leads to expect. It returns the byte where it stopped and the
// sequence number expected there. The entries' bytes are valid during the visit only.
func (p *Pool) Entries(s *Segment, from, limit, next uint64, visit func(e *Placed) bool) (end, expect uint64) {
	base := p.layout.SegmentOffset(s.ID)
	var buffer []byte
	var e Placed
	for end = from; end < limit; {
		if p.EntryAt(base+end, &buffer, &e.Entry) != nil || e.Generation != s.Generation || e.Bytes() > limit-end || next != 0 && e.Sequence != next {
			return end, next
		}
		size := e.Bytes()
		e.Offset, e.Pointer = base+end, format.PackPointer(base+end, size, e.Generation)
		end += size
		if s.Kind != format.SegmentCompaction { // whose numbers are of no order
			next = e.Sequence + 1
		}
		if visit != nil && !visit(&e) {
			return end, next
		}
	}
	return end, next
}

// Tail calls visit with the entries of a log that are not merged, in log order: those that recovery would merge. The pool
// must be held. It fails with a Damage where recovery would refuse the pool.
func (p *Pool) Tail(l *Log, visit func(e *Placed)) error {
	next := p.findNext(l)
	for i := range l.Segments {
		s := &l.Segments[i]
		limit := p.limit(&s.SegmentHeader)
		end, expect := p.Entries(s, s.Merged, limit, next, func(e *Placed) bool {
			visit(e)
			return true
		})
		switch {
		case s.State == format.SegmentSealed && end < limit:
			return Damage{p.layout.SegmentOffset(s.ID) + end, "log", fmt.Sprintf("%v: entry is not sound, byte %d of %d of segment %d", l, end, limit, s.ID)}
		case expect == 0 && s.State != format.SegmentSealed:
			return nil // an empty segment begins the log: nothing was written to those after it
		}
		next = expect
	}
	return nil
}

// findNext returns which sequence number the log's first entry that is not merged has; 0 when that entry decides. It
// does what recovery does, also when what is merged is damaged.
func (p *Pool) findNext(l *Log) uint64 {
	first := &l.Segments[0]
	if first.Merged == 0 {
		return 0
	}
	end, expect := p.Entries(first, 0, first.Merged, 0, nil)
	for at := end; end < first.Merged && at < first.Merged; at += format.WordBytes {
		if resumed, next := p.Entries(first, at, first.Merged, 0, nil); resumed > at {
			at, end, expect = resumed-format.WordBytes, resumed, next
		}
	}
	if end == first.Merged {
		return expect
	}
	for i := range l.Segments { // the last merged entry is damaged: the log goes on where an entry is
		s := &l.Segments[i]
		from := uint64(0)
		if i == 0 {
			from = s.Merged
		}
		sequence := uint64(0)
		p.Entries(s, from, p.layout.SegmentBytes, 0, func(e *Placed) bool {
			sequence = e.Sequence
			return false
		})
		if sequence != 0 {
			return sequence
		}
	}
	return 0
}

// Mark is a place in a log that its merging will reach.
type Mark struct {
	Segment Segment
	End     uint64 // byte of the segment
}

// Marks returns, for each segment that is not merged, where its valid entries end now. Every write that was
// acknowledged before is in the index once all marks are Reached.
func (p *Pool) Marks() ([]Mark, error) {
	logs, err := p.Logs()
	if err != nil {
		return nil, err
	}
	var marks []Mark
	for i := range logs {
		for _, s := range logs[i].Segments {
			// The watermark grows meanwhile; from an older one on the walk is only longer.
			end, _ := p.Entries(&s, s.Merged, p.limit(&s.SegmentHeader), 0, nil)
			if end > s.Merged {
				marks = append(marks, Mark{s, end})
			}
		}
	}
	return marks, nil
}

// Reached says whether merging has reached the mark.
func (p *Pool) Reached(m *Mark) (bool, error) {
	h, err := p.Segment(m.Segment.ID)
	if err != nil {
		return false, fmt.Errorf("segment %d: %w", m.Segment.ID, err)
	}
	return h.State == format.SegmentFree || h.Generation != m.Segment.Generation || Complete(&h) || h.Merged >= m.End, nil
}
