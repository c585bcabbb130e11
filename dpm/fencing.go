package dpm

import (
	"context"
	"errors"
	"fmt"

	"github.com/dinomo-kv/dinomo/dpm/fabric"
	"github.com/dinomo-kv/dinomo/dpm/format"
)

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
