package engine

import (
	"context"
	"fmt"
	"time"

	"github.com/dinomo-kv/dinomo/dac"
	"github.com/dinomo-kv/dinomo/dpm/remote"
	"github.com/dinomo-kv/dinomo/messages"
	"github.com/dinomo-kv/dinomo/messages/lattice"
)

// Engine is the storage engine of one KN thread. Make it with Open.
type Engine struct {
	o     Options
	cache *dac.Cache
	table unmerged
	types typeFilter
	link  link
	// shared are the keys with several owners; see shared.go.
	shared map[string]*sharedKey
	groups []group

	ops      []op
	touched  map[uint64]int // hash -> the batch's latest operation with it that others must see
	reads    []remote.Get
	readers  []int // for each of reads, the operation that it is for
	open     []int // operations appended since the last commit
	arena    arena
	now      time.Time
	told     time.Time // of a failure
	full     bool      // the pool said NO_SPACE in this batch
	waited   bool      // a write of this batch waited in vain for the pool to merge
	gets     int       // of the batch, those that may have to read
	largest  int       // of the values read lately, in bytes, decaying
	counters Counters
}

// Open attaches a thread of the node to the pool and makes its engine. It waits until ctx ends while the pool is
// not there.
func Open(ctx context.Context, session *remote.Session, number uint16, o Options) (*Engine, error) {
	o.EnsureDefaults()
	if err := o.Validate(); err != nil {
		return nil, err
	}
	cache, err := dac.New(o.Cache)
	if err != nil {
		return nil, fmt.Errorf("thread %d: %w", number, err)
	}
	thread, err := session.Thread(ctx, number, o.Appender)
	if err != nil {
		cache.Close()
		return nil, fmt.Errorf("thread %d: %w", number, err)
	}
	e := &Engine{o: o, cache: cache, touched: make(map[uint64]int), largest: startLargest}
	e.link.open(e, thread)
	return e, nil
}

// Close stops a reconnection under way and closes the queue pair. What was acknowledged is in the pool.
func (e *Engine) Close() error {
	err := e.link.close()
	e.cache.Close()
	return err
}

// Begin starts a batch. now is the time of the owner's clock. Results of the batch before are not valid any more.
func (e *Engine) Begin(now time.Time) {
	clear(e.ops) // no reference to frames may outlive them
	e.ops, e.reads, e.readers, e.open, e.groups = e.ops[:0], e.reads[:0], e.readers[:0], e.open[:0], e.groups[:0]
	clear(e.touched)
	e.arena.reset()
	e.now, e.full, e.waited, e.gets = now, false, false, 0
}

// Probe looks a key up in the cache. hit says that r.Value is the answer to a get now, of the type r.Meta: it is valid until
// the next call but Probe, and the get is counted. Otherwise r is for AddGet. hash is hashring.KeyHash(key).
func (e *Engine) Probe(key []byte, hash uint64, r *dac.Result) (hit bool) {
	if len(e.touched) > 0 || len(e.shared) > 0 {
		_, touched := e.touched[hash]
		if touched || e.shared[string(key)] != nil {
			*r = dac.Result{}
			return false
		}
	}
	e.cache.Find(key, hash, r)
	if r.Kind != dac.Value {
		return false
	}
	e.counters.Reads++
	e.counters.ValueHits++
	return true
}

// AddGet adds a get that Probe could not answer and returns its number in the batch. key must stay as it is until
// the next Begin.
func (e *Engine) AddGet(key []byte, hash uint64, probed dac.Result) int {
	o, i := e.add(opGet, key, hash)
	o.cached = probed
	e.gets++
	e.counters.Reads++
	return i
}

// AddHit adds a get that Probe has answered, for a request that is answered as a whole later.
func (e *Engine) AddHit(probed dac.Result) int {
	i := len(e.ops)
	e.ops = append(e.ops, op{kind: opGet, earlier: none, read: none, counted: true})
	o := &e.ops[i]
	if e.arena.taken > e.o.ReadBytes {
		o.code = messages.AnnaError_OVERLOADED
		return i
	}
	o.after = state{known: true, found: true, kind: lattice.Type(probed.Meta), value: e.arena.clone(probed.Value), origin: none}
	return i
}

// AddPut adds a put. key and payload must stay as they are until the next Begin.
func (e *Engine) AddPut(key []byte, hash uint64, t lattice.Type, payload []byte) int {
	o, i := e.add(opPut, key, hash)
	o.lattice, o.payload = t, payload
	e.counters.Writes++
	return i
}

// AddDelete adds a delete. It succeeds whether or not there is such a key: to know would take a read.
func (e *Engine) AddDelete(key []byte, hash uint64) int {
	_, i := e.add(opDelete, key, hash)
	e.counters.Deletes++
	return i
}

// maxOps is how many operations a batch should have at most. As many puts fit a commit.
const maxOps = 4096

// Full says that the batch is as large as it should become: its owner runs it and begins another. One request's
// operations are always added together, so a batch may become larger by one request; what its values take beyond
// Options.ReadBytes is refused then.
func (e *Engine) Full() bool {
	return e.gets >= e.groupSize() || len(e.ops) >= maxOps || e.arena.taken > e.o.ReadBytes
}

// Len is the number of operations added since Begin.
func (e *Engine) Len() int { return len(e.ops) }

// Run performs the batch. Afterwards Result tells each operation's outcome.
func (e *Engine) Run() {
	if len(e.ops) == 0 {
		return
	}
	_ = e.Poll() // its owner asks why
	if e.link.up() {
		e.refreshTypes()
	}
	e.readShared() // first: what it reads is copied, what fetch reads must last
	e.plan()
	e.fetch()
	e.apply()
	e.appendShared()
	e.commit()
	e.moveShared()
	e.again()
	e.settle()
	e.publish()
	e.learn()
}

// Result returns the outcome of an operation of the batch.
func (e *Engine) Result(i int) Result {
	o := &e.ops[i]
	if o.code != messages.AnnaError_NO_ERROR || o.kind != opGet {
		return Result{Code: o.code, Lattice: o.lattice}
	}
	if !o.after.found {
		return Result{Code: messages.AnnaError_KEY_DNE, Written: o.after.origin != none}
	}
	return Result{Lattice: o.after.kind, Value: o.after.value, Written: o.after.origin != none}
}

// Stored returns what a key holds after a put of the batch that succeeded; ok is false after any other operation.
func (e *Engine) Stored(i int) (t lattice.Type, value []byte, ok bool) {
	o := &e.ops[i]
	if o.kind != opPut || o.code != messages.AnnaError_NO_ERROR || !o.after.found {
		return 0, nil, false
	}
	return o.after.kind, o.after.value, true
}
