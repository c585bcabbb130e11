package bench

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"
	"time"

	"github.com/dinomo-kv/dinomo/dpm/fabric"
	"github.com/dinomo-kv/dinomo/dpm/fabric/backends"
	"github.com/dinomo-kv/dinomo/dpm/fabric/ibverbs"
	"github.com/dinomo-kv/dinomo/internal/clock"
	"github.com/dinomo-kv/dinomo/internal/latency"
)

// Options of Run. Zero fields mean their defaults.
type Options struct {
	Backend  string           // default "shm"
	Backends backends.Options // the backends' own
	// Address of a live DPM, or Connect, that of a Serve elsewhere; without both, Run serves a pool of its own on Listen.
	Address, Connect string
	Listen           string // default an address of the backend's own choice
	// Scratch is the range of a live pool that WRITEs and atomics may destroy; empty: READs only.
	Scratch Range
	Verbs   []fabric.Kind // default all
	Calls   bool          // measure calls, too; a live DPM answers them with an error, which is as good
	Sizes   []int         // bytes of READs and WRITEs; default 8, 64, 256, 1024, 4096, 65536
	// Batches are the numbers of verbs posted together; default 1, 16.
	Batches []int
	// QueuePairs at work at the same time, each with a goroutine; default 1.
	QueuePairs []int
	// Duration of each measurement; default 500 ms.
	Duration time.Duration
	Dial     fabric.DialOptions
	Logf     func(format string, args ...any) // one line a measurement
	Clock    clock.Clock
}

// Range is the bytes [First, Next) of a pool.
type Range struct{ First, Next uint64 }

// EnsureDefaults fills zero fields.
func (o *Options) EnsureDefaults() {
	if o.Backend == "" {
		o.Backend = "shm"
	}
	if len(o.Verbs) == 0 {
		o.Verbs = []fabric.Kind{fabric.Read, fabric.Write, fabric.CAS, fabric.FetchAdd, fabric.Flush}
	}
	if len(o.Sizes) == 0 {
		o.Sizes = []int{8, 64, 256, 1 << 10, 4 << 10, 64 << 10}
	}
	if len(o.Batches) == 0 {
		o.Batches = []int{1, 16}
	}
	if len(o.QueuePairs) == 0 {
		o.QueuePairs = []int{1}
	}
	if o.Duration == 0 {
		o.Duration = 500 * time.Millisecond
	}
	if o.Logf == nil {
		o.Logf = func(string, ...any) {}
	}
	if o.Clock == nil {
		o.Clock = clock.Real{}
	}
}

// ParseVerbs returns the verbs of those names, in any case.
func ParseVerbs(names []string) (kinds []fabric.Kind, err error) {
	for _, name := range names {
		found := false
		for k := fabric.Kind(1); int(k) < fabric.Kinds; k++ {
			if strings.EqualFold(name, k.String()) {
				kinds, found = append(kinds, k), true
			}
		}
		if !found {
			return nil, fmt.Errorf("verb %q: want READ, WRITE, CAS, FETCH_ADD or FLUSH", name)
		}
	}
	return kinds, nil
}

// Validate says which field is wrong.
func (o *Options) Validate() error {
	for _, n := range o.Batches {
		if n < 1 || n > fabric.MaxBatch {
			return fmt.Errorf("fabric bench: batch of %d verbs, want 1 to %d", n, fabric.MaxBatch)
		}
	}
	for _, n := range o.QueuePairs {
		if n < 1 || n > 1024 {
			return fmt.Errorf("fabric bench: %d queue pairs, want 1 to 1024", n)
		}
	}
	for _, n := range o.Sizes {
		if n < 1 || n > fabric.MaxVerbBytes {
			return fmt.Errorf("fabric bench: verb of %d bytes, want 1 to %d", n, fabric.MaxVerbBytes)
		}
	}
	if o.Address != "" && o.Connect != "" {
		return errors.New("fabric bench: either the address of a live DPM or that of another bench, not both")
	}
	if o.Scratch.Next < o.Scratch.First || o.Scratch.First%8 != 0 {
		return fmt.Errorf("fabric bench: scratch range %#x to %#x: want an 8-byte aligned start below its end", o.Scratch.First, o.Scratch.Next)
	}
	return nil
}

// Run measures every combination that the options name, one after the other.
func Run(ctx context.Context, o Options) (Report, error) {
	o.EnsureDefaults()
	if err := o.Validate(); err != nil {
		return Report{}, err
	}
	backend, err := backends.Lookup(o.Backend, o.Backends)
	if err != nil {
		return Report{}, err
	}
	if backend.Available != nil {
		return Report{}, backend.Available
	}
	r := &run{Options: o, backend: backend}
	switch {
	case o.Connect != "":
		r.Address, r.Dial.Hello.Pool, r.scratch = o.Connect, scratchPool, true
	case o.Address == "":
		l, stop, err := serveScratch(backend, o.Listen)
		if err != nil {
			return Report{}, err
		}
		defer stop()
		r.Address, r.scratch, r.own = l.Address(), true, true
	}
	if r.scratch {
		r.Scratch = Range{0, scratchPoolBytes}
	}
	return r.all(ctx)
}

// run is one Run.
type run struct {
	Options
	backend      backends.Backend
	scratch, own bool // the pool holds nothing that anybody needs; it is this process's
}

// all runs every case.
func (r *run) all(ctx context.Context) (Report, error) {
	first, err := r.dial(ctx)
	if errors.Is(err, fabric.ErrWrongPool) && r.Connect != "" {
		return Report{}, fmt.Errorf("%s is no `fabric bench --listen` of this version (a live DPM is measured with --address): %w", r.Connect, err)
	}
	if err != nil {
		return Report{}, err
	}
	defer first.Close() // and shm's mapping, which all queue pairs share, stays until the end
	session := first.Session()
	r.Dial.Hello.Rank, r.Dial.Hello.Incarnation = session.Rank, session.Incarnation // all are one node's
	if r.scratch {
		if err := touch(first); err != nil {
			return Report{}, err
		}
	}
	report := newReport(r.Options, session, r.own)
	for _, c := range r.cases(session.PoolBytes) {
		result, err := r.measure(ctx, c)
		if err != nil {
			return report, fmt.Errorf("measure %s of %d bytes: %w", c.verb, c.bytes, err)
		}
		r.Logf("%s", result)
		report.Results = append(report.Results, result)
	}
	return report, nil
}

// touch reads a whole pool, so that no page is met for the first time in a measurement.
func touch(qp fabric.QP) error {
	v := []fabric.Verb{{Kind: fabric.Read, Buffer: make([]byte, 1<<20)}}
	for ; v[0].Address < qp.Session().PoolBytes; v[0].Address += 1 << 20 {
		if err := qp.Post(v); err != nil {
			return err
		}
	}
	return nil
}

// A testCase is one line of the report.
type testCase struct {
	verb              string
	kind              fabric.Kind // 0 for a call
	bytes, batch, qps int
	base, span        uint64 // addresses are drawn from [base, base+span)
}

// cases lists what can be measured on a pool of that size.
func (r *run) cases(poolBytes uint64) (all []testCase) {
	for _, qps := range r.QueuePairs {
		for _, kind := range r.Verbs {
			base, span := r.Scratch.First, min(r.Scratch.Next, poolBytes)-min(r.Scratch.First, poolBytes)
			sizes := r.Sizes
			switch kind {
			case fabric.Read:
				base, span = 0, poolBytes
			case fabric.CAS, fabric.FetchAdd:
				sizes = []int{8}
			}
			for _, bytes := range sizes {
				for _, batch := range r.Batches {
					if uint64(bytes) <= span && bytes*batch <= fabric.MaxBatchBytes {
						all = append(all, testCase{kind.String(), kind, bytes, batch, qps, base, span})
					}
				}
			}
		}
		if r.Calls {
			for _, bytes := range r.Sizes {
				if bytes <= fabric.MaxCallBytes {
					all = append(all, testCase{verb: "CALL", bytes: bytes, batch: 1, qps: qps})
				}
			}
		}
	}
	return all
}

func (r *run) dial(ctx context.Context) (fabric.QP, error) {
	o := r.Dial
	o.Hello.Thread = fabric.SharedThread
	if o.Hello.Identity == "" {
		o.Hello.Identity = "fabric-bench"
	}
	if r.Scratch == (Range{}) {
		o.Hello.Access = fabric.ReadOnly
	}
	return r.backend.Dialer.Dial(ctx, r.Address, o)
}

// measure runs one case on its queue pairs.
func (r *run) measure(ctx context.Context, c testCase) (Result, error) {
	workers := make([]*worker, c.qps)
	defer func() {
		for _, w := range workers {
			if w != nil {
				_ = w.qp.Close()
			}
		}
	}()
	for i := range workers {
		qp, err := r.dial(ctx)
		if err != nil {
			return Result{}, err
		}
		workers[i] = newWorker(qp, c, i)
	}
	var wg sync.WaitGroup
	began := r.Clock.Now()
	for _, w := range workers {
		wg.Add(1)
		go func() {
			defer wg.Done()
			w.err = w.run(ctx, r.Clock, began.Add(r.Duration))
		}()
	}
	wg.Wait()
	elapsed := r.Clock.Now().Sub(began)
	sum := latency.New()
	var err error
	for _, w := range workers {
		sum.Merge(w.times)
		err = errors.Join(err, w.err)
	}
	result := newResult(c, sum, elapsed)
	result.DoorbellsPerPost = doorbells(workers)
	return result, err
}

// carded is a queue pair of a network card's.
type carded interface{ CardCounters() ibverbs.CardCounters }

// doorbells returns how many the card heard for each Post or Call, 0 where there is no card.
func doorbells(workers []*worker) float64 {
	var rung, posts uint64
	for _, w := range workers {
		if card, ok := w.qp.(carded); ok {
			rung += card.CardCounters().Doorbells - w.rung
			posts += w.times.Count()
		}
	}
	return float64(rung) / float64(max(posts, 1))
}

// worker posts one case's batches on one queue pair.
type worker struct {
	qp    fabric.QP
	c     testCase
	verbs []fabric.Verb
	call  []byte
	reply []byte
	next  uint64 // of addresses
	times *latency.Histogram
	rung  uint64 // doorbells before
	err   error
}

func newWorker(qp fabric.QP, c testCase, number int) *worker {
	w := &worker{qp: qp, c: c, times: latency.New(), next: uint64(number) * 1_000_003}
	if card, ok := qp.(carded); ok {
		w.rung = card.CardCounters().Doorbells
	}
	if c.kind == 0 {
		w.call, w.reply = make([]byte, c.bytes), make([]byte, 0, c.bytes)
		return w
	}
	w.verbs = make([]fabric.Verb, c.batch)
	for i := range w.verbs {
		w.verbs[i] = fabric.Verb{Kind: c.kind, Swap: 1, Length: uint64(c.bytes)}
		if c.kind == fabric.Read || c.kind == fabric.Write {
			w.verbs[i].Buffer = make([]byte, c.bytes)
		}
	}
	return w
}

// stride is how far apart addresses are, in words: a prime, so that all of the range is touched and
// neither the processor's nor the card's caches hold what comes next.
const stride = 104_729

// run posts until the end, at least once.
func (w *worker) run(ctx context.Context, c clock.Clock, end time.Time) error {
	words := (w.c.span - uint64(w.c.bytes)) / 8
	for before := c.Now(); ; {
		for i := range w.verbs {
			w.next += stride
			w.verbs[i].Address = w.c.base + w.next%(words+1)*8
		}
		if err := w.once(); err != nil {
			return err
		}
		now := c.Now()
		w.times.Record(now.Sub(before))
		if before = now; !now.Before(end) || ctx.Err() != nil {
			return ctx.Err()
		}
	}
}

func (w *worker) once() error {
	if w.c.kind != 0 {
		return w.qp.Post(w.verbs)
	}
	_, err := w.qp.Call(w.call, w.reply)
	return err
}
