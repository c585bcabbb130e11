package dpm

import (
	"errors"
	"sync"
	"time"

	"github.com/dinomo-kv/dinomo/internal/clock"
	"github.com/dinomo-kv/dinomo/internal/planted"
)

// gate starts, stops and joins the pool's goroutines.
type gate struct {
	once    sync.Once
	stop    chan struct{}
	work    clock.Group
	merge   chan struct{} // capacity: the number of mergers
	reclaim chan struct{} // capacity 1
}

func (g *gate) init() {
	g.stop = make(chan struct{})
	g.merge = make(chan struct{}, 64)
	g.reclaim = make(chan struct{}, 1)
}

// close tells everybody to stop and says whether it was the first to.
func (g *gate) close() (first bool) {
	g.once.Do(func() {
		close(g.stop)
		first = true
	})
	return first
}

func (g *gate) wait() { g.work.Wait() }

// wakeMergers has the merge workers look at once.
func (p *Pool) wakeMergers() {
	for range p.o.Workers {
		select {
		case p.gate.merge <- struct{}{}:
		default:
			return
		}
	}
}

// wakeReclaimer has the reclaimer look at once.
func (p *Pool) wakeReclaimer() {
	select {
	case p.gate.reclaim <- struct{}{}:
	default:
	}
}

// pause waits a while, or until the pool closes.
func (p *Pool) pause(d time.Duration) {
	clock.Wait(p.o.Clock, d, nil, p.gate.stop)
}

// start runs the workers.
func (p *Pool) start() {
	if p.o.Workers < 0 {
		return
	}
	for i := range p.o.Workers {
		p.gate.work.Go(p.o.Clock, func() { p.mergeLoop(i) })
	}
	p.gate.work.Go(p.o.Clock, p.reclaimLoop)
}

// stopped says whether the pool is closing.
func (p *Pool) stopped() bool {
	select {
	case <-p.gate.stop:
		return true
	default:
		return false
	}
}

const (
	pollAtLeast = 100 * time.Microsecond
	lazyPause   = 50 * time.Millisecond
)

// mergeLoop merges what it finds, any stream that no other worker is at. Open segments fill without
// anybody telling, so it looks again after a pause that grows while there is nothing.
func (p *Pool) mergeLoop(number int) {
	var m merger
	idle := pollAtLeast
	// Merging owes nobody haste: laziness is no bug, but gives that one the time to show.
	lazy := planted.Has(planted.OldOwnerNotMerged)
	for !p.stopped() {
		if p.mergeRound(number, &m) && !lazy {
			idle = pollAtLeast
			continue
		}
		if lazy {
			idle = lazyPause
		}
		if clock.Wait(p.o.Clock, idle, p.gate.merge, p.gate.stop) == clock.Stopped {
			return
		}
		idle = min(2*idle, p.o.private.pollAtMost)
	}
}

// mergeRound merges one batch of each stream, beginning somewhere else for each worker.
func (p *Pool) mergeRound(number int, m *merger) (progress bool) {
	streams := p.streams()
	for i := range streams {
		s := streams[(i+number)%len(streams)]
		if !s.mu.TryLock() {
			continue
		}
		done, err := p.mergeStep(s, m)
		if err == nil && !done && len(s.mu.segments) > 0 && p.standingOf(s.key) != ownerLives {
			err = p.sealDead(s)
			done = err == nil
		}
		s.mu.Unlock()
		progress = progress || done && err == nil
		if p.stopped() {
			return false
		}
	}
	return progress
}

// reclaimLoop does housekeeping when told to and from time to time.
func (p *Pool) reclaimLoop() {
	for !p.stopped() {
		p.watchLeases()
		progress, err := p.housekeep()
		if err != nil && !errors.Is(err, ErrNoSpace) && p.Err() == nil {
			p.damageIn("reclaim", err)
		}
		if progress && err == nil {
			continue
		}
		if clock.Wait(p.o.Clock, min(p.o.LeaseLength/8, 50*time.Millisecond), p.gate.reclaim, p.gate.stop) == clock.Stopped {
			return
		}
	}
}

// housekeep does one round of the reclaimer's work.
func (p *Pool) housekeep() (progress bool, err error) {
	if err := errors.Join(p.mendEpoch(), p.fenceOvertaken()); err != nil {
		return false, err
	}
	return p.reclaimStep()
}

// Step does one round of what the workers would do, and says whether it did anything. It is for a pool that was opened
// with negative Workers: tests and simulations call it until it returns false.
func (p *Pool) Step() (progress bool, err error) {
	if err := p.Err(); err != nil {
		return false, err
	}
	var m merger
	merged := p.mergeRound(0, &m)
	p.watchLeases()
	reclaimed, err := p.housekeep()
	if errors.Is(err, ErrNoSpace) {
		err = nil
	}
	return merged || reclaimed, err
}
