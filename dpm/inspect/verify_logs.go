package inspect

import (
	"time"

	"github.com/dinomo-kv/dinomo/dpm/format"
	"github.com/dinomo-kv/dinomo/dpm/look"
)

const (
	// logTries is how often a log that breaks off is read before that is believed.
	logTries = 4
	// pauseBase is doubled with each try.
	pauseBase = 2 * time.Millisecond
)

// checkLogs checks the entries of all logs, live and dead, merged and not.
func (v *verifier) checkLogs(part func(float64)) error {
	for i := range v.l.Segments {
		if v.ctx.Err() != nil {
			return v.ctx.Err()
		}
		part(float64(i) / float64(v.l.Segments))
		h, err := v.p.Segment(format.SegmentID(i))
		if err != nil || h.State == format.SegmentFree || h.Kind != format.SegmentLog && h.Kind != format.SegmentCompaction {
			continue
		}
		v.r.Checked.Logs++
		v.checkLog(&look.Segment{ID: format.SegmentID(i), SegmentHeader: h})
	}
	v.judgeUnsound()
	return nil
}

// checkLog checks one segment's log: up to its end if it is sealed; else up to the watermark, and beyond it as far
// as entries prove themselves.
func (v *verifier) checkLog(s *look.Segment) {
	from, next, pauses := uint64(0), uint64(0), 0
	for {
		limit, must := v.l.SegmentBytes, s.Merged
		if s.State == format.SegmentSealed {
			limit, must = min(s.Sealed, limit), s.Sealed
		} else if s.Kind == format.SegmentCompaction {
			must = 0 // its watermark means nothing, and its end is stored when it is sealed
		}
		end, expect := v.p.Entries(s, from, limit, next, func(e *look.Placed) bool {
			v.checkEntry(s, e)
			return true
		})
		next = expect
		switch {
		case end >= limit:
			return
		case !v.still(s): // freed, and perhaps somebody else's meanwhile
			return
		case end >= must && s.State != format.SegmentSealed && !v.goesOn(s, end, limit, next):
			return
		case pauses < logTries: // the owner, or the compactor, may be writing right there
			pauses++
			v.pause(pauses)
			from = end
		case end >= must:
			v.beyondEnd(s, end, limit)
			return
		default:
			resume, found := v.resync(s, end, limit)
			if !found {
				resume = must
			}
			v.unsoundEntry(s, end, resume, found)
			if !found {
				return
			}
			from, next, pauses = resume, 0, 0
		}
	}
}

func (v *verifier) pause(n int) {
	if v.r.OpenBy != "" {
		v.o.Clock.Sleep(pauseBase * (1 << n))
	}
}

// still refreshes the header of s and says whether the segment is still in the same life.
func (v *verifier) still(s *look.Segment) bool {
	h, err := v.p.Segment(s.ID)
	if err != nil || h.State == format.SegmentFree || h.Generation != s.Generation {
		return false
	}
	s.SegmentHeader = h
	return true
}

// goesOn says whether a sound entry lies beyond where an open log ends.
func (v *verifier) goesOn(s *look.Segment, end, limit, next uint64) bool {
	if next == 0 && s.Kind == format.SegmentLog && end > 0 { // right after damage: said already
		return false
	}
	_, found := v.resync(s, end, limit)
	return found
}

// beyondEnd reports entries beyond the end of an open log. A batch that a crash cut short can leave them; so can damage
// to an entry that was acknowledged. Nothing in the pool tells which: the end of a log is not stored.
func (v *verifier) beyondEnd(s *look.Segment, end, limit uint64) {
	if resume, found := v.resync(s, end, limit); found {
		v.suspect(v.l.SegmentOffset(s.ID)+end, "log",
			"the open log of segment %d (%v) ends at byte %d, and sound entries follow %d bytes later: a batch that a crash cut short, or damage; recovery takes it for the former",
			s.ID, &s.SegmentHeader, end, resume-end)
	}
}

// resync finds the next sound entry of the segment's own beyond byte end.
func (v *verifier) resync(s *look.Segment, end, limit uint64) (at uint64, found bool) {
	base := v.l.SegmentOffset(s.ID)
	var e format.Entry
	for at = end + format.WordBytes; at+format.EntryHeaderBytes <= limit; at += format.WordBytes {
		if byte(v.p.Word(base+at)) == 0 { // no entry begins with 0: skips fresh pages fast
			continue
		}
		if v.p.EntryAt(base+at, &v.buffers[0], &e) == nil && e.Generation == s.Generation && at+e.Bytes() <= limit {
			return at, true
		}
	}
	return 0, false
}

// checkEntry counts an entry and checks that the index is not behind it.
func (v *verifier) checkEntry(s *look.Segment, e *look.Placed) {
	k := &v.r.Checked
	k.LogEntries++
	k.LogBytes += e.Bytes()
	if e.Lattice != latticeLWW && e.Op == format.OpPut {
		k.LatticeEntries++
	}
	if e.Flags.Codec() != format.CodecNone {
		k.Compressed++
		k.RawBytes += uint64(e.RawLength)
		k.StoredBytes += uint64(len(e.Value))
	}
	if s.Kind != format.SegmentLog {
		return
	}
	end := e.Offset + e.Bytes() - v.l.SegmentOffset(s.ID)
	if end > s.Merged {
		k.UnmergedEntries++
		if start := end - e.Bytes(); start < s.Merged {
			v.damage(v.l.SegmentHeaderOffset(s.ID)+format.SegmentMergedOffset, "segment table",
				"segment %d is merged up to byte %d, in the middle of the entry at %d", s.ID, s.Merged, start)
		}
		return
	}
	if !e.Flags.Replicated() && (e.Op == format.OpPut || e.Op == format.OpDelete) {
		v.checkOvertaken(s, e)
	}
}
