package engine

import (
	"github.com/dinomo-kv/dinomo/dac"
	"github.com/dinomo-kv/dinomo/dpm/fabric"
	"github.com/dinomo-kv/dinomo/dpm/remote"
)

// Counters count what an engine did since it was opened. Reads = ValueHits + UnmergedHits + ShortcutHits + Misses + Failed.
type Counters struct {
	Reads, Writes, Deletes uint64
	// Gets by where they found their answer. A miss went through the index, whether or not the key exists.
	ValueHits, UnmergedHits, ShortcutHits, Misses uint64
	Failed                                        uint64 // gets that ended with an error other than that there is no such key
	// Round trips that gets took part in; RoundTripsMiss is the part of misses.
	RoundTripsRead, RoundTripsMiss uint64
	// Round trips of writes: commits, reads of puts that merge, and segments that had to be waited for.
	RoundTripsWrite uint64
	// Round trips of neither, such as renewing the lattice filter.
	RoundTripsOther uint64
	Commits         uint64
	WriteWaits      uint64 // times that writes waited for the pool to merge
}

// Gauges are an engine's sizes of this moment.
type Gauges struct {
	UnmergedEntries  int
	UnmergedBytes    int // memory of the table of unmerged entries
	UnmergedSegments uint32
	UnmergedLimit    uint32
	Up               bool
}

// Counters returns a copy of the counts so far.
func (e *Engine) Counters() Counters { return e.counters }

// CacheStats returns the cache's figures.
func (e *Engine) CacheStats() dac.Stats { return e.cache.Stats() }

// AppendCounters returns the log's figures.
func (e *Engine) AppendCounters() remote.AppendCounters {
	if !e.link.up() {
		return e.link.wrote
	}
	return e.link.thread.Appender.Counters()
}

// Gauges returns the sizes of this moment.
func (e *Engine) Gauges() Gauges {
	g := Gauges{UnmergedEntries: e.table.Len(), UnmergedBytes: e.table.bytes(), Up: e.link.up()}
	if g.Up {
		g.UnmergedSegments, g.UnmergedLimit = e.link.thread.Unmerged()
	}
	return g
}

// Verbs counts what the thread's queue pairs did, all of them together.
func (e *Engine) Verbs() fabric.Counters {
	total := e.link.spent
	if e.link.up() {
		if qp := e.link.thread.QP(); qp != nil {
			addCounters(&total, qp.Counters())
		}
	}
	return total
}

func addCounters(to *fabric.Counters, c fabric.Counters) {
	to.RoundTrips += c.RoundTrips
	for k := range c.Verbs {
		to.Verbs[k] += c.Verbs[k]
	}
	to.Calls += c.Calls
	to.BytesRead += c.BytesRead
	to.BytesWritten += c.BytesWritten
	to.Failures += c.Failures
}
