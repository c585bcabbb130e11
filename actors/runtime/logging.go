package runtime

import (
	"sync"
	"time"

	"github.com/dinomo-kv/dinomo/internal/clock"
)

// quietLog prints at most one line per interval and says how many it swallowed, so that a
// hostile peer cannot fill a disk. A nil function makes it silent.
type quietLog struct {
	logf     func(format string, args ...any)
	interval time.Duration
	clock    clock.Clock

	mu struct {
		sync.Mutex
		last       time.Time
		suppressed int
	}
}

func newQuietLog(logf func(string, ...any), c clock.Clock) *quietLog {
	return &quietLog{logf: logf, interval: time.Second, clock: c}
}

func (q *quietLog) printf(format string, args ...any) {
	if q.logf == nil {
		return
	}
	now := q.clock.Now()
	q.mu.Lock()
	if !q.mu.last.IsZero() && now.Sub(q.mu.last) < q.interval {
		q.mu.suppressed++
		q.mu.Unlock()
		return
	}
	suppressed := q.mu.suppressed
	q.mu.last, q.mu.suppressed = now, 0
	q.mu.Unlock()
	if suppressed > 0 {
		format += " (and %d more like it)"
		args = append(args[:len(args):len(args)], suppressed)
	}
	q.logf(format, args...)
}
