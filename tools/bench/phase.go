package bench

import (
	"context"
	"fmt"
	"sync"
	"time"

	"github.com/dinomo-kv/dinomo/actors/client"
	"github.com/dinomo-kv/dinomo/internal/clock"
	"github.com/dinomo-kv/dinomo/internal/latency"
	"github.com/dinomo-kv/dinomo/messages"
)

// Period is what a thread did since its last report.
type Period struct {
	Progress
	// Seconds that the rest is about.
	Seconds float64
	// Latencies of the operations that ended.
	Latencies *latency.Histogram
	// Hot are the most frequent keys.
	Hot []*messages.KeyLatency
}

// plan is a command made ready for one thread.
type plan struct {
	command     string
	source      source
	name        naming
	value       []byte
	outstanding int
	total       uint64        // how many tasks the source has; 0: it does not end
	duration    time.Duration // 0: until the source ends
	period      time.Duration
	warmup      bool
}

// slot is a task under way.
type slot struct {
	task
	began   time.Time
	pending int   // gets of a scan that have not ended
	second  bool  // of a read-modify-write: the put
	err     error // of a scan: the first one
}

// phase carries out a plan: a fixed number of tasks is under way, and the end of one begins the next.
type phase struct {
	plan   plan
	thread int
	client *client.Client
	clock  clock.Clock
	done   chan struct{} // nothing is under way any more, and nothing will be

	mu struct { // the worker's goroutine begins, the client's goroutine goes on
		sync.Mutex
		result   *Result
		slots    []slot
		idle     []int
		began    time.Time
		deadline time.Time // zero: none
		stopped  bool
		ended    bool // done is closed
		left     bool // run has returned without waiting for the stragglers: the result is not ours any more

		periodBegan time.Time
		latencies   *latency.Histogram
		hot         *hotKeys
	}
}

func newPhase(p plan, thread int, c *client.Client, clk clock.Clock) *phase {
	ph := &phase{plan: p, thread: thread, client: c, clock: clk, done: make(chan struct{})}
	ph.mu.result = newResult(p.command)
	ph.mu.slots = make([]slot, p.outstanding)
	for i := range ph.mu.slots {
		ph.mu.idle = append(ph.mu.idle, i)
	}
	ph.mu.latencies, ph.mu.hot = latency.New(), newHotKeys()
	return ph
}

// run carries the plan out and calls onPeriod after each period. When ctx ends, it returns at once with what was done so far
// and the context's error.
func (p *phase) run(ctx context.Context, onPeriod func(Period)) (*Result, error) {
	p.mu.Lock()
	now := p.clock.Now()
	p.mu.began, p.mu.periodBegan = now, now
	if p.plan.duration > 0 {
		p.mu.deadline = now.Add(p.plan.duration)
	}
	p.fill(now)
	p.mu.Unlock()

	err := p.watch(ctx, onPeriod)
	p.mu.Lock()
	defer p.mu.Unlock()
	r := p.mu.result
	r.Seconds = p.clock.Now().Sub(p.mu.began).Seconds()
	if p.plan.duration > 0 && err == nil {
		r.Seconds = min(r.Seconds, p.plan.duration.Seconds())
	}
	return r, err
}

// watch waits for the phase's end.
func (p *phase) watch(ctx context.Context, onPeriod func(Period)) error {
	var over <-chan time.Time
	if p.plan.duration > 0 {
		timer := p.clock.NewTimer(p.plan.duration)
		defer timer.Stop()
		over = timer.C
	}
	for {
		tick := p.clock.NewTimer(p.plan.period)
		select {
		case <-tick.C:
			onPeriod(p.takePeriod())
			continue
		case <-over:
			over = nil
			p.stop()
		case <-ctx.Done():
			tick.Stop()
			p.leave()
			return ctx.Err()
		case <-p.done:
			tick.Stop()
			return nil
		}
		tick.Stop()
	}
}

// stop begins nothing more.
func (p *phase) stop() {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.mu.stopped = true
	p.finishIfIdle()
}

// leave makes the stragglers' callbacks do nothing.
func (p *phase) leave() {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.mu.stopped, p.mu.left = true, true
}

// takePeriod returns what was measured since the last one.
func (p *phase) takePeriod() Period {
	p.mu.Lock()
	defer p.mu.Unlock()
	now := p.clock.Now()
	out := Period{Progress: p.progress(now), Seconds: now.Sub(p.mu.periodBegan).Seconds(), Latencies: p.mu.latencies, Hot: p.mu.hot.take()}
	p.mu.latencies, p.mu.periodBegan = latency.New(), now
	return out
}

// progress says how far the phase is. REQUIRES: p.mu.
func (p *phase) progress(now time.Time) Progress {
	return Progress{Thread: p.thread, Command: p.plan.command, Operations: p.mu.result.Operations, Total: p.plan.total,
		Elapsed: now.Sub(p.mu.began), Duration: p.plan.duration}
}

// fill begins tasks until as many as wanted are under way. REQUIRES: p.mu.
func (p *phase) fill(now time.Time) {
	if !p.mu.deadline.IsZero() && !now.Before(p.mu.deadline) {
		p.mu.stopped = true
	}
	for !p.mu.stopped && len(p.mu.idle) > 0 {
		t, ok := p.plan.source.next()
		if !ok {
			p.mu.stopped = true
			break
		}
		last := len(p.mu.idle) - 1
		i := p.mu.idle[last]
		p.mu.idle = p.mu.idle[:last]
		p.mu.slots[i] = slot{task: t, began: now}
		p.begin(i)
	}
	p.finishIfIdle()
}

// finishIfIdle ends the phase when it is over. REQUIRES: p.mu.
func (p *phase) finishIfIdle() {
	if p.mu.stopped && len(p.mu.idle) == len(p.mu.slots) && !p.mu.ended {
		p.mu.ended = true
		close(p.done)
	}
}

// begin sends a task's first operations. REQUIRES: p.mu.
func (p *phase) begin(i int) {
	s := &p.mu.slots[i]
	switch s.deed {
	case scan:
		for n := range s.count {
			if p.submit(i, messages.RequestType_GET, s.key+uint64(n)) {
				s.pending++
			}
		}
		if s.pending == 0 {
			p.giveUp(i)
		}
		return
	case read, readModifyWrite:
		s.pending = 1
		if p.submit(i, messages.RequestType_GET, s.key) {
			return
		}
	default:
		s.pending = 1
		if p.submit(i, writeType(s.deed), s.key) {
			return
		}
	}
	p.giveUp(i)
}

func writeType(d deed) messages.RequestType {
	switch d {
	case update:
		return messages.RequestType_UPDATE
	case insert:
		return messages.RequestType_INSERT
	}
	return messages.RequestType_PUT
}

// submit starts one operation of a slot; a refusal by our own client ends the phase, since it would refuse the next as well.
// REQUIRES: p.mu.
func (p *phase) submit(i int, t messages.RequestType, key uint64) bool {
	op := client.Operation{Type: t, Key: p.plan.name(key), Tag: uint64(i), Done: p.ended}
	if t != messages.RequestType_GET {
		op.Value = p.plan.value
	}
	err := p.client.Submit(op)
	if err == nil {
		return true
	}
	p.mu.stopped = true
	p.fail(err)
	return false
}

// giveUp frees the slot of a task that could not begin. REQUIRES: p.mu.
func (p *phase) giveUp(i int) {
	p.mu.result.Operations++
	p.mu.idle = append(p.mu.idle, i)
}

// fail counts an error. REQUIRES: p.mu.
func (p *phase) fail(err error) {
	r := p.mu.result
	r.Errors[messages.CodeOf(err).String()]++
	if r.FirstError == "" {
		r.FirstError = fmt.Sprint(err)
	}
}

// ended is the callback of every operation.
func (p *phase) ended(r *client.Result) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.mu.left {
		return
	}
	now := p.clock.Now()
	i := int(r.Tag)
	s := &p.mu.slots[i]
	if r.Err != nil && s.err == nil {
		s.err = r.Err
	}
	if s.pending--; s.pending > 0 {
		return
	}
	if s.deed == readModifyWrite && !s.second && s.err == nil {
		s.second, s.pending = true, 1
		if p.submit(i, messages.RequestType_UPDATE, s.key) {
			return
		}
	}
	p.count(s, r.Key, now)
	p.mu.idle = append(p.mu.idle, i)
	p.fill(now)
}

// count enters a task that has ended. REQUIRES: p.mu.
func (p *phase) count(s *slot, key string, now time.Time) {
	r := p.mu.result
	took := now.Sub(s.began)
	r.Operations++
	if p.mu.deadline.IsZero() || now.Before(p.mu.deadline) {
		r.InTime++
	}
	if s.err != nil {
		p.fail(s.err)
	}
	if s.deed.writes() {
		r.Writes.Record(took)
	} else {
		r.Reads.Record(took)
	}
	p.mu.latencies.Record(took)
	p.mu.hot.observe(key, took)
	p.plan.source.ended(s.task)
}
