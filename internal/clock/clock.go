package clock

import (
	"sync"
	"time"
)

// A Clock tells the time and waits. All methods may be called from any goroutine.
type Clock interface {
	// Now returns the current time. Real clocks carry Go's monotonic reading, so
	// differences are safe against steps of the wall clock.
	Now() time.Time
	// Sleep returns after d has passed on this clock.
	Sleep(d time.Duration)
	// NewTimer returns a timer that sends once on C after d.
	NewTimer(d time.Duration) *Timer
}

// Timer is a one-shot timer of a Clock. C receives the time at which it fired.
type Timer struct {
	C    <-chan time.Time
	stop func() bool
}

// Stop prevents the timer from firing and reports whether it did so.
func (t *Timer) Stop() bool { return t.stop() }

// NewTimer returns the timer of another implementation of Clock: it sends once on c, which has room for one, unless stop, which
// reports whether it prevented that, is called before.
func NewTimer(c <-chan time.Time, stop func() bool) *Timer { return &Timer{C: c, stop: stop} }

// Real is the machine's clock. Its zero value is ready to use.
type Real struct{}

// Now implements Clock.
func (Real) Now() time.Time { return time.Now() }

// Sleep implements Clock.
func (Real) Sleep(d time.Duration) { time.Sleep(d) }

// NewTimer implements Clock.
func (Real) NewTimer(d time.Duration) *Timer {
	t := time.NewTimer(d)
	return &Timer{C: t.C, stop: t.Stop}
}

// Manual is a clock that moves only when told to. Make it with NewManual.
type Manual struct {
	mu struct {
		sync.Mutex
		now    time.Time
		timers []*manualTimer
	}
}

type manualTimer struct {
	at   time.Time
	c    chan time.Time
	dead bool
}

// NewManual returns a manual clock that stands at start.
func NewManual(start time.Time) *Manual {
	m := &Manual{}
	m.mu.now = start
	return m
}

// Now implements Clock.
func (m *Manual) Now() time.Time {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.mu.now
}

// Advance moves the clock by d and fires every timer that is due.
func (m *Manual) Advance(d time.Duration) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.mu.now = m.mu.now.Add(d)
	kept := m.mu.timers[:0]
	for _, t := range m.mu.timers {
		switch {
		case t.dead:
		case t.at.After(m.mu.now):
			kept = append(kept, t)
		default:
			t.dead = true
			t.c <- m.mu.now
		}
	}
	m.mu.timers = kept
}

// Sleep implements Clock: it returns once Advance has moved the clock far enough.
func (m *Manual) Sleep(d time.Duration) { <-m.NewTimer(d).C }

// NewTimer implements Clock.
func (m *Manual) NewTimer(d time.Duration) *Timer {
	m.mu.Lock()
	defer m.mu.Unlock()
	t := &manualTimer{at: m.mu.now.Add(d), c: make(chan time.Time, 1)}
	if d <= 0 {
		t.dead = true
		t.c <- m.mu.now
	} else {
		m.mu.timers = append(m.mu.timers, t)
	}
	return &Timer{C: t.c, stop: func() bool {
		m.mu.Lock()
		defer m.mu.Unlock()
		live := !t.dead
		t.dead = true
		return live
	}}
}
