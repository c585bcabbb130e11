package runtime

import (
	"container/heap"
	"sync"
	"time"

	"github.com/dinomo-kv/dinomo/internal/clock"
)

// timers runs functions when they are due, in one goroutine. The functions must not block.
type timers struct {
	clock clock.Clock
	limit int
	wake  chan struct{}
	done  chan struct{}
	ended chan struct{}

	mu struct {
		sync.Mutex
		events  eventHeap
		nextSeq uint64
	}
}

func newTimers(c clock.Clock, limit int) *timers {
	t := &timers{clock: c, limit: limit, wake: make(chan struct{}, 1), done: make(chan struct{}), ended: make(chan struct{})}
	go t.run()
	return t
}

// after runs f once d has passed; false when there are too many timers.
func (t *timers) after(d time.Duration, f func()) bool {
	at := t.clock.Now().Add(d)
	t.mu.Lock()
	if len(t.mu.events) >= t.limit {
		t.mu.Unlock()
		return false
	}
	t.mu.nextSeq++
	heap.Push(&t.mu.events, event{at, t.mu.nextSeq, f})
	first := t.mu.events[0].seq == t.mu.nextSeq
	t.mu.Unlock()
	if first {
		select {
		case t.wake <- struct{}{}:
		default:
		}
	}
	return true
}

func (t *timers) run() {
	defer close(t.ended)
	for {
		var due <-chan time.Time
		timer := t.runDue()
		if timer != nil {
			due = timer.C
		}
		select {
		case <-due:
			continue
		case <-t.wake:
		case <-t.done:
		}
		if timer != nil {
			timer.Stop()
		}
		select {
		case <-t.done:
			return
		default:
		}
	}
}

// runDue runs what is due and returns a timer for what comes next, nil when nothing does.
func (t *timers) runDue() *clock.Timer {
	for {
		now := t.clock.Now()
		t.mu.Lock()
		if len(t.mu.events) == 0 {
			t.mu.Unlock()
			return nil
		}
		if wait := t.mu.events[0].at.Sub(now); wait > 0 {
			t.mu.Unlock()
			return t.clock.NewTimer(wait)
		}
		e := heap.Pop(&t.mu.events).(event)
		t.mu.Unlock()
		e.run()
	}
}

// stop ends the goroutine; what was not due is forgotten.
func (t *timers) stop() {
	close(t.done)
	<-t.ended
}
