package dpm

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/cespare/xxhash/v2"

	"github.com/dinomo-kv/dinomo/dpm/fabric"
	"github.com/dinomo-kv/dinomo/dpm/format"
)

// rankTable is who may attach: a mirror of the durable table, and what is only in memory.
//
// Lock order: after stream.mu, before Pool.mu. It is not held while a listener is called, because
// listeners report connections that end.
type rankTable struct {
	sync.Mutex
	ranks []rank // by number; 0 is the DPM
	qps   map[threadKey]*threadState
	// fences counts the fences since the pool was opened, with one for all before.
	fences uint64
}

type rank struct {
	entry    format.RankEntry
	identity string // "" unless admitted in this run
	qps      int    // open queue pairs of the current incarnation
	mapped   bool   // its process maps the pool's memory
	restored bool   // not admitted in this run of the DPM: what it maps is not known
	leased   bool   // the lease word has changed since admission, or may have
	word     uint64 // the lease word as last seen
	wordAt   time.Time
	// overtaken: a successor has asked, while queue pairs of this one are open that nobody may be using.
	overtaken bool
	fencedAt  uint64 // of a fenced rank: rankTable.fences then
}

// threadKey names a thread of a process.
type threadKey struct {
	rank        uint16
	incarnation uint32
	thread      uint16
}

// threadState is what the pool knows of a thread's queue pairs.
type threadState struct {
	qps   int
	table uint64 // index table it reads, 0 none yet
}

func identityHash(identity string) uint64 {
	return max(xxhash.Sum64String(identity)&format.MaxPayload, 1)
}

// admit decides about a queue pair of a backend whose peers map the pool's memory, or do not.
func (p *Pool) admit(h fabric.Hello, mapped bool) (fabric.Session, error) {
	if h.Pool != (fabric.PoolID{}) && h.Pool != p.PoolID() {
		return fabric.Session{}, fmt.Errorf("%w: %v is here, not %v", fabric.ErrWrongPool, p.PoolID(), h.Pool)
	}
	if err := p.Err(); err != nil {
		return fabric.Session{}, fmt.Errorf("%w: %w", fabric.ErrRefused, err)
	}
	t := &p.ranks
	t.Lock()
	defer t.Unlock()
	number, err := uint32(h.Rank), error(nil)
	if h.Rank == 0 {
		number, err = p.assign(h, mapped)
	} else {
		err = p.readmit(h)
	}
	if err != nil {
		return fabric.Session{}, err
	}
	r := &t.ranks[number]
	r.qps++
	r.mapped = r.mapped || mapped
	r.restored = false
	if r.identity == "" && identityHash(h.Identity) == r.entry.Identity {
		r.identity = h.Identity
	}
	key := threadKey{uint16(number), r.entry.Incarnation, h.Thread}
	if t.qps[key] == nil {
		t.qps[key] = &threadState{}
	}
	t.qps[key].qps++
	return fabric.Session{
		Pool: p.PoolID(), PoolBytes: p.layout.TotalBytes, ServerEpoch: p.epoch, Durability: p.region.Durability(), Path: p.Path(),
		Rank: fabric.Rank(number), Incarnation: fabric.Incarnation(r.entry.Incarnation),
		Life: fabric.Life{Offset: format.RootsOffset + format.ServerEpochOffset, Word: format.ServerEpochWord(p.epoch)},
	}, nil
}

// readmit checks a queue pair that says which rank it has. REQUIRES: ranks locked.
func (p *Pool) readmit(h fabric.Hello) error {
	if uint64(h.Rank) >= uint64(len(p.ranks.ranks)) {
		return fmt.Errorf("%w: there is no rank %d", fabric.ErrRefused, h.Rank)
	}
	e := &p.ranks.ranks[h.Rank].entry
	switch {
	case e.State == format.RankFree || uint32(h.Incarnation) > e.Incarnation:
		return fmt.Errorf("%w: rank %d, incarnation %d was never given out here", fabric.ErrRefused, h.Rank, h.Incarnation)
	case uint32(h.Incarnation) < e.Incarnation || e.State == format.RankFenced:
		return fmt.Errorf("%w: rank %d, incarnation %d", fabric.ErrFenced, h.Rank, h.Incarnation)
	}
	return nil
}

// assign finds a rank for a node that has none. The same name gets the same rank, with a new incarnation
// unless it is the same process asking again. REQUIRES: ranks locked.
func (p *Pool) assign(h fabric.Hello, mapped bool) (number uint32, err error) {
	t := &p.ranks
	id := identityHash(h.Identity)
	free := uint32(0)
	for i := uint32(1); i < uint32(len(t.ranks)); i++ {
		e := &t.ranks[i].entry
		switch {
		case e.State == format.RankFree:
			if free == 0 {
				free = i
			}
		case e.Identity == id:
			return i, p.succeed(i, h, mapped)
		}
	}
	if free == 0 {
		if free = p.recyclable(); free == 0 {
			return 0, fmt.Errorf("%w: %w", fabric.ErrRefused, ErrNoRank)
		}
	}
	return free, p.give(free, h, mapped)
}

// recyclable returns a fenced rank of which nothing is left but its number, 0 when there is none.
// REQUIRES: ranks locked.
func (p *Pool) recyclable() uint32 {
	for i := uint32(1); i < uint32(len(p.ranks.ranks)); i++ {
		r := &p.ranks.ranks[i]
		if r.entry.State == format.RankFenced && !p.lingers(r) && len(p.streamsOf(uint16(i), r.entry.Incarnation)) == 0 {
			return i
		}
	}
	return 0
}

// succeed gives rank number to a process of the name that has it. REQUIRES: ranks locked.
func (p *Pool) succeed(number uint32, h fabric.Hello, mapped bool) error {
	r := &p.ranks.ranks[number]
	e := &r.entry
	if e.State == format.RankHeld && h.PID != 0 && e.Process == h.PID && e.ProcessStart == h.PIDStart&format.MaxPayload {
		return nil // its first queue pair broke before it knew its rank
	}
	if !p.mayBeSucceeded(r, h) {
		r.overtaken = true
		p.wakeReclaimer()
		return fmt.Errorf("%w: %s is rank %d, incarnation %d, of process %d, which is not known to be gone; stop it or wait until its lease has run out",
			fabric.ErrRefused, h.Identity, number, e.Incarnation, e.Process)
	}
	return p.give(number, h, mapped)
}

// give makes h the holder of rank number, durably: name and process first, then the word that says so.
// REQUIRES: ranks locked.
func (p *Pool) give(number uint32, h fabric.Hello, mapped bool) error {
	old := p.ranks.ranks[number].entry
	e := format.RankEntry{
		State: format.RankHeld, Incarnation: old.Incarnation + 1, Identity: identityHash(h.Identity),
		Process: h.PID, ProcessStart: h.PIDStart & format.MaxPayload,
	}
	offset := p.layout.RankEntryOffset(number)
	// Far from any word of an earlier incarnation, so that a late CAS of one cannot pass for a renewal.
	word := uint64(e.Incarnation) << 32
	var encoded [format.RankEntryBytes]byte
	e.Encode(&encoded)
	p.region.Write(offset+format.RankIdentityOffset, encoded[format.RankIdentityOffset:])
	p.region.Flush(offset, format.RankEntryBytes)
	if err := p.fence(); err != nil {
		return fmt.Errorf("%w: %w", fabric.ErrRefused, err)
	}
	if err := p.writeRankState(number, &e); err != nil {
		return fmt.Errorf("%w: %w", fabric.ErrRefused, err)
	}
	p.region.Store64(offset+format.RankLeaseOffset, word)
	p.ranks.ranks[number] = rank{entry: e, identity: h.Identity, mapped: mapped, word: word, wordAt: p.o.Clock.Now()}
	p.wakeMergers()
	p.o.Events.RankAdmitted(RankInfo{fabric.Rank(number), fabric.Incarnation(e.Incarnation), h.Identity})
	return nil
}

func (p *Pool) writeRankState(number uint32, e *format.RankEntry) error {
	offset := p.layout.RankEntryOffset(number) + format.RankStateOffset
	p.region.Store64(offset, e.StateWord())
	p.region.Flush(offset, format.WordBytes)
	return p.fence()
}

// mayBeSucceeded says whether a rank's process can do nothing any more that depends on the pool, so that another
// process of the same name may have the rank. REQUIRES: ranks locked.
func (p *Pool) mayBeSucceeded(r *rank, h fabric.Hello) bool {
	e := &r.entry
	// Whoever asks from this machine tells that the node of that name is on this machine, and so was
	// the process before.
	local := h.PID != 0 && h.PIDStart != 0 && ProcessStart(h.PID) == h.PIDStart
	alive := e.Process != 0 && p.o.private.alive(e.Process, e.ProcessStart)
	switch {
	case alive && (r.mapped || r.restored || local && e.State == format.RankHeld):
		// Even when it is fenced: while it maps the memory, as after a restart it may, it could write under its
		// successor's feet.
		return false
	case e.Process != 0 && !alive && (r.mapped || local && (r.restored || e.State == format.RankHeld)):
		return true
	case e.State == format.RankFenced:
		return true
	}
	return r.qps == 0 && (!r.leased || p.leaseOver(r))
}

// leaseOver says whether a rank's lease has run out, whatever its holder's clock says. REQUIRES: ranks locked.
func (p *Pool) leaseOver(r *rank) bool {
	return p.o.Clock.Now().Sub(r.wordAt) > p.o.LeaseLength+p.o.LeaseMargin
}

// fenceOvertaken fences ranks whose successors are waiting and whose leases have run out, though queue pairs are open: of a machine that
// lost its power nobody hears, and a node that is in no map no coordinator watches. Where the memory is mapped, only the
// process' end will do.
func (p *Pool) fenceOvertaken() error {
	type suspect struct {
		number      fabric.Rank
		incarnation fabric.Incarnation
		word        uint64
	}
	var all []suspect
	p.ranks.Lock()
	for i := range p.ranks.ranks {
		r := &p.ranks.ranks[i]
		if r.overtaken && r.entry.State == format.RankHeld && !r.mapped && r.qps > 0 && p.leaseOver(r) {
			all = append(all, suspect{fabric.Rank(i), fabric.Incarnation(r.entry.Incarnation), r.word})
		}
		r.overtaken = false
	}
	p.ranks.Unlock()
	for _, s := range all {
		if _, err := p.FenceUnchanged(s.number, s.incarnation, s.word); err != nil {
			return err
		}
	}
	return nil
}

// gone takes note of a queue pair's end.
func (p *Pool) gone(s fabric.Session, thread uint16) {
	t := &p.ranks
	t.Lock()
	defer t.Unlock()
	if r := &t.ranks[s.Rank]; r.entry.Incarnation == uint32(s.Incarnation) && r.qps > 0 {
		r.qps--
	}
	key := threadKey{uint16(s.Rank), uint32(s.Incarnation), thread}
	if st := t.qps[key]; st != nil {
		if st.qps--; st.qps == 0 {
			delete(t.qps, key)
			p.wakeReclaimer()
		}
	}
}

// watchLeases looks at the lease words of held ranks, to know when they last changed.
func (p *Pool) watchLeases() {
	now := p.o.Clock.Now()
	p.ranks.Lock()
	defer p.ranks.Unlock()
	for i := range p.ranks.ranks {
		r := &p.ranks.ranks[i]
		if r.entry.State != format.RankHeld {
			continue
		}
		if word := p.region.Load64(p.layout.RankEntryOffset(uint32(i)) + format.RankLeaseOffset); word != r.word {
			r.word, r.wordAt, r.leased = word, now, true
		}
	}
}

// Fence takes the pool's memory away from a rank's incarnation and all before, for ever: its queue
// pairs are dead when Fence returns, and its log will be sealed at the last valid entry. Merging what it
// wrote is DrainRank's. It may be repeated.
func (p *Pool) Fence(number fabric.Rank, upTo fabric.Incarnation) error {
	t := &p.ranks
	t.Lock()
	if number == 0 || uint64(number) >= uint64(len(t.ranks)) {
		t.Unlock()
		return fmt.Errorf("fence rank %d: the pool has ranks 1 to %d", number, len(t.ranks)-1)
	}
	r := &t.ranks[number]
	if r.entry.State == format.RankHeld && r.entry.Incarnation <= uint32(upTo) {
		e := r.entry
		e.State = format.RankFenced
		if err := p.writeRankState(uint32(number), &e); err != nil {
			t.Unlock()
			return fmt.Errorf("fence rank %d: %w", number, err)
		}
		t.fences++
		r.entry, r.fencedAt = e, t.fences
		p.stopLease(uint32(number))
	}
	info := RankInfo{number, upTo, r.identity}
	t.Unlock()
	var err error
	for _, l := range p.listeners() {
		err = errors.Join(err, l.Fence(number, upTo))
	}
	if err != nil {
		return fmt.Errorf("fence rank %d: %w", number, err)
	}
	p.counters.fences.Add(1)
	p.o.Events.RankFenced(info)
	p.wakeMergers()
	return nil
}

// FenceUnchanged is Fence on suspicion: it fences only if the rank's lease word is still the one that was seen standing
// still, and says whether the rank is fenced now. Renewals are CASes on the same word, so of a renewal and this
// fence exactly one happens.
//
// The pool must have seen the word stand still for a lease's length itself, since it was opened: after a power cut the word may
// be one of earlier, and a suspicion that was on its way meanwhile would meet it as if it had never been renewed.
func (p *Pool) FenceUnchanged(number fabric.Rank, upTo fabric.Incarnation, word uint64) (fenced bool, err error) {
	t := &p.ranks
	t.Lock()
	if number == 0 || uint64(number) >= uint64(len(t.ranks)) {
		t.Unlock()
		return false, fmt.Errorf("fence rank %d: the pool has ranks 1 to %d", number, len(t.ranks)-1)
	}
	if e := &t.ranks[number].entry; e.State == format.RankHeld && e.Incarnation <= uint32(upTo) {
		if p.o.Clock.Now().Sub(t.ranks[number].wordAt) < p.o.LeaseLength {
			t.Unlock()
			return false, nil
		}
		offset := p.layout.RankEntryOffset(uint32(number)) + format.RankLeaseOffset
		before, err := p.swapWord(offset, word, format.LeaseFenced)
		if err != nil {
			t.Unlock()
			return false, fmt.Errorf("fence rank %d: %w", number, err)
		}
		if before != word && before != format.LeaseFenced {
			t.Unlock()
			return false, nil
		}
	}
	t.Unlock()
	return true, p.Fence(number, upTo)
}

// stopLease puts LeaseFenced into a rank's lease word, against renewals that may run at the same moment.
func (p *Pool) stopLease(number uint32) {
	offset := p.layout.RankEntryOffset(number) + format.RankLeaseOffset
	for word := p.region.Load64(offset); word != format.LeaseFenced; {
		before, err := p.swapWord(offset, word, format.LeaseFenced)
		if err != nil { // a card that is out of order carries no renewals either
			before, _ = p.region.CompareAndSwap64(offset, word, format.LeaseFenced)
		}
		word = before
	}
}

// swapWord is a CAS on a word that queue pairs change by CAS, by a means that is atomic with theirs. It returns the word before.
func (p *Pool) swapWord(offset, expect, swap uint64) (before uint64, err error) {
	for _, l := range p.listeners() {
		if s, ok := l.(fabric.WordSwapper); ok {
			return s.SwapWord(offset, expect, swap)
		}
	}
	before, _ = p.region.CompareAndSwap64(offset, expect, swap)
	return before, nil
}

// standing is what a stream's owner may still do.
type standing uint8

const (
	ownerLives   standing = iota // it may write, and ask
	ownerLingers                 // it is fenced, but its process still maps the memory
	ownerGone                    // it is fenced or succeeded, and cannot write
)

// standingOf says what the owner of a stream may still do.
func (p *Pool) standingOf(key streamKey) standing {
	p.ranks.Lock()
	defer p.ranks.Unlock()
	r := &p.ranks.ranks[key.rank]
	switch {
	case r.entry.Incarnation > key.incarnation:
		return ownerGone // its successor was let in only when it was gone
	case r.entry.State != format.RankFenced:
		return ownerLives
	case p.lingers(r):
		return ownerLingers
	}
	return ownerGone
}

// lingers says whether a fenced rank's process may still write to the pool's memory, because it maps it
// and is not known to be gone. REQUIRES: ranks locked.
func (p *Pool) lingers(r *rank) bool {
	return (r.mapped || r.restored) && r.entry.Process != 0 && p.o.private.alive(r.entry.Process, r.entry.ProcessStart)
}

// DrainRank merges everything that a rank's incarnations up to upTo have in their logs, and returns when it
// is in the index durably. What a rank that is not fenced writes meanwhile may or may not be merged.
func (p *Pool) DrainRank(ctx context.Context, number fabric.Rank, upTo fabric.Incarnation) error {
	var m merger
	for _, s := range p.streamsOf(uint16(number), uint32(upTo)) {
		if err := p.drainStream(ctx, s, &m); err != nil {
			return fmt.Errorf("drain rank %d, thread %d: %w", number, s.key.thread, err)
		}
	}
	return nil
}

func (p *Pool) drainStream(ctx context.Context, s *stream, m *merger) error {
	for {
		if err := ctx.Err(); err != nil {
			return err
		}
		s.mu.Lock()
		dead := p.standingOf(s.key) != ownerLives
		progress, err := p.mergeStep(s, m)
		if err == nil && !progress && dead {
			err = p.sealDead(s)
		}
		s.mu.Unlock()
		switch {
		case errors.Is(err, ErrNoSpace):
			if reclaimed, reclaimErr := p.reclaimStep(); reclaimErr != nil || !reclaimed {
				p.pause(p.o.private.pollAtMost)
			}
		case err != nil:
			return err
		case !progress:
			return nil
		}
	}
}

// RankStatus is what the pool knows of a rank, for who has to decide whether it is dead.
type RankStatus struct {
	Rank           fabric.Rank
	Incarnation    fabric.Incarnation
	State          format.RankState
	Identity       string // "" when only its hash is known
	QueuePairs     int
	Process        uint32
	ProcessGone    bool   // known: it ran on this machine and does not any more
	Lease          uint64 // the lease word
	LeaseUnchanged time.Duration
	Unmerged       int // segments not merged yet, of all its incarnations
}

// Ranks lists all ranks that were ever given out, as of now.
func (p *Pool) Ranks() []RankStatus {
	p.watchLeases()
	now := p.o.Clock.Now()
	p.ranks.Lock()
	var list []RankStatus
	for i := range p.ranks.ranks {
		r := &p.ranks.ranks[i]
		if r.entry.State == format.RankFree {
			continue
		}
		list = append(list, RankStatus{
			Rank: fabric.Rank(i), Incarnation: fabric.Incarnation(r.entry.Incarnation), State: r.entry.State, Identity: r.identity,
			QueuePairs: r.qps, Process: r.entry.Process, Lease: r.word, LeaseUnchanged: now.Sub(r.wordAt),
			ProcessGone: r.entry.Process != 0 && (r.mapped || r.restored) && !p.o.private.alive(r.entry.Process, r.entry.ProcessStart),
		})
	}
	p.ranks.Unlock()
	for i := range list {
		for _, s := range p.streamsOf(uint16(list[i].Rank), uint32(list[i].Incarnation)) {
			s.mu.Lock()
			list[i].Unmerged += s.unmerged(p)
			s.mu.Unlock()
		}
	}
	return list
}
