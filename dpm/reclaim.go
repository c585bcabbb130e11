package dpm

import (
	"errors"
	"fmt"
	"time"

	"github.com/dinomo-kv/dinomo/dpm/format"
	"github.com/dinomo-kv/dinomo/dpm/index"
)

const (
	// recountEvery bounds how often a segment with pins is walked to see whether they still hold.
	recountEvery = 200 * time.Millisecond
	// victimLive is the largest live share of a segment that is worth moving while there is room.
	victimLive = 0.9
	// recountAtOnce bounds the segments so walked in one step.
	recountAtOnce = 4
	// growPause is how long the index is left as it is after its growth met damage, which a write of the key may heal meanwhile.
	growPause = time.Minute
	// freeAtOnce bounds the segments freed with one fence.
	freeAtOnce = 256
)

// reclaimStep does one piece of housekeeping and says whether it did any: frees tables that no reader
// uses, frees dead segments, grows the index, compacts a segment.
func (p *Pool) reclaimStep() (progress bool, err error) {
	if err := p.Err(); err != nil {
		return false, err
	}
	p.compact.Lock()
	defer p.compact.Unlock()
	p.tidyStreams()
	p.liftQuarantines()
	for _, step := range []func() (bool, error){p.freeTables, p.freeDead, p.growIndex, p.compactOne} {
		done, err := step()
		if err != nil {
			return progress, err
		}
		progress = progress || done
	}
	return progress, nil
}

// retire takes over the segments of an index table that was replaced.
func (p *Pool) retire(table uint64, ids []format.SegmentID) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.mu.retired = append(p.mu.retired, retiredTable{table, ids})
}

// freeTables frees retired tables once every attached thread reads a later one.
func (p *Pool) freeTables() (bool, error) {
	p.mu.Lock()
	none := len(p.mu.retired) == 0
	p.mu.Unlock()
	if none {
		return false, nil
	}
	oldest := p.oldestTable()
	p.mu.Lock()
	var ids []format.SegmentID
	kept := p.mu.retired[:0]
	for _, r := range p.mu.retired {
		if r.table < oldest {
			ids = append(ids, r.segments...)
		} else {
			kept = append(kept, r)
		}
	}
	p.mu.retired = kept
	p.mu.Unlock()
	return len(ids) > 0, p.free(ids)
}

// oldestTable returns the oldest index table that an attached thread may be reading.
func (p *Pool) oldestTable() uint64 {
	oldest := p.index.TableID()
	p.ranks.Lock()
	defer p.ranks.Unlock()
	for _, t := range p.ranks.qps {
		if t.table != 0 {
			oldest = min(oldest, t.table)
		}
	}
	return oldest
}

// freeDead frees segments in which nothing is live any more.
func (p *Pool) freeDead() (bool, error) {
	var dead, doubtful []format.SegmentID
	now := p.o.Clock.Now()
	p.mu.Lock()
	for i := range p.segments {
		s := &p.segments[i]
		if !s.over() {
			continue
		}
		pinned := s.pinned.Load() > 0
		switch {
		case s.live.Load() <= 0 && !pinned && len(dead) < freeAtOnce:
			s.busy = true
			dead = append(dead, format.SegmentID(i))
		case pinned && !s.damaged && len(doubtful) < recountAtOnce && s.liveShare() <= victimLive && now.Sub(s.recounted) >= recountEvery:
			s.recounted = now
			doubtful = append(doubtful, format.SegmentID(i))
		}
	}
	p.mu.Unlock()
	for _, id := range doubtful {
		if err := p.recount(id); err != nil {
			return false, err
		}
	}
	return len(dead) > 0, p.free(dead)
}

// over says whether the segment's log is over and done with. REQUIRES: Pool.mu.
func (s *segment) over() bool {
	logs := s.header.Kind == format.SegmentLog || s.header.Kind == format.SegmentCompaction
	return logs && !s.busy && !s.streamed && s.held == holdNone && s.complete()
}

// reclaimable says whether the segment's log is over and can be walked. REQUIRES: Pool.mu.
func (s *segment) reclaimable() bool { return s.over() && !s.damaged }

// recount walks a segment and counts its pins anew. REQUIRES: compact locked; the segment is reclaimable.
func (p *Pool) recount(id format.SegmentID) error {
	s := &p.segments[id]
	pinned, err := p.countPins(id)
	switch {
	case errors.Is(err, format.ErrDamaged): // whoever reads it says so
		p.mu.Lock()
		s.damaged = true
		p.mu.Unlock()
	case err != nil:
		return err
	default:
		s.pinned.Store(pinned)
	}
	return nil
}

// countPins counts the entries of a segment that are live behind a pointer word, or may yet be. REQUIRES: as recount.
func (p *Pool) countPins(id format.SegmentID) (pinned int64, err error) {
	h := p.segments[id].header // sealed: only its state can change, by us
	settled, may := p.settledOf(h)
	base := p.layout.SegmentOffset(id)
	var e format.Entry
	for at := uint64(0); at < h.Sealed; at += e.Bytes() {
		if !p.entryAt(base+at, h.Sealed-at, h.Generation, 0, &e) {
			return 0, format.ErrEntryDamaged
		}
		if e.Flags.Replicated() && may && e.Sequence >= settled {
			pinned++
			continue
		}
		current, err := p.lookup(index.KeyHash(e.Key), e.Key)
		if err != nil {
			return 0, err
		}
		if !current.Indirect() {
			continue
		}
		target, err := p.loadWord(current)
		if err != nil {
			return 0, err
		}
		if target == format.PackPointer(base+at, e.Bytes(), h.Generation) {
			pinned++
		}
	}
	return pinned, nil
}

// settledOf says from which sequence on the owner of a segment may still publish entries by CAS, and whether it
// may at all.
func (p *Pool) settledOf(h format.SegmentHeader) (from uint64, may bool) {
	if h.Kind != format.SegmentLog {
		return 0, false
	}
	key := streamKey{h.Rank, h.Incarnation, h.Thread}
	if p.standingOf(key) == ownerGone {
		return 0, false
	}
	p.mu.Lock()
	s := p.mu.streams[key]
	p.mu.Unlock()
	if s == nil {
		return 0, true
	}
	return s.settled.Load(), true
}

// growIndex doubles the index when it is too full and there is room for it. Damage keeps it as it is: it works on, and chains get longer.
func (p *Pool) growIndex() (bool, error) {
	if !p.index.ShouldGrow() {
		return false, nil
	}
	free, now := p.freeSegments(), p.o.Clock.Now()
	p.mu.Lock()
	tried, wait := p.mu.growTried, now.Before(p.mu.growAgain)
	p.mu.Unlock()
	if wait || tried >= free && tried > 0 { // it did not fit in as many, and the table works on as it is
		return false, nil
	}
	err := p.index.Grow()
	if errors.Is(err, format.ErrDamaged) {
		p.damageIn("index", fmt.Errorf("%w; it works on, but slower and slower: dinomo backup --skip-damaged and dinomo restore make a sound one", err))
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	switch {
	case err == nil:
		p.mu.growTried = 0
		return true, nil
	case errors.Is(err, ErrNoSpace):
		p.mu.growTried = free
	case errors.Is(err, format.ErrDamaged):
		p.mu.growAgain = now.Add(growPause)
	case !errors.Is(err, index.ErrGrowing):
		return false, err
	}
	return false, nil
}

// space is how the pool's segments are used.
type space struct {
	free     int
	settled  int     // sealed and merged segments
	live     float64 // of these, how many the live bytes would fill
	unmerged int     // sealed, but not merged
	victim   format.SegmentID
	victims  float64 // live share of the victim, the least; 1 when there is none
}

// measure looks at all segments. REQUIRES: compact locked.
func (p *Pool) measure() space {
	sp := space{victim: format.NoSegment, victims: 1}
	now := p.o.Clock.Now()
	p.mu.Lock()
	defer p.mu.Unlock()
	sp.free = len(p.mu.free)
	for i := range p.segments {
		s := &p.segments[i]
		if s.streamed && s.header.State == format.SegmentSealed {
			sp.unmerged++
		}
		if !s.reclaimable() {
			continue
		}
		sp.settled++
		share := s.liveShare()
		filled := share * float64(s.header.Sealed) / float64(p.layout.SegmentBytes)
		sp.live += filled
		// What a merge under way has superseded is counted late, so a victim may be walked in vain: not at once again.
		if filled < sp.victims && s.pinned.Load() <= 0 && s.live.Load() > 0 && now.Sub(s.recounted) >= recountEvery {
			sp.victim, sp.victims = format.SegmentID(i), filled
		}
	}
	return sp
}

// liveShare is how much of the segment's log is live, at most 1. Bytes are counted in SizeUnits, which
// makes small entries look larger; so the whole is counted in them too, once it is known.
func (s *segment) liveShare() float64 {
	total := s.total
	if total == 0 {
		total = int64(s.header.Sealed / format.SizeUnit)
	}
	if total == 0 {
		return 0
	}
	return min(1, float64(max(s.live.Load(), 0))/float64(total))
}

// compactOne moves the live entries out of the segment with the fewest, if that is worth while: if the
// pool uses more than SpaceFactor times its live bytes, or if it runs out of free segments.
func (p *Pool) compactOne() (bool, error) {
	p.countTotals()
	sp := p.measure()
	short := sp.free <= 2*p.reserveFor(p.attached())
	wasteful := float64(sp.settled) > p.o.SpaceFactor*sp.live+1
	if sp.victim == format.NoSegment || sp.victims > victimLive || !short && !wasteful {
		return false, nil
	}
	p.mu.Lock()
	p.segments[sp.victim].busy = true
	p.mu.Unlock()
	info, err := p.compactSegment(sp.victim)
	p.mu.Lock()
	p.segments[sp.victim].busy = false
	if p.segments[sp.victim].live.Load() > 0 {
		p.segments[sp.victim].recounted = p.o.Clock.Now()
	}
	if errors.Is(err, format.ErrDamaged) {
		p.segments[sp.victim].damaged = true
		err = nil
	}
	p.mu.Unlock()
	if errors.Is(err, ErrNoSpace) {
		return false, nil
	}
	if err != nil {
		return false, err
	}
	p.counters.compactions.Add(1)
	p.counters.movedBytes.Add(info.BytesMoved)
	p.o.Events.CompactionEnd(info)
	return true, nil
}

// countTotals counts the entries of segments that were settled since the last call, in SizeUnits.
// REQUIRES: compact locked.
func (p *Pool) countTotals() {
	for i := range p.segments {
		s := &p.segments[i]
		p.mu.Lock()
		count := s.total == 0 && s.reclaimable() && s.header.Sealed > 0
		h := s.header
		p.mu.Unlock()
		if !count {
			continue
		}
		base := p.layout.SegmentOffset(format.SegmentID(i))
		total := int64(0)
		for at := uint64(0); at < h.Sealed; {
			size, err := format.EntryBytesAt(p.region.View(base+at, min(format.EntryHeaderBytes, h.Sealed-at)))
			if err != nil {
				break // damaged; whoever reads it says so
			}
			total += int64(format.EntryUnits(size))
			at += size
		}
		p.mu.Lock()
		s.total = max(total, 1)
		p.mu.Unlock()
	}
}

// tidyStreams forgets streams whose owner is gone and whose log is merged, and lifts quarantines.
func (p *Pool) tidyStreams() {
	for _, s := range p.streams() {
		standing := p.standingOf(s.key)
		if standing == ownerLives || !s.mu.TryLock() {
			continue
		}
		s.forgetComplete(p)
		empty := len(s.mu.segments) == 0
		s.mu.Unlock()
		if standing == ownerGone {
			p.release(s.key)
			if empty {
				p.dropStream(s)
			}
		}
	}
}

func (p *Pool) freeSegments() int {
	p.mu.Lock()
	defer p.mu.Unlock()
	return len(p.mu.free)
}
