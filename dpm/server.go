package dpm

import (
	"cmp"
	"errors"
	"fmt"
	"slices"

	"github.com/dinomo-kv/dinomo/dpm/call"
	"github.com/dinomo-kv/dinomo/dpm/fabric"
	"github.com/dinomo-kv/dinomo/dpm/format"
)

// nodeThread is the thread number of a node's own queue pair, which has no log.
const nodeThread = fabric.SharedThread

// callBudget bounds the batches that one call merges on its caller's time.
const callBudget = 64

// Service returns what a listener asks of the pool. mapped says that the backend's peers map the pool's
// memory themselves, so that Fence cannot take it away (fabric.Listener.Revocable is false).
func (p *Pool) Service(mapped bool) fabric.Service { return service{p, mapped} }

type service struct {
	p      *Pool
	mapped bool
}

var _ fabric.Service = service{}

// Admit implements fabric.Service.
func (s service) Admit(h fabric.Hello) (fabric.Session, error) { return s.p.admit(h, s.mapped) }

// Gone implements fabric.Service.
func (s service) Gone(session fabric.Session, thread uint16) { s.p.gone(session, thread) }

// Call implements fabric.Service.
func (s service) Call(session fabric.Session, thread uint16, request, reply []byte) []byte {
	p := s.p
	p.counters.calls.Add(1)
	var r call.Request
	if err := call.DecodeRequest(request, &r); err != nil {
		if !r.Op.Valid() {
			r.Op = call.Attach // a reply must have one
		}
		return call.AppendReply(reply[:0], &call.Reply{Status: call.Malformed, Op: r.Op, Text: err.Error()})
	}
	key := streamKey{uint16(session.Rank), uint32(session.Incarnation), thread}
	answer := call.Reply{Op: r.Op}
	if err := p.serve(key, &r, &answer); err != nil {
		answer.Status, answer.Text = statusOf(err), err.Error()
	}
	return call.AppendReply(reply[:0], &answer)
}

// statuses maps what the pool fails with to what a call answers; everything else is Failed.
var statuses = []struct {
	err    error
	status call.Status
}{
	{ErrNoSpace, call.NoSpace},
	{ErrBusy, call.Busy},
	{ErrNoRecord, call.NotFound},
	{ErrConflict, call.Conflict},
	{ErrRecords, call.TooLarge},
	{fabric.ErrFenced, call.Fenced},
	{format.ErrDamaged, call.Damaged},
}

func statusOf(err error) call.Status {
	for _, s := range statuses {
		if errors.Is(err, s.err) {
			return s.status
		}
	}
	return call.Failed
}

// serve carries out one request of a thread.
func (p *Pool) serve(key streamKey, r *call.Request, answer *call.Reply) error {
	if err := p.Err(); err != nil {
		return err
	}
	hasLog := key.thread != nodeThread
	switch r.Op {
	case call.Attach:
		return p.serveAttach(key, hasLog, answer)
	case call.Root:
		return p.serveRoot(key, answer)
	case call.MetaGet:
		blob, version, err := p.MetaGet(string(r.Name))
		answer.Bytes, answer.Record = blob, version
		return err
	case call.MetaCAS:
		return p.serveMetaCAS(r, answer)
	case call.Stats:
		st := p.Stats()
		answer.Counts = st.counts()
		return nil
	case call.Install:
		pointer, err := p.Install(r.Key)
		answer.Pointer = uint64(pointer)
		return err
	case call.Remove:
		return p.Remove(r.Key)
	}
	if !hasLog {
		return fmt.Errorf("%s: thread %d has no log", r.Op, key.thread)
	}
	if p.standingOf(key) != ownerLives {
		return fmt.Errorf("%w: rank %d, incarnation %d", fabric.ErrFenced, key.rank, key.incarnation)
	}
	s := p.streamOf(key)
	if r.Op != call.Seal {
		s.settled.Store(max(s.settled.Load(), r.Settled))
		p.readsTable(key, r.Table)
	}
	switch r.Op {
	case call.Alloc:
		return p.serveAlloc(s, r, answer)
	case call.Seal:
		return p.serveSeal(s, answer)
	case call.Drain:
		return p.serveDrain(s, r, answer)
	default: // call.Progress
		s.mu.Lock()
		defer s.mu.Unlock()
		p.tellProgress(s, answer)
		return s.mu.broken
	}
}

// tellProgress fills in what every reply about a log says. REQUIRES: s.mu.
func (p *Pool) tellProgress(s *stream, answer *call.Reply) {
	answer.Table = p.index.TableID()
	answer.Merged = s.mu.next
	answer.Unmerged = uint32(s.unmerged(p))
}

// serveAttach seals what a thread may have been writing over an earlier queue pair, and says where its log
// ends. Earlier incarnations' logs are merged first: until then this one would read stale data.
func (p *Pool) serveAttach(key streamKey, hasLog bool, answer *call.Reply) error {
	answer.Table, answer.ServerEpoch = p.index.TableID(), p.epoch
	answer.LeaseMicros, answer.UnmergedLimit = uint64(p.o.LeaseLength.Microseconds()), uint32(p.o.UnmergedSegments)
	if p.standingOf(key) != ownerLives {
		return fmt.Errorf("%w: rank %d, incarnation %d", fabric.ErrFenced, key.rank, key.incarnation)
	}
	var m merger
	for _, s := range p.streamsOf(key.rank, key.incarnation-1) {
		s.mu.Lock()
		done, err := p.sealAll(s, &m, callBudget)
		s.mu.Unlock()
		if err != nil {
			return err
		}
		if !done {
			return fmt.Errorf("%w: merging the log of incarnation %d of rank %d", ErrBusy, s.key.incarnation, key.rank)
		}
	}
	if !hasLog {
		return nil
	}
	p.ranks.Lock()
	others := p.ranks.qps[threadKey(key)] != nil && p.ranks.qps[threadKey(key)].qps > 1
	p.ranks.Unlock()
	if others { // its last WRITE may still be on its way
		return fmt.Errorf("%w: an earlier queue pair of thread %d is still open", ErrBusy, key.thread)
	}
	s := p.streamOf(key)
	s.mu.Lock()
	defer s.mu.Unlock()
	p.listTails(s, answer)
	done, err := p.sealAll(s, &m, callBudget)
	if err != nil {
		return err
	}
	if !done {
		return fmt.Errorf("%w: merging the log of thread %d", ErrBusy, key.thread)
	}
	p.finishTails(s, answer)
	p.checkSize(p.attached())
	return nil
}

// listTails lists the thread's segments of which it may not know the end. REQUIRES: s.mu.
func (p *Pool) listTails(s *stream, answer *call.Reply) {
	answer.Tails = answer.Tails[:0]
	p.mu.Lock()
	defer p.mu.Unlock()
	for i := range p.segments {
		seg := &p.segments[i]
		h := &seg.header
		own := h.Kind == format.SegmentLog && h.Rank == s.key.rank && h.Incarnation == s.key.incarnation && h.Thread == s.key.thread
		if own && (seg.held == holdAttach || seg.streamed) {
			seg.held = holdAttach // until the thread has heard about it: a reply can get lost
			answer.Tails = append(answer.Tails, call.SegmentTail{Segment: call.Segment{ID: uint32(i), Generation: h.Generation, Order: h.Order}})
		}
	}
	sortTails(answer.Tails)
}

// finishTails fills in where the listed segments' logs ended. REQUIRES: s.mu.
func (p *Pool) finishTails(s *stream, answer *call.Reply) {
	for i := range answer.Tails {
		t := &answer.Tails[i]
		t.Tail = p.segments[t.ID].header.Sealed
		if _, last := p.walkLog(format.SegmentID(t.ID), 0, t.Tail); last.Key != nil {
			t.NextSequence = last.Sequence + 1
		}
	}
	answer.NextSequence = s.mu.next
	p.tellProgress(s, answer)
}

// serveAlloc hands segments to a thread.
func (p *Pool) serveAlloc(s *stream, r *call.Request, answer *call.Reply) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	p.tellProgress(s, answer)
	if s.mu.broken != nil {
		return s.mu.broken
	}
	p.release(s.key) // it knows where its log ended, or it would not ask for more
	room := p.o.UnmergedSegments - s.unmerged(p)
	if room <= 0 {
		p.counters.allocBusy.Add(1)
		p.wakeMergers()
		return fmt.Errorf("%w: thread %d has %d unmerged segments", ErrBusy, s.key.thread, s.unmerged(p))
	}
	keep := p.reserveFor(p.attached())
	if r.DeletesOnly {
		r.Count, keep = 1, p.compactionReserve()
	}
	ids, err := p.handOut(format.SegmentHeader{
		SegmentIdentity: format.SegmentIdentity{State: format.SegmentOpen, Kind: format.SegmentLog, Rank: s.key.rank, Thread: s.key.thread},
		Order:           s.mu.order + 1, Incarnation: s.key.incarnation, Settled: min(s.settled.Load(), format.MaxPayload),
	}, min(int(max(r.Count, 1)), room), keep)
	if err != nil {
		return err
	}
	if len(ids) == 0 {
		return p.noSegments(r.DeletesOnly)
	}
	p.mu.Lock()
	for _, id := range ids {
		p.segments[id].streamed, p.segments[id].deletes = true, r.DeletesOnly
	}
	p.mu.Unlock()
	s.mu.segments = append(s.mu.segments, ids...)
	s.mu.order += uint64(len(ids))
	for _, id := range ids {
		h := &p.segments[id].header
		answer.Segments = append(answer.Segments, call.Segment{ID: uint32(id), Generation: h.Generation, Order: h.Order})
	}
	p.tellProgress(s, answer)
	p.wakeMergers()
	return nil
}

// compactionReserve returns how many free segments deletes leave alone: fewer while compaction has one of its own.
func (p *Pool) compactionReserve() int {
	p.mu.Lock()
	defer p.mu.Unlock()
	for i := range p.segments {
		if h := &p.segments[i].header; h.Kind == format.SegmentCompaction && h.State == format.SegmentOpen {
			return compactionKeeps - 1
		}
	}
	return compactionKeeps
}

// noSegments says whether the pool is full or only behind with its housekeeping; or, where deletes are waiting, whether
// others have what is kept for them: threads give back what they have filled, and as soon as they have nothing to do.
func (p *Pool) noSegments(deletesOnly bool) error {
	p.wakeReclaimer()
	if p.behind() {
		p.counters.allocBusy.Add(1)
		return fmt.Errorf("%w: dead segments are being taken back", ErrBusy)
	}
	if deletesOnly && p.reserveReturns() {
		p.counters.allocBusy.Add(1)
		return fmt.Errorf("%w: the pool is full, and what it keeps for deletes is in use; it comes back", ErrBusy)
	}
	p.counters.allocNoSpace.Add(1)
	if deletesOnly {
		return fmt.Errorf("%w: not even deletes have a segment, because the index has taken what is kept for them", ErrNoSpace)
	}
	return ErrNoSpace
}

// reserveReturns says whether segments of the reserve are in use for deletes, or about to be free after a compaction.
func (p *Pool) reserveReturns() bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	for i := range p.segments {
		if s := &p.segments[i]; s.busy || s.deletes && s.header.State == format.SegmentOpen {
			return true
		}
	}
	return false
}

// behind says whether housekeeping will make segments free without anything being deleted.
func (p *Pool) behind() bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	settled, live := 0, 0.0
	for i := range p.segments {
		s := &p.segments[i]
		if s.streamed && s.header.State == format.SegmentSealed {
			return true
		}
		if s.reclaimable() && s.pinned.Load() <= 0 { // pinned ones are not compacted
			settled++
			live += s.liveShare() * float64(s.header.Sealed) / float64(p.layout.SegmentBytes)
			if s.live.Load() <= 0 {
				return true
			}
		}
	}
	// Compaction goes on until every segment is fuller than victimLive, and needs a segment of its own.
	return float64(settled)-live/victimLive >= 1
}

// serveSeal takes a thread's segments back.
func (p *Pool) serveSeal(s *stream, answer *call.Reply) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	var m merger
	done, err := p.sealAll(s, &m, callBudget)
	p.tellProgress(s, answer)
	if err == nil && !done {
		err = fmt.Errorf("%w: merging the log of thread %d", ErrBusy, s.key.thread)
	}
	return err
}

// serveDrain merges a thread's log on its own time, as far as it asks and the budget allows.
func (p *Pool) serveDrain(s *stream, r *call.Request, answer *call.Reply) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	var m merger
	idle := false
	for range callBudget {
		if s.mu.next >= r.Through && r.Through != 0 {
			break
		}
		progress, err := p.mergeStep(s, &m)
		if errors.Is(err, ErrNoSpace) {
			break // the reclaimer was told; the thread asks again
		}
		if err != nil {
			return err
		}
		if !progress {
			idle = true
			break
		}
	}
	p.tellProgress(s, answer)
	answer.Done = idle || s.mu.next >= r.Through && r.Through != 0
	if idle && s.mu.next < r.Through && s.mu.next != 0 {
		return fmt.Errorf("thread %d wants entries below %d merged; its log ends with %d", s.key.thread, r.Through, s.mu.next-1)
	}
	return nil
}

// serveRoot hands out the index table and notes that the thread reads it from now on.
func (p *Pool) serveRoot(key streamKey, answer *call.Reply) error {
	p.ranks.Lock()
	t := p.ranks.qps[threadKey(key)]
	if t != nil && t.table == 0 {
		t.table = 1 // holds every table back until it is known which one it gets
	}
	p.ranks.Unlock()
	table := p.index.Table()
	answer.Table = table.Root.Table
	answer.Bytes = table.AppendTo(nil)
	p.readsTable(key, answer.Table)
	return nil
}

// readsTable notes which index table a thread reads.
func (p *Pool) readsTable(key streamKey, table uint64) {
	if table == 0 {
		return
	}
	p.ranks.Lock()
	if t := p.ranks.qps[threadKey(key)]; t != nil && t.table != table {
		t.table = table
		defer p.wakeReclaimer()
	}
	p.ranks.Unlock()
}

func (p *Pool) serveMetaCAS(r *call.Request, answer *call.Reply) error {
	version, err := p.MetaCAS(string(r.Name), r.Expect, r.Bytes)
	answer.Record = version
	if errors.Is(err, ErrConflict) {
		// What is there now may be newer still than what the swap met: the pair is consistent in itself.
		blob, present, getErr := p.MetaGet(string(r.Name))
		if getErr == nil {
			answer.Bytes, answer.Record = blob, present
		}
	}
	return err
}

func sortTails(tails []call.SegmentTail) {
	slices.SortFunc(tails, func(a, b call.SegmentTail) int { return cmp.Compare(a.Order, b.Order) })
}
