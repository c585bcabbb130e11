package dpmnode

import (
	"context"
	"fmt"

	"github.com/dinomo-kv/dinomo/actors/runtime"
	"github.com/dinomo-kv/dinomo/dpm/fabric"
	"github.com/dinomo-kv/dinomo/messages"
)

// purpose is what a chore is for.
type purpose uint8

const (
	fencing purpose = iota
	draining
	pointing
)

// choreKey names what at most one chore does at a time. request tells pointer changes apart.
type choreKey struct {
	purpose purpose
	rank    uint32
	request string
}

// asker waits for a chore's outcome.
type asker struct {
	address, id string
}

// maxAskers bounds who is remembered while a chore runs; the coordinators of a cluster are few.
const maxAskers = 8

// chore is work that runs beside the actor.
type chore struct {
	incarnation uint64 // of a fence or drain
	settled     bool   // of a drain: the rank was fenced when it began, so that what it merges is all there will ever be
	askers      []asker
}

// choreResult is what a chore tells the actor when it has ended.
type choreResult struct {
	key         choreKey
	incarnation uint64
	install     bool // of a pointer change
	done        int  // of a pointer change
	err         error
}

// begin starts a chore, or adds the asker to the one that runs already. It returns false when there are too many.
func (c *control) begin(key choreKey, incarnation uint64, settled bool, who asker, work func() choreResult) bool {
	if running := c.chores[key]; running != nil {
		if len(running.askers) < maxAskers {
			running.join(who)
		}
		return true
	}
	if len(c.chores) >= c.o.MaxChores {
		return false
	}
	c.chores[key] = &chore{incarnation: incarnation, settled: settled, askers: []asker{who}}
	c.spawn(func() {
		result := work()
		result.key, result.incarnation = key, incarnation
		c.self(result)
	})
	return true
}

// join adds an asker; one that repeats its question takes its own place.
func (r *chore) join(who asker) {
	for i, a := range r.askers {
		if a.address == who.address {
			r.askers[i] = who
			return
		}
	}
	r.askers = append(r.askers, who)
}

// fence cuts a rank off.
func (c *control) fence(f *messages.RankFence, out *runtime.Outbox) {
	c.counters.fences++
	rank, upTo := f.GetRank(), f.GetUptoIncarnation()
	who := asker{f.GetResponseAddress(), f.GetRequestId()}
	state, known := c.stateOf(rank, upTo)
	if !known {
		c.refuse(out, who, rank, upTo, fmt.Sprintf("rank %d was never given out", rank))
		return
	}
	// One that is fenced already is fenced again, without condition: an earlier attempt may have stopped half-way.
	always := !f.GetOnlyIfUnchanged() || state.GetFenced()
	started := c.begin(choreKey{purpose: fencing, rank: rank}, upTo, false, who, func() choreResult {
		if always {
			return choreResult{err: c.pool.Fence(fabric.Rank(rank), fabric.Incarnation(upTo))}
		}
		// Whether it was fenced, the rank's state says.
		_, err := c.pool.FenceUnchanged(fabric.Rank(rank), fabric.Incarnation(upTo), f.GetLeaseWord())
		return choreResult{err: err}
	})
	if !started {
		c.refuse(out, who, rank, upTo, "too many fences and drains are under way; ask again")
	}
}

// drain merges what a rank has written.
func (c *control) drain(d *messages.RankDrain, out *runtime.Outbox) {
	c.counters.drains++
	rank, incarnation := d.GetRank(), d.GetIncarnation()
	who := asker{d.GetResponseAddress(), d.GetRequestId()}
	state, known := c.stateOf(rank, incarnation)
	if !known {
		c.refuse(out, who, rank, incarnation, fmt.Sprintf("rank %d was never given out", rank))
		return
	}
	c.answer(out, who, state)
	if state.GetDrained() {
		return
	}
	started := c.begin(choreKey{purpose: draining, rank: rank}, incarnation, state.GetFenced(), who, func() choreResult {
		ctx, cancel := context.WithTimeout(c.ctx, c.o.DrainTimeout)
		defer cancel()
		return choreResult{err: c.pool.DrainRank(ctx, fabric.Rank(rank), fabric.Incarnation(incarnation))}
	})
	if !started {
		c.refuse(out, who, rank, incarnation, "too many fences and drains are under way; ask again")
	}
}

// finished answers those who waited for a chore.
func (c *control) finished(r choreResult, out *runtime.Outbox) {
	done := c.chores[r.key]
	if done == nil {
		return // of before the actor started anew
	}
	delete(c.chores, r.key)
	if r.key.purpose == pointing {
		c.pointers.running[r.install]--
	}
	if r.key.purpose == draining && r.err == nil && done.settled {
		c.drained[r.key.rank] = max(c.drained[r.key.rank], r.incarnation)
	}
	if r.err != nil {
		c.o.Logf("rank %d, incarnation %d: %v", r.key.rank, r.incarnation, r.err)
	}
	for _, who := range done.askers {
		if r.key.purpose == pointing {
			s := &messages.PointersState{RequestId: who.id, Done: uint32(r.done)}
			if r.err != nil {
				s.Error = r.err.Error()
			}
			c.send(out, who.address, s)
			continue
		}
		c.report(r, who, out)
	}
}

// report tells one asker how a fence or a drain ended.
func (c *control) report(r choreResult, who asker, out *runtime.Outbox) {
	if r.err != nil {
		c.refuse(out, who, r.key.rank, r.incarnation, r.err.Error())
		return
	}
	state, known := c.stateOf(r.key.rank, r.incarnation)
	if !known {
		c.refuse(out, who, r.key.rank, r.incarnation, "the pool does not know the rank any more")
		return
	}
	if r.key.purpose == draining {
		state.Drained = true // up to when it was asked; whether for good, Fenced says
	}
	c.answer(out, who, state)
}

func (c *control) answer(out *runtime.Outbox, who asker, state *messages.RankState) {
	s := messages.Clone(state)
	s.RequestId = who.id
	c.send(out, who.address, s)
}

func (c *control) refuse(out *runtime.Outbox, who asker, rank uint32, incarnation uint64, why string) {
	c.send(out, who.address, &messages.RankState{RequestId: who.id, Rank: rank, Incarnation: incarnation, Error: why})
}
