package dpm

import (
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
	if err := p.mendEpoch(); err != nil {
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
		Life: fabric.Life{Offset: epochAt, Word: format.ServerEpochWord(p.epoch)},
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
