package dpm

import (
	"errors"
	"fmt"
	"sync"
	"sync/atomic"
	"time"

	"github.com/dinomo-kv/dinomo/dpm/fabric"
	"github.com/dinomo-kv/dinomo/dpm/format"
	"github.com/dinomo-kv/dinomo/dpm/index"
	"github.com/dinomo-kv/dinomo/dpm/pmem"
)

// Errors of the pool. Those of dpm/format (foreign, damaged, another version), dpm/pmem and dpm/fabric
// pass through wrapped.
var (
	// ErrNoSpace: there is no free segment for this purpose.
	ErrNoSpace = errors.New("pool is full; delete something or make a larger pool")
	// ErrNoPool: there is no pool and Options.MustExist forbids to make one.
	ErrNoPool = errors.New("there is no pool")
	// ErrClosed: Close was called.
	ErrClosed = errors.New("pool is closed")
	// ErrConflict: the metadata record has another version than expected.
	ErrConflict = errors.New("metadata record has another version than expected")
	// ErrNoRecord: there is no metadata record of that name.
	ErrNoRecord = errors.New("no such metadata record")
	// ErrRecords: all metadata records are in use, or the name or blob is too large for one.
	ErrRecords = errors.New("metadata record does not fit the pool")
	// ErrNoRank: all ranks are taken.
	ErrNoRank = errors.New("pool has no free rank")
	// ErrNoWord: all indirect-pointer words are in use.
	ErrNoWord = errors.New("too many replicated keys: no indirect-pointer word is free")
	// ErrBusy: not now.
	ErrBusy = errors.New("pool is busy; try again")
)

// Pool is an open pool. All methods may be called from any goroutine.
type Pool struct {
	o          Options
	region     pmem.Region
	file       *pmem.File // nil when the region is not ours
	superblock format.Superblock
	layout     *format.Layout
	index      *index.Index
	epoch      uint64
	reserve    int
	report     RecoveryReport

	segments []segment // by id

	// Lock order: stream.mu, then mu; mu before nothing.
	mu struct {
		sync.Mutex
		free        []format.SegmentID // oldest first
		streams     map[streamKey]*stream
		streamList  []*stream // copied on removal
		retired     []retiredTable
		listeners   []fabric.Listener
		toldThreads int       // of checkSize
		growTried   int       // free segments when the index found no room to grow, 0 after it did
		growAgain   time.Time // not before, after damage was in the way
	}
	ranks    rankTable
	meta     metadataStore
	words    wordTable
	compact  compactor
	counters counters

	failed atomic.Pointer[error]
	gate   gate
}

// retiredTable is a replaced index table whose memory some reader may still look at.
type retiredTable struct {
	table    uint64
	segments []format.SegmentID
}

// PoolID returns the pool's identity.
func (p *Pool) PoolID() fabric.PoolID { return p.superblock.PoolID }

// Region returns the pool's memory, to serve verbs on.
func (p *Pool) Region() pmem.Region { return p.region }

// Path returns what a process of this machine maps to share the pool's memory, "" when there is none.
func (p *Pool) Path() string {
	if p.file == nil {
		return ""
	}
	return p.file.Path()
}

// Layout says where everything lies. It does not change.
func (p *Pool) Layout() *format.Layout { return p.layout }

// ServerEpoch is one more at each start of the DPM on this pool.
func (p *Pool) ServerEpoch() uint64 { return p.epoch }

// Recovery returns what opening the pool found and did.
func (p *Pool) Recovery() RecoveryReport { return p.report }

// Options returns the effective options.
func (p *Pool) Options() Options { return p.o }

// Err returns why the pool is read-only, nil while it is not.
func (p *Pool) Err() error {
	if err := p.failed.Load(); err != nil {
		return *err
	}
	return nil
}

// failOnce makes the pool read-only: what is durable is not known any more.
func (p *Pool) failOnce(err error) {
	if p.failed.CompareAndSwap(nil, &err) {
		p.o.Events.ReadOnly(err)
	}
}

// Listen adds a listener that serves this pool, so that Fence reaches its queue pairs. Close closes it.
func (p *Pool) Listen(l fabric.Listener) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.mu.listeners = append(p.mu.listeners, l)
}

// listeners returns those so far.
func (p *Pool) listeners() []fabric.Listener {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.mu.listeners[:len(p.mu.listeners):len(p.mu.listeners)]
}

// Close stops listeners and workers and gives the memory back. What is unmerged stays for the next open.
func (p *Pool) Close() error {
	if !p.gate.close() {
		return nil
	}
	var err error
	for _, l := range p.listeners() {
		err = errors.Join(err, l.Close())
	}
	p.gate.wait()
	if p.file != nil {
		err = errors.Join(err, p.file.Close())
	}
	if err != nil {
		return fmt.Errorf("close pool: %w", err)
	}
	return nil
}

// damageIn is damage where the error names the word, if anything does.
func (p *Pool) damageIn(what string, err error) {
	var word *format.WordError
	if errors.As(err, &word) {
		p.damage(word.Offset, what, err)
		return
	}
	p.damage(0, what, err)
}

// damage reports stored bytes that are not what was written.
func (p *Pool) damage(offset uint64, what string, err error) {
	p.counters.damage.Add(1)
	p.o.Events.Damage(DamageInfo{Offset: offset, What: what, Err: err})
}
