package kn

import (
	"fmt"
	"time"

	"github.com/dinomo-kv/dinomo/actors/kn/engine"
	"github.com/dinomo-kv/dinomo/actors/runtime"
	"github.com/dinomo-kv/dinomo/hashring"
	"github.com/dinomo-kv/dinomo/internal/clock"
	"github.com/dinomo-kv/dinomo/messages"
)

// thread is a request thread: one goroutine that owns everything here.
type thread struct {
	number  int
	o       *Options
	self    identity
	lease   *leaseKeeper
	codec   *messages.Codec
	pull    *runtime.Pull
	peers   *runtime.Peers
	engine  *engine.Engine
	mailbox *mailbox
	tell    func(body any) // to the control actor
	lost    func(error)    // the pool is lost for good
	public  *published     // metadata values that clients may read
	watched watches        // keys that caches want to hear of

	view    view
	holding holding
	round   round
	report  reporting
	pace    pace
	timer   *clock.Timer
	timerAt time.Time
	sweepAt time.Time
	stopped bool
	ready   []func() bool // the cases of its select
}

// identity is who the node is in the pool and on the ring.
type identity struct {
	rank        hashring.Rank
	incarnation uint64
}

// Pauses of an idle thread.
const (
	busyPause = 5 * time.Millisecond // while its log is being merged for a release, or merged at all
	idlePause = 250 * time.Millisecond
)

// run serves until it is told to stop.
func (t *thread) run() {
	t.ready = []func() bool{t.pull.Ready, t.mailbox.poked, func() bool { return t.timer.Fired() }}
	for !t.stopped {
		t.wait()
		now := t.o.Clock.Now()
		t.obey(now)
		if len(t.round.batches) > 0 || len(t.holding.released) > 0 || len(t.round.gossip) > 0 {
			t.serve()
		}
		t.housekeep(now)
	}
	if t.timer != nil {
		t.timer.Stop()
	}
}

// wait collects what has arrived; if there is nothing, it blocks until there is.
func (t *thread) wait() {
	r := &t.round
	requests := 0
	for most := t.pace.drain(t.o.DrainRequests); requests < most; {
		select {
		case b, open := <-t.pull.Batches():
			if !open {
				t.stopped = true
				return
			}
			r.batches = append(r.batches, b)
			requests += len(b.Frames)
			continue
		default:
		}
		break
	}
	if requests > 0 || len(t.holding.released) > 0 {
		return
	}
	t.engine.Idle(t.o.Clock.Now())
	t.arm()
	first := clock.Await(t.o.Clock, t.ready...)
	select {
	case b, open := <-clock.Only(first, 0, t.pull.Batches()):
		if !open {
			t.stopped = true
			return
		}
		r.batches = append(r.batches, b)
	case <-clock.Only(first, 1, t.mailbox.wake):
	case <-clock.Only(first, 2, t.timer.C):
		t.timer = nil
	}
}

// arm sees to it that the timer fires no later than the thread has something to do by itself.
func (t *thread) arm() {
	pause := idlePause
	if t.holding.draining() || t.engine.Gauges().UnmergedEntries > 0 {
		pause = busyPause
	}
	now := t.o.Clock.Now()
	at := now.Add(pause)
	if t.timer != nil {
		if !t.timerAt.After(at) {
			return
		}
		t.timer.Stop()
	}
	t.timer, t.timerAt = t.o.Clock.NewTimer(pause), at
}

// Commands of the mailbox.
type (
	// install puts a newer map in force.
	install struct{ view view }
	// release holds back the requests for ranges that move and has the log merged.
	release struct {
		id     string
		ranges hashring.Ranges
	}
	// forget ends a release without a new map.
	forget struct{ id string }
	// ask wants the thread's statistics; they are told under the id.
	ask struct {
		id      uint64
		period  bool // a report period ends
		newKeys bool // the count of hot keys begins anew
	}
	// gossip is puts of another node, or of a client of another thread, that nobody answers.
	gossip struct{ frame []byte }
	// watch replaces the keys that caches want to hear of.
	watch struct{ keys watches }
	// stop ends the thread.
	stop struct{}
)

// What a thread tells the control actor.
type (
	installed struct {
		thread int
		epoch  hashring.Epoch
	}
	released struct {
		thread int
		id     string
		merged uint64
	}
	reported struct {
		thread int
		id     uint64
		figures
	}
)

// obey carries out the commands that have come.
func (t *thread) obey(now time.Time) {
	for _, command := range t.mailbox.take() {
		switch c := command.(type) {
		case install:
			t.install(c.view)
		case release:
			t.holding.begin(c.id, c.ranges)
		case forget:
			t.holding.forget(c.id)
		case ask:
			t.tell(reported{thread: t.number, id: c.id, figures: t.figures(now)})
			t.report.next(now, c)
		case gossip:
			t.round.gossip = append(t.round.gossip, c.frame)
		case watch:
			t.watched = c.keys
		case stop:
			t.stopped = true
		}
	}
	t.release()
	if err := t.engine.Poll(); err != nil {
		t.lost(fmt.Errorf("thread %d: %w", t.number, err))
	}
}

// sweepEvery is how often connections are looked at that nobody uses.
const sweepEvery = time.Second

func (t *thread) housekeep(now time.Time) {
	if now.Sub(t.sweepAt) >= sweepEvery {
		t.sweepAt = now
		t.peers.Sweep(now)
	}
}

// close gives everything back. The thread's goroutine has ended.
func (t *thread) close() error {
	_ = t.pull.Close()
	for b := range t.pull.Batches() {
		b.Release()
	}
	t.peers.Close(time.Second)
	if err := t.engine.Close(); err != nil {
		return fmt.Errorf("thread %d: %w", t.number, err)
	}
	return nil
}
