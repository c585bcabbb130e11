package runtime

import (
	"sync"
	"time"

	"github.com/dinomo-kv/dinomo/internal/clock"
)

// quietLog prints at most one line per interval and says how many it swallowed, so that a
// hostile peer cannot fill a disk. A nil function makes it silent.
type quietLog struct {
	logf  func(format string, args ...any)
	least time.Duration // the interval after the first line
	most  time.Duration // each line doubles the interval, up to this
	clock clock.Clock

	mu struct {
		sync.Mutex
		last       time.Time
		interval   time.Duration
		suppressed int
		unsettled  bool // a line was printed since the last settled
	}
}

func newQuietLog(logf func(string, ...any), c clock.Clock) *quietLog {
	return &quietLog{logf: logf, least: time.Second, most: time.Second, clock: c}
}

// newTroubleLog returns a quietLog for a trouble that may last for days: after a while it prints once in five minutes.
func newTroubleLog(logf func(string, ...any), c clock.Clock) *quietLog {
	return &quietLog{logf: logf, least: time.Second, most: 5 * time.Minute, clock: c}
}

func (q *quietLog) printf(format string, args ...any) {
	if q.logf == nil {
		return
	}
	now := q.clock.Now()
	q.mu.Lock()
	if !q.mu.last.IsZero() && now.Sub(q.mu.last) < q.mu.interval {
		q.mu.suppressed++
		q.mu.Unlock()
		return
	}
	suppressed := q.mu.suppressed
	q.mu.last, q.mu.suppressed, q.mu.unsettled = now, 0, true
	q.mu.interval = min(max(2*q.mu.interval, q.least), q.most)
	q.mu.Unlock()
	if suppressed > 0 {
		format += " (and %d more like it)"
		args = append(args[:len(args):len(args)], suppressed)
	}
	q.logf(format, args...)
}

// settled prints a line when trouble was printed since the last one: there are never more of them than of the others.
func (q *quietLog) settled(format string, args ...any) {
	q.mu.Lock()
	was := q.mu.unsettled
	q.mu.unsettled = false
	q.mu.Unlock()
	if was {
		q.logf(format, args...)
	}
}

// forget makes the next line the first one.
func (q *quietLog) forget() {
	q.mu.Lock()
	defer q.mu.Unlock()
	q.mu.last, q.mu.interval, q.mu.suppressed = time.Time{}, 0, 0
}
