package bench

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"time"

	"github.com/dinomo-kv/dinomo/actors/client"
	"github.com/dinomo-kv/dinomo/internal/random"
	"github.com/dinomo-kv/dinomo/tools/bench/command"
)

// ErrRefused means that a thread cannot carry out a command; the text says why.
var ErrRefused = errors.New("command refused")

// Thread carries out commands, one at a time, with a client of its own.
type Thread struct {
	options Options
	index   int
	client  *client.Client
	rng     *rand.Rand
	drawn   *sequence             // what WARM remembers
	fresh   map[uint64]*freshKeys // by the number of loaded keys
}

// maxFreshBases bounds Thread.fresh: one entry for each data set size that inserts were made on since the last LOAD.
const maxFreshBases = 64

// NewThread makes thread number index of a benchmark node. Close it.
func NewThread(o Options, index int) (*Thread, error) {
	o.EnsureDefaults()
	if err := o.Validate(); err != nil {
		return nil, err
	}
	c, err := client.New(o.clientOptions(index))
	if err != nil {
		return nil, fmt.Errorf("benchmark thread %d: %w", index, err)
	}
	return &Thread{options: o, index: index, client: c, rng: random.New(o.threadSeed(index)), fresh: make(map[uint64]*freshKeys)}, nil
}

// Client returns the thread's client.
func (t *Thread) Client() *client.Client { return t.client }

// Close ends the thread's client.
func (t *Thread) Close() error { return t.client.Close() }

// Run carries out one command and returns what it did. onPeriod, which may be nil, hears of each report period. ErrRefused: the
// command cannot be carried out, and nothing was done. When ctx ends first, the result is what was done until then.
func (t *Thread) Run(ctx context.Context, c command.Command, onPeriod func(Period)) (*Result, error) {
	p, err := t.prepare(c)
	if err != nil {
		if !errors.Is(err, ErrRefused) {
			err = fmt.Errorf("%w: %w", ErrRefused, err)
		}
		r := newResult(c.String())
		r.Refusal = err.Error()
		return r, err
	}
	if onPeriod == nil {
		onPeriod = func(Period) {}
	}
	ph := newPhase(p, t.index, t.client, t.options.Clock)
	r, err := ph.run(ctx, func(period Period) {
		t.options.Progress(period.Progress)
		onPeriod(period)
	})
	ph.mu.Lock()
	last := ph.progress(t.options.Clock.Now())
	ph.mu.Unlock()
	last.Finished = true
	t.options.Progress(last)
	return r, err
}

// prepare makes a command ready.
func (t *Thread) prepare(c command.Command) (plan, error) {
	p := plan{command: c.String(), name: plain, outstanding: t.options.LoadOutstanding, period: t.options.ProgressPeriod}
	switch c := c.(type) {
	case command.Load:
		if c.ThreadsPerNode > t.options.Threads || c.Nodes > t.options.Nodes {
			return p, fmt.Errorf("%w: %s is for %d nodes of %d threads, but here are %d of %d: keys would stay missing", ErrRefused,
				c, c.Nodes, c.ThreadsPerNode, t.options.Nodes, t.options.Threads)
		}
		keys := c.Part(t.options.NodeIndex, t.index)
		clear(t.fresh)
		return t.filling(p, keys, c.ValueBytes), nil
	case command.AnnaWarm:
		p.name = padded
		return t.filling(p, c.Part(t.index), c.ValueBytes), nil
	case command.AnnaCache:
		p.name, p.total, p.warmup = padded, c.Keys, true
		p.source = &inOrder{deed: read, left: command.KeyRange{First: 1, Next: c.Keys + 1}}
		t.client.ForgetAddresses()
		return p, nil
	case command.Warm:
		return t.prepareWarm(p, c)
	case command.WarmRun:
		return t.prepareWarmRun(p, c)
	case command.Run:
		return t.prepareRun(p, c)
	case command.AnnaLoad:
		d, err := newDrawing(c.Keys, c.Zipf, t.rng)
		p.name, p.outstanding = padded, 1
		p.source = &annaMix{kind: c.Kind, pick: func() uint64 { return d.key() }}
		return t.timed(p, c.ReportPeriod, c.Duration, c.ValueBytes), err
	case command.YCSB:
		source, err := newYCSB(c, t.freshAbove(c.Keys), t.rng)
		p.source, p.outstanding = source, c.Outstanding
		return t.timed(p, c.ReportPeriod, c.Duration, c.ValueBytes), err
	case command.Add, command.Remove, command.Fail:
		return p, fmt.Errorf("%w: %s is for the management node; send it with the trigger", ErrRefused, c.Word())
	}
	return p, fmt.Errorf("%w: %s is not known here", ErrRefused, c.Word())
}

// filling completes the plan of a command that writes keys once each.
func (t *Thread) filling(p plan, keys command.KeyRange, valueBytes int) plan {
	p.source, p.total, p.value, p.warmup = &inOrder{deed: put, left: keys}, keys.Len(), t.value(valueBytes), true
	return p
}

// timed completes the plan of a command that runs for a time.
func (t *Thread) timed(p plan, period, duration time.Duration, valueBytes int) plan {
	p.period, p.duration, p.value = period, duration, t.value(valueBytes)
	return p
}

func (t *Thread) prepareWarm(p plan, c command.Warm) (plan, error) {
	d, err := newDrawing(c.Keys, c.Zipf, t.rng)
	if err != nil {
		return p, err
	}
	t.drawn = draw(d, c.Requests)
	t.client.ForgetAddresses()
	p.source, p.total, p.warmup = &remembered{keys: t.drawn}, c.Requests, true
	return p, nil
}

func (t *Thread) prepareWarmRun(p plan, c command.WarmRun) (plan, error) {
	if t.drawn == nil {
		return p, fmt.Errorf("%w: WARM-RUN has no keys to run over; send WARM:num_keys:value_length:num_requests:zipf first", ErrRefused)
	}
	m := &mix{rng: t.rng, readRatio: c.ReadRatio, pick: around(t.drawn)}
	if !c.UpdateOnly {
		m.insert = t.freshAbove(c.LoadedKeys).take
	}
	p.source, p.outstanding = m, c.Outstanding
	return t.timed(p, c.ReportPeriod, c.Duration, c.ValueBytes), nil
}

func (t *Thread) prepareRun(p plan, c command.Run) (plan, error) {
	d, err := newDrawing(c.Keys, c.Zipf, t.rng)
	if err != nil {
		return p, err
	}
	m := &mix{rng: t.rng, readRatio: c.ReadRatio, pick: d.key}
	if !c.UpdateOnly {
		m.insert = t.freshAbove(c.Keys).take
	}
	p.source, p.outstanding = m, c.Outstanding
	return t.timed(p, c.ReportPeriod, c.Duration, c.ValueBytes), nil
}

// freshAbove returns the numbering of keys inserted above a base; it goes on from one command to the next, until LOAD.
func (t *Thread) freshAbove(base uint64) *freshKeys {
	f, ok := t.fresh[base]
	if !ok {
		if len(t.fresh) >= maxFreshBases {
			clear(t.fresh)
		}
		f = &freshKeys{base: base, lane: uint64(t.options.NodeIndex*t.options.Threads + t.index),
			lanes: uint64(t.options.Nodes * t.options.Threads)}
		t.fresh[base] = f
	}
	return f
}

// value returns so many bytes that do not compress.
func (t *Thread) value(n int) []byte {
	b := make([]byte, n)
	rng := random.New(t.options.Seed)
	for i := range b {
		b[i] = byte(rng.Uint32())
	}
	return b
}
