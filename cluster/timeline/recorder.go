package timeline

import (
	"sync"
	"time"

	"github.com/dinomo-kv/dinomo/internal/latency"
)

// Recorder sorts operations into the steps in which they ended. Its methods may be called from any goroutine.
type Recorder struct {
	step  time.Duration
	limit int
	mu    struct {
		sync.Mutex
		steps   []step
		dropped uint64
	}
}

// step is what ended within one step.
type step struct {
	latencies    latency.Buckets
	sum, longest time.Duration
	failed       uint64
}

// maxSteps bounds a recorder's memory, to about 40 MiB; operations beyond are counted as dropped.
const maxSteps = 20_000

// NewRecorder makes a recorder of steps of a length. A tenth of a second shows a failover; a second, a day's growth.
func NewRecorder(length time.Duration) *Recorder { return &Recorder{step: length, limit: maxSteps} }

// at returns the step of a time, or nil beyond the limit. REQUIRES: r.mu.
func (r *Recorder) at(end time.Duration) *step {
	i := int(max(end, 0) / r.step)
	if i >= r.limit {
		r.mu.dropped++
		return nil
	}
	for len(r.mu.steps) <= i {
		r.mu.steps = append(r.mu.steps, step{})
	}
	return &r.mu.steps[i]
}

// Succeeded records n operations that ended well at a time after a latency.
func (r *Recorder) Succeeded(end, took time.Duration, n uint64) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if s := r.at(end); s != nil {
		s.latencies.Record(took, n)
		s.sum += took * time.Duration(n)
		s.longest = max(s.longest, took)
	}
}

// Failed records an operation that was given up.
func (r *Recorder) Failed(end time.Duration) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if s := r.at(end); s != nil {
		s.failed++
	}
}

// Dropped is how many operations came after the last step that there is room for.
func (r *Recorder) Dropped() uint64 {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.mu.dropped
}

// Timeline returns what was recorded so far; the caller adds facts, marks and lines.
func (r *Recorder) Timeline(title string) *Timeline {
	r.mu.Lock()
	defer r.mu.Unlock()
	t := &Timeline{Title: title, StepSeconds: r.step.Seconds(), Points: make([]Point, len(r.mu.steps))}
	for i := range r.mu.steps {
		s := &r.mu.steps[i]
		p := &t.Points[i]
		n := s.latencies.Count()
		p.AtSeconds = (time.Duration(i) * r.step).Seconds()
		p.OpsPerSecond, p.FailedPerSecond = float64(n)/r.step.Seconds(), float64(s.failed)/r.step.Seconds()
		if n > 0 {
			p.MeanMicros, p.MaxMicros = micros(s.sum/time.Duration(n)), micros(s.longest)
			p.P50Micros = min(micros(s.latencies.Percentile(50)), p.MaxMicros)
			p.P99Micros = min(micros(s.latencies.Percentile(99)), p.MaxMicros)
		}
	}
	return t
}

func micros(d time.Duration) float64 { return float64(d) / float64(time.Microsecond) }
