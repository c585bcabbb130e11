package clock

import (
	"sync"
	"sync/atomic"
	"time"
)

// Tasks is a Clock of virtual time on which goroutines are tasks: one runs at a time, and another only when that one sleeps
// or awaits something. On such a clock nobody may wait in a channel or a mutex that another task has to see to: nobody
// would run any more. So whoever is about to says so first, with Await, and code that does runs on both kinds of clock.
type Tasks interface {
	Clock
	// Go starts f as a task.
	Go(f func())
	// Await suspends the calling task until one of ready returns true, and returns the first that does. They are called often,
	// by whoever runs: they look at channels' lengths and the like, and change nothing. Outside of tasks Await returns at once.
	Await(ready ...func() bool) (first int)
}

// Go runs f in a goroutine, or as a task where c has tasks.
func Go(c Clock, f func()) {
	if tasks, ok := c.(Tasks); ok {
		tasks.Go(f)
		return
	}
	go f()
}

// Any is what Await returns on a clock without tasks.
const Any = -1

// Await comes before a select: where c has tasks it returns which of its cases is ready, the first of them, so that the select,
// whose choice among several is random, can be left that one (Only). On any other clock it returns Any at once.
func Await(c Clock, ready ...func() bool) (first int) {
	if tasks, ok := c.(Tasks); ok {
		return tasks.Await(ready...)
	}
	return Any
}

// Only returns c for the i-th case of a select if Await has chosen that one or Any, and nil, which is never ready, otherwise.
func Only[T any](chosen, i int, c <-chan T) <-chan T {
	if chosen == i || chosen == Any {
		return c
	}
	return nil
}

// Fired says whether a timer has something in its channel.
func (t *Timer) Fired() bool { return len(t.C) > 0 }

// Cause is why Wait returned.
type Cause uint8

// The causes.
const (
	Stopped Cause = iota // the stop channel is closed
	Woken                // something came by the wake channel
	Passed               // the time is over
)

// Wait waits for d to pass, for something in wake, or until stop is closed. Channels may be nil.
func Wait(c Clock, d time.Duration, wake, stop <-chan struct{}) Cause {
	timer := c.NewTimer(d)
	defer timer.Stop()
	i := Await(c, func() bool { return Closed(stop) }, func() bool { return len(wake) > 0 }, timer.Fired)
	select {
	case <-Only(i, 0, stop):
		return Stopped
	case <-Only(i, 1, wake):
		return Woken
	case <-Only(i, 2, timer.C):
		return Passed
	}
}

// Closed says whether a channel that nothing is sent on is closed.
func Closed(c <-chan struct{}) bool {
	select {
	case <-c:
		return true
	default:
		return false
	}
}

// Group starts goroutines, or tasks, and waits for all of them. Its zero value is ready to use.
type Group struct {
	wait    sync.WaitGroup
	running atomic.Int64
	clock   atomic.Pointer[Tasks]
}

// Go starts f on a clock.
func (g *Group) Go(c Clock, f func()) {
	tasks, ok := c.(Tasks)
	if !ok {
		g.wait.Go(f)
		return
	}
	g.clock.Store(&tasks)
	g.running.Add(1)
	tasks.Go(func() {
		defer g.running.Add(-1)
		f()
	})
}

// Wait returns when all have ended.
func (g *Group) Wait() {
	if tasks := g.clock.Load(); tasks != nil {
		(*tasks).Await(func() bool { return g.running.Load() == 0 })
	}
	g.wait.Wait()
}
