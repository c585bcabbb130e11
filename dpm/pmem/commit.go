package pmem

import (
	"fmt"
	"sync"
	"sync/atomic"
)

// groupCommit turns many concurrent fences into few write-backs: whoever finds none running runs
// one for all that were flushed until then, the others wait for it. There is at most one write-back
// at a time and no delay to collect company; the disk's own latency does that.
type groupCommit struct {
	writeBack func() error

	flushes atomic.Uint64 // Flush calls so far
	fences  atomic.Uint64 // Fence calls so far
	commits atomic.Uint64 // write-backs so far

	mu struct {
		sync.Mutex
		done    sync.Cond
		running bool
		durable uint64 // flushes that are durable
		failed  error  // set once, for ever
	}
}

func newGroupCommit(writeBack func() error) *groupCommit {
	g := &groupCommit{writeBack: writeBack}
	g.mu.done.L = &g.mu.Mutex
	return g
}

func (g *groupCommit) flush() { g.flushes.Add(1) }

func (g *groupCommit) fence() error {
	g.fences.Add(1)
	mine := g.flushes.Load()
	g.mu.Lock()
	defer g.mu.Unlock()
	for g.mu.failed == nil && g.mu.durable < mine {
		if g.mu.running {
			g.mu.done.Wait()
			continue
		}
		g.lead()
	}
	return g.mu.failed
}

// lead runs one write-back. REQUIRES: mu held, none running. It releases mu meanwhile.
func (g *groupCommit) lead() {
	g.mu.running = true
	covers := g.flushes.Load()
	g.mu.Unlock()
	err := g.writeBack()
	g.mu.Lock()
	g.mu.running = false
	g.commits.Add(1)
	if err != nil {
		// The kernel may have dropped the dirty pages and marked them clean: a second attempt that
		// succeeds would prove nothing. So the first failure is final.
		g.mu.failed = fmt.Errorf("%w: %w", ErrReadOnly, err)
	} else {
		g.mu.durable = max(g.mu.durable, covers)
	}
	g.mu.done.Broadcast()
}

// Metrics counts what a region did for durability.
type Metrics struct {
	Flushes uint64 // Flush calls
	Fences  uint64 // Fence calls
	Commits uint64 // write-backs that the fences shared (Fsync only)
}
